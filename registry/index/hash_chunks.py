"""Perceptual hashes found through a table of their 16-bit pieces, in plain SQL.

A hash of 256 bits has 16 chunks. Few differing bits cannot be in all of them: whoever is near has
several chunks that are equal to the query's, or nearly. So the rows that share enough keys with
those that are asked for hold every answer, and of a million strangers some forty do. No index file,
nothing in memory, exact: `plan_probe` says why.

Rows of the table are derived from `PerceptualHashRow`, are written in the same transaction, and can
always be made again from it: `rebuild`.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import delete, func, insert, select, text

from registry.index.exact import HASH_BYTES, HashBlock, hash_block
from registry.index.listed import is_listed, list_value
from registry.tables import HashChunkRow, PerceptualHashRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from provenance.types import PerceptualHash

__all__ = [
    "MAX_DISTANCE_BITS",
    "add_chunks",
    "chunk_keys",
    "count_missing",
    "find_candidates",
    "plan_probe",
    "probe_keys",
    "rebuild",
    "remove_chunks",
]

CHUNKS = HASH_BYTES // 2
CHUNK_BITS = 16
MAX_DISTANCE_BITS = 2 * CHUNKS - 1
"""31: the widest search without loss; beyond, too many rows would be asked for."""
BATCH_ROWS = 65_536

_NUMBERS = np.arange(CHUNKS, dtype=np.int64) << CHUNK_BITS
_ONE = 1 << np.arange(CHUNK_BITS, dtype=np.int64)
_TWO = np.array([one | two for one, two in combinations(_ONE.tolist(), 2)], dtype=np.int64)
_FLIPS = (
    np.zeros(1, np.int64),
    np.concatenate(([0], _ONE)),
    np.concatenate(([0], _ONE, _TWO)),
)
"""What to change in a chunk to get all values within 0, 1 and 2 bits: 1, 17 and 137 of them."""


def plan_probe(max_distance_bits: int) -> tuple[tuple[int, ...], int]:
    """How far around each chunk to look, and in how many chunks a near hash is then seen.

    A chunk that is not seen has more differing bits than its radius. With radius 0 everywhere and
    at most d differing bits, at most d chunks are not seen; with radius 1 at most d / 2. For 30 and
    31 bits that leaves one chunk, which a stranger reaches too easily, so three chunks are looked
    around further: were 15 chunks not seen, they had at least 3 + 3 + 13 x 2 = 32 bits.

    Args:
        max_distance_bits: 0..31.

    Returns:
        Radius in bits of each of the 16 chunks, and the least number of chunks, at least two.
    """
    if max_distance_bits <= CHUNKS - 2:
        return (0,) * CHUNKS, CHUNKS - max_distance_bits
    if max_distance_bits <= 2 * CHUNKS - 3:
        return (1,) * CHUNKS, CHUNKS - max_distance_bits // 2
    return (2,) * 3 + (1,) * (CHUNKS - 3), 2


def chunk_keys(hashes: Sequence[bytes]) -> list[list[int]]:
    """The 16 keys of each 32-byte hash: number of the chunk in the high bits, its value below."""
    values = np.frombuffer(b"".join(hashes), dtype=">u2").reshape(-1, CHUNKS).astype(np.int64)
    keys: list[list[int]] = (values | _NUMBERS).tolist()
    return keys


def probe_keys(query: bytes, radii: Sequence[int]) -> list[int]:
    """All keys within a radius of each chunk of a 32-byte hash."""
    (keys,) = chunk_keys([query])
    around = [key ^ _FLIPS[radius] for key, radius in zip(keys, radii, strict=True)]
    found: list[int] = np.concatenate(around).tolist()
    return found


def add_chunks(session: Session, log_index: int, value: bytes) -> None:
    """Adds the keys of a hash, in the caller's transaction."""
    (keys,) = chunk_keys([value])
    session.execute(insert(HashChunkRow), [{"key": key, "log_index": log_index} for key in keys])


def remove_chunks(session: Session, log_index: int, value: bytes) -> None:
    """Takes the keys of a hash away: together they are the hash."""
    (keys,) = chunk_keys([value])
    session.execute(
        delete(HashChunkRow).where(HashChunkRow.key.in_(keys), HashChunkRow.log_index == log_index)
    )


def find_candidates(
    session: Session, query: PerceptualHash, *, max_distance_bits: int
) -> HashBlock:
    """Every row that may be within `max_distance_bits` (0..31), in log order.

    Raises:
        RegistryError: A stored hash is not 32 bytes long.
    """
    value = bytes.fromhex(query.hex)
    radii, least = plan_probe(max_distance_bits)
    keys = probe_keys(value, radii)
    # CROSS JOIN tells SQLite to begin with the keys: without statistics it would begin with all
    # hashes of the algorithm. To PostgreSQL it is a join like any other.
    statement = text(
        "SELECT h.log_index, h.record_id, h.hash FROM "  # noqa: S608
        f"(SELECT log_index FROM hash_chunks WHERE key {is_listed(session, 'keys')} "
        "GROUP BY log_index HAVING count(*) >= :least) AS c "
        "CROSS JOIN perceptual_hashes AS h "
        "WHERE h.algorithm = :algorithm AND h.log_index = c.log_index"
    )
    values = {
        "keys": list_value(session, keys),
        "least": least,
        "algorithm": query.algorithm,
    }
    rows = session.execute(statement, values).all()
    found = sorted(rows, key=lambda row: row[0])
    return hash_block(query.algorithm, [row[1] for row in found], [row[2] for row in found])


def rebuild(connection: Connection) -> int:
    """Makes the whole table again from the hashes, in the caller's transaction.

    Forty bytes of memory for each hash. Rows are written in the order of the primary key, which is
    ten times as fast as adding them hash by hash.

    Returns:
        How many hashes there are.
    """
    rows = connection.execute(select(PerceptualHashRow.log_index, PerceptualHashRow.hash)).all()
    connection.execute(delete(HashChunkRow))
    if not rows:
        return 0
    indexes = np.array([row[0] for row in rows], dtype=np.int64)
    chunks = np.frombuffer(b"".join(row[1] for row in rows), dtype=">u2").reshape(-1, CHUNKS)
    for number in range(CHUNKS):
        keys = chunks[:, number].astype(np.int64) | _NUMBERS[number]
        order = np.lexsort((indexes, keys))
        for start in range(0, len(order), BATCH_ROWS):
            part = order[start : start + BATCH_ROWS]
            _insert_many(connection, keys[part].tolist(), indexes[part].tolist())
    return len(rows)


def _insert_many(connection: Connection, keys: list[int], indexes: list[int]) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(_UNNEST, {"keys": keys, "indexes": indexes})
        return
    connection.exec_driver_sql(
        "INSERT INTO hash_chunks (key, log_index) VALUES (?, ?)",
        list(zip(keys, indexes, strict=True)),
    )


_UNNEST = text(
    "INSERT INTO hash_chunks (key, log_index) "
    "SELECT * FROM unnest(CAST(:keys AS integer[]), CAST(:indexes AS bigint[]))"
)


def count_missing(session: Session) -> int:
    """How many rows the table has too few (positive) or too many (negative)."""
    hashes = session.scalar(select(func.count()).select_from(PerceptualHashRow)) or 0
    chunks = session.scalar(select(func.count()).select_from(HashChunkRow)) or 0
    return hashes * CHUNKS - chunks
