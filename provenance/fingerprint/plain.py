"""Pictures that show too little for an embedding to say anything: flat or tiny ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from provenance.types import RasterImage

__all__ = ["MIN_SIDE_PX", "is_too_plain"]

MIN_SIDE_PX = 16
"""Below it a picture is an icon's corner: all embedders blow it up, and see the same blur."""

MIN_DEVIATION = 2.0
"""Smallest standard deviation, in grey levels, of a channel that still is a picture. Flat pictures
with grain (JPEG 10 of one colour, noise of 12 levels averaged over a cell) stay below."""

_CELLS = 32


def is_too_plain(image: RasterImage) -> bool:
    """Whether every embedder abstains: under 16 pixels, or one colour from edge to edge."""
    if image.min_side_px < MIN_SIDE_PX:
        return True
    cells = Image.fromarray(image.pixels).resize((_CELLS, _CELLS), Image.Resampling.BOX)
    deviation = np.asarray(cells, dtype=np.float32).std(axis=(0, 1))
    return bool(deviation.max() < MIN_DEVIATION)
