"""How visible a mark is: peak signal-to-noise ratio and structural similarity.

Pure.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from provenance.types import Float32Array, RasterImage

__all__ = ["measure_psnr_db", "measure_ssim"]

_SIGMA_PX, _RADIUS_PX = 1.5, 5
"""The window of the source: 11x11 pixels, Gaussian."""

_WEIGHTS = np.exp(
    -np.square(np.arange(-_RADIUS_PX, _RADIUS_PX + 1, dtype=np.float32)) / (2 * _SIGMA_PX**2)
)
_WEIGHTS /= _WEIGHTS.sum()

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

_LONGEST_SHORT_SIDE_PX = 1024
"""Larger pictures are seen from further away: they are averaged down to about this size first,
which also keeps memory bounded."""


def measure_psnr_db(image: RasterImage, reference: RasterImage) -> float:
    """Peak signal-to-noise ratio in decibels over all three channels; 100 for equal pictures.

    Both pictures have the same size. Higher is more similar.
    """
    error = np.subtract(image.pixels, reference.pixels, dtype=np.int16)
    mean_square = float(np.square(error, dtype=np.int32).mean())
    return 100.0 if mean_square == 0 else 10.0 * math.log10(255.0**2 / mean_square)


def measure_ssim(image: RasterImage, reference: RasterImage) -> float:
    """Structural similarity of luma, at most 1; higher is more similar.

    Both pictures have the same size, at least 11 pixels each way. Pictures with more than 1,535
    pixels on the short side are averaged down by a whole number first. The mean is taken over every
    other place of the window each way: a quarter of the work, and the same to the fourth digit.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", IEEE Trans. Image Processing 13(4), 2004.
    """
    one, other = _luma(image), _luma(reference)
    mean_one, mean_other = _window(one), _window(other)
    cross = mean_one * mean_other
    squares = np.square(mean_one) + np.square(mean_other)
    variances = _window(np.square(one) + np.square(other)) - squares
    covariance = _window(one * other) - cross
    similarity = (2 * cross + _C1) * (2 * covariance + _C2)
    similarity /= (squares + _C1) * (variances + _C2)
    return float(similarity.mean(dtype=np.float64))


def _luma(image: RasterImage) -> Float32Array:
    """(h, w) float32 luma."""
    plane: Float32Array = image.pixels.astype(np.float32) @ _LUMA
    factor = max(1, round(min(plane.shape) / _LONGEST_SHORT_SIDE_PX))
    if factor > 1:
        rows, columns = (side // factor for side in plane.shape)
        blocks = plane[: rows * factor, : columns * factor]
        plane = blocks.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    return plane


def _window(plane: Float32Array) -> Float32Array:
    """(h, w) averaged by the window, at every other place where it lies inside the plane."""
    rows = _every_other(plane)
    return _every_other(rows.T).T


def _every_other(plane: Float32Array) -> Float32Array:
    """Correlation with the window down the rows, for every other row that it fits around."""
    # Even and odd rows by themselves: then all that is added up lies side by side in memory.
    halves = tuple(np.ascontiguousarray(plane[first::2]) for first in (0, 1))
    count = (plane.shape[0] - 2 * _RADIUS_PX + 1) // 2
    summed = np.zeros((count, plane.shape[1]), dtype=np.float32)
    for tap, weight in enumerate(_WEIGHTS):
        first = tap // 2
        summed += weight * halves[tap % 2][first : first + count]
    return summed
