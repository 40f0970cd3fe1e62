"""The ``registry`` source: is this file, or a picture that looks like it, recorded here?

Same bytes and same pixels are exact; a near hash of the whole picture, turned or mirrored or not,
is a copy. What takes longer (parts, embeddings, geometry) `detector.evidence.registry_search` does,
and what a watermark says is joined with its record in `detector.joining`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provenance.fingerprint.similarity import SEARCH_MAX_BITS, can_search
from provenance.manifest.attestation import read_attested
from provenance.types import (
    EventKind,
    EventTarget,
    Finding,
    MatchBasis,
    MatchTier,
    RecordKind,
    RegistryEvidence,
    SourceClaim,
)
from registry.likeness import WHOLE, LikenessSearch, SearchOptions, turned_hashes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector.evidence.context import SourceContext
    from provenance.interfaces import Hasher, RecordStore
    from provenance.manifest.attestation import AttestedClaim
    from provenance.types import Candidate, Evidence, RegistryRecord
    from registry.likeness import RecordMatch

__all__ = [
    "MAX_SIMILAR",
    "RegistrySource",
    "add_claim",
    "build_source",
    "describe_match",
    "with_notices",
]

MAX_SIMILAR = 3
"""Neighbours shown; more would bury the answer, and none of them decides."""


class RegistrySource:
    """Looks the file up by its digest, its pixels, and its perceptual hash.

    Args:
        store: Answers the registry, or None while this installation has none.
        hasher: Answers the perceptual hasher.
        max_distance_bits: Hamming distance up to which a record is named at all; a copy is only
            what lies within `similarity.SEARCH_MAX_BITS`.
    """

    name = "registry"
    thorough = False

    def __init__(
        self,
        store: Callable[[], RecordStore | None],
        hasher: Callable[[], Hasher | None],
        *,
        max_distance_bits: int,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._options = SearchOptions(max_distance_bits=max_distance_bits, limit=MAX_SIMILAR)

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """One exact hit, up to `MAX_SIMILAR` near ones, one ABSENT, or why it cannot look."""
        store = self._store()
        if store is None:
            reason = "This installation has no registry yet, so nothing was looked up."
            return [RegistryEvidence(Finding.UNREADABLE, reason)]
        exact = _find_exact(candidate, store)
        if exact is not None:
            return [exact]
        hasher = self._hasher()
        if candidate.raster is None:
            return [_abstain("its pixels do not decode, so it was not compared by its looks")]
        hashes = turned_hashes(hasher, candidate.raster)
        if hasher is not None and not (hashes and can_search(hashes[0])):
            return [_abstain("it is too plain or too small to be compared by its looks")]
        near = LikenessSearch(store, hasher, options=self._options).look_up(hashes)
        return [with_notices(describe_match(one), one.record, store) for one in near] or [
            RegistryEvidence(
                Finding.ABSENT, "No record of this registry matches this picture as a whole."
            )
        ]


def describe_match(match: RecordMatch) -> RegistryEvidence:
    """What a search found, as evidence.

    Machines are named on a part of a picture already. A claim that a person or a camera made it is
    about the whole: a copy that only geometry, an embedding or a part found may have anything
    beside it, so it is shown as similar.
    """
    record, likeness, tier = match.record, match.likeness, match.tier
    if record.kind is RecordKind.ATTESTED and not _is_copy_as_a_whole(match):
        tier = MatchTier.SIMILAR
    evidence = RegistryEvidence(
        Finding.PRESENT,
        _describe_tier(match, tier),
        _basis(match),
        tier,
        record.record_id,
        record.kind,
        distance_bits=likeness.distance_bits,
        cosine=likeness.cosine,
        inliers=likeness.inliers,
        agreement=likeness.agreement,
        view=match.view,
    )
    return evidence if tier is MatchTier.SIMILAR else add_claim(evidence, record)


def _is_copy_as_a_whole(match: RecordMatch) -> bool:
    return (
        match.tier is MatchTier.COPY_STRONG
        and match.view == WHOLE
        and _basis(match) is MatchBasis.PERCEPTUAL_HASH
    )


def _basis(match: RecordMatch) -> MatchBasis:
    if match.tier is MatchTier.COPY_VERIFIED:
        return MatchBasis.GEOMETRY
    likeness = match.likeness
    near = likeness.distance_bits is not None and likeness.distance_bits <= SEARCH_MAX_BITS
    return MatchBasis.PERCEPTUAL_HASH if near or likeness.cosine is None else MatchBasis.EMBEDDING


def _describe_tier(match: RecordMatch, tier: MatchTier) -> str:
    name, measures = f"record {match.record.record_id}", _measures(match)
    what = "It" if match.view == "whole" else f'Its part "{match.view}"'
    match tier:
        case MatchTier.COPY_STRONG:
            return f"{what} is a copy of {name} ({measures})."
        case MatchTier.COPY_VERIFIED:
            return f"It is or holds a copy of {name}: {measures}."
        case MatchTier.COPY_LIKELY:
            return (
                f"{what} is probably a copy of {name} ({measures}), but here nothing could compare "
                "the pictures point by point."
            )
        case _:
            return f"{what} looks like {name} ({measures})."


def _measures(match: RecordMatch) -> str:
    likeness = match.likeness
    said = []
    if likeness.inliers and likeness.agreement is not None:
        mirrored = ", mirrored" if match.is_mirrored else ""
        said.append(
            f"{likeness.inliers} points agree{mirrored}, and {likeness.agreement:.0%} of the "
            "surface shows the same"
        )
    if likeness.distance_bits is not None:
        said.append(f"{likeness.distance_bits} of 256 bits of the perceptual hash differ")
    if likeness.cosine is not None:
        said.append(f"cosine {likeness.cosine:.2f} of embeddings")
    return "; ".join(said) or "nothing but its rough looks"


def _abstain(why: str) -> RegistryEvidence:
    return RegistryEvidence(
        Finding.UNREADABLE, f"No record has this picture's bytes or pixels; {why}."
    )


def _find_exact(candidate: Candidate, store: RecordStore) -> RegistryEvidence | None:
    record = store.find_by_file_hash(candidate.sha256)
    if record is not None:
        return _hit(
            store,
            record,
            MatchBasis.FILE_HASH,
            MatchTier.EXACT,
            f"This very file is record {record.record_id} of this registry.",
        )
    if candidate.pixel_sha256 is None:
        return None
    record = store.find_by_pixel_hash(candidate.pixel_sha256)
    if record is None:
        return None
    if record.fingerprints.perceptual_hash is None:
        # A plain surface: anybody's empty picture of this size and colour has these pixels.
        return _hit(
            store,
            record,
            MatchBasis.PIXEL_HASH,
            MatchTier.UNCONFIRMED,
            f"The pixels are those of record {record.record_id}, but the picture is too plain for "
            "that to mean much.",
        )
    return _hit(
        store,
        record,
        MatchBasis.PIXEL_HASH,
        MatchTier.EXACT,
        f"Every pixel is that of record {record.record_id} of this registry.",
    )


def _hit(
    store: RecordStore, record: RegistryRecord, basis: MatchBasis, tier: MatchTier, reason: str
) -> RegistryEvidence:
    evidence = RegistryEvidence(Finding.PRESENT, reason, basis, tier, record.record_id, record.kind)
    return with_notices(add_claim(evidence, record), record, store)


def with_notices(
    evidence: RegistryEvidence, record: RegistryRecord, store: RecordStore
) -> RegistryEvidence:
    """`evidence` with what the operator said later of the record.

    A revoked record proves nothing any more, nor does a mark under a revoked key. A model that was
    withdrawn changes nothing about who made the picture: it is told, and that is all.
    """
    about_mark = evidence.basis is MatchBasis.WATERMARK
    told = [
        one
        for one in store.notices(record)
        if one.kind is not EventKind.DELETION
        and (about_mark or one.target_kind is not EventTarget.KEY)
    ]
    if not told:
        return evidence
    revoked = any(
        one.kind is EventKind.REVOCATION and one.target_kind is not EventTarget.MODEL
        for one in told
    )
    return replace(evidence, revoked=revoked, notice=" ".join(one.describe() for one in told))


def add_claim(evidence: RegistryEvidence, record: RegistryRecord) -> RegistryEvidence:
    """`evidence` with what an attested record says and who says it; other records add nothing."""
    attested = read_attested(record)
    if attested is None:
        return evidence
    return replace(
        evidence,
        reason=f"{evidence.reason} {_say(attested)}",
        claim=attested.claim,
        claimant=attested.claimant,
    )


def _say(attested: AttestedClaim) -> str:
    what = (
        "a camera captured it"
        if attested.claim is SourceClaim.CAPTURE
        else "a person made it without generative AI"
    )
    return (
        f"It was registered with the signed claim ({attested.source.term}) that {what}; the "
        f"certificate of whoever claims so says {attested.claimant}."
    )


def build_source(context: SourceContext) -> RegistrySource:
    """Entry point."""
    return RegistrySource(
        context.store, context.hasher, max_distance_bits=context.similar_max_distance_bits
    )
