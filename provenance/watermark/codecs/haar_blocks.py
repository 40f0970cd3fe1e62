"""The carrier that dwtDct and dwtDctSvd of invisible-watermark share, in NumPy alone.

Both hide one bit in each 8x8 block of the blue-difference plane U: Haar approximation of U, cut
into 4x4 blocks. This file finds those blocks exactly as the package sees them, so that a verifier
needs neither cv2 nor torch, and writes changed blocks back into RGB. Blocks go row by row; rows and
columns beyond a multiple of 8 carry nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.errors import CapacityError
from provenance.types import RasterImage
from provenance.watermark.codecs.haar_planes import PixelPath, approximate, blue_difference

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.types import BitArray, Float32Array, Uint8Array

__all__ = [
    "MIN_SIDE_PX",
    "block_count",
    "check_bits",
    "read_blocks",
    "soften_steps",
    "write_blocks",
]

_Real: TypeAlias = npt.NDArray[np.float64]

_BLOCK_PX = 8

MIN_SIDE_PX = 256
"""The package refuses fewer than 256 x 256 pixels; a short side of 256 always satisfies it, and
gives 1024 blocks: every coded bit of a record id is then repeated at least twice."""

_STRIP_PIXELS = 1 << 20
"""Pixels converted at a time: bounds working memory to some 60 MB, whatever the picture's size."""

_GREEN_PER_BLUE_DIFFERENCE = -0.395
_BLUE_PER_BLUE_DIFFERENCE = 2.032
"""Change of G and B for one level of U at constant Y and V.

Source: OpenCV modules/imgproc/src/color_yuv.simd.hpp (U2GF, U2BF), inverse of BT.601.
"""


def block_count(width_px: int, height_px: int) -> int:
    """Number of blocks, one carrier bit each; 0 for a picture under the minimum size."""
    if min(width_px, height_px) < MIN_SIDE_PX:
        return 0
    return (width_px // _BLOCK_PX) * (height_px // _BLOCK_PX)


def check_bits(codec: str, *, image: RasterImage, bits: BitArray) -> None:
    """Refuses a picture or a carrier of the wrong size.

    Raises:
        CapacityError: The picture is too small, or `bits` has another length than its blocks.
    """
    blocks = block_count(image.width_px, image.height_px)
    if not blocks:
        raise CapacityError(
            f"{codec} needs at least {MIN_SIDE_PX} pixels on the short side, but the picture is "
            f"{image.width_px}x{image.height_px}: render it larger"
        )
    if bits.shape != (blocks,):
        raise CapacityError(
            f"{codec} carries exactly {blocks} bits in a picture of "
            f"{image.width_px}x{image.height_px}, not {bits.size}"
        )


def read_blocks(image: RasterImage, measure: Callable[[_Real], _Real]) -> _Real:
    """Measures every block of a picture.

    Args:
        image: Any size.
        measure: From (n, 4, 4) blocks, values about 0..510, to (n,) numbers.

    Returns:
        (block_count,) float64, row by row; empty when the picture is too small.
    """
    if not block_count(image.width_px, image.height_px):
        return np.empty(0, dtype=np.float64)
    return np.concatenate([measure(_cut_blocks(_approximate(s))) for s in _strips(image.pixels)])


def write_blocks(
    image: RasterImage, bits: BitArray, quantise: Callable[[_Real, BitArray], _Real]
) -> RasterImage:
    """Changes the Haar approximation of U and nothing else.

    Args:
        image: Large enough; see `check_bits`.
        bits: (block_count,) bool.
        quantise: From a (4 r, 4 c) approximation and its (r c,) bits to the marked approximation.

    Returns:
        A copy that carries the bits.
    """
    marked = image.pixels.copy()
    done = 0
    for strip in _strips(marked):
        frame = _approximate(strip)
        blocks = frame.size // 16
        change = quantise(frame, bits[done : done + blocks]) - frame
        _add_blue_difference(strip, change)
        done += blocks
    return RasterImage(marked)


def soften_steps(values: _Real, *, step: float) -> Float32Array:
    """Soft bits of values that were moved to a quarter (0) or three quarters (1) of a step.

    Returns:
        (n,) float32 in -1..1: a sine that is 1 at three quarters, -1 at a quarter, and changes sign
        where the package's decision flips: the shape of the log-likelihood under strong noise.
    """
    return (-np.sin(2.0 * np.pi / step * values)).astype(np.float32)


def _strips(pixels: Uint8Array) -> list[Uint8Array]:
    """Views of whole rows of blocks, without the rest beyond a multiple of 8."""
    rows, columns = (side // _BLOCK_PX * _BLOCK_PX for side in pixels.shape[:2])
    strip = max(1, _STRIP_PIXELS // (columns * _BLOCK_PX)) * _BLOCK_PX
    return [pixels[top : min(top + strip, rows), :columns] for top in range(0, rows, strip)]


def _approximate(rgb: Uint8Array) -> _Real:
    frame: _Real = approximate(blue_difference(rgb, PixelPath.UINT8_BGR))  # type: ignore[assignment]  # uint8 gives float64
    return frame


def _cut_blocks(frame: _Real) -> _Real:
    high, wide = (side // 4 for side in frame.shape)
    return frame.reshape(high, 4, wide, 4).transpose(0, 2, 1, 3).reshape(-1, 4, 4)


def _add_blue_difference(strip: Uint8Array, change: _Real) -> None:
    """Adds a change of the approximation to the pixels of `strip`, in place.

    One unit of the approximation is half a level on each of its four pixels. Where blue would leave
    0..255 (white and black cannot become bluer or less blue), red and green move the other way by
    the rest, which gives the same U: without that, pictures on white would carry only zeros.
    """
    difference = np.repeat(np.repeat(change / 2.0, 2, axis=0), 2, axis=1)
    blue = strip[..., 2] + _BLUE_PER_BLUE_DIFFERENCE * difference
    rest = blue - np.clip(blue, 0, 255)
    green = strip[..., 1] + _GREEN_PER_BLUE_DIFFERENCE * difference - rest
    for channel, wanted in ((0, strip[..., 0] - rest), (1, green), (2, blue)):
        strip[..., channel] = np.clip(np.rint(wanted), 0, 255).astype(np.uint8)
