"""``countermark registry copy``: all of it or nothing, the same on either database."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from console import run
from sqlalchemy import Engine, event, func, select, update

from provenance.errors import RegistryError, RegistryUnavailableError
from provenance.testing.stores import (
    assert_same_record,
    build_embedding,
    build_hash,
    build_record,
    build_refusal,
    build_sealed_inputs,
)
from provenance.types import KeypointWords, Scope, SoftBinding
from registry import migrate
from registry.api_keys import SqlApiKeyStore
from registry.check import check_consistency
from registry.copying import copy_registry
from registry.engine import make_engine
from registry.events import EventLog
from registry.index.maintenance import check_indexes
from registry.jobs import JobStore, NewJob
from registry.repository import ManifestRepository
from registry.store import open_store
from registry.tables import Base, LogLeafRow

EMPTY_HERE = {"index_generations", "tree_heads"}
CORNER = KeypointWords(
    "words/1", np.ones((1, 1), np.uint16), np.ones(1, np.uint8), np.ones(1, np.uint64)
)


def fill(url):
    """A registry with something in every table but `EMPTY_HERE`."""
    store = open_store(url)
    records = []
    for number in range(3):
        record = build_record(
            store.reserve().record_id,
            parameters={"steps": 20, "scale": 7.5, "tiled": False, "note": "Ä\n\"'"},
            perceptual_hash=build_hash(1 << number),
            embedding=build_embedding(1, number),
        )
        prints = replace(record.fingerprints, thumbnail=b"small", keypoint_words=CORNER)
        record = replace(record, fingerprints=prints)
        store.commit(record, build_sealed_inputs(record.record_id))
        records.append(record)
    store.refuse(build_refusal(store.reserve().record_id))
    store.release(store.reserve().record_id)
    EventLog(store.engine).take_down(records[0].record_id, "a test")
    ManifestRepository(store).add("urn:one", b"store", [SoftBinding("org.x.y", "1")], owner="k")
    keys = SqlApiKeyStore(store.engine)
    key, text = keys.create("app", [Scope.GENERATE, Scope.VERIFY], daily_pictures=5)
    keys.spend_pictures(key, 2)
    keys.authenticate(text)
    job = NewJob(
        body={"prompt": "a cat, as JSON: é"},
        inputs={"ab" * 32: b"\x00\xff picture"},
        seeds=(1, 2),
        steps_total=4,
        model=None,
        batch_key="c" * 64,
        body_digest="d" * 64,
        idempotency_key="again",
    )
    JobStore(store.engine).add(job, max_queue=9)
    store.close()
    return records, text


def rows_in(url):
    engine = make_engine(url)
    with engine.connect() as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table))
            for table in Base.metadata.sorted_tables
        }
    engine.dispose()
    return counts


@pytest.fixture
def other_url(tmp_path):
    return f"sqlite:///{tmp_path}/other.sqlite3"


def assert_is_copy(source, target, records, key_text):
    assert rows_in(target) == rows_in(source)
    stores = [open_store(url) for url in (source, target)]
    report = check_consistency(stores[1].engine, now=datetime.now(UTC))
    assert report.problems == ()
    assert stores[0].log_head() == stores[1].log_head() == report.head
    for record in records:
        assert_same_record(stores[1].get(record.record_id), record)
    near = stores[1].nearest_hashes(build_hash(2), max_distance_bits=0, limit=5)
    assert [one.record_id for one in near] == [records[1].record_id]
    assert SqlApiKeyStore(stores[1].engine).authenticate(key_text) is not None
    assert {state.problem for state in check_indexes(stores[1].engine, None)} == {""}
    stores[1].commit(build_record(stores[1].reserve().record_id))  # it goes on from there
    for store in stores:
        store.close()


def test_a_registry_goes_to_the_other_database_and_back(
    registry_url, empty_postgresql_url, other_url
):
    records, key_text = fill(registry_url)
    filled = {name for name, rows in rows_in(registry_url).items() if rows}
    assert filled >= set(Base.metadata.tables) - EMPTY_HERE
    there = copy_registry(registry_url, empty_postgresql_url)
    back = copy_registry(empty_postgresql_url, other_url)
    assert there == back
    assert {table.name: table.rows for table in there}["records"] == 3
    assert_is_copy(registry_url, other_url, records, key_text)
    assert_is_copy(registry_url, empty_postgresql_url, records, key_text)


def test_a_target_with_rows_is_refused_and_left_alone(registry_url, other_url):
    migrate.upgrade(other_url)
    fill(other_url)
    store = open_store(registry_url)
    store.reserve()
    before = rows_in(registry_url)
    with pytest.raises(RegistryError, match=r"holds a registry already \(table reservations"):
        copy_registry(other_url, registry_url)
    assert rows_in(registry_url) == before
    store.close()


def test_a_target_at_another_migration_is_refused(registry_url, other_url):
    migrate.upgrade(other_url)
    migrate.downgrade(registry_url, "0005")
    with pytest.raises(RegistryError, match="at migration 0005 already; name an empty"):
        copy_registry(other_url, registry_url)
    with pytest.raises(RegistryUnavailableError, match=r"at migration 0005.*registry upgrade"):
        copy_registry(registry_url, other_url)
    migrate.upgrade(registry_url)


def test_a_source_that_is_not_there_makes_no_target(tmp_path, other_url):
    with pytest.raises(RegistryUnavailableError, match=r"migration none.*check the address"):
        copy_registry(f"sqlite:///{tmp_path}/none.sqlite3", other_url)
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_comes_out_other_than_it_went_in_leaves_nothing(registry_url, other_url):
    fill(registry_url)

    def spoil(mapper_connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("INSERT INTO log_leaves"):
            mapper_connection.execute(update(LogLeafRow).values(kind="spoilt"))

    migrate.upgrade(other_url)

    event.listen(Engine, "after_cursor_execute", spoil)
    try:
        with pytest.raises(RegistryError, match=r"log_leaves .* does not hold what was copied"):
            copy_registry(registry_url, other_url)
    finally:
        event.remove(Engine, "after_cursor_execute", spoil)
    assert set(rows_in(other_url).values()) == {0}
    copy_registry(registry_url, other_url)


KILLED = """
import os, sys
from registry.copying import copy_registry
copy_registry(sys.argv[1], sys.argv[2], report=lambda t: os._exit(7) if t.name == "records" else 0)
"""


def test_a_copy_that_is_killed_can_be_started_again(registry_url, other_url):
    records, key_text = fill(registry_url)
    words = [sys.executable, "-c", KILLED, registry_url, other_url]
    assert subprocess.run(words, check=False).returncode == 7
    assert set(rows_in(other_url).values()) == {0}
    copy_registry(registry_url, other_url)
    assert_is_copy(registry_url, other_url, records, key_text)


def test_the_command_copies_and_says_what(tmp_path, other_url):
    url = f"sqlite:///{tmp_path}/registry.sqlite3"
    migrate.upgrade(url)
    fill(url)
    told = run(tmp_path, "registry", "copy", url, other_url, "--json").json
    assert {one["name"]: one["rows"] for one in told}["log_leaves"] == 6
    assert all(len(one["sha256"]) == 64 for one in told)
    again = run(tmp_path, "registry", "copy", url, other_url)
    assert again.code == 4
    assert "holds a registry already" in again.err
    assert "Traceback" not in again.err


def test_the_command_tells_chunks_that_are_missing(tmp_path):
    url = f"sqlite:///{tmp_path}/registry.sqlite3"
    migrate.upgrade(url)
    fill(url)
    whole = run(tmp_path, "registry", "index")
    assert whole.code == 0
    assert "hash_chunks: 3 of 3 indexed" in whole.out
    with sqlite3.connect(tmp_path / "registry.sqlite3") as raw:
        raw.execute("DELETE FROM hash_chunks WHERE key < 65536")
    broken = run(tmp_path, "registry", "index")
    assert broken.code == 4
    assert "3 rows of hash_chunks are missing" in broken.out
    assert run(tmp_path, "registry", "index", "--rebuild").code == 0
    assert run(tmp_path, "registry", "index").code == 0
