import threading
from collections.abc import Iterator

import pytest

from generator.jobs import JobRunner, JobState, QueueFullError
from provenance.errors import ContentBlockedError, GenerationError
from provenance.testing.stores import build_record
from provenance.types import (
    Delivery,
    EncodedImage,
    GenerationRequest,
    MediaType,
    RecordId,
    SafetyPolicy,
    SafetyReport,
    SignedAsset,
)

REQUEST = GenerationRequest(prompt="a tree", seed=1, steps=3)


def a_delivery() -> Delivery:
    """A delivery as the service answers it."""
    image = EncodedImage(b"bytes", MediaType.PNG)
    record = build_record(RecordId("0" * 16))
    return Delivery(record, SignedAsset(image, "0" * 64, "urn:c2pa:x", b"store", (), False))


class Renderer:
    """Counts steps, waits at a gate, and fails as told."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.errors: list[Exception] = []
        self.seen: list[int] = []

    def __call__(self, request, on_step):
        for step in range(request.steps):
            on_step(step + 1, request.steps)
        self.gate.wait(10)
        self.seen.append(request.seed)
        if self.errors:
            raise self.errors.pop(0)
        return a_delivery()


@pytest.fixture
def renderer() -> Renderer:
    return Renderer()


@pytest.fixture
def runner(renderer: Renderer) -> Iterator[JobRunner]:
    made = JobRunner(renderer, max_queue=2)
    yield made
    renderer.gate.set()
    made.stop()


def test_a_job_counts_its_steps_and_ends_done(runner: JobRunner) -> None:
    job = runner.submit((REQUEST, REQUEST))
    assert job.finished.wait(10)
    assert (job.state, job.steps_done, job.steps_total) == (JobState.DONE, 6, 6)
    assert len(job.results) == 2
    assert runner.get(job.id) is job


def test_a_full_queue_is_refused_and_forgotten(runner: JobRunner, renderer: Renderer) -> None:
    renderer.gate.clear()
    running = runner.submit((REQUEST,))
    while running.state is JobState.QUEUED:
        pass
    waiting = [runner.submit((REQUEST,)) for _ in range(2)]
    with pytest.raises(QueueFullError, match="2 jobs are waiting"):
        runner.submit((REQUEST,))
    renderer.gate.set()
    for job in (running, *waiting):
        assert job.finished.wait(10)
        assert job.state is JobState.DONE


def test_a_failed_job_does_not_stop_the_worker(runner: JobRunner, renderer: Renderer) -> None:
    report = SafetyReport("c", "1", {"a": 1.0}, {"a": 0.5}, SafetyPolicy.BLOCK)
    renderer.errors = [
        GenerationError("out of memory"),
        ContentBlockedError("flagged", report, "0" * 16),
        ZeroDivisionError("a defect"),
    ]
    states = []
    for _ in range(4):
        job = runner.submit((REQUEST,))
        assert job.finished.wait(10)
        states.append(job.state)
    assert states == [JobState.FAILED, JobState.REFUSED, JobState.FAILED, JobState.DONE]


def test_stopping_finishes_what_runs_and_fails_what_waits(renderer: Renderer) -> None:
    runner = JobRunner(renderer, max_queue=2)
    renderer.gate.clear()
    running = runner.submit((REQUEST,))
    while running.state is JobState.QUEUED:
        pass
    waiting = runner.submit((REQUEST,))
    stopper = threading.Thread(target=runner.stop)
    stopper.start()
    renderer.gate.set()
    stopper.join(10)
    assert not stopper.is_alive()
    assert running.state is JobState.DONE
    assert waiting.state is JobState.FAILED


def test_an_unknown_job_is_none(runner: JobRunner) -> None:
    assert runner.get("nothing") is None
