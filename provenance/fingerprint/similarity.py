"""When two fingerprints speak of the same picture, and how surely.

Pure. Two different questions are kept apart. *Search*: among all records, which look like this
picture? There a rare coincidence becomes likely, so the answer comes in tiers (`judge_likeness`),
and what merely looks alike is never called a copy. *Agreement*: a mark already named one record; is
this that record's picture, or was the mark moved onto another? There is a single comparison, so the
bound may be wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.errors import InputError
from provenance.types import MatchTier, SpaceKind

if TYPE_CHECKING:
    from provenance.types import EmbeddingSpace, PerceptualHash

__all__ = [
    "AGREE_MAX_BITS",
    "CLEAR_INLIERS",
    "FEW_INLIERS_MIN_AGREEMENT",
    "SEARCH_MAX_BITS",
    "SEARCH_MIN_COSINE",
    "SEARCH_MIN_QUALITY",
    "VERIFIED_MIN_AGREEMENT",
    "VERIFIED_MIN_INLIERS",
    "HashMatch",
    "Likeness",
    "can_search",
    "hamming_distance",
    "is_verified",
    "judge_likeness",
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


VERIFIED_MIN_INLIERS = 12
VERIFIED_MIN_AGREEMENT = 0.65
"""From which a copy counts as verified: keypoints that one movement carries, and the share of
blocks that show the same. Unrelated photographs reach 5 points, staged product photographs before
one background some dozens, but then 0.60 of the blocks at the 90th percentile; both bounds
together left 2 of 241 such pairs, of which one was a true copy (docs/adr/0019)."""
CLEAR_INLIERS = 24
FEW_INLIERS_MIN_AGREEMENT = 0.80
"""With fewer points than the first, the second share of blocks is needed: two pictures rendered
from one seed share its grain, and a crop of one reached 14 points and 0.77 of 22 blocks in the
other. Of 782 true copies the rule denies two."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """All that was measured between a picture and one record; None: not measured.

    Attributes:
        distance_bits: Hamming distance of the perceptual hashes, 0..256, over all eight turns.
        quality: The lower one of the two hashes' qualities, 0..100.
        is_whole: Whether the hash is the whole picture's, not of a part cut from it.
        cosine: Of the embeddings, -1..1, the best over all parts.
        space: What that cosine means.
        inliers: Keypoints that one movement carries; 0 where both pictures have points and none
            agree.
        agreement: Share of blocks that show the same, 0..1; None where too few can be compared.
    """

    distance_bits: int | None = None
    quality: int = 0
    is_whole: bool = True
    cosine: float | None = None
    space: EmbeddingSpace | None = None
    inliers: int | None = None
    agreement: float | None = None


def is_verified(likeness: Likeness) -> bool:
    """Whether points and blocks both say that one picture lies in the other."""
    if likeness.inliers is None or likeness.agreement is None:
        return False
    is_clear = likeness.inliers >= CLEAR_INLIERS
    least = VERIFIED_MIN_AGREEMENT if is_clear else FEW_INLIERS_MIN_AGREEMENT
    return likeness.inliers >= VERIFIED_MIN_INLIERS and likeness.agreement >= least


def judge_likeness(
    likeness: Likeness, *, similar_max_bits: int = SEARCH_MAX_BITS
) -> MatchTier | None:
    """How sure it is that the picture is a copy of the record's; None when it isn't even alike.

    ``COPY_STRONG``: hashes of both whole pictures within `SEARCH_MAX_BITS` and distinctive enough,
    or a copy space's strong cosine. ``COPY_VERIFIED``: geometry. ``COPY_LIKELY``: a near hash of a
    part, or a copy space's likely cosine, that no geometry has looked at; what it looked at and
    could not confirm is ``SIMILAR``. A semantic space never gives more than ``SIMILAR``.

    Args:
        likeness: What was measured.
        similar_max_bits: Up to this distance it is at least told as similar, 0..256.
    """
    near = likeness.distance_bits is not None and likeness.distance_bits <= SEARCH_MAX_BITS
    distinctive = likeness.quality >= SEARCH_MIN_QUALITY
    is_strong, is_likely, is_similar = _read_cosine(likeness)
    if (near and distinctive and likeness.is_whole) or is_strong:
        return MatchTier.COPY_STRONG
    if is_verified(likeness):
        return MatchTier.COPY_VERIFIED
    likely = (near and distinctive) or is_likely
    if likely and likeness.inliers is None:
        return MatchTier.COPY_LIKELY
    alike = likeness.distance_bits is not None and likeness.distance_bits <= similar_max_bits
    return MatchTier.SIMILAR if alike or likely or is_similar else None


def _read_cosine(likeness: Likeness) -> tuple[bool, bool, bool]:
    """Whether the cosine is that of a copy, of a likely one, of something alike."""
    cosine, space = likeness.cosine, likeness.space
    if cosine is None or space is None:
        return False, False, False
    bounds = (space.strong_min_cosine, space.likely_min_cosine)
    if space.kind is SpaceKind.SEMANTIC:
        bounds = (None, None)
    strong, likely = (bound is not None and cosine >= bound for bound in bounds)
    return strong, likely, cosine >= space.similar_min_cosine


def cosine_standing(likeness: Likeness) -> tuple[int, float]:
    """How much a cosine says, comparable between spaces; higher says more.

    First how many of its space's bounds it reaches; then how far above the lowest of them it lies,
    as a share of what is left to 1. Without a cosine: less than any.
    """
    cosine, space = likeness.cosine, likeness.space
    if cosine is None or space is None:
        return -1, 0.0
    room = max(1.0 - space.similar_min_cosine, 1e-6)
    return sum(_read_cosine(likeness)), (cosine - space.similar_min_cosine) / room


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
