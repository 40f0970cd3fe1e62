"""The ``watermark`` source: our own keyed mark and public signposts, read from pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from detector.evidence.context import nothing
from provenance.types import Finding, WatermarkEvidence
from provenance.watermark.signpost import SIGNPOST_KEY, describe_signpost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector.evidence.context import SourceContext
    from provenance.types import Candidate, Evidence, RasterImage
    from provenance.watermark.marking import MarkReader
    from provenance.watermark.signpost import SignpostReader

__all__ = ["WatermarkSource", "build_source"]


class WatermarkSource:
    """Asks for the mark on every picture, because a mark may contradict a trusted manifest.

    Args:
        mark_reader: Answers the reader, or None on a machine without a watermark key.
        signpost_reader: Answers the reader that needs no key, or None where no codec has signposts.
    """

    name = "watermark"
    thorough = False

    def __init__(
        self,
        mark_reader: Callable[[], MarkReader | None],
        signpost_reader: Callable[[], SignpostReader | None] = nothing,
    ) -> None:
        self._mark_reader = mark_reader
        self._signpost_reader = signpost_reader

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """One finding on our mark, and one on a signpost where there is one."""
        if candidate.raster is None:
            reason = "The pixels do not decode, so no watermark could be looked for."
            return [WatermarkEvidence(Finding.UNREADABLE, reason)]
        reader = self._mark_reader()
        if reader is None:
            reason = (
                "This installation has no watermark key, so it cannot look for marks of its own."
            )
            return [
                WatermarkEvidence(Finding.UNREADABLE, reason),
                *self._signpost(candidate.raster),
            ]
        answer, beside = reader.read_beside(candidate.raster, (SIGNPOST_KEY,))
        mark = replace(answer, reason=f"{answer.reason[:1].upper()}{answer.reason[1:]}.")
        signpost = None if beside is None else describe_signpost(beside)
        return [mark] if signpost is None else [mark, signpost]

    def _signpost(self, raster: RasterImage) -> Sequence[Evidence]:
        reader = self._signpost_reader()
        signpost = None if reader is None else reader.read(raster)
        return [] if signpost is None else [signpost]


def build_source(context: SourceContext) -> WatermarkSource:
    """Entry point."""
    return WatermarkSource(context.mark_reader, context.signpost_reader)
