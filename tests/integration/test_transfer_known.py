"""Imports into registries that know the entries already: what they lacked comes, once."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import delete, func, select, update

from provenance.errors import InputError, ProvenanceError
from provenance.testing.stores import (
    DIM,
    START,
    build_embedding,
    build_hash,
    build_record,
    build_sealed_inputs,
)
from provenance.types import EventTarget, KeypointWords, SoftBinding
from registry import migrate, transfer
from registry.check import check_consistency
from registry.engine import writing
from registry.events import EventLog
from registry.index.cache_file import cache_path
from registry.index.generations import count_up
from registry.index.vectors import SqlVectorIndex
from registry.index.words import decode_words, encode_words
from registry.repository import ManifestRepository
from registry.store import open_store
from registry.tables import (
    EmbeddingRow,
    KeypointWordsRow,
    PerceptualHashRow,
    RegistryEventRow,
    ThumbnailRow,
)
from registry.transfer import export_registry, import_registry

ADDED = SoftBinding("com.example.mark", "1")
OTHER = SoftBinding("com.example.mark", "2")
LATER = "later/1"


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory):
    """A file with new, empty tables, to be copied."""
    file = tmp_path_factory.mktemp("empty") / "registry.sqlite3"
    migrate.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def source(tmp_path, empty_registry):
    shutil.copy(empty_registry, tmp_path / "source.sqlite3")
    store = open_store(f"sqlite:///{tmp_path}/source.sqlite3")
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request, tmp_path, empty_registry):
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    else:
        url = f"sqlite:///{shutil.copy(empty_registry, tmp_path / 'target.sqlite3')}"
    store = open_store(url)
    yield store
    store.close()


@pytest.fixture
def records(source):
    made = []
    for number in range(3):
        record_id = source.reserve().record_id
        record = build_record(
            record_id, perceptual_hash=build_hash(number), embedding=build_embedding(1, number)
        )
        prints = replace(record.fingerprints, thumbnail=b"thumbnail %d" % number)
        made.append(replace(record, fingerprints=prints))
        source.commit(made[-1], build_sealed_inputs(record_id))
    ManifestRepository(source).add("urn:c2pa:one", b"store", [], owner="somebody")
    return made


def add_vector(store, record, *components, space_id=LATER):
    """As `registry.reindex` adds one."""
    vector = build_embedding(*components, space_id=space_id).vector
    with writing(store.engine) as session:
        index = session.scalar(
            select(PerceptualHashRow.log_index).where(
                PerceptualHashRow.record_id == record.record_id
            )
        )
        session.add(
            EmbeddingRow(
                record_id=record.record_id,
                space_id=space_id,
                log_index=index,
                of_record=False,
                dim=len(vector),
                vector=vector.tobytes(),
            )
        )
        count_up(session, space_id)


def add_words(store, record, *, word=3):
    corner = KeypointWords(
        "words/1",
        np.array([[word]], np.uint16),
        np.zeros(1, np.uint8),
        np.zeros(1, np.uint64),
    )
    with writing(store.engine) as session:
        index = session.scalar(
            select(PerceptualHashRow.log_index).where(
                PerceptualHashRow.record_id == record.record_id
            )
        )
        session.add(
            KeypointWordsRow(
                record_id=record.record_id,
                space_id="words/1",
                log_index=index,
                corners=encode_words(corner),
            )
        )


def words_of(store):
    with writing(store.engine) as session:
        rows = session.execute(select(KeypointWordsRow.record_id, KeypointWordsRow.corners))
        return {name: int(decode_words("words/1", raw).words[0, 0]) for name, raw in rows}


def pass_on(source, target, folder, **options):
    export_registry(source.engine, None, folder, **options)
    return import_registry(target.engine, None, folder)


def nearest(store, *components, space_id=LATER):
    query = build_embedding(*components, space_id=space_id)
    return [one.record_id for one in store.nearest_embeddings(query, min_cosine=0.99, limit=5)]


def write_codes(store, folder):
    SqlVectorIndex(store.engine, LATER, folder=folder).rebuild()
    return cache_path(folder, LATER)


def in_order(store):
    return check_consistency(store.engine, now=START).problems == ()


def test_what_was_added_later_to_known_entries_comes_along(source, target, records, tmp_path):
    pass_on(source, target, tmp_path / "out")
    head = target.log_head()
    add_vector(target, records[0], 0, 0, 1)
    assert nearest(target, 0, 1, 1) == []  # a cache of the space stands now
    for number, record in enumerate(records):
        add_vector(source, record, 0, number, 1)
    ManifestRepository(source).bind("urn:c2pa:one", ADDED)
    with writing(target.engine) as session:
        session.execute(delete(ThumbnailRow))
    for record in records[1:]:
        add_words(source, record)
    add_words(target, records[2], word=7)
    file = write_codes(target, tmp_path / "index")
    export_registry(source.engine, None, tmp_path / "out")
    read = import_registry(target.engine, None, tmp_path / "out", index_folder=file.parent)
    assert (read.entries, read.known, read.added) == (0, 4, 2 + 1 + 3 + 1)
    assert not file.exists()  # it is of other rows now
    assert nearest(target, 0, 1, 1) == [records[1].record_id]
    found = ManifestRepository(target).find_bound(ADDED, limit=2)
    assert [one.manifest_id for one in found] == ["urn:c2pa:one"]
    for record in records:
        assert target.thumbnail(record.record_id) == record.fingerprints.thumbnail
    assert words_of(target) == {records[1].record_id: 3, records[2].record_id: 7}
    assert target.log_head() == head
    assert in_order(target)
    assert pass_on(source, target, tmp_path / "out").added == 0


def test_a_lost_fingerprint_of_a_record_comes_back_and_is_held_against_its_leaf(
    source, target, records, tmp_path
):
    pass_on(source, target, tmp_path / "out")
    with writing(target.engine) as session:
        session.execute(delete(EmbeddingRow).where(EmbeddingRow.of_record))
    assert not in_order(target)
    assert pass_on(source, target, tmp_path / "out").added == 3
    assert in_order(target)
    with writing(target.engine) as session:
        session.execute(delete(EmbeddingRow).where(EmbeddingRow.of_record))
    change_lines(tmp_path / "out", lambda row: row.update(vector=forged(row)), "embeddings")
    with pytest.raises(InputError, match="does not say what its leaf says"):
        import_registry(target.engine, None, tmp_path / "out")


def test_kept_inputs_that_were_erased_stay_erased(source, target, records, tmp_path):
    pass_on(source, target, tmp_path / "out", with_inputs=True)
    assert target.erase_inputs(records[0].record_id)
    assert pass_on(source, target, tmp_path / "out", with_inputs=True).added == 0
    assert target.kept_inputs(records[0].record_id) is None
    assert target.kept_inputs(records[1].record_id) is not None


def test_nothing_is_added_to_what_was_erased_here(source, target, records, tmp_path):
    pass_on(source, target, tmp_path / "out")
    EventLog(target.engine).erase(records[1].record_id, "on request")
    add_vector(source, records[1], 0, 1, 1)
    assert pass_on(source, target, tmp_path / "out").added == 0
    assert nearest(target, 0, 1, 1) == []
    assert in_order(target)


def test_a_vector_that_was_only_rounded_otherwise_is_the_same(source, target, records, tmp_path):
    pass_on(source, target, tmp_path / "out")
    add_vector(target, records[0], 1, 0.001)
    add_vector(source, records[0], 1, 0.0011)
    assert pass_on(source, target, tmp_path / "out").added == 0


def forged(row):
    raw = bytearray(base64.b64decode(row["vector"]))
    raw[:4], raw[4:8] = raw[4:8], raw[:4]
    raw[3] ^= 0x80
    return base64.b64encode(raw).decode()


def change_lines(folder, change, table):
    """Changes the rows of a table as a forger would: with a last line that binds them."""
    path = folder / "registry.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()[:-1]]
    for line in lines:
        for row in line.get("rows", ()):
            if row["table"] == table:
                change(row["values"])
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    end = {"end": {"lines": len(lines), "sha256": hashlib.sha256(data).hexdigest()}}
    path.write_bytes(data + json.dumps(end).encode() + b"\n")


@pytest.mark.parametrize("is_known", [False, True])
def test_cut_words_are_refused_since_every_search_would_stumble(
    source, target, records, tmp_path, is_known
):
    if is_known:
        pass_on(source, target, tmp_path / "out")
    add_words(source, records[1])
    export_registry(source.engine, None, tmp_path / "out")
    cut = {"corners": base64.b64encode(b"0123456789").decode()}
    change_lines(tmp_path / "out", lambda row: row.update(cut), "keypoint_words")
    with pytest.raises(InputError, match="keypoint words of a record are cut"):
        import_registry(target.engine, None, tmp_path / "out")
    assert words_of(target) == {}


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("records", {"model_name": "another"}, r"record {0} .* another model_name in records"),
        ("records", {"parameters": {"seed": 9}}, r"record {0} .* another parameters in records"),
        ("perceptual_hashes", {"quality": 3}, r"record {0} .* another quality in perceptual_"),
        ("embeddings", {"dim": 2}, r"record {0} .* another dim in embeddings"),
        ("thumbnails", {"data": "AAAA"}, r"record {0} .* another data in thumbnails"),
        ("stored_manifests", {"store": "AAAA"}, r"manifest urn:c2pa:one .* another store in"),
        ("registry_events", {"reason": "none"}, r"an event of {0} .* another reason in"),
    ],
)
def test_a_row_that_says_something_else_is_named(
    source, target, records, tmp_path, table, change, message
):
    first = records[0].record_id
    EventLog(source.engine).revoke(EventTarget.RECORD, first, "made by mistake")
    pass_on(source, target, tmp_path / "out")
    add_vector(source, records[2], 0, 2, 1)
    export_registry(source.engine, None, tmp_path / "out")
    change_lines(tmp_path / "out", lambda row: row.update(change), table)
    with pytest.raises(InputError, match=message.format(first)):
        import_registry(target.engine, None, tmp_path / "out")
    assert nearest(target, 0, 2, 1) == []
    assert in_order(target)


@pytest.mark.parametrize("is_number", [True, False])
def test_a_vector_of_another_picture_is_named(source, target, records, tmp_path, is_number):
    pass_on(source, target, tmp_path / "out")
    add_vector(target, records[0], 1)
    add_vector(source, records[0], 0, 1)
    export_registry(source.engine, None, tmp_path / "out")
    if not is_number:
        nan = base64.b64encode(np.full(DIM, np.nan, dtype="<f4").tobytes()).decode()

        def change(row):
            row["vector"] = nan if row["space_id"] == LATER else row["vector"]

        change_lines(tmp_path / "out", change, "embeddings")
    with pytest.raises(InputError, match=rf"{records[0].record_id} .* vector \(space {LATER}\)"):
        import_registry(target.engine, None, tmp_path / "out")
    assert nearest(target, 1) == [records[0].record_id]


def test_soft_bindings_that_were_replaced_on_one_side_are_named(source, target, records, tmp_path):
    there, here = ManifestRepository(source), ManifestRepository(target)
    there.bind("urn:c2pa:one", ADDED)
    pass_on(source, target, tmp_path / "out")
    there.bind("urn:c2pa:one", OTHER, replace=True)
    with pytest.raises(InputError, match=r"manifest urn:c2pa:one .* com\.example\.mark"):
        pass_on(source, target, tmp_path / "out")
    here.bind("urn:c2pa:one", OTHER, replace=True)
    assert pass_on(source, target, tmp_path / "out").added == 0


def test_a_manifest_that_both_were_given_is_one(source, target, records, tmp_path):
    ManifestRepository(target).add("urn:c2pa:one", b"store", [], owner="somebody else")
    read = pass_on(source, target, tmp_path / "out")
    assert (read.entries, read.known) == (3, 1)


def test_two_imports_at_once_append_nothing_twice(source, target, records, tmp_path, monkeypatch):
    pass_on(source, target, tmp_path / "out")
    events = EventLog(source.engine)
    events.revoke(EventTarget.KEY, "k-1a2b3c", "the key leaked")
    events.take_down(records[0].record_id, "it shows a person")
    new = build_record(source.reserve().record_id)
    source.commit(new)
    export_registry(source.engine, None, tmp_path / "out")
    together, read_documents = threading.Barrier(2, timeout=20), transfer._read_documents

    def wait(path):
        together.wait()  # both have looked at the log, neither has written
        return read_documents(path)

    monkeypatch.setattr(transfer, "_read_documents", wait)
    answers = []

    def run():
        try:
            answers.append(import_registry(target.engine, None, tmp_path / "out"))
        except ProvenanceError as error:
            answers.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one for one in answers if isinstance(one, ProvenanceError)] == []
    assert sorted((one.entries, one.known) for one in answers) == [(0, 7), (3, 4)]
    assert target.log_head() == source.log_head()
    with writing(target.engine) as session:
        assert session.scalar(select(func.count()).select_from(RegistryEventRow)) == 2
    assert in_order(target)


def test_a_reader_that_changed_its_own_row_is_told_before_anything_is_added(
    source, target, records, tmp_path
):
    pass_on(source, target, tmp_path / "out")
    add_vector(source, records[2], 0, 2, 1)
    with writing(target.engine) as session:
        session.execute(
            update(PerceptualHashRow)
            .where(PerceptualHashRow.record_id == records[1].record_id)
            .values(quality=3)
        )
    with pytest.raises(InputError, match=rf"record {records[1].record_id} .* quality"):
        pass_on(source, target, tmp_path / "out")
    assert nearest(target, 0, 2, 1) == []
