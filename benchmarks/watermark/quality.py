"""How much a mark changes a picture; measured here, apart from the code that is judged."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.types import Float32Array, RasterImage

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr_db(image: RasterImage, reference: RasterImage) -> float:
    """Decibels over all three channels; 100 for equal pictures. Higher is more similar."""
    error = image.pixels.astype(np.float32) - reference.pixels
    mean_square = float(np.square(error).mean(dtype=np.float64))
    return 100.0 if mean_square == 0 else 10.0 * math.log10(255.0**2 / mean_square)


def ssim(image: RasterImage, reference: RasterImage) -> float:
    """Structural similarity of luma, at most 1 for equal pictures.

    Source: Wang, Bovik, Sheikh, Simoncelli, IEEE Trans. Image Processing 13(4), 2004: Gaussian
    window of 11x11 with deviation 1.5, K1 = 0.01, K2 = 0.03, averaged over whole windows.
    """
    x, y = (one.pixels.astype(np.float32) @ _LUMA for one in (image, reference))
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    scale = (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    inner = (alike / scale)[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    return float(inner.mean(dtype=np.float64))


def _window(plane: Float32Array) -> Float32Array:
    averaged: Float32Array = ndimage.gaussian_filter(
        plane.astype(np.float64), _SIGMA, radius=_RADIUS
    )
    return averaged


def distribution(values: Sequence[float]) -> dict[str, float]:
    """Lowest, 5 % quantile, median and mean."""
    return {
        "min": min(values),
        "p05": float(np.quantile(values, 0.05)),
        "median": statistics.median(values),
        "mean": statistics.mean(values),
    }
