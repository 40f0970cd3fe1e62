"""Parts of a picture that may be another one's whole: a collage's panes, a screenshot's middle.

Pure. What a person pasted into a frame, a page or a collage is found again by asking for its parts
as well. The parts are fixed, but for the box that remains when uniform borders are cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.types import RasterImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

__all__ = ["MIN_VIEW_PX", "View", "cut_view", "find_content_box", "list_views"]

MIN_VIEW_PX = 64
"""Smaller parts hash to nothing that would mean something."""

_SHARES = {
    "top left": (0.0, 0.0, 0.5, 0.5),
    "top right": (0.5, 0.0, 1.0, 0.5),
    "bottom left": (0.0, 0.5, 0.5, 1.0),
    "bottom right": (0.5, 0.5, 1.0, 1.0),
    "centre": (0.25, 0.25, 0.75, 0.75),
    "left": (0.0, 0.0, 0.5, 1.0),
    "right": (0.5, 0.0, 1.0, 1.0),
    "top": (0.0, 0.0, 1.0, 0.5),
    "bottom": (0.0, 0.5, 1.0, 1.0),
}
"""Left, top, right, bottom as shares of width and height."""

_UNIFORM_DEVIATION = 6.0
"""Grey levels: rows that vary less are border. JPEG ripples a flat frame by 1 to 3."""
_QUIET_SHARE = 0.9
"""Of a border's pixels so many are near its middle level; the rest may be a line of small print."""
_MIN_TRIM = 0.02
"""Less than this share of a side cut off is no border."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue (BT.601)."""
_ROUNDS = 4
"""Frames within frames: a page, a window on it, its picture."""


@dataclass(frozen=True, slots=True)
class View:
    """A part of a picture.

    Attributes:
        name: ``whole``, ``top left``, ... or ``content``, what is left without borders.
        image: The part.
    """

    name: str
    image: RasterImage


def list_views(image: RasterImage) -> Iterator[View]:
    """The whole picture, its content without borders, quadrants, centre and halves, in that order.

    Parts smaller than `MIN_VIEW_PX` are left out.
    """
    yield View("whole", image)
    box = find_content_box(image)
    if box is not None and _is_large(box):
        yield View("content", _cut(image, box))
    for name in _SHARES:
        part = cut_view(image, name)
        if part is not None:
            yield View(name, part)


def cut_view(image: RasterImage, name: str) -> RasterImage | None:
    """A fixed part by its name, e.g. ``top left``; None where it is smaller than `MIN_VIEW_PX`."""
    left, top, right, bottom = _SHARES[name]
    box = (
        round(left * image.width_px),
        round(top * image.height_px),
        round(right * image.width_px),
        round(bottom * image.height_px),
    )
    return _cut(image, box) if _is_large(box) else None


def find_content_box(image: RasterImage) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom, pixels, of what uniform borders surround; None without borders.

    Rows and columns count as border while nearly all their pixels are of one level, which may be
    another one for each side; a few words on it do not matter.
    """
    step = max(1, max(image.width_px, image.height_px) // 512)
    luma = image.pixels[::step, ::step].astype(np.float32) @ _LUMA
    left, top, right, bottom = 0, 0, luma.shape[1], luma.shape[0]
    for _ in range(_ROUNDS):
        inside = luma[top:bottom, left:right]
        if min(inside.shape) < 8:
            return None
        above, below = _border(inside), _border(inside[::-1])
        before, behind = _border(inside.T), _border(inside.T[::-1])
        if max(above, below, before, behind) == 0:
            break
        if above + below >= inside.shape[0] or before + behind >= inside.shape[1]:
            return None  # uniform throughout: there is no content
        left, right, top, bottom = left + before, right - behind, top + above, bottom - below
    cut_across = 1.0 - (right - left) / luma.shape[1]
    cut_down = 1.0 - (bottom - top) / luma.shape[0]
    if max(cut_across, cut_down) < _MIN_TRIM:
        return None
    return (
        left * step,
        top * step,
        min(image.width_px, right * step),
        min(image.height_px, bottom * step),
    )


def _border(luma: npt.NDArray[np.float32]) -> int:
    """Number of leading rows that are nearly all of one level."""
    middle = np.median(luma, axis=1, keepdims=True)
    quiet = (np.abs(luma - middle) <= _UNIFORM_DEVIATION).mean(axis=1) >= _QUIET_SHARE
    busy = np.flatnonzero(~quiet)
    return len(luma) if not len(busy) else int(busy[0])


def _is_large(box: tuple[int, int, int, int]) -> bool:
    left, top, right, bottom = box
    return min(right - left, bottom - top) >= MIN_VIEW_PX


def _cut(image: RasterImage, box: tuple[int, int, int, int]) -> RasterImage:
    left, top, right, bottom = box
    return RasterImage(np.ascontiguousarray(image.pixels[top:bottom, left:right]))
