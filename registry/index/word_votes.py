"""Which records share keypoint words with a picture: an inverted file and its votes. Pure.

A corner of the query votes for each record that has a corner of the same word whose check bits are
near. What nearly every record shows votes for none of them. A copy turns all its corners by one
angle: votes are counted by the angle between the two corners, and the fullest angle counts.

Source: Jégou, Douze, Schmid, "Hamming embedding and weak geometric consistency", ECCV 2008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.types import RecordId, WordNeighbour

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provenance.types import KeypointWords

__all__ = ["BLOCK_RECORDS", "WordBlock", "append_words", "best_votes", "word_block"]

IdArray: TypeAlias = npt.NDArray[np.bytes_]
Places: TypeAlias = npt.NDArray[np.int64]

BLOCK_RECORDS = 4096
"""Records of a block: what is joined again while records come."""
MAX_PAIRS = 1 << 20
"""Pairs of corners that are compared at once: bounds the temporary arrays to some fifty MB, also
where pictures of one regular pattern have all their corners in a few words."""
MAX_CHECK_BITS = 16
"""Of 64 that may differ: the same corner in two edits differs in 10 on average, other corners of
one word in 26; three of a thousand of those pass."""
ANGLE_BINS = 16
_ANGLES = 256
_WORDS = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class WordBlock:
    """Corners of some records, sorted by word.

    Attributes:
        ids: (N,) S16, record ids in log order.
        starts: (65537,) int64: the corners of word w lie from starts[w] to starts[w + 1].
        owners: (C,) uint32, whose corner it is: a place in `ids`.
        angles: (C,) uint8, 256ths of a turn.
        check_bits: (C,) uint64.
    """

    ids: IdArray
    starts: Places
    owners: npt.NDArray[np.uint32]
    angles: npt.NDArray[np.uint8]
    check_bits: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size_bytes(self) -> int:
        arrays = (self.ids, self.starts, self.owners, self.angles, self.check_bits)
        return sum(array.nbytes for array in arrays)


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """Pairs of corners that agree, each corner of the query once for a record.

    Attributes:
        corners: Of the query.
        owners: Places in the block's `ids`.
        turns: From one corner's direction to the other's, in `ANGLE_BINS`.
        bits: Check bits that differ.
    """

    corners: npt.NDArray[np.int32]
    owners: npt.NDArray[np.int32]
    turns: npt.NDArray[np.uint8]
    bits: npt.NDArray[np.uint8]


def word_block(ids: Sequence[str], corners: Sequence[KeypointWords]) -> WordBlock:
    """The block of some records, given with one word for each corner."""
    counts = [len(one) for one in corners]
    return _sorted(
        np.array(ids, dtype="S16"),
        np.concatenate([one.words[:, 0] for one in corners]),
        np.repeat(np.arange(len(counts), dtype=np.uint32), counts),
        np.concatenate([one.angles for one in corners]),
        np.concatenate([one.check_bits for one in corners]),
    )


def append_words(blocks: tuple[WordBlock, ...], block: WordBlock) -> tuple[WordBlock, ...]:
    """`blocks` and one more, joined so that few blocks remain and few corners are sorted again."""
    while (
        blocks
        and len(blocks[-1]) <= 2 * len(block)
        and len(blocks[-1]) + len(block) <= BLOCK_RECORDS
    ):
        block = _joined(blocks[-1], block)
        blocks = blocks[:-1]
    return (*blocks, block)


def best_votes(
    blocks: Iterable[WordBlock], queries: Sequence[KeypointWords], *, limit: int
) -> list[WordNeighbour]:
    """Records with most votes, highest first, then in log order.

    Args:
        blocks: In log order, all of the queries' space; each is looked at once, and not kept.
        queries: The picture's words, and those of its mirror image: the better one counts.
        limit: Most neighbours to answer.
    """
    ids: list[IdArray] = []
    found: list[list[_Matches]] = [[] for _ in queries]
    for block in blocks:
        ids.append(block.ids)
        for query, matches in zip(queries, found, strict=True):
            matches.append(_match(block, query))
    if not ids or not queries:
        return []
    sizes = [len(one) for one in ids]
    votes = np.max([_votes(matches, sizes) for matches in found], axis=0)
    names = np.concatenate(ids)
    best = np.argsort(-votes, kind="stable")[:limit]
    return [
        WordNeighbour(RecordId(names[n].decode("ascii")), float(votes[n])) for n in best if votes[n]
    ]


def _votes(matches: Sequence[_Matches], sizes: Sequence[int]) -> npt.NDArray[np.float64]:
    """(R,) of all records of all blocks, which hold so many each."""
    met = np.bincount(np.concatenate([one.corners for one in matches]))
    rarity = np.log((1 + sum(sizes)) / np.maximum(met, 1))
    return np.concatenate(
        [_count(one, size, rarity) for one, size in zip(matches, sizes, strict=True)]
    )


def _match(block: WordBlock, query: KeypointWords) -> _Matches:
    begins = block.starts[query.words.astype(np.int64)]
    lengths = block.starts[query.words.astype(np.int64) + 1] - begins
    parts = [
        _match_corners(block, query, some, begins[some], lengths[some])
        for some in _portions(lengths.sum(axis=1))
    ]
    return _Matches(
        np.concatenate([one.corners for one in parts]),
        np.concatenate([one.owners for one in parts]),
        np.concatenate([one.turns for one in parts]),
        np.concatenate([one.bits for one in parts]),
    )


def _portions(pairs: Places) -> list[Places]:
    """Corners of a query in portions of some `MAX_PAIRS` pairs; at least one portion."""
    portion = np.cumsum(pairs) // MAX_PAIRS
    return np.split(np.arange(len(pairs)), np.flatnonzero(np.diff(portion)) + 1)


def _match_corners(
    block: WordBlock, query: KeypointWords, some: Places, begins: Places, lengths: Places
) -> _Matches:
    corners = np.repeat(some, lengths.sum(axis=1))
    begins, lengths = begins.ravel(), lengths.ravel()
    # All corners of all words asked for, in one row: places[n] in the block for corners[n].
    offsets = begins - np.concatenate(([0], np.cumsum(lengths)[:-1]))
    places = np.repeat(offsets, lengths) + np.arange(int(lengths.sum()))
    bits = np.bitwise_count(block.check_bits[places] ^ query.check_bits[corners])
    near = np.flatnonzero(bits <= MAX_CHECK_BITS)
    places, corners, bits = places[near], corners[near], bits[near]
    owners = block.owners[places].astype(np.int64)
    pair = corners * len(block) + owners
    order = np.lexsort((bits, pair))
    first = np.ones(len(order), dtype=bool)
    first[1:] = pair[order][1:] != pair[order][:-1]
    chosen = order[first]
    turn = query.angles[corners[chosen]].astype(np.int64) - block.angles[places[chosen]]
    return _Matches(
        corners[chosen].astype(np.int32),
        owners[chosen].astype(np.int32),
        (turn % _ANGLES * ANGLE_BINS // _ANGLES).astype(np.uint8),
        bits[chosen],
    )


def _count(
    matches: _Matches, records: int, rarity: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(N,) votes of a block's records: the fullest pair of neighbouring angles."""
    weights = rarity[matches.corners] * (1 - matches.bits / (1.5 * MAX_CHECK_BITS))
    cells = np.bincount(
        matches.owners * ANGLE_BINS + matches.turns,
        weights=weights,
        minlength=records * ANGLE_BINS,
    ).reshape(-1, ANGLE_BINS)
    pairs: npt.NDArray[np.float64] = (cells + np.roll(cells, 1, axis=1)).max(axis=1)
    return pairs


def _joined(first: WordBlock, second: WordBlock) -> WordBlock:
    return _sorted(
        np.concatenate((first.ids, second.ids)),
        np.concatenate((_words_of(first), _words_of(second))),
        np.concatenate((first.owners, second.owners + np.uint32(len(first)))),
        np.concatenate((first.angles, second.angles)),
        np.concatenate((first.check_bits, second.check_bits)),
    )


def _words_of(block: WordBlock) -> npt.NDArray[np.uint16]:
    return np.repeat(np.arange(_WORDS, dtype=np.uint16), np.diff(block.starts))


def _sorted(
    ids: IdArray,
    words: npt.NDArray[np.uint16],
    owners: npt.NDArray[np.uint32],
    angles: npt.NDArray[np.uint8],
    check_bits: npt.NDArray[np.uint64],
) -> WordBlock:
    order = np.argsort(words, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(words, minlength=_WORDS))))
    return WordBlock(ids, starts, owners[order], angles[order], check_bits[order])
