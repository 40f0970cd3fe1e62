"""The ``metadata`` source: unsigned labels and generators' parameters, found by structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.evidence.containers import read_metadata
from detector.evidence.generators import GENERATOR_RULES
from detector.evidence.labels import LABEL_RULES
from detector.evidence.novelai import novelai_evidence
from detector.evidence.signals import read_signals
from provenance.types import Finding, MetadataEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.evidence.context import SourceContext
    from provenance.types import Candidate, Evidence

__all__ = ["MetadataSource", "build_source"]

_MAX_FINDINGS = 32
"""Real files carry fewer than five; thousands of text chunks shall not flood an answer."""


class MetadataSource:
    """Reads labels that anyone can write; fast, needs no key, no registry and no pixels."""

    name = "metadata"
    thorough = False

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """Every label once, and one UNREADABLE where something is damaged; else one ABSENT."""
        found = read_metadata(candidate.data, candidate.media_type)
        if not found.supported:
            kind = candidate.media_type or "this kind"
            return [
                MetadataEvidence(
                    Finding.UNREADABLE, f"Metadata of {kind} files is not read by this version."
                )
            ]
        signals = read_signals(found)
        evidence = [item for rule in (*GENERATOR_RULES, *LABEL_RULES) for item in rule(signals)]
        evidence += novelai_evidence(signals, candidate.raster)
        unique = list({(e.tool, e.place, e.claim): e for e in evidence}.values())[:_MAX_FINDINGS]
        if signals.problems:
            problems = "; ".join(dict.fromkeys(signals.problems))[:300]
            unique.append(
                MetadataEvidence(
                    Finding.UNREADABLE, f"Some metadata could not be read: {problems}."
                )
            )
        return unique or [
            MetadataEvidence(Finding.ABSENT, "No label of a generator or a standard was found.")
        ]


def build_source(context: SourceContext) -> MetadataSource:  # noqa: ARG001  the group's signature
    """Entry point; this source needs nothing."""
    return MetadataSource()
