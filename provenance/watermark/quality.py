"""How visible a mark is: peak signal-to-noise ratio and structural similarity.

Pure.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from provenance.types import Float32Array, RasterImage

__all__ = ["measure_psnr_db", "measure_ssim"]

_SIGMA_PX, _RADIUS_PX = 1.5, 5
"""The window of the source: 11x11 pixels, Gaussian."""

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
    pixels on the short side are averaged down by a whole number first.

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
    inside = similarity[_RADIUS_PX:-_RADIUS_PX, _RADIUS_PX:-_RADIUS_PX]
    return float(inside.mean(dtype=np.float64))


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
    blurred: Float32Array = ndimage.gaussian_filter(
        plane, _SIGMA_PX, radius=_RADIUS_PX, mode="nearest"
    )
    return blurred
