"""Plain sentences for a verdict: what it is, and what it does not mean. Pure.

The first sentence names the answer and its ground, the second its limit; then come the remarks
that the evidence itself calls for. No sentence quotes a prompt, a name from metadata, or the
name of a signer that no list vouches for. Of strangers' words only the registry of a signpost is
quoted, because naming it is all that a signpost is for: twelve plain letters, and never a link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.opinions import CLAIMS, EvidenceKind, Rung
from provenance.types import (
    Finding,
    History,
    Integrity,
    ManifestEvidence,
    MatchTier,
    Origin,
    RegistryEvidence,
    SignerTrust,
    SigningTime,
    SourceClaim,
    SourceFailure,
    Substitution,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.opinions import Opinion
    from provenance.types import Evidence, ManifestReport

__all__ = ["explain"]


def explain(
    origin: Origin, lead: Opinion | None, evidence: Sequence[Evidence], by_policy: Sequence[str]
) -> tuple[str, ...]:
    """Reasons for a verdict: what it means, what it does not mean, then all else.

    Args:
        origin: What was decided.
        lead: That with the best assurance of those that decided; None when nothing did.
        evidence: All of it.
        by_policy: What the policy made of some of it.
    """
    sentences = [_headline(origin, lead), _limit(origin, lead), *by_policy]
    sentences += [item.reason for item in evidence if item.finding is Finding.PRESENT]
    sentences += [remark for item in evidence for remark in _remarks(item)]
    return tuple(dict.fromkeys(sentences))


_STATEMENT = {
    Origin.MACHINE_MADE: "a machine made this picture",
    Origin.MACHINE_EDITED: "a machine made or changed part of this picture",
    Origin.HUMAN_CLAIMED: "a person made this picture",
    Origin.CAPTURE_CLAIMED: "a camera captured this picture",
}


def _headline(origin: Origin, lead: Opinion | None) -> str:
    if origin is Origin.UNKNOWN or lead is None:
        return "No evidence here decides how this picture was made."
    if origin is Origin.CONFLICTING:
        return "The evidence contradicts itself, so neither side is taken as true."
    statement = _STATEMENT[origin]
    match lead.rung:
        case Rung.REGISTRY if origin in CLAIMS:
            return f"A signed claim in this service's own registry says that {statement}."
        case Rung.REGISTRY:
            return f"This service's own registry says that {statement}."
        case Rung.TRUSTED_SIGNATURE:
            return f"A signer on a trust list signed the statement that {statement}."
        case Rung.MAKER_SIGNATURE:
            return f"The maker's own signature over these pixels says that {statement}."
        case Rung.UNLISTED_SIGNATURE:
            return f"An intact signature that no trust list covers says that {statement}."
        case Rung.UNCONFIRMED_MARK if lead.kind is EvidenceKind.REGISTRY:
            return f"A record that this registry's operator revoked says that {statement}."
        case Rung.UNCONFIRMED_MARK:
            return (
                f"A watermark under this service's key says that {statement}, but nothing that "
                "counts here confirms it."
            )
        case Rung.UNSIGNED_LABEL if lead.kind is not EvidenceKind.METADATA:
            return f"Evidence that counts here for no more than a label says that {statement}."
        case Rung.UNSIGNED_LABEL:
            return f"An unsigned label in the file says that {statement}."
        case Rung.LIKELY_COPY:
            return f"It is probably a copy of a registered picture, of which {statement}."
        case Rung.UNKEYED_WATERMARK:
            return f"A watermark that anyone could copy says that {statement}."
        case Rung.VISIBLE_MARK:
            return f"A visible mark, garbled as generators paint them, hints that {statement}."


def _limit(origin: Origin, lead: Opinion | None) -> str:
    if origin is Origin.UNKNOWN or lead is None:
        return (
            "This does not mean that a person made it: most machine-made pictures lose or never "
            "had a mark."
        )
    if origin is Origin.CONFLICTING:
        return "It does not say which side is wrong; a person should look at the evidence."
    if origin in CLAIMS:
        return _limit_of_claim(lead.rung)
    limit = _limit_of_machine(lead)
    if origin is Origin.MACHINE_EDITED:
        limit += " How large the machine's part is, it does not say."
    return limit


def _limit_of_claim(lead: Rung) -> str:
    if lead is Rung.UNLISTED_SIGNATURE:
        return (
            "This is a claim, not proof: the bytes are unchanged since signing, but the "
            "certificate is expired or one that anybody can make, so it does not even show who "
            "says so."
        )
    return "This is a signed claim, not proof: a signature shows who says so, not that it is so."


def _limit_of_machine(lead: Opinion) -> str:
    match lead.rung:
        case Rung.REGISTRY:
            return "It does not say who published it or whether what it shows is true."
        case Rung.TRUSTED_SIGNATURE | Rung.MAKER_SIGNATURE:
            return "The signer is known; that does not prove every statement true."
        case Rung.UNLISTED_SIGNATURE:
            return (
                "The bytes are unchanged since signing, but the certificate behind that statement "
                "is expired or one that anybody can make: no name is shown as its author."
            )
        case Rung.UNCONFIRMED_MARK if lead.kind is EvidenceKind.REGISTRY:
            return "What was taken back proves nothing any more: it is a hint, not proof."
        case Rung.UNCONFIRMED_MARK:
            return "Such a mark can be copied from another picture: it is a hint, not proof."
        case Rung.LIKELY_COPY:
            return "Nobody checked that it is the same picture: it is a hint, not proof."
        case _:
            return "Anyone can write, copy or remove this: it is a hint, not proof."


# -- remarks -----------------------------------------------------------------------------------


def _remarks(item: Evidence) -> Iterator[str]:
    if isinstance(item, ManifestEvidence):
        yield from _of_manifest(item)
    elif isinstance(item, RegistryEvidence):
        yield from _of_registry(item)
    elif isinstance(item, SourceFailure):
        yield f'The source "{item.source}" could not look: {item.reason}'
    elif item.finding in (Finding.INVALID, Finding.UNREADABLE):
        yield item.reason


def _of_manifest(item: ManifestEvidence) -> Iterator[str]:
    report = item.report
    if item.finding in (Finding.INVALID, Finding.UNREADABLE):
        yield item.reason
    if report.integrity in (Integrity.CONTENT_CHANGED, Integrity.MANIFEST_ALTERED):
        yield from _of_broken(item, report)
    if report.integrity is Integrity.INTACT:
        yield from _of_signature(report)
    if item.substitution is Substitution.EMBEDDED_DIFFERS:
        what = "A file beside the picture holds" if item.source == "c2pa_sidecar" else "It carries"
        yield (
            f"{what} other credentials than this registry knows the picture with: they were added "
            "or exchanged since."
        )
    if report.history is History.DAMAGED_INGREDIENT:
        yield "An ingredient was already damaged when it was added; its history is unreliable."
    if report.integrity is Integrity.INTACT:
        yield from _of_history(report)


def _of_broken(item: ManifestEvidence, report: ManifestReport) -> Iterator[str]:
    if item.source == "c2pa_recovered":
        yield (
            "The credential in the registry was signed for the delivered bytes, not for this "
            "re-encoded copy; only watermark and fingerprint tie it to this picture."
        )
        return
    if report.integrity is Integrity.CONTENT_CHANGED and item.source == "c2pa":
        yield (
            "Somebody signed a picture like this, but this file is not that file: none of the "
            "manifest's claims apply to these pixels."
        )
    if report.claim in (SourceClaim.FULLY_AI, SourceClaim.PARTLY_AI):
        yield "The manifest claims generative AI, but that claim is unbound from these pixels."


def _of_signature(report: ManifestReport) -> Iterator[str]:
    if report.signing_time is SigningTime.EXPIRED:
        yield (
            "The signer's certificate has expired and no trusted time-stamp shows that it was "
            "used in time. Expired does not mean tampered."
        )
    if report.signer is SignerTrust.REVOKED:
        yield "The signer's certificate was revoked: the signature counts as a mere label."
    if report.signer is SignerTrust.INVALID_CERTIFICATE:
        yield "The signer's certificate breaks the C2PA profile: it counts as a mere label."
    if report.claim is SourceClaim.POSSIBLY_AI:
        yield "The manifest says that generative AI may have been used; that decides nothing."
    if report.claim is SourceClaim.NO_CLAIM:
        yield "The manifest does not say how the picture was made; it alone is no sign of AI."
    if report.claim is SourceClaim.NOT_AI:
        yield "The manifest names a source that is neither generative AI nor a camera capture."
    if report.ambiguous:
        yield "The manifest does not promise that it lists every step of the making."


def _of_history(report: ManifestReport) -> Iterator[str]:
    parents = [one for one in report.ingredients if one.relationship == "parentOf"]
    before = None if report.parent_claim is None else _BEFORE.get(report.parent_claim)
    if parents and before is not None:
        yield f"The picture that was edited had credentials of its own: {before}."
    if any(one.manifest_label is None for one in parents):
        yield "The picture that was edited came without readable credentials of its own."
    if not parents and any(one.relationship == "inputTo" for one in report.ingredients):
        yield "Something guided the machine that is named among the ingredients."


_BEFORE = {
    SourceClaim.FULLY_AI: "they say that generative AI made it",
    SourceClaim.PARTLY_AI: "they say that generative AI made or changed a part of it",
    SourceClaim.CAPTURE: "they say that a camera captured it",
    SourceClaim.HUMAN: "they say that a person made it without generative AI",
}


def _of_registry(item: RegistryEvidence) -> Iterator[str]:
    if item.finding in (Finding.INVALID, Finding.UNREADABLE):
        yield item.reason
    if item.tier is MatchTier.SIMILAR:
        yield "Looking alike is never proof; it did not change the answer."
    if item.tier is MatchTier.TRANSPLANT:
        yield (
            "The watermark belongs to another picture: it was probably copied onto this one to "
            "mislead, or the picture was cropped or redrawn beyond recognition."
        )
    if item.notice is not None:
        yield item.notice
    if item.revoked:
        yield "What was revoked no longer proves anything."
