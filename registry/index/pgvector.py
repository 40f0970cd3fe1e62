"""Search over the embeddings of a space inside PostgreSQL, with the extension pgvector.

For those who want the search beside the rows: no codes in the memory of each process, and tables
that own SQL can use. It compares every code, as `registry.index.vectors` does; an index of kind
HNSW is not made, because it loses copies (docs/howto/postgresql.md has the figures).

Two tables a space in the schema ``countermark_index``: codes as ``bit(n)``, which a search reads
whole, and vectors as ``halfvec(d)``, of which it reads the candidates. Both are derived from
`EmbeddingRow`; they are filled by whoever searches first, and begun anew where they do not fit.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import func, select, text

from provenance.errors import RegistryError, RegistryUnavailableError
from provenance.types import EmbeddingNeighbour, RecordId
from registry.engine import describe_url, reading, writing
from registry.index.exact import require_length
from registry.index.generations import is_prefix, leaf_hash_at, read_generation
from registry.index.sign_codes import WORD_BITS, code_words, encode
from registry.index.vectors import DEFAULT_CANDIDATES, decode_vectors
from registry.tables import EmbeddingRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from provenance.types import Embedding, Float32Array

__all__ = [
    "BATCH_ROWS",
    "SCHEMA",
    "Held",
    "PgVectorIndex",
    "forget_vector",
    "is_valid",
    "read_held",
    "stored_forms",
    "tables_of_space",
]

SCHEMA = "countermark_index"
MAX_DIM = 16_000
"""Of pgvector's ``halfvec``."""
BATCH_ROWS = 4096
COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_END = b"\xff\xff"
"""Source: PostgreSQL documentation, COPY, "Binary Format"."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the tables of a space hold."""

    dim: int
    generation: int
    last_log_index: int
    leaf_hash: bytes


