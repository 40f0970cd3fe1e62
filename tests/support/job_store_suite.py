"""What every database must do for jobs."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from provenance.errors import (
    IdempotencyConflictError,
    PayloadConflictError,
    QueueFullError,
    RecordNotFoundError,
)
from provenance.testing.stores import build_record, build_refusal
from registry.jobs import JobStore, NewJob
from registry.store import SqlRecordStore
from registry.tables import JobInputRow, JobRow, JobState, PictureState

SOON = timedelta(seconds=15)


def a_job(*seeds: int, **changes: object) -> NewJob:
    values = {
        "body": {"requests": [{"prompt": "a tree"}]},
        "inputs": {"0" * 64: b"an input picture"},
        "seeds": seeds or (1,),
        "steps_total": 4,
        "model": None,
        "batch_key": "a" * 64,
        "body_digest": "d" * 64,
    }
    return NewJob(**{**values, **changes})


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now


class JobStoreTests:
    """Subclass it with a fixture `records`: an open, empty registry."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def jobs(self, records: SqlRecordStore, clock: Clock) -> JobStore:
        return JobStore(records.engine, clock=clock)

    def claim(self, jobs: JobStore, clock: Clock, *job_ids: str, owner: str = "one"):
        return jobs.claim(job_ids, owner=owner, lease_expires_at=clock.now + SOON)

    def test_a_job_is_answered_as_it_was_added(self, jobs: JobStore) -> None:
        job = jobs.add(a_job(5, 2**63 - 1, options={"previews_every": 2}), max_queue=9)
        assert jobs.get(job.id) == job
        assert (job.state, job.options) == (JobState.QUEUED, {"previews_every": 2})
        assert [picture.seed for picture in job.pictures] == [5, 2**63 - 1]
        assert jobs.load(job.id) == (a_job().body, a_job().inputs)
        assert jobs.list_jobs(limit=5) == [job]
        assert jobs.list_jobs(limit=5, state=JobState.DONE) == []
        with pytest.raises(RecordNotFoundError, match="no job"):
            jobs.get("0" * 24)

    def test_a_full_queue_takes_no_job(self, jobs: JobStore, clock: Clock) -> None:
        first = jobs.add(a_job(), max_queue=1)
        with pytest.raises(QueueFullError, match="1 jobs"):
            jobs.add(a_job(), max_queue=1)
        self.claim(jobs, clock, first.id)
        second = jobs.add(a_job(), max_queue=1)
        assert (jobs.position(second), jobs.count_waiting()) == (0, 1)

    def test_an_idempotency_key_names_one_job_for_each_caller(self, jobs: JobStore) -> None:
        job = jobs.add(a_job(1, idempotency_key="k"), max_queue=2)
        assert jobs.add(a_job(2, idempotency_key="k"), max_queue=1) == job
        with pytest.raises(IdempotencyConflictError, match="'k'"):
            jobs.add(a_job(idempotency_key="k", body_digest="e" * 64), max_queue=9)
        other = jobs.add(a_job(idempotency_key="k", api_key_id="b"), max_queue=9)
        assert other.id != job.id

    def test_one_key_sent_at_once_makes_one_job(self, jobs: JobStore) -> None:
        found = []

        def add() -> None:
            found.append(jobs.add(a_job(idempotency_key="k"), max_queue=99).id)

        threads = [threading.Thread(target=add) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1

    def test_two_workers_never_get_the_same_job(self, jobs: JobStore, clock: Clock) -> None:
        ids = [jobs.add(a_job(number), max_queue=99).id for number in range(12)]
        assert [job.id for job in jobs.waiting(limit=99)] == ids
        taken: list[str] = []

        def take(owner: str) -> None:
            for job_id in ids:
                taken.extend(job.id for job in self.claim(jobs, clock, job_id, owner=owner))

        threads = [threading.Thread(target=take, args=(f"w{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == sorted(ids)
        assert jobs.waiting(limit=99) == []

    def test_a_job_that_ends_forgets_what_was_asked_for(
        self, jobs: JobStore, records: SqlRecordStore, clock: Clock
    ) -> None:
        job = jobs.add(a_job(1, 2), max_queue=9)
        self.claim(jobs, clock, job.id)
        assert jobs.finish(job.id, JobState.FAILED, {"kind": "X", "detail": "why"}, owner="one")
        found = jobs.get(job.id)
        assert (found.state, found.error) == (JobState.FAILED, {"kind": "X", "detail": "why"})
        assert {picture.state for picture in found.pictures} == {PictureState.FAILED}
        assert found.finished_at is not None
        with pytest.raises(RecordNotFoundError, match="deleted"):
            jobs.load(job.id)
        with Session(records.engine) as session:
            assert session.scalars(select(JobRow.body)).all() == [None]
            assert session.scalars(select(JobInputRow)).all() == []

    def test_settling_asks_the_registry_what_became_of_each_picture(
        self, jobs: JobStore, records: SqlRecordStore, clock: Clock
    ) -> None:
        job = jobs.add(a_job(1, 2, 3, 4), max_queue=9)
        self.claim(jobs, clock, job.id)
        ids = [records.reserve().record_id for _ in range(3)]
        for number, record_id in enumerate(ids):
            assert jobs.link(job.id, number, record_id, owner="one")
        records.commit(build_record(ids[0]))
        records.refuse(build_refusal(ids[1]))
        # The worker dies here, and its lease runs out.
        assert jobs.requeue_expired() == 0
        clock.now += SOON
        assert jobs.requeue_expired() == 1
        self.claim(jobs, clock, job.id, owner="two")
        settled = jobs.settle(job.id, owner="two")
        assert settled is not None
        assert [p.state for p in settled.pictures] == ["done", "refused", "waiting", "waiting"]
        assert [p.record_id for p in settled.pictures] == [ids[0], ids[1], None, None]
        assert settled.attempts == 2

    def test_a_worker_that_lost_its_job_can_neither_deliver_nor_write(
        self, jobs: JobStore, records: SqlRecordStore, clock: Clock
    ) -> None:
        job = jobs.add(a_job(1, 2), max_queue=9)
        self.claim(jobs, clock, job.id)
        held = records.reserve().record_id
        assert jobs.link(job.id, 0, held, owner="one")
        clock.now += SOON
        jobs.requeue_expired()
        self.claim(jobs, clock, job.id, owner="two")
        assert jobs.settle(job.id, owner="two") is not None
        with pytest.raises(PayloadConflictError, match="released"):
            records.commit(build_record(held))
        assert not jobs.link(job.id, 1, records.reserve().record_id, owner="one")
        assert jobs.end_picture(job.id, 0, PictureState.FAILED, owner="one") is None
        assert jobs.beat(job.id, 3, owner="one", lease_expires_at=clock.now) is None
        assert not jobs.requeue(job.id, owner="one", unharmed=True)
        assert not jobs.finish(job.id, JobState.DONE, None, owner="one")
        assert [p.state for p in jobs.get(job.id).pictures] == ["waiting", "waiting"]

    def test_a_worker_that_lost_its_job_settles_nothing_of_it(
        self, jobs: JobStore, records: SqlRecordStore, clock: Clock
    ) -> None:
        job = jobs.add(a_job(1), max_queue=9)
        self.claim(jobs, clock, job.id)
        clock.now += SOON
        jobs.requeue_expired()
        assert jobs.settle(job.id, owner="one") is None  # nobody's
        self.claim(jobs, clock, job.id, owner="two")
        held = records.reserve().record_id
        assert jobs.link(job.id, 0, held, owner="two")
        assert jobs.settle(job.id, owner="one") is None
        assert jobs.get(job.id).pictures[0].record_id == held
        records.commit(build_record(held))
        assert jobs.end_picture(job.id, 0, PictureState.DONE, owner="two") is PictureState.DONE

    def test_the_registry_has_the_last_word_on_a_picture(
        self, jobs: JobStore, records: SqlRecordStore, clock: Clock
    ) -> None:
        job = jobs.add(a_job(1), max_queue=9)
        self.claim(jobs, clock, job.id)
        record_id = records.reserve().record_id
        jobs.link(job.id, 0, record_id, owner="one")
        records.commit(build_record(record_id))
        ended = jobs.end_picture(job.id, 0, PictureState.FAILED, owner="one")
        assert ended is PictureState.DONE
        assert jobs.get(job.id).pictures[0].record_id == record_id

    def test_why_a_picture_failed_is_known_to_the_next_worker(
        self, jobs: JobStore, clock: Clock
    ) -> None:
        job = jobs.add(a_job(1, 2), max_queue=9)
        self.claim(jobs, clock, job.id)
        why = {"kind": "X", "detail": "first"}
        jobs.end_picture(job.id, 0, PictureState.FAILED, owner="one", error=why)
        clock.now += SOON
        jobs.requeue_expired()
        self.claim(jobs, clock, job.id, owner="two")
        settled = jobs.settle(job.id, owner="two")
        assert settled is not None
        assert settled.error == why
        jobs.finish(job.id, JobState.FAILED, {"kind": "Y", "detail": "later"}, owner="two")
        assert jobs.get(job.id).error == why

    def test_cancelling_ends_a_waiting_job_and_asks_for_a_running_one(
        self, jobs: JobStore, clock: Clock
    ) -> None:
        waiting, running = (jobs.add(a_job(), max_queue=9) for _ in range(2))
        self.claim(jobs, clock, running.id)
        assert jobs.cancel(waiting.id).state is JobState.CANCELLED
        assert jobs.beat(running.id, 2, owner="one", lease_expires_at=clock.now + SOON) is False
        assert jobs.cancel(running.id).state is JobState.RUNNING
        assert jobs.beat(running.id, 3, owner="one", lease_expires_at=clock.now + SOON) is True
        assert jobs.get(running.id).steps_done == 3

    def test_a_job_that_ends_keeps_the_steps_since_its_last_heartbeat(
        self, jobs: JobStore, clock: Clock
    ) -> None:
        job = jobs.add(a_job(), max_queue=9)
        self.claim(jobs, clock, job.id)
        jobs.beat(job.id, 1, owner="one", lease_expires_at=clock.now + SOON)
        assert jobs.finish(job.id, JobState.CANCELLED, None, owner="one", steps_done=2)
        assert jobs.get(job.id).steps_done == 2
        other = jobs.add(a_job(), max_queue=9)
        self.claim(jobs, clock, other.id)
        jobs.beat(other.id, 2, owner="one", lease_expires_at=clock.now + SOON)
        assert jobs.finish(other.id, JobState.FAILED, None, owner="one", steps_done=1)
        assert jobs.get(other.id).steps_done == 2

    def test_a_job_that_is_given_back_unharmed_has_lost_no_attempt(
        self, jobs: JobStore, clock: Clock
    ) -> None:
        job = jobs.add(a_job(), max_queue=9)
        self.claim(jobs, clock, job.id)
        assert jobs.requeue(job.id, owner="one", unharmed=True)
        assert (jobs.get(job.id).state, jobs.get(job.id).attempts) == (JobState.QUEUED, 0)
        self.claim(jobs, clock, job.id)
        assert jobs.requeue(job.id, owner="one", unharmed=False)
        assert jobs.get(job.id).attempts == 1

    def test_jobs_that_ended_are_forgotten_in_time(self, jobs: JobStore, clock: Clock) -> None:
        old, new, waiting = (jobs.add(a_job(n), max_queue=9) for n in range(3))
        jobs.cancel(old.id)
        border = clock()
        jobs.cancel(new.id)
        assert jobs.forget(finished_before=border) == 1
        assert {job.id for job in jobs.list_jobs(limit=9)} == {new.id, waiting.id}
        jobs.tidy()

    def test_more_old_jobs_are_forgotten_than_a_statement_takes_parameters(
        self, jobs: JobStore, records: SqlRecordStore, clock: Clock
    ) -> None:
        def narrow(raw: object, _entry: object, _proxy: object) -> None:
            if isinstance(raw, sqlite3.Connection):
                raw.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 20)

        for number in range(21):
            jobs.cancel(jobs.add(a_job(number), max_queue=99).id)
        waiting = jobs.add(a_job(), max_queue=99)
        event.listen(records.engine, "checkout", narrow)
        try:
            assert jobs.forget(finished_before=clock.now + SOON) == 21
        finally:
            event.remove(records.engine, "checkout", narrow)
        assert [job.id for job in jobs.list_jobs(limit=9)] == [waiting.id]
