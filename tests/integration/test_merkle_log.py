"""The log on a real database: growing, proving, signing, and databases of before the tree."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from provenance.errors import InputError, RecordNotFoundError, RegistryError
from provenance.testing.stores import ManualClock, build_record, build_refusal, counting_bytes
from provenance.types import EventTarget, RecordId
from registry import migrate
from registry.check import check_consistency
from registry.engine import reading
from registry.events import EventLog
from registry.log_proofs import (
    check_consistency_proof,
    check_inclusion_proof,
    log_id_of,
    public_key_pem,
    read_document,
    read_public_key,
    verify_head,
)
from registry.merkle import fold, hash_children, hash_leaf
from registry.signed_log import SignedLog, open_log_keys
from registry.store import open_store

SIZE = 13


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/registry.sqlite3"
    migrate.upgrade(url)
    return url


@pytest.fixture
def store(url):
    store = open_store(url, random_bytes=counting_bytes())
    yield store
    store.close()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def log(store, tmp_path, clock):
    return SignedLog(store.engine, open_log_keys(tmp_path / "keys" / "log.key"), clock=clock)


def grow(store, leaves):
    ids = []
    for number in range(leaves):
        record_id = store.reserve().record_id
        if number % 4 == 3:
            store.refuse(build_refusal(record_id))
        else:
            store.commit(build_record(record_id))
        ids.append(record_id)
    return ids


def root_of(hashes):
    """MTH of RFC 9162, the plain way."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return hash_children(root_of(hashes[:split]), root_of(hashes[split:]))


def key_of(log):
    return next(iter(log.keys.public.values()))


def test_each_commit_answers_the_root_of_the_tree_so_far(store):
    hashes = []
    for _ in range(SIZE):
        head = store.commit(build_record(store.reserve().record_id))
        hashes = [hash_leaf(leaf.data) for leaf in SignedLog(store.engine, None).leaves(0, 99)]
        assert (head.size, head.digest) == (len(hashes), root_of(hashes).hex())
        assert store.log_head() == head


def test_a_commit_and_a_proof_read_a_few_rows_of_a_long_log(store, log):
    grow(store, 40)
    head = log.sign()
    read = []
    with store.engine.connect() as connection:
        connection.connection.set_trace_callback(read.append)
        proof = log.prove_leaf(17)
        store.commit(build_record(store.reserve().record_id))
        connection.connection.set_trace_callback(None)
    check_inclusion_proof(proof, head, key_of(log))
    assert len(proof.path) == 6
    assert not [
        one
        for one in read
        if "log_leaves" in one
        and "WHERE" not in one
        and "max(" not in one
        and one.startswith("SELECT")
    ]


def test_every_entry_is_proven_for_a_signed_head(store, log):
    ids = grow(store, SIZE)
    head = log.sign()
    for index, record_id in enumerate(ids):
        proof = log.prove_record(record_id)
        assert proof.leaf_index == index
        check_inclusion_proof(proof, head, key_of(log))


def test_a_proof_outside_the_last_head_signs_a_new_one(store, log):
    grow(store, 3)
    old = log.sign()
    (late,) = grow(store, 1)
    proof = log.prove_record(late)
    assert (old.size, proof.head.size) == (3, 4)
    check_inclusion_proof(proof, proof.head, key_of(log))
    with pytest.raises(InputError, match="no leaf 3"):
        log.prove_record(late, size=3)
    with pytest.raises(InputError, match="no head of 2 leaves was signed"):
        log.prove_record(late, size=2)


def test_growth_is_proven_between_any_two_heads(store, log):
    heads = []
    for _ in range(6):
        grow(store, 2)
        heads.append(log.sign())
    for first in heads:
        for second in heads[heads.index(first) :]:
            proof = log.prove_growth(first.size, second.size)
            check_consistency_proof(proof, first, second, key_of(log))


