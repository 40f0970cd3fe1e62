"""Finds the picture on a page: in a feed, a viewer's window, a document.

What shows a picture mostly lays it on one exact colour. So a picture on a page is a rectangle that
nothing but that colour borders on, or that colour on some sides and the edge of the screen on the
others. Photographs hardly ever have such a line around a large part of themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

if TYPE_CHECKING:
    import numpy.typing as npt

    from provenance.types import RasterImage

__all__ = ["find_on_page"]

_MOST_CELLS, _FEWEST_CELLS, _CELL_PX = 256, 64, 2
"""The page is looked at in so many cells a side, two pixels wide or wider: the gap around a picture
is a few pixels wide."""
_NEAR = 4
"""Grey levels that a cell of the ground may be off its colour, in any channel."""
_LEAST_GROUND = 0.005
"""Share of the page that has the ground's colour: less is no frame even of the smallest."""
_GROUNDS = 12
"""Colours that are tried: a wallpaper has many."""
_RING_SHARE = 0.98
_LEAST_SIDE, _LEAST_AREA = 0.15, 0.05
_MOST_AREA = 0.9
"""A picture that fills more of the page than this is left to `frame`."""
_FAR = 10
_EDGE_SHARE = 0.5
"""Of the lines just inside the border so much is something else than the ground."""


def find_on_page(
    image: RasterImage, box: tuple[int, int, int, int]
) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom in pixels of the picture on a page; None where there is no page.

    Args:
        image: Any picture.
        box: The part of it to look at, in pixels.
    """
    longest = max(box[2] - box[0], box[3] - box[1])
    side = min(max(longest // _CELL_PX, _FEWEST_CELLS), _MOST_CELLS)
    small = Image.fromarray(image.pixels).resize(
        (side, side), Image.Resampling.BOX, box=box, reducing_gap=2.0
    )
    cells = np.asarray(small)
    for colour in _flat_colours(cells):
        found = _largest_island(cells, colour)
        if found is not None:
            return _to_pixels(image, box, np.array(found) / side, colour)
    return None


def _flat_colours(cells: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Colours of cells that equal their neighbours; most frequent first."""
    green = cells[..., 1].view(np.int8)
    # Differences wrap around: what is near is near all the same.
    flat = np.abs(green[1:, 1:] - green[1:, :-1]) <= 1
    flat &= np.abs(green[1:, 1:] - green[:-1, 1:]) <= 1
    if not (_has_line(flat) or _has_line(flat.T)):
        return []  # most photographs
    middle = cells[1:, 1:][flat]
    levels = (middle // 4).astype(np.int32)
    codes = (levels[:, 0] * 64 + levels[:, 1]) * 64 + levels[:, 2]
    counts = np.bincount(codes, minlength=64**3)
    chosen = np.flatnonzero(counts >= _LEAST_GROUND * green.size)
    return [
        np.median(middle[codes == code], axis=0).astype(np.uint8)
        for code in chosen[np.argsort(-counts[chosen])][:_GROUNDS]
    ]


def _largest_island(
    cells: npt.NDArray[np.uint8], colour: npt.NDArray[np.uint8]
) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom in cells of the largest rectangle that lies in the colour."""
    away = _away(cells, colour)
    ground = away <= _NEAR
    if not (_has_line(ground) or _has_line(ground.T)):
        return None
    islands, _ = ndimage.label(~ground)
    sizes = np.bincount(islands.ravel())
    sizes[0] = 0
    places = ndimage.find_objects(islands)
    best, best_area = None, 0
    for number in np.flatnonzero(sizes > _LEAST_AREA * ground.size / 4):
        rows, columns = places[number - 1]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        area = height * width
        if min(height, width) < _LEAST_SIDE * len(ground) or area <= best_area:
            continue
        if not _LEAST_AREA <= area / ground.size <= _MOST_AREA:
            continue
        if _is_bordered(ground, away, rows, columns):
            best, best_area = (columns.start, rows.start, columns.stop, rows.stop), area
    return best


def _has_line(ground: npt.NDArray[np.bool_]) -> bool:
    """Whether ground runs on, in a row, for as long as the smallest picture is wide."""
    length = int(_LEAST_SIDE * ground.shape[1])
    along = np.cumsum(ground, axis=1, dtype=np.int16)
    return bool((along[:, length:] - along[:, :-length]).max() == length)


def _away(pixels: npt.NDArray[np.uint8], colour: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H, W): grey levels off a colour in the channel that is furthest off."""
    off = np.maximum(pixels, colour) - np.minimum(pixels, colour)
    furthest: npt.NDArray[np.uint8] = np.maximum(np.maximum(off[..., 0], off[..., 1]), off[..., 2])
    return furthest


def _is_bordered(
    ground: npt.NDArray[np.bool_], away: npt.NDArray[np.uint8], rows: slice, columns: slice
) -> bool:
    """Whether the lines around are ground, and those within are not."""
    for whole, far, span, other in (
        (ground, away, rows, columns),
        (ground.T, away.T, columns, rows),
    ):
        for outside, inside in ((span.start - 1, span.start + 1), (span.stop, span.stop - 2)):
            if not 0 <= outside < len(whole):
                continue  # the edge of the page
            if whole[outside, other].mean() < _RING_SHARE:
                return False
            if (far[inside, other] > _FAR).mean() < _EDGE_SHARE:
                return False
    return True


def _to_pixels(
    image: RasterImage,
    box: tuple[int, int, int, int],
    shares: npt.NDArray[np.float64],
    colour: npt.NDArray[np.uint8],
) -> tuple[int, int, int, int]:
    """A rectangle in shares of the box, in pixels: without lines of ground at its edges."""
    left, right = (box[0] + round(shares[n] * (box[2] - box[0])) for n in (0, 2))
    top, bottom = (box[1] + round(shares[n] * (box[3] - box[1])) for n in (1, 3))
    ground = _away(image.pixels[top:bottom, left:right], colour) <= _NEAR
    rows, columns = ground.mean(axis=1) < _RING_SHARE, ground.mean(axis=0) < _RING_SHARE
    return (
        left + int(columns.argmax()),
        top + int(rows.argmax()),
        right - int(columns[::-1].argmax()),
        bottom - int(rows[::-1].argmax()),
    )
