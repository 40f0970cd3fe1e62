"""The blue-difference plane and its Haar approximation, to the last bit as OpenCV has them.

invisible-watermark converts with OpenCV and transforms with PyWavelets; this is NumPy alone and
repeats their arithmetic operation by operation, because values on a quantiser edge turn on the last
bit, and a picture of whole numbers puts one block in thirty-six there.

Sources: OpenCV modules/imgproc/src/color_yuv.simd.hpp (BT.601; Y = 0.299 R + 0.587 G + 0.114 B,
U = 0.492 (B - Y) + offset); PyWavelets, ``dwt2`` (products first, then their sum).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from provenance.types import Uint8Array

__all__ = ["PixelPath", "Real", "approximate", "blue_difference"]

Real: TypeAlias = npt.NDArray[np.float64] | npt.NDArray[np.float32]

_HALF = 0.7071067811865476
"""PyWavelets' coefficient of the Haar filter."""

_LUMA_FIXED = {
    0: np.array([1868, 9617, 4899], dtype=np.float32),
    2: np.array([4899, 9617, 1868], dtype=np.float32),
}
"""Weights of the channels in uint8 pictures, by the place of the one taken for blue; 14-bit fixed
point. Every sum stays under 2**24, so that float32 holds it exactly, whatever the order."""

_LUMA_FLOAT = tuple(float(np.float32(weight)) for weight in (0.114, 0.587, 0.299))
_BLUE_FLOAT = float(np.float32(0.492))
"""The same, and the factor of U, in float32 pictures."""


class PixelPath(StrEnum):
    """How a picture is handed to OpenCV: number type and order of the channels.

    BGR is what OpenCV expects; in RGB it takes red for blue.
    """

    UINT8_BGR = "uint8 BGR"
    FLOAT32_BGR = "float32 BGR"
    UINT8_RGB = "uint8 RGB"
    FLOAT32_RGB = "float32 RGB"


def blue_difference(rgb: Uint8Array, path: PixelPath) -> Real:
    """Plane U as ``cv2.cvtColor(..., COLOR_BGR2YUV)`` computes it.

    Args:
        rgb: (h, w, 3) uint8 RGB.
        path: How the picture is handed to OpenCV.

    Returns:
        (h, w) float64 whole numbers of 0..255 on the uint8 paths, else float32 in -125..126. On the
        float32 paths OpenCV rounds the last columns beyond a multiple of 8 otherwise.
    """
    first = 2 if path in (PixelPath.UINT8_BGR, PixelPath.FLOAT32_BGR) else 0
    if path in (PixelPath.UINT8_BGR, PixelPath.UINT8_RGB):
        return _in_fixed(rgb, first)
    return _in_float(*(rgb[..., channel] for channel in (first, 1, 2 - first)))


def _in_fixed(rgb: Uint8Array, first: int) -> Real:
    """14-bit fixed point, Y rounded to a whole number first, offset 128."""
    channels = rgb.astype(np.float32, order="C")
    luma = (channels.reshape(-1, 3) @ _LUMA_FIXED[first]).reshape(rgb.shape[:2])
    luma += np.float32(8192)
    luma *= np.float32(2.0**-14)
    np.floor(luma, out=luma)
    np.subtract(channels[..., first], luma, out=luma)
    luma *= np.float32(8061)
    luma += np.float32((128 << 14) + 8192)
    luma *= np.float32(2.0**-14)
    plane: Real = np.floor(luma, out=np.empty(luma.shape))
    return plane


def _in_float(blue: Uint8Array, green: Uint8Array, red: Uint8Array) -> Real:
    """Single precision, offset 0.5.

    OpenCV multiplies and adds in one rounding (FMA). A product of two float32 is exact in float64,
    so a sum there, rounded once more, is the same but for one case in 2**29. NOTE: on processors
    without FMA OpenCV rounds twice, and a value on an edge may fall to the other side.
    """
    first, second, third = _LUMA_FLOAT
    luma = (red * third).astype(np.float32)
    luma = (green * second + luma).astype(np.float32)
    luma = (blue * first + luma).astype(np.float32)
    np.subtract(blue, luma, out=luma)
    wide = luma * np.float64(_BLUE_FLOAT)
    wide += 0.5
    return wide.astype(np.float32)


def approximate(plane: Real) -> Real:
    """(h / 2, w / 2) Haar approximation of an (h, w) plane with even sides, in its number type."""
    half = plane.dtype.type(_HALF)
    scaled = plane * half
    rows = scaled[0::2]
    rows += scaled[1::2]
    rows *= half
    frame: Real = rows[:, 0::2] + rows[:, 1::2]
    return frame
