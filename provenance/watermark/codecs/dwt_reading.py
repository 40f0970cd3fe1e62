"""Reads what invisible-watermark's ``dwtDct`` and ``dwtDctSvd`` write, as its decoder does.

The package loops over blocks in Python and needs OpenCV, PyWavelets and torch; this is NumPy alone
and works on whole planes. Bits of ``dwtDct`` are the package's own; those of ``dwtDctSvd`` too, but
where a singular value lies within rounding of a quantiser edge.

A picture can be handed to the package in four ways that matter (`haar_planes.PixelPath`). They give
different planes, and a mark written in one way is read badly in another.

Source: invisible-watermark 0.2.0, ``maxDct.py`` and ``dwtDctSvd.py``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import InputError
from provenance.watermark.codecs.haar_planes import PixelPath, approximate, blue_difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from provenance.types import BitArray, Uint8Array
    from provenance.watermark.codecs.haar_planes import Real

__all__ = ["STEP", "FrequencyMethod", "decode_bits", "measure_blocks", "measure_plane", "vote_bits"]

STEP = 36
"""The package's quantiser step, which no known tool changes."""

_BLOCK_PX = 8

_STRIP_PIXELS = 1 << 16
"""Pixels worked on at a time: a quarter megabyte a plane stays in the cache of one core."""


class FrequencyMethod(StrEnum):
    """The package's methods without a network.

    dwtDct hides a bit in the largest Haar coefficient of a block, dwtDctSvd in its largest singular
    value. (There is no DCT in the first, and in the second it changes nothing.)
    """

    DWT_DCT = "dwtDct"
    DWT_DCT_SVD = "dwtDctSvd"


def decode_bits(
    pixels: Uint8Array, length: int, *, path: PixelPath, method: FrequencyMethod
) -> BitArray:
    """The bits that the package's decoder answers.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        length: Of the message, in bits.
        path: How the picture is handed to the package.
        method: Which of its two methods.

    Returns:
        (length,) bool; False where no block carries the bit.

    Raises:
        InputError: `length` is not positive.
    """
    values = measure_blocks(pixels, path=path, method=method)
    return vote_bits(values % STEP > STEP * 0.5, length)


def vote_bits(votes: npt.NDArray[np.bool_], length: int) -> BitArray:
    """Joins one vote a block, block after block, into bits as the package does.

    Args:
        votes: Any shape, row by row.
        length: Of the message, in bits.

    Returns:
        (length,) bool: mean times 255 above 127, so that a tie is a 1.

    Raises:
        InputError: `length` is not positive.
    """
    if length <= 0:
        raise InputError(f"a message has at least one bit, not {length}")
    index = np.arange(votes.size) % length
    blocks = np.bincount(index, minlength=length)
    ones = np.bincount(index, weights=votes.ravel(), minlength=length)
    mean = np.divide(ones, blocks, out=np.zeros(length), where=blocks > 0)
    bits: BitArray = mean * 255 > 127
    return bits


def measure_blocks(pixels: Uint8Array, *, path: PixelPath, method: FrequencyMethod) -> Real:
    """The number of each 8x8 block in which the package hides a bit.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        path: How the picture is handed to the package.
        method: ``dwtDct``: the largest absolute Haar coefficient but the first; ``dwtDctSvd``: the
            largest singular value.

    Returns:
        (H // 8, W // 8), not negative: float64, or float32 on the float32 paths of ``dwtDct``.
    """
    rows, columns = (side // _BLOCK_PX for side in pixels.shape[:2])
    strips = [
        measure_plane(blue_difference(strip, path), method=method)
        for strip in _strips(pixels[: rows * _BLOCK_PX, : columns * _BLOCK_PX])
    ]
    if not strips:
        return np.empty((rows, columns))
    values: Real = np.concatenate(strips)  # type: ignore[assignment]  # all of one number type
    return values


def measure_plane(plane: Real, *, method: FrequencyMethod) -> Real:
    """The same of a plane that is there already.

    Args:
        plane: (h, w), as `haar_planes.blue_difference` answers; rows and columns beyond a multiple
            of 8 are left out.
        method: As in `measure_blocks`.

    Returns:
        (h // 8, w // 8), not negative.
    """
    rows, columns = (side // _BLOCK_PX * _BLOCK_PX for side in plane.shape)
    return _MEASURES[method](approximate(plane[:rows, :columns]))


def _strips(pixels: Uint8Array) -> Iterator[Uint8Array]:
    if not pixels.size:
        return
    strip = max(1, _STRIP_PIXELS // (pixels.shape[1] * _BLOCK_PX)) * _BLOCK_PX
    for top in range(0, len(pixels), strip):
        yield pixels[top : top + strip]


def _largest_coefficients(frame: Real) -> Real:
    """(h / 4, w / 4) largest absolute value of each 4x4 block, its first element left out."""
    sizes = np.abs(frame)
    sizes[::4, ::4] = 0
    tall = np.maximum(np.maximum(sizes[0::4], sizes[1::4]), np.maximum(sizes[2::4], sizes[3::4]))
    largest: Real = np.maximum(
        np.maximum(tall[:, 0::4], tall[:, 1::4]), np.maximum(tall[:, 2::4], tall[:, 3::4])
    )
    return largest


def _largest_singular_values(frame: Real) -> Real:
    """(h / 4, w / 4) largest singular value of each 4x4 block.

    As the root of the Gram matrix's largest eigenvalue, in a third of a batched SVD's time. The
    package's DCT is orthonormal and leaves singular values as they are.
    """
    high, wide = (side // 4 for side in frame.shape)
    blocks = frame.astype(np.float64).reshape(high, 4, wide, 4).transpose(0, 2, 1, 3)
    gram = blocks.swapaxes(-1, -2) @ blocks
    norms: Real = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[..., -1], 0.0))
    return norms


_MEASURES = {
    FrequencyMethod.DWT_DCT: _largest_coefficients,
    FrequencyMethod.DWT_DCT_SVD: _largest_singular_values,
}
