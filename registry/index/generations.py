"""Tells whether a cache of rows still is what the rows say.

Rows that a cache knows may only be followed by rows of a later log index. Two things tell of
anything else: the generation, which is counted up by whoever deletes rows or adds earlier ones, and
the log's leaf at the cache's end, which differs when the database itself was replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from registry.tables import IndexGenerationRow, LogLeafRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["count_up", "leaf_hash_at", "read_generation"]


def read_generation(session: Session, name: str) -> int:
    """Generation of an index, 0 when nothing was ever counted.

    Args:
        session: Of the registry.
        name: Space id of embeddings, or algorithm of hashes.
    """
    statement = select(IndexGenerationRow.generation).where(IndexGenerationRow.name == name)
    return session.scalar(statement) or 0


def count_up(session: Session, name: str) -> None:
    """Makes every cache of these rows start again, once the caller's transaction is done.

    To be called in any transaction that deletes fingerprints, or adds some of records that stand
    already.
    """
    kind = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    row = IndexGenerationRow
    session.execute(
        kind.insert(row)
        .values(name=name, generation=1)
        .on_conflict_do_update(index_elements=[row.name], set_={"generation": row.generation + 1})
    )


def leaf_hash_at(session: Session, log_index: int) -> bytes:
    """Hash of the log's leaf at a place; empty when there is none."""
    found = session.scalar(select(LogLeafRow.leaf_hash).where(LogLeafRow.index == log_index))
    return found or b""
