"""HTTP routes of the generator: parse, call the service, map."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import signal
import threading
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from generator.a1111_api import build_a1111_router
from generator.admission import Admission, IdempotencyKey, checked_key
from generator.doorway import Doorway
from generator.job_documents import public_detail
from generator.jobs import Job, JobOptions, JobService
from generator.openai_api import build_openai_router
from generator.schemas import GenerationBody, JobView, PictureView, record_asset_view
from provenance.config import Settings
from provenance.errors import InputError, ProvenanceError, RecordNotFoundError
from provenance.imaging import ImageLimits
from provenance.serving import metrics
from provenance.serving.access import caller_of, needs
from provenance.serving.request_log import note_records
from provenance.types import Scope, parse_record_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from generator.jobs import JobEvent
    from generator.wiring import Generator

__all__ = ["build_router", "create_app", "job_view"]

log = logging.getLogger(__name__)

MAX_WAIT_S = 600.0
"""Longest time that ``?wait=true`` holds a connection; the job goes on afterwards."""
HEARTBEAT_TURNS = 15
"""A comment after so many seconds without an event: proxies close silent connections."""

PROBLEM: dict[str, Any] = {"content": {"application/problem+json": {}}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"description": "A field is wrong; the detail names it.", **PROBLEM},
    422: {
        "description": "Refused by the safety policy, or the Idempotency-Key was used for "
        "another request.",
        **PROBLEM,
    },
    429: {"description": "Too many jobs wait; Retry-After says when to come back.", **PROBLEM},
}
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "There is none.", **PROBLEM}}


def create_app(settings: Settings | None = None) -> FastAPI:
    """The generator's routes alone, e.g. for ``uvicorn --factory generator.api:create_app``.

    Raises:
        ProvenanceError: As `build_router`, or the settings are unusable.
    """
    from provenance.config import load_settings
    from provenance.web import compose_app

    settings = load_settings() if settings is None else settings
    return compose_app(settings, [build_router(settings)])


def build_router(settings: Settings) -> APIRouter:
    """Routes for jobs and delivered assets; the default model loads before the service starts.

    Raises:
        ProvenanceError: The model, the keys or the registry are unusable, or the signing
            self-test fails.
    """
    from generator.wiring import build_generator
    from registry.wiring import open_api_keys

    generator = build_generator(settings, marking_workers=settings.generator.marking_workers)
    generator.self_test()
    generator.service.open_studio(None)
    jobs = generator.build_jobs(generator.service)
    admission = Admission(jobs, open_api_keys(settings))
    metrics.QUEUE_LENGTH.set_function(lambda: _queue_length(jobs))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with generator.marking:
            jobs.start()
            with _told_of_signals(jobs.begin_stop):
                yield
            await run_in_threadpool(jobs.stop, settings.serve.drain_s)

    router = APIRouter(prefix="/v1", tags=["generate"], dependencies=needs(Scope.GENERATE))
    _add_jobs(router, admission, generator, settings)
    _add_events(router, admission)
    _add_assets(router, generator)
    # One router with the routes of all: a router inside a router would hide what its routes need.
    whole = APIRouter(lifespan=lifespan)
    for part in (router, *_build_foreign_doors(generator, admission, settings)):
        whole.routes.extend(part.routes)
    return whole


def _build_foreign_doors(
    generator: Generator, admission: Admission, settings: Settings
) -> Sequence[APIRouter]:
    """Routes for clients of other services; they hand out delivered bytes, so need them kept."""
    from generator.pipelines.adapters import list_loras
    from generator.wiring import lora_folder

    if generator.assets is None:
        log.info("no OpenAI and AUTOMATIC1111 routes: registry.keep_assets is off")
        return ()
    doorway = Doorway(
        admission=admission,
        records=generator.store,
        assets=generator.assets,
        defaults_of=generator.defaults,
        default_model=settings.generator.model,
        allowed_models=settings.generator.allowed_models,
        max_batch=settings.generator.max_batch,
        limits=_limits(settings),
    )
    return (
        build_openai_router(doorway),
        build_a1111_router(
            doorway,
            previews_every=settings.serve.previews_every,
            list_loras=partial(list_loras, lora_folder(settings)),
        ),
    )


@contextlib.contextmanager
def _told_of_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` when the process is told to end.

    A server waits for its open connections before it ends the application, and clients that wait
    for queued jobs would keep theirs open for as long as there are jobs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: Any) -> None:
        stop()
        earlier = before[signal.Signals(number)]
        if callable(earlier):
            earlier(number, frame)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, earlier in before.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, earlier)


def _queue_length(jobs: JobService) -> float:
    try:
        return float(jobs.count_waiting())
    except ProvenanceError:  # not known is what Prometheus calls NaN
        return math.nan


# -- jobs ----------------------------------------------------------------------------------------


def _limits(settings: Settings) -> ImageLimits:
    return ImageLimits(settings.limits.max_bytes, settings.limits.max_pixels)


def _add_jobs(
    router: APIRouter, admission: Admission, generator: Generator, settings: Settings
) -> None:
    jobs = admission.jobs

    @router.post(
        "/generations",
        status_code=HTTPStatus.ACCEPTED,
        response_model=JobView,
        responses={200: {"description": "With `wait`: the job has ended."}, **ANSWERS},
    )
    async def create_generation(
        body: GenerationBody,
        request: Request,
        response: Response,
        wait: Annotated[bool, Query(description="Block until the job is done.")] = False,
        idempotency_key: IdempotencyKey = None,
    ) -> Any:
        """Queues pictures; answers the job, or with `wait` its result."""
        if body.n > settings.generator.max_batch:
            raise InputError(f"n {body.n} is more than generator.max_batch allows; split it")
        key = checked_key(idempotency_key)

        def submit() -> Job:
            """In a thread: reading pictures takes time."""
            defaults = generator.defaults(body.model)
            every = body.previews_every
            return admission.submit(
                caller_of(request),
                body.to_requests(defaults, limits=_limits(settings)),
                idempotency_key=key,
                options=JobOptions(
                    previews_every=settings.serve.previews_every if every is None else every,
                    fingerprint=body.model_dump_json().encode(),
                ),
            )

        job = await run_in_threadpool(submit)
        response.headers["Location"] = f"/v1/generations/{job.id}"
        if not wait:
            return job_view(job, request)
        return _settled(await jobs.wait(job.id, MAX_WAIT_S), request, response)

    @router.get("/generations/{job_id}", response_model=JobView, responses=UNKNOWN)
    def read_generation(job_id: str, request: Request) -> Any:
        """Where a job stands."""
        return job_view(admission.find(caller_of(request), job_id), request)

    @router.delete(
        "/generations/{job_id}",
        response_model=JobView,
        responses={202: {"description": "It ends after its current step."}, **UNKNOWN},
    )
    def cancel_generation(job_id: str, request: Request, response: Response) -> Any:
        """Cancels a job: at once when it waits, else between two steps.

        What was delivered stays; a job that has ended stays as it is.
        """
        admission.find(caller_of(request), job_id)
        job = jobs.cancel(job_id)
        if not job.state.is_final:
            response.status_code = HTTPStatus.ACCEPTED
        return job_view(job, request)


def _settled(job: Job, request: Request, response: Response) -> Any:
    """The answer of ``?wait=true``.

    A job that delivered nothing answers its error; one that delivered some pictures before it
    ended answers them, with what ended it, so that no delivered picture goes unnamed.
    """
    if job.error is not None and not job.results:
        raise job.error
    if job.state.is_final:
        response.status_code = HTTPStatus.OK
    note_records(record.record_id for record in job.results)
    return job_view(job, request)


def job_view(job: Job, request: Request) -> JobView:
    """The job as its client sees it."""
    return JobView(
        id=job.id,
        status=job.state.value,
        queue_position=job.position,
        steps_done=job.steps_done,
        steps_total=job.steps_total,
        pictures_done=len(job.results),
        pictures_total=len(job.pictures),
        pictures=[
            PictureView(
                number=picture.number,
                seed=picture.seed,
                status=picture.state.value,
                record_id=picture.record_id if picture.state.value in {"done", "refused"} else None,
            )
            for picture in job.pictures
        ],
        results=[
            record_asset_view(
                record, asset_url=str(request.url_for("read_asset", record_id=record.record_id))
            )
            for record in job.results
        ],
        detail=public_detail(job.error),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        url=str(request.url_for("read_generation", job_id=job.id)),
        events_url=str(request.url_for("follow_generation", job_id=job.id)),
    )


# -- events --------------------------------------------------------------------------------------


def _add_events(router: APIRouter, admission: Admission) -> None:
    @router.get(
        "/generations/{job_id}/events",
        response_class=StreamingResponse,
        responses={
            200: {"description": "Server-sent events.", "content": {"text/event-stream": {}}},
            **UNKNOWN,
        },
    )
    async def follow_generation(
        job_id: str,
        request: Request,
        last_event_id: Annotated[
            str | None, Header(description="Go on after this event, after a lost connection.")
        ] = None,
    ) -> StreamingResponse:
        """Tells what happens to a job, as it happens; ends with the job.

        Events: `queued` (position), `step` (k of n), `preview` (asset), and one of `done`,
        `failed`, `refused`, `cancelled`.
        """
        # An unknown job is a 404, not an empty stream.
        await run_in_threadpool(admission.find, caller_of(request), job_id)
        lines = _lines(admission.jobs, job_id, last_event_id, request)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines, media_type="text/event-stream", headers=headers)


async def _lines(
    jobs: JobService, job_id: str, after: str | None, request: Request
) -> AsyncIterator[str]:
    silent = 0
    async for event in jobs.events(job_id, after=after):
        if event is not None:
            silent = 0
            yield _line(event, request)
        elif (silent := silent + 1) % HEARTBEAT_TURNS == 0:
            yield ": waiting\n\n"


def _line(event: JobEvent, request: Request) -> str:
    data = dict(event.data)
    for one, many in (("record_id", "asset_url"), ("record_ids", "asset_urls")):
        if one in data:
            data[many] = _asset_urls(data[one], request)
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(data)}\n\n"


def _asset_urls(ids: str | list[str], request: Request) -> str | list[str]:
    if isinstance(ids, str):
        return str(request.url_for("read_asset", record_id=ids))
    return [str(request.url_for("read_asset", record_id=one)) for one in ids]


# -- assets --------------------------------------------------------------------------------------


def _add_assets(router: APIRouter, generator: Generator) -> None:
    @router.get(
        "/assets/{record_id}",
        response_class=Response,
        responses={
            200: {
                "description": "The file.",
                "content": {"image/png": {}, "image/jpeg": {}, "image/webp": {}},
            },
            **UNKNOWN,
        },
    )
    def read_asset(record_id: str) -> Response:
        """The signed bytes, exactly as they were delivered."""
        record = generator.store.get(parse_record_id(record_id))
        data = generator.assets.get(record.asset.sha256) if generator.assets else None
        if data is None:
            raise RecordNotFoundError(f"the bytes of record {record_id} are not kept here")
        note_records([record.record_id])
        headers = {"ETag": f'"{record.asset.sha256}"', "X-Content-Type-Options": "nosniff"}
        return Response(data, media_type=str(record.asset.media_type), headers=headers)
