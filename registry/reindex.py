"""Embeds the pictures that are registered already into another space.

Resumable by its nature: what has a row in the space is skipped, each batch is one transaction, and
a process that is killed loses the batch that it was at. The records and their places in the log do
not change: embeddings made here are no part of a record's log entry (`EmbeddingRow.of_record`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from provenance.errors import ProvenanceError
from provenance.imaging import decode_image
from registry.engine import reading, writing
from registry.index.cache_file import forget_file
from registry.late_rows import add_late, list_missing
from registry.serialise import VECTOR_DTYPE
from registry.tables import EmbeddingRow, RecordRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

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
    wanted = select(RecordRow.record_id, RecordRow.log_index, RecordRow.sha256)
    for missing in list_missing(engine, wanted, EmbeddingRow, space_id, size=batch_records):
        batch = [_Todo(*row) for row in missing]
        found = _encode(batch, read_asset, embedder, tally)
        if found:
            if index_folder is not None:
                forget_file(index_folder, space_id)
            with writing(engine) as session:
                rows = [_row(todo, embedding) for todo, embedding in found]
                tally.added += add_late(session, EmbeddingRow, space_id, rows)
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


def _row(todo: _Todo, embedding: Embedding) -> dict[str, Any]:
    return {
        "record_id": todo.record_id,
        "space_id": embedding.space_id,
        "log_index": todo.log_index,
        "of_record": False,
        "dim": int(embedding.vector.shape[0]),
        "vector": embedding.vector.astype(VECTOR_DTYPE).tobytes(),
    }
