"""Keypoint words of one space: the rows, and what is kept of them in memory.

The rows are the truth. The cache is a prefix of them in log order: each search first takes in what
is new, one thread at a time, and rows beyond the memory bound are read for every search, batch by
batch, so that the answer is always that of all rows and the memory always bounded.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from provenance.errors import RegistryError
from provenance.types import KeypointWords
from registry.index.generations import is_prefix, leaf_hash_at, read_generation
from registry.index.word_votes import WordBlock, append_words, best_votes, word_block
from registry.tables import KeypointWordsRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy.orm import Session

    from provenance.types import WordNeighbour

__all__ = ["CORNER_BYTES", "WordIndex", "decode_words", "encode_words"]

log = logging.getLogger(__name__)

BATCH_ROWS = 512
CORNER_BYTES = 11
"""Word, angle, check bits."""


@dataclass(frozen=True, slots=True)
class _State:
    """A prefix of the rows; attributes as in `registry.index.cache`."""

    generation: int = 0
    blocks: tuple[WordBlock, ...] = ()
    last_log_index: int = -1
    leaf_hash: bytes = b""
    full: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(block.size_bytes for block in self.blocks)


class WordIndex:
    """The words of a space.

    Args:
        space_id: Whose words.
        max_bytes: Bound of what is kept; some 6 KB are needed for a record.
    """

    def __init__(self, space_id: str, *, max_bytes: int) -> None:
        self._space_id = space_id
        self._max_bytes = max_bytes
        self._state = _State()
        self._lock = threading.Lock()
        self._has_told = False

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept in memory now."""
        return self._state.size_bytes

    def nearest(
        self, session: Session, queries: Sequence[KeypointWords], *, limit: int
    ) -> Sequence[WordNeighbour]:
        """Records that share most words with a picture, in `registry.index.word_votes` order."""
        state = self._catch_up(session)
        blocks: Iterable[WordBlock] = state.blocks
        if state.full:
            beyond = (block for _, block in self._read_after(session, state.last_log_index))
            blocks = chain(blocks, beyond)
        return best_votes(blocks, queries, limit=limit)

    def _catch_up(self, session: Session) -> _State:
        """The state after all rows that this session sees, or up to the bound."""
        with self._lock:
            state = self._still_valid(session, self._state)
            if not state.full:
                state = self._extended(session, state)
            self._state = state
            return state

    def _extended(self, session: Session, state: _State) -> _State:
        for last_index, block in self._read_after(session, state.last_log_index):
            if state.size_bytes + block.size_bytes > self._max_bytes:
                self._tell_full()
                return replace(state, full=True)
            blocks = append_words(state.blocks, block)
            state = _State(state.generation, blocks, last_index, leaf_hash_at(session, last_index))
        return state

    def _tell_full(self) -> None:
        if self._has_told:  # begun anew with each erasure, told once
            return
        self._has_told = True
        log.warning(
            "keypoint words of more records than fit into %d MB: the rest is read at each search, "
            "which takes longer",
            self._max_bytes >> 20,
        )

    def _still_valid(self, session: Session, state: _State) -> _State:
        generation = read_generation(session, self._space_id)
        return state if is_prefix(session, state, generation) else _State(generation)

    def _read_after(self, session: Session, log_index: int) -> Iterator[tuple[int, WordBlock]]:
        row = KeypointWordsRow
        statement = (
            select(row.log_index, row.record_id, row.corners)
            .where(row.space_id == self._space_id, row.log_index > log_index)
            .order_by(row.log_index)
            .execution_options(yield_per=BATCH_ROWS)
        )
        for rows in session.execute(statement).partitions():
            words = [self._decoded(one[1], one[2]) for one in rows]
            yield rows[-1][0], word_block([one[1] for one in rows], words)

    def _decoded(self, record_id: str, raw: bytes) -> KeypointWords:
        """One cut row must not end every search: it names no candidate."""
        try:
            return decode_words(self._space_id, raw)
        except RegistryError as error:
            log.warning("record %s: %s", record_id, error)
            return decode_words(self._space_id, b"")


def encode_words(value: KeypointWords) -> bytes:
    """Words, then angles, then check bits, little-endian: 11 bytes a corner."""
    return b"".join(
        (
            value.words[:, 0].astype("<u2").tobytes(),
            value.angles.tobytes(),
            value.check_bits.astype("<u8").tobytes(),
        )
    )


def decode_words(space_id: str, raw: bytes) -> KeypointWords:
    """What `encode_words` made bytes of.

    Raises:
        RegistryError: It did not.
    """
    count, rest = divmod(len(raw), CORNER_BYTES)
    if rest:
        raise RegistryError(
            f"stored keypoint words of space {space_id} are cut; run: countermark registry "
            "reindex --keypoints"
        )
    return KeypointWords(
        space_id,
        np.frombuffer(raw, "<u2", count).astype(np.uint16)[:, None],
        np.frombuffer(raw, np.uint8, count, 2 * count),
        np.frombuffer(raw, "<u8", count, 3 * count).astype(np.uint64),
    )
