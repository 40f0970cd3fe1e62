"""Where lattice lines are strong: rotation, scale and mirror of a mark, found without its phases.

Magnitudes of lines do not depend on payload, start or slot. On axes of angle and logarithm of
radius, rotation and scale are shifts, found by correlating the picture's magnitudes with the
lattice.

Source: Reddy and Chatterji, "An FFT-based technique for translation, rotation, and scale-invariant
image registration", IEEE Trans. Image Processing 5(8), 1996.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from provenance.watermark.codecs.lattice_carrier import TILE_PX
from provenance.watermark.codecs.lattice_geometry import (
    Geometry,
    line_frequencies,
    similarity_matrices,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.types import Float32Array
    from provenance.watermark.codecs.lattice_carrier import Carrier, Complex64Array

__all__ = ["MagnitudeMap", "candidates"]

_Real: TypeAlias = npt.NDArray[np.floating]

_ANGLES = 720
"""Quarters of a degree over half a turn: magnitudes are the same upside down."""

_RADII, _PADDED = 384, 1024
_MIN_FREQUENCY, _MAX_FREQUENCY = 0.012, 0.42
_LOG_STEP = math.log(_MAX_FREQUENCY / _MIN_FREQUENCY) / (_RADII - 1)
"""A radius is 0.9 % longer than the one before."""

_SCALES = (0.45, 2.9)
"""Scales looked for: outside, too few lines stay within the frequencies above."""

_NEIGHBOURHOOD, _SMOOTHING, _STRONGEST = 21, 0.7, 3.5
"""Samples over which power is levelled, width of the smoothing in samples, and where levelled
magnitudes are capped. A line is four samples wide."""

_TAPERED_SHARE = 0.1
"""Of each side, for the windows' slopes. Wider ones (Hann's) find fewer marks in busy pictures: a
whitened picture has no strong lines whose leaking would matter, and area is worth more."""

_NOISE_MEAN = math.sqrt(math.pi) / 2
"""Mean magnitude of noise of power 1 (Rayleigh)."""

_TURNS = np.linspace(-0.0065, 0.0065, 7)
_GROWTHS = np.linspace(-0.0075, 0.0075, 7)
"""Half a step of the map and a little more, radians and share of the scale."""


class MagnitudeMap:
    """Magnitudes of a whitened plane's spectrum, levelled by their neighbourhood."""

    def __init__(self, white: Float32Array) -> None:
        self._shape = [fft.next_fast_len(2 * side, real=True) for side in white.shape]
        down, across = (_taper(side) for side in white.shape)
        windowed = white * down[:, None] * across
        power = np.square(np.abs(fft.rfft2(windowed, s=self._shape)))
        level = ndimage.uniform_filter(power, _NEIGHBOURHOOD, mode=("wrap", "reflect"))
        even = np.minimum(np.sqrt(power / (level + 1e-9)), _STRONGEST)
        smooth = ndimage.gaussian_filter(even, _SMOOTHING, mode=("wrap", "reflect"), truncate=3.0)
        self._map = _whole_plane((smooth - _NOISE_MEAN).astype(np.float32))
        self._units = np.array(self._shape, dtype=np.float32)
        self._middle = np.array(self._map.shape, dtype=np.float32) // 2

    def read(self, frequencies: _Real) -> Float32Array:
        """Magnitudes less those of noise, at (..., 2) cycles per pixel; 0 beyond the spectrum."""
        place = frequencies.astype(np.float32) * self._units + (self._middle + np.float32(0.5))
        down, across = place[..., 0].astype(np.int32), place[..., 1].astype(np.int32)
        # Whatever lies beyond reads the plane's edge, which is 0.
        np.clip(down, 0, self._map.shape[0] - 1, out=down)
        np.clip(across, 0, self._map.shape[1] - 1, out=across)
        down *= self._map.shape[1]
        down += across
        read: Float32Array = self._map.ravel().take(down)
        return read


