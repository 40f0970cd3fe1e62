"""From the spectral lines of a whitened picture to soft bits, under one key.

Pure: complex numbers in, statistics and soft bits out. How the lines were measured (folded tiles,
or an interpolated spectrum at some rotation and scale) is no matter here; all that is left unknown
is where the tile begins, which only turns each line's phase by 2 pi k.s / tile.

**Statistic and its bound.** For a picture that never met the key the pilots' phases are independent
and uniform whatever the picture is. For a fixed start s of the tile the pilots' sum
G = sum |X_k| cos(phase) is then a sum of independent symmetric terms, and because
E exp(t a cos u) = I0(t a) <= exp(t^2 a^2 / 4), it is sub-Gaussian with variance sum |X_k|^2 / 2:
P(G / root of that > z) <= exp(-z^2 / 2). Every start on the grid, slot and geometry tried counts
once (union bound). Geometry may be chosen by magnitudes as one likes: they do not depend on phases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from provenance.watermark.codecs.lattice_carrier import (
    MAX_RADIUS,
    SLOTS,
    TILE_PX,
    Carrier,
    Complex64Array,
)

if TYPE_CHECKING:
    from provenance.types import Float32Array

__all__ = [
    "Lines",
    "Sync",
    "demodulate",
    "pilot_bound",
    "pilot_statistics",
    "synchronise",
]

_GRID = 128
"""Starts tried along each side: one canonical pixel apart, a sixth of the shortest wave."""

_STARTS = _GRID * _GRID

_STEPS = int(MAX_RADIUS)
"""Lattice steps from the middle to the farthest pilot."""

_ROWS = 32
"""Rows of a matrix product made at a time. A larger product would be shared among threads, which
on a busy machine wait for each other many times longer than they work."""


def _waves(steps: npt.NDArray[np.intp]) -> Complex64Array:
    """(steps, 128) waves at every start along one side."""
    phases = np.outer(steps, np.arange(_GRID)) * (2j * np.pi / _GRID)
    waves: Complex64Array = np.exp(phases).astype(np.complex64)
    return waves


_DOWN_WAVES = _waves(np.arange(-_STEPS, _STEPS + 1)).T
_DOWN = np.concatenate([_DOWN_WAVES.real, _DOWN_WAVES.imag], axis=1).reshape(
    -1, _ROWS, 4 * _STEPS + 2
)
_ACROSS_WAVES = _waves(np.arange(_STEPS + 1))
_ACROSS = np.concatenate([_ACROSS_WAVES.real, -_ACROSS_WAVES.imag])
"""Waves of a small discrete Fourier transform: with so few steps of so many, two matrix products
take less than half of the time of a fast one."""

_OUTLIER = 2.0
"""Lines stronger than twice the median are cut down to it: a fence or a brick wall in the picture
shows as a few strong lines, and one of them must not decide."""

_SOFT_LIMIT = 4.0
"""Deviations at which one line's word is capped, for the same reason."""

_LEAST_DEVIATION = 0.3
"""Lines that seem quieter than a third of the mean are not trusted more than that."""

_SLOTS_KEPT = 2

_REACH = 3.0
"""Lattice steps over which the picture's noise changes little."""

_EMPTY_OUTLIER = 6.0

_GAIN_OUTLIER = 3.0
_GAINS = (0.05, 3.0)
"""No line is written off, and none counts more than three."""


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Measured lines of one picture at one geometry.

    Attributes:
        used: (n,) complex64 at the carrier's points.
        empty: (m,) complex64 at its empty points.
    """

    used: Complex64Array
    empty: Complex64Array


@dataclass(frozen=True, slots=True)
class Sync:
    """Where the tile begins, and how surely.

    Attributes:
        statistic: Pilots' sum over its deviation for an unmarked picture; about 4 for the best of
            all starts of an unmarked picture, 10 and more for a marked one.
        start: Start of the tile, canonical pixels down and across, 0..128.
        slots: Best slots, the most likely first.
    """

    statistic: float
    start: tuple[float, float]
    slots: tuple[int, ...]


def _limited(lines: Complex64Array) -> Complex64Array:
    size = np.abs(lines)
    limit = _OUTLIER * np.median(size, axis=-1, keepdims=True)
    return (lines * np.minimum(1.0, limit / np.maximum(size, 1e-12))).astype(np.complex64)


def _turn(points: npt.NDArray[np.intp], start: tuple[float, float]) -> Complex64Array:
    """Phase factors that move the tile's start from ``start`` to 0."""
    angle = (points[:, 0] * start[0] + points[:, 1] * start[1]) * (2 * np.pi / TILE_PX)
    factors: Complex64Array = np.exp(1j * angle).astype(np.complex64)
    return factors


