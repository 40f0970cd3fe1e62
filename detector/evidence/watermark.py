"""The ``watermark`` source: our own keyed mark, read from pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from detector.service import Depth
from provenance.types import Finding, WatermarkEvidence
from provenance.watermark.wording import describe_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector.evidence.context import SourceContext
    from provenance.types import Candidate, Evidence
    from provenance.watermark.marking import MarkReader

__all__ = ["WatermarkSource", "build_source"]


class WatermarkSource:
    """Asks for the mark on every picture, because a mark may contradict a trusted manifest.

    Args:
        mark_reader: Answers the reader, or None on a machine without a watermark key.
        search: THOROUGH also finds the mark of a picture that was cropped, turned or scaled, where
            the codec can.
    """

    name = "watermark"
    thorough = False

    def __init__(
        self, mark_reader: Callable[[], MarkReader | None], search: Depth = Depth.THOROUGH
    ) -> None:
        self._mark_reader = mark_reader
        self._search = search

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """One finding."""
        return [self._read(candidate, self._search)]

    def skim(self, candidate: Candidate) -> Sequence[Evidence]:
        """One finding, without a search."""
        return [self._read(candidate, Depth.FAST)]

    def _read(self, candidate: Candidate, search: Depth) -> WatermarkEvidence:
        if candidate.raster is None:
            reason = "The pixels do not decode, so no watermark could be looked for."
            return WatermarkEvidence(Finding.UNREADABLE, reason)
        reader = self._mark_reader()
        if reader is None:
            reason = (
                "This installation has no watermark key, so it cannot look for marks of its own."
            )
            return WatermarkEvidence(Finding.UNREADABLE, reason)
        answer = reader.read(candidate.raster, thorough=search is Depth.THOROUGH)
        sentence = describe_reading(answer)
        return replace(answer, reason=f"{sentence[:1].upper()}{sentence[1:]}.")


def build_source(context: SourceContext) -> WatermarkSource:
    """Entry point."""
    return WatermarkSource(context.mark_reader, context.mark_search)
