"""The consistency check finds each way of tampering with the database by hand."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

import pytest

from provenance.testing.stores import build_embedding, build_hash, build_record, build_refusal
from registry.check import check_consistency
from registry.migrate import upgrade
from registry.store import open_store

FIRST, SECOND, REFUSED, OPEN = (f"{number:016x}" for number in (1, 2, 3, 4))


@pytest.fixture
def registry(tmp_path):
    """Two records (leaves 0 and 1), a refusal (leaf 2) and an open reservation."""
    url = f"sqlite:///{tmp_path}/registry.sqlite3"
    upgrade(url)
    numbers = iter(range(1, 9))
    store = open_store(url, random_bytes=lambda size: next(numbers).to_bytes(size, "big"))
    for number in range(2):
        record_id = store.reserve().record_id
        hash_, vector = build_hash(number), build_embedding(1, number)
        store.commit(build_record(record_id, perceptual_hash=hash_, embedding=vector))
    store.refuse(build_refusal(store.reserve().record_id))
    store.reserve()
    yield store
    store.close()


def problems_after(registry, tmp_path, *statements):
    raw = sqlite3.connect(tmp_path / "registry.sqlite3")
    for statement in statements:
        assert raw.execute(statement).rowcount >= 1, statement
    raw.commit()
    raw.close()
    report = check_consistency(registry.engine, now=datetime.now(UTC))
    assert all(problem.remedy for problem in report.problems)
    return [problem.what for problem in report.problems]


def test_a_registry_that_nobody_touched_has_no_problems(registry):
    report = check_consistency(registry.engine, now=datetime.now(UTC))
    assert report.problems == ()
    assert (report.records, report.refusals, report.open_reservations) == (2, 1, 1)
    assert report.head == registry.log_head()


@pytest.mark.parametrize(
    "change",
    [
        "sha256 = '" + "a" * 64 + "'",
        "created_at = '2020-01-01 00:00:00.000000'",
        "kind = 'attested'",
        "width_px = 1",
        "shell_head = x'00'",
        "parameters = '{\"seed\": 8}'",
        "safety = NULL",
        "watermark_key_id = 'other'",
        "manifest_store = x'00'",
        "model_licence = 'MIT'",
    ],
)
def test_a_changed_record_is_found(registry, tmp_path, change):
    found = problems_after(
        registry, tmp_path, f"UPDATE records SET {change} WHERE record_id = '{SECOND}'"
    )
    assert found == [f"record {SECOND} does not say what log leaf 1 says it said"]


@pytest.mark.parametrize(
    "change", ["perceptual_hashes SET hash = zeroblob(32)", "embeddings SET space_id = 'other'"]
)
def test_a_changed_fingerprint_is_found(registry, tmp_path, change):
    found = problems_after(registry, tmp_path, f"UPDATE {change} WHERE record_id = '{SECOND}'")
    assert found == [f"record {SECOND} does not say what log leaf 1 says it said"]


def test_a_fingerprint_at_another_place_of_the_log_is_found(registry, tmp_path):
    found = problems_after(
        registry, tmp_path, f"UPDATE embeddings SET log_index = 0 WHERE record_id = '{SECOND}'"
    )
    assert found == [f"the embedding of record {SECOND} stands at another place of the log"]


def test_a_record_that_can_no_longer_be_read_is_found(registry, tmp_path):
    (found,) = problems_after(
        registry, tmp_path, f"UPDATE records SET kind = 'painted' WHERE record_id = '{FIRST}'"
    )
    assert found.startswith(f"record {FIRST} cannot be read")


def test_a_changed_refusal_is_found(registry, tmp_path):
    found = problems_after(registry, tmp_path, "UPDATE refusals SET reason = 'none'")
    assert found == [f"refusal {REFUSED} does not say what log leaf 2 says it said"]


def test_a_deleted_record_is_found(registry, tmp_path):
    found = problems_after(
        registry,
        tmp_path,
        f"DELETE FROM perceptual_hashes WHERE record_id = '{FIRST}'",
        f"DELETE FROM embeddings WHERE record_id = '{FIRST}'",
        f"DELETE FROM records WHERE record_id = '{FIRST}'",
    )
    assert found == [
        "log leaf 0 says commit, but its row is gone",
        f"id {FIRST} is committed, but has no record",
    ]


def test_a_reservation_set_back_is_found(registry, tmp_path):
    found = problems_after(
        registry,
        tmp_path,
        f"UPDATE reservations SET state = 'reserved' WHERE record_id IN ('{FIRST}', '{REFUSED}')",
    )
    assert sorted(found) == [
        f"record {FIRST} stands, but its id is reserved",
        f"refusal {REFUSED} stands, but its id is reserved",
    ]


def test_a_reservation_that_claims_a_record_is_found(registry, tmp_path):
    found = problems_after(
        registry, tmp_path, f"UPDATE reservations SET state = 'refused' WHERE record_id = '{OPEN}'"
    )
    assert found == [f"id {OPEN} is refused, but has no refusal"]


def test_a_changed_leaf_is_found_in_the_log_and_against_its_record(registry, tmp_path):
    found = problems_after(
        registry, tmp_path, """UPDATE log_leaves SET data = x'7b7d' WHERE "index" = 0"""
    )
    assert found == [
        "log leaf 0 does not have its stored hash",
        f"record {FIRST} does not say what log leaf 0 says it said",
    ]


def test_a_leaf_whose_hash_was_changed_along_still_breaks_the_tree(registry, tmp_path):
    # SHA-256 of 00 7b 7d: the leaf hash of the new data, as a careful forger would store it.
    import hashlib

    forged = hashlib.sha256(b"\x00{}").hexdigest()
    found = problems_after(
        registry,
        tmp_path,
        f"""UPDATE log_leaves SET data = x'7b7d', leaf_hash = x'{forged}' WHERE "index" = 1""",
    )
    assert "the log's tree breaks at leaf 1" in found


def test_a_missing_leaf_is_found(registry, tmp_path):
    found = problems_after(registry, tmp_path, """DELETE FROM log_leaves WHERE "index" = 1""")
    assert found == [
        "log leaves 1 to 1 are missing",
        f"record {SECOND} has no leaf in the log",
    ]


def test_leaves_that_changed_places_are_found(registry, tmp_path):
    found = problems_after(
        registry,
        tmp_path,
        """UPDATE log_leaves SET "index" = 99 WHERE "index" = 0""",
        """UPDATE log_leaves SET "index" = 0 WHERE "index" = 1""",
        """UPDATE log_leaves SET "index" = 1 WHERE "index" = 99""",
    )
    assert "the log's tree breaks at leaf 0" in found
    assert f"record {FIRST} does not say what log leaf 0 says it said" in found


def test_a_record_that_points_to_a_refusal_is_found(registry, tmp_path):
    found = problems_after(
        registry, tmp_path, f"UPDATE records SET log_index = 2 WHERE record_id = '{SECOND}'"
    )
    assert f"record {SECOND} points to log leaf 2, which is of kind refusal" in found
    assert "log leaf 1 says commit, but its row is gone" in found
