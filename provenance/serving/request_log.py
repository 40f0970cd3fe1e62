"""One log line a request: what was asked and how it ended, never what it said.

Never in a line: prompts, bodies, query strings, addresses, keys. A key shows by its public id.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders

from provenance.serving import metrics
from provenance.serving.access import CALLER, RULE
from provenance.serving.safe_log import SafeFormatter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["JsonFormatter", "RequestLog", "TextFormatter", "note_job", "note_records", "set_up_log"]

log = logging.getLogger("countermark.requests")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What is taken over from a client; anything else could be words, or break a line."""

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

API_KEY = re.compile(r"(cmk_[0-9a-f]{16})_[A-Za-z0-9_-]+")


@dataclass(slots=True)
class _Notes:
    """What is learnt of a request on the way."""

    request_id: str
    records: list[str] = field(default_factory=list)
    job: str | None = None


_current: ContextVar[_Notes | None] = ContextVar("countermark_request", default=None)


def note_records(record_ids: Iterable[str]) -> None:
    """Names the records that the current request made or handed out, for its log line."""
    notes = _current.get()
    if notes is not None:
        notes.records.extend(record_ids)


def note_job(job_id: str) -> None:
    """Names the job that the current request made, for its log line."""
    notes = _current.get()
    if notes is not None:
        notes.job = job_id


class RequestLog:
    """ASGI middleware: request ids, the log line, and the metrics of requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        notes = _Notes(request_id)
        token = _current.set(notes)
        status = 499  # what proxies log for a client that left before the answer

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        start = perf_counter()
        try:
            await self._app(scope, receive, told)
        except Exception:
            status = 500
            raise
        finally:
            _write(scope, notes, status, perf_counter() - start)
            _current.reset(token)


def _write(scope: Scope, notes: _Notes, status: int, seconds: float) -> None:
    rule, caller = scope.get(RULE), scope.get(CALLER)
    route = "unmatched" if rule is None else rule.template
    method = scope["method"] if scope["method"] in KNOWN_METHODS else "OTHER"
    metrics.REQUESTS.labels(route, method, str(status)).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)
    facts = {
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1000, 1),
        "key": None if caller is None else caller.key_id,
        "job": notes.job,
        "records": notes.records or None,
    }
    known = {name: value for name, value in facts.items() if value is not None}
    log.info("%s %s %s", method, route, status, extra={"facts": known})


# -- formats -----------------------------------------------------------------------------------


class TextFormatter(SafeFormatter):
    """For people."""

    def __init__(self) -> None:
        super().__init__("countermark: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The message, with the facts of a request behind it."""
        line = super().format(record)
        facts = getattr(record, "facts", None) or {}
        rest = {k: v for k, v in facts.items() if k not in {"method", "route", "status"}}
        notes = _current.get()
        if notes is not None and facts:
            rest["id"] = notes.request_id
        shown = " ".join(f"{name}={_plain(value)}" for name, value in rest.items())
        return _without_keys(f"{line} {shown}" if shown else line)


class JsonFormatter(SafeFormatter):
    """For machines: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        notes = _current.get()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if notes is not None:
            line["request_id"] = notes.request_id
        line.update(getattr(record, "facts", None) or {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return _without_keys(json.dumps(line, ensure_ascii=True, default=str))


def set_up_log(log_format: str) -> None:
    """Sends everything that is logged to standard error in one format, requests included."""
    formatter: logging.Formatter = JsonFormatter() if log_format == "json" else TextFormatter()
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
    for handler in root.handlers:
        handler.setFormatter(formatter)
    log.setLevel(logging.INFO)


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _without_keys(line: str) -> str:
    return API_KEY.sub(r"\1_...", line)
