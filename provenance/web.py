"""The HTTP service: composes the routers of all packages, answers errors as problem+json.

Routers are found by entry point (``countermark.apps``: functions of the settings that return an
`APIRouter`), so this module imports no other package. All work happens in worker threads; the
event loop only moves bytes.
"""

from __future__ import annotations

import logging
import math
import time
from http import HTTPStatus
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
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
    NotAllowedError,
    PayloadConflictError,
    ProvenanceError,
    QueueFullError,
    QuotaExceededError,
    RecordGoneError,
    RecordNotFoundError,
    RegistryUnavailableError,
    UnsupportedMediaTypeError,
)
from provenance.plugins import available_backends, load_backend
from provenance.serving import metrics
from provenance.serving.access import (
    EVERYBODY,
    RULE,
    needs,
    problem,
    read_rules,
    require_rule,
    shape_for,
)
from provenance.serving.addresses import Proxies, is_loopback
from provenance.serving.buckets import Buckets
from provenance.serving.gate import Gate, GatePolicy
from provenance.serving.request_log import RequestLog, set_up_log
from provenance.types import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from fastapi.responses import JSONResponse
    from starlette.types import ASGIApp, Message, Receive, Send
    from starlette.types import Scope as AsgiScope

    from provenance.config import Settings
    from provenance.interfaces import ApiKeyStore
    from provenance.types import HealthCheck

__all__ = ["compose_app", "create_app", "problem", "run_server", "status_for"]

