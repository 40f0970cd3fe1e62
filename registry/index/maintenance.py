"""Checks what is derived from fingerprints against their rows, and makes it again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import case, func, select

from provenance.errors import RegistryError
from registry.engine import reading, snapshot, translated_errors, writer
from registry.index.cache_file import cache_path, read_cache, remove_leftovers
from registry.index.generations import count_up, leaf_hash_at, read_generation
from registry.index.hash_chunks import chunk_keys, count_missing, rebuild, remove_chunks
from registry.index.pgvector import forget_vector
from registry.index.pgvector_check import check_tables, rebuild_tables
from registry.index.sign_codes import encode
from registry.index.state import REBUILD, IndexState
from registry.index.vectors import SqlVectorIndex, read_vectors
from registry.index.words import CORNER_BYTES
from registry.log_rows import lock_log
from registry.tables import (
    EmbeddingRow,
    HashChunkRow,
    IndexGenerationRow,
    KeypointWordsRow,
    PerceptualHashRow,
    ThumbnailRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

__all__ = [
    "IndexState",
    "check_indexes",
    "forget_fingerprints",
    "rebuild_indexes",
    "remove_stale_files",
]

SAMPLE_ROWS = 256


def check_indexes(
    engine: Engine,
    folder: Path | None,
    *,
    sample: int = SAMPLE_ROWS,
    whole_tables: bool = False,
) -> tuple[IndexState, ...]:
    """Compares numbers, and a sample of the contents; reads only.

    Tables of pgvector are looked at where there are some.

    Args:
        engine: Of a registry at the newest migration.
        folder: Of the files of codes; None leaves them out.
        sample: How many rows of each index are compared.
        whole_tables: Compare every row of pgvector's tables.

    Raises:
        RegistryUnavailableError: The database cannot be reached.
    """
    with snapshot(engine) as session:  # numbers are compared that others change together
        states = [_check_chunks(session, sample), *_check_words(session)]
        if folder is not None:
            spaces = [*_spaces(session), *_emptied(session, folder)]
            states += [_check_file(session, folder, space, sample) for space in spaces]
        states += check_tables(session, sample=None if whole_tables else sample)
    return tuple(states)


def rebuild_indexes(engine: Engine, folder: Path | None) -> tuple[IndexState, ...]:
    """Makes the chunks, all files of codes and the tables of pgvector again.

    Answers what they hold then. Tables are made only of spaces that had some.

    Raises:
        RegistryUnavailableError: The database cannot be reached or written.
    """
    with translated_errors(str(engine.url)), writer(engine).begin() as connection:
        # Else a hash that is committed meanwhile would lose its chunks, and one that is erased
        # meanwhile would get them back.
        lock_log(connection)
        rebuild(connection)
    if folder is not None:
        remove_stale_files(engine, folder)  # of spaces without rows nothing is written anew
        with reading(engine) as session:
            spaces = list(_spaces(session))
        for space in spaces:
            SqlVectorIndex(engine, space, folder=folder).rebuild()
    rebuild_tables(engine)
    return check_indexes(engine, folder)


def remove_stale_files(engine: Engine, folder: Path) -> int:
    """Deletes files of codes that are no longer of the rows; answers how many.

    None of them would be used, but they may hold codes of what was erased. Files that a killed
    process left half-written go too, once they are an hour old.

    Raises:
        RegistryUnavailableError: The database cannot be reached.
        RegistryError: A file cannot be deleted; says what to do.
    """
    removed = remove_leftovers(folder, now=time.time())
    with reading(engine) as session:
        for space_id in [*_spaces(session), *_emptied(session, folder)]:
            path = cache_path(folder, space_id)
            if not path.exists() or _is_current(session, path, space_id):
                continue
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise RegistryError(
                    f"index file {path} may hold codes of what was erased, and cannot be deleted: "
                    f"{error.strerror or error}; delete it by hand"
                ) from error
            removed += 1
    return removed


def _is_current(session: Session, path: Path, space_id: str) -> bool:
    found = read_cache(path, space_id)
    return (
        found is not None
        and found[0].generation == read_generation(session, space_id)
        and found[0].leaf_hash == leaf_hash_at(session, found[0].last_log_index).hex()
    )


def forget_fingerprints(session: Session, record_id: str) -> None:
    """Takes the fingerprints of a record out of every index, in the caller's transaction.

    To be called before the rows of a record that is erased are deleted: the chunks repeat its hash,
    tables of pgvector its vectors, and caches hold codes of them until they begin anew. Files of
    codes are for `remove_stale_files`, once the transaction is done.
    """
    hashes = session.execute(
        select(
            PerceptualHashRow.log_index, PerceptualHashRow.hash, PerceptualHashRow.algorithm
        ).where(PerceptualHashRow.record_id == record_id)
    )
    for log_index, value, algorithm in hashes.all():
        remove_chunks(session, log_index, value)
        count_up(session, algorithm)
    vectors = select(EmbeddingRow.space_id, EmbeddingRow.log_index).where(
        EmbeddingRow.record_id == record_id
    )
    for space_id, log_index in session.execute(vectors).all():
        forget_vector(session, space_id, log_index)
        count_up(session, space_id)
    words = select(KeypointWordsRow.space_id).where(KeypointWordsRow.record_id == record_id)
    for space_id in session.scalars(words).all():
        count_up(session, space_id)


def _spaces(session: Session) -> Iterator[str]:
    """Space ids; one look into the index for each, where DISTINCT reads every row."""
    last = ""
    while True:
        found = session.scalar(
            select(func.min(EmbeddingRow.space_id)).where(EmbeddingRow.space_id > last)
        )
        if found is None:
            return
        yield found
        last = found


def _emptied(session: Session, folder: Path) -> Iterator[str]:
    """Spaces without rows, of which there still is a file."""
    with_rows = set(_spaces(session))
    for name in session.scalars(select(IndexGenerationRow.name)).all():
        if name not in with_rows and cache_path(folder, name).exists():
            yield name


def _check_chunks(session: Session, sample: int) -> IndexState:
    rows = session.scalar(select(func.count()).select_from(PerceptualHashRow)) or 0
    missing = count_missing(session)
    if missing:
        word = "missing" if missing > 0 else "too many"
        problem = f"{abs(missing)} rows of hash_chunks are {word}; {REBUILD}"
        return IndexState("hash_chunks", rows, rows - missing // 16, problem)
    row = PerceptualHashRow
    some = session.execute(
        select(row.record_id, row.log_index, row.hash).order_by(func.random()).limit(sample)
    ).all()
    for record_id, log_index, value in some:
        (keys,) = chunk_keys([value])
        found = session.scalar(
            select(func.count())
            .select_from(HashChunkRow)
            .where(HashChunkRow.key.in_(keys), HashChunkRow.log_index == log_index)
        )
        if found != len(keys):
            problem = f"hash_chunks do not hold the hash of record {record_id}; {REBUILD}"
            return IndexState("hash_chunks", rows, rows, problem)
    return IndexState("hash_chunks", rows, rows)


def _check_words(session: Session) -> Iterator[IndexState]:
    """Of each space of keypoint words: which thumbnails have theirs, and whether they are whole."""
    row = KeypointWordsRow
    thumbnails = session.scalar(select(func.count()).select_from(ThumbnailRow)) or 0
    cut = func.sum(case((func.length(row.corners) % CORNER_BYTES != 0, 1), else_=0))
    counted = select(row.space_id, func.count(), cut).group_by(row.space_id).order_by(row.space_id)
    found = session.execute(counted).all()
    if thumbnails and not found:
        yield IndexState("keypoint words", thumbnails, 0)
    for space_id, rows, damaged in found:
        remedy = "run: countermark registry reindex --keypoints"
        problem = f"keypoint words of {damaged} records are cut; {remedy}" if damaged else ""
        yield IndexState(space_id, max(thumbnails, rows), rows - damaged, problem)


def _check_file(session: Session, folder: Path, space_id: str, sample: int) -> IndexState:
    row = EmbeddingRow
    rows = (
        session.scalar(select(func.count()).select_from(row).where(row.space_id == space_id)) or 0
    )
    path = cache_path(folder, space_id)
    if not path.exists():
        return IndexState(space_id, rows, 0)
    found = read_cache(path, space_id)
    unused = f"it is not used, and written again later; or {REBUILD}"
    if found is None:
        return IndexState(
            space_id, rows, 0, f"index file {path} is damaged or of another version; {unused}"
        )
    header, blocks = found
    if header.generation != read_generation(session, space_id) or header.leaf_hash != (
        leaf_hash_at(session, header.last_log_index).hex()
    ):
        return IndexState(space_id, rows, 0, f"index file {path} is of other rows; {unused}")
    indexes = np.concatenate([block.log_indexes for block in blocks])
    codes = np.concatenate([block.words for block in blocks], axis=1)
    chosen = np.sort(
        np.random.default_rng().choice(len(indexes), min(sample, len(indexes)), replace=False)
    )
    try:
        stored = read_vectors(session, space_id, indexes[chosen].tolist())
    except RegistryError as error:
        return IndexState(space_id, rows, header.rows, str(error))
    if (
        stored is None
        or len(stored.ids) != len(chosen)
        or not np.array_equal(encode(stored.values), codes[:, chosen])
    ):
        problem = f"index file {path} does not hold the vectors of its rows; {unused}"
        return IndexState(space_id, rows, header.rows, problem)
    return IndexState(space_id, rows, header.rows)
