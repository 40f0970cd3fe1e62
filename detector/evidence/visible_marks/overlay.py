"""Finds a faint pattern that is repeated over a picture on a grid, as previews have it. Pure.

The copies of an overlay are the same to the pixel and stand on an exact lattice, whatever lies
beneath. So the picture itself is pressed down (high-pass, then divided by its local contrast, so
that a strong edge counts no more than a faint stroke), and the autocorrelation of the rest shows
the lattice: isolated peaks at two displacements, their sum and their difference.

Other things repeat too. Photographed brick, cloth and fences do so only roughly (perspective, wear,
light), so that their peaks are broad or fade; and what is drawn of areas (checks, tiles) has edges,
light on one side and dark on the other, where writing has strokes, light or dark throughout: the
mean of all copies of the repeated pattern is lopsided for strokes alone. What cannot be told from
an overlay is a drawn lattice of thin strokes, such as a sheet of wrapping paper with a name on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

if TYPE_CHECKING:
    from provenance.types import Uint8Array

__all__ = ["MIN_SIDE_PX", "Lattice", "find_lattice"]

Plane: TypeAlias = npt.NDArray[np.float32]
Lag: TypeAlias = tuple[int, int]

MIN_SIDE_PX = 256
"""A smaller picture holds too few copies of anything that can be read."""
MAX_SIDE_PX = 768
"""A larger picture is looked at in its middle: an overlay is everywhere."""

LEAST_STATISTIC = 7.0
LEAST_REPEATED = 0.03
LEAST_LOPSIDED = 0.25
"""What an overlay reaches in all three; see `Lattice` and docs/benchmarks/visible_marks.md.

