"""What must hold on SQLite and on PostgreSQL alike: many processes, migrations, lost races."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text

from provenance.errors import RegistryUnavailableError
from provenance.testing.stores import (
    assert_same_record,
    build_embedding,
    build_hash,
    build_record,
    build_refusal,
    build_words,
)
from registry import migrate
from registry.check import check_consistency
from registry.engine import make_engine, writing
from registry.index.maintenance import check_indexes
from registry.retry import MAX_TRIES, retried
from registry.store import open_store
from registry.tables import HEAD_REVISION, ReservationRow

PROCESSES = 8
RESERVATIONS_EACH = 500

RESERVERS = """
import sys
from multiprocessing import get_context
from registry.store import open_store

def reserve(count):
    store = open_store(sys.argv[1], busy_timeout_s=120)
    return [store.reserve().record_id for _ in range(count)]

# Forked after the imports and before anything is opened: eight interpreters take half a minute.
with get_context("fork").Pool(int(sys.argv[2])) as pool:
    for ids in pool.map(reserve, [int(sys.argv[3])] * int(sys.argv[2]), chunksize=1):
        print(*ids)
"""


def test_eight_processes_lose_and_double_no_reservation(registry_url):
    words = [sys.executable, "-c", RESERVERS, registry_url, str(PROCESSES), str(RESERVATIONS_EACH)]
    answer = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    ids = answer.split()
    assert len(answer.splitlines()) == PROCESSES
    assert len(ids) == len(set(ids)) == PROCESSES * RESERVATIONS_EACH
    store = open_store(registry_url)
    with store.engine.connect() as connection:
        stored = connection.scalars(select(ReservationRow.record_id)).all()
    store.close()
    assert sorted(stored) == sorted(ids)


COMMITTER = """
import sys
from provenance.testing.stores import build_embedding, build_hash, build_record, build_refusal
from registry.store import open_store
store = open_store(sys.argv[1], busy_timeout_s=120)
for number in range(int(sys.argv[2])):
    record_id = store.reserve().record_id
    if number % 10 == 9:
        store.refuse(build_refusal(record_id))
        continue
    vector = build_embedding(number + 1, 1)
    store.commit(build_record(record_id, perceptual_hash=build_hash(number), embedding=vector))
    near = store.nearest_embeddings(vector, min_cosine=0.999, limit=500)
    assert record_id in {one.record_id for one in near}, "not found right after it was written"
"""


def test_processes_find_at_once_what_they_and_others_wrote(postgresql_url):
    words = [sys.executable, "-c", COMMITTER, postgresql_url, "20"]
    processes = [subprocess.Popen(words) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    store = open_store(postgresql_url)
    report = check_consistency(store.engine, now=datetime.now(UTC))
    assert report.problems == ()
    assert (report.records, report.refusals, report.head.size) == (72, 8, 80)
    near = store.nearest_embeddings(build_embedding(1), min_cosine=-1, limit=500)
    assert len(near) == 72
    store.close()


# -- migrations ----------------------------------------------------------------------------------


def test_every_migration_goes_up_and_down_on_data(empty_registry_url):
    url = empty_registry_url
    migrate.upgrade(url)
    store = open_store(url)
    record = build_record(
        store.reserve().record_id, perceptual_hash=build_hash(3), embedding=build_embedding(1)
    )
    store.commit(record)
    refusal = build_refusal(store.reserve().record_id)
    store.refuse(refusal)
    head = store.log_head()
    store.close()
    for revision in ("0005", "0004", "0003", "0002"):
        migrate.downgrade(url, revision)
        assert migrate.current(url) == revision
        assert migrate.upgrade(url) == HEAD_REVISION
        assert migrate.check(url) == ()
    store = open_store(url)
    found = store.get(record.record_id)
    assert found.fingerprints.perceptual_hash == record.fingerprints.perceptual_hash
    assert found.manifest_store == record.manifest_store
    assert store.find_refusal(refusal.record_id) == refusal
    assert store.log_head() == head
    near = store.nearest_hashes(build_hash(1), max_distance_bits=1, limit=5)
    assert [one.record_id for one in near] == [record.record_id]
    store.close()
    migrate.downgrade(url, "base")
    assert migrate.current(url) is None


def test_words_go_with_their_migration_and_nothing_else_does(registry_url):
    words = build_words((1, 2, 3), (4, 5, 6))

    def register(store):
        record = build_record(store.reserve().record_id)
        prints = replace(record.fingerprints, thumbnail=b"small", keypoint_words=words)
        store.commit(replace(record, fingerprints=prints))
        return record.record_id

    store = open_store(registry_url)
    older = register(store)
    store.close()
    migrate.downgrade(registry_url, "0010")
    migrate.upgrade(registry_url)
    assert migrate.check(registry_url) == ()
    store = open_store(registry_url)
    assert store.thumbnail(older) == b"small"
    assert list(store.nearest_words([words], limit=5)) == []
    newer = register(store)
    assert [one.record_id for one in store.nearest_words([words], limit=5)] == [newer]
    assert check_consistency(store.engine, now=datetime.now(UTC)).problems == ()
    store.close()


def test_the_migration_makes_the_chunks_of_hashes_that_stand(registry_url):
    store = open_store(registry_url)
    records = [
        build_record(store.reserve().record_id, perceptual_hash=build_hash(number << 200))
        for number in range(40)
    ]
    for record in records:
        store.commit(record)
    store.close()
    migrate.downgrade(registry_url, "0005")
    migrate.upgrade(registry_url)
    store = open_store(registry_url)
    assert [state.problem for state in check_indexes(store.engine, None)] == [""]
    near = store.nearest_hashes(build_hash(39 << 200), max_distance_bits=0, limit=5)
    assert [one.record_id for one in near] == [records[39].record_id]
    assert_same_record(store.get(records[5].record_id), records[5])
    store.close()


# -- lost races ----------------------------------------------------------------------------------


def test_a_transaction_that_lost_a_deadlock_is_tried_again(postgresql_url):
    store = open_store(postgresql_url)
    ids = [store.reserve().record_id for _ in range(2)]
    both_hold_one = threading.Barrier(2, timeout=20)
    tries = []

    @retried
    def release_both(first, second):
        tries.append(first)
        with writing(store.engine) as session:
            session.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
            lock = text("SELECT 1 FROM reservations WHERE record_id = :id FOR UPDATE")
            session.execute(lock, {"id": first})
            if len(tries) <= 2:
                both_hold_one.wait()
            session.execute(lock, {"id": second})

    others = threading.Thread(target=release_both, args=ids)
    others.start()
    release_both(*reversed(ids))
    others.join()
    assert len(tries) == 3
    store.close()


def test_a_race_that_is_lost_again_and_again_is_told(postgresql_url):
    engine = make_engine(postgresql_url)
    tries = []

    @retried
    def lose():
        tries.append(1)
        with writing(engine) as session:
            session.execute(
                text("DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$")
            )

    with pytest.raises(RegistryUnavailableError, match="40001"):
        lose()
    assert len(tries) == MAX_TRIES
    engine.dispose()


def test_other_errors_are_told_at_once(tmp_path):
    tries = []

    @retried
    def fail():
        tries.append(1)
        migrate.check(f"sqlite:///{tmp_path}/none.sqlite3")

    with pytest.raises(RegistryUnavailableError):
        fail()
    assert len(tries) == 1
