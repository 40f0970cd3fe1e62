"""Jobs as rows: what a restart must neither lose nor do twice (docs/adr/0012).

A picture of a job is rendered under a record id that stands in its row before anything is
rendered. So the registry's own commit decides, in its own transaction, whether the picture is
delivered; `JobStore.settle` reads the answer after a crash. A worker that is thought dead and is
not cannot deliver a second one: settling ends its reservation, and its commit fails.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, literal, select, text, update

from provenance.errors import IdempotencyConflictError, QueueFullError, RecordNotFoundError
from provenance.types import RecordId
from registry.engine import overwrite_deleted, reading, writing
from registry.retry import retried
from registry.tables import (
    JobInputRow,
    JobPictureRow,
    JobRow,
    JobState,
    PictureState,
    ReservationRow,
    ReservationState,
    UtcDateTime,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy import ColumnElement, Engine, Select
    from sqlalchemy.orm import Session

__all__ = ["JobStore", "NewJob", "StoredJob", "StoredPicture", "WaitingJob"]

JOB_ID_BYTES = 12
POSTGRESQL_ADD_LOCK = 0x636F756E74657271
"""Key of the advisory lock that lets one process add at a time: ASCII of ``counterq``."""
FINAL_STATES = tuple(state.value for state in JobState if state.is_final)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it is submitted.

    Attributes:
        body: The requests whole, as JSON.
        inputs: Pictures that the body names, by their SHA-256.
        seeds: One for each picture.
        steps_total: Of all pictures.
        model: What the requests name; None is the default model.
        batch_key: 64 hex digits; jobs with the same one may be rendered together.
        body_digest: 64 hex digits of what the client sent.
        options: How the job is to be run; nothing personal.
        api_key_id: Who asked; empty when nobody had to say.
        idempotency_key: The client's key as it came.
    """

    body: Mapping[str, Any] = field(repr=False)
    inputs: Mapping[str, bytes] = field(repr=False)
    seeds: tuple[int, ...]
    steps_total: int
    model: str | None
    batch_key: str
    body_digest: str
    options: Mapping[str, Any] = field(default_factory=dict)
    api_key_id: str = ""
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """One picture of a job; `record_id` names a record only when `state` is done or refused."""

    number: int
    seed: int
    state: PictureState
    record_id: RecordId | None


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job without what was asked for."""

    id: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    state: JobState
    model: str | None
    options: Mapping[str, Any]
    api_key_id: str
    steps_done: int
    steps_total: int
    owner: str | None
    attempts: int
    cancel_requested: bool
    error: Mapping[str, Any] | None
    pictures: tuple[StoredPicture, ...]
    is_new: bool = field(default=False, compare=False)
    """Whether the call that answers it made it; a retry answers the job that stood."""


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """What the choice of the next jobs needs to know."""

    id: str
    created_at: datetime
    model: str | None
    batch_key: str
    pictures: int


class JobStore:
    """Jobs in the registry's database; several processes may use it at once.

    Every method raises `RegistryUnavailableError` when the database cannot be reached.

    Args:
        engine: The registry's own.
        clock: Answers the time in UTC.
        random_bytes: Answers that many unguessable bytes: who knows a job's id may read it.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._engine = engine
        self._url = str(engine.url)
        self._clock = clock
        self._random_bytes = random_bytes

    # -- what clients do -----------------------------------------------------------------------

    @retried
    def add(self, job: NewJob, *, max_queue: int) -> StoredJob:
        """Queues a job; a retry with the same idempotency key answers the job that stands.

        Raises:
            IdempotencyConflictError: The key was used for another body.
            QueueFullError: `max_queue` jobs wait already.
        """
        key = None if job.idempotency_key is None else _digest(job.idempotency_key)
        with writing(self._engine) as session:
            self._lock_adding(session)
            row = self._find_same(session, job, key)
            if row is not None:
                return _job_of(row)
            self._require_room(session, max_queue)
            return replace(_job_of(self._insert(session, job, key)), is_new=True)

    def knows_key(self, api_key_id: str, idempotency_key: str) -> bool:
        """Whether a job of this caller was made under this idempotency key."""
        statement = select(JobRow.job_id).where(
            JobRow.api_key_id == api_key_id, JobRow.idempotency_key == _digest(idempotency_key)
        )
        with reading(self._engine) as session:
            return session.scalar(statement) is not None

    def _lock_adding(self, session: Session) -> None:
        if self._engine.dialect.name == "postgresql":
            session.execute(
                text("SELECT pg_advisory_xact_lock(:key)"), {"key": POSTGRESQL_ADD_LOCK}
            )

    def _find_same(self, session: Session, job: NewJob, key: str | None) -> JobRow | None:
        if key is None:
            return None
        row = session.scalar(
            select(JobRow).where(JobRow.api_key_id == job.api_key_id, JobRow.idempotency_key == key)
        )
        if row is not None and row.body_digest != job.body_digest:
            raise IdempotencyConflictError(
                f"Idempotency-Key {str(job.idempotency_key)[:40]!r} was used for another request; "
                "send a new key with a new request, or the same request again"
            )
        return row

    def _require_room(self, session: Session, max_queue: int) -> None:
        if _count_queued(session) >= max_queue:
            raise QueueFullError(f"{max_queue} jobs are waiting already; try again later")

    def _insert(self, session: Session, job: NewJob, key: str | None) -> JobRow:
        row = JobRow(
            job_id=self._random_bytes(JOB_ID_BYTES).hex(),
            created_at=self._clock(),
            state=JobState.QUEUED.value,
            model=job.model,
            batch_key=job.batch_key,
            body=dict(job.body),
            options=dict(job.options),
            api_key_id=job.api_key_id,
            idempotency_key=key,
            body_digest=job.body_digest,
            steps_done=0,
            steps_total=job.steps_total,
            attempts=0,
            cancel_requested=False,
            pictures=[
                JobPictureRow(number=number, seed=seed, state=PictureState.WAITING.value)
                for number, seed in enumerate(job.seeds)
            ],
        )
        session.add(row)
        session.flush()
        session.add_all(
            JobInputRow(job_id=row.job_id, sha256=digest, data=data)
            for digest, data in job.inputs.items()
        )
        return row

    def get(self, job_id: str) -> StoredJob:
        """The job.

        Raises:
            RecordNotFoundError: There is none, or it ended long ago.
        """
        with reading(self._engine) as session:
            return _job_of(_require_row(session, job_id))

    def list_jobs(self, *, limit: int, state: JobState | None = None) -> Sequence[StoredJob]:
        """Newest first."""
        statement = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.job_id.desc())
        if state is not None:
            statement = statement.where(JobRow.state == state.value)
        with reading(self._engine) as session:
            return [_job_of(row) for row in session.scalars(statement.limit(limit))]

    @retried
    def cancel(self, job_id: str) -> StoredJob:
        """Ends a waiting job at once; asks the worker of a running one to end it.

        Raises:
            RecordNotFoundError: There is none, or it ended long ago.
        """
        with writing(self._engine) as session:
            row = _require_row(session, job_id, for_update=True)
            if row.state == JobState.QUEUED:
                self._end(session, row, JobState.CANCELLED, None)
            elif row.state == JobState.RUNNING:
                row.cancel_requested = True
            session.flush()
            return _job_of(row)

    def position(self, job: StoredJob) -> int:
        """How many waiting jobs came before this one."""
        with reading(self._engine) as session:
            return _count_queued(session, JobRow.created_at < job.created_at)

    def count_waiting(self) -> int:
        """Number of jobs that wait."""
        with reading(self._engine) as session:
            return _count_queued(session)

    # -- what a worker does --------------------------------------------------------------------

    def waiting(self, *, limit: int) -> Sequence[WaitingJob]:
        """The jobs that wait, oldest first."""
        pictures = (
            select(func.count())
            .where(
                JobPictureRow.job_id == JobRow.job_id,
                JobPictureRow.state == PictureState.WAITING.value,
            )
            .scalar_subquery()
        )
        statement = (
            select(JobRow.job_id, JobRow.created_at, JobRow.model, JobRow.batch_key, pictures)
            .where(JobRow.state == JobState.QUEUED.value)
            .order_by(JobRow.created_at, JobRow.job_id)
            .limit(limit)
        )
        with reading(self._engine) as session:
            return [WaitingJob(*row) for row in session.execute(statement)]

    @retried
    def claim(
        self, job_ids: Collection[str], *, owner: str, lease_expires_at: datetime
    ) -> Sequence[StoredJob]:
        """Takes the jobs that still wait, oldest first; two workers never get the same one."""
        with writing(self._engine) as session:
            taken = session.scalars(
                update(JobRow)
                .where(JobRow.job_id.in_(job_ids), JobRow.state == JobState.QUEUED.value)
                .values(
                    state=JobState.RUNNING.value,
                    owner=owner,
                    lease_expires_at=lease_expires_at,
                    started_at=func.coalesce(
                        JobRow.started_at, literal(self._clock(), UtcDateTime())
                    ),
                    attempts=JobRow.attempts + 1,
                )
                .returning(JobRow.job_id)
            ).all()
            rows = session.scalars(
                select(JobRow)
                .where(JobRow.job_id.in_(taken))
                .order_by(JobRow.created_at, JobRow.job_id)
            )
            return [_job_of(row) for row in rows]

    @retried
    def settle(self, job_id: str, *, owner: str) -> StoredJob | None:
        """Finds out what became of the pictures that an earlier worker began.

        A picture whose record stands is done; one that was refused is refused. For any other the
        reservation is ended, so that whoever still renders under it cannot deliver it, and the
        picture waits again.

        Returns:
            The job; None when it is lost to another worker, whose pictures are left alone.
        """
        with writing(self._engine) as session:
            row = self._owned(session, job_id, owner)
            if row is None:
                return None
            self._settle(session, *row.pictures)
            session.flush()
            return _job_of(row)

    def _settle(self, session: Session, *pictures: JobPictureRow) -> None:
        for picture in pictures:
            if picture.state != PictureState.WAITING or picture.record_id is None:
                continue
            session.execute(
                update(ReservationRow)
                .where(
                    ReservationRow.record_id == picture.record_id,
                    ReservationRow.state == ReservationState.RESERVED.value,
                )
                .values(state=ReservationState.RELEASED.value)
            )
            became = session.scalar(
                select(ReservationRow.state).where(ReservationRow.record_id == picture.record_id)
            )
            if became == ReservationState.COMMITTED:
                picture.state = PictureState.DONE.value
            elif became == ReservationState.REFUSED:
                picture.state = PictureState.REFUSED.value
            else:
                picture.record_id = None

    def load(self, job_id: str) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
        """Body and inputs of a job that has not ended.

        Raises:
            RecordNotFoundError: There is none, or it has ended.
        """
        with reading(self._engine) as session:
            body = session.scalar(select(JobRow.body).where(JobRow.job_id == job_id))
            if body is None:
                raise RecordNotFoundError(f"job {job_id[:40]!r} has ended; its request is deleted")
            inputs = session.execute(
                select(JobInputRow.sha256, JobInputRow.data).where(JobInputRow.job_id == job_id)
            )
            return body, {row.sha256: row.data for row in inputs}

    @retried
    def link(self, job_id: str, number: int, record_id: RecordId, *, owner: str) -> bool:
        """Writes down under which id a picture is being rendered; False when the job is lost.

        A job is lost to another worker when its lease expired.
        """
        with writing(self._engine) as session:
            linked = session.scalar(
                update(JobPictureRow)
                .where(
                    JobPictureRow.job_id.in_(_owned_ids(job_id, owner)),
                    JobPictureRow.number == number,
                    JobPictureRow.state == PictureState.WAITING.value,
                )
                .values(record_id=record_id)
                .returning(JobPictureRow.number)
            )
            return linked is not None

    @retried
    def end_picture(
        self,
        job_id: str,
        number: int,
        state: PictureState,
        *,
        owner: str,
        error: Mapping[str, Any] | None = None,
    ) -> PictureState | None:
        """Writes down how a picture ended and answers it; None when the job is lost to another.

        The registry has the last word: a picture whose record stands is done, even when what came
        after the commit failed.

        Args:
            job_id: Whose picture.
            number: Which one.
            state: How it ended, as far as the worker knows.
            owner: The worker.
            error: What the job is to say for it, should it not be done.
        """
        with writing(self._engine) as session:
            row = self._owned(session, job_id, owner)
            if row is None:
                return None
            (picture,) = (one for one in row.pictures if one.number == number)
            self._settle(session, picture)
            if picture.state == PictureState.WAITING:
                picture.state = state.value
            if picture.state != PictureState.DONE and error is not None:
                row.error = dict(error)
            return PictureState(picture.state)

    @retried
    def beat(
        self, job_id: str, steps_done: int, *, owner: str, lease_expires_at: datetime
    ) -> bool | None:
        """Renews the lease of a running job and writes down its steps.

        Returns:
            Whether somebody asked to cancel it; None when the job is lost to another worker.
        """
        with writing(self._engine) as session:
            return session.scalar(
                update(JobRow)
                .where(JobRow.job_id.in_(_owned_ids(job_id, owner)))
                .values(steps_done=steps_done, lease_expires_at=lease_expires_at)
                .returning(JobRow.cancel_requested)
            )

    @retried
    def finish(
        self,
        job_id: str,
        state: JobState,
        error: Mapping[str, Any] | None,
        *,
        owner: str,
        steps_done: int = 0,
    ) -> bool:
        """Ends a job and deletes what was asked for; False when the job is lost to another.

        `steps_done` may be more than the last heartbeat said: a job that ends takes none back.
        """
        with writing(self._engine) as session:
            row = self._owned(session, job_id, owner)
            if row is None:
                return False
            row.steps_done = max(row.steps_done, min(steps_done, row.steps_total))
            self._end(session, row, state, error)
            return True

    def _end(
        self, session: Session, row: JobRow, state: JobState, error: Mapping[str, Any] | None
    ) -> None:
        self._settle(session, *row.pictures)
        row.state = state.value
        row.finished_at = self._clock()
        if row.error is None and error is not None:
            row.error = dict(error)
        row.body = None
        row.owner = row.lease_expires_at = None
        if state is JobState.DONE:
            row.steps_done = row.steps_total
        for picture in row.pictures:
            if picture.state == PictureState.WAITING:
                picture.state = _unfinished(state).value
        session.execute(delete(JobInputRow).where(JobInputRow.job_id == row.job_id))

    @retried
    def requeue(self, job_id: str, *, owner: str, unharmed: bool) -> bool:
        """Gives a job back; False when it is lost to another.

        Args:
            job_id: Which one.
            owner: Who gives it back.
            unharmed: Whether it ran as it should so far: then the attempt does not count.
        """
        with writing(self._engine) as session:
            row = self._owned(session, job_id, owner)
            if row is None:
                return False
            self._settle(session, *row.pictures)
            row.state = JobState.QUEUED.value
            row.owner = row.lease_expires_at = None
            row.attempts -= unharmed
            return True

    @retried
    def requeue_expired(self) -> int:
        """Queues the jobs of workers that no longer report; answers how many."""
        with writing(self._engine) as session:
            found = session.scalars(
                update(JobRow)
                .where(
                    JobRow.state == JobState.RUNNING.value,
                    JobRow.lease_expires_at < self._clock(),
                )
                .values(state=JobState.QUEUED.value, owner=None, lease_expires_at=None)
                .returning(JobRow.job_id)
            ).all()
            return len(found)

    @retried
    def forget(self, *, finished_before: datetime) -> int:
        """Deletes jobs that ended earlier; what they delivered stays in the registry."""
        old = select(JobRow.job_id).where(
            JobRow.finished_at < finished_before, JobRow.state.in_(FINAL_STATES)
        )
        with writing(self._engine) as session:
            count = session.scalar(select(func.count()).select_from(old.subquery())) or 0
            # Not by a list of ids: after a long pause it would be longer than a statement may be.
            for row in (JobPictureRow, JobInputRow, JobRow):
                session.execute(
                    delete(row)
                    .where(row.job_id.in_(old))
                    .execution_options(synchronize_session=False)
                )
            return count

    def tidy(self) -> None:
        """Takes what was deleted out of SQLite's files too; does nothing elsewhere."""
        overwrite_deleted(self._engine)

    def _owned(self, session: Session, job_id: str, owner: str) -> JobRow | None:
        owned = JobRow.job_id.in_(_owned_ids(job_id, owner))
        return session.scalar(select(JobRow).where(owned).with_for_update())


