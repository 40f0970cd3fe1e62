"""The image routes of OpenAI: its clients work when their address is changed, and get marks.

Source: OpenAI API reference, Images and Models; the official Python client is the test.
"""

from __future__ import annotations

import base64
import json
import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from generator.admission import IdempotencyKey
from generator.doorway import Order, alpha_of, mask_of, said_by
from generator.job_documents import public_detail
from generator.jobs import EventKind
from generator.openai_schemas import (
    REPAINT_STRENGTH,
    EditForm,
    ImagesBody,
    ImagesView,
    ImageView,
    ModelList,
    ModelView,
)
from provenance.errors import (
    ContentBlockedError,
    InputError,
    ProvenanceError,
    RecordNotFoundError,
)
from provenance.imaging import open_input
from provenance.serving.access import caller_of, needs
from provenance.types import MediaType, Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from generator.doorway import Doorway
    from generator.jobs import Job
    from provenance.types import GenerationRequest, RegistryRecord

__all__ = ["build_openai_router", "openai_error"]

NAMES = {MediaType.PNG: "png", MediaType.JPEG: "jpeg", MediaType.WEBP: "webp"}

NO_TOKENS = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}
"""The stream's last event must have a count; nothing is counted here."""

MAX_IMAGES = 16
"""As OpenAI; more than one is refused below in words, not by the form's parser."""

EDIT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image", "prompt"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "mask": {
                            "type": "string",
                            "format": "binary",
                            "description": "What is clear in it is painted anew.",
                        },
                        "prompt": {"type": "string"},
                    },
                    "additionalProperties": True,
                },
                "example": {"image": "(the bytes of house.png)", "prompt": "the same in winter"},
            }
        },
    }
}

STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "The pictures, or with `stream` server-sent events."}
}


def openai_error(status: HTTPStatus, detail: str, **members: object) -> JSONResponse:
    """An error as OpenAI's clients read it."""
    kind, code = _KINDS.get(int(status), ("invalid_request_error", None))
    if "flagged" in members:
        # OpenAI answers a refused picture with 400 and this code.
        status, (kind, code) = HTTPStatus.BAD_REQUEST, _BLOCKED
    elif int(status) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "server_error"
    error = {"message": detail, "type": kind, "param": _param(detail, members), "code": code}
    extra = {name: value for name, value in members.items() if name != "errors"}
    return JSONResponse({"error": {**error, **extra}}, status)


