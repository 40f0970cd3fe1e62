"""HTTP routes of the detector: parse, call the service, map. Nothing of an upload is kept."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.datastructures import UploadFile

from detector.schemas import VerdictView, view_verdict
from detector.service import Depth
from provenance.errors import InputError
from provenance.imaging import open_candidate
from provenance.serving.access import EVERYBODY, needs
from provenance.serving.metrics import VERDICTS
from provenance.types import Scope, Sidecar

if TYPE_CHECKING:
    from detector.service import DetectorService
    from provenance.config import Settings

__all__ = ["build_router"]

MAX_AT_ONCE = 4
"""Pictures examined at the same time; each may hold 150 MB of pixels."""

MAX_NAME_CHARACTERS = 200

T = TypeVar("T")

_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "manifest": {
                            "type": "string",
                            "format": "binary",
                            "description": "A C2PA manifest store that came beside the file.",
                        },
                    },
                },
                "example": {"file": "(the bytes of house.png)"},
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class _Once(Generic[T]):
    """Makes something when it is first asked for, and keeps it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._lock = Lock()

    def __call__(self) -> T:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


def build_router(settings: Settings) -> APIRouter:
    """Routes for verification, and the page for people.

    Raises:
        ConfigError: A trust anchor file is missing or unusable, or a source is unknown.
    """
    from detector.wiring import build_detector

    build_detector(settings)  # a defect in the settings shows at start, not at the first upload
    router = APIRouter(tags=["verify"], dependencies=needs(Scope.VERIFY))
    # Built again with the first upload: the generator beside it may make this deployment's own
    # root only when it starts.
    _add_verify(router, _Once(lambda: build_detector(settings)))
    _add_page(router)
    return router


def _add_verify(router: APIRouter, service: _Once[DetectorService]) -> None:
    # A limiter belongs to the event loop that runs when it is made.
    limiter = _Once(lambda: CapacityLimiter(MAX_AT_ONCE))

    @router.post("/v1/verify", openapi_extra=_UPLOAD)
    async def verify(request: Request, fast: bool = False) -> VerdictView:
        """Tell whether, and how surely, a machine made a picture; keep nothing of it."""
        upload = await _read_upload(request)
        depth = Depth.FAST if fast else Depth.THOROUGH
        return await run_sync(_verify, service, upload, depth, limiter=limiter())


@dataclass(frozen=True, slots=True)
class _Upload:
    """What came: a picture's name and bytes, and perhaps a manifest store."""

    name: str
    data: bytes
    sidecar: Sidecar | None = None


def _verify(opener: _Once[DetectorService], upload: _Upload, depth: Depth) -> VerdictView:
    service, name = opener(), upload.name
    candidate = open_candidate(upload.data, name=name, limits=service.limits)
    candidate = replace(candidate, sidecar=upload.sidecar)
    verdict = service.examine(candidate, depth=depth)
    VERDICTS.labels(verdict.origin.value, verdict.assurance.value).inc()
    return view_verdict(
        verdict,
        file=name,
        sha256=candidate.sha256,
        error=candidate.decode_problem,
        policy=service.policy,
    )


async def _read_upload(request: Request) -> _Upload:
    """A form's ``file`` and its ``manifest``, if any; or the bare body.

    Raises:
        InputError: There is no file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        data = await request.body()
        if not data:
            raise InputError("the body is empty; send the picture itself, or a form with a file")
        return _Upload("upload", data)
    async with request.form(max_files=2, max_fields=8) as form:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise InputError("the form has no file; send it in the field named file")
        if len(form.getlist("file")) > 1:
            raise InputError("the form has two pictures; send one in the field named file")
        sidecar = None
        given = form.get("manifest")
        if given is not None and not isinstance(given, UploadFile):
            raise InputError("the field manifest holds no file; send the manifest store itself")
        if given is not None:
            sidecar = Sidecar(_clean_name(given.filename or "manifest"), await given.read())
        return _Upload(_clean_name(upload.filename or "upload"), await upload.read(), sidecar)


def _clean_name(name: str) -> str:
    """A stranger's file name, printable and short; it is echoed, never opened."""
    printable = "".join(c for c in name if c.isprintable())
    return printable[:MAX_NAME_CHARACTERS] or "upload"


# -- the page ----------------------------------------------------------------------------------


def _add_page(router: APIRouter) -> None:
    html = files("detector.page").joinpath("index.html").read_text(encoding="utf-8")
    headers = {
        "Content-Security-Policy": _content_policy(html),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    @router.get(
        "/verify", response_class=HTMLResponse, include_in_schema=False, dependencies=EVERYBODY
    )
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers=headers)


def _content_policy(html: str) -> str:
    """Allows the page's own script and style, by digest, and requests to this service only.

    Source: CSP Level 3 §2.3.1, hash-source.
    """
    script, style = (
        _digest_of(re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL))
        for tag in ("script", "style")
    )
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
        "img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digest_of(blocks: list[str]) -> str:
    digests = [base64.b64encode(hashlib.sha256(b.encode()).digest()).decode() for b in blocks]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
