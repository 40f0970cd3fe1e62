"""Which part of a picture carries a mark that was read: the whole of it, or a piece pasted in.

Once the payload is known every wave of the mark is. Where the mark is, the whitened picture agrees
with the sum of these waves; where it isn't, the two are independent. The rectangle with most of
their agreement is the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.types import MarkRegion
from provenance.watermark.codecs.lattice_spectrum import add_waves

if TYPE_CHECKING:
    import numpy.typing as npt

    from provenance.types import Float32Array
    from provenance.watermark.codecs.lattice_carrier import Complex64Array

__all__ = ["find_region"]

_BLOCK_PX = 16
"""Side of the squares over which agreement is summed: three of the shortest waves."""

_ROUNDS = 3

_LEAST_SHARE = 0.3
"""Of the region's own agreement: what a block must show to belong to it."""

_WHOLE_SHARE = 0.85
"""From this share of its area on, the mark is said to fill the plane: blocks at the edges are too
noisy to tell."""


def find_region(
    plane: Float32Array, frequencies: npt.NDArray[np.floating], waves: Complex64Array
) -> MarkRegion:
    """Finds the part of a whitened plane that carries waves.

    Args:
        plane: (h, w) float32.
        frequencies: (n, 2) cycles per pixel down and across.
        waves: (n,) complex64 amplitudes and phases at the middle of the plane.

    Returns:
        The region in pixels of the plane.
    """
    height, width = plane.shape
    expected = add_waves(plane.shape, frequencies, waves)
    blocks = _block_sums(plane * expected)
    # As correlation: a quiet sky shows the mark ten times as clearly as foliage does.
    blocks /= np.sqrt(_block_sums(np.square(plane)) * _block_sums(np.square(expected))) + 1e-9
    box = (0, blocks.shape[0], 0, blocks.shape[1])
    for _ in range(_ROUNDS):
        level = float(blocks[box[0] : box[1], box[2] : box[3]].mean())
        box = _best_box(blocks - _LEAST_SHARE * level)
    top, bottom, left, right = box
    if (bottom - top) * (right - left) >= _WHOLE_SHARE * blocks.size:
        return MarkRegion(0, 0, width, height)
    return MarkRegion(
        left * _BLOCK_PX,
        top * _BLOCK_PX,
        min(right * _BLOCK_PX, width) - left * _BLOCK_PX,
        min(bottom * _BLOCK_PX, height) - top * _BLOCK_PX,
    )


def _block_sums(plane: Float32Array) -> Float32Array:
    """(rows, columns) sums of squares; those at the right and lower edge may be smaller."""
    edges = [np.arange(0, side, _BLOCK_PX) for side in plane.shape]
    sums: Float32Array = np.add.reduceat(np.add.reduceat(plane, edges[0], axis=0), edges[1], axis=1)
    return sums


def _best_box(gain: Float32Array) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the rectangle with the greatest sum (Kadane, for all row spans).

    Source: Bentley, "Programming pearls: algorithm design techniques", Comm. ACM 27(9), 1984.
    """
    best, box = -np.inf, (0, gain.shape[0], 0, gain.shape[1])
    below = np.concatenate([np.zeros((1, gain.shape[1])), np.cumsum(gain, axis=0)])
    for top in range(len(gain)):
        spans = below[top + 1 :] - below[top]
        running = np.concatenate([np.zeros((len(spans), 1)), np.cumsum(spans, axis=1)], axis=1)
        lowest = np.minimum.accumulate(running, axis=1)
        rise = running[:, 1:] - lowest[:, :-1]
        row, column = np.unravel_index(int(rise.argmax()), rise.shape)
        if rise[row, column] > best:
            best = float(rise[row, column])
            left = int(running[row, : column + 1].argmin())
            box = (top, top + 1 + int(row), left, int(column) + 1)
    return box
