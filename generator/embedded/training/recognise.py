"""Says by simple rules on pixels whether a picture shows a named object in a named colour.

The rules know nothing of the model: a colour is a range of hue, saturation and value; an object
is the outline that the scene generator draws, compared with each connected patch of the colour.
`generator.embedded.training.evaluate` checks the rules on true scenes and on wrong captions
before it judges the model by them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from generator.embedded.training.captions import Colour, Thing
from generator.embedded.training.objects import ASPECTS, outline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["shows_subject"]

# Pictures are judged at this side: finer detail than a window says nothing about an outline.
_SIDE_PX = 128
_OUTLINE_PX = 32
# The smallest subject drawn covers 3 % of the picture; half of it may be hidden by weather.
_MIN_SHARE = 0.015
# The largest covers a quarter; what is larger is sky, ground or water.
_MAX_SHARE = 0.35
# A patch must overlap its outline by this much of their union, and better than any other.
_MIN_OVERLAP = 0.6
# A balloon's middle is never lower than 0.3 of the height, a standing subject's never above 0.4.
_SKY_SHARE = 0.36
# Cost of a patch twice as wide, or half as wide, as the outline; e-fold in `_score`.
_ASPECT_COST = 0.5


# Hues in degrees, first to last, past 360 if need be; measured on the scene generator's subjects
# in all lights, with the neighbours' borders half-way between.
_HUES: Mapping[Colour, tuple[float, float]] = {
    Colour.RED: (340, 14),
    Colour.ORANGE: (14, 42),
    Colour.YELLOW: (42, 70),
    Colour.GREEN: (100, 180),
    Colour.BLUE: (218, 256),
    Colour.PURPLE: (256, 300),
    Colour.PINK: (300, 345),
}
# Fog takes saturation from everything, night takes value: a subject need only stand out from
# what is around it, so several floors are tried (least saturation, least value).
_FLOORS = tuple(
    (saturation, value) for saturation in (0.3, 0.45, 0.6, 0.75) for value in (0.25, 0.42, 0.58)
)
# White has no hue: the most saturation allowed, the least value.
_WHITE_LIMITS = (
    (0.1, 0.6),
    (0.12, 0.75),
    (0.16, 0.7),
    (0.2, 0.65),
    (0.22, 0.5),
    (0.22, 0.8),
    (0.28, 0.4),
)
# Pink is pale red or bright purple; anything purer is one of those.
_PINK_MOST_SATURATION = 0.8


def _shrink(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Averages blocks down to (128, 128, 3) in 0..1."""
    factor = picture.shape[0] // _SIDE_PX
    side = factor * _SIDE_PX
    blocks = picture[:side, :side].reshape(_SIDE_PX, factor, _SIDE_PX, factor, 3)
    small: NDArray[np.float64] = blocks.mean(axis=(1, 3)) / 255
    return small


