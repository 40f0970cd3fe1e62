"""The ``c2pa`` source: what C2PA manifests in and beside a file show, layer by layer."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Literal

from provenance.manifest.reading import read_manifest
from provenance.types import (
    Credential,
    Finding,
    Integrity,
    ManifestEvidence,
    SignerTrust,
    SourceClaim,
    SourceFailure,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.evidence.context import SourceContext
    from provenance.manifest.trust import TrustSettings
    from provenance.types import Candidate, Evidence, ManifestReport, MediaType, Sidecar

__all__ = ["ManifestSource", "build_source", "describe_report", "read_one_at_a_time"]

_READING = Lock()
# NOTE: the engine's context is native and not made to be used from two threads at once (c2pa-python
# docs/native-resources-management.md); all readers of a process share one context.


class ManifestSource:
    """Reads the manifests of the file itself and of one beside it; opens no connection.

    Args:
        trust: Whom to believe.
    """

    name = "c2pa"
    thorough = False

    def __init__(self, trust: TrustSettings) -> None:
        self._trust = trust

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """One finding on the file, and one on its sidecar: neither is folded into the other."""
        if candidate.media_type is None:
            return []
        report = read_one_at_a_time(candidate.data, candidate.media_type, trust=self._trust)
        found: list[Evidence] = [describe_report(report, source="c2pa")]
        if candidate.sidecar is not None:
            found.append(self._read_sidecar(candidate, candidate.media_type, candidate.sidecar))
        return found

    def _read_sidecar(
        self, candidate: Candidate, media_type: MediaType, sidecar: Sidecar
    ) -> Evidence:
        if sidecar.problem is not None:
            return SourceFailure("c2pa_sidecar", sidecar.problem)
        report = read_one_at_a_time(
            candidate.data, media_type, trust=self._trust, manifest_store=sidecar.data
        )
        was_read = report.credential is Credential.RECOVERED
        found = Credential.SIDECAR if was_read else Credential.MALFORMED
        return describe_sidecar(replace(report, credential=found), sidecar.name)


def read_one_at_a_time(
    data: bytes,
    media_type: MediaType,
    *,
    trust: TrustSettings,
    manifest_store: bytes | None = None,
) -> ManifestReport:
    """`provenance.manifest.reading.read_manifest`, for use from several threads."""
    with _READING:
        return read_manifest(data, media_type, trust=trust, manifest_store=manifest_store)


def describe_report(
    report: ManifestReport, *, source: Literal["c2pa", "c2pa_recovered"]
) -> ManifestEvidence:
    """The finding and its sentence for a report.

    A manifest of another file is INVALID here, whatever its signature: it says nothing about
    these pixels.
    """
    finding, reason = _judge(report)
    return ManifestEvidence(finding, reason, report, source)


def describe_sidecar(report: ManifestReport, name: str) -> ManifestEvidence:
    """The finding and its sentence for a manifest store in a file of its own.

    Args:
        report: Of the store, judged against the picture's bytes.
        name: Of the file that holds it.
    """
    finding, reason = _judge(report)
    if report.credential is Credential.MALFORMED:
        reason = f"{name} is no C2PA manifest store that this version reads, or a damaged one."
    elif report.integrity is Integrity.CONTENT_CHANGED:
        reason = (
            f"The Content Credentials in {name} were signed for other bytes than these: they are "
            f"unbound, and say nothing about this picture{_codes(report)}."
        )
    else:
        reason = f"In {name}: {reason}"
    return ManifestEvidence(finding, reason, report, "c2pa_sidecar")


def _codes(report: ManifestReport) -> str:
    # What is wrong with the signer is another layer, and no reason for any of these.
    relevant = [code for code in report.codes if not code.startswith("signingCredential.")]
    return f" ({', '.join(relevant[:3])})" if relevant else ""


def _judge(report: ManifestReport) -> tuple[Finding, str]:
    if report.credential is Credential.NONE:
        return Finding.ABSENT, "There are no Content Credentials (C2PA) in this file."
    if report.credential is Credential.REMOTE_NOT_FETCHED:
        return (
            Finding.UNREADABLE,
            "The file refers to Content Credentials kept elsewhere; no connection was made to "
            "fetch them.",
        )
    if report.credential is Credential.MALFORMED:
        return (
            Finding.INVALID,
            "The file carries Content Credentials that are damaged or of a kind that this version "
            "does not read.",
        )
    codes = _codes(report)
    match report.integrity:
        case Integrity.CONTENT_CHANGED:
            return Finding.INVALID, f"The file was changed after it was signed{codes}."
        case Integrity.MANIFEST_ALTERED:
            return Finding.INVALID, f"The manifest itself was altered or is incomplete{codes}."
        case Integrity.NOT_CHECKABLE:
            return (
                Finding.INVALID,
                f"It cannot be checked whether the manifest belongs to this file{codes}.",
            )
        case Integrity.INTACT:
            return Finding.PRESENT, f"{_signer_sentence(report)} {_claim_sentence(report)}"


def _signer_sentence(report: ManifestReport) -> str:
    if report.signer is SignerTrust.TRUSTED:
        name = report.signer_name or "a signer without a name"
        return (
            f"The Content Credentials are intact and signed by {name} (list: {report.trust_list})."
        )
    return "The Content Credentials are intact; no trust list vouches for their signer."


def _claim_sentence(report: ManifestReport) -> str:
    if report.signer is SignerTrust.TRUSTED and not report.claim_vouched:
        return f"{_claim_itself(report)} That stands in an ingredient which no trust list covers."
    return _claim_itself(report)


def _claim_itself(report: ManifestReport) -> str:
    match report.claim:
        case SourceClaim.FULLY_AI:
            return "They say that generative AI made the picture."
        case SourceClaim.PARTLY_AI:
            return "They say that generative AI made or changed a part of it."
        case SourceClaim.POSSIBLY_AI:
            return "They say that generative AI may have been used."
        case SourceClaim.CAPTURE:
            return "They say that a camera captured it."
        case SourceClaim.HUMAN:
            return "They say that a person made it without generative AI."
        case SourceClaim.NOT_AI:
            return "They name a source that is not generative AI."
        case SourceClaim.NO_CLAIM:
            return "They do not say how it was made."


def build_source(context: SourceContext) -> ManifestSource:
    """Entry point."""
    return ManifestSource(context.trust)