class PgVectorIndex:
    """Implements `provenance.interfaces.VectorIndex` in PostgreSQL.

    Args:
        engine: Of a registry on PostgreSQL, at the newest migration.
        space_id: Whose vectors; at most 16,000 components.
        candidates: How many vectors are compared whole, in half precision.

    Raises:
        RegistryUnavailableError: The registry is on another database.
    """

    def __init__(
        self, engine: Engine, space_id: str, *, candidates: int = DEFAULT_CANDIDATES
    ) -> None:
        if engine.dialect.name != "postgresql":
            raise RegistryUnavailableError(
                f"registry.vector_index is pgvector, but registry {describe_url(str(engine.url))} "
                "is not on PostgreSQL; leave the setting out"
            )
        self._engine = engine
        self._space_id = space_id
        self._candidates = candidates
        # Part of the tables' names, so nothing that anybody chose comes into SQL as text.
        self._suffix = _suffix_of(space_id)
        self._codes, self._vectors = tables_of_space(space_id)
        self._lock = threading.Lock()
        self._is_set_up = False

    def search(
        self, query: Embedding, *, limit: int, min_cosine: float = -1.0
    ) -> Sequence[EmbeddingNeighbour]:
        """Best `limit` neighbours, highest cosine first, then in log order.

        Cosines are those of the vectors in half precision: right to about 0.001.

        Raises:
            RegistryError: The query has another number of components than the rows of its space.
            RegistryUnavailableError: The database cannot be reached, or has no pgvector.
        """
        if query.space_id != self._space_id:
            return []
        held = self._catch_up()
        if held is None:
            return []
        require_length(query, held.dim)
        bits = code_words(held.dim) * WORD_BITS
        statement = text(
            f"WITH near AS MATERIALIZED (SELECT log_index FROM {self._codes} "  # noqa: S608
            f"ORDER BY code <~> CAST(:code AS bit({bits})), log_index LIMIT :candidates) "
            "SELECT e.record_id, "
            f"1 - (v.vector <=> CAST(:vector AS halfvec({held.dim}))) AS cosine "
            f"FROM near JOIN {self._vectors} AS v ON v.log_index = near.log_index "
            "JOIN embeddings AS e ON e.log_index = near.log_index AND e.space_id = :space_id "
            "ORDER BY cosine DESC, near.log_index LIMIT :limit"
        )
        (code,) = _code_bytes(query.vector[None, :])
        values = {
            "code": "".join(f"{byte:08b}" for byte in code.tolist()),
            "vector": "[" + ",".join(map(str, query.vector.tolist())) + "]",
            "candidates": max(self._candidates, limit),
            "space_id": self._space_id,
            "limit": limit,
        }
        with reading(self._engine) as session:
            # An HNSW index that somebody made would otherwise be used, and lose copies.
            session.execute(text("SET LOCAL enable_indexscan = off"))
            rows = session.execute(statement, values).all()
        return [
            EmbeddingNeighbour(RecordId(row[0]), min(1.0, max(-1.0, row[1])))
            for row in rows
            if row[1] >= min_cosine
        ]

    def rebuild(self) -> int:
        """Fills the tables anew from the rows; answers how many there are.

        Raises:
            RegistryUnavailableError: The database cannot be reached, or has no pgvector.
        """
        self._set_up()
        with writing(self._engine) as session:
            self._lock_filling(session)
            self._forget(session)
            self._fill(session)
            held = read_held(session, self._space_id)
            if held is None:
                return 0
            return session.scalar(text(f"SELECT count(*) FROM {self._codes}")) or 0  # noqa: S608

    # -- keeping up ----------------------------------------------------------------------------

    def _catch_up(self) -> Held | None:
        self._set_up()
        with reading(self._engine) as session:
            held = read_held(session, self._space_id)
            if self._is_current(session, held):
                return held
        with writing(self._engine) as session:
            self._lock_filling(session)
            held = read_held(session, self._space_id)
            if held is not None and not is_valid(session, self._space_id, held):
                self._forget(session)
            self._fill(session)
            return read_held(session, self._space_id)

    def _set_up(self) -> None:
        with self._lock:
            if self._is_set_up:
                return
            try:
                with writing(self._engine) as session:
                    session.execute(
                        text("SELECT pg_advisory_xact_lock(hashtext(:s))"), {"s": SCHEMA}
                    )
                    session.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
                    session.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
                    session.execute(
                        text(
                            f"CREATE TABLE IF NOT EXISTS {SCHEMA}.spaces (space_id text PRIMARY "
                            "KEY, dim integer NOT NULL, generation bigint NOT NULL, "
                            "last_log_index bigint NOT NULL, leaf_hash bytea NOT NULL)"
                        )
                    )
            except RegistryUnavailableError as error:
                raise RegistryUnavailableError(
                    f"pgvector cannot be used ({error}); install the extension, let an "
                    "administrator run CREATE EXTENSION vector in the registry's database, or "
                    "leave registry.vector_index out"
                ) from error
            self._is_set_up = True

    def _lock_filling(self, session: Session) -> None:
        key = f"{SCHEMA} {self._suffix}"
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": key})

    def _is_current(self, session: Session, held: Held | None) -> bool:
        last = session.scalar(
            select(func.max(EmbeddingRow.log_index)).where(EmbeddingRow.space_id == self._space_id)
        )
        if held is None or last is None:
            return held is None and last is None
        return last <= held.last_log_index and is_valid(session, self._space_id, held)

    def _forget(self, session: Session) -> None:
        session.execute(text(f"DROP TABLE IF EXISTS {self._codes}, {self._vectors}"))
        session.execute(
            text(f"DELETE FROM {SCHEMA}.spaces WHERE space_id = :space_id"),  # noqa: S608
            {"space_id": self._space_id},
        )

    def _fill(self, session: Session) -> None:
        """Adds the rows that the tables do not hold yet, in the caller's transaction."""
        held = read_held(session, self._space_id)
        row = EmbeddingRow
        generation = read_generation(session, self._space_id)
        last, dim = (held.last_log_index, held.dim) if held else (-1, 0)
        while True:
            rows = session.execute(
                select(row.log_index, row.vector)
                .where(row.space_id == self._space_id, row.log_index > last)
                .order_by(row.log_index)
                .limit(BATCH_ROWS)
            ).all()
            if not rows:
                break
            vectors = decode_vectors(self._space_id, [one[1] for one in rows], dim=dim)
            if not dim:
                dim = vectors.shape[1]
                self._create(session, dim)
            self._copy(session, np.array([one[0] for one in rows], dtype=np.int64), vectors)
            last = rows[-1][0]
        if last >= 0:
            session.execute(
                text(
                    f"INSERT INTO {SCHEMA}.spaces VALUES (:s, :dim, :generation, :last, :leaf) "  # noqa: S608
                    "ON CONFLICT (space_id) DO UPDATE SET "
                    "last_log_index = excluded.last_log_index, leaf_hash = excluded.leaf_hash"
                ),
                {
                    "s": self._space_id,
                    "dim": dim,
                    "generation": generation,
                    "last": last,
                    "leaf": leaf_hash_at(session, last),
                },
            )

    def _create(self, session: Session, dim: int) -> None:
        if dim > MAX_DIM:
            raise RegistryError(
                f"vectors of space {self._space_id} have {dim} components, and pgvector's halfvec "
                f"takes {MAX_DIM}; leave registry.vector_index out"
            )
        bits = code_words(dim) * WORD_BITS
        session.execute(
            text(
                f"CREATE TABLE {self._codes} "
                f"(log_index bigint PRIMARY KEY, code bit({bits}) NOT NULL)"
            )
        )
        session.execute(
            text(
                f"CREATE TABLE {self._vectors} "
                f"(log_index bigint PRIMARY KEY, vector halfvec({dim}) NOT NULL)"
            )
        )

    def _copy(self, session: Session, indexes: np.ndarray[Any, Any], vectors: Float32Array) -> None:
        raw: Any = session.connection().connection.driver_connection
        tables = (self._codes, self._vectors)
        for table, (head, body) in zip(tables, stored_forms(vectors), strict=True):
            with raw.cursor().copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(COPY_HEADER + _binary_rows(indexes, head, body) + COPY_END)


