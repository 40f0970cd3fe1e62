"""The job service on real rows and the real write path; only the model is a drawn picture."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from generator.jobs import EventKind, Job, JobOptions, JobService, JobState, PictureState
from generator.service import Studio
from generator.wiring import Generator, build_generator
from provenance.config import load_settings
from provenance.errors import (
    CancelledError,
    CapacityError,
    ContentBlockedError,
    GenerationError,
    IdempotencyConflictError,
    InputError,
    QueueFullError,
    RecordNotFoundError,
    RegistryUnavailableError,
)
from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker
from provenance.types import GenerationRequest
from registry.jobs import JobStore

REQUEST = GenerationRequest(
    prompt="a tree, PRIVATE-WORD", seed=1, steps=3, width_px=256, height_px=256
)


class GatedPipeline(GradientPipeline):
    """Waits at a gate before each step, and fails as told."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.errors: list[Exception] = []
        self.seeds: list[int] = []
        self.batches: list[list[int]] = []

    def render(self, request, on_step, *, resume=None):
        self.seeds.append(request.seed)
        if self.errors:
            raise self.errors.pop(0)

        def gated(report):
            self.began.set()
            assert self.gate.wait(180)
            on_step(report)

        return super().render(request, gated)

    def render_batch(self, requests, on_step):
        self.batches.append([request.seed for request in requests])
        if self.errors:
            raise self.errors.pop(0)

        def gated(report):
            self.began.set()
            assert self.gate.wait(180)
            on_step(report)

        return super().render_batch(requests, gated)


