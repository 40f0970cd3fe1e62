"""Cuts off the plain frame around a picture, so that framed copies are seen as the picture itself.

A smooth sky is no frame: a frame ends all along its edge at once, a sky does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import numpy.typing as npt

    from provenance.types import RasterImage

__all__ = ["find_content"]

_CELLS = 128
"""The picture is looked at in so many cells a side: a frame is found to within one of them."""
_NEAR = 9.0
"""Grey levels that a frame's cells may be off its colour: JPEG and noise, averaged over a cell."""
_FAR = 14.0
"""Grey levels from which a cell is something else."""
_PLAIN_SHARE = 0.97
_EDGE_SHARE = 0.5
"""Of the first line behind the frame so much must be something else."""
_LEAST_CONTENT = 0.25
"""Where less of a side would remain, nothing is cut: it is a picture of little on plain ground."""


def find_content(image: RasterImage) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels of what is left without plain frames; all of it mostly."""
    width, height = image.width_px, image.height_px
    small = Image.fromarray(image.pixels).resize(
        (_CELLS, _CELLS), Image.Resampling.BOX, reducing_gap=2.0
    )
    cells = np.asarray(small, dtype=np.float32)
    top, bottom = _frame(cells), _frame(cells[::-1])
    across = cells.transpose(1, 0, 2)
    left, right = _frame(across), _frame(across[::-1])
    if min(_CELLS - top - bottom, _CELLS - left - right) < _LEAST_CONTENT * _CELLS:
        return 0, 0, width, height
    return (
        round(left * width / _CELLS),
        round(top * height / _CELLS),
        round((_CELLS - right) * width / _CELLS),
        round((_CELLS - bottom) * height / _CELLS),
    )


def _frame(cells: npt.NDArray[np.float32]) -> int:
    """How many lines from the top on are frame; (lines, cells, 3) in."""
    colour = np.median(cells[0], axis=0)
    if (np.abs(cells[0] - colour).max(axis=1) < _NEAR).mean() < _PLAIN_SHARE:
        return 0  # most pictures: no need to look at the rest
    away = np.abs(cells - colour).max(axis=2)
    plain = (away < _NEAR).mean(axis=1) >= _PLAIN_SHARE
    lines = _CELLS if plain.all() else int(plain.argmin())
    if lines == 0 or lines >= _CELLS - 1:
        return 0
    # The next line may be half frame, half picture: the one behind it decides.
    behind = (away[lines + 1] > _FAR).mean()
    return lines if behind >= _EDGE_SHARE else 0
