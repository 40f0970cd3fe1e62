"""A bounded queue in front of the one thread that owns the pipeline.

Thin on purpose: jobs live in memory, and a restart forgets those that have not been delivered
(their reservations expire). What was delivered is in the registry.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from generator.schemas import delivery_view
from provenance.errors import ContentBlockedError, ProvenanceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.schemas import AssetView
    from provenance.types import Delivery, GenerationRequest

    Render = Callable[[GenerationRequest, Callable[[int, int], None]], Delivery]

__all__ = ["Job", "JobRunner", "JobState", "QueueFullError"]

log = logging.getLogger(__name__)

KEPT_FINISHED_JOBS = 100
"""Finished jobs that can still be asked for."""


class QueueFullError(ProvenanceError):
    """No room in the queue; the client should come back later."""


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(slots=True)
class Job:
    """One request for one or more pictures; written by the worker, read by anybody."""

    id: str
    requests: tuple[GenerationRequest, ...] = field(repr=False)
    state: JobState = JobState.QUEUED
    steps_done: int = 0
    steps_total: int = 0
    results: list[AssetView] = field(default_factory=list, repr=False)
    error: ProvenanceError | None = None
    finished: threading.Event = field(default_factory=threading.Event, repr=False)


class JobRunner:
    """Runs jobs one after the other; every public method is safe from any thread."""

    def __init__(self, render: Render, *, max_queue: int) -> None:
        self._render = render
        self._waiting: queue.Queue[Job | None] = queue.Queue(maxsize=max_queue)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="generator", daemon=True)
        self._thread.start()

    def submit(self, requests: tuple[GenerationRequest, ...]) -> Job:
        """Queues a job.

        Raises:
            QueueFullError: Too many jobs wait.
        """
        job = Job(id=secrets.token_hex(12), requests=requests)
        job.steps_total = sum(request.steps for request in requests)
        with self._lock:
            self._forget_old()
            self._jobs[job.id] = job
        try:
            self._waiting.put_nowait(job)
        except queue.Full as error:
            with self._lock:
                del self._jobs[job.id]
            raise QueueFullError(
                f"{self._waiting.maxsize} jobs are waiting already; try again later"
            ) from error
        return job

    def get(self, job_id: str) -> Job | None:
        """The job, or None when it is unknown or long finished."""
        with self._lock:
            return self._jobs.get(job_id)

    def stop(self) -> None:
        """Finishes the running picture, leaves the rest, ends the thread."""
        self._stopping = True
        while True:
            try:
                self._waiting.put_nowait(None)
                break
            except queue.Full:
                self._drop_one()
        self._thread.join()

    def _drop_one(self) -> None:
        try:
            dropped = self._waiting.get_nowait()
        except queue.Empty:
            return
        if dropped is not None:
            self._finish(dropped, JobState.FAILED, ProvenanceError("the service is shutting down"))

    def _forget_old(self) -> None:
        done = [key for key, job in self._jobs.items() if job.finished.is_set()]
        for key in done[: max(0, len(done) - KEPT_FINISHED_JOBS)]:
            del self._jobs[key]

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            if self._stopping:
                self._finish(job, JobState.FAILED, ProvenanceError("the service is shutting down"))
            else:
                self._run(job)

    def _run(self, job: Job) -> None:
        job.state = JobState.RUNNING
        try:
            for request in job.requests:
                before = job.steps_done
                delivery = self._render(request, _StepCounter(job, before))
                # The view, not the bytes: finished jobs must not fill the memory.
                job.results.append(delivery_view(delivery))
                job.steps_done = before + request.steps
            self._finish(job, JobState.DONE, None)
        except ContentBlockedError as error:
            self._finish(job, JobState.REFUSED, error)
        except ProvenanceError as error:
            log.warning("job %s failed: %s", job.id, error)
            self._finish(job, JobState.FAILED, error)
        except Exception as error:
            log.exception("job %s broke", job.id)
            failure = ProvenanceError(f"internal error ({type(error).__name__}); see the log")
            self._finish(job, JobState.FAILED, failure)

    @staticmethod
    def _finish(job: Job, state: JobState, error: ProvenanceError | None) -> None:
        job.error = error
        job.state = state
        job.finished.set()


@dataclass(frozen=True, slots=True)
class _StepCounter:
    """Counts the steps of one picture on top of those of the pictures before it."""

    job: Job
    before: int

    def __call__(self, done: int, _: int) -> None:
        self.job.steps_done = self.before + done
