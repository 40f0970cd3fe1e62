"""A picture as the lattice mark sees it: luma at canonical size, its activity, and whitened.

Whitening makes of a picture what a correlator wants: equal noise everywhere. The picture's own
structure is taken off (what a Gaussian blur keeps), and what remains is divided by the square of
its local deviation: once because noise is that strong there, once because the mark is embedded in
proportion to it, so a pixel counts by amplitude over noise power (a matched filter).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import fft, ndimage

from provenance.watermark.codecs.lattice_carrier import CANONICAL_PX, TILE_PX

if TYPE_CHECKING:
    import numpy.typing as npt

    from provenance.types import Float32Array, RasterImage
    from provenance.watermark.codecs.lattice_carrier import Complex64Array

__all__ = [
    "LUMA",
    "WORK_PX",
    "activity",
    "canonical_shape",
    "folded_spectrum",
    "pick_lines",
    "resize_plane",
    "scaled_luma",
    "whiten",
]

WORK_PX = 256
"""Short side at which activity is measured and direct reading works: the highest line of the mark
has 2.6 pixels per wave there, and everything costs a quarter."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R BT.601, as in JPEG (JFIF 1.02): what compression keeps best."""


def canonical_shape(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width with the short side at ``side``."""
    scale = side / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def scaled_luma(image: RasterImage, side: int) -> Float32Array:
    """Luma in grey levels, short side scaled to ``side``: (h, w) float32."""
    pixels = image.pixels
    height, width = pixels.shape[:2]
    shape = canonical_shape(height, width, side)
    factor = min(height // shape[0], width // shape[1])
    source = Image.fromarray(pixels)
    if factor >= 4:
        # Box averages down to about twice the size wanted cost little and round by a fraction of
        # a level; the last step filters properly.
        source = source.reduce(factor // 2)
    return resize_plane(np.asarray(source).astype(np.float32) @ LUMA, shape)


def resize_plane(plane: Float32Array, shape: tuple[int, int]) -> Float32Array:
    """Resizes (h, w) float32 to another height and width; filters where it shrinks."""
    if plane.shape == shape:
        return plane
    resized = Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def folded_spectrum(image: RasterImage) -> Complex64Array:
    """Transform of all tiles of a whitened picture added up: (64, 64) complex64.

    Holds every line of a mark whose picture's geometry is as it was.
    """
    white = whiten(scaled_luma(image, WORK_PX), WORK_PX)
    transform: Complex64Array = fft.fft2(_fold(white, TILE_PX * WORK_PX // CANONICAL_PX))
    return transform


def pick_lines(spectrum: Complex64Array, points: npt.NDArray[np.intp]) -> Complex64Array:
    """Lines of a folded spectrum at lattice points, (n, 2): (n,) complex64."""
    side = len(spectrum)
    lines: Complex64Array = spectrum[points[:, 0] % side, points[:, 1] % side]
    return lines


def _fold(plane: Float32Array, tile: int) -> Float32Array:
    """Adds up all tiles of a plane: (tile, tile)."""
    rows, columns = (-(-side // tile) for side in plane.shape)
    whole = np.zeros((rows * tile, columns * tile), dtype=np.float32)
    whole[: plane.shape[0], : plane.shape[1]] = plane
    folded: Float32Array = whole.reshape(rows, tile, columns, tile).sum(axis=(0, 2))
    return folded


def _blur(plane: Float32Array, sigma: float) -> Float32Array:
    blurred: Float32Array = ndimage.gaussian_filter(plane, sigma, mode="nearest", truncate=3.0)
    return blurred


def activity(luma: Float32Array, side: int) -> Float32Array:
    """Local deviation in grey levels, (h, w), of luma whose short side has ``side`` pixels.

    The smaller one of two windows, so that the flat side of an edge counts as flat.
    """
    scale = side / CANONICAL_PX
    detail = luma - _blur(luma, 3.0 * scale)
    squares = np.square(detail)
    near = _blur(squares, 3.0 * scale)
    far = _blur(squares, 7.0 * scale)
    return np.sqrt(np.minimum(near, far))


def whiten(
    luma: Float32Array, side: int, *, offset: float = 2.0, clip: float = 3.0
) -> Float32Array:
    """Whitens luma: (h, w) float32, mean square about 1, at most ``clip``."""
    scale = side / CANONICAL_PX
    detail = luma - _blur(luma, 4.0 * scale)
    deviation = np.sqrt(_blur(np.square(detail), 4.0 * scale)) + offset
    white = detail / np.square(deviation)
    spread = float(np.sqrt(np.mean(np.square(white)))) or 1.0
    return np.clip(white / spread, -clip, clip).astype(np.float32)