_BLOCKED = ("image_generation_user_error", "moderation_blocked")
_KINDS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "insufficient_permissions"),
    404: ("invalid_request_error", "not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def _param(detail: str, members: dict[str, object]) -> str | None:
    errors = members.get("errors")
    if isinstance(errors, list) and errors:
        return str(errors[0]["field"])
    first = detail.split(maxsplit=1)[0].strip(":") if detail else ""
    first = "size" if first in {"width", "height"} else first
    return first if first in EditForm.model_fields or first in {"image", "mask"} else None


def build_openai_router(doorway: Doorway) -> APIRouter:
    """The routes."""
    router = APIRouter(
        prefix="/v1", tags=["openai"], dependencies=needs(Scope.GENERATE, errors=openai_error)
    )
    _add_images(router, doorway)
    _add_models(router, doorway)
    return router


# -- pictures ------------------------------------------------------------------------------------


def _add_images(router: APIRouter, doorway: Doorway) -> None:
    @router.post("/images/generations", response_model=ImagesView, responses=STREAM)
    async def create_image(
        body: ImagesBody, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Any:
        """Draws pictures, as OpenAI's `images.generate`.

        `size` takes any multiples of 8; `quality` is a share of the model's usual steps; `seed`,
        `steps`, `guidance` and `negative_prompt` are ours. `stream` sends partial pictures: each
        is an output, so each is marked, signed and registered like the last one.
        """
        order = Order.read(request, idempotency_key, said_by(body))
        requests = await run_in_threadpool(body.to_requests, doorway)
        return await _answer(doorway, body, requests, request, order, "image_generation")

    @router.post(
        "/images/edits", response_model=ImagesView, responses=STREAM, openapi_extra=EDIT_BODY
    )
    async def edit_image(request: Request, idempotency_key: IdempotencyKey = None) -> Any:
        """Edits a picture, as OpenAI's `images.edit`.

        What is clear in `mask` (or, without one, in the picture itself) is painted anew. A picture
        that carries a manifest keeps it: as the parent of the new one.
        """
        form, image, mask = await _read_edit(request)
        order = Order.read(request, idempotency_key, said_by(form), image, mask or b"")
        requests = await run_in_threadpool(_edit_requests, doorway, form, image, mask)
        return await _answer(doorway, form, requests, request, order, "image_edit")


async def _read_edit(request: Request) -> tuple[EditForm, bytes, bytes | None]:
    async with request.form(max_files=MAX_IMAGES + 1, max_fields=64) as form:
        fields: dict[str, Any] = {}
        images: list[bytes] = []
        mask: bytes | None = None
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name in {"image", "image[]"}:
                    images.append(await value.read())
                elif name == "mask":
                    mask = await value.read()
                else:
                    raise InputError(f"{name[:40]} is no file that an edit takes")
            else:
                fields[name] = value
    if len(images) != 1:
        raise InputError(f"image: {len(images)} pictures were sent; send the one to edit")
    try:
        return EditForm.model_validate(fields), images[0], mask
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{name}: {first['msg']}") from error


def _edit_requests(
    doorway: Doorway, form: EditForm, image: bytes, mask: bytes | None
) -> tuple[GenerationRequest, ...]:
    opened = open_input(image, name="image", limits=doorway.limits)
    if mask is not None:
        alpha = alpha_of(mask, name="mask", limits=doorway.limits)
        if alpha is None:
            raise InputError("mask has no clear place; make transparent what is to be repainted")
    else:
        alpha = alpha_of(image, name="image", limits=doorway.limits)
    repaint = None if alpha is None else mask_of(255 - alpha)
    strength = form.strength or (0.75 if repaint is None else REPAINT_STRENGTH)
    return form.to_requests(doorway, init_image=opened, mask=repaint, strength=strength)


async def _answer(
    doorway: Doorway,
    body: ImagesBody,
    requests: tuple[GenerationRequest, ...],
    request: Request,
    order: Order,
    kind: str,
) -> Any:
    wanted = (body.partial_images or 0) if body.stream else 0
    # Rounded up: each preview is an output with a record, so none is made that is not sent.
    every = math.ceil(requests[0].effective_steps / (wanted + 1)) if wanted else 0
    job = await run_in_threadpool(
        doorway.submit, caller_of(request), requests, order, previews_every=every
    )
    if body.stream:
        lines = _stream(doorway, job, body, requests[0], request, order, kind)
        return StreamingResponse(
            lines, media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
    last = None
    async for event in doorway.follow(job, request, order):
        last = event
    if last is None:
        raise RecordNotFoundError(f"job {job.id} is gone")
    records = await run_in_threadpool(doorway.results, job, last)
    return await run_in_threadpool(_view, doorway, body, requests[0], records, request)


def _view(
    doorway: Doorway,
    body: ImagesBody,
    first: GenerationRequest,
    records: Sequence[RegistryRecord],
    request: Request,
) -> ImagesView:
    as_url = body.response_format == "url"
    return ImagesView(
        created=int(time.time()),
        output_format=NAMES[first.media_type],  # type: ignore[arg-type]
        size=_size_of(first),
        data=[
            ImageView(
                b64_json=None if as_url else _base64(doorway.read(record.record_id)),
                url=str(request.url_for("read_asset", record_id=record.record_id))
                if as_url
                else None,
                record_id=record.record_id,
                seed=int(record.parameters.get("seed") or 0),
            )
            for record in records
        ],
    )


async def _stream(
    doorway: Doorway,
    job: Job,
    body: ImagesBody,
    first: GenerationRequest,
    request: Request,
    order: Order,
    kind: str,
) -> AsyncIterator[str]:
    sent = 0
    try:
        async for event in doorway.follow(job, request, order):
            if event.kind is EventKind.PREVIEW and sent < (body.partial_images or 0):
                data = await run_in_threadpool(doorway.read, event.data["record_id"])
                told = {"partial_image_index": sent, "record_id": event.data["record_id"]}
                yield _event(f"{kind}.partial_image", data, body, first, told)
                sent += 1
            elif event.kind.is_final:
                (record,) = await run_in_threadpool(doorway.results, job, event)
                data = await run_in_threadpool(doorway.read, record.record_id)
                told = {"usage": NO_TOKENS, "record_id": record.record_id}
                yield _event(f"{kind}.completed", data, body, first, told)
    except ProvenanceError as error:
        # The status is out already: the client reads the error from the stream.
        kind, code = ("server_error", None)
        if isinstance(error, ContentBlockedError):
            kind, code = _BLOCKED
        shaped = {"message": public_detail(error), "type": kind, "code": code}
        yield f"event: error\ndata: {json.dumps({'type': 'error', 'error': shaped})}\n\n"


def _event(
    name: str, data: bytes, body: ImagesBody, first: GenerationRequest, told: dict[str, Any]
) -> str:
    event = {
        "type": name,
        "b64_json": _base64(data),
        "created_at": int(time.time()),
        "size": _size_of(first),
        "quality": body.quality or "auto",
        "background": "opaque",
        "output_format": NAMES[first.media_type],
        **told,
    }
    return f"event: {name}\ndata: {json.dumps(event)}\n\n"


def _size_of(request: GenerationRequest) -> str:
    return f"{request.width_px}x{request.height_px}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- models --------------------------------------------------------------------------------------


def _add_models(router: APIRouter, doorway: Doorway) -> None:
    @router.get("/models")
    def list_models() -> ModelList:
        """The models that requests may name, the default first."""
        return ModelList(data=[ModelView(id=name) for name in doorway.model_names])

    @router.get("/models/{model_id:path}")
    def read_model(model_id: str) -> ModelView:
        """One model that requests may name."""
        if model_id not in doorway.model_names:
            raise RecordNotFoundError(f"model {model_id[:200]!r} is not offered here")
        return ModelView(id=model_id)
