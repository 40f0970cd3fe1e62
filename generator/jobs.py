"""Jobs as the service's clients see them: submit, follow, wait, cancel.

Jobs are rows (`registry.jobs`), so a restart loses none and does none twice; one worker
(`generator.job_worker`) runs them. Every method is safe from any thread.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from generator.job_documents import (
    batch_key,
    document_to_error,
    final_data,
    write_requests,
)
from generator.job_events import EventHub, EventKind, JobEvent
from provenance.errors import ProvenanceError, QueueFullError, RecordNotFoundError
from registry.jobs import NewJob
from registry.tables import JobState, PictureState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from generator.job_worker import JobWorker
    from provenance.interfaces import RecordStore
    from provenance.types import GenerationRequest, RegistryRecord
    from registry.jobs import JobStore, StoredJob, StoredPicture

__all__ = [
    "EventKind",
    "Job",
    "JobEvent",
    "JobOptions",
    "JobService",
    "JobState",
    "PictureState",
    "QueueFullError",
]

POLL_S = 0.05
"""How often a waiting client's task looks at memory; far below a render's time."""
ROW_POLL_S = 1.0
"""How often it looks at the row: another process may run the job."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a job is to be run.

    Attributes:
        previews_every: A marked, signed, registered preview after every so many steps; 0: none.
        fingerprint: What the client sent, byte for byte, when a part of the requests was drawn
            here (a seed, for one): a retry under the same idempotency key is compared by it.
    """

    previews_every: int = 0
    fingerprint: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands; what was asked for is not told.

    Attributes:
        id: Unguessable: who knows it may read the job.
        position: Jobs that wait before this one; None when it does not wait.
        results: Records of the delivered pictures, in the order of the requests.
        error: What ended it early. Pictures that were delivered before are in `results` still.
    """

    id: str
    state: JobState
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    steps_done: int
    steps_total: int
    position: int | None
    pictures: tuple[StoredPicture, ...]
    results: tuple[RegistryRecord, ...]
    error: ProvenanceError | None
    api_key_id: str = ""
    is_new: bool = False
    """Whether the submission that answers it made it; a retry answers the job that stood."""


