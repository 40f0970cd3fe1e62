"""Several processes on one registry, and processes that die in the middle of a transaction."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from provenance.errors import PayloadConflictError
from provenance.testing.stores import build_embedding, build_hash, build_record
from provenance.types import RecordId
from registry.check import check_consistency
from registry.migrate import upgrade
from registry.store import open_store

PROCESSES = 4
RECORDS_EACH = 50

WRITER = """
import sys
from provenance.testing.stores import build_embedding, build_hash, build_record, build_refusal
from registry.store import open_store

store = open_store(sys.argv[1], busy_timeout_s=60)
for number in range(int(sys.argv[2])):
    record_id = store.reserve().record_id
    if number % 10 == 9:
        store.refuse(build_refusal(record_id))
    else:
        hash_, vector = build_hash(number), build_embedding(number + 1, 1)
        store.commit(build_record(record_id, perceptual_hash=hash_, embedding=vector))
    store.nearest_hashes(build_hash(0), max_distance_bits=10, limit=3)
    print(record_id, flush=True)
"""


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/registry.sqlite3"
    upgrade(url)
    return url


@pytest.fixture
def store(url):
    store = open_store(url)
    yield store
    store.close()


def test_four_processes_lose_and_double_nothing(url, store):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(RECORDS_EACH)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    answers = [writer.communicate() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES, answers
    ids = [line for out, _ in answers for line in out.split()]
    assert len(ids) == len(set(ids)) == PROCESSES * RECORDS_EACH

    report = check_consistency(store.engine, now=datetime.now(UTC))
    assert report.problems == ()
    assert report.refusals == PROCESSES * RECORDS_EACH // 10
    assert report.records == store.count() == PROCESSES * RECORDS_EACH - report.refusals
    assert report.open_reservations == report.expired_reservations == 0
    assert report.head == store.log_head()
    assert report.head.size == PROCESSES * RECORDS_EACH
    registered = {record.record_id for record in store.list_records(limit=1000)}
    assert registered < set(ids)


def test_a_search_sees_what_another_process_committed(url, store):
    query = build_hash(0)
    assert list(store.nearest_hashes(query, max_distance_bits=0, limit=5)) == []
    ended = subprocess.run(
        [sys.executable, "-c", WRITER, url, "2"], capture_output=True, text=True, check=True
    )
    first, _ = ended.stdout.split()
    assert [n.record_id for n in store.nearest_hashes(query, max_distance_bits=0, limit=5)] == [
        first
    ]


DYING = """
import os, sys
from datetime import UTC, datetime
from sqlalchemy import Engine, event
from provenance.testing.stores import build_embedding, build_hash, build_record, build_refusal
from registry.check import check_consistency
from registry.store import open_store

url, record_id, what = sys.argv[1:]

def write_and_die(deaths):
    seen = 0
    def die_at(*_):
        nonlocal seen
        seen += 1
        if seen == deaths:
            os._exit(7)
    store = open_store(url)
    event.listen(Engine, "after_cursor_execute", die_at)
    if what == "commit":
        hash_, vector = build_hash(1), build_embedding(1)
        store.commit(build_record(record_id, perceptual_hash=hash_, embedding=vector))
    else:
        store.refuse(build_refusal(record_id))
    os._exit(0)

def check():
    engine = open_store(url).engine
    report = check_consistency(engine, now=datetime.now(UTC))
    state = (report.records, report.refusals, report.open_reservations, report.head.size)
    print(*state, [problem.what for problem in report.problems], flush=True)
    os._exit(0)

def in_child(act, *arguments):
    # This process itself never opens the database: SQLite connections do not survive a fork.
    child = os.fork()
    if child == 0:
        act(*arguments)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

deaths = 1
while in_child(write_and_die, deaths) == 7:
    assert in_child(check) == 0
    deaths += 1
assert in_child(check) == 0
"""
"""Writes again and again, ending without warning after the 1st, 2nd, 3rd ... statement."""


@pytest.mark.parametrize("what", ["commit", "refuse"])
def test_a_process_killed_after_any_statement_leaves_nothing_of_its_transaction(url, store, what):
    store.commit(build_record(store.reserve().record_id))
    record_id = store.reserve().record_id
    store.close()
    ended = subprocess.run(
        [sys.executable, "-c", DYING, url, record_id, what],
        capture_output=True,
        text=True,
        check=True,
    )
    *killed, finished = ended.stdout.splitlines()
    assert len(killed) >= 5  # BEGIN, reservation, last leaf, leaf, row ...
    # One record from before, no refusal, the reservation open, one leaf, no problems.
    assert set(killed) == {"1 0 1 1 []"}
    assert finished == ("2 0 0 2 []" if what == "commit" else "1 1 0 2 []")


def test_an_id_whose_process_died_expires_and_is_told_as_harmless(url):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store = open_store(url, clock=lambda: now, reservation_lifetime=timedelta(minutes=1))
    store.reserve()
    open_then = check_consistency(store.engine, now=now)
    expired = check_consistency(store.engine, now=now + timedelta(minutes=1))
    assert (open_then.open_reservations, open_then.expired_reservations) == (1, 0)
    assert (expired.open_reservations, expired.expired_reservations) == (0, 1)
    assert open_then.problems == expired.problems == ()
    store.close()


def test_two_commits_of_one_id_write_one_record(url, store):
    record = build_record(store.reserve().record_id)
    other = open_store(url)
    other.commit(record)
    with pytest.raises(PayloadConflictError, match="already committed"):
        store.commit(record)
    assert store.count() == other.count() == 1
    other.close()


def test_a_search_forgets_rows_of_a_registry_that_was_replaced(tmp_path):
    # A backup of another day is put in place while the process runs.
    urls = [f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("first", "second")]
    for number, url in enumerate(urls):
        upgrade(url)
        store = open_store(url, random_bytes=lambda size, n=number: bytes([n + 1]) * size)
        record_id = store.reserve().record_id
        embedding = build_embedding(1)
        store.commit(build_record(record_id, perceptual_hash=build_hash(0), embedding=embedding))
        store.close()
    store = open_store(urls[0])

    def search():
        by_hash = store.nearest_hashes(build_hash(0), max_distance_bits=0, limit=5)
        by_vector = store.nearest_embeddings(build_embedding(1), min_cosine=0.9, limit=5)
        return [n.record_id for n in (*by_hash, *by_vector)]

    assert search() == [RecordId("01" * 8)] * 2
    store.close()
    for path in tmp_path.glob("first.sqlite3-*"):
        path.unlink()
    (tmp_path / "second.sqlite3").replace(tmp_path / "first.sqlite3")
    assert search() == [RecordId("02" * 8)] * 2
    store.close()
