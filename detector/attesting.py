"""Whether a person's claim may be signed over a picture: the rules, on evidence alone. Pure.

Refused is exactly what would contradict the claim once it is made, so that `verify` never answers
"conflicting" to what `attest` has just signed. Two things are looser on purpose: a mark that anyone
can copy does not stop an attestation (artists put such marks on their own work), nor does a picture
that only looks like a registered one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.opinions import MACHINE, Rung, form_opinion
from provenance.types import (
    Finding,
    ManifestEvidence,
    Origin,
    RegistryEvidence,
    SourceClaim,
    SourceFailure,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.types import Evidence

__all__ = ["REQUIRED_SOURCES", "find_blind_spot", "find_machine_evidence", "list_doubts"]

REQUIRED_SOURCES = ("c2pa", "metadata", "registry", "watermark", "registry_search")
"""Sources that must have looked, whatever the settings leave out."""

_CANNOT_FAIL = frozenset({*REQUIRED_SOURCES, "join", "pixels", "frames"})
_GENERATIVE = (SourceClaim.FULLY_AI, SourceClaim.PARTLY_AI)


def find_blind_spot(evidence: Sequence[Evidence]) -> str | None:
    """Why the picture could not be examined; None where all that must look did."""
    for item in evidence:
        if isinstance(item, SourceFailure) and item.source in _CANNOT_FAIL:
            return f"{item.source}: {item.reason}"
    return None


def find_machine_evidence(evidence: Sequence[Evidence]) -> str | None:
    """The sentence of the first evidence that a machine took part; None without any."""
    for item in evidence:
        reason = _against(item)
        if reason is not None:
            return reason
    return None


def list_doubts(evidence: Sequence[Evidence]) -> tuple[str, ...]:
    """What speaks for a machine, but too weakly to refuse."""
    return tuple(
        item.reason
        for item in evidence
        if (opinion := form_opinion(item)) is not None and opinion.origin in MACHINE
    )


def _against(item: Evidence) -> str | None:
    if isinstance(item, ManifestEvidence) and item.report.claim in _GENERATIVE:
        # Whether these credentials still fit the bytes does not matter: whoever breaks them on
        # purpose must not be rid of what they say.
        return (
            "its Content Credentials say that generative AI took part "
            f"({item.report.claim_path or item.report.claim})"
        )
    if isinstance(item, RegistryEvidence) and item.finding is not Finding.PRESENT:
        return None
    opinion = form_opinion(item)
    if opinion is None or opinion.rung <= Rung.UNKEYED_WATERMARK:
        return None
    if opinion.origin in MACHINE or opinion.origin is Origin.CONFLICTING:
        return item.reason
    return None
