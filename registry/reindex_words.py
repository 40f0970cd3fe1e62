"""Makes the keypoint words of thumbnails that have none: of older records, or other corners.

Resumable by its nature, as `registry.reindex`: what has its words is skipped, each batch is one
transaction. Only thumbnails are read, so the delivered bytes need not be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from provenance.errors import RegistryError
from registry.engine import reading, writing
from registry.index.generations import count_up
from registry.index.words import CORNER_BYTES, encode_words
from registry.late_rows import add_late, list_missing
from registry.tables import KeypointWordsRow, RecordRow, ThumbnailRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from provenance.fingerprint.words.making import WordMaker

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
    wanted = select(RecordRow.record_id, RecordRow.log_index, ThumbnailRow.data).join(
        ThumbnailRow, ThumbnailRow.record_id == RecordRow.record_id
    )
    table = KeypointWordsRow
    for batch in list_missing(engine, wanted, table, space_id, size=batch_records):
        rows = []
        for record_id, log_index, thumbnail in batch:
            try:
                corners = encode_words(words.describe(thumbnail))
            except RegistryError as error:
                unreadable.append((record_id, str(error)))
                continue
            rows.append(
                {
                    "record_id": record_id,
                    "space_id": space_id,
                    "log_index": log_index,
                    "corners": corners,
                }
            )
        if rows:
            with writing(engine) as session:
                added += add_late(session, table, space_id, rows)
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
