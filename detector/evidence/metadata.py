"""The ``metadata`` source: unsigned labels and generators' parameters, found by structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.evidence.containers import read_metadata
from detector.evidence.generators import find_generators
from detector.evidence.labels import LABEL_RULES
from detector.evidence.signals import read_signals
from detector.evidence.stealth import read_alpha_text, read_colour_text
from provenance.types import Finding, MediaType, MetadataEvidence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.evidence.context import SourceContext
    from detector.evidence.stealth import HiddenText
    from detector.evidence.trailing import Trailer
    from provenance.types import Candidate, Evidence

__all__ = ["MetadataSource", "build_source"]

_MAX_FINDINGS = 32
"""Real files carry fewer than ten; thousands of text chunks shall not flood an answer."""
_LOSSLESS = frozenset(
    {MediaType.PNG, MediaType.WEBP, MediaType.TIFF, MediaType.BMP, MediaType.AVIF, MediaType.HEIF}
)
"""Kinds that can keep the lowest bits of pixels."""


class MetadataSource:
    """Reads labels that anyone can write; fast, needs no key and no registry."""

    name = "metadata"
    thorough = False

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """Every label once, and one UNREADABLE where something is damaged; else one ABSENT."""
        found = read_metadata(candidate.data, candidate.media_type)
        hidden = list(_hidden_texts(candidate))
        if not found.supported and not hidden:
            kind = candidate.media_type or "this kind"
            return [
                MetadataEvidence(
                    Finding.UNREADABLE, f"Metadata of {kind} files is not read by this version."
                )
            ]
        signals = read_signals(found, hidden)
        evidence = list(find_generators(signals, candidate.raster))
        evidence += [item for rule in LABEL_RULES for item in rule(signals)]
        unique = list({(e.tool, e.place, e.claim): e for e in evidence}.values())[:_MAX_FINDINGS]
        if signals.problems:
            problems = "; ".join(dict.fromkeys(signals.problems))[:300]
            unique.append(
                MetadataEvidence(
                    Finding.UNREADABLE, f"Some metadata could not be read: {problems}."
                )
            )
        if not unique:
            absent = "No label of a generator or a standard was found."
            unique.append(MetadataEvidence(Finding.ABSENT, absent))
        if found.trailer is not None:
            unique.append(_describe_trailer(found.trailer))
        return unique


def _describe_trailer(trailer: Trailer) -> MetadataEvidence:
    """Shown, and decides nothing: cameras and editors put things there too."""
    like = f", which begin like {trailer.kind}" if trailer.kind else ""
    if trailer.kind in ("a Samsung directory", "more PNG chunks", "zero bytes only"):
        like = f" ({trailer.kind})"
    return MetadataEvidence(
        Finding.PRESENT,
        f"{trailer.size} bytes follow the end of the picture{like}; they are no part of it. "
        "Cameras and editors put things there too.",
        place="after the end of the picture",
        detail={"bytes": trailer.size, "begins_at": trailer.start, "kind": trailer.kind},
    )


def _hidden_texts(candidate: Candidate) -> Iterator[HiddenText]:
    if candidate.alpha_bits is not None and (text := read_alpha_text(candidate.alpha_bits)):
        yield text
    if candidate.raster is not None and candidate.media_type in _LOSSLESS:
        text = read_colour_text(candidate.raster)
        if text:
            yield text


def build_source(context: SourceContext) -> MetadataSource:  # noqa: ARG001  the group's signature
    """Entry point; this source needs nothing."""
    return MetadataSource()