class JobService:
    """Takes jobs, tells of them, ends them.

    Args:
        jobs: The rows.
        records: The registry.
        worker: Runs the jobs; started by `start`.
        events: Shared with the worker.
        resolve_model: Answers the model that a name means; raises for one that is not offered.
        check: Raises for a request that could not be delivered.
        digest: Keyed digest, 64 hex digits: what people ask for cannot be guessed from it.
        max_queue: Jobs that may wait.
    """

    def __init__(
        self,
        jobs: JobStore,
        records: RecordStore,
        worker: JobWorker,
        events: EventHub,
        *,
        resolve_model: Callable[[str | None], str | None],
        check: Callable[[GenerationRequest], object],
        digest: Callable[[bytes], str],
        max_queue: int,
    ) -> None:
        self._jobs = jobs
        self._records = records
        self._worker = worker
        self._events = events
        self._resolve_model = resolve_model
        self._check = check
        self._digest = digest
        self._max_queue = max_queue

    # -- the whole service -----------------------------------------------------------------------

    def start(self) -> None:
        """Begins to run jobs, those of an earlier process first."""
        self._worker.start()

    def begin_stop(self) -> None:
        """Takes no further job from the queue and lets waiting clients go; returns at once."""
        self._worker.begin_stop()

    def stop(self, drain_s: float) -> None:
        """Gives what runs so much time to end, and leaves the rest in the queue.

        Args:
            drain_s: Seconds for the pictures that are being rendered; what is not done by then
                is rendered by the next process.
        """
        self._worker.stop(drain_s)

    @property
    def stopping(self) -> bool:
        """Whether the service is on its way out."""
        return self._worker.stopping

    # -- jobs ------------------------------------------------------------------------------------

    def submit(
        self,
        requests: tuple[GenerationRequest, ...],
        *,
        idempotency_key: str | None = None,
        api_key_id: str | None = None,
        options: JobOptions = JobOptions(),
    ) -> Job:
        """Queues a job; the same idempotency key with the same body answers the same job.

        Raises:
            InputError: A request cannot be delivered; nothing is queued.
            CapacityError: A size is too small for the watermark.
            IdempotencyConflictError: The key was used for another body.
            QueueFullError: Too many jobs wait; says when to come back.
        """
        models = {self._resolve_model(request.model) for request in requests}
        for request in requests:
            self._check(request)
        body, inputs = write_requests(requests)
        sent = options.fingerprint or json.dumps(body, sort_keys=True).encode()
        new = NewJob(
            body=body,
            inputs=inputs,
            seeds=tuple(request.seed for request in requests),
            steps_total=sum(request.effective_steps for request in requests),
            model=next(iter(models), None),
            batch_key=batch_key(requests),
            body_digest=self._digest(sent),
            options={"previews_every": options.previews_every},
            api_key_id=api_key_id or "",
            idempotency_key=idempotency_key,
        )
        try:
            stored = self._jobs.add(new, max_queue=self._max_queue)
        except QueueFullError as error:
            raise QueueFullError(str(error), retry_after_s=self.retry_after_s()) from error
        self._worker.wake()
        return self._job_of(stored)

    def get(self, job_id: str) -> Job:
        """The job.

        Raises:
            RecordNotFoundError: There is none, or it ended long ago.
        """
        live = self._worker.steps_done(job_id)
        return self._job_of(self._jobs.get(job_id), live)

    def cancel(self, job_id: str) -> Job:
        """Ends a job: at once when it waits, after its current step when it runs.

        A job that has ended stays as it is.

        Raises:
            RecordNotFoundError: There is none, or it ended long ago.
        """
        live = self._worker.steps_done(job_id)
        stored = self._jobs.cancel(job_id)
        self._worker.cancel(job_id)
        self._tell(stored)
        return self._job_of(stored, live)

    def seconds_per_picture(self) -> float:
        """Measured over the last pictures; a guess before there were any."""
        return self._worker.seconds_per_picture

    def retry_after_s(self) -> int:
        """Seconds until the running pictures are likely to be done, and a job can move up."""
        return max(1, math.ceil(self._worker.seconds_per_picture * self._worker.pictures_left))

    def _job_of(self, stored: StoredJob, live: int | None = None) -> Job:
        """A job as it is shown.

        Args:
            stored: Its row.
            live: What this process's worker said of it *before* the row was read: asked after it, a
                worker that has just ended the job would know nothing, and the row not yet all.
        """
        waits = stored.state is JobState.QUEUED
        steps_done = stored.steps_done if stored.state.is_final else live or stored.steps_done
        return Job(
            id=stored.id,
            state=stored.state,
            created_at=stored.created_at,
            started_at=stored.started_at,
            finished_at=stored.finished_at,
            steps_done=steps_done,
            steps_total=stored.steps_total,
            position=self._jobs.position(stored) if waits else None,
            pictures=stored.pictures,
            results=self._results(stored),
            error=None if stored.error is None else document_to_error(stored.error),
            api_key_id=stored.api_key_id,
            is_new=stored.is_new,
        )

    def knows_key(self, api_key_id: str, idempotency_key: str) -> bool:
        """Whether a submission with these would answer a job that stands."""
        return self._jobs.knows_key(api_key_id, idempotency_key)

    def count_waiting(self) -> int:
        """Jobs that wait, of all processes."""
        return self._jobs.count_waiting()

    def _results(self, stored: StoredJob) -> tuple[RegistryRecord, ...]:
        found = []
        for picture in stored.pictures:
            if picture.state is PictureState.DONE and picture.record_id is not None:
                try:
                    found.append(self._records.get(picture.record_id))
                except RecordNotFoundError:
                    continue  # erased since
        return tuple(found)

    # -- following: for api modules, on the event loop -------------------------------------------

    async def wait(self, job_id: str, timeout_s: float) -> Job:
        """The job when it has ended, or as it stands when the time is up or the service stops.

        Waits without holding a thread: many clients wait, one thread renders.

        Raises:
            RecordNotFoundError: There is no such job.
        """
        deadline = time.monotonic() + timeout_s
        async for event in self.events(job_id, deadline=deadline):
            if event is not None and event.kind.is_final:
                break
        return await asyncio.to_thread(self.get, job_id)

    async def events(
        self, job_id: str, *, after: str | None = None, deadline: float = math.inf
    ) -> AsyncIterator[JobEvent | None]:
        """What happens to the job, until it ends, the deadline passes or the service stops.

        Args:
            job_id: Whose events.
            after: Id of the last event that the follower saw.
            deadline: By `time.monotonic`.

        Yields:
            Events; None about once a second when there is nothing to tell.

        Raises:
            RecordNotFoundError: There is no such job.
        """
        await asyncio.to_thread(self._look, job_id)
        looked = time.monotonic()
        while True:
            # Asked before the events are read: what happens in between is still told.
            leaving = time.monotonic() >= deadline or self._worker.let_go(job_id)
            for event in self._events.after(job_id, after):
                after = event.id
                yield event
                if event.kind.is_final:
                    return
            if leaving:
                return
            if time.monotonic() - looked >= ROW_POLL_S:
                await asyncio.to_thread(self._look, job_id)
                looked = time.monotonic()
                yield None
            await asyncio.sleep(POLL_S)

    def _look(self, job_id: str) -> None:
        """Brings the events up to what the row says: another process may have written it."""
        self._tell(self._jobs.get(job_id))

    def _tell(self, stored: StoredJob) -> None:
        if stored.state is JobState.QUEUED:
            position = self._jobs.position(stored)
            self._events.push(stored.id, EventKind.QUEUED, {"position": position})
        elif stored.state is JobState.RUNNING:
            if self._worker.steps_done(stored.id) is None and stored.steps_done:
                data = {"steps_done": stored.steps_done, "steps_total": stored.steps_total}
                self._events.push(stored.id, EventKind.STEP, data)
        else:
            self._events.push(stored.id, EventKind(stored.state.value), final_data(stored))
