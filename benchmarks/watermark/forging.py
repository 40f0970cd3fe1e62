"""What an attacker without the key can do to the lattice mark: pure functions on pictures.

The attacker knows this code: the canonical size, the tile's period, everything but the key.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.watermark.edits import from_levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.types import RasterImage

Plane: TypeAlias = npt.NDArray[np.float32]

TILE_PX = 128
"""Period of the mark in a picture whose short side has 512 pixels; published."""

RING = (4.5, 24.5)
"""Where in the tile's spectrum the mark lives, in steps from its middle; published as well."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_ROUNDS = 4
_DENOISING = 4.0
"""Strength of non-local means: about what takes a mark of 44 dB off."""


def residual(image: RasterImage) -> Plane:
    """What denoising takes off luma: grain, and most of the mark."""
    import cv2

    luma = image.pixels.astype(np.float32) @ _LUMA
    levels = np.clip(np.rint(luma), 0, 255).astype(np.uint8)
    smooth = cv2.fastNlMeansDenoising(levels, None, _DENOISING, 7, 21)
    return luma - smooth.astype(np.float32)


def add(image: RasterImage, pattern: Plane) -> RasterImage:
    return from_levels(image.pixels + pattern[..., None])


def fold(plane: Plane) -> Plane:
    """The mean of all whole tiles of a plane."""
    rows, columns = (side // TILE_PX for side in plane.shape)
    whole = plane[: rows * TILE_PX, : columns * TILE_PX]
    return whole.reshape(rows, TILE_PX, columns, TILE_PX).mean(axis=(0, 2), dtype=np.float32)


def tiled(tile: Plane, shape: tuple[int, ...]) -> Plane:
    repeats = [-(-side // TILE_PX) for side in shape[:2]]
    return np.tile(tile, repeats)[: shape[0], : shape[1]]


def aligned(tile: Plane, towards: Plane) -> Plane:
    """The tile, moved in a circle to where it correlates best with another, in the mark's ring."""
    one, other = (_phases(np.fft.rfft2(plane)) for plane in (tile, towards))
    match = np.fft.irfft2(other * one.conj() * _ring(), s=tile.shape)
    down, across = np.unravel_index(int(match.argmax()), match.shape)
    return np.roll(tile, (int(down), int(across)), axis=(0, 1))


def _phases(spectrum: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """Phases alone: the picture's own few strong waves would decide otherwise."""
    unit: npt.NDArray[np.complex128] = spectrum / np.maximum(np.abs(spectrum), 1e-6)
    return unit


@cache
def _ring() -> npt.NDArray[np.bool_]:
    down = np.fft.fftfreq(TILE_PX, 1 / TILE_PX)[:, None]
    radius = np.hypot(down, np.arange(TILE_PX // 2 + 1))
    ring: npt.NDArray[np.bool_] = (radius >= RING[0]) & (radius <= RING[1])
    return ring


def average_tile(tiles: Sequence[Plane], *, first: Plane | None = None) -> Plane:
    """Mean of tiles that are first moved onto each other, without any knowledge of the key.

    Starts from one tile and repeats: each is moved to where it fits the mean so far.
    """
    mean = tiles[0] if first is None else first
    for _ in range(_ROUNDS):
        mean = np.mean([aligned(tile, mean) for tile in tiles], axis=0, dtype=np.float32)
    return mean


def scaled_to(pattern: Plane, levels: float) -> Plane:
    """The pattern at another root mean square, grey levels."""
    size = float(np.sqrt(np.mean(np.square(pattern)))) or 1.0
    return (pattern * np.float32(levels / size)).astype(np.float32)