log = logging.getLogger(__name__)

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
    (RecordGoneError, HTTPStatus.GONE),
    (RecordNotFoundError, HTTPStatus.NOT_FOUND),
    (NotAllowedError, HTTPStatus.FORBIDDEN),
    (PayloadConflictError, HTTPStatus.CONFLICT),
    (QuotaExceededError, HTTPStatus.TOO_MANY_REQUESTS),
    (CancelledError, HTTPStatus.CONFLICT),
    (RegistryUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (BackendUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeliveryError, HTTPStatus.INSUFFICIENT_STORAGE),
    (ConfigError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
"""The one table from our errors to HTTP statuses; the first match counts."""

_SHOWN_TO_STRANGERS = frozenset({400, 403, 404, 409, 410, 413, 415, 422, 429})
"""Statuses whose message speaks of the request; others may name paths of the server."""


def status_for(error: ProvenanceError) -> HTTPStatus:
    """HTTP status of one of our errors."""
    for kind, status in STATUS_BY_ERROR:
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


SCOPES_WITH_KEY: Mapping[str, frozenset[Scope]] = {
    "none": frozenset({Scope.ADMIN, Scope.STORE}),
    "generate": frozenset({Scope.ADMIN, Scope.STORE, Scope.GENERATE}),
    "all": frozenset(Scope),
}
"""Which routes ask for a key under each value of serve.require_api_key."""


def create_app(settings: Settings) -> FastAPI:
    """The application with every installed router.

    Raises:
        ProvenanceError: A router cannot start, e.g. because its self-test fails.
    """
    points = sorted(entry_points(group="countermark.apps"), key=lambda p: p.name)
    routers = [load_backend("countermark.apps", point.name)(settings) for point in points]
    return compose_app(settings, routers)


def compose_app(settings: Settings, routers: Sequence[APIRouter]) -> FastAPI:
    """An application of these routers, with health, metrics, keys, limits and error answers."""
    app = FastAPI(
        title="Countermark",
        version=version("countermark"),
        description="Marks what a generator makes, and reads the marks of any image.",
        dependencies=[Depends(require_rule)],
    )
    routers = [*routers, _build_health(settings), _build_metrics()]
    for router in routers:
        app.include_router(router)
    _add_error_answers(app)
    # From the inside out: what is added last sees a request first.
    app.add_middleware(BodyLimit, max_bytes=settings.limits.max_bytes + MULTIPART_OVERHEAD_BYTES)
    app.add_middleware(
        Gate,
        rules=read_rules(routers),
        policy=_gate_policy(settings),
        keys=_open_keys(settings),
        buckets=Buckets(time.monotonic),
        proxies=Proxies(settings.serve.trusted_proxies),
        answer_error=_answer_ours,
    )
    app.add_middleware(RequestLog)
    return app


def _gate_policy(settings: Settings) -> GatePolicy:
    serve = settings.serve
    asking = SCOPES_WITH_KEY[serve.require_api_key]
    if settings.resolution.fetch_access != "service":
        asking -= {Scope.FETCH}
    if settings.resolution.fetch_access == "key":
        asking |= {Scope.FETCH}
    return GatePolicy(
        key_scopes=asking,
        rate_per_minute=serve.rate_per_minute,
        open_rate_per_minute=serve.open_rate_per_minute,
        loopback_paths=frozenset({METRICS_PATH} if serve.metrics_access == "loopback" else ()),
    )


def _open_keys(settings: Settings) -> ApiKeyStore | None:
    """The store of API keys, when a package brings one.

    Raises:
        ConfigError: Keys are asked for, but nothing knows them.
        ProvenanceError: The store cannot be opened.
    """
    names = available_backends("countermark.access")
    if names:
        store: ApiKeyStore = load_backend("countermark.access", names[0])(settings)
        return store
    if settings.serve.require_api_key != "none":
        raise ConfigError("serve.require_api_key is set, but no installed package knows API keys")
    return None


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
    set_up_log(settings.serve.log_format)
    app = create_app(settings)
    if settings.serve.require_api_key == "none" and not is_loopback(host):
        log.warning(
            "everybody who reaches %s may generate pictures; to ask for API keys, set "
            "serve.require_api_key",
            host,
        )
    bound = listener.getsockname()[1]
    log.warning("serving on http://%s:%s (interactive documentation at /docs)", host, bound)
    # A client that never ends its request must not keep a stopping service up.
    patience_s = math.ceil(settings.serve.drain_s) + STOP_MARGIN_S
    config = uvicorn.Config(
        app,
        # Its lines take our format too, which leaves out what foreign exceptions say.
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=patience_s,
    )
    uvicorn.Server(config).run(sockets=[listener])


# -- health ------------------------------------------------------------------------------------


def _build_health(settings: Settings) -> APIRouter:
    router = APIRouter(prefix="/health", tags=["health"], dependencies=EVERYBODY)
    providers: list[Callable[[Settings], list[HealthCheck]]] = [
        load_backend("countermark.readiness", point.name)
        for point in sorted(entry_points(group="countermark.readiness"), key=lambda p: p.name)
    ]

    @router.get("/live", responses=_example({"status": "ok"}))
    async def live() -> dict[str, str]:
        """Whether the process answers; says nothing of what it depends on."""
        return {"status": "ok"}

    @router.get("/ready", responses=_example({"status": "ok", "failing": []}))
    async def ready(response: Response) -> dict[str, Any]:
        """Whether requests can be served now; 503 with the failing checks otherwise."""
        lines = [
            line for provider in providers for line in await run_in_threadpool(provider, settings)
        ]
        failing = [line.name for line in lines if not line.ok and not line.optional]
        if failing:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return {"status": "unavailable" if failing else "ok", "failing": failing}

    return router


# -- metrics -----------------------------------------------------------------------------------

METRICS_PATH = "/metrics"


def _build_metrics() -> APIRouter:
    router = APIRouter(tags=["metrics"], dependencies=needs(Scope.ADMIN))
    shown = {"text/plain": {"example": "countermark_queue_length 0.0\n"}}

    @router.get(METRICS_PATH, response_class=Response, responses={200: {"content": shown}})
    def read_metrics() -> Response:
        """What this process has counted, for Prometheus.

        Needs scope admin; serve.metrics_access may open it to this machine itself instead.
        """
        return Response(metrics.show(), media_type=metrics.MEDIA_TYPE)

    return router


def _example(body: object) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": body}}}}


# -- errors ------------------------------------------------------------------------------------


def _answer_ours(scope: AsgiScope, error: ProvenanceError) -> JSONResponse:
    """One of our errors, in the shape that the route's clients expect."""
    shape, status = shape_for(scope), status_for(error)
    if int(status) not in _SHOWN_TO_STRANGERS:
        log.error("%s: %s", type(error).__name__, error)
        return shape(status, "the service cannot do this now; its log says why")
    if isinstance(error, ContentBlockedError):
        return shape(
            status,
            str(error),
            refusal_id=error.refusal_id,
            flagged=list(error.report.flagged),
            scores=dict(error.report.scores),
        )
    answer = shape(status, str(error))
    if isinstance(error, QuotaExceededError | QueueFullError):
        metrics.RATE_LIMITED.labels(_route_of(scope)).inc()
        answer.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return answer


def _route_of(scope: AsgiScope) -> str:
    rule = scope.get(RULE)
    return "unmatched" if rule is None else str(rule.template)


def _add_error_answers(app: FastAPI) -> None:
    @app.exception_handler(ProvenanceError)
    async def answer_ours(request: Request, error: ProvenanceError) -> JSONResponse:
        return _answer_ours(request.scope, error)

    @app.exception_handler(RequestValidationError)
    async def answer_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = [
            {"field": ".".join(str(part) for part in item["loc"][1:]), "problem": item["msg"]}
            for item in error.errors()
        ]
        named = "; ".join(f"{p['field'] or 'body'}: {p['problem']}" for p in problems[:5])
        return shape_for(request.scope)(HTTPStatus.BAD_REQUEST, named, errors=problems)

    @app.exception_handler(HTTPException)
    async def answer_http(request: Request, error: HTTPException) -> JSONResponse:
        answer = shape_for(request.scope)(HTTPStatus(error.status_code), str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def answer_unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("unexpected %s", type(error).__name__, exc_info=error)
        detail = "internal error; the log has the details"
        return shape_for(request.scope)(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


class BodyLimit:
    """Refuses request bodies over a limit before they are read into memory or spooled to disk."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await self._refuse(scope)(scope, receive, send)
            return
        await self._app(scope, self._counting(receive), send)

    def _refuse(self, scope: AsgiScope) -> JSONResponse:
        detail = f"the body is longer than {self._max_bytes} bytes (limits.max_bytes)"
        return shape_for(scope)(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)

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
