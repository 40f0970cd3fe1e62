"""HTTP routes of the generator: parse, call the service, map."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from generator.jobs import Job, JobRunner, QueueFullError
from generator.schemas import GenerationBody, JobView
from provenance.errors import ContentBlockedError, InputError, ProvenanceError, RecordNotFoundError
from provenance.types import parse_record_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from generator.wiring import Generator
    from provenance.config import Settings

__all__ = ["build_router"]

MAX_WAIT_S = 600.0
"""Longest time that ``?wait=true`` holds a connection; the job goes on afterwards."""

POLL_S = 0.05
"""How often a waiting connection looks whether its job is done; far below a render's time."""


def build_router(settings: Settings) -> APIRouter:
    """Routes for jobs and delivered assets; the default model loads before the service starts.

    Raises:
        ProvenanceError: The model, the keys or the registry are unusable, or the signing
            self-test fails.
    """
    from generator.wiring import build_generator

    generator = build_generator(settings)
    generator.self_test()
    generator.service.open_studio(None)
    runner = JobRunner(generator.service.generate, max_queue=settings.serve.max_queue)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(runner.stop)

    router = APIRouter(prefix="/v1", tags=["generate"], lifespan=lifespan)
    _add_jobs(router, runner, generator, settings)
    _add_assets(router, generator)
    return router


def _add_jobs(
    router: APIRouter, runner: JobRunner, generator: Generator, settings: Settings
) -> None:
    @router.post("/generations", status_code=HTTPStatus.ACCEPTED, response_model=JobView)
    async def create_generation(
        body: GenerationBody,
        request: Request,
        response: Response,
        wait: Annotated[bool, Query(description="Block until the job is done.")] = False,
    ) -> Any:
        """Queues pictures; answers the job, or with `wait` its result."""
        if body.n > settings.generator.max_batch:
            raise InputError(f"n {body.n} is more than generator.max_batch allows; split it")
        requests = body.to_requests()
        generator.check_model(body.model)
        try:
            job = runner.submit(requests)
        except QueueFullError as error:
            raise HTTPException(429, str(error), headers={"Retry-After": "10"}) from error
        response.headers["Location"] = f"/v1/generations/{job.id}"
        if not wait:
            return _job_view(job, request)
        await _wait_for(job)
        return _settled(job, request, response)

    @router.get("/generations/{job_id}", response_model=JobView)
    async def read_generation(job_id: str, request: Request) -> Any:
        """Where a job stands."""
        job = runner.get(job_id)
        if job is None:
            raise RecordNotFoundError(f"no job {job_id[:40]!r}; it may be long finished")
        return _job_view(job, request)


def _add_assets(router: APIRouter, generator: Generator) -> None:
    @router.get("/assets/{record_id}", response_class=Response)
    def read_asset(record_id: str) -> Response:
        """The signed bytes, exactly as they were delivered."""
        record = generator.store.get(parse_record_id(record_id))
        data = generator.assets.get(record.asset.sha256) if generator.assets else None
        if data is None:
            raise RecordNotFoundError(f"the bytes of record {record_id} are not kept here")
        headers = {"ETag": f'"{record.asset.sha256}"', "X-Content-Type-Options": "nosniff"}
        return Response(data, media_type=str(record.asset.media_type), headers=headers)


async def _wait_for(job: Job) -> None:
    """Waits without holding a worker thread: many clients wait, one thread renders."""
    deadline = time.monotonic() + MAX_WAIT_S
    while not job.finished.is_set() and time.monotonic() < deadline:  # noqa: ASYNC110  a thread sets it
        await asyncio.sleep(POLL_S)


def _settled(job: Job, request: Request, response: Response) -> Any:
    """The answer of ``?wait=true``.

    A job that delivered nothing answers its error; one that delivered some pictures before it
    ended answers them, with what ended it, so that no delivered picture goes unnamed.
    """
    if job.error is not None and not job.results:
        raise job.error
    if job.finished.is_set():
        response.status_code = HTTPStatus.OK
    return _job_view(job, request)


def _job_view(job: Job, request: Request) -> JobView:
    return JobView(
        id=job.id,
        status=job.state.value,
        steps_done=job.steps_done,
        steps_total=job.steps_total,
        pictures_done=len(job.results),
        pictures_total=len(job.requests),
        results=[
            view.model_copy(
                update={"asset_url": str(request.url_for("read_asset", record_id=view.record_id))}
            )
            for view in job.results
        ],
        detail=_detail(job.error),
        url=str(request.url_for("read_generation", job_id=job.id)),
    )


def _detail(error: ProvenanceError | None) -> str | None:
    """What a stranger may read: reasons of a refusal or a bad field, never paths of the server."""
    if error is None:
        return None
    if isinstance(error, ContentBlockedError | InputError):
        return str(error)
    return "not delivered; the service's log says why"
