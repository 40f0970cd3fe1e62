"""The whitened plane that a thorough reading searches, and where in the picture it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.types import MarkRegion, RasterImage, WatermarkPayload
from provenance.watermark import coding
from provenance.watermark.codecs.lattice_canvas import scaled_luma, whiten
from provenance.watermark.codecs.lattice_carrier import CANONICAL_PX, make_carrier, slot_of
from provenance.watermark.codecs.lattice_geometry import Geometry, line_frequencies
from provenance.watermark.codecs.lattice_region import find_region
from provenance.watermark.payload import make_word

if TYPE_CHECKING:
    from provenance.types import Float32Array
    from provenance.watermark.codecs.lattice_reading import Reading
    from provenance.watermark.payload import WatermarkKey

__all__ = ["SearchedPlane"]

_SEARCHED_ASPECT = 3.0
"""Of longer pictures the middle is searched: the cost is bounded."""


class SearchedPlane:
    """A picture's whitened luma at canonical size.

    Attributes:
        white: (h, w) float32.
        whole: What it covers, pixels of the picture.
    """

    white: Float32Array
    whole: MarkRegion

    def __init__(self, image: RasterImage) -> None:
        white = whiten(scaled_luma(image, CANONICAL_PX), CANONICAL_PX)
        most = round(_SEARCHED_ASPECT * CANONICAL_PX)
        top, left = (max(0, side - most) // 2 for side in white.shape)
        self._picture_px = image.height_px, image.width_px
        self._plane_px = white.shape
        self.white = white[top : top + most, left : left + most]
        self._corner = top, left
        self.whole = self._to_picture(MarkRegion(0, 0, *self.white.shape[::-1]))

    def _to_picture(self, part: MarkRegion) -> MarkRegion:
        down, across = (
            picture / plane for picture, plane in zip(self._picture_px, self._plane_px, strict=True)
        )
        top, left = part.top_px + self._corner[0], part.left_px + self._corner[1]
        edges = (top * down, (top + part.height_px) * down)
        sides = (left * across, (left + part.width_px) * across)
        (first_row, last_row), (first, last) = (tuple(map(round, pair)) for pair in (edges, sides))
        return MarkRegion(first, first_row, last - first, last_row - first_row)

    def locate(self, reading: Reading, geometry: Geometry, key: WatermarkKey) -> MarkRegion | None:
        """The part of the picture that carries what was read; None when nothing was."""
        if reading.record_id is None:
            return None
        carrier = make_carrier(key)
        coded = coding.encode_bits(make_word(WatermarkPayload(reading.record_id), key))
        waves = carrier.waves(slot_of(reading.record_id), coded, reading.sync.start)
        frequencies = line_frequencies(geometry.matrix(), carrier.points)
        return self._to_picture(find_region(self.white, frequencies, waves))
