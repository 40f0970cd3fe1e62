"""Writes the lattice mark into a picture, knowing what its reader will see (informed embedding).

The picture itself is the strongest noise that a mark has to stand out of, and the embedder knows
it. A first pass embeds blindly and measures, with the reader's own code, what the picture and what
the mark contribute to each line. The second pass gives each wave what it needs: more where the
picture works against it, less where the picture helps.

Source: Malvar and Florencio, "Improved spread spectrum: a new modulation technique for robust
watermarking", IEEE Trans. Signal Processing 51(4), 2003; here per line and in the reader's
whitened domain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import fft

from provenance.types import RasterImage
from provenance.watermark.codecs.lattice_canvas import (
    WORK_PX,
    activity,
    canonical_shape,
    folded_spectrum,
    pick_lines,
    resize_plane,
    scaled_luma,
)
from provenance.watermark.codecs.lattice_carrier import CANONICAL_PX, TILE_PX

if TYPE_CHECKING:
    import numpy.typing as npt

    from provenance.types import Float32Array
    from provenance.watermark.codecs.lattice_carrier import Carrier, Complex64Array

__all__ = ["half_plane", "write_waves"]

_FLOOR_LEVELS, _PER_ACTIVITY, _CAP_LEVELS = 1.06, 0.057, 4.3
"""Strength in grey levels, root mean square: what a flat sky gets, what each level of local
deviation adds, and the most. Tuned on photographs of BSDS500 and desktop wallpapers to
44 dB on average."""

_CANCEL = 0.7
"""Share of the picture's own contribution that is taken away from each line. All of it would cost
more strength than it wins once compression adds noise of its own."""

_MOST_CHANGE = (-1.0, 2.0)
"""Limits of that change, in amplitudes of the wave: none is turned around or tripled."""

_STRIP_PIXELS = 1 << 20
"""Pixels changed at a time: bounds working memory whatever the picture's size."""


def write_waves(
    image: RasterImage, carrier: Carrier, waves: Complex64Array, *, strength: float
) -> RasterImage:
    """Returns a copy of ``image`` that carries ``waves``.

    Args:
        image: At least 256 pixels on its short side.
        carrier: The key's carrier.
        waves: (n,) complex64 amplitude and phase at each of the carrier's points.
        strength: Factor on the amplitude; 1 is about 44 dB on photographs.
    """
    mask = strength * _strength_mask(image)
    level = np.sqrt(2.0 / np.square(np.abs(waves)).sum())
    blind = _add(image, _pattern(carrier, waves * level, mask))
    informed = waves + _correction(image, blind, carrier, waves)
    return _add(image, _pattern(carrier, informed * level, mask))


def _strength_mask(image: RasterImage) -> Float32Array:
    """Strength of each canonical pixel, grey levels."""
    busy = activity(scaled_luma(image, WORK_PX), WORK_PX)
    mask = np.minimum(_FLOOR_LEVELS + _PER_ACTIVITY * busy, _CAP_LEVELS)
    return resize_plane(mask, canonical_shape(image.height_px, image.width_px, CANONICAL_PX))


def _pattern(carrier: Carrier, waves: Complex64Array, mask: Float32Array) -> Float32Array:
    """The tile, repeated over the canonical picture, times its strength."""
    down, across, values = half_plane(carrier.points, waves.astype(np.complex64))
    half = np.zeros((TILE_PX, TILE_PX // 2 + 1), dtype=np.complex64)
    half[down % TILE_PX, across] = values
    tile = fft.irfft2(half, s=(TILE_PX, TILE_PX)) * np.float32(TILE_PX * TILE_PX)
    repeats = [-(-side // TILE_PX) for side in mask.shape]
    pattern: Float32Array = np.tile(tile, repeats)[: mask.shape[0], : mask.shape[1]] * mask
    return pattern


def half_plane(
    points: npt.NDArray[np.intp], values: Complex64Array
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Complex64Array]:
    """Entries of a half spectrum whose inverse real transform is the sum of Re(value x wave).

    Returns:
        Steps down (may be negative) and across (0 or more), and the values to set there.
    """
    flip = points[:, 1] < 0
    down = np.where(flip, -points[:, 0], points[:, 0])
    across = np.abs(points[:, 1])
    # The transform counts every column but the first for its mirror as well.
    halves = np.where(across == 0, 1.0, 0.5)
    return down, across, (np.where(flip, values.conj(), values) * halves).astype(np.complex64)


def _correction(
    image: RasterImage, blind: RasterImage, carrier: Carrier, waves: Complex64Array
) -> Complex64Array:
    """What to add to each wave so that the picture works against it less."""
    host, marked = (pick_lines(folded_spectrum(one), carrier.points) for one in (image, blind))
    size, direction = np.abs(waves), np.exp(1j * np.angle(waves))
    along = (host * direction.conj()).real
    gain = _smooth_gain(((marked - host) * direction.conj()).real / size, carrier)
    change = np.clip(-_CANCEL * along / gain, _MOST_CHANGE[0] * size, _MOST_CHANGE[1] * size)
    corrected: Complex64Array = (change * direction).astype(np.complex64)
    return corrected


def _smooth_gain(response: Float32Array, carrier: Carrier) -> Float32Array:
    """What a wave of amplitude 1 gives at the reader: a cubic of its radius, never near 0."""
    radius = np.hypot(*carrier.points.T) / TILE_PX
    powers = np.vander(radius, 4)
    fitted = powers @ np.linalg.lstsq(powers, response, rcond=None)[0]
    least = 0.2 * max(float(response.mean()), 1e-6)
    gain: Float32Array = np.maximum(fitted, least).astype(np.float32)
    return gain


def _add(image: RasterImage, pattern: Float32Array) -> RasterImage:
    """Adds a canonical pattern to all three channels at the picture's own size, strip by strip."""
    pixels = image.pixels
    marked = np.empty_like(pixels)
    height, width = pixels.shape[:2]
    canonical = Image.fromarray(pattern)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = pattern[top:bottom]
        if pattern.shape != (height, width):
            scale = pattern.shape[0] / height
            box = (0.0, top * scale, float(pattern.shape[1]), bottom * scale)
            strip = np.asarray(
                canonical.resize((width, bottom - top), Image.Resampling.BICUBIC, box=box)
            )
        changed = pixels[top:bottom] + strip[..., None]
        np.rint(changed, out=changed)
        marked[top:bottom] = np.clip(changed, 0, 255, out=changed)
    return RasterImage(marked)
