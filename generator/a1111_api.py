"""The routes of AUTOMATIC1111's web UI: its clients keep working, and their pictures carry marks.

A client follows and interrupts its own jobs: those of its API key, or, without one, all jobs that
came through this door without a key.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from generator.a1111_schemas import (
    CHECKPOINT,
    ImageBody,
    ImagesView,
    TextBody,
    in_its_words,
    read_body,
    to_requests,
)
from generator.admission import IdempotencyKey
from generator.doorway import Order, read_object, said_by
from generator.jobs import EventKind
from provenance.errors import InputError, ProvenanceError, RecordNotFoundError
from provenance.serving.access import caller_of, needs
from provenance.types import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from http import HTTPStatus

    from generator.a1111_schemas import Asked
    from generator.doorway import Doorway
    from generator.jobs import Job, JobEvent
    from provenance.types import RegistryRecord

__all__ = ["a1111_error", "build_a1111_router"]

SAMPLERS = (
    "Euler a", "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM++ 2M", "DPM++ 2M SDE", "DDIM",
    "PLMS", "UniPC",
)  # fmt: skip
SCHEDULERS = (("automatic", "Automatic"), ("uniform", "Uniform"), ("karras", "Karras"))
MAX_CHOICES = 1000
"""Callers whose choice of a model is remembered."""


def a1111_error(status: HTTPStatus, detail: str, **members: object) -> JSONResponse:
    """An error as its clients read it."""
    body = {"error": status.phrase, "detail": detail, "body": "", "errors": detail}
    told = {name: value for name, value in members.items() if name != "errors"}
    return JSONResponse({**body, **told}, status)


def build_a1111_router(
    doorway: Doorway, *, previews_every: int, list_loras: Callable[[], Sequence[str]]
) -> APIRouter:
    """The routes.

    Args:
        doorway: To the job service.
        previews_every: A marked preview after every so many steps, for ``/progress``; 0: none.
        list_loras: Names of the adaptations that prompts may ask for.
    """
    router = APIRouter(
        prefix="/sdapi/v1",
        tags=["automatic1111"],
        dependencies=needs(Scope.GENERATE, errors=a1111_error),
    )
    desk = _Desk(doorway, previews_every)
    _add_pictures(router, desk)
    _add_progress(router, desk)
    _add_options(router, desk)
    _add_lists(router, doorway, list_loras)
    return router


# -- who is at what --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Active:
    """A job whose client waits for it."""

    job: Job
    asked: Asked
    began: float = field(default_factory=time.monotonic)
    step: int = 0
    of: int = 0
    steps_done: int = 0
    picture: int = 0
    preview: str | None = None
    interrupted: bool = False


class _Desk:
    """Remembers, by caller, the jobs that run and the model that was chosen."""

    def __init__(self, doorway: Doorway, previews_every: int) -> None:
        self.doorway = doorway
        self.previews_every = previews_every
        self._active: dict[str, list[_Active]] = {}
        self._models: dict[str, str] = {}
        self._lock = threading.Lock()

    def open(self, caller: str, active: _Active) -> None:
        with self._lock:
            self._active.setdefault(caller, []).append(active)

    def close(self, caller: str, active: _Active) -> None:
        with self._lock:
            left = [one for one in self._active[caller] if one is not active]
            self._active[caller] = left
            if not left:
                del self._active[caller]

    def active(self, caller: str) -> Sequence[_Active]:
        with self._lock:
            return tuple(self._active.get(caller, ()))

    def model(self, caller: str) -> str:
        with self._lock:
            return self._models.get(caller, self.doorway.default_name)

    def choose_model(self, caller: str, name: str) -> None:
        with self._lock:
            self._models[caller] = name
            if len(self._models) > MAX_CHOICES:
                del self._models[next(iter(self._models))]


def _who(request: Request) -> str:
    return caller_of(request).key_id or ""


# -- pictures ------------------------------------------------------------------------------------


def _body_of(kind: type[TextBody]) -> dict[str, Any]:
    """Describes the body, which is read by hand: most of its fields are only checked."""
    schema = kind.model_json_schema()
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {**schema, "additionalProperties": True},
                    "example": schema["examples"][0],
                }
            },
        }
    }


def _add_pictures(router: APIRouter, desk: _Desk) -> None:
    @router.post("/txt2img", openapi_extra=_body_of(TextBody))
    async def text_to_image(request: Request, idempotency_key: IdempotencyKey = None) -> ImagesView:
        """Draws pictures; answers them signed, in base64.

        Fields that would change the picture and are not done here (hires fix, ControlNet and other
        scripts, face restoration, variation seeds) are refused by name; the rest is taken.
        `<lora:NAME:SCALE>` in the prompt works; emphasis in brackets is read as words.
        """
        return await _draw(desk, request, TextBody, idempotency_key)

    @router.post("/img2img", openapi_extra=_body_of(ImageBody))
    async def image_to_image(
        request: Request, idempotency_key: IdempotencyKey = None
    ) -> ImagesView:
        """Edits one picture, whole or under a mask; answers as `txt2img`.

        The picture's own manifest is kept as the parent's. Masked places start from the original,
        and the whole picture is rendered: `info` says so under `differences` when others were
        asked for.
        """
        return await _draw(desk, request, ImageBody, idempotency_key)


async def _draw(desk: _Desk, request: Request, kind: type[TextBody], key: str | None) -> ImagesView:
    body = _parse(await request.body(), kind)
    order = Order.read(request, key, said_by(body))
    who, doorway = _who(request), desk.doorway
    asked = await run_in_threadpool(to_requests, body, doorway, chosen_model=desk.model(who))
    with in_its_words():
        job = await run_in_threadpool(
            doorway.submit,
            caller_of(request),
            asked.requests,
            order,
            previews_every=desk.previews_every,
        )
    active = _Active(job, asked)
    desk.open(who, active)
    try:
        last = None
        async for event in doorway.follow(job, request, order):
            _note(active, event)
            last = event
    finally:
        desk.close(who, active)
    if last is None:
        raise RecordNotFoundError(f"job {job.id} is gone")
    return await run_in_threadpool(_view, doorway, body, active, last)


def _parse(data: bytes, kind: type[TextBody]) -> TextBody:
    sent = read_object(data)
    try:
        return kind.model_validate(read_body(sent))
    except ValidationError as error:
        problems = error.errors()[:5]
        named = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems)
        raise InputError("; ".join(named)) from error


def _note(active: _Active, event: JobEvent) -> None:
    data = event.data
    if event.kind is EventKind.STEP:
        active.step, active.of = data.get("step", 0), data.get("of", 0)
        active.picture = data.get("picture", 0)
        active.steps_done = data.get("steps_done", 0)
    elif event.kind is EventKind.PREVIEW:
        active.preview = data["record_id"]


def _view(doorway: Doorway, body: TextBody, active: _Active, last: JobEvent) -> ImagesView:
    try:
        with in_its_words():
            records = doorway.results(active.job, last)
    except ProvenanceError:
        if not active.interrupted:
            raise
        records = ()
    sent = body.model_dump(exclude={"init_images", "mask"})
    images = [_base64(doorway.read(record.record_id)) for record in records]
    return ImagesView(
        images=images if body.send_images is not False else [],
        parameters=sent,
        info=json.dumps(_info(body, active, records)),
    )


def _info(body: TextBody, active: _Active, records: Sequence[RegistryRecord]) -> Mapping[str, Any]:
    first = active.asked.requests[0]
    seeds = [int(record.parameters.get("seed") or 0) for record in records] or [first.seed]
    count = len(seeds)
    return {
        "prompt": body.prompt,
        "all_prompts": [body.prompt] * count,
        "negative_prompt": first.negative_prompt,
        "all_negative_prompts": [first.negative_prompt] * count,
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": seeds[0],
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": first.width_px,
        "height": first.height_px,
        "sampler_name": active.asked.sampler,
        "cfg_scale": first.guidance,
        "steps": first.steps,
        "effective_steps": first.effective_steps,
        "batch_size": body.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": active.asked.model,
        "sd_model_hash": _model_hash(records),
        "denoising_strength": first.strength if first.init_image is not None else None,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [_infotext(active, seed, records) for seed in seeds],
        "styles": [],
        "job_timestamp": datetime.now(UTC).strftime("%Y%m%d%H%M%S"),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "record_ids": [record.record_id for record in records],
        "interrupted": active.interrupted,
        "differences": list(active.asked.differences),
    }


def _infotext(active: _Active, seed: int, records: Sequence[RegistryRecord]) -> str:
    first = active.asked.requests[0]
    return (
        f"{first.prompt}\nSteps: {first.steps}, Sampler: {active.asked.sampler}, "
        f"CFG scale: {first.guidance}, Seed: {seed}, Size: {first.width_px}x{first.height_px}, "
        f"Model hash: {_model_hash(records)}, Model: {active.asked.model}"
    )


def _model_hash(records: Sequence[RegistryRecord]) -> str:
    """Ten hex digits, as its clients show them."""
    model = records[0].model if records else None
    return "" if model is None else model.weights_sha256[:10]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- following -------------------------------------------------------------------------------------


IDLE: dict[str, Any] = {
    "progress": 0.0,
    "eta_relative": 0.0,
    "state": {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": "",
        "job_count": 0,
        "job_timestamp": "0",
        "job_no": 0,
        "sampling_step": 0,
        "sampling_steps": 0,
    },
    "current_image": None,
    "textinfo": None,
}


def _shown(body: object) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": body}}}}


def _add_progress(router: APIRouter, desk: _Desk) -> None:
    @router.get("/progress", responses=_shown(IDLE))
    def progress(request: Request, skip_current_image: bool = False) -> dict[str, Any]:
        """How far the caller's oldest unfinished job is, with its latest marked preview.

        Previews are made by setting (`serve.previews_every`); without them there is no picture.
        """
        found = desk.active(_who(request))
        if not found:
            return IDLE
        active = found[0]
        job = active.job
        done = min(1.0, active.steps_done / max(1, job.steps_total))
        spent = time.monotonic() - active.began
        preview = None if skip_current_image else active.preview
        return {
            "progress": done,
            "eta_relative": spent * (1 - done) / done if done else 0.0,
            "state": {
                **IDLE["state"],
                "interrupted": active.interrupted,
                "job": job.id,
                "job_count": len(found),
                "job_timestamp": job.created_at.strftime("%Y%m%d%H%M%S"),
                "job_no": active.picture,
                "sampling_step": active.step,
                "sampling_steps": active.of,
            },
            "current_image": None if preview is None else _base64(desk.doorway.read(preview)),
            "textinfo": None,
        }

    @router.post("/interrupt", responses=_shown({}))
    def interrupt(request: Request) -> dict[str, Any]:
        """Ends the caller's unfinished jobs; what was finished is still answered."""
        for active in desk.active(_who(request)):
            active.interrupted = True
            desk.doorway.admission.jobs.cancel(active.job.id)
        return {}

    @router.post("/skip", responses=_shown({}))
    def skip(request: Request) -> dict[str, Any]:
        """Ends the caller's oldest job, when it is of one picture.

        Raises:
            InputError: It has several: one alone cannot be skipped here.
        """
        for active in desk.active(_who(request))[:1]:
            if len(active.asked.requests) > 1:
                raise InputError(
                    "skip cannot leave out one picture of several; use interrupt, which ends all"
                )
            active.interrupted = True
            desk.doorway.admission.jobs.cancel(active.job.id)
        return {}


