"""Embeds the pictures that are registered already into another space.

Resumable by its nature: what has a row in the space is skipped, each batch is one transaction, and
a process that is killed loses the batch that it was at. The records and their places in the log do
not change: embeddings made here are no part of a record's log entry (`EmbeddingRow.of_record`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from provenance.errors import ProvenanceError
from provenance.imaging import decode_image
from registry.engine import reading, writing
from registry.index.cache_file import forget_file
from registry.index.generations import count_up
from registry.log_rows import lock_log
from registry.serialise import VECTOR_DTYPE
from registry.tables import EmbeddingRow, RecordRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from provenance.interfaces import Embedder
    from provenance.types import Embedding, RasterImage

__all__ = ["BATCH_RECORDS", "ReindexReport", "list_spaces", "reindex"]

BATCH_RECORDS = 16
"""Records of a transaction: pictures of 12 megapixels each are 600 MB while they are decoded."""


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What a run did.

    Attributes:
        space_id: Space that was filled.
        records: Records in the registry when the run began.
        present: Of them, those that had an embedding in the space.
        added: Embeddings that this run added.
        plain: Pictures that the embedder abstains of: too flat or too small.
        missing: Ids of records whose delivered bytes are not kept here.
        unreadable: Ids of records whose bytes do not decode any more, with the reason.
    """

    space_id: str
    records: int
    present: int
    added: int = 0
    plain: int = 0
    missing: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Tally:
    added: int = 0
    plain: int = 0
    missing: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Todo:
    record_id: str
    log_index: int
    sha256: str


def reindex(
    engine: Engine,
    read_asset: Callable[[str], bytes | None],
    embedder: Embedder,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    batch_records: int = BATCH_RECORDS,
    index_folder: Path | None = None,
) -> ReindexReport:
    """Embeds every record that has no embedding in the embedder's space.

    Args:
        engine: Of the registry.
        read_asset: Answers delivered bytes by SHA-256 in hex, None where they are not kept.
        embedder: Its space is filled.
        progress: Called with the number of records that are done with, and of all.
        batch_records: Records of one transaction.
        index_folder: Where files of codes lie; that of the space goes before the rows come, so
            that a run that is killed leaves none that does not fit. None leaves files alone.

    Raises:
        RegistryUnavailableError: The database cannot be reached.
        BackendUnavailableError: The embedder fails.
        DeliveryError: A stored file cannot be read for want of rights.
    """
    space_id = embedder.space_id
    with reading(engine) as session:
        records = session.scalar(select(func.count()).select_from(RecordRow)) or 0
        present = session.scalar(
            select(func.count()).select_from(EmbeddingRow).where(EmbeddingRow.space_id == space_id)
        )
    done, tally = present or 0, _Tally()
    progress(done, records)
    for batch in _batches(engine, space_id, batch_records):
        found = _encode(batch, read_asset, embedder, tally)
        if found:
            if index_folder is not None:
                forget_file(index_folder, space_id)
            with writing(engine) as session:
                tally.added += _write(session, found)
        done += len(batch)
        progress(done, max(records, done))
    return ReindexReport(
        space_id,
        records,
        present or 0,
        tally.added,
        tally.plain,
        tuple(tally.missing),
        tuple(tally.unreadable),
    )


def list_spaces(engine: Engine) -> Sequence[tuple[str, int]]:
    """Spaces in the registry with the number of their embeddings, by name."""
    statement = (
        select(EmbeddingRow.space_id, func.count())
        .group_by(EmbeddingRow.space_id)
        .order_by(EmbeddingRow.space_id)
    )
    with reading(engine) as session:
        return [(space_id, count) for space_id, count in session.execute(statement)]


def _batches(engine: Engine, space_id: str, size: int) -> Iterator[Sequence[_Todo]]:
    """What is to do, in log order; each batch is read for itself, so no read stays open."""
    last = -1
    while True:
        here = (EmbeddingRow.record_id == RecordRow.record_id) & (EmbeddingRow.space_id == space_id)
        statement = (
            select(RecordRow.record_id, RecordRow.log_index, RecordRow.sha256)
            .outerjoin(EmbeddingRow, here)
            .where(EmbeddingRow.record_id.is_(None), RecordRow.log_index > last)
            .order_by(RecordRow.log_index)
            .limit(size)
        )
        with reading(engine) as session:
            batch = [_Todo(*row) for row in session.execute(statement)]
        if not batch:
            return
        yield batch
        last = batch[-1].log_index


def _encode(
    batch: Sequence[_Todo],
    read_asset: Callable[[str], bytes | None],
    embedder: Embedder,
    tally: _Tally,
) -> list[tuple[_Todo, Embedding]]:
    kept: list[_Todo] = []
    pictures: list[RasterImage] = []
    for todo in batch:
        data = read_asset(todo.sha256)
        if data is None:
            tally.missing.append(todo.record_id)
            continue
        try:
            pictures.append(decode_image(data))
        except ProvenanceError as error:
            tally.unreadable.append((todo.record_id, str(error)))
            continue
        kept.append(todo)
    answers = embedder.encode_batch(pictures)
    tally.plain += sum(answer is None for answer in answers)
    return [(t, a) for t, a in zip(kept, answers, strict=True) if a is not None]


def _write(session: Session, found: Sequence[tuple[_Todo, Embedding]]) -> int:
    """Adds the rows whose record still stands and that no other run has added meanwhile."""
    kind = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    lock_log(session)  # whoever erases holds it too: no row of a record that goes comes after
    ids = [todo.record_id for todo, _ in found]
    standing = set(session.scalars(select(RecordRow.record_id).where(RecordRow.record_id.in_(ids))))
    rows = [
        {
            "record_id": todo.record_id,
            "space_id": embedding.space_id,
            "log_index": todo.log_index,
            "of_record": False,
            "dim": int(embedding.vector.shape[0]),
            "vector": embedding.vector.astype(VECTOR_DTYPE).tobytes(),
        }
        for todo, embedding in found
        if todo.record_id in standing
    ]
    if not rows:
        return 0
    count_up(session, found[0][1].space_id)  # the rows stand at earlier places of the log
    statement = kind.insert(EmbeddingRow).on_conflict_do_nothing().returning(EmbeddingRow.record_id)
    return len(session.scalars(statement, rows).all())
