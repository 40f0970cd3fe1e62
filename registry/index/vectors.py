"""Search over the embeddings of one space: sign codes choose, the stored vectors decide.

The rows are the truth, the codes a cache of them in memory and in a file. Each search takes in what
other processes wrote since. Candidates are compared by their vectors as the rows hold them now, so
a row that was deleted is never answered.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import func, select, text

from provenance.errors import RegistryError
from registry.engine import reading
from registry.index.cache_file import CacheHeader, cache_path, read_cache, write_cache
from registry.index.exact import VectorBlock, best_cosines, require_length
from registry.index.generations import is_prefix, leaf_hash_at, read_generation
from registry.index.listed import is_listed, list_value
from registry.index.sign_codes import CodeBlock, append_block, encode, nearest_codes
from registry.tables import EmbeddingRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from provenance.types import Embedding, EmbeddingNeighbour, Float32Array

__all__ = ["DEFAULT_CANDIDATES", "SqlVectorIndex", "read_vectors"]

log = logging.getLogger(__name__)

DEFAULT_CANDIDATES = 200
"""Vectors that are compared whole. Among a million, a true source at cosine 0.4 or more is always
among the 200 nearest codes, at 0.25 to 0.3 in three of four cases; see docs/adr/0021."""
BATCH_ROWS = 512
"""Rows per read: 1 MB of 512-component vectors, which stays in a core's cache until it is coded."""
SAVE_AFTER_ROWS = 16_384
"""A file that lacks this many rows is written again; reading them takes a tenth of a second."""


@dataclass(frozen=True, slots=True)
class _State:
    """A prefix of the rows, as codes.

    Attributes:
        generation: Of the rows when the prefix was begun.
        dim: Components of each vector; 0 while there is none.
        blocks: In log order.
        rows: How many they hold.
        last_log_index: Of the last of them; -1 when there is none.
        leaf_hash: Of the log's leaf there.
        saved_rows: How many of them the file holds.
    """

    generation: int = 0
    dim: int = 0
    blocks: tuple[CodeBlock, ...] = ()
    rows: int = 0
    last_log_index: int = -1
    leaf_hash: bytes = b""
    saved_rows: int = 0