def _require_row(session: Session, job_id: str, *, for_update: bool = False) -> JobRow:
    row = session.get(JobRow, job_id, with_for_update=for_update or None)
    if row is None:
        raise RecordNotFoundError(f"no job {job_id[:40]!r}; it may be long finished")
    return row


def _owned_ids(job_id: str, owner: str) -> Select[str]:
    return select(JobRow.job_id).where(
        JobRow.job_id == job_id, JobRow.owner == owner, JobRow.state == JobState.RUNNING.value
    )


def _count_queued(session: Session, *where: ColumnElement[bool]) -> int:
    statement = select(func.count()).where(JobRow.state == JobState.QUEUED.value, *where)
    return session.scalar(statement) or 0


def _unfinished(state: JobState) -> PictureState:
    """What a picture is that its job left behind."""
    return PictureState.CANCELLED if state is JobState.CANCELLED else PictureState.FAILED


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _job_of(row: JobRow) -> StoredJob:
    return StoredJob(
        id=row.job_id,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        state=JobState(row.state),
        model=row.model,
        options=row.options,
        api_key_id=row.api_key_id,
        steps_done=row.steps_done,
        steps_total=row.steps_total,
        owner=row.owner,
        attempts=row.attempts,
        cancel_requested=row.cancel_requested,
        error=row.error,
        pictures=tuple(
            StoredPicture(
                number=picture.number,
                seed=picture.seed,
                state=PictureState(picture.state),
                record_id=None if picture.record_id is None else RecordId(picture.record_id),
            )
            for picture in row.pictures
        ),
    )