# -- settings --------------------------------------------------------------------------------------


def _add_options(router: APIRouter, desk: _Desk) -> None:
    @router.get(
        "/options",
        responses=_shown({CHECKPOINT: "bundled", "samples_format": "png"}),
    )
    def read_options(request: Request) -> dict[str, Any]:
        """The settings that there are here."""
        return {
            CHECKPOINT: desk.model(_who(request)),
            "samples_format": "png",
            "CLIP_stop_at_last_layers": 1,
        }

    @router.post(
        "/options",
        responses={200: {"content": {"application/json": {"examples": {"done": {"value": None}}}}}},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"type": "object"},
                        "example": {CHECKPOINT: "bundled"},
                    }
                },
            }
        },
    )
    async def set_options(request: Request) -> None:
        """Chooses the model of the caller's next requests, among those that are offered."""
        sent = read_object(await request.body())
        unknown = sorted(set(sent) - {CHECKPOINT})
        if unknown:
            raise InputError(f"{unknown[0][:60]} cannot be set here; only {CHECKPOINT}")
        if CHECKPOINT in sent:
            name = str(sent[CHECKPOINT])
            with in_its_words():
                desk.doorway.resolve_model(name)
            desk.choose_model(_who(request), name)


def _add_lists(
    router: APIRouter, doorway: Doorway, list_loras: Callable[[], Sequence[str]]
) -> None:
    def add(path: str, summary: str, example: object, answer: Callable[[], object]) -> None:
        router.add_api_route(
            path,
            answer,
            methods=["GET"],
            summary=summary,
            description=f"{summary}, as AUTOMATIC1111 lists them.",
            name=f"a1111_{path.strip('/').replace('-', '_')}",
            responses=_shown(example),
            response_model=None,
        )

    models = [_model_view(name) for name in doorway.model_names]
    samplers = [{"name": name, "aliases": [], "options": {}} for name in SAMPLERS]
    schedulers = [
        {
            "name": name,
            "label": label,
            "aliases": None,
            "default_rho": -1,
            "need_inner_model": False,
        }
        for name, label in SCHEDULERS
    ]
    scripts: dict[str, list[str]] = {"txt2img": [], "img2img": []}
    add("/sd-models", "The models", models[:1], lambda: models)
    add("/samplers", "The samplers", samplers[:1], lambda: samplers)
    add("/schedulers", "The noise schedules", schedulers[:1], lambda: schedulers)
    lora = {"name": "ink", "alias": "ink", "path": "ink", "metadata": {}}
    add(
        "/loras",
        "The adaptations",
        [lora],
        lambda: [{**lora, "name": one, "alias": one, "path": one} for one in list_loras()],
    )
    add("/upscalers", "The upscalers: none", [], lambda: [])
    add("/scripts", "The scripts: none", scripts, lambda: scripts)
    add("/cmd-flags", "The flags of the process: none", {}, lambda: {})


def _model_view(name: str) -> dict[str, Any]:
    """The title alone: no path of this machine, and a digest only once a picture was made."""
    return {
        "title": name,
        "model_name": name,
        "hash": None,
        "sha256": None,
        "filename": name,
        "config": None,
    }
