"""The one thread that owns the pipeline, and the one that reports that it lives.

The worker takes waiting jobs (`generator.job_schedule`), renders their pictures one batch after
the other, and has each marked, signed and registered. What it knows of running jobs is in memory;
what a later process needs to know is in the rows.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from generator.job_documents import (
    document_to_error,
    error_to_document,
    final_data,
    read_requests,
)
from generator.job_events import EventKind
from generator.job_schedule import choose_jobs
from generator.service import PreviewOf
from provenance.errors import (
    CancelledError,
    ContentBlockedError,
    GenerationError,
    ProvenanceError,
    RegistryUnavailableError,
)
from provenance.types import can_batch
from registry.tables import JobState, PictureState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from generator.job_events import EventHub
    from generator.service import GenerationService, Rendered
    from provenance.interfaces import StepReport
    from provenance.types import GenerationRequest, RecordId, Refusal
    from registry.jobs import JobStore, StoredJob

__all__ = ["JobWorker"]

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
"""After this long without a report a worker counts as dead, and its jobs are taken over."""
BEAT_S = 4.0
"""Three reports may be late before the lease ends."""
IDLE_S = 1.0
"""How often an idle worker looks for jobs of other processes; its own wake it at once."""
FORGET_EVERY_S = 600.0
MAX_ATTEMPTS = 5
"""A job whose worker died so often is likely to be what kills it."""
CANDIDATES = 256
"""Waiting jobs that are looked at to fill a batch."""
FIRST_GUESS_S = 5.0
"""Seconds a picture, before one was measured."""
NEWEST_SHARE = 0.3
"""Weight of the newest measurement in the running mean."""


@dataclass(slots=True)
class _Run:
    """A job that this worker runs; ends are written under the worker's lock.

    Attributes:
        job: As it was claimed.
        owner: Of this claim alone: what an earlier claim left behind cannot write any more.
        steps: Done of each picture.
        left: Pictures that have not ended.
        record_ids: Under which they are rendered.
        error: The first thing that went wrong.
        cancelled: Somebody asked to end it.
        lost: Another worker has it.
        previews: That are still to be marked: followers are told of them before the end.
        holds: Pictures that are being marked in other threads, and 1 while there is more to render.
        closed: Its row says how it ended.
    """

    job: StoredJob
    owner: str
    steps: list[int]
    left: int = 0
    record_ids: dict[int, RecordId] = field(default_factory=dict)
    error: ProvenanceError | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)
    previews: int = 0
    holds: int = 1
    closed: bool = False

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def steps_done(self) -> int:
        return sum(self.steps)

    @property
    def over(self) -> bool:
        """Whether all its pictures have ended, previews too."""
        return self.left == 0 and self.previews == 0

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be rendered for it."""
        stopped = self.error is not None and not isinstance(self.error, ContentBlockedError)
        return stopped or self.cancelled.is_set() or self.lost.is_set()


@dataclass(frozen=True, slots=True)
class _Task:
    """One picture to render."""

    run: _Run
    number: int
    request: GenerationRequest


