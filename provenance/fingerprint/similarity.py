"""When two fingerprints speak of the same picture, and how surely.

Pure. Two different questions are kept apart. *Search*: among all records, which look like this
picture? There a rare coincidence becomes likely, and the answer is never more than ``similar``
here. *Agreement*: a mark already named one record; is this that record's picture, or was the mark
moved onto another? There is a single comparison, so the bound may be wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.errors import InputError
from provenance.types import MatchTier

if TYPE_CHECKING:
    from provenance.types import PerceptualHash

__all__ = [
    "AGREE_MAX_BITS",
    "SEARCH_MAX_BITS",
    "SEARCH_MIN_COSINE",
    "SEARCH_MIN_QUALITY",
    "HashMatch",
    "can_search",
    "hamming_distance",
    "match_marked_picture",
]

SEARCH_MAX_BITS = 31
"""Largest Hamming distance of a search hit.

Source: starting value of PDQ's authors (ThreatExchange, pdq/README.md).
"""

SEARCH_MIN_QUALITY = 50
"""Hashes of flatter pictures are not searched: smooth gradients resemble each other.

Source: the same README says to discard hashes of quality 49 and less.
"""

AGREE_MAX_BITS = 60
"""Largest distance at which a picture counts as the one that its mark names.

Edits that leave a mark readable moved a hash by 34 bits at most (low-contrast pictures at half size
and JPEG 60), while unrelated photographs differ in 128 on average and in 72 at least (13 million
pairs with eight turns each). Staged series (same scene, another object) come down to 44: moving a
mark within such a series is not noticed by this test.
"""

SEARCH_MIN_COSINE = 0.90
"""Smallest cosine of a search hit in an embedding space of the CLIP family; higher is more similar.

Provisional: pictures of one *subject* reach 0.8 and more, so CLIP alone never proves a copy. A hit
is told as ``similar`` and changes no verdict.
"""


@dataclass(frozen=True, slots=True)
class HashMatch:
    """Outcome of a comparison with one record.

    Attributes:
        tier: How sure the match is.
        distance_bits: Hamming distance, 0..256; None when there was nothing to compare.
    """

    tier: MatchTier
    distance_bits: int | None


def hamming_distance(first: PerceptualHash, second: PerceptualHash) -> int:
    """Number of differing bits, 0..256; lower is more similar.

    Raises:
        InputError: The hashes were made by different algorithms.
    """
    if first.algorithm != second.algorithm:
        raise InputError(
            f"hashes of {first.algorithm} and {second.algorithm} cannot be compared: hash both "
            "pictures with one of them"
        )
    return (int(first.hex, 16) ^ int(second.hex, 16)).bit_count()


def can_search(query: PerceptualHash) -> bool:
    """Whether a hash is distinctive enough to be looked up among many."""
    return query.quality >= SEARCH_MIN_QUALITY


def match_marked_picture(record: PerceptualHash | None, query: PerceptualHash | None) -> HashMatch:
    """Compares a picture with the record that its own mark names.

    Args:
        record: Hash in the record; None when the registered picture was too flat to have one.
        query: Hash of the picture under examination; None when it is too flat or too small.

    Returns:
        ``COPY_VERIFIED`` (mark and hash agree), ``TRANSPLANT`` (the mark is the record's, the
        picture is not), or ``UNCONFIRMED`` (nothing to compare, or another algorithm).
    """
    if record is None or query is None or record.algorithm != query.algorithm:
        return HashMatch(MatchTier.UNCONFIRMED, None)
    distance = hamming_distance(record, query)
    agrees = distance <= AGREE_MAX_BITS
    return HashMatch(MatchTier.COPY_VERIFIED if agrees else MatchTier.TRANSPLANT, distance)
