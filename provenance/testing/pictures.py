"""Synthetic pictures for tests: made from a seed, the same everywhere, no files needed."""

from __future__ import annotations

import numpy as np

from provenance.types import RasterImage

__all__ = ["flat_picture", "natural_picture"]


def natural_picture(width_px: int, height_px: int, *, seed: int) -> RasterImage:
    """A picture with the spectrum of photographs: amplitude falls as 1/f, channels correlate.

    Source: Field, J. Opt. Soc. Am. A 4(12), 1987, for the spectrum.
    """
    random = np.random.default_rng(seed)
    rows = np.fft.fftfreq(height_px)[:, None]
    columns = np.fft.rfftfreq(width_px)[None, :]
    falloff = 1.0 / np.maximum(np.hypot(rows, columns), 1.0 / max(width_px, height_px))
    planes = []
    for _ in range(3):
        spectrum = np.fft.rfft2(random.normal(size=(height_px, width_px))) * falloff
        spectrum[0, 0] = 0.0
        plane = np.fft.irfft2(spectrum, s=(height_px, width_px))
        planes.append(plane / plane.std())
    luma, warm, cold = planes
    colour = np.stack([luma + 0.4 * warm, luma, luma + 0.4 * cold], axis=-1)
    return RasterImage(np.clip(np.rint(118.0 + 45.0 * colour), 0, 255).astype(np.uint8))


def flat_picture(width_px: int, height_px: int, *, rgb: tuple[int, int, int]) -> RasterImage:
    """One colour everywhere: the picture that shows nothing."""
    pixels = np.empty((height_px, width_px, 3), dtype=np.uint8)
    pixels[:] = rgb
    return RasterImage(pixels)