class JobWorker:
    """Runs jobs until it is told to stop.

    Args:
        jobs: The rows.
        service: W1 to W9.
        events: Told of everything.
        find_refusal: Answers why the picture with an id was refused.
        batch_size: Most pictures rendered together.
        retention: How long jobs that ended can be asked for.
        marking_threads: Pictures that are marked while the next are rendered; 0 marks in turn.
        lease: As `LEASE`.
        beat_s: As `BEAT_S`.
    """

    def __init__(
        self,
        jobs: JobStore,
        service: GenerationService,
        events: EventHub,
        *,
        find_refusal: Callable[[RecordId], Refusal | None],
        batch_size: int,
        retention: timedelta,
        marking_threads: int = 0,
        lease: timedelta = LEASE,
        beat_s: float = BEAT_S,
    ) -> None:
        self._jobs = jobs
        self._service = service
        self._events = events
        self._find_refusal = find_refusal
        self._batch_size = batch_size
        self._retention = retention
        self._lease = lease
        self._beat_s = beat_s
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._loaded_model: str | None = None
        self._seconds = FIRST_GUESS_S
        self._untidy = False
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._aborting = threading.Event()
        self._ended = threading.Event()
        self._marking = ThreadPoolExecutor(marking_threads) if marking_threads else None
        # Rendered pictures are large: no more of them than are marked at once, and one batch.
        self._room = threading.BoundedSemaphore(marking_threads + batch_size)
        self._thread = threading.Thread(target=self._work, name="generator", daemon=True)
        self._beater = threading.Thread(target=self._beat, name="generator-lease", daemon=True)

    # -- from any thread -----------------------------------------------------------------------

    def start(self) -> None:
        """Starts both threads."""
        self._thread.start()
        self._beater.start()

    def wake(self) -> None:
        """Tells that there is a new job."""
        self._wake.set()

    def cancel(self, job_id: str) -> None:
        """Ends a job after its current step, if it runs here."""
        run = self._runs.get(job_id)
        if run is not None:
            run.cancelled.set()

    def begin_stop(self) -> None:
        """Takes no further jobs or pictures; returns at once."""
        self._stopping.set()
        self._wake.set()

    def stop(self, drain_s: float) -> None:
        """Gives the pictures that are being rendered so many seconds, then ends the threads."""
        self.begin_stop()
        if self._thread.is_alive():
            self._thread.join(drain_s)
            # From here the next step ends the rendering; what it had done is lost, not the job.
            self._aborting.set()
            self._thread.join()
            self._beater.join()
            self._tidy()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def let_go(self, job_id: str) -> bool:
        """Whether the service stops and this job will not go on in this process."""
        return self._ended.is_set() or (self._stopping.is_set() and job_id not in self._runs)

    def steps_done(self, job_id: str) -> int | None:
        """Steps of a job that runs here."""
        run = self._runs.get(job_id)
        return None if run is None else run.steps_done

    @property
    def seconds_per_picture(self) -> float:
        """Running mean over the last pictures."""
        return self._seconds

    @property
    def pictures_left(self) -> int:
        """Pictures of running jobs that have not ended."""
        return sum(run.left for run in list(self._runs.values()))

    # -- the worker's thread -------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                if not self._try_next():
                    self._wake.wait(IDLE_S)
        finally:
            if self._marking is not None:
                self._marking.shutdown()
            self._ended.set()

    def _try_next(self) -> bool:
        try:
            return self._run_next()
        except Exception as error:
            # The database, most likely. Leases that are not renewed end by themselves.
            log.exception("the job worker could not go on (%s)", type(error).__name__)
            return False

    def _run_next(self) -> bool:
        """Runs the next jobs together; False when none waits."""
        chosen = choose_jobs(
            self._jobs.waiting(limit=CANDIDATES),
            loaded_model=self._loaded_model,
            batch_size=self._batch_size,
            now=datetime.now(UTC),
        )
        if not chosen:
            return False
        owner = secrets.token_hex(8)
        claimed = self._jobs.claim(
            [job.id for job in chosen],
            owner=owner,
            lease_expires_at=datetime.now(UTC) + self._lease,
        )
        try:
            tasks = [task for job in claimed for task in self._open(job, owner)]
            for batch in self._batches(tasks):
                self._render(batch)
        except BaseException:
            for run in self._runs_of(owner):
                self._drop(run)
            raise
        # The next jobs are rendered while the last pictures of these are still being marked.
        self._let_all_go(self._runs_of(owner))
        return True

    def _let_all_go(self, runs: Sequence[_Run]) -> None:
        """Every one is let go of, whatever befalls another: what stays holds its lease for ever."""
        with ExitStack() as every:
            for run in reversed(runs):
                every.callback(self._let_go_of, run)

    def _runs_of(self, owner: str) -> Sequence[_Run]:
        return [run for run in list(self._runs.values()) if run.owner == owner]

    def _drop(self, run: _Run) -> None:
        """Renews its lease no longer; a later claim of the same job stays."""
        if self._runs.get(run.id) is run:
            del self._runs[run.id]

    def _open(self, job: StoredJob, owner: str) -> Sequence[_Task]:
        """What is left to render of a job; several workers may have begun it before."""
        self._loaded_model = job.model
        run = _Run(job, owner, [0] * len(job.pictures), left=len(job.pictures))
        self._runs[job.id] = run
        if job.attempts > MAX_ATTEMPTS:
            run.error = GenerationError(f"given up after {MAX_ATTEMPTS} attempts; see the log")
            return ()
        settled = self._jobs.settle(job.id, owner=owner)
        if settled is None:
            log.warning("another process runs job %s now", job.id)
            run.lost.set()
            return ()
        if settled.cancel_requested:  # of an earlier worker that died, or before `_runs` knew it
            run.cancelled.set()
        run.error = self._error_of(settled)
        try:
            requests = read_requests(*self._jobs.load(job.id))
        except RegistryUnavailableError:
            raise
        except ProvenanceError as error:
            run.error = error
            return ()
        tasks = []
        for picture in settled.pictures:
            request = requests[picture.number]
            if picture.state is PictureState.WAITING:
                tasks.append(_Task(run, picture.number, request))
            else:
                run.left -= 1
                run.steps[picture.number] = request.effective_steps
        return tasks

    def _error_of(self, job: StoredJob) -> ProvenanceError | None:
        """What an earlier worker ran into; a refusal is known even if it died at that moment."""
        if job.error is not None:
            return document_to_error(job.error)
        for picture in job.pictures:
            if picture.state is PictureState.REFUSED and picture.record_id is not None:
                refusal = self._find_refusal(picture.record_id)
                if refusal is not None:
                    said = f"{refusal.reason}; refusal {refusal.record_id} is recorded"
                    return ContentBlockedError(said, refusal.safety, refusal.record_id)
        return None

    def _batches(self, tasks: Sequence[_Task]) -> Iterator[Sequence[_Task]]:
        batch: list[_Task] = []
        for task in tasks:
            fits = batch and can_batch(batch[0].request, task.request)
            if batch and not (fits and len(batch) < self._batch_size):
                yield batch
                batch = []
            batch.append(task)
        if batch:
            yield batch

    def _render(self, batch: Sequence[_Task]) -> None:
        """W1 to W4 of a batch; hands each picture on to be marked."""
        batch = [task for task in batch if not task.run.ended]
        if not batch or self._stopping.is_set():
            return
        began = time.monotonic()
        try:
            outcomes = self._service.render_batch(
                [task.request for task in batch],
                lambda report: self._report(batch, report),
                on_reserved=lambda index, record_id: self._link(batch, index, record_id),
            )
        except Exception as error:  # noqa: BLE001  a firewall: one job must not end the worker
            if isinstance(error, GenerationError) and len(batch) > 1:
                log.warning("%d pictures at once failed (%s); now one by one", len(batch), error)
                for task in batch:
                    self._render((task,))
                return
            for task in batch:
                self._end_picture(task, error)
            return
        for task, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, ContentBlockedError):
                self._end_picture(task, outcome)
            else:
                finish = partial(self._finish_picture, task, outcome, began, len(batch))
                self._mark(task.run, finish)

    def _report(self, batch: Sequence[_Task], report: StepReport) -> None:
        for index, task in enumerate(batch):
            task.run.steps[task.number] = min(report.done, task.request.effective_steps)
            data = {
                "picture": task.number,
                "step": report.done,
                "of": report.total,
                "steps_done": task.run.steps_done,
                "steps_total": task.run.job.steps_total,
            }
            self._events.push(task.run.id, EventKind.STEP, data)
            every = int(task.run.job.options.get("previews_every") or 0)
            if every and report.done % every == 0 and report.done < report.total:
                self._preview(task, report, index)
        if self._aborting.is_set():
            raise CancelledError("the service stops; the job goes on when it is back")
        self._require_somebody(batch)

    def _preview(self, task: _Task, report: StepReport, index: int) -> None:
        """Shows a picture before it is done; marked, signed and registered like any other."""
        record_id = task.run.record_ids.get(task.number)
        if task.run.ended or self._stopping.is_set() or record_id is None:
            return
        try:
            rendered = self._service.take_preview(
                task.request, report.preview(index), PreviewOf(record_id, report.done)
            )
        except Exception as error:  # noqa: BLE001  the picture itself is worth more than a preview
            log.warning("job %s: no preview (%s)", task.run.id, _said(error))
            return
        if rendered is not None:
            with self._lock:
                task.run.previews += 1
            data = {"picture": task.number, "step": report.done, "of": report.total}
            self._mark(task.run, partial(self._finish_preview, task.run, rendered, data))

    def _link(self, batch: Sequence[_Task], index: int, record_id: RecordId) -> None:
        task = batch[index]
        task.run.record_ids[task.number] = record_id
        if not self._jobs.link(task.run.id, task.number, record_id, owner=task.run.owner):
            log.warning("another process runs job %s now", task.run.id)
            task.run.lost.set()
            self._require_somebody(batch)

    @staticmethod
    def _require_somebody(batch: Sequence[_Task]) -> None:
        """Ends a render that nobody waits for; a batch goes on for those who still do."""
        if all(task.run.ended for task in batch):
            raise CancelledError("cancelled")

    def _mark(self, run: _Run, finish: Callable[[], None]) -> None:
        """Has a picture of a job marked: here, or elsewhere while the next one is rendered."""
        if self._marking is None:
            finish()
            return
        self._room.acquire()
        with self._lock:
            run.holds += 1
        future = self._marking.submit(finish)
        future.add_done_callback(lambda done: self._marked(run, done))

    def _marked(self, run: _Run, done: Future[None]) -> None:
        """Follows a picture that was marked in another thread."""
        self._room.release()
        error = done.exception()
        if error is not None:
            # The database, most likely; the job's lease is renewed no longer.
            log.error("job %s could not go on", run.id, exc_info=error)
            self._drop(run)
            return
        self._let_go_of(run)

    def _finish_picture(self, task: _Task, rendered: Rendered, began: float, share: int) -> None:
        """W5 to W9 of one picture, one of `share` that were rendered together."""
        try:
            if task.run.ended:
                self._service.discard(rendered)
                self._end_picture(task, CancelledError("cancelled"))
                return
            self._service.finish(rendered)
        except Exception as error:  # noqa: BLE001  as above
            self._end_picture(task, error)
        else:
            self._end_picture(task, None)
            took = (time.monotonic() - began) / share
            self._seconds += NEWEST_SHARE * (took - self._seconds)

    def _finish_preview(self, run: _Run, rendered: Rendered, data: Mapping[str, Any]) -> None:
        """W5 to W9 of a preview; `data` tells of it besides its record."""
        try:
            if run.ended:
                self._service.discard(rendered)
            else:
                record = self._service.finish(rendered).record
                told = {**data, "record_id": record.record_id}
                self._events.push(run.id, EventKind.PREVIEW, told)
        except Exception as error:  # noqa: BLE001  as in `_preview`
            log.warning("job %s: no preview (%s)", run.id, _said(error))
        with self._lock:
            run.previews -= 1
            over = run.over
        if over:
            self._close(run)

    # -- ends ----------------------------------------------------------------------------------

    def _end_picture(self, task: _Task, error: Exception | None) -> None:
        run = task.run
        if self._goes_on_later(run, error):
            return
        with self._lock:
            first = run.error is None or isinstance(run.error, ContentBlockedError)
            said = _ours(run.id, error) if first and error is not None else run.error
        state = self._jobs.end_picture(
            run.id,
            task.number,
            _state_for(error),
            owner=run.owner,
            error=None if said is None else error_to_document(said),
        )
        with self._lock:
            run.left -= 1
            if state is None:
                run.lost.set()
            elif state is PictureState.DONE:
                run.steps[task.number] = task.request.effective_steps
                if error is not None:
                    log.error("job %s: delivered, but then: %s", run.id, _said(error))
            else:
                run.error = said
            over = run.over
        if over:
            self._close(run)

    def _goes_on_later(self, run: _Run, error: Exception | None) -> bool:
        """Whether a picture that ended so is for the next process, not lost."""
        if run.lost.is_set() or isinstance(error, RegistryUnavailableError):
            return True
        aborted = isinstance(error, CancelledError) and self._aborting.is_set()
        return aborted and not run.cancelled.is_set()

    def _let_go_of(self, run: _Run) -> None:
        """Ends a job when nobody works on it any more."""
        with self._lock:
            run.holds -= 1
            idle = run.holds == 0
        if idle:
            self._close(run)

    def _close(self, run: _Run) -> None:
        """Ends a job, or gives it back when a part of it is still to be rendered."""
        with self._lock:
            run.closed, was_closed = True, run.closed
        if was_closed:
            return
        try:
            if run.lost.is_set():
                return
            if run.left and not run.ended:
                self._jobs.requeue(run.id, owner=run.owner, unharmed=self._stopping.is_set())
                return
            state = _final_state(run)
            error = None if run.error is None else error_to_document(run.error)
            if self._jobs.finish(run.id, state, error, owner=run.owner, steps_done=run.steps_done):
                self._untidy = True
                self._events.push(
                    run.id, EventKind(state.value), final_data(self._jobs.get(run.id))
                )
                log.info("job %s ended %s", run.id, state)
        finally:
            self._drop(run)

    # -- the lease's thread --------------------------------------------------------------------

    def _beat(self) -> None:
        forgotten = -FORGET_EVERY_S
        while not self._ended.wait(self._beat_s):
            try:
                self._renew()
                self._jobs.requeue_expired()
                if time.monotonic() - forgotten > FORGET_EVERY_S:
                    self._jobs.forget(finished_before=datetime.now(UTC) - self._retention)
                    forgotten = time.monotonic()
            except ProvenanceError as error:
                log.warning("the job worker could not report: %s", error)
            if not self._runs:
                self._tidy()

    def _tidy(self) -> None:
        """Takes what people asked for out of the last place where it still stands."""
        if self._untidy:
            self._untidy = False
            try:
                self._jobs.tidy()
            except ProvenanceError as error:
                log.warning("the database's log could not be emptied yet: %s", error)
                self._untidy = True

    def _renew(self) -> None:
        until = datetime.now(UTC) + self._lease
        for run in list(self._runs.values()):
            asked = self._jobs.beat(run.id, run.steps_done, owner=run.owner, lease_expires_at=until)
            if asked is None:
                run.lost.set()
            elif asked:
                run.cancelled.set()


def _state_for(error: Exception | None) -> PictureState:
    if error is None:
        return PictureState.DONE
    if isinstance(error, ContentBlockedError):
        return PictureState.REFUSED
    return PictureState.CANCELLED if isinstance(error, CancelledError) else PictureState.FAILED


def _final_state(run: _Run) -> JobState:
    if isinstance(run.error, ContentBlockedError):
        return JobState.REFUSED
    if run.error is not None and not isinstance(run.error, CancelledError):
        return JobState.FAILED
    if run.error is not None or (run.cancelled.is_set() and run.left):
        return JobState.CANCELLED
    return JobState.DONE


def _said(error: Exception) -> str:
    """For the log: what foreign exceptions say may quote what they were given."""
    return str(error) if isinstance(error, ProvenanceError) else type(error).__name__


def _ours(job_id: str, error: Exception) -> ProvenanceError:
    if isinstance(error, ProvenanceError):
        log.warning("job %s: %s", job_id, error)
        return error
    log.error("job %s broke", job_id, exc_info=error)
    return ProvenanceError(f"internal error ({type(error).__name__}); see the log")
