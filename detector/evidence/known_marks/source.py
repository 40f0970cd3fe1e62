"""The sources ``known_watermarks`` and ``known_watermarks_search``: marks of other programs.

The first looks at the picture as it is, always; the second searches for one that was mirrored,
scaled or cropped since, and is asked only while no more than a hint decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.evidence.known_marks import looking
from detector.evidence.known_marks.looking import Geometry
from detector.evidence.known_marks.table import KNOWN_MARKS
from detector.evidence.known_marks.thresholds import (
    REPORT_P_VALUE,
    look_p_value,
    search_p_value,
    search_threshold,
)
from provenance.types import Finding, KnownMarkEvidence, SourceClaim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.evidence.context import SourceContext
    from detector.evidence.known_marks.looking import Sighting
    from provenance.types import Candidate, Evidence, Uint8Array

__all__ = ["KnownMarkSearch", "KnownMarkSource", "build_search", "build_source"]

_LEAST_LIVE = 0.02
"""Share of blocks that must say anything before a picture counts as looked at."""

_DONE = {
    Geometry.UNCHANGED: "",
    Geometry.MIRRORED: ", mirrored since",
    Geometry.SCALED: ", scaled since",
    Geometry.CROPPED: ", cropped since",
}


class KnownMarkSource:
    """Looks for marks that were written into just this picture; some 30 ms."""

    name = "known_watermarks"
    thorough = False

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """One finding, also where such a mark could not be seen."""
        problem = _problem(candidate)
        if problem is not None or candidate.raster is None:
            return [KnownMarkEvidence(Finding.UNREADABLE, problem or "")]
        sighting = looking.look(candidate.raster.pixels)
        p_value = look_p_value(sighting.match.statistic)
        if p_value <= REPORT_P_VALUE:
            return [_present(sighting, p_value)]
        if sighting.live < _LEAST_LIVE:
            return [KnownMarkEvidence(Finding.UNREADABLE, _TOO_PLAIN)]
        return [_absent(sighting, p_value, "was found")]


class KnownMarkSearch:
    """Searches for marks in what the picture may have been; about a second."""

    name = "known_watermarks_search"
    thorough = True

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """One finding; nothing where `KnownMarkSource` says why such marks cannot be seen."""
        if _problem(candidate) is not None or candidate.raster is None:
            return []
        sighting = looking.search(candidate.raster.pixels, enough=search_threshold())
        p_value = search_p_value(sighting.match.statistic)
        if p_value <= REPORT_P_VALUE:
            return [_present(sighting, p_value)]
        return [_absent(sighting, p_value, "was found in a search")]


def build_source(context: SourceContext) -> KnownMarkSource:  # noqa: ARG001  the group's signature
    """Entry point; this source needs nothing."""
    return KnownMarkSource()


def build_search(context: SourceContext) -> KnownMarkSearch:  # noqa: ARG001  the group's signature
    """Entry point; this source needs nothing."""
    return KnownMarkSearch()


_TOO_PLAIN = (
    "The picture is grey or so plain that other programs' known watermarks, which live in its "
    "colours, would not show."
)


def _problem(candidate: Candidate) -> str | None:
    """Why such marks cannot be looked for, in a sentence; None when they can."""
    if candidate.raster is None:
        return "The pixels do not decode, so no known watermark could be looked for."
    pixels: Uint8Array = candidate.raster.pixels
    height, width = pixels.shape[:2]
    if width * height < looking.MIN_PIXELS or min(width, height) < looking.MIN_SIDE_PX:
        return (
            f"The picture ({width} x {height} pixels) is too small for other programs' known "
            "watermarks: none is written below 256 x 256."
        )
    return None


def _present(sighting: Sighting, p_value: float) -> KnownMarkEvidence:
    mark, path = sighting.mark, sighting.path
    writer = mark.writer(path)
    by = f"in the way of {writer}" if writer else "written in an unusual way"
    return KnownMarkEvidence(
        Finding.PRESENT,
        f"The pixels carry the known watermark of {mark.tool}, {by}{_DONE[sighting.geometry]}. It "
        "has no key: people also write it into pictures that no machine made.",
        mark.tool,
        SourceClaim.FULLY_AI,
        sighting.method.value,
        path.value,
        sighting.geometry.value,
        sighting.match.statistic,
        p_value,
    )


def _absent(sighting: Sighting, p_value: float, found: str) -> KnownMarkEvidence:
    return KnownMarkEvidence(
        Finding.ABSENT,
        f"None of {len(KNOWN_MARKS)} known watermarks of other programs {found}; most programs "
        "write none, and saving as JPEG removes most.",
        statistic=sighting.match.statistic,
        p_value=p_value,
    )
