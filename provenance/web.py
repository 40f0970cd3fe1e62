"""The HTTP service: composes the routers of all packages, answers errors as problem+json.

Routers are found by entry point (``countermark.apps``: functions of the settings that return an
`APIRouter`), so this module imports no other package. All work happens in worker threads; the
event loop only moves bytes.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from provenance.errors import (
    BackendUnavailableError,
    CancelledError,
    CapacityError,
    ConfigError,
    ContentBlockedError,
    DeliveryError,
    IdempotencyConflictError,
    ImageTooLargeError,
    InputError,
    PayloadConflictError,
    ProvenanceError,
    QueueFullError,
    RecordNotFoundError,
    RegistryUnavailableError,
    UnsupportedMediaTypeError,
)
from provenance.plugins import load_backend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fastapi import APIRouter
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from provenance.config import Settings
    from provenance.types import HealthCheck

__all__ = ["compose_app", "create_app", "problem", "run_server", "status_for"]

log = logging.getLogger(__name__)

PROBLEM_MEDIA_TYPE = "application/problem+json"
"""Source: RFC 9457."""

STOP_MARGIN_S = 5
"""Over `serve.drain_s`, for the answers of what was drained."""

MULTIPART_OVERHEAD_BYTES = 64 * 1024
"""Room for boundaries and part headers over the file itself."""

STATUS_BY_ERROR: tuple[tuple[type[ProvenanceError], HTTPStatus], ...] = (
    (ImageTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UnsupportedMediaTypeError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (IdempotencyConflictError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InputError, HTTPStatus.BAD_REQUEST),
    (QueueFullError, HTTPStatus.TOO_MANY_REQUESTS),
    (CapacityError, HTTPStatus.BAD_REQUEST),
    (ContentBlockedError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (RecordNotFoundError, HTTPStatus.NOT_FOUND),
    (PayloadConflictError, HTTPStatus.CONFLICT),
    (CancelledError, HTTPStatus.CONFLICT),
    (RegistryUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (BackendUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeliveryError, HTTPStatus.INSUFFICIENT_STORAGE),
    (ConfigError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
"""The one table from our errors to HTTP statuses; the first match counts."""

_SHOWN_TO_STRANGERS = frozenset({400, 404, 409, 413, 415, 422, 429})
"""Statuses whose message speaks of the request; others may name paths of the server."""


def status_for(error: ProvenanceError) -> HTTPStatus:
    """HTTP status of one of our errors."""
    for kind, status in STATUS_BY_ERROR:
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def problem(status: HTTPStatus, detail: str, **members: object) -> JSONResponse:
    """An RFC 9457 answer."""
    body = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
    return JSONResponse({**body, **members}, status, media_type=PROBLEM_MEDIA_TYPE)


def create_app(settings: Settings) -> FastAPI:
    """The application with every installed router.

    Raises:
        ProvenanceError: A router cannot start, e.g. because its self-test fails.
    """
    points = sorted(entry_points(group="countermark.apps"), key=lambda p: p.name)
    routers = [load_backend("countermark.apps", point.name)(settings) for point in points]
    return compose_app(settings, routers)


def compose_app(settings: Settings, routers: Sequence[APIRouter]) -> FastAPI:
    """An application of these routers, with health, error answers and limits."""
    app = FastAPI(
        title="Countermark",
        version=version("countermark"),
        description="Marks what a generator makes, and reads the marks of any image.",
    )
    for router in routers:
        app.include_router(router)
    _add_health(app, settings)
    _add_error_answers(app)
    app.add_middleware(BodyLimit, max_bytes=settings.limits.max_bytes + MULTIPART_OVERHEAD_BYTES)
    return app


def run_server(settings: Settings, *, host: str, port: int) -> None:
    """Serves until interrupted.

    Raises:
        ConfigError: The address is taken or not ours.
    """
    import socket

    import uvicorn

    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
        ) from error
    app = create_app(settings)
    bound = listener.getsockname()[1]
    log.warning("serving on http://%s:%s (interactive documentation at /docs)", host, bound)
    # A client that never ends its request must not keep a stopping service up.
    patience_s = math.ceil(settings.serve.drain_s) + STOP_MARGIN_S
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=patience_s
    )
    uvicorn.Server(config).run(sockets=[listener])


# -- health ------------------------------------------------------------------------------------


def _add_health(app: FastAPI, settings: Settings) -> None:
    providers: list[Callable[[Settings], list[HealthCheck]]] = [
        load_backend("countermark.readiness", point.name)
        for point in sorted(entry_points(group="countermark.readiness"), key=lambda p: p.name)
    ]

    @app.get("/health/live", tags=["health"])
    async def live() -> dict[str, str]:
        """Whether the process answers; says nothing of what it depends on."""
        return {"status": "ok"}

    @app.get("/health/ready", tags=["health"])
    async def ready(response: Response) -> dict[str, Any]:
        """Whether requests can be served now; 503 with the failing checks otherwise."""
        lines = [
            line for provider in providers for line in await run_in_threadpool(provider, settings)
        ]
        failing = [line.name for line in lines if not line.ok and not line.optional]
        if failing:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return {"status": "unavailable" if failing else "ok", "failing": failing}


# -- errors ------------------------------------------------------------------------------------


def _add_error_answers(app: FastAPI) -> None:
    @app.exception_handler(ProvenanceError)
    async def answer_ours(_: Request, error: ProvenanceError) -> JSONResponse:
        status = status_for(error)
        if int(status) not in _SHOWN_TO_STRANGERS:
            log.error("%s: %s", type(error).__name__, error)
            return problem(status, "the service cannot do this now; its log says why")
        if isinstance(error, ContentBlockedError):
            return problem(
                status,
                str(error),
                refusal_id=error.refusal_id,
                flagged=list(error.report.flagged),
                scores=dict(error.report.scores),
            )
        answer = problem(status, str(error))
        if isinstance(error, QueueFullError):
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer

    @app.exception_handler(RequestValidationError)
    async def answer_validation(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = [
            {"field": ".".join(str(part) for part in item["loc"][1:]), "problem": item["msg"]}
            for item in error.errors()
        ]
        named = "; ".join(f"{p['field'] or 'body'}: {p['problem']}" for p in problems[:5])
        return problem(HTTPStatus.BAD_REQUEST, named, errors=problems)

    @app.exception_handler(HTTPException)
    async def answer_http(_: Request, error: HTTPException) -> JSONResponse:
        answer = problem(HTTPStatus(error.status_code), str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def answer_unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("unexpected %s", type(error).__name__, exc_info=error)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log has the details")


class BodyLimit:
    """Refuses request bodies over a limit before they are read into memory or spooled to disk."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await self._refuse()(scope, receive, send)
            return
        await self._app(scope, self._counting(receive), send)

    def _refuse(self) -> JSONResponse:
        detail = f"the body is longer than {self._max_bytes} bytes (limits.max_bytes)"
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)

    def _counting(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"the body is longer than {self._max_bytes} bytes (limits.max_bytes)",
                )
            return message

        return counted
