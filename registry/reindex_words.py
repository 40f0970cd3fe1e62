"""Makes the keypoint words of thumbnails that have none: of older records, or other corners.

Resumable by its nature, as `registry.reindex`: what has its words is skipped, each batch is one
transaction. Only thumbnails are read, so the delivered bytes need not be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from provenance.errors import RegistryError
from registry.engine import reading, writing
from registry.index.generations import count_up
from registry.index.words import CORNER_BYTES, encode_words
from registry.log_rows import lock_log
from registry.tables import KeypointWordsRow, RecordRow, ThumbnailRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from provenance.fingerprint.words.making import WordMaker
    from provenance.types import KeypointWords

__all__ = ["WordsReport", "reindex_words"]

BATCH_RECORDS = 64


@dataclass(frozen=True, slots=True)
class WordsReport:
    """What a run did.

    Attributes:
        space_id: Space that was filled.
        records: Records in the registry when the run began.
        present: Of them, those that had words in the space.
        added: Records that got words in this run.
        missing: Records without a thumbnail.
        unreadable: Ids of records whose thumbnail does not decode, with the reason.
    """

    space_id: str
    records: int
    present: int
    added: int
    missing: int
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Todo:
    record_id: str
    log_index: int
    thumbnail: bytes


def reindex_words(
    engine: Engine,
    words: WordMaker,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    batch_records: int = BATCH_RECORDS,
) -> WordsReport:
    """Makes the words of every thumbnail that has none in the maker's space, or cut ones.

    Args:
        engine: Of the registry.
        words: Its space is filled.
        progress: Called with the number of records that are done with, and of all.
        batch_records: Records of one transaction.

    Raises:
        RegistryUnavailableError: The database cannot be reached or written.
    """
    space_id = words.space_id
    _remove_cut(engine, space_id)
    records, thumbnails, present = _count(engine, space_id)
    done, added, unreadable = present, 0, []
    progress(done, records)
    for batch in _batches(engine, space_id, batch_records):
        made = []
        for todo in batch:
            try:
                made.append((todo, words.describe(todo.thumbnail)))
            except RegistryError as error:
                unreadable.append((todo.record_id, str(error)))
        if made:
            with writing(engine) as session:
                added += _write(session, space_id, made)
        done += len(batch)
        progress(done, max(records, done))
    missing = max(0, records - thumbnails)
    return WordsReport(space_id, records, present, added, missing, tuple(unreadable))


def _count(engine: Engine, space_id: str) -> tuple[int, int, int]:
    """Records, thumbnails, and rows of the space."""
    row = KeypointWordsRow
    with reading(engine) as session:
        return (
            session.scalar(select(func.count()).select_from(RecordRow)) or 0,
            session.scalar(select(func.count()).select_from(ThumbnailRow)) or 0,
            session.scalar(select(func.count()).select_from(row).where(row.space_id == space_id))
            or 0,
        )


def _remove_cut(engine: Engine, space_id: str) -> None:
    row = KeypointWordsRow
    is_cut = (row.space_id == space_id) & (func.length(row.corners) % CORNER_BYTES != 0)
    with writing(engine) as session:
        if session.scalars(delete(row).where(is_cut).returning(row.record_id)).all():
            count_up(session, space_id)


def _batches(engine: Engine, space_id: str, size: int) -> Iterator[Sequence[_Todo]]:
    """What is to do, in log order; each batch is read for itself, so no read stays open."""
    last = -1
    here = (KeypointWordsRow.record_id == RecordRow.record_id) & (
        KeypointWordsRow.space_id == space_id
    )
    while True:
        statement = (
            select(RecordRow.record_id, RecordRow.log_index, ThumbnailRow.data)
            .join(ThumbnailRow, ThumbnailRow.record_id == RecordRow.record_id)
            .outerjoin(KeypointWordsRow, here)
            .where(KeypointWordsRow.record_id.is_(None), RecordRow.log_index > last)
            .order_by(RecordRow.log_index)
            .limit(size)
        )
        with reading(engine) as session:
            batch = [_Todo(*row) for row in session.execute(statement)]
        if not batch:
            return
        yield batch
        last = batch[-1].log_index


def _write(session: Session, space_id: str, made: Sequence[tuple[_Todo, KeypointWords]]) -> int:
    """Adds the rows whose record still stands and that no other run has added meanwhile."""
    kind = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    lock_log(session)  # whoever erases holds it too: no row of a record that goes comes after
    ids = [todo.record_id for todo, _ in made]
    standing = set(session.scalars(select(RecordRow.record_id).where(RecordRow.record_id.in_(ids))))
    rows = [
        {
            "record_id": todo.record_id,
            "space_id": space_id,
            "log_index": todo.log_index,
            "corners": encode_words(words),
        }
        for todo, words in made
        if todo.record_id in standing
    ]
    if not rows:
        return 0
    count_up(session, space_id)  # the rows stand at earlier places of the log
    row = KeypointWordsRow
    statement = kind.insert(row).on_conflict_do_nothing().returning(row.record_id)
    return len(session.scalars(statement, rows).all())
