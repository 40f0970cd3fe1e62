"""What each piece of evidence says on its own, as a rung of the evidence ladder.

Pure. The `match` over the kinds of evidence is closed: a new kind fails type checking here until
it has its place on the ladder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, assert_never

from provenance.types import (
    Assurance,
    Finding,
    Integrity,
    KnownMarkEvidence,
    ManifestEvidence,
    MatchTier,
    MetadataEvidence,
    Origin,
    RecordKind,
    RegistryEvidence,
    SignerTrust,
    SigningTime,
    SignpostEvidence,
    SourceClaim,
    SourceFailure,
    VisibleMarkEvidence,
    WatermarkEvidence,
)

if TYPE_CHECKING:
    from provenance.types import Evidence, ManifestReport, RecordId

__all__ = ["CLAIMS", "MACHINE", "EvidenceKind", "Opinion", "Rung", "form_opinion"]


class EvidenceKind(StrEnum):
    """What a policy file can weigh by itself.

    C2PA: credentials that came with the file. C2PA_RECOVERED: out of this registry. REGISTRY: a
    registered picture, by its hash, a verified copy or a mark that its record confirms; also a
    mark that its record disproves. WATERMARK: a mark under our key that no record confirms.
    MAKER_SIGNATURE: a label that its maker signed outside C2PA. METADATA: a label that anyone can
    write. LIKELY_COPY: a probable copy of a registered picture. KNOWN_WATERMARK, SIGNPOST: marks
    that anyone can write. UNKEYED_WATERMARK: a mark of ours under no key. VISIBLE_MARK: an
    agency's name, garbled as generators paint it.
    """

    C2PA = "c2pa"
    C2PA_RECOVERED = "c2pa_recovered"
    REGISTRY = "registry"
    WATERMARK = "watermark"
    MAKER_SIGNATURE = "maker_signature"
    METADATA = "metadata"
    LIKELY_COPY = "likely_copy"
    KNOWN_WATERMARK = "known_watermark"
    UNKEYED_WATERMARK = "unkeyed_watermark"
    SIGNPOST = "signpost"
    VISIBLE_MARK = "visible_mark"


class Rung(IntEnum):
    """The evidence ladder; a higher rung outweighs every lower one.

    A keyed mark without its record stands above unsigned labels, because only a holder of the
    key can write it, and below signatures, because without the record nothing tells whether it
    was copied from another picture.
    """

    VISIBLE_MARK = 0
    UNKEYED_WATERMARK = 1
    LIKELY_COPY = 2
    UNSIGNED_LABEL = 3
    UNCONFIRMED_MARK = 4
    UNLISTED_SIGNATURE = 5
    MAKER_SIGNATURE = 6
    REGISTRY = 7
    TRUSTED_SIGNATURE = 8

    @property
    def assurance(self) -> Assurance:
        """The word of the verdict for this rung."""
        if self is Rung.REGISTRY:
            return Assurance.REGISTERED
        if self in (Rung.TRUSTED_SIGNATURE, Rung.MAKER_SIGNATURE):
            return Assurance.SIGNED_TRUSTED
        if self is Rung.UNLISTED_SIGNATURE:
            return Assurance.SIGNED_UNLISTED
        return Assurance.HINT


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one piece of evidence says of the origin.

    Attributes:
        origin: Never UNKNOWN; CONFLICTING for evidence that contradicts itself (a transplant).
        rung: Its place on the ladder.
        kind: What a policy calls this evidence.
        evidence: What says so.
        tier: For the registry, how sure the match is; ranks two hits of the same rung.
        record_id: The record behind it.
    """

    origin: Origin
    rung: Rung
    kind: EvidenceKind
    evidence: Evidence = field(repr=False)
    tier: MatchTier | None = None
    record_id: RecordId | None = None


MACHINE = frozenset({Origin.MACHINE_MADE, Origin.MACHINE_EDITED})
CLAIMS = frozenset({Origin.HUMAN_CLAIMED, Origin.CAPTURE_CLAIMED})


def form_opinion(evidence: Evidence) -> Opinion | None:
    """What `evidence` says of the origin; None when it says nothing."""
    match evidence:
        case ManifestEvidence():
            return _of_manifest(evidence)
        case WatermarkEvidence():
            return _of_watermark(evidence)
        case SignpostEvidence():
            return _of_signpost(evidence)
        case KnownMarkEvidence():
            return _of_known_mark(evidence)
        case RegistryEvidence():
            return _of_registry(evidence)
        case MetadataEvidence():
            return _of_metadata(evidence)
        case VisibleMarkEvidence():
            return _of_visible_mark(evidence)
        case SourceFailure():
            return None
        case _:
            assert_never(evidence)


def _origin_of_claim(claim: SourceClaim) -> Origin | None:
    match claim:
        case SourceClaim.FULLY_AI:
            return Origin.MACHINE_MADE
        case SourceClaim.PARTLY_AI:
            return Origin.MACHINE_EDITED
        case SourceClaim.CAPTURE:
            return Origin.CAPTURE_CLAIMED
        case SourceClaim.HUMAN:
            return Origin.HUMAN_CLAIMED
        case SourceClaim.POSSIBLY_AI | SourceClaim.NOT_AI | SourceClaim.NO_CLAIM:
            # "May contain" and "not by a generator" name no origin; they are shown, not decided.
            return None
        case _:
            assert_never(claim)


