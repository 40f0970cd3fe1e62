"""Where and how known marks are looked for in a picture's pixels.

`look` takes the picture as it is, `search` takes time to undo what may have been done to it:
another method of the same package, mirroring, scaling, cropping. Both answer the best match of
every mark and path; what that is worth is for `thresholds` to say. No file and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from detector.evidence.known_marks import matching
from detector.evidence.known_marks.matching import NO_MATCH, Match, Template
from detector.evidence.known_marks.table import KNOWN_MARKS, KnownMark
from provenance.watermark.codecs.dwt_reading import (
    STEP,
    FrequencyMethod,
    measure_blocks,
    measure_plane,
)
from provenance.watermark.codecs.haar_planes import PixelPath, blue_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from provenance.types import Uint8Array
    from provenance.watermark.codecs.haar_planes import Real

__all__ = ["MIN_PIXELS", "MIN_SIDE_PX", "Geometry", "Sighting", "look", "search"]

MIN_PIXELS = 256 * 256
"""The package marks no smaller picture, and none of its crops is worth a search."""

MIN_SIDE_PX = 64
"""Eight blocks: of a narrower strip the neighbourhood of a block is mostly the block itself."""

_LOOK_PIXELS = 1 << 19
"""Rows are read from the top until so many pixels: 8,192 blocks, dozens for each bit."""

_MAX_PIXELS_A_ROW = _LOOK_PIXELS // 8
"""A longer row alone would be more."""

_SEARCH_SIDE_PX = 640
"""Side of the square in the middle in which a crop's phase is searched."""

_PHASES = 6
"""Of the 64 places where blocks may begin, those are searched where values lie best on the
quantiser's levels, as they do only where blocks are cut as they were when they were marked."""

_WIDTHS_PX = tuple(range(512, 1537, 64))
"""Widths at which generators draw; a scaled picture is brought back to each."""

_MAX_SCALED_PIXELS = 1 << 22
"""No generator with a known mark draws larger."""

_BLOCK_PX = 8


class Geometry(StrEnum):
    """What had to be undone to find a mark."""

    UNCHANGED = "unchanged"
    MIRRORED = "mirrored"
    SCALED = "scaled"
    CROPPED = "cropped"


@dataclass(frozen=True, slots=True)
class Sighting:
    """The best match.

    Attributes:
        mark: Which mark.
        match: How well it fits.
        path: How the picture was handed to the package.
        method: How the package was told to write.
        geometry: What was done to the picture.
        live: Share of blocks that said anything on the best of all paths, 0..1; `look` alone
            answers it.
    """

    mark: KnownMark
    match: Match
    path: PixelPath
    method: FrequencyMethod = FrequencyMethod.DWT_DCT
    geometry: Geometry = Geometry.UNCHANGED
    live: float = 0.0


_NOTHING = Sighting(KNOWN_MARKS[0], NO_MATCH, PixelPath.UINT8_BGR)


def look(
    pixels: Uint8Array,
    *,
    method: FrequencyMethod = FrequencyMethod.DWT_DCT,
    geometry: Geometry = Geometry.UNCHANGED,
) -> Sighting:
    """The best match of a mark that was written into just this picture.

    Args:
        pixels: (H, W, 3) uint8 RGB; only the first rows of a large picture are read.
        method: Which of the package's methods wrote it.
        geometry: What the answer shall call this picture.
    """
    best, live = _NOTHING, 0.0
    for path in PixelPath:
        soft = matching.soften(measure_blocks(_top(pixels), path=path, method=method))
        best = _better(best, soft, matching.match_message, path, method, geometry)
        live = max(live, matching.live_share(soft))
    return replace(best, live=live)


def search(pixels: Uint8Array, *, enough: float) -> Sighting:
    """The best match in what the picture may have been.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        enough: Statistic at which the search ends.
    """
    best = _NOTHING
    for found in _attempts(pixels):
        if found.match.statistic > best.match.statistic:
            best = found
        if best.match.statistic >= enough:
            break
    return best


def _attempts(pixels: Uint8Array) -> Iterator[Sighting]:
    """From the cheapest attempt to the dearest."""
    yield look(pixels, method=FrequencyMethod.DWT_DCT_SVD)
    yield look(np.ascontiguousarray(pixels[:, ::-1]), geometry=Geometry.MIRRORED)
    for scaled in _scaled(pixels):
        yield look(scaled, geometry=Geometry.SCALED)
    for path in PixelPath:
        yield _search_crop(pixels, path)


def _scaled(pixels: Uint8Array) -> Iterator[Uint8Array]:
    """The picture, or as many rows from its top as are read, at every other likely size."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    for wide in _WIDTHS_PX:
        tall = round(height * wide / width / _BLOCK_PX) * _BLOCK_PX
        if wide != width and MIN_PIXELS <= wide * tall <= _MAX_SCALED_PIXELS:
            kept = min(tall, _LOOK_PIXELS // wide // _BLOCK_PX * _BLOCK_PX)
            box = (0.0, 0.0, float(width), height * kept / tall)
            yield np.asarray(image.resize((wide, kept), Image.Resampling.BICUBIC, box))


def _search_crop(pixels: Uint8Array, path: PixelPath) -> Sighting:
    method, geometry = FrequencyMethod.DWT_DCT, Geometry.CROPPED
    plane = blue_difference(_middle(pixels), path)
    phases = [
        measure_plane(plane[down:, across:], method=method)
        for down in range(_BLOCK_PX)
        for across in range(_BLOCK_PX)
    ]
    best = _NOTHING
    for values in sorted(phases, key=_concentration, reverse=True)[:_PHASES]:
        soft = matching.soften(values)
        best = _better(best, soft, matching.search, path, method, geometry)
    return best


def _better(
    best: Sighting,
    soft: npt.NDArray[np.float64],
    fit: Callable[..., Match],
    path: PixelPath,
    method: FrequencyMethod,
    geometry: Geometry,
) -> Sighting:
    """`best`, or the best match in these blocks where that is better."""
    for mark in KNOWN_MARKS:
        match = fit(soft, _template(mark))
        if match.statistic > best.match.statistic:
            best = Sighting(mark, match, path, method, geometry)
    return best


@cache
def _template(mark: KnownMark) -> Template:
    return Template(mark.bits)


def _concentration(values: Real) -> float:
    """How well values lie at a quarter and three quarters of a step: 1 there, 0 anywhere."""
    return float(-np.cos((4.0 * np.pi / STEP) * values).mean())


def _top(pixels: Uint8Array) -> Uint8Array:
    rows = _LOOK_PIXELS // max(1, min(pixels.shape[1], _MAX_PIXELS_A_ROW))
    return pixels[: rows // _BLOCK_PX * _BLOCK_PX]


def _middle(pixels: Uint8Array) -> Uint8Array:
    down, across = (max(0, side - _SEARCH_SIDE_PX) // 2 for side in pixels.shape[:2])
    return pixels[down : down + _SEARCH_SIDE_PX, across : across + _SEARCH_SIDE_PX]