def forget_vector(session: Session, space_id: str, log_index: int) -> None:
    """Takes a row out of the tables of a space, where there are any; in the caller's transaction.

    The tables begin anew with the next search, but the erased vector must not wait for one.
    """
    if session.get_bind().dialect.name != "postgresql":
        return
    for table in tables_of_space(space_id):
        if session.scalar(text("SELECT to_regclass(:name)"), {"name": table}) is not None:
            session.execute(
                text(f"DELETE FROM {table} WHERE log_index = :log_index"),  # noqa: S608
                {"log_index": log_index},
            )


def tables_of_space(space_id: str) -> tuple[str, str]:
    """Names of the tables of codes and of vectors, with the schema's."""
    suffix = _suffix_of(space_id)
    return f"{SCHEMA}.codes_{suffix}", f"{SCHEMA}.vectors_{suffix}"


def read_held(session: Session, space_id: str) -> Held | None:
    """What the tables of a space say that they hold; None where there are none."""
    row = session.execute(
        text(
            "SELECT dim, generation, last_log_index, leaf_hash "  # noqa: S608
            f"FROM {SCHEMA}.spaces WHERE space_id = :space_id"
        ),
        {"space_id": space_id},
    ).first()
    return None if row is None else Held(row[0], row[1], row[2], bytes(row[3]))


def is_valid(session: Session, space_id: str, held: Held) -> bool:
    """Whether the tables are of these rows, though rows may have come since."""
    return is_prefix(session, held, read_generation(session, space_id))


def stored_forms(
    vectors: Float32Array,
) -> tuple[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], ...]:
    """Codes, then vectors, as PostgreSQL takes and sends them: how each begins, and (N, M)."""
    codes = _code_bytes(vectors)
    half = vectors.astype(">f2")
    return (
        # bit: its length in bits; halfvec: number of components, and nothing.
        (np.array([codes.shape[1] * 8], ">i4"), codes),
        (np.array([half.shape[1], 0], ">i2"), half),
    )


def _suffix_of(space_id: str) -> str:
    """Part of the tables' names."""
    return hashlib.sha256(space_id.encode()).hexdigest()[:16]


def _binary_rows(
    indexes: np.ndarray[Any, Any], head: np.ndarray[Any, Any], body: np.ndarray[Any, Any]
) -> bytes:
    """Rows of (bigint, value of `head` and a line of `body`) as COPY takes them."""
    length = head.nbytes + body[0].nbytes
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("index_bytes", ">i4"),
            ("index", ">i8"),
            ("value_bytes", ">i4"),
            ("head", head.dtype, head.shape),
            ("body", body.dtype, body.shape[1:]),
        ]
    )
    rows = np.empty(len(indexes), row)
    rows["fields"], rows["index_bytes"], rows["value_bytes"] = 2, 8, length
    rows["index"], rows["head"], rows["body"] = indexes, head, body
    return rows.tobytes()


def _code_bytes(vectors: Float32Array) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(N, bits / 8) uint8: the bits of the codes in order, as PostgreSQL holds them."""
    words = np.ascontiguousarray(encode(vectors).T).astype("<u8", copy=False)
    return words.view(np.uint8).reshape(len(vectors), -1)