def test_a_stranger_checks_documents_without_the_registry(store, log):
    (record_id,) = grow(store, 1)
    first = log.sign()
    grow(store, 6)
    key = read_public_key(public_key_pem(key_of(log)).encode(), name="key.pem")
    written = [
        json.dumps(one.to_json()).encode()
        for one in (first, log.prove_record(record_id), log.prove_growth(1, log.sign().size))
    ]
    head, inclusion, growth = (read_document(one, name="p.json") for one in written)
    assert head == first
    check_inclusion_proof(inclusion, head, key)
    check_consistency_proof(growth, head, growth.head, key)
    other = replace(inclusion, leaf=inclusion.leaf.replace(b"commit", b"commut"))
    with pytest.raises(InputError, match="not in that log"):
        check_inclusion_proof(other, head, key)
    forged = replace(head, root=bytes(32))
    with pytest.raises(InputError, match="signature of the head"):
        check_inclusion_proof(inclusion, forged, key)
    with pytest.raises(InputError, match="is for 1 leaves, the head for 7"):
        check_inclusion_proof(inclusion, growth.head, key)
    with pytest.raises(InputError, match="was changed"):
        check_consistency_proof(replace(growth, path=growth.path[::-1]), head, growth.head, key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "no JSON"),
        (b"[]", "field type"),
        (b'{"type": "poem"}', "neither head nor proof"),
        (b'{"type": "head", "tree_size": -1}', "tree_size is out of range"),
        (b'{"type": "head", "tree_size": true}', "tree_size is missing or of the wrong kind"),
        (b'{"type": "head", "tree_size": 1, "timestamp_ms": 1, "root_hash": "0"}', "32 bytes"),
        (b'{"type": "inclusion", "leaf": "x", "leaf_index": 0, "path": [3]}', "field path"),
    ],
)
def test_a_document_that_is_none_is_named_with_its_field(text, message):
    with pytest.raises(InputError, match=rf"p\.json.*{message}"):
        read_document(text, name="p.json")


# -- signing ---------------------------------------------------------------------------------------


def test_heads_are_signed_when_they_are_due(store, log, clock):
    first = log.sign_if_due(60)
    clock.advance(timedelta(seconds=59))
    assert log.sign_if_due(60) == first
    clock.advance(timedelta(seconds=1))
    second = log.sign_if_due(60)
    assert second.timestamp_ms - first.timestamp_ms == 60_000
    assert verify_head(second, key_of(log))
    assert second.log_id == log_id_of(key_of(log))


def test_heads_go_on_in_time_when_the_clock_is_set_back(log, clock):
    first = log.sign()
    clock.advance(timedelta(days=-1))
    assert log.sign().timestamp_ms == first.timestamp_ms + 1


@pytest.mark.parametrize(
    "change",
    [
        'UPDATE log_leaves SET leaf_hash = zeroblob(32) WHERE "index" = 4',
        'DELETE FROM log_leaves WHERE "index" = 4',
    ],
)
def test_a_rewritten_log_is_never_signed(store, log, tmp_path, change):
    grow(store, 5)
    log.sign()
    with sqlite3.connect(tmp_path / "registry.sqlite3") as raw:
        raw.execute(change)
    with pytest.raises(RegistryError, match="countermark audit"):
        log.sign()


def test_an_unknown_id_has_no_proof(log):
    with pytest.raises(RecordNotFoundError, match="no record or refusal"):
        log.prove_record(RecordId("f" * 16))


# -- migrating -------------------------------------------------------------------------------------


def leaves_of(tmp_path):
    with sqlite3.connect(tmp_path / "registry.sqlite3") as raw:
        raw.row_factory = sqlite3.Row
        return [dict(row) for row in raw.execute('SELECT * FROM log_leaves ORDER BY "index"')]


def test_a_log_goes_back_to_a_chain_and_comes_again_as_the_same_tree(store, url, tmp_path):
    grow(store, SIZE)
    head, rows = store.log_head(), leaves_of(tmp_path)
    store.close()
    migrate.downgrade(url, "0005")
    chained = leaves_of(tmp_path)
    assert [row["data"] for row in chained] == [row["data"] for row in rows]
    assert "subtrees" not in chained[0]
    assert all(len(row["head"]) == 32 for row in chained)
    migrate.upgrade(url)
    assert migrate.check(url) == ()
    assert leaves_of(tmp_path) == rows
    again = open_store(url)
    assert again.log_head() == head
    again.close()


def test_the_root_of_no_leaves_is_the_hash_of_nothing(store):
    with reading(store.engine):
        assert store.log_head().digest == fold([]).hex()


def test_writers_and_signers_at_once_make_one_tree(store, url, tmp_path):
    opened = [open_store(url) for _ in range(4)]

    def write(own):
        log = SignedLog(own.engine, open_log_keys(tmp_path / "log.key"))
        events = EventLog(own.engine)
        for number in range(6):
            record_id = own.reserve().record_id
            own.commit(build_record(record_id))
            if number % 3 == 0:
                events.revoke(EventTarget.RECORD, record_id, "at once")
            if number % 3 == 1:
                log.sign()

    with ThreadPoolExecutor(len(opened)) as threads:
        list(threads.map(write, opened))
    keys = open_log_keys(tmp_path / "log.key").public
    report = check_consistency(store.engine, now=datetime.now(UTC), log_keys=keys)
    assert report.problems == ()
    assert (report.records, report.events, report.signed_heads) == (24, 8, 8)
    assert report.head == store.log_head()
    for own in opened:
        own.close()
