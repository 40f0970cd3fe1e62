"""A harmless picture that the open_nsfw classifier flags.

A blur of 5x5 colours, found by hill climbing on the classifier's score from random skin tones.
It shows nothing, but is scored 0.98 and more at any size from 64 to 1024 px, so that the path of a
blocked picture can be tested without keeping pictures that deserve it.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from provenance.types import RasterImage

_COLOURS = bytes.fromhex(
    "ecddbca37f4bffcdc9998c57c8b08dffffc7fffffafbccb3c07647692d15d9b788e5c5b068332ce891908b6218"
    "a86c45cfaf80edbcb4c8a57d754627c3afb6bd9172c76b4bad6e31b67859"
)


def flagged_picture(side_px: int = 512) -> RasterImage:
    """The blur, square."""
    grid = np.frombuffer(_COLOURS, dtype=np.uint8).reshape(5, 5, 3)
    size = (side_px, side_px)
    return RasterImage(np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)))