class Deployment:
    """One home folder; a service can be built on it more than once, as after a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pipeline = GatedPipeline()
        self.checker = LuminanceChecker()
        self.running: list[JobService] = []

    def build(self, **environ: str) -> tuple[Generator, JobService]:
        settings = load_settings(
            environ={
                "COUNTERMARK_SERVE_MAX_QUEUE": "3",
                "COUNTERMARK_GENERATOR_BATCH_SIZE": "1",
                **environ,
            },
            home=self.folder,
        )
        studio = Studio(self.pipeline, self.checker)
        generator = build_generator(settings)
        service = replace(generator.service, open_studio=lambda _: studio)
        return generator, generator.build_jobs(service)

    def start(self, **environ: str) -> JobService:
        _, service = self.build(**environ)
        service.start()
        self.running.append(service)
        return service

    def close(self) -> None:
        self.pipeline.gate.set()
        for service in self.running:
            service.stop(180)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path / "home")
    yield made
    made.close()


def seeds(*numbers: int) -> tuple[GenerationRequest, ...]:
    return tuple(replace(REQUEST, seed=number) for number in numbers)


def ended(service: JobService, job: Job) -> Job:
    found = asyncio.run(service.wait(job.id, 180))
    assert found.state.is_final, found
    return found


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_job_is_delivered_and_forgets_what_was_asked_for(deployment: Deployment) -> None:
    service = deployment.start()
    job = ended(service, service.submit(seeds(7, 8)))
    assert (job.state, job.steps_done, job.steps_total) == (JobState.DONE, 6, 6)
    assert [record.parameters["seed"] for record in job.results] == [7, 8]
    assert [p.record_id for p in job.pictures] == [r.record_id for r in job.results]
    service.stop(5)
    for file in deployment.folder.rglob("*"):
        assert not file.is_file() or b"PRIVATE-WORD" not in file.read_bytes(), file


def test_a_request_that_cannot_be_delivered_is_not_queued(deployment: Deployment) -> None:
    _, service = deployment.build()
    with pytest.raises(CapacityError, match="too small"):
        service.submit((replace(REQUEST, width_px=64),))
    with pytest.raises(InputError, match="not offered"):
        service.submit((replace(REQUEST, model="some/other"),))


def test_a_full_queue_says_when_to_come_back(deployment: Deployment) -> None:
    _, service = deployment.build()
    for number in range(3):
        assert service.submit(seeds(number)).position == number
    with pytest.raises(QueueFullError, match="3 jobs are waiting") as caught:
        service.submit(seeds(4))
    assert caught.value.retry_after_s >= 1


def test_a_failed_job_does_not_stop_the_worker(deployment: Deployment) -> None:
    service = deployment.start()
    deployment.pipeline.errors = [GenerationError("out of memory"), ZeroDivisionError("a defect")]
    jobs = [ended(service, service.submit(seeds(number))) for number in range(3)]
    assert [job.state for job in jobs] == [JobState.FAILED, JobState.FAILED, JobState.DONE]
    assert str(jobs[0].error) == "out of memory"


def test_a_refused_picture_names_its_reasons_and_the_others_are_delivered(
    deployment: Deployment,
) -> None:
    class Second(LuminanceChecker):
        calls = 0

        def score(self, image):
            self.calls += 1
            return {"bright": 2.0 if self.calls == 2 else 0.0}

    deployment.checker = Second()
    service = deployment.start()
    job = ended(service, service.submit(seeds(1, 2, 3)))
    assert job.state is JobState.REFUSED
    assert [p.state for p in job.pictures] == ["done", "refused", "done"]
    assert len(job.results) == 2
    assert isinstance(job.error, ContentBlockedError)
    assert job.error.report.flagged == ("bright",)
    assert job.error.refusal_id == job.pictures[1].record_id


def test_the_same_key_and_body_is_the_same_job_across_restarts(deployment: Deployment) -> None:
    first = deployment.start()
    job = first.submit(seeds(1), idempotency_key="order 1", api_key_id="a")
    ended(first, job)
    first.stop(5)
    generator, second = deployment.build()
    again = second.submit(seeds(1), idempotency_key="order 1", api_key_id="a")
    assert (again.id, again.state) == (job.id, JobState.DONE)
    assert generator.store.count() == 1
    with pytest.raises(IdempotencyConflictError, match="order 1"):
        second.submit(seeds(2), idempotency_key="order 1", api_key_id="a")
    assert second.submit(seeds(2), idempotency_key="order 1", api_key_id="b").id != job.id


def test_a_retry_is_compared_by_what_the_client_sent_when_a_seed_was_drawn(
    deployment: Deployment,
) -> None:
    _, service = deployment.build()
    sent = JobOptions(fingerprint=b'{"prompt": "a tree"}')
    job = service.submit(seeds(1), idempotency_key="k", options=sent)
    again = service.submit(seeds(2), idempotency_key="k", options=sent)
    assert again.id == job.id
    assert [p.seed for p in again.pictures] == [1]


def test_cancelling_a_waiting_job_ends_it_at_once(deployment: Deployment) -> None:
    _, service = deployment.build()
    job = service.cancel(service.submit(seeds(1)).id)
    assert job.state is JobState.CANCELLED
    assert job.pictures[0].state is PictureState.CANCELLED
    assert service.cancel(job.id).state is JobState.CANCELLED


def test_cancelling_a_running_job_ends_it_between_two_steps(deployment: Deployment) -> None:
    deployment.pipeline.gate.clear()
    service = deployment.start()
    job = service.submit(seeds(1, 2))
    assert deployment.pipeline.began.wait(180)
    service.cancel(job.id)
    deployment.pipeline.gate.set()
    found = ended(service, job)
    assert found.state is JobState.CANCELLED
    assert isinstance(found.error, CancelledError)
    assert found.results == ()
    assert deployment.pipeline.seeds == [1]


class Turnstile:
    """A gate that lets so many steps through before it must be opened."""

    def __init__(self, steps: int) -> None:
        self._free = threading.Semaphore(steps)

    def wait(self, timeout_s: float) -> bool:
        return self._free.acquire(timeout=timeout_s)

    def set(self) -> None:
        self._free.release(1000)


def test_the_steps_of_a_job_that_is_cancelled_do_not_go_back(deployment: Deployment) -> None:
    deployment.pipeline.gate = Turnstile(2)  # type: ignore[assignment]
    service = deployment.start()
    job = service.submit(seeds(1))
    until(lambda: service.get(job.id).steps_done == 2)
    assert service.cancel(job.id).steps_done == 2
    deployment.pipeline.gate.set()
    found = ended(service, job)
    assert found.state is JobState.CANCELLED
    assert found.steps_done >= 2


def test_a_job_that_was_cancelled_when_its_process_was_killed_is_not_rendered(
    deployment: Deployment,
) -> None:
    generator, service = deployment.build()
    job = service.submit(seeds(1))
    rows = JobStore(generator.store.engine)  # type: ignore[attr-defined]
    rows.claim([job.id], owner="killed", lease_expires_at=datetime.now(UTC))
    assert service.cancel(job.id).state is JobState.RUNNING
    assert rows.requeue_expired() == 1
    found = ended(deployment.start(), job)
    assert (found.state, found.results) == (JobState.CANCELLED, ())
    assert deployment.pipeline.seeds == []


def test_a_job_whose_end_cannot_be_written_keeps_no_other_from_ending(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    requeue, broken = JobStore.requeue, []

    def fail_once(rows: JobStore, job_id: str, **kinds: object) -> bool:
        if not broken:
            broken.append(job_id)
            raise RegistryUnavailableError("the disk is full")
        return requeue(rows, job_id, **kinds)  # type: ignore[arg-type]

    monkeypatch.setattr(JobStore, "requeue", fail_once)
    deployment.pipeline.errors = [RegistryUnavailableError("the disk is full")]
    _, service = deployment.build(**BATCHED)
    jobs = [service.submit(seeds(number)) for number in (1, 2)]
    service.start()
    deployment.running.append(service)
    until(lambda: broken)
    (other,) = (job for job in jobs if job.id not in broken)
    assert ended(service, other).state is JobState.DONE


def test_stopping_finishes_the_running_picture_and_leaves_the_rest(deployment: Deployment) -> None:
    deployment.pipeline.gate.clear()
    first = deployment.start()
    running, waiting = first.submit(seeds(1, 2)), first.submit(seeds(3))
    assert deployment.pipeline.began.wait(180)
    first.begin_stop()
    deployment.pipeline.gate.set()
    first.stop(180)
    assert [p.state for p in first.get(running.id).pictures] == ["done", "waiting"]
    assert first.get(running.id).state is JobState.QUEUED
    second = deployment.start()
    assert ended(second, running).state is JobState.DONE
    assert ended(second, waiting).state is JobState.DONE
    assert deployment.pipeline.seeds == [1, 2, 3]


def test_what_is_not_done_when_the_time_is_up_is_rendered_after_the_next_start(
    deployment: Deployment,
) -> None:
    deployment.pipeline.gate.clear()
    first = deployment.start()
    job = first.submit(seeds(1))
    assert deployment.pipeline.began.wait(180)
    threading.Timer(0.5, deployment.pipeline.gate.set).start()
    first.stop(0.1)
    assert (first.get(job.id).state, first.get(job.id).steps_done) == (JobState.QUEUED, 0)
    second = deployment.start()
    assert ended(second, job).state is JobState.DONE


BATCHED = {"COUNTERMARK_GENERATOR_BATCH_SIZE": "4", "COUNTERMARK_SERVE_MAX_QUEUE": "9"}


def test_jobs_that_are_alike_are_rendered_together(deployment: Deployment) -> None:
    _, service = deployment.build(**BATCHED)
    other = (replace(REQUEST, seed=9, steps=2),)
    jobs = [service.submit(one) for one in (seeds(1), other, seeds(2, 3), seeds(4, 5))]
    service.start()
    deployment.running.append(service)
    found = [ended(service, job) for job in jobs]
    assert {job.state for job in found} == {JobState.DONE}
    assert deployment.pipeline.batches == [[1, 2, 3], [4, 5]]
    assert deployment.pipeline.seeds == [9]
    drawn = [[r.parameters["seed"] for r in job.results] for job in found]
    assert drawn == [[1], [9], [2, 3], [4, 5]]
    alone = service.submit(seeds(2))
    again = ended(service, alone).results[0]
    assert again.model == found[2].results[0].model


def test_a_batch_that_is_too_large_is_rendered_one_by_one(deployment: Deployment) -> None:
    deployment.pipeline.errors = [GenerationError("out of memory")]
    service = deployment.start(**BATCHED)
    job = ended(service, service.submit(seeds(1, 2)))
    assert (job.state, len(job.results)) == (JobState.DONE, 2)
    assert deployment.pipeline.seeds == [1, 2]


def test_a_job_that_is_cancelled_leaves_its_batch_to_the_others(deployment: Deployment) -> None:
    deployment.pipeline.gate.clear()
    _, service = deployment.build(**BATCHED)
    one, other = service.submit(seeds(1)), service.submit(seeds(2))
    service.start()
    deployment.running.append(service)
    assert deployment.pipeline.began.wait(180)
    service.cancel(one.id)
    deployment.pipeline.gate.set()
    assert ended(service, one).state is JobState.CANCELLED
    assert len(ended(service, other).results) == 1
    assert service.get(one.id).results == ()


def test_events_come_in_order_and_go_on_after_the_last_one_seen(deployment: Deployment) -> None:
    deployment.pipeline.gate.clear()
    service = deployment.start()
    job = service.submit(seeds(1))

    async def follow(after: str | None = None) -> list:
        return [event async for event in service.events(job.id, after=after) if event]

    threading.Timer(0.3, deployment.pipeline.gate.set).start()
    seen = asyncio.run(follow())
    kinds = [event.kind for event in seen if event.kind is not EventKind.QUEUED]
    assert kinds == [EventKind.STEP] * 3 + [EventKind.DONE]
    assert [event.data["step"] for event in seen if event.kind is EventKind.STEP] == [1, 2, 3]
    assert seen[-1].data["record_ids"] == [service.get(job.id).results[0].record_id]
    assert asyncio.run(follow(seen[-2].id)) == seen[-1:]
    assert asyncio.run(follow("other-99")) == seen


def test_previews_are_registered_outputs_that_name_their_picture(deployment: Deployment) -> None:
    generator, service = deployment.build()
    request = replace(REQUEST, steps=4)
    job = service.submit((request,), options=JobOptions(previews_every=2))
    service.start()
    deployment.running.append(service)
    (result,) = ended(service, job).results

    async def follow() -> list:
        return [event async for event in service.events(job.id) if event]

    events = asyncio.run(follow())
    (preview,) = [event for event in events if event.kind is EventKind.PREVIEW]
    assert (preview.data["step"], preview.data["of"]) == (2, 4)
    record = generator.store.get(preview.data["record_id"])
    assert record.parameters["preview_of"] == result.record_id
    assert record.parameters["preview_step"] == 2
    assert record.watermark is not None
    assert generator.assets is not None
    assert generator.assets.get(record.asset.sha256)
    assert record.record_id not in {one.record_id for one in service.get(job.id).results}


def test_an_unknown_job_is_said_to_be_unknown(deployment: Deployment) -> None:
    _, service = deployment.build()
    for ask in (service.get, service.cancel):
        with pytest.raises(RecordNotFoundError, match="no job"):
            ask("nothing")
