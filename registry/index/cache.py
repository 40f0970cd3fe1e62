"""Keeps the oldest hashes of an algorithm in memory, and reads the rest from their rows.

For searches wider than `registry.index.hash_chunks` answers. The rows are the truth. The cache is a
prefix of them in log order: each search first takes in what is new, and rows beyond the memory
bound are read for every search, so that the answer is always exact and the memory always bounded.
States are immutable and swapped whole: no lock is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from registry.index.exact import HashBlock, hash_block
from registry.index.generations import is_prefix, leaf_hash_at, read_generation
from registry.tables import PerceptualHashRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

__all__ = ["HashCache"]

BATCH_ROWS = 4096
BLOCK_ROWS = 65_536
"""Rows per block in memory: bounds the temporary arrays of a search to a few MB."""


@dataclass(frozen=True, slots=True)
class _State:
    """A prefix of the rows.

    Attributes:
        generation: Of the rows when the prefix was begun.
        blocks: In log order.
        last_log_index: Of the newest row in `blocks`; -1 when there is none.
        leaf_hash: Of the log's leaf there.
        full: Whether the memory bound was reached.
    """

    generation: int = 0
    blocks: tuple[HashBlock, ...] = ()
    last_log_index: int = -1
    leaf_hash: bytes = b""
    full: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(block.ids.nbytes + block.values.nbytes for block in self.blocks)


class HashCache:
    """All hashes of an algorithm as blocks, the oldest of them from memory.

    Args:
        algorithm: Whose hashes.
        max_bytes: Bound of what is kept.
    """

    def __init__(self, algorithm: str, *, max_bytes: int) -> None:
        self._algorithm = algorithm
        self._max_bytes = max_bytes
        self._state = _State()

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept in memory now."""
        return self._state.size_bytes

    def blocks(self, session: Session) -> Iterator[HashBlock]:
        """Every row there is, in log order; takes new rows into memory on the way."""
        state = self._still_valid(session, self._state)
        yield from state.blocks
        for last_index, block in self._read_after(session, state.last_log_index):
            yield block
            state = self._extended(session, state, block, last_index)
        self._state = state

    def _still_valid(self, session: Session, state: _State) -> _State:
        generation = read_generation(session, self._algorithm)
        return state if is_prefix(session, state, generation) else _State(generation)

    def _read_after(self, session: Session, log_index: int) -> Iterator[tuple[int, HashBlock]]:
        row = PerceptualHashRow
        statement = (
            select(row.log_index, row.record_id, row.hash)
            .where(row.algorithm == self._algorithm, row.log_index > log_index)
            .order_by(row.log_index)
            .execution_options(yield_per=BATCH_ROWS)
        )
        for rows in session.execute(statement).partitions():
            ids, hashes = [one[1] for one in rows], [one[2] for one in rows]
            yield rows[-1][0], hash_block(self._algorithm, ids, hashes)

    def _extended(
        self, session: Session, state: _State, block: HashBlock, last_index: int
    ) -> _State:
        size = block.ids.nbytes + block.values.nbytes
        blocks = state.blocks
        if state.full or state.size_bytes + size > self._max_bytes:
            return _State(
                state.generation, blocks, state.last_log_index, state.leaf_hash, full=True
            )
        if blocks and len(blocks[-1].ids) + len(block.ids) <= BLOCK_ROWS:
            last = blocks[-1]
            joined = HashBlock(
                np.concatenate((last.ids, block.ids)), np.concatenate((last.values, block.values))
            )
            blocks = (*blocks[:-1], joined)
        else:
            blocks = (*blocks, block)
        return _State(state.generation, blocks, last_index, leaf_hash_at(session, last_index))
