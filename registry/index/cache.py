"""Keeps the oldest fingerprints of a table in memory, and reads the rest from its rows.

The rows are the truth. The cache is a prefix of them in log order: each search first takes in what
is new, and rows beyond the memory bound are read for every search, so that the answer is always
exact and the memory always bounded. States are immutable and swapped whole: no lock is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np
from sqlalchemy import func, select

from provenance.errors import RegistryError
from provenance.types import EventKind
from registry.index.exact import HASH_BYTES, HASH_WORDS, HashBlock, VectorBlock
from registry.log_rows import read_root
from registry.tables import EmbeddingRow, PerceptualHashRow, RegistryEventRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

__all__ = ["HashTable", "RowCache", "VectorTable"]

BATCH_ROWS = 4096
"""Rows per read: 8 MB of 512-component vectors."""
BLOCK_ROWS = 65_536
"""Rows per block in memory: bounds the temporary arrays of a search to a few MB."""

Block = TypeVar("Block", bound=HashBlock | VectorBlock)


class FingerprintTable(Protocol[Block]):
    """How the rows of one table, of one algorithm or space, become blocks."""

    def select_after(self, log_index: int) -> Select[int, str, bytes]:
        """Selects (log index, record id, raw value) after a log index, in log order."""

    def decode(self, ids: Sequence[str], raw: Sequence[bytes]) -> Block: ...

    def join(self, first: Block, second: Block) -> Block: ...


class HashTable:
    """Perceptual hashes of one algorithm."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm

    def select_after(self, log_index: int) -> Select[int, str, bytes]:
        row = PerceptualHashRow
        return (
            select(row.log_index, row.record_id, row.hash)
            .where(row.algorithm == self._algorithm, row.log_index > log_index)
            .order_by(row.log_index)
        )

    def decode(self, ids: Sequence[str], raw: Sequence[bytes]) -> HashBlock:
        if any(len(value) != HASH_BYTES for value in raw):
            raise RegistryError(
                f"a stored {self._algorithm} hash is not {HASH_BYTES} bytes long; "
                "run: countermark audit"
            )
        values = np.frombuffer(b"".join(raw), dtype=np.uint64).reshape(-1, HASH_WORDS)
        return HashBlock(np.array(ids, dtype="S16"), values)

    def join(self, first: HashBlock, second: HashBlock) -> HashBlock:
        return HashBlock(
            np.concatenate((first.ids, second.ids)), np.concatenate((first.values, second.values))
        )


class VectorTable:
    """Embeddings of one space."""

    def __init__(self, space_id: str) -> None:
        self._space_id = space_id

    def select_after(self, log_index: int) -> Select[int, str, bytes]:
        row = EmbeddingRow
        return (
            select(row.log_index, row.record_id, row.vector)
            .where(row.space_id == self._space_id, row.log_index > log_index)
            .order_by(row.log_index)
        )

    def decode(self, ids: Sequence[str], raw: Sequence[bytes]) -> VectorBlock:
        if len({len(value) for value in raw}) != 1:
            raise RegistryError(
                f"stored vectors of space {self._space_id} differ in length; run: countermark audit"
            )
        values = np.frombuffer(b"".join(raw), dtype="<f4").reshape(len(raw), -1)
        return VectorBlock(np.array(ids, dtype="S16"), values.astype(np.float32, copy=False))

    def join(self, first: VectorBlock, second: VectorBlock) -> VectorBlock:
        return VectorBlock(
            np.concatenate((first.ids, second.ids)), np.concatenate((first.values, second.values))
        )


@dataclass(frozen=True, slots=True)
class _State(Generic[Block]):
    """A prefix of the table.

    Attributes:
        blocks: In log order.
        last_log_index: Of the newest row in `blocks`; -1 when there is none.
        mark: Of the log at that index: it tells whether the rows are still the same ones.
        full: Whether the memory bound was reached.
    """

    blocks: tuple[Block, ...] = ()
    last_log_index: int = -1
    mark: bytes = b""
    full: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(block.ids.nbytes + block.values.nbytes for block in self.blocks)


class RowCache(Generic[Block]):
    """All rows of a table as blocks, the oldest of them from memory.

    Args:
        table: What to read and how.
        max_bytes: Bound of what is kept.
    """

    def __init__(self, table: FingerprintTable[Block], *, max_bytes: int) -> None:
        self._table = table
        self._max_bytes = max_bytes
        self._state: _State[Block] = _State()

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept in memory now."""
        return self._state.size_bytes

    def blocks(self, session: Session) -> Iterator[Block]:
        """Every row there is, in log order; takes new rows into memory on the way."""
        state = self._still_valid(session, self._state)
        yield from state.blocks
        for last_index, block in self._read_after(session, state.last_log_index):
            yield block
            state = self._extended(session, state, block, last_index)
        self._state = state

    def _still_valid(self, session: Session, state: _State[Block]) -> _State[Block]:
        if state.last_log_index < 0:
            return state
        # A registry restored from a backup has other leaves at the same places.
        return state if _mark_at(session, state.last_log_index) == state.mark else _State()

    def _read_after(self, session: Session, log_index: int) -> Iterator[tuple[int, Block]]:
        statement = self._table.select_after(log_index).execution_options(yield_per=BATCH_ROWS)
        for rows in session.execute(statement).partitions():
            ids, raw = [row[1] for row in rows], [row[2] for row in rows]
            yield rows[-1][0], self._table.decode(ids, raw)

    def _extended(
        self, session: Session, state: _State[Block], block: Block, last_index: int
    ) -> _State[Block]:
        size = block.ids.nbytes + block.values.nbytes
        if state.full or state.size_bytes + size > self._max_bytes:
            return _State(state.blocks, state.last_log_index, state.mark, full=True)
        blocks = state.blocks
        if blocks and len(blocks[-1].ids) + len(block.ids) <= BLOCK_ROWS:
            blocks = (*blocks[:-1], self._table.join(blocks[-1], block))
        else:
            blocks = (*blocks, block)
        return _State(blocks, last_index, _mark_at(session, last_index))


def _mark_at(session: Session, log_index: int) -> bytes:
    """Changes when a leaf up to there is another one, or when any record was erased."""
    erased = session.scalar(
        select(func.max(RegistryEventRow.log_index)).where(
            RegistryEventRow.kind == EventKind.ERASURE.value
        )
    )
    try:
        return b"%s %d" % (read_root(session, log_index + 1), -1 if erased is None else erased)
    except RegistryError:  # the log has no such leaf any more
        return b""
