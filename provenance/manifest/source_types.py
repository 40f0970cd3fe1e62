"""The digital source types, and what each says of a picture's making. Pure.

Labels of strangers are folded before they are compared: scheme, case, a trailing slash and the
vocabulary's older address do not matter; the last segment does, and only as a whole.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from provenance.types import SourceClaim

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "C2PA_BASE",
    "IPTC_BASE",
    "DigitalSourceType",
    "classify_source_type",
    "is_known_source_type",
]

IPTC_BASE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Source: IPTC NewsCodes, scheme ``digitalsourcetype``."""
C2PA_BASE = "http://c2pa.org/digitalsourcetype/"
"""Source: C2PA 2.5, "Digital Source Type": the two terms that IPTC does not have."""


class DigitalSourceType(StrEnum):
    """The terms that our own manifests and labels use: for machines, and for people's claims."""

    TRAINED_ALGORITHMIC_MEDIA = IPTC_BASE + "trainedAlgorithmicMedia"
    COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA = IPTC_BASE + "compositeWithTrainedAlgorithmicMedia"
    DIGITAL_CAPTURE = IPTC_BASE + "digitalCapture"
    COMPOSITE_CAPTURE = IPTC_BASE + "compositeCapture"
    DIGITAL_CREATION = IPTC_BASE + "digitalCreation"
    HUMAN_EDITS = IPTC_BASE + "humanEdits"
    DIGITAL_ART = IPTC_BASE + "digitalArt"

    @property
    def term(self) -> str:
        """The short name."""
        return self.value.rpartition("/")[2]


_IPTC_TERMS: Mapping[str, SourceClaim] = MappingProxyType(
    {
        "trainedAlgorithmicMedia": SourceClaim.FULLY_AI,
        "compositeWithTrainedAlgorithmicMedia": SourceClaim.PARTLY_AI,
        "compositeSynthetic": SourceClaim.PARTLY_AI,
        "composite": SourceClaim.POSSIBLY_AI,
        "digitalArt": SourceClaim.POSSIBLY_AI,
        "digitalCapture": SourceClaim.CAPTURE,
        "computationalCapture": SourceClaim.CAPTURE,
        "compositeCapture": SourceClaim.CAPTURE,
        "negativeFilm": SourceClaim.CAPTURE,
        "positiveFilm": SourceClaim.CAPTURE,
        "print": SourceClaim.CAPTURE,
        "digitalCreation": SourceClaim.HUMAN,
        "humanEdits": SourceClaim.HUMAN,
        "minorHumanEdits": SourceClaim.HUMAN,
        "algorithmicMedia": SourceClaim.NOT_AI,
        "algorithmicallyEnhanced": SourceClaim.NOT_AI,
        "dataDrivenMedia": SourceClaim.NOT_AI,
        "screenCapture": SourceClaim.NOT_AI,
        "virtualRecording": SourceClaim.NOT_AI,
        "softwareImage": SourceClaim.NOT_AI,
    }
)
"""Source: IPTC NewsCodes terms, retired ones too; the AI classes follow the set that the C2PA
conformance programme's asset rubrics call generative."""

_C2PA_TERMS: Mapping[str, SourceClaim] = MappingProxyType(
    {
        "trainedAlgorithmicData": SourceClaim.PARTLY_AI,
        # A blank canvas says nothing of what was put on it.
        "empty": SourceClaim.NO_CLAIM,
    }
)

_FOLDED = {term.lower(): claim for term, claim in (*_IPTC_TERMS.items(), *_C2PA_TERMS.items())}
_KNOWN = frozenset(
    [IPTC_BASE + term for term in _IPTC_TERMS] + [C2PA_BASE + term for term in _C2PA_TERMS]
)
_FOLDED_BASES = (
    "cv.iptc.org/newscodes/digitalsourcetype/",
    "c2pa.org/digitalsourcetype/",
)
_MAX_CHARACTERS = 200
"""The longest real URI has 78; anything far beyond is not a term."""


def is_known_source_type(uri: str) -> bool:
    """Whether `uri` is, letter for letter, a term that a manifest of ours may carry."""
    return uri in _KNOWN


def classify_source_type(text: str) -> SourceClaim | None:
    """What a digital source type says, or None when it is not a term of the vocabulary.

    Args:
        text: A URI, a short name (``trainedAlgorithmicMedia``) or a QCode
            (``digsrctype:trainedAlgorithmicMedia``), as some tools write it.
    """
    if len(text) > _MAX_CHARACTERS:
        return None
    folded = text.strip().lower().rstrip("/")
    for scheme in ("https://", "http://"):
        folded = folded.removeprefix(scheme)
    for base in _FOLDED_BASES:
        if folded.startswith(base):
            return _FOLDED.get(folded[len(base) :])
    return _FOLDED.get(folded.removeprefix("digsrctype:"))
