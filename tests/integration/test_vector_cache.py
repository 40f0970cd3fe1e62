"""The cache of sign codes: it keeps up with the rows, and is never believed against them."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from sqlalchemy import delete, insert, select

from benchmarks.bulk_rows import add_records, record_id_of
from provenance.errors import RegistryError, RegistryUnavailableError
from provenance.testing.indexes import copy_at, unit_vectors
from provenance.testing.stores import build_embedding, build_hash, build_record
from provenance.types import Embedding
from registry import migrate
from registry.engine import make_engine, writing
from registry.index import vectors as vectors_module
from registry.index.cache_file import cache_path, read_cache
from registry.index.generations import count_up
from registry.index.hash_chunks import remove_chunks
from registry.index.maintenance import check_indexes, forget_fingerprints, rebuild_indexes
from registry.index.pgvector import PgVectorIndex
from registry.index.vectors import SqlVectorIndex
from registry.store import open_store
from registry.tables import EmbeddingRow, HashChunkRow, PerceptualHashRow

SPACE = "space/1"
ROWS, DIM = 600, 512


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/registry.sqlite3"
    migrate.upgrade(url)
    return url


@pytest.fixture
def engine(url):
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def vectors():
    return unit_vectors(ROWS, DIM, seed=1)


@pytest.fixture
def filled(engine, vectors):
    add_records(engine, vectors)
    return engine


def best(index, vector):
    found = index.search(Embedding(SPACE, copy_at(vector, 0.6, seed=5)), limit=1)
    return found[0].record_id if found else None


@pytest.fixture(params=["codes", "pgvector"])
def open_index(request):
    """Each way to search, on the database that it is for; answers an opener and an engine."""
    if request.param == "codes":
        return SqlVectorIndex, request.getfixturevalue("engine")
    postgresql_url = request.getfixturevalue("empty_postgresql_url")
    migrate.upgrade(postgresql_url)
    return PgVectorIndex, make_engine(postgresql_url)


def test_a_search_takes_in_what_came_since(open_index, vectors):
    opener, engine = open_index
    first, second = opener(engine, SPACE), opener(engine, SPACE)
    assert best(first, vectors[0]) is None
    for start in range(0, 600, 200):
        add_records(engine, vectors[start : start + 200])
        for index in (first, second):
            assert best(index, vectors[start + 150]) == record_id_of(start + 150)
    assert best(second, vectors[3]) == record_id_of(3)
    engine.dispose()


def test_a_row_that_is_gone_is_not_answered(open_index, vectors):
    opener, engine = open_index
    add_records(engine, vectors)
    index = opener(engine, SPACE)
    assert best(index, vectors[7]) == record_id_of(7)
    with writing(engine) as session:
        session.execute(delete(EmbeddingRow).where(EmbeddingRow.record_id == record_id_of(7)))
    assert best(index, vectors[7]) != record_id_of(7)
    engine.dispose()


def test_rows_at_earlier_places_are_taken_in_when_the_generation_is_counted_up(open_index, vectors):
    opener, engine = open_index
    add_records(engine, vectors)
    index = opener(engine, SPACE)
    moved = record_id_of(7)
    with writing(engine) as session:
        row = session.execute(
            select(EmbeddingRow.__table__).where(EmbeddingRow.record_id == moved)
        ).one()
        session.execute(delete(EmbeddingRow).where(EmbeddingRow.record_id == moved))
    assert best(index, vectors[7]) != moved
    with writing(engine) as session:  # as a second embedding of a record that stands would be
        session.execute(insert(EmbeddingRow), dict(row._mapping))
        count_up(session, SPACE)
    assert best(index, vectors[7]) == moved
    assert best(opener(engine, SPACE), vectors[7]) == moved
    engine.dispose()


def test_a_file_spares_reading_the_rows(filled, folder, vectors, monkeypatch):
    assert SqlVectorIndex(filled, SPACE, folder=folder).rebuild() == ROWS
    assert [path.name for path in folder.iterdir()] == [cache_path(folder, SPACE).name]
    add_records(filled, unit_vectors(5, DIM, seed=8))
    taken_in = []
    encode = vectors_module.encode
    monkeypatch.setattr(
        vectors_module, "encode", lambda given: (taken_in.append(len(given)), encode(given))[1]
    )
    again = SqlVectorIndex(filled, SPACE, folder=folder)
    assert best(again, vectors[44]) == record_id_of(44)
    assert taken_in == [5, 1]  # the new rows, and the query
    assert again.rows == ROWS + 5


def spoil(change):
    def apply(path):
        raw = bytearray(path.read_bytes())
        change(raw)
        path.write_bytes(raw)

    return apply


@pytest.mark.parametrize(
    "harm",
    [
        spoil(lambda raw: raw.__setitem__(-100, raw[-100] ^ 1)),
        spoil(lambda raw: raw.__delitem__(slice(-8, None))),
        spoil(lambda raw: raw.extend(b"12345678")),
        spoil(lambda raw: raw.clear()),
        spoil(lambda raw: raw.__setitem__(slice(0, 9), b"\x00" * 9)),
        spoil(
            lambda raw: raw.__setitem__(slice(0, None), raw.replace(b'"rows": 600', b'"rows": 6'))
        ),
        spoil(lambda raw: raw.__setitem__(slice(0, None), raw.replace(b"space/1", b"space/2"))),
        spoil(
            lambda raw: raw.__setitem__(
                slice(0, None), raw.replace(b'"code_version": 1', b'"code_version": 9')
            )
        ),
    ],
    ids=["flipped", "cut", "longer", "empty", "no header", "rows", "space", "version"],
)
def test_a_damaged_file_is_as_good_as_none(filled, folder, vectors, harm):
    SqlVectorIndex(filled, SPACE, folder=folder).rebuild()
    path = cache_path(folder, SPACE)
    harm(path)
    assert read_cache(path, SPACE) is None
    (_, state) = check_indexes(filled, folder)
    assert "damaged or of another version" in state.problem
    index = SqlVectorIndex(filled, SPACE, folder=folder)
    assert best(index, vectors[9]) == record_id_of(9)
    index.rebuild()
    assert read_cache(path, SPACE) is not None


def test_a_file_of_other_rows_is_not_used(filled, folder, vectors, tmp_path):
    SqlVectorIndex(filled, SPACE, folder=folder).rebuild()
    other_url = f"sqlite:///{tmp_path}/other.sqlite3"
    migrate.upgrade(other_url)
    other = make_engine(other_url)
    moved = np.roll(vectors, 1, axis=0)
    add_records(other, moved, ids=[f"{number:016x}" for number in range(ROWS)])
    index = SqlVectorIndex(other, SPACE, folder=folder)
    assert "of other rows" in check_indexes(other, folder)[1].problem
    assert best(index, vectors[9]) == f"{10:016x}"
    assert not cache_path(folder, SPACE).exists()
    other.dispose()


def test_a_file_with_more_rows_than_there_are_is_not_used(filled, folder, vectors):
    SqlVectorIndex(filled, SPACE, folder=folder).rebuild()
    with writing(filled) as session:
        session.execute(delete(EmbeddingRow).where(EmbeddingRow.record_id == record_id_of(3)))
    index = SqlVectorIndex(filled, SPACE, folder=folder)
    assert index.refresh() == ROWS - 1
    assert best(index, vectors[9]) == record_id_of(9)


def test_a_folder_that_cannot_be_written_costs_no_answer(filled, folder, vectors, caplog):
    folder.write_text("a file where the folder should be")
    index = SqlVectorIndex(filled, SPACE, folder=folder)
    assert index.rebuild() == ROWS
    assert "cannot be written" in caplog.text
    assert best(index, vectors[1]) == record_id_of(1)


KILLED = """
import os, sys
from pathlib import Path
from registry.engine import make_engine
from registry.index.vectors import SqlVectorIndex
Path.replace = lambda *_: os._exit(7)
SqlVectorIndex(make_engine(sys.argv[1]), "space/1", folder=Path(sys.argv[2])).rebuild()
"""


def test_a_process_that_dies_while_it_writes_leaves_the_old_file(filled, url, folder, vectors):
    SqlVectorIndex(filled, SPACE, folder=folder).rebuild()
    before = cache_path(folder, SPACE).read_bytes()
    add_records(filled, unit_vectors(5, DIM, seed=8))
    words = [sys.executable, "-c", KILLED, url, str(folder)]
    assert subprocess.run(words, check=False).returncode == 7
    assert cache_path(folder, SPACE).read_bytes() == before
    assert best(SqlVectorIndex(filled, SPACE, folder=folder), vectors[2]) == record_id_of(2)


def test_threads_that_search_at_once_see_every_row(filled, vectors):
    index = SqlVectorIndex(filled, SPACE)
    found = []

    def search(number):
        found.append(best(index, vectors[number]) == record_id_of(number))

    threads = [threading.Thread(target=search, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 12
    assert index.rows == ROWS


def test_vectors_of_two_lengths_in_a_space_are_told(engine, vectors):
    add_records(engine, vectors[:3])
    add_records(engine, unit_vectors(3, 64, seed=2))
    with pytest.raises(RegistryError, match=r"space/1 differ in length.*countermark audit"):
        SqlVectorIndex(engine, SPACE).refresh()


def test_pgvector_is_refused_on_sqlite(engine):
    with pytest.raises(RegistryUnavailableError, match=r"vector_index is pgvector.*not on Postg"):
        PgVectorIndex(engine, SPACE)


# -- chunks --------------------------------------------------------------------------------------


def test_chunks_that_are_missing_are_told_and_made_again(registry_url):
    store = open_store(registry_url)
    for number in range(30):
        hashed = build_hash(number << 100)
        store.commit(build_record(store.reserve().record_id, perceptual_hash=hashed))
    assert check_indexes(store.engine, None)[0].problem == ""
    with writing(store.engine) as session:
        # As many as before, so only the sample tells.
        session.execute(delete(HashChunkRow).where(HashChunkRow.key < 1 << 16))
        session.add_all(HashChunkRow(key=5, log_index=number) for number in range(30))
    (state,) = check_indexes(store.engine, None)
    assert "do not hold the hash of record" in state.problem
    (state,) = rebuild_indexes(store.engine, None)
    assert (state.rows, state.indexed, state.problem) == (30, 30, "")
    with writing(store.engine) as session:
        remove_chunks(session, 4, bytes.fromhex(build_hash(4 << 100).hex))
    assert "16 rows of hash_chunks are missing" in check_indexes(store.engine, None)[0].problem
    store.close()


def test_wide_and_narrow_searches_agree(registry_url):
    store = open_store(registry_url)
    random = np.random.default_rng(2)
    base = int.from_bytes(random.bytes(32), "big")
    for flips in range(40):
        number = base
        for bit in random.choice(256, flips, replace=False):
            number ^= 1 << int(bit)
        store.commit(build_record(store.reserve().record_id, perceptual_hash=build_hash(number)))
    narrow = store.nearest_hashes(build_hash(base), max_distance_bits=31, limit=99)
    wide = store.nearest_hashes(build_hash(base), max_distance_bits=32, limit=99)
    assert len(narrow) == 32
    assert list(narrow) == list(wide)[:32]
    assert [one.distance_bits for one in wide] == list(range(33))
    store.close()


def test_a_search_keeps_a_file_once_there_are_enough_rows(filled, folder, monkeypatch):
    monkeypatch.setattr(vectors_module, "SAVE_AFTER_ROWS", 100)
    store = open_store(
        str(filled.url).replace("file:", "").split("?")[0],
        open_index=lambda engine, space: SqlVectorIndex(engine, space, folder=folder),
    )
    query = build_embedding(1)
    with pytest.raises(RegistryError, match="components"):
        store.nearest_embeddings(query, min_cosine=0, limit=1)
    assert cache_path(folder, SPACE).exists()
    store.close()


def test_what_is_forgotten_is_in_no_index(registry_url, folder):
    store = open_store(registry_url)
    records = [
        build_record(
            store.reserve().record_id,
            perceptual_hash=build_hash(number << 90),
            embedding=build_embedding(1, number),
        )
        for number in range(5)
    ]
    for record in records:
        store.commit(record)
    query = build_embedding(1, 3)
    gone = records[3].record_id
    rebuild_indexes(store.engine, folder)
    wide = store.nearest_hashes(build_hash(3 << 90), max_distance_bits=40, limit=1)
    assert wide[0].record_id == gone
    with writing(store.engine) as session:
        forget_fingerprints(session, gone)
        for row in (PerceptualHashRow, EmbeddingRow):
            session.execute(delete(row).where(row.record_id == gone))
    assert check_indexes(store.engine, None)[0].problem == ""
    with store.engine.connect() as connection:
        assert len(connection.execute(select(HashChunkRow.key)).all()) == 4 * 16
    assert "of other rows" in check_indexes(store.engine, folder)[1].problem
    index = SqlVectorIndex(store.engine, SPACE, folder=folder)
    assert index.refresh() == 4
    assert not cache_path(folder, SPACE).exists()
    assert gone not in {n.record_id for n in index.search(query, limit=9)}
    for bits in (31, 40):
        near = store.nearest_hashes(build_hash(3 << 90), max_distance_bits=bits, limit=9)
        assert gone not in {one.record_id for one in near}
        assert len(near) == 4
    store.close()
