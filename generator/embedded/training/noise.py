"""Tileable random fields with natural spectra, made once and looked up for every scene."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane = NDArray[np.floating]

__all__ = ["FINE", "PINK", "SOFT", "field", "ridge_line"]

# Slope of the amplitude spectrum. Natural photographs have about 1 (Field, "Relations between
# the statistics of natural images and the response properties of cortical cells", 1987).
PINK = 1.0
# Clouds, slopes and large shades are smoother; grain and grass are rougher.
SOFT = 1.7
FINE = 0.45

# Twice a picture's side, so that a shifted window rarely shows the same place again.
_TILE_PX = 1024
# Several tiles a slope: two layers of one scene must not share their texture.
_TILES = 4
_TILE_SEED = 20_240_229


@lru_cache(maxsize=64)
def _tile(slope: float, index: int) -> Plane:
    """Answers one tile: (1024, 1024) float32, mean 0, standard deviation 1, periodic."""
    rng = np.random.default_rng([_TILE_SEED, round(slope * 100), index])
    spectrum = np.fft.rfft2(rng.standard_normal((_TILE_PX, _TILE_PX)))
    frequency = np.hypot(np.fft.fftfreq(_TILE_PX)[:, None], np.fft.rfftfreq(_TILE_PX)[None, :])
    # Waves longer than half a picture would only shift a layer's mean colour.
    frequency = np.maximum(frequency, 1 / 300)
    spectrum /= frequency**slope
    spectrum[0, 0] = 0
    tile = np.fft.irfft2(spectrum, s=(_TILE_PX, _TILE_PX))
    unit: Plane = (tile / tile.std()).astype(np.float32)
    return unit


def field(
    rng: np.random.Generator, *, shape: tuple[int, int], slope: float, stretch: float = 1.0
) -> Plane:
    """Answers a random window of a random tile.

    Args:
        rng: Chooses the window.
        shape: Height and width in pixels.
        slope: One of `PINK`, `SOFT`, `FINE`.
        stretch: How many times wider than high features are; at least 1.

    Returns:
        Array of ``shape``, float32, about standard normal.
    """
    top, left = rng.integers(0, _TILE_PX, size=2)
    rows = (top + np.round(np.arange(shape[0]) * stretch).astype(int)) % _TILE_PX
    columns = (left + np.arange(shape[1])) % _TILE_PX
    # One gather of rows, one of columns: far cheaper than a two-dimensional index.
    window: Plane = _tile(slope, int(rng.integers(_TILES)))[rows][:, columns]
    return window


def ridge_line(rng: np.random.Generator, *, width: int, roughness: float) -> Plane:
    """Answers a one-dimensional outline: (width,) float32, mean 0, peak about 1.

    Args:
        rng: Chooses the outline.
        width: Pixels.
        roughness: 0 for gentle hills to 1 for jagged peaks.
    """
    slope = 2.4 - 0.9 * roughness
    lowest = 1.2 + 1.6 * roughness
    waves = np.fft.rfftfreq(width, d=1 / width)
    amplitude = np.where(waves >= 1, np.maximum(waves, lowest) ** -slope, 0)
    phase = rng.uniform(0, 2 * np.pi, size=waves.size)
    line = np.fft.irfft(amplitude * np.exp(1j * phase), n=width)
    outline: Plane = (line / np.abs(line).max()).astype(np.float32)
    return outline