Photographs of the benchmark stay under 4.1 in the first, drawn patterns of areas under 0.15 in the
third; nearly flat pictures, where a few pixels make any statistic high, under 0.02 in the second.
"""

_HIGH_PASS_PX = 9
"""Strokes of overlays are 2 to 8 pixels wide."""
_CONTRAST_PX = 17
_CLIP = 2.5
_FLOOR = 1.0
"""Grey levels; below that, contrast is noise of the encoder and shall not be raised."""
_MIN_LAG_PX = 40
"""Nearer lags show the texture of the picture itself."""
_PEAKS = 20
_ISOLATION_PX = 15


@dataclass(frozen=True, slots=True)
class Lattice:
    """The best lattice of a picture.

    Attributes:
        statistic: The weakest of its four peaks, in robust standard deviations of all lags.
        repeated: Share of the fine detail that repeats at the weakest of them, to 1.
        lopsided: Skewness of the mean copy: far from 0 for strokes, near 0 for edges; positive
            for light strokes. 0 where the other two are too low for an overlay.
        first: One displacement, (down, right) pixels.
        second: Another, not along it.
    """

    statistic: float
    repeated: float = 0.0
    lopsided: float = 0.0
    first: Lag = (0, 0)
    second: Lag = (0, 0)

    @property
    def is_overlay(self) -> bool:
        """Whether this is what translucent writing over a picture looks like."""
        return self.is_repeated and abs(self.lopsided) >= LEAST_LOPSIDED

    @property
    def is_repeated(self) -> bool:
        """Whether anything repeats at all."""
        return self.statistic >= LEAST_STATISTIC and self.repeated >= LEAST_REPEATED


def find_lattice(pixels: Uint8Array) -> Lattice:
    """The best lattice in a picture.

    Args:
        pixels: (H, W, 3) uint8 RGB, `MIN_SIDE_PX` or more on both sides.
    """
    signal = _press(_luma(pixels))
    correlation = _autocorrelation(signal)
    best = _best_lattice(_isolated_peaks(correlation), correlation)
    if not best.is_repeated:
        return best
    return replace(best, lopsided=_skewness(_mean_copy(signal, best)))


def _luma(pixels: Uint8Array) -> Plane:
    down, across = (max(0, side - MAX_SIDE_PX) // 2 for side in pixels.shape[:2])
    part = pixels[down : down + MAX_SIDE_PX, across : across + MAX_SIDE_PX]
    plane: Plane = part.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return plane


def _press(luma: Plane) -> Plane:
    fine = luma - ndimage.uniform_filter(luma, _HIGH_PASS_PX)
    # Its running sums may end a rounding below zero.
    energy = np.maximum(ndimage.uniform_filter(fine * fine, _CONTRAST_PX), 0.0)
    pressed: Plane = np.clip(fine / (np.sqrt(energy) + _FLOOR), -_CLIP, _CLIP)
    pressed -= pressed.mean()
    return pressed


def _autocorrelation(signal: Plane) -> Plane:
    """(rows / 2, columns) correlation at lags down and, around, right; 1 at no lag.

    The other half is this one mirrored. Lags go around the picture's edges.
    """
    spectrum = fft.rfft2(signal)
    power = spectrum.real**2 + spectrum.imag**2
    answer = fft.irfft2(power, signal.shape)
    half: Plane = answer[: len(answer) // 2]
    return half / max(float(half[0, 0]), 1e-9)


def _isolated_peaks(correlation: Plane) -> Plane:
    """How far each lag stands above those in its row and its column: a ridge does not."""
    smooth = ndimage.uniform_filter(correlation, 3, mode="wrap")
    along = ndimage.uniform_filter1d(smooth, _ISOLATION_PX, axis=1, mode="wrap")
    down = ndimage.uniform_filter1d(smooth, _ISOLATION_PX, axis=0, mode="nearest")
    above = smooth - np.maximum(along, down)
    sample = above[::3, ::2]
    spread = 1.4826 * float(np.median(np.abs(sample - np.median(sample))))
    peaks: Plane = above / max(spread, 1e-6)
    return peaks


def _best_lattice(peaks: Plane, correlation: Plane) -> Lattice:
    """The pair of peaks whose sum and difference are peaks too."""
    lags = _highest(peaks)
    near = ndimage.maximum_filter(peaks, 3, mode="wrap")
    best = Lattice(0.0)
    for one, two in combinations(lags, 2):
        if abs(one[0] * two[1] - one[1] * two[0]) < _MIN_LAG_PX**2:
            continue
        four = (one, two, (one[0] + two[0], one[1] + two[1]), (one[0] - two[0], one[1] - two[1]))
        weakest = min(_at(near, lag) for lag in four)
        if weakest > best.statistic:
            repeated = min(_at(correlation, lag) for lag in four)
            best = Lattice(weakest, repeated, 0.0, one, two)
    return best


def _highest(peaks: Plane) -> list[Lag]:
    """Lags of the highest peaks, none beside another."""
    height, width = peaks.shape
    columns = (np.arange(width) + width // 2) % width - width // 2
    rows = np.arange(height)
    far = rows[:, None] ** 2 + columns[None, :] ** 2 >= _MIN_LAG_PX**2
    left = np.where(far, peaks, np.float32(0.0))
    lags: list[Lag] = []
    # A peak covers a few lags; the highest thousand hold the peaks that are wanted.
    order = np.argpartition(left, -1000, axis=None)[-1000:]
    for index in order[np.argsort(left.ravel()[order])[::-1]]:
        down, across = int(rows[index // width]), int(columns[index % width])
        if all(abs(down - d) > 4 or abs(across - a) > 4 for d, a in lags):
            lags.append((down, across))
        if len(lags) == _PEAKS:
            break
    return lags


def _at(plane: Plane, lag: Lag) -> float:
    """Of half a plane of lags; a lag and its opposite are the same."""
    height, width = plane.shape
    down, across = lag
    if down % (2 * height) >= height:
        down, across = -down, -across
    return float(plane[min(down % (2 * height), height - 1), across % width])


def _mean_copy(signal: Plane, lattice: Lattice) -> Plane:
    """The mean of the nine copies around each place."""
    (first_down, first_right), (second_down, second_right) = lattice.first, lattice.second
    total = np.zeros_like(signal)
    for m in (-1, 0, 1):
        for n in (-1, 0, 1):
            shift = (m * first_down + n * second_down, m * first_right + n * second_right)
            total += np.roll(signal, shift, (0, 1))
    return total


def _skewness(copy: Plane) -> float:
    centred = copy - copy.mean()
    spread = float(centred.std())
    return float((centred**3).mean()) / max(spread, 1e-6) ** 3
