"""Where a picture seems to be put together from others: collages, letterboxes, screenshots.

A straight seam runs across a whole picture, or a whole cell of it: nearly every row jumps at the
same column. What lies between seams, without even borders, is a picture of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from provenance.types import MarkRegion, RasterImage
from provenance.watermark.codecs.lattice_canvas import LUMA

if TYPE_CHECKING:
    from provenance.types import Float32Array

__all__ = ["find_cells", "find_frame"]

_SEEN_PX = 1024
"""Longer sides are looked at in steps."""

_EVEN_LEVELS = 1.5
"""Deviation within a row of border, grey levels: what compression leaves of an even one."""

_LEAST_FRAME = 0.2
"""Share of a side that must be left, or the border is taken for part of the picture."""

_LEAST_CELL = 0.15
"""Share of a picture's side that a cell has at least."""

_NEAR_PX, _JUMP, _JUMPING_SHARE = 8, 3.0, 0.6
"""A seam: this share of rows jumps, each by so many times what is usual within so many pixels."""

_LEAST_JUMP = 3.0
"""Grey levels added to what is usual: even areas are not full of seams."""

_MOST_CELLS = 12

_Box = tuple[int, int, int, int]


def find_frame(image: RasterImage) -> MarkRegion:
    """What is left of a picture without even borders: letterboxes, screenshots' margins, captions.

    A row or column is border while it hardly differs within itself.
    """
    luma, step = _small_luma(image)
    return _to_region(_trim(luma, (0, luma.shape[0], 0, luma.shape[1])), step, image)


def find_cells(image: RasterImage) -> list[MarkRegion]:
    """The pictures that a picture seems to be put together from; none if it is one picture."""
    luma, step = _small_luma(image)
    whole = _trim(luma, (0, luma.shape[0], 0, luma.shape[1]))
    least = [max(1, round(_LEAST_CELL * side)) for side in luma.shape]
    waiting: list[_Box] = [whole]
    cells: list[_Box] = []
    while waiting and len(waiting) + len(cells) < _MOST_CELLS:
        box = waiting.pop()
        parts = [_trim(luma, part) for part in _split(luma, box)]
        if not parts:
            cells.append(box)
        waiting += [
            part
            for part in parts
            if part[1] - part[0] >= least[0] and part[3] - part[2] >= least[1]
        ]
    cells += waiting
    return [] if cells == [whole] else [_to_region(box, step, image) for box in cells]


def _is_at_least(box: _Box, least: list[int]) -> bool:
    return box[1] - box[0] >= least[0] and box[3] - box[2] >= least[1]


def _small_luma(image: RasterImage) -> tuple[Float32Array, int]:
    step = max(1, max(image.width_px, image.height_px) // _SEEN_PX)
    luma: Float32Array = image.pixels[::step, ::step].astype(np.float32) @ LUMA
    return luma, step


def _to_region(box: _Box, step: int, image: RasterImage) -> MarkRegion:
    top, bottom, left, right = (edge * step for edge in box)
    bottom, right = min(bottom, image.height_px), min(right, image.width_px)
    return MarkRegion(left, top, right - left, bottom - top)


def _trim(luma: Float32Array, box: _Box) -> _Box:
    """A box without its even borders; as it is when next to nothing would be left."""
    top, bottom, left, right = box
    inside = luma[top:bottom, left:right]
    first_row, last_row = _busy_span(inside)
    first_column, last_column = _busy_span(inside[first_row:last_row].T)
    if last_row - first_row < _LEAST_FRAME * (
        bottom - top
    ) or last_column - first_column < _LEAST_FRAME * (right - left):
        return box
    return top + first_row, top + last_row, left + first_column, left + last_column


def _busy_span(luma: Float32Array) -> tuple[int, int]:
    """First row that isn't even, and the one after the last."""
    busy = np.flatnonzero(luma.std(axis=1) > _EVEN_LEVELS)
    return (int(busy[0]), int(busy[-1]) + 1) if busy.size else (0, len(luma))


def _split(luma: Float32Array, box: _Box) -> list[_Box]:
    """A box cut in two at its clearest seam; empty when it has none."""
    top, bottom, left, right = box
    inside = luma[top:bottom, left:right]
    share_down, down = _clearest_seam(inside.T)
    share_across, across = _clearest_seam(inside)
    if max(share_down, share_across) < _JUMPING_SHARE:
        return []
    if share_down > share_across:
        return [(top, top + down, left, right), (top + down, bottom, left, right)]
    return [(top, bottom, left, left + across), (top, bottom, left + across, right)]


def _clearest_seam(luma: Float32Array) -> tuple[float, int]:
    """Share of rows that jump at the column where most do, and that column."""
    jumps = np.abs(np.diff(luma, axis=1))
    if jumps.shape[1] <= 4 * _NEAR_PX:
        return 0.0, 0
    usual = ndimage.uniform_filter1d(jumps, 2 * _NEAR_PX + 1, axis=1, mode="nearest")
    # The seam itself must not count as usual.
    usual = (usual * (2 * _NEAR_PX + 1) - jumps) / (2 * _NEAR_PX)
    share = (jumps > _JUMP * usual + _LEAST_JUMP).mean(axis=0)
    share[:_NEAR_PX] = share[-_NEAR_PX:] = 0.0
    column = int(share.argmax())
    return float(share[column]), column + 1
