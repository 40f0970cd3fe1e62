"""Exact comparison of fingerprints in memory: every row of every block. No IO.

Decides among the candidates of `hash_chunks` and `sign_codes`; by itself it is the search that all
others are held to (`ExactVectorIndex`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.errors import RegistryError
from provenance.types import EmbeddingNeighbour, HashNeighbour, RecordId

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provenance.types import Embedding, Float32Array, PerceptualHash

__all__ = [
    "ExactVectorIndex",
    "HashBlock",
    "VectorBlock",
    "best_cosines",
    "best_distances",
    "hash_block",
    "pack_hash",
    "require_length",
]

IdArray: TypeAlias = npt.NDArray[np.bytes_]
Uint64Array: TypeAlias = npt.NDArray[np.uint64]

HASH_BYTES = 32
HASH_WORDS = 4


@dataclass(frozen=True, slots=True, eq=False)
class HashBlock:
    """Perceptual hashes of one algorithm, in log order.

    Attributes:
        ids: (N,) S16, record ids.
        values: (N, 4) uint64, the 256 bits; byte order does not matter for counting bits.
    """

    ids: IdArray
    values: Uint64Array


@dataclass(frozen=True, slots=True, eq=False)
class VectorBlock:
    """Embeddings of one space, in log order.

    Attributes:
        ids: (N,) S16, record ids.
        values: (N, D) float32, rows of norm 1.
    """

    ids: IdArray
    values: Float32Array


def hash_block(algorithm: str, ids: Sequence[str], hashes: Sequence[bytes]) -> HashBlock:
    """The block of rows as they are stored.

    Raises:
        RegistryError: A hash is not 32 bytes long; names the algorithm.
    """
    if any(len(value) != HASH_BYTES for value in hashes):
        raise RegistryError(
            f"a stored {algorithm} hash is not {HASH_BYTES} bytes long; run: countermark audit"
        )
    values = np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(-1, HASH_WORDS)
    return HashBlock(np.array(ids, dtype="S16"), values)


def pack_hash(value: PerceptualHash) -> Uint64Array:
    """(4,) uint64: the bits of a hash, as `HashBlock` holds them."""
    return np.frombuffer(bytes.fromhex(value.hex), dtype=np.uint64)


def best_distances(
    blocks: Iterable[HashBlock], query: PerceptualHash, *, max_distance_bits: int, limit: int
) -> list[HashNeighbour]:
    """Rows within a Hamming distance, nearest first, then in log order.

    Args:
        blocks: In log order, all of the query's algorithm.
        query: The hash to look for.
        max_distance_bits: 0..256, inclusive.
        limit: Most neighbours to answer.
    """
    packed = pack_hash(query)
    best: list[HashNeighbour] = []
    for block in blocks:
        distances = np.bitwise_count(block.values ^ packed).sum(axis=1, dtype=np.int64)
        hits = np.flatnonzero(distances <= max_distance_bits)
        nearest = hits[np.argsort(distances[hits], kind="stable")][:limit]
        best += [HashNeighbour(_id(block.ids[i]), int(distances[i])) for i in nearest]
        # Blocks come oldest first and the sort is stable, so ties stay in log order.
        best.sort(key=lambda neighbour: neighbour.distance_bits)
        del best[limit:]
    return best


def best_cosines(
    blocks: Iterable[VectorBlock], query: Embedding, *, min_cosine: float, limit: int
) -> list[EmbeddingNeighbour]:
    """Rows at or above a cosine similarity, highest first, then in log order.

    Args:
        blocks: In log order, all of the query's space.
        query: Unit vector to look for.
        min_cosine: -1..1, inclusive.
        limit: Most neighbours to answer.

    Raises:
        RegistryError: The query has another number of components than the rows of its space.
    """
    best: list[EmbeddingNeighbour] = []
    for block in blocks:
        require_length(query, block.values.shape[1])
        # In float64, rounded after: a product in float32 depends on where in the block a row lies,
        # and equal vectors would not tie.
        products = block.values.astype(np.float64) @ query.vector.astype(np.float64)
        cosines = np.clip(products.astype(np.float32), -1.0, 1.0)
        hits = np.flatnonzero(cosines >= min_cosine)
        nearest = hits[np.argsort(-cosines[hits], kind="stable")][:limit]
        best += [EmbeddingNeighbour(_id(block.ids[i]), float(cosines[i])) for i in nearest]
        best.sort(key=lambda neighbour: -neighbour.cosine)
        del best[limit:]
    return best


def _id(raw: bytes) -> RecordId:
    return RecordId(raw.decode("ascii"))


def require_length(query: Embedding, length: int) -> None:
    """Refuses a query whose number of components is not that of its space.

    Raises:
        RegistryError: It is not; names the space.
    """
    if query.vector.shape[0] != length:
        raise RegistryError(
            f"a vector of space {query.space_id} has {query.vector.shape[0]} components, but the "
            f"registry holds vectors of {length}; a changed model needs a space_id of its own"
        )


class ExactVectorIndex:
    """Embeddings of one space in memory; implements `provenance.interfaces.VectorIndex`."""

    def __init__(self, space_id: str, blocks: Iterable[VectorBlock] = ()) -> None:
        self._space_id = space_id
        self._blocks = tuple(blocks)

    def search(
        self, query: Embedding, *, limit: int, min_cosine: float = -1.0
    ) -> Sequence[EmbeddingNeighbour]:
        """Best `limit` neighbours, highest cosine first; none for a query of another space."""
        if query.space_id != self._space_id:
            return []
        return best_cosines(self._blocks, query, min_cosine=min_cosine, limit=limit)
