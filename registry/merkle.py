"""The Merkle tree over the log's leaves, its proofs, and how a stranger checks them. Pure.

Whoever keeps one signed head of a log can later be shown that a leaf stands in it (inclusion) and
that a newer head holds all that the older one held (consistency), with a few dozen hashes instead
of the whole log.

Every complete subtree has a place: level 0 holds the leaves, and node ``(level, k)`` covers the
leaves ``k * 2**level`` to ``(k + 1) * 2**level - 1``. Such a node never changes once its last leaf
stands, so it is stored with that leaf. Whatever else a proof names is folded from these.

Source: RFC 9162 section 2.1 (hashes, proofs and their verification).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from provenance.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "Node",
    "Plan",
    "completed_nodes",
    "fold",
    "hash_children",
    "hash_leaf",
    "plan_consistency",
    "plan_inclusion",
    "plan_root",
    "solve",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES = 32
LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of a tree without leaves."""


class Node(NamedTuple):
    """A complete subtree: 2**level leaves, the first of them leaf ``number * 2**level``."""

    level: int
    number: int

    @property
    def last_leaf(self) -> int:
        """The leaf that completes it, with which it is stored."""
        return ((self.number + 1) << self.level) - 1


Plan = tuple[tuple[Node, ...], ...]
"""The hashes of a proof, in order; each is folded from the complete subtrees that it spans."""


def hash_leaf(data: bytes) -> bytes:
    """32-byte leaf hash."""
    return hashlib.sha256(LEAF_PREFIX + data).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """32-byte hash of an inner node."""
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


def completed_nodes(index: int, leaf_hash: bytes, peaks: Sequence[bytes]) -> tuple[bytes, ...]:
    """The subtrees above level 0 that one more leaf completes, lowest first.

    Args:
        index: Of the new leaf.
        leaf_hash: Its hash.
        peaks: Hashes of ``plan_root(index)``: the complete subtrees before it, left to right.
    """
    made, current = [], leaf_hash
    for peak in reversed(peaks[len(peaks) - _trailing_ones(index) :]):
        current = hash_children(peak, current)
        made.append(current)
    return tuple(made)


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash of a range of leaves from its complete subtrees, left to right."""
    if not hashes:
        return EMPTY_ROOT
    folded = hashes[-1]
    for one in reversed(hashes[:-1]):
        folded = hash_children(one, folded)
    return folded


# -- plans ---------------------------------------------------------------------------------------


def plan_root(size: int) -> tuple[Node, ...]:
    """The complete subtrees whose fold is the root of the first `size` leaves."""
    return _span(0, size)


def plan_inclusion(index: int, size: int) -> Plan:
    """What proves that leaf `index` stands in the tree of `size` leaves.

    Raises:
        InputError: There is no such leaf in a tree of that size.
    """
    if not 0 <= index < size:
        raise InputError(f"a log of {size} leaves has no leaf {index}; ask for a larger size")
    return tuple(_span(*part) for part in _inclusion_parts(index, 0, size))


def plan_consistency(first: int, second: int) -> Plan:
    """What proves that the tree of `second` leaves begins with that of `first`.

    Raises:
        InputError: `first` is less than 1 or greater than `second`.
    """
    if not 1 <= first <= second:
        raise InputError(
            f"sizes {first} and {second} are no two states of one log; "
            "the first must be at least 1 and at most the second"
        )
    if first == second:
        return ()
    return tuple(_span(*part) for part in _consistency_parts(first, 0, second, whole=True))


def solve(plan: Plan, hashes: Callable[[Node], bytes]) -> tuple[bytes, ...]:
    """The proof that a plan describes.

    Args:
        plan: From `plan_inclusion` or `plan_consistency`.
        hashes: Answers the stored hash of a complete subtree.
    """
    return tuple(fold([hashes(node) for node in nodes]) for nodes in plan)


def _span(start: int, end: int) -> tuple[Node, ...]:
    """Complete subtrees that tile ``start`` to ``end - 1``; start is aligned as the RFC splits."""
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return tuple(nodes)


def _split(count: int) -> int:
    """The largest power of two below `count`; `count` is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)


def _inclusion_parts(index: int, start: int, end: int) -> list[tuple[int, int]]:
    parts = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            parts.append((middle, end))
            end = middle
        else:
            parts.append((start, middle))
            start = middle
    return parts[::-1]


def _consistency_parts(first: int, start: int, end: int, *, whole: bool) -> list[tuple[int, int]]:
    """As SUBPROOF of the RFC: `whole` while the old tree's root is one that the asker knows."""
    if first == end:
        return [] if whole else [(start, end)]
    middle = start + _split(end - start)
    if first <= middle:
        return [*_consistency_parts(first, start, middle, whole=whole), (middle, end)]
    return [*_consistency_parts(first, middle, end, whole=False), (start, middle)]


def _trailing_ones(number: int) -> int:
    return ((number ^ (number + 1)).bit_length()) - 1


# -- checking ------------------------------------------------------------------------------------


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, path: Iterable[bytes], root: bytes
) -> bool:
    """Whether the path proves that the leaf stands at `index` below `root`.

    Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    number, last, current = index, size - 1, leaf_hash
    for sibling in path:
        if last == 0 or len(sibling) != HASH_BYTES:
            return False
        if number & 1 or number == last:
            current = hash_children(sibling, current)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            current = hash_children(current, sibling)
        number >>= 1
        last >>= 1
    return last == 0 and current == root


def verify_consistency(
    first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes
) -> bool:
    """Whether the path proves that the second tree begins with the first.

    Source: RFC 9162 section 2.1.4.2.
    """
    if first == second:
        return not path and first_root == second_root
    if first == 0:
        return not path and first_root == EMPTY_ROOT
    if first > second or first < 0 or any(len(one) != HASH_BYTES for one in path):
        return False
    rest = list(path)
    if first & (first - 1) == 0:
        rest.insert(0, first_root)
    if not rest:
        return False
    number, last = first - 1, second - 1
    while number & 1:
        number >>= 1
        last >>= 1
    old = new = rest[0]
    for one in rest[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            old, new = hash_children(one, old), hash_children(one, new)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            new = hash_children(new, one)
        number >>= 1
        last >>= 1
    return last == 0 and old == first_root and new == second_root
