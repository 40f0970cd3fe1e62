"""Rows of a space that come after their records: which are missing, and adding them.

Resumable by its nature: what has a row in the space is skipped, and each batch is one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from registry.engine import reading
from registry.index.generations import count_up
from registry.log_rows import lock_log
from registry.tables import EmbeddingRow, KeypointWordsRow, RecordRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Engine, Row, Select
    from sqlalchemy.orm import Session

__all__ = ["add_late", "list_missing"]


def list_missing(
    engine: Engine,
    wanted: Select[*tuple[Any, ...]],
    table: type[EmbeddingRow | KeypointWordsRow],
    space_id: str,
    *,
    size: int,
) -> Iterator[Sequence[Row[*tuple[Any, ...]]]]:
    """Records without a row in the space, in log order; no read stays open between two batches.

    Args:
        engine: Of the registry.
        wanted: Selects from `RecordRow`, its record id and log index among the columns.
        table: Whose rows are missing.
        space_id: In which.
        size: Records of a batch.
    """
    last = -1
    here = (table.record_id == RecordRow.record_id) & (table.space_id == space_id)
    while True:
        statement = (
            wanted.outerjoin(table, here)
            .where(table.record_id.is_(None), RecordRow.log_index > last)
            .order_by(RecordRow.log_index)
            .limit(size)
        )
        with reading(engine) as session:
            batch = session.execute(statement).all()
        if not batch:
            return
        yield batch
        last = batch[-1].log_index


def add_late(
    session: Session,
    table: type[EmbeddingRow | KeypointWordsRow],
    space_id: str,
    rows: Sequence[Mapping[str, Any]],
) -> int:
    """Adds the rows whose record still stands and that no other run has added meanwhile."""
    kind = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    lock_log(session)  # whoever erases holds it too: no row of a record that goes comes after
    ids = [row["record_id"] for row in rows]
    standing = set(session.scalars(select(RecordRow.record_id).where(RecordRow.record_id.in_(ids))))
    kept = [dict(row) for row in rows if row["record_id"] in standing]
    if not kept:
        return 0
    count_up(session, space_id)  # the rows stand at earlier places of the log
    statement = kind.insert(table).on_conflict_do_nothing().returning(table.record_id)
    return len(session.scalars(statement, kept).all())
