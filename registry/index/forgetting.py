"""Takes a record's fingerprints out of what finds them, before its rows go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.index.generations import count_up
from registry.index.hash_chunks import remove_chunks
from registry.tables import EmbeddingRow, PerceptualHashRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["forget_fingerprints"]


def forget_fingerprints(session: Session, record_id: str) -> None:
    """In the transaction that deletes the rows; every cache starts again once it is done.

    Args:
        session: In a transaction that writes.
        record_id: Of the record that goes; one without fingerprints changes nothing.
    """
    row = PerceptualHashRow
    for algorithm, log_index, value in session.execute(
        select(row.algorithm, row.log_index, row.hash).where(row.record_id == record_id)
    ).all():
        remove_chunks(session, log_index, value)
        count_up(session, algorithm)
    spaces = select(EmbeddingRow.space_id).where(EmbeddingRow.record_id == record_id)
    for space_id in session.scalars(spaces).all():
        count_up(session, space_id)