class SqlVectorIndex:
    """Implements `provenance.interfaces.VectorIndex` over the rows of a space.

    Args:
        engine: Of a registry at the newest migration.
        space_id: Whose vectors.
        folder: Where the file of codes is kept; None keeps them in memory only.
        candidates: How many vectors are compared whole. Up to that many rows, and at every cosine
            that matters, the answer is that of comparing all of them.
    """

    def __init__(
        self,
        engine: Engine,
        space_id: str,
        *,
        folder: Path | None = None,
        candidates: int = DEFAULT_CANDIDATES,
    ) -> None:
        self._engine = engine
        self._space_id = space_id
        self._path = None if folder is None else cache_path(folder, space_id)
        self._candidates = candidates
        self._state: _State | None = None
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Bytes of codes that are kept in memory now."""
        return 0 if self._state is None else sum(one.size_bytes for one in self._state.blocks)

    @property
    def rows(self) -> int:
        """Rows that were taken in so far."""
        return 0 if self._state is None else self._state.rows

    def search(
        self, query: Embedding, *, limit: int, min_cosine: float = -1.0
    ) -> Sequence[EmbeddingNeighbour]:
        """Best `limit` neighbours, highest cosine first, then in log order.

        None for a query of another space.

        Raises:
            RegistryError: The query has another number of components than the rows of its space.
            RegistryUnavailableError: The database cannot be reached.
        """
        if query.space_id != self._space_id:
            return []
        with reading(self._engine) as session:
            state = self._catch_up(session)
            if not state.rows:
                return []
            require_length(query, state.dim)
            code = encode(query.vector[None, :])[:, 0]
            near = nearest_codes(state.blocks, code, count=max(self._candidates, limit))
            block = read_vectors(session, self._space_id, [index for index, _ in near])
        if block is None:
            return []
        return best_cosines([block], query, min_cosine=min_cosine, limit=limit)

    def refresh(self) -> int:
        """Takes in what is new, and answers how many rows there are.

        Raises:
            RegistryUnavailableError: The database cannot be reached.
        """
        with reading(self._engine) as session:
            return self._catch_up(session).rows

    def rebuild(self) -> int:
        """Makes the codes again from the rows, and the file with them; answers how many.

        Raises:
            RegistryUnavailableError: The database cannot be reached.
        """
        with reading(self._engine) as session, self._lock:
            state = _State(read_generation(session, self._space_id))
            self._state = self._saved(self._extended(session, state), always=True)
            return self._state.rows

    # -- keeping up ----------------------------------------------------------------------------

    def _catch_up(self, session: Session) -> _State:
        """The state of all rows that this session sees. One thread at a time reads what is new."""
        with self._lock:
            generation = read_generation(session, self._space_id)
            state = self._state
            if state is None or not is_prefix(session, state, generation):
                state = self._loaded(session, generation) or _State(generation)
            self._state = self._saved(self._extended(session, state))
            return self._state

    def _extended(self, session: Session, state: _State) -> _State:
        for last_index, block, dim in self._read_after(session, state):
            state = replace(
                state,
                dim=dim,
                blocks=append_block(state.blocks, block),
                rows=state.rows + len(block),
                last_log_index=last_index,
                leaf_hash=b"",
            )
        if state.rows and not state.leaf_hash:
            state = replace(state, leaf_hash=leaf_hash_at(session, state.last_log_index))
        return state

    def _read_after(self, session: Session, state: _State) -> Iterator[tuple[int, CodeBlock, int]]:
        row = EmbeddingRow
        statement = (
            select(row.log_index, row.vector)
            .where(row.space_id == self._space_id, row.log_index > state.last_log_index)
            .order_by(row.log_index)
            .execution_options(yield_per=BATCH_ROWS)
        )
        dim = state.dim
        for rows in session.execute(statement).partitions():
            vectors = decode_vectors(self._space_id, [one[1] for one in rows], dim=dim)
            dim = vectors.shape[1]
            indexes = np.array([one[0] for one in rows], dtype=np.int64)
            yield rows[-1][0], CodeBlock(indexes, encode(vectors)), dim

    # -- the file ------------------------------------------------------------------------------

    def _loaded(self, session: Session, generation: int) -> _State | None:
        """The state of the file, when it holds what the rows say; one that does not is deleted."""
        found = None if self._path is None else read_cache(self._path, self._space_id)
        if self._path is None or found is None:
            return None
        header, blocks = found
        state = _State(
            header.generation,
            header.dim,
            blocks,
            header.rows,
            header.last_log_index,
            bytes.fromhex(header.leaf_hash),
            saved_rows=header.rows,
        )
        if is_prefix(session, state, generation) and self._is_complete(session, header):
            return state
        with suppress(OSError):
            self._path.unlink()  # it may hold codes of what was erased
        return None

    def _is_complete(self, session: Session, header: CacheHeader) -> bool:
        """Whether as many rows stand as the file holds: tells of rows that were deleted by hand.

        Asked once per start, since counting a million rows takes a tenth of a second.
        """
        row = EmbeddingRow
        stored = session.scalar(
            select(func.count())
            .select_from(row)
            .where(row.space_id == self._space_id, row.log_index <= header.last_log_index)
        )
        return stored == header.rows

    def _saved(self, state: _State, *, always: bool = False) -> _State:
        if self._path is None or not state.rows:
            return state
        if not always and state.rows - state.saved_rows < SAVE_AFTER_ROWS:
            return state
        header = CacheHeader(
            space_id=self._space_id,
            dim=state.dim,
            generation=state.generation,
            rows=state.rows,
            last_log_index=state.last_log_index,
            leaf_hash=state.leaf_hash.hex(),
        )
        try:
            write_cache(self._path, header, state.blocks)
        except OSError as error:
            # A disk that is full makes the next start slower and no answer wrong.
            log.warning("index file %s cannot be written: %s", self._path, error.strerror)
        return replace(state, saved_rows=state.rows)


def read_vectors(session: Session, space_id: str, log_indexes: Sequence[int]) -> VectorBlock | None:
    """The vectors of some rows in log order, of those that are still there; None without any."""
    statement = text(
        "SELECT log_index, record_id, vector FROM embeddings "  # noqa: S608
        f"WHERE space_id = :space_id AND log_index {is_listed(session, 'indexes')}"
    )
    values = {"space_id": space_id, "indexes": list_value(session, log_indexes)}
    found = session.execute(statement, values).all()
    rows = sorted(found, key=lambda row: row[0])
    if not rows:
        return None
    vectors = decode_vectors(space_id, [row[2] for row in rows])
    return VectorBlock(np.array([row[1] for row in rows], dtype="S16"), vectors)


def decode_vectors(space_id: str, raw: Sequence[bytes], *, dim: int = 0) -> Float32Array:
    """(N, D) float32 of stored vectors.

    Raises:
        RegistryError: They differ in length among each other, or from `dim` where that is not 0.
    """
    lengths = {len(value) for value in raw} | ({4 * dim} if dim else set())
    if len(lengths) != 1 or lengths == {0}:
        raise RegistryError(
            f"stored vectors of space {space_id} differ in length; run: countermark audit"
        )
    values = np.frombuffer(b"".join(raw), dtype="<f4").reshape(len(raw), -1)
    return values.astype(np.float32, copy=False)