def _start_grid(pilots: Complex64Array, carrier: Carrier) -> tuple[Float32Array, Float32Array]:
    """Pilots' sum for every start, of several geometries at once.

    Args:
        pilots: (B, pilots) lines at the carrier's pilots.
        carrier: The key's carrier.

    Returns:
        (B, 128, 128) sums, and (B,) sums of squared magnitudes.
    """
    limited = _limited(pilots)
    turned = limited * np.exp(-1j * carrier.pilot_phase).astype(np.complex64)
    points = carrier.points[carrier.pilots]
    flip = points[:, 1] < 0
    down = np.where(flip, -points[:, 0], points[:, 0])
    values = np.where(flip, turned.conj(), turned)
    steps = np.zeros((len(pilots), 2 * _STEPS + 1, _STEPS + 1), dtype=np.complex64)
    steps[:, down + _STEPS, np.abs(points[:, 1])] = values
    # Complex numbers as pairs of real ones: (re, im) = (re, im) x ((re, im), (-im, re)).
    real = np.concatenate([steps.real, steps.imag], axis=2)
    imaginary = np.concatenate([-steps.imag, steps.real], axis=2)
    columns = _DOWN @ np.concatenate([real, imaginary], axis=1)[:, None]
    sums = (columns @ _ACROSS).reshape(-1, _GRID, _GRID)
    return sums, np.square(np.abs(limited)).sum(axis=1)


def pilot_statistics(pilots: Complex64Array, carrier: Carrier) -> Float32Array:
    """(B,) best pilots' sum over all starts, in deviations, for (B, pilots) lines."""
    sums, power = _start_grid(pilots, carrier)
    best = sums.reshape(len(sums), -1).max(axis=1)
    statistics: Float32Array = best / np.sqrt(np.maximum(power / 2, np.float32(1e-30)))
    return statistics