def _hue_saturation_value(
    picture: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Source: Smith, "Color Gamut Transform Pairs" (1978); hue in degrees."""
    red, green, blue = np.moveaxis(picture, -1, 0)
    value = picture.max(axis=-1)
    chroma = value - picture.min(axis=-1)
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    return (60 * hue) % 360, chroma / np.maximum(value, 1e-6), value


def _colour_masks(picture: NDArray[np.float64], colour: Colour) -> Iterator[Mask]:
    """Yields where a picture has a colour, from generous to strict."""
    hue, saturation, value = _hue_saturation_value(picture)
    if colour is Colour.WHITE:
        for most, least in _WHITE_LIMITS:
            yield (saturation <= most) & (value >= least)
        return
    first, last = _HUES[colour]
    near = (hue - first) % 360 <= (last - first) % 360
    if colour is Colour.PINK:
        near &= saturation <= _PINK_MOST_SATURATION
    for least_saturation, least_value in _FLOORS:
        yield near & (saturation >= least_saturation) & (value >= least_value)


def _spread(mask: Mask, reach: int) -> Mask:
    """Grows a mask by ``reach`` pixels in the four directions."""
    grown = mask.copy()
    for _ in range(reach):
        step = grown.copy()
        step[1:] |= grown[:-1]
        step[:-1] |= grown[1:]
        step[:, 1:] |= grown[:, :-1]
        step[:, :-1] |= grown[:, 1:]
        grown = step
    return grown


def _patches(mask: Mask) -> Iterator[Mask]:
    """Yields connected patches, largest first; gaps as thin as a mast or a frame are bridged."""
    joined = _spread(mask, 2)
    labels = np.where(joined, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        before = labels.copy()
        for axis in (0, 1):
            for way in (slice(None), slice(None, None, -1)):
                labels = _sweep(labels, axis, way)
        if np.array_equal(labels, before):
            break
    names, sizes = np.unique(labels[mask], return_counts=True)
    for name in names[np.argsort(-sizes)][:4]:
        if name:
            yield mask & (labels == name)


def _sweep(labels: NDArray[np.int64], axis: int, way: slice) -> NDArray[np.int64]:
    """Carries the largest label along each unbroken run of one axis in one direction."""
    lines = np.moveaxis(labels, axis, 0)[way].copy()
    for index in range(1, len(lines)):
        inside = (lines[index] > 0) & (lines[index - 1] > 0)
        lines[index] = np.where(inside, np.maximum(lines[index], lines[index - 1]), lines[index])
    return np.moveaxis(lines[way], 0, axis)


def _fit(mask: Mask) -> tuple[Mask, float]:
    """Crops a mask to what it covers: (32, 32) and the width over the height."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    down = (np.arange(_OUTLINE_PX) + 0.5) * crop.shape[0] / _OUTLINE_PX
    across = (np.arange(_OUTLINE_PX) + 0.5) * crop.shape[1] / _OUTLINE_PX
    return crop[down.astype(int)][:, across.astype(int)], crop.shape[1] / crop.shape[0]


@lru_cache(maxsize=1)
def _outlines() -> Mapping[Thing, tuple[Mask, float]]:
    fitted = {}
    for thing in Thing:
        mask, aspect = _fit(outline(thing, 128))
        fitted[thing] = mask, aspect * ASPECTS[thing]
    return fitted


def _score(patch: Mask, thing: Thing) -> tuple[float, float]:
    """Answers overlap (0..1, higher is more alike) and overlap less the cost of its aspect."""
    mask, aspect = _fit(patch)
    wanted, wanted_aspect = _outlines()[thing]
    overlap = float((mask & wanted).sum() / (mask | wanted).sum())
    return overlap, overlap - _ASPECT_COST * abs(float(np.log(aspect / wanted_aspect)))


def shows_subject(picture: NDArray[np.uint8], *, thing: Thing, colour: Colour) -> bool:
    """Says whether a picture shows ``thing`` in ``colour``.

    Args:
        picture: (H, W, 3) uint8, red green blue, at least 128 pixels a side.
        thing: The object asked for.
        colour: Its main colour.

    Returns:
        True if some patch of the colour has the object's outline rather than another's.
    """
    masks = _colour_masks(_shrink(picture), colour)
    return any(_has_outline(mask, thing) for mask in masks)


def _has_outline(mask: Mask, thing: Thing) -> bool:
    if mask.mean() < _MIN_SHARE:
        return False
    for patch in _patches(mask):
        if not _MIN_SHARE <= patch.mean() <= _MAX_SHARE:
            continue
        floats = float(np.flatnonzero(patch.any(axis=1)).mean()) < _SKY_SHARE * _SIDE_PX
        rivals = [other for other in Thing if (other is Thing.BALLOON) == floats]
        scores = {other: _score(patch, other) for other in rivals}
        best = max(rivals, key=lambda other: scores[other][1])
        if best is thing and scores[thing][0] >= _MIN_OVERLAP:
            return True
    return False
