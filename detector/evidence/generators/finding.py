"""How a rule says what it recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.evidence.signals import as_plain
from provenance.types import Finding, Making, MetadataEvidence, SourceClaim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.types import GenerationSettings, Scalar

__all__ = ["FULLY", "PARTLY", "found", "making_of"]

FULLY, PARTLY = SourceClaim.FULLY_AI, SourceClaim.PARTLY_AI

_DOING = {
    Making.GENERATED: "generating the picture",
    Making.EDITED: "generating it from another picture",
    Making.ENHANCED: "enlarging or restoring a picture",
}


def making_of(claim: SourceClaim) -> Making | None:
    """What a machine did, by what is claimed."""
    return {FULLY: Making.GENERATED, PARTLY: Making.EDITED}.get(claim)


def found(
    tool: str,
    place: str,
    claim: SourceClaim = FULLY,
    *,
    version: object = None,
    making: Making | None = None,
    settings: GenerationSettings | None = None,
    detail: Mapping[str, object] | None = None,
    private: Mapping[str, Scalar] | None = None,
) -> MetadataEvidence:
    """A label that `tool` left at `place`; values unfit to be shown are dropped.

    Args:
        tool: The program or service.
        place: Where it stands.
        claim: What it says.
        version: The program's version, as the file gives it.
        making: What the program did, where `claim` alone does not tell.
        settings: How the picture was generated.
        detail: More fields; only plain values are kept.
        private: What may point at a person.
    """
    making = making or making_of(claim)
    doing = "processing the picture" if making is None else _DOING[making]
    shown = {key: as_plain(value) for key, value in (detail or {}).items()}
    plain_version = as_plain(version)
    return MetadataEvidence(
        Finding.PRESENT,
        f"{place} holds what {tool} writes when {doing}; anyone can write or remove it.",
        tool=tool,
        version=None if plain_version is None else str(plain_version),
        place=place,
        claim=claim,
        making=making,
        settings=settings,
        detail={key: value for key, value in shown.items() if value is not None},
        private=private or {},
    )