def _whole_plane(half: Float32Array) -> Float32Array:
    """Both halves of a real picture's magnitudes, frequency 0 in the middle, and zeros around."""
    rows = half.shape[0]
    right = np.roll(half, rows // 2, axis=0)
    # NOTE: with an even number of rows the most negative frequency has no counterpart; it lies
    # beyond everything that is read.
    left = np.roll(np.roll(half[::-1], 1, axis=0), rows // 2, axis=0)[:, :0:-1]
    return np.pad(np.concatenate([left, right], axis=1), 1)


def candidates(magnitudes: MagnitudeMap, carrier: Carrier, count: int) -> Iterator[Geometry]:
    """Yields ``count`` rotations and scales for each mirror state, the most likely first."""
    polar = magnitudes.read(_polar_grid())
    transform = fft.rfft2(polar, s=(_ANGLES, _PADDED))
    first, last = (round(-math.log(scale) / _LOG_STEP) for scale in reversed(_SCALES))
    shifts = np.arange(first, last + 1)
    found: list[tuple[float, Geometry]] = []
    for mirrored, template in enumerate(_templates(carrier)):
        scores = fft.irfft2(transform * template, s=(_ANGLES, _PADDED))[:, shifts % _PADDED]
        scores = (scores - scores.mean()) / (scores.std() + 1e-9)
        rows, columns = np.nonzero(ndimage.maximum_filter(scores, 9, mode="wrap") == scores)
        values = scores[rows, columns]
        for index in np.argsort(-values)[:count]:
            scale = math.exp(-float(shifts[columns[index]]) * _LOG_STEP)
            angle = float(rows[index]) * math.pi / _ANGLES
            found.append((float(values[index]), Geometry(bool(mirrored), angle, scale)))
    for _, geometry in sorted(found, key=lambda pair: -pair[0]):
        yield _sharpen(magnitudes, carrier, geometry)


def _sharpen(magnitudes: MagnitudeMap, carrier: Carrier, geometry: Geometry) -> Geometry:
    """Moves a candidate to where its lattice's lines are strongest."""
    mirrored = geometry.mirrored
    for reach in (1.0, 0.35):
        angles = (geometry.angle + reach * _TURNS)[:, None].repeat(len(_GROWTHS), axis=1).ravel()
        scales = np.tile(geometry.scale * (1 + reach * _GROWTHS), len(_TURNS))
        matrices = similarity_matrices(angles, scales, mirrored=mirrored)
        strength = magnitudes.read(line_frequencies(matrices, carrier.points)).sum(axis=-1)
        best = int(strength.argmax())
        geometry = Geometry(mirrored, float(angles[best]), float(scales[best]))
    return geometry


def _taper(side: int) -> Float32Array:
    """(side,) window: 1 in the middle, raised cosines at both ends (Tukey)."""
    slope = max(1, round(_TAPERED_SHARE * side / 2))
    ends = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    window: Float32Array = np.square(np.sin(np.minimum(ends / slope, 1.0) * (np.pi / 2)))
    return window.astype(np.float32)


@lru_cache(maxsize=1)
def _polar_grid() -> _Real:
    """(angles, radii, 2) frequencies, cycles per pixel down and across."""
    angle = np.arange(_ANGLES)[:, None] * (np.pi / _ANGLES)
    radius = _MIN_FREQUENCY * np.exp(np.arange(_RADII) * _LOG_STEP)
    return np.stack([np.sin(angle) * radius, np.cos(angle) * radius], axis=-1)


@lru_cache(maxsize=16)
def _templates(carrier: Carrier) -> Complex64Array:
    """(2, angles, padded / 2 + 1) conjugate transforms of the lattice, as it is and mirrored.

    Used points count 1, empty ones as much less as makes the sum 0: a picture that is strong
    everywhere scores nothing.
    """
    against = -len(carrier.points) / len(carrier.empty)
    found = []
    for sign in (1, -1):
        template = np.zeros((_ANGLES, _RADII), dtype=np.float32)
        for points, weight in ((carrier.points, 1.0), (carrier.empty, against)):
            angle = np.mod(np.arctan2(points[:, 0], sign * points[:, 1]), np.pi)
            radius = np.log(np.hypot(*points.T) / TILE_PX / _MIN_FREQUENCY)
            _splat(template, angle * (_ANGLES / np.pi), radius / _LOG_STEP, weight)
        found.append(np.conj(fft.rfft2(template, s=(_ANGLES, _PADDED))))
    return np.stack(found)


def _splat(template: Float32Array, row: _Real, column: _Real, weight: float) -> None:
    """Adds points between the cells of a template, shared by the four cells around each."""
    for down in (0, 1):
        for right in (0, 1):
            near_row, near_column = np.floor(row) + down, np.floor(column) + right
            share = (1 - np.abs(row - near_row)) * (1 - np.abs(column - near_column))
            cell = (near_row.astype(np.intp) % len(template), near_column.astype(np.intp))
            np.add.at(template, cell, weight * share)