def _of_manifest(evidence: ManifestEvidence) -> Opinion | None:
    report = evidence.report
    if evidence.finding is not Finding.PRESENT or report.integrity is not Integrity.INTACT:
        return None  # An unbound manifest's claims never apply to these pixels.
    origin = _origin_of_claim(report.claim)
    if origin is None:
        return None
    is_recovered = evidence.source == "c2pa_recovered"
    kind = EvidenceKind.C2PA_RECOVERED if is_recovered else EvidenceKind.C2PA
    return Opinion(origin, _rung_of_signature(report), kind, evidence)


def _rung_of_signature(report: ManifestReport) -> Rung:
    if report.signer in (SignerTrust.REVOKED, SignerTrust.INVALID_CERTIFICATE):
        # A withdrawn or malformed certificate vouches for nothing: whoever holds the key could
        # have written it, which is what an unsigned label is worth.
        return Rung.UNSIGNED_LABEL
    in_time = report.signing_time is not SigningTime.EXPIRED
    if report.signer is SignerTrust.TRUSTED and in_time and report.claim_vouched:
        return Rung.TRUSTED_SIGNATURE
    return Rung.UNLISTED_SIGNATURE


def _of_watermark(evidence: WatermarkEvidence) -> Opinion | None:
    if evidence.finding is not Finding.PRESENT:
        return None
    if evidence.key_id is None:
        kind, rung = EvidenceKind.UNKEYED_WATERMARK, Rung.UNKEYED_WATERMARK
    else:
        kind, rung = EvidenceKind.WATERMARK, Rung.UNCONFIRMED_MARK
    return Opinion(Origin.MACHINE_MADE, rung, kind, evidence)


def _of_signpost(evidence: SignpostEvidence) -> Opinion | None:
    """Worth what a known mark without a key is worth: it stands beside marks of generators."""
    if evidence.finding is not Finding.PRESENT:
        return None
    return Opinion(Origin.MACHINE_MADE, Rung.UNKEYED_WATERMARK, EvidenceKind.SIGNPOST, evidence)


def _of_known_mark(evidence: KnownMarkEvidence) -> Opinion | None:
    if evidence.finding is not Finding.PRESENT:
        return None
    origin = _origin_of_claim(evidence.claim)
    if origin is None:
        return None
    return Opinion(origin, Rung.UNKEYED_WATERMARK, EvidenceKind.KNOWN_WATERMARK, evidence)


def _of_visible_mark(evidence: VisibleMarkEvidence) -> Opinion | None:
    """Of a garbled name alone: a clean one, or an overlay, stands on pictures of any making."""
    if evidence.finding is not Finding.PRESENT:
        return None
    origin = _origin_of_claim(evidence.claim)
    if origin is None:
        return None
    return Opinion(origin, Rung.VISIBLE_MARK, EvidenceKind.VISIBLE_MARK, evidence)


def _of_registry(evidence: RegistryEvidence) -> Opinion | None:
    if evidence.finding is not Finding.PRESENT or evidence.tier is None:
        return None
    rung = _rung_of_tier(evidence.tier)
    if rung is None:
        return None
    kind = _KIND_OF_RUNG[rung]
    if evidence.revoked:
        # The operator took the record back, so it no longer proves anything.
        rung = min(rung, Rung.UNCONFIRMED_MARK)
    origin = (
        Origin.CONFLICTING
        if evidence.tier is MatchTier.TRANSPLANT
        else _origin_of_kind(evidence.kind, evidence.claim)
    )
    return Opinion(origin, rung, kind, evidence, evidence.tier, evidence.record_id)


_KIND_OF_RUNG = {
    Rung.REGISTRY: EvidenceKind.REGISTRY,
    Rung.UNCONFIRMED_MARK: EvidenceKind.WATERMARK,
    Rung.LIKELY_COPY: EvidenceKind.LIKELY_COPY,
}


def _rung_of_tier(tier: MatchTier) -> Rung | None:
    match tier:
        case MatchTier.EXACT | MatchTier.COPY_STRONG | MatchTier.COPY_VERIFIED:
            return Rung.REGISTRY
        case MatchTier.TRANSPLANT:
            # Our own key and our own record disagree: nobody else is asked.
            return Rung.REGISTRY
        case MatchTier.NO_RECORD | MatchTier.UNCONFIRMED:
            return Rung.UNCONFIRMED_MARK
        case MatchTier.COPY_LIKELY:
            return Rung.LIKELY_COPY
        case MatchTier.SIMILAR:
            return None
        case _:
            assert_never(tier)


def _origin_of_kind(kind: RecordKind | None, claim: SourceClaim | None) -> Origin:
    match kind:
        case RecordKind.GENERATED | None:
            # None: a mark under our key without its record; only the generator embeds marks.
            return Origin.MACHINE_MADE
        case RecordKind.EDITED:
            return Origin.MACHINE_EDITED
        case RecordKind.ATTESTED:
            is_capture = claim is SourceClaim.CAPTURE
            return Origin.CAPTURE_CLAIMED if is_capture else Origin.HUMAN_CLAIMED
        case _:
            assert_never(kind)


def _of_metadata(evidence: MetadataEvidence) -> Opinion | None:
    if evidence.finding is not Finding.PRESENT:
        return None
    origin = _origin_of_claim(evidence.claim)
    if origin is None:
        return None
    if evidence.signed_by is None:
        return Opinion(origin, Rung.UNSIGNED_LABEL, EvidenceKind.METADATA, evidence)
    return Opinion(origin, Rung.MAKER_SIGNATURE, EvidenceKind.MAKER_SIGNATURE, evidence)
