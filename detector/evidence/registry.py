"""The ``registry`` source: is this file, or a picture that looks like it, recorded here?

Same bytes and same pixels are exact. Near hashes are *similar*: shown, never proof. What a
watermark says is joined with its record later, in `detector.joining`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provenance.errors import RecordNotFoundError
from provenance.fingerprint.similarity import can_search
from provenance.manifest.attestation import read_attested
from provenance.types import (
    EventKind,
    EventTarget,
    Finding,
    MatchBasis,
    MatchTier,
    RegistryEvidence,
    SourceClaim,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from detector.evidence.context import SourceContext
    from provenance.interfaces import Hasher, RecordStore
    from provenance.manifest.attestation import AttestedClaim
    from provenance.types import Candidate, Evidence, PerceptualHash, RegistryRecord

__all__ = ["MAX_SIMILAR", "RegistrySource", "add_claim", "build_source", "with_notices"]

MAX_SIMILAR = 3
"""Neighbours shown; more would bury the answer, and none of them decides."""


class RegistrySource:
    """Looks the file up by its digest, its pixels, and its perceptual hash.

    Args:
        store: Answers the registry, or None while this installation has none.
        hasher: Answers the perceptual hasher.
        max_distance_bits: Hamming distance up to which a record is called similar.
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
        self._max_distance_bits = max_distance_bits

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """One exact hit, up to `MAX_SIMILAR` similar ones, one ABSENT, or why it cannot look."""
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
        query = None if hasher is None else hasher.hash(candidate.raster)
        if hasher is not None and (query is None or not can_search(query)):
            return [_abstain("it is too plain or too small to be compared by its looks")]
        similar = [] if query is None else list(self._find_similar(query, store))
        return similar or [
            RegistryEvidence(Finding.ABSENT, "No record of this registry matches this picture.")
        ]

    def _find_similar(
        self, query: PerceptualHash, store: RecordStore
    ) -> Iterator[RegistryEvidence]:
        for near in store.nearest_hashes(
            query, max_distance_bits=self._max_distance_bits, limit=MAX_SIMILAR
        ):
            try:
                record = store.get(near.record_id)
            except RecordNotFoundError:
                continue  # erased since the index was asked
            evidence = RegistryEvidence(
                Finding.PRESENT,
                f"It looks like record {near.record_id} ({near.distance_bits} of 256 bits of the "
                "perceptual hash differ).",
                MatchBasis.PERCEPTUAL_HASH,
                MatchTier.SIMILAR,
                near.record_id,
                record.kind,
                distance_bits=near.distance_bits,
            )
            yield with_notices(evidence, record, store)


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
