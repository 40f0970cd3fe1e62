"""The ``watermark`` source: our own keyed mark and public signposts, read from pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from detector.evidence.context import nothing
from detector.service import Depth
from provenance.types import Finding, WatermarkEvidence
from provenance.watermark.signpost import SIGNPOST_KEY, describe_signpost
from provenance.watermark.wording import describe_reading

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
        search: THOROUGH also finds the mark of a picture that was cropped, turned or scaled, where
            the codec can.
        signpost_reader: Answers the reader that needs no key, or None where no codec has signposts.
    """

    name = "watermark"
    thorough = False

    def __init__(
        self,
        mark_reader: Callable[[], MarkReader | None],
        search: Depth = Depth.THOROUGH,
        signpost_reader: Callable[[], SignpostReader | None] = nothing,
    ) -> None:
        self._mark_reader = mark_reader
        self._search = search
        self._signpost_reader = signpost_reader

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """One finding on our mark, and one on a signpost where there is one."""
        return self._read(candidate, self._search)

    def skim(self, candidate: Candidate) -> Sequence[Evidence]:
        """As `collect`, without a search."""
        return self._read(candidate, Depth.FAST)

    def _read(self, candidate: Candidate, search: Depth) -> Sequence[Evidence]:
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
                *self._signpost(candidate.raster, search),
            ]
        answer, beside = reader.read_beside(
            candidate.raster, (SIGNPOST_KEY,), thorough=search is Depth.THOROUGH
        )
        sentence = describe_reading(answer)
        mark = replace(answer, reason=f"{sentence[:1].upper()}{sentence[1:]}.")
        signpost = None if beside is None else describe_signpost(beside)
        return [mark] if signpost is None else [mark, signpost]

    def _signpost(self, raster: RasterImage, search: Depth) -> Sequence[Evidence]:
        reader = self._signpost_reader()
        thorough = search is Depth.THOROUGH
        signpost = None if reader is None else reader.read(raster, thorough=thorough)
        return [] if signpost is None else [signpost]


def build_source(context: SourceContext) -> WatermarkSource:
    """Entry point."""
    return WatermarkSource(context.mark_reader, context.mark_search, context.signpost_reader)
