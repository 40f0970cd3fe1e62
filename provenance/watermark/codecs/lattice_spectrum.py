"""A picture's spectrum at any frequency, so that no rotation or scale ever needs resampling.

A lattice line of a rotated, scaled or sheared mark stands between the samples of a Fourier
transform. Instead of resampling the picture for every geometry that is tried, its spectrum is
computed once, and read between its samples with the accuracy of direct summation: a non-uniform
Fourier transform of type 2. A geometry then costs its few hundred lines, not a picture.

Source: Dutt and Rokhlin, "Fast Fourier transforms for nonequispaced data", SIAM J. Sci. Comput.
14(6), 1993; the Kaiser-Bessel kernel and its width as in Beatty, Nishimura, Pauly, "Rapid gridding
reconstruction with a minimal oversampling ratio", IEEE Trans. Medical Imaging 24(6), 2005.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    import numpy.typing as npt

    from provenance.types import Float32Array
    from provenance.watermark.codecs.lattice_carrier import Complex64Array

__all__ = ["Spectrum", "add_waves"]

_WIDTH = 4
"""Samples read along each axis: with twofold oversampling, errors are thousandths of the noise."""

_BETA = 2.34 * _WIDTH


class Spectrum:
    """Fourier transform of a plane, (h, w) float32, with its origin in the middle of the plane."""

    def __init__(self, plane: Float32Array) -> None:
        self._shape = tuple(fft.next_fast_len(2 * side, real=True) for side in plane.shape)
        weights = [
            _flat_field(side, size) for side, size in zip(plane.shape, self._shape, strict=True)
        ]
        flat = plane * weights[0][:, None] * weights[1][None, :]
        half = fft.rfft2(_centred(flat, self._shape))
        # Columns left of zero are the mirror of those right of it; a few are enough for the kernel.
        mirror = np.roll(half[::-1, 1 : _WIDTH + 1], 1, axis=0)[:, ::-1].conj()
        self._half = np.concatenate([mirror, half], axis=1)

    def lines(self, frequencies: npt.NDArray[np.floating]) -> Complex64Array:
        """Reads lines.

        Args:
            frequencies: (..., 2) cycles per pixel down and across, each within -0.5..0.5. Lines
                beyond read as 0.

        Returns:
            (...) complex64.
        """
        flip = frequencies[..., 1] < 0
        place = np.where(flip[..., None], -frequencies, frequencies)
        inside = (np.abs(place) < 0.5 - _WIDTH / min(self._shape)).all(axis=-1)
        place = np.where(inside[..., None], place, 0.0)
        down, weigh_down = _taps(place[..., 0] * self._shape[0])
        across, weigh_across = _taps(place[..., 1] * self._shape[1])
        rows = down % self._shape[0]
        columns = across + _WIDTH
        taps = self._half[rows[..., :, None], columns[..., None, :]]
        values = np.einsum("...ij,...i,...j->...", taps, weigh_down, weigh_across)
        values = np.where(flip, values.conj(), values)
        return np.where(inside, values, 0).astype(np.complex64)


def add_waves(
    shape: tuple[int, ...], frequencies: npt.NDArray[np.floating], waves: Complex64Array
) -> Float32Array:
    """The sum of waves at every pixel of a plane, a non-uniform transform of type 1.

    Args:
        shape: Height and width.
        frequencies: (n, 2) cycles per pixel down and across; those beyond 0.5 are left out.
        waves: (n,) complex64 amplitudes and phases at the middle of the plane.

    Returns:
        (h, w) float32, the real part of the sum.
    """
    size = tuple(fft.next_fast_len(2 * side) for side in shape)
    inside = (np.abs(frequencies) < 0.5 - _WIDTH / min(size)).all(axis=-1)
    place = frequencies[inside] * np.array(size)
    (down, weigh_down), (across, weigh_across) = _taps(place[:, 0]), _taps(place[:, 1])
    spread = np.einsum("n,ni,nj->nij", waves[inside], weigh_down, weigh_across)
    grid = np.zeros(size, dtype=np.complex64)
    np.add.at(grid, (down[:, :, None] % size[0], across[:, None, :] % size[1]), spread)
    whole = fft.ifft2(grid).real * np.float32(grid.size)
    middle = [side // 2 for side in shape]
    plane = np.roll(whole, middle, axis=(0, 1))[: shape[0], : shape[1]]
    flat = [_flat_field(side, length) for side, length in zip(shape, size, strict=True)]
    summed: Float32Array = plane * flat[0][:, None] * flat[1][None, :]
    return summed


def _centred(plane: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    """Lays a plane into zeros so that its middle stands at 0, 0 and the rest wraps around."""
    laid = np.zeros(shape, dtype=np.float32)
    laid[: plane.shape[0], : plane.shape[1]] = plane
    middle = (-(plane.shape[0] // 2), -(plane.shape[1] // 2))
    rolled: Float32Array = np.roll(laid, middle, axis=(0, 1))
    return rolled


def _flat_field(side: int, size: int) -> Float32Array:
    """(side,) weights that undo the kernel's fading towards the edges."""
    offset = (np.arange(side) - side // 2) / size
    root = np.sqrt(np.square(_BETA) - np.square(np.pi * _WIDTH * offset))
    weights: Float32Array = (root / (_WIDTH * np.sinh(root))).astype(np.float32)
    return weights


def _taps(
    place: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.intp], Float32Array]:
    """(..., 4) nearest samples and the kernel's weights there."""
    first = np.floor(place).astype(np.intp) - (_WIDTH // 2 - 1)
    samples = first[..., None] + np.arange(_WIDTH)
    distance = (place[..., None] - samples) * (2 / _WIDTH)
    inside = np.sqrt(np.maximum(1 - np.square(distance), 0))
    return samples, (np.i0(_BETA * inside)).astype(np.float32)
