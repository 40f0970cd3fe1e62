"""The sources ``visible_marks`` and ``visible_text``: what people see at once on a picture.

A hint at most. A clean agency's name says that the picture is, or shows, a stock photograph; a
garbled one that a generator painted it from memory; something repeated all over it that somebody
covered a preview. The first source looks always; the second reads text, where the program
tesseract is installed, and is asked only while no more than a hint decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.evidence.visible_marks import overlay, tesseract
from detector.evidence.visible_marks.legibility import Likeness, NameReading, read_names
from provenance.errors import BackendUnavailableError
from provenance.types import Finding, SourceClaim, SourceFailure, VisibleMarkEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.evidence.context import SourceContext
    from detector.evidence.visible_marks.overlay import Lattice
    from provenance.types import Candidate, Evidence

__all__ = ["OverlaySource", "TextSource", "build_source", "build_text_source"]

READING_TIMEOUT_S = 8.0
"""Within a thorough look's budget; a page of text takes about a second."""


class OverlaySource:
    """Looks for something translucent that is repeated over the picture; some 30 ms."""

    name = "visible_marks"
    thorough = False

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """One finding, also where an overlay could not be seen."""
        raster = candidate.raster
        if raster is None:
            return [_unreadable("The pixels do not decode, so no overlay could be looked for.")]
        if raster.min_side_px < overlay.MIN_SIDE_PX:
            return [_unreadable(_too_small(raster.width_px, raster.height_px))]
        return [_of_lattice(overlay.find_lattice(raster.pixels))]


class TextSource:
    """Reads text and looks for agencies' names in it; about a second, in a process of its own."""

    name = "visible_text"
    thorough = True

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """A name's finding; nothing where there is no name, or no program to read it."""
        program = tesseract.find_program()
        if program is None or candidate.raster is None:
            return []
        pixels = candidate.raster.pixels
        try:
            words = tesseract.read_words(pixels, program=program, timeout_s=READING_TIMEOUT_S)
        except BackendUnavailableError as error:
            return [SourceFailure(self.name, f"{error}.")]
        name = read_names(words)
        return [] if name is None else [_of_name(name)]


def build_source(context: SourceContext) -> OverlaySource:  # noqa: ARG001  the group's signature
    """Entry point; this source needs nothing."""
    return OverlaySource()


def build_text_source(context: SourceContext) -> TextSource:  # noqa: ARG001  as above
    """Entry point; this source needs nothing."""
    return TextSource()


def _of_name(name: NameReading) -> VisibleMarkEvidence:
    if name.likeness is Likeness.GARBLED:
        claim = SourceClaim.FULLY_AI
        reason = (
            f'Text in the picture reads "{name.read}", a garbled {name.agency}: agencies print '
            "their names right, generators paint them from memory. Misread or worn letters look "
            "alike, so it is a hint."
        )
    else:
        claim = SourceClaim.NO_CLAIM
        reason = (
            f"The picture carries the name {name.agency}, as a stock photograph's preview does; "
            "that says nothing of how it was made."
        )
    return VisibleMarkEvidence(
        Finding.PRESENT,
        reason,
        name.agency,
        name.read,
        name.legibility,
        claim,
    )


def _of_lattice(lattice: Lattice) -> VisibleMarkEvidence:
    finding, reason = Finding.ABSENT, "Nothing translucent is repeated over the picture."
    if lattice.is_overlay:
        finding = Finding.PRESENT
        reason = (
            "Something translucent is repeated over the whole picture, as agencies and artists "
            "cover their previews; that says nothing of how it was made."
        )
    elif lattice.is_repeated:
        finding = Finding.UNREADABLE
        reason = "The picture repeats itself like a drawn pattern, in which no overlay would show."
    return VisibleMarkEvidence(
        finding, reason, overlay=lattice.is_overlay, statistic=lattice.statistic
    )


def _unreadable(reason: str) -> VisibleMarkEvidence:
    return VisibleMarkEvidence(Finding.UNREADABLE, reason)


def _too_small(width_px: int, height_px: int) -> str:
    return (
        f"The picture ({width_px} x {height_px} pixels) is too small for an overlay to be "
        f"looked for: at least {overlay.MIN_SIDE_PX} on the short side are needed."
    )
