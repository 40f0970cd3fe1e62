"""Tells whether a cache of rows still is what the rows say.

Rows that a cache knows may only be followed by rows of a later log index. Two things tell of
anything else: the generation, which is counted up by whoever deletes rows or adds earlier ones, and
the log's leaf at the cache's end, which differs when the database itself was replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from registry.tables import IndexGenerationRow, LogLeafRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["Prefix", "count_up", "is_prefix", "leaf_hash_at", "read_generation"]


class Prefix(Protocol):
    """What a cache says of the rows that it holds."""

    @property
    def generation(self) -> int:
        """Of the rows when the cache was begun."""

    @property
    def last_log_index(self) -> int:
        """Of the newest row that it holds; -1 when there is none."""

    @property
    def leaf_hash(self) -> bytes:
        """Of the log's leaf there."""


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


def is_prefix(session: Session, cache: Prefix, generation: int) -> bool:
    """Whether a cache still holds the oldest rows as they are, though newer ones may have come.

    Args:
        session: Of the registry.
        cache: What it says of itself.
        generation: Of the rows now.
    """
    if cache.generation != generation:
        return False
    if cache.last_log_index < 0:
        return True
    return leaf_hash_at(session, cache.last_log_index) == cache.leaf_hash
