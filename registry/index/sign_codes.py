"""One bit for each component of a vector, and the exact scan over such codes. Pure.

The share of bits in which two codes differ estimates the angle between their vectors: a copy at
cosine 0.6 differs in 30 % of the bits, a stranger in 50 % give or take 2 %. So the codes choose
candidates, and the vectors themselves decide (`registry.index.vectors`). A million 512-bit codes
are 64 MB, and every one of them is compared: nothing is lost to a graph's short cuts.

Vectors of fewer than 512 components have too few signs. Their code is the signs of 512 fixed
random sums of their components, which estimate the same angle.

Source: M. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002
(signs of random projections); figures: docs/benchmarks/vector_index.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provenance.types import Float32Array

__all__ = [
    "BLOCK_ROWS",
    "CODE_VERSION",
    "CodeBlock",
    "append_block",
    "code_words",
    "encode",
    "nearest_codes",
]

Uint64Array: TypeAlias = npt.NDArray[np.uint64]
Int64Array: TypeAlias = npt.NDArray[np.int64]

CODE_VERSION = 1
"""Changes with any change of `encode`: codes of two versions are never compared."""
MIN_BITS = 512
WORD_BITS = 64
BLOCK_ROWS = 65_536
"""Rows per block: 4 MB of 512-bit codes, and a scan's temporary arrays stay in the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class CodeBlock:
    """Codes of one space, in log order.

    Attributes:
        log_indexes: (N,) int64, which rows they are.
        words: (W, N) uint64. A word of all rows lies together, which a scan reads twice as fast
            as all words of a row.
    """

    log_indexes: Int64Array
    words: Uint64Array

    def __len__(self) -> int:
        return len(self.log_indexes)

    @property
    def size_bytes(self) -> int:
        return self.log_indexes.nbytes + self.words.nbytes


def code_words(dim: int) -> int:
    """Number of 64-bit words of the code of a vector of `dim` components."""
    return max(MIN_BITS, dim + -dim % WORD_BITS) // WORD_BITS


def encode(vectors: Float32Array) -> Uint64Array:
    """The codes of vectors.

    Args:
        vectors: (N, D) float32, D >= 1.

    Returns:
        (W, N) uint64, W = `code_words` (D).
    """
    count, dim = vectors.shape
    if dim < MIN_BITS:
        vectors = vectors @ _projection(dim)
    signs = np.packbits(vectors >= 0, axis=1)
    row_bytes = code_words(dim) * WORD_BITS // 8
    if signs.shape[1] < row_bytes:  # the same bits everywhere add no distance
        signs = np.pad(signs, ((0, 0), (0, row_bytes - signs.shape[1])))
    return np.ascontiguousarray(signs.view("<u8").reshape(count, -1).T).astype(
        np.uint64, copy=False
    )


@lru_cache(maxsize=8)
def _projection(dim: int) -> Float32Array:
    """(dim, 512) float32 of +1 and -1; from SHAKE-256, so that no library's update changes it."""
    seed = f"countermark sign code {CODE_VERSION}, {dim} components".encode()
    raw = np.frombuffer(hashlib.shake_256(seed).digest(dim * MIN_BITS // 8), dtype=np.uint8)
    signs: Float32Array = np.unpackbits(raw).reshape(dim, MIN_BITS).astype(np.float32) * 2 - 1
    return signs


def append_block(blocks: tuple[CodeBlock, ...], block: CodeBlock) -> tuple[CodeBlock, ...]:
    """`blocks` and one more, joined so that few blocks remain and few rows are copied."""
    while (
        blocks and len(blocks[-1]) <= 2 * len(block) and len(blocks[-1]) + len(block) <= BLOCK_ROWS
    ):
        last = blocks[-1]
        block = CodeBlock(
            np.concatenate((last.log_indexes, block.log_indexes)),
            np.concatenate((last.words, block.words), axis=1),
        )
        blocks = blocks[:-1]
    return (*blocks, block)


def nearest_codes(
    blocks: Iterable[CodeBlock], query: Uint64Array, *, count: int
) -> Sequence[tuple[int, int]]:
    """The rows whose codes differ least.

    Args:
        blocks: In log order.
        query: (W,) uint64.
        count: How many to answer.

    Returns:
        (log index, differing bits), fewest bits first, then in log order.
    """
    best_bits = np.empty(0, np.uint16)
    best_rows = np.empty(0, np.int64)
    for block in blocks:
        bits = _count_bits(block.words, query)
        if len(best_bits) == count:
            # Later rows must be nearer than the worst so far: at a tie the older one stays.
            near = np.flatnonzero(bits < best_bits[-1])
        else:
            near = np.arange(len(bits))
        best_bits = np.concatenate((best_bits, bits[near]))
        best_rows = np.concatenate((best_rows, block.log_indexes[near]))
        order = np.argsort(best_bits, kind="stable")[:count]
        best_bits, best_rows = best_bits[order], best_rows[order]
    return list(zip(best_rows.tolist(), best_bits.tolist(), strict=True))


def _count_bits(words: Uint64Array, query: Uint64Array) -> npt.NDArray[np.uint16]:
    """(N,) uint16: in how many bits each column differs from `query`."""
    bits: npt.NDArray[np.uint16] = np.bitwise_count(words[0] ^ query[0]).astype(np.uint16)
    for word, asked in zip(words[1:], query[1:], strict=True):
        bits += np.bitwise_count(word ^ asked)
    return bits
