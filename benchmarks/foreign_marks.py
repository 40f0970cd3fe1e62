"""Marks as other programs write them: the real encoder of invisible-watermark, fed as they feed it.

Each `PixelPath` is one way in which a known tool hands its pictures over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from provenance.types import RasterImage

if TYPE_CHECKING:
    import numpy.typing as npt

    from provenance.types import BitArray, Uint8Array
    from provenance.watermark.codecs.dwt_reading import FrequencyMethod
    from provenance.watermark.codecs.haar_planes import PixelPath


def hand_over(pixels: Uint8Array, path: PixelPath) -> npt.NDArray[np.generic]:
    """(H, W, 3) uint8 RGB in the number type and channel order of a path."""
    ordered = pixels if "RGB" in path else pixels[..., ::-1]
    return np.ascontiguousarray(ordered, dtype=np.float32 if "float32" in path else np.uint8)


def write_foreign_mark(
    image: RasterImage, bits: BitArray, *, path: PixelPath, method: FrequencyMethod
) -> RasterImage:
    """The picture as the tool would save it (rounded, as diffusers does)."""
    from imwatermark import WatermarkEncoder

    encoder = WatermarkEncoder()
    encoder.set_by_bits([int(bit) for bit in bits])
    marked = encoder.encode(hand_over(image.pixels, path), method.value)
    levels = np.clip(np.rint(marked), 0, 255).astype(np.uint8)
    return RasterImage(np.ascontiguousarray(levels if "RGB" in path else levels[..., ::-1]))


def read_foreign_mark(
    image: RasterImage, length: int, *, path: PixelPath, method: FrequencyMethod
) -> BitArray:
    """What the package's own decoder answers."""
    from imwatermark import WatermarkDecoder

    decoder = WatermarkDecoder("bits", length)
    return np.asarray(decoder.decode(hand_over(image.pixels, path), method.value), dtype=bool)