def synchronise(lines: Lines, carrier: Carrier) -> Sync:
    """Finds the start of the tile and the slot."""
    sums, power = _start_grid(lines.used[None, carrier.pilots], carrier)
    best = int(sums[0].argmax())
    start = (float(best // _GRID), float(best % _GRID))
    points = carrier.points[carrier.slot_pilots]
    slot_lines = _limited(lines.used[carrier.slot_pilots]) * _turn(points, start)
    phases = np.stack([slot.pilot_phase for slot in carrier.slots])
    slot_sums = (slot_lines * np.exp(-1j * phases)).real.sum(axis=1)
    slots = np.argsort(-slot_sums)[:_SLOTS_KEPT]
    total_power = float(power[0] + np.square(np.abs(slot_lines)).sum())
    total = float(sums[0].flat[best] + slot_sums[slots[0]])
    return Sync(
        total / math.sqrt(max(total_power / 2, 1e-30)),
        _refine(lines, carrier, start),
        tuple(int(slot) for slot in slots),
    )


def _refine(lines: Lines, carrier: Carrier, start: tuple[float, float]) -> tuple[float, float]:
    """Moves the start between grid points: two Newton steps on the pilots' sum."""
    points = carrier.points[carrier.pilots]
    values = _limited(lines.used[carrier.pilots]) * np.exp(-1j * carrier.pilot_phase)
    waves = points * (2 * np.pi / TILE_PX)
    place = np.array(start)
    for _ in range(2):
        turned = values * np.exp(1j * (waves @ place))
        slope = -(turned.imag @ waves)
        bend = -(waves.T * turned.real) @ waves
        try:
            step = np.linalg.solve(bend, slope)
        except np.linalg.LinAlgError:
            break
        place = place - np.clip(step, -0.5, 0.5)
    if np.abs(place - np.array(start)).max() > 1.0:
        return start
    return float(place[0]), float(place[1])


def pilot_bound(statistic: float, *, geometries: int) -> float:
    """Upper bound of the probability that an unmarked picture reaches the statistic.

    Args:
        statistic: `Sync.statistic`.
        geometries: Geometries, keys and windows of which this is the best.
    """
    if statistic <= 0:
        return 1.0
    tries = geometries * _STARTS * SLOTS
    return min(1.0, tries * math.exp(-statistic * statistic / 2))


@lru_cache(maxsize=16)
def _neighbours(carrier: Carrier) -> Float32Array:
    """(n, m) weights, 1 in sum: how much each empty point tells of the noise at each used one."""
    weights = np.zeros((len(carrier.points), len(carrier.empty)), dtype=np.float32)
    for sign in (1.0, -1.0):  # the spectrum of a real picture is symmetric
        offset = carrier.points[:, None] - sign * carrier.empty[None]
        weights += np.exp(-np.square(offset).sum(axis=-1) / (2 * _REACH**2)).astype(np.float32)
    normed: Float32Array = weights / weights.sum(axis=1, keepdims=True)
    return normed


def _noise_power(lines: Lines, carrier: Carrier) -> Float32Array:
    """(n,) expected squared magnitude of each used line if the mark were not there."""
    power = np.square(np.abs(lines.empty))
    power = np.minimum(power, _EMPTY_OUTLIER * np.median(power))
    # No matrix product, for the reason given at `_ROWS`.
    near: Float32Array = np.maximum(
        np.einsum("nm,m->n", _neighbours(carrier), power), np.float32(1e-20)
    )
    return near


def _channel_gain(lines: Lines, carrier: Carrier, sync: Sync) -> Float32Array:
    """(data,) how much of each data line's amplitude is left, on average 1.

    Blur and compression take fine waves first. How many, pilots tell: a straight line over the
    radius, fitted to what they show of the amplitude that was written.
    """
    points, amplitude = carrier.points[carrier.pilots], carrier.amplitude[carrier.pilots]
    turned = lines.used[carrier.pilots] * _turn(points, sync.start)
    left = (turned * np.exp(-1j * carrier.pilot_phase)).real / amplitude
    limit = _GAIN_OUTLIER * np.median(np.abs(left))
    trust = amplitude / np.sqrt(_noise_power(lines, carrier)[carrier.pilots])
    radius = np.hypot(*points.T)
    design = np.stack([np.ones_like(radius), radius], axis=1) * trust[:, None]
    at_zero, slope = np.linalg.lstsq(design, np.clip(left, -limit, limit) * trust, rcond=None)[0]
    gain = at_zero + slope * np.hypot(*carrier.points[carrier.data].T)
    mean = float(gain.mean())
    if mean <= 0:  # no mark, or hardly any: nothing to learn
        return np.ones(len(gain), dtype=np.float32)
    shares: Float32Array = np.clip(gain / mean, *_GAINS).astype(np.float32)
    return shares


def demodulate(lines: Lines, carrier: Carrier, sync: Sync) -> Float32Array:
    """Soft coded bits for each of `Sync.slots`: (slots, 384) float32, positive: 1.

    They are scaled like log-likelihood ratios.
    """
    points = carrier.points[carrier.data]
    amplitude = carrier.amplitude[carrier.data] * _channel_gain(lines, carrier, sync)
    turned = lines.used[carrier.data] * _turn(points, sync.start)
    deviation = np.sqrt(_noise_power(lines, carrier)[carrier.data] / 2)
    weight = amplitude / np.maximum(deviation / deviation.mean(), _LEAST_DEVIATION)
    words = []
    for slot in (carrier.slots[index] for index in sync.slots):
        values = (turned * np.exp(-1j * slot.data_phase)).real / deviation
        values = np.clip(values, -_SOFT_LIMIT, _SOFT_LIMIT)
        sums = np.bincount(slot.order, -values * weight, len(slot.flips))
        words.append(sums * np.where(slot.flips, -1.0, 1.0))
    return np.stack(words).astype(np.float32)
