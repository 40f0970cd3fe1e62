"""Undoes what a mark says was done to its picture, so that the picture can be compared.

Pure. A mark is found again in a turned, mirrored or framed picture, and says how it lay there. A
perceptual hash knows nothing of that: it has to be taken of the picture as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from provenance.types import RasterImage

if TYPE_CHECKING:
    from provenance.types import MarkGeometry, MarkRegion, WatermarkEvidence

__all__ = ["is_partial", "straighten"]

_LEAST_GROWTH, _LEAST_STRETCH, _LEAST_TURN_DEG = 0.01, 0.01, 0.5
"""Below these a geometry is the one that a picture has when nothing was done to it."""


def straighten(raster: RasterImage, mark: WatermarkEvidence, size: tuple[int, int]) -> RasterImage:
    """The picture as it was, as far as it is left.

    Args:
        raster: The picture under examination.
        mark: What its mark says: region and geometry.
        size: Width and height of the registered picture.

    Returns:
        The same raster when nothing was done to it. Stretching is left: hashes don't see it.
    """
    image = Image.fromarray(raster.pixels)
    region, geometry = mark.region, mark.geometry
    # A picture that lies askew fills its upright region only in part: it is cut after turning.
    if region is not None and (geometry is None or _is_upright(geometry)):
        left, top = region.left_px, region.top_px
        image = image.crop((left, top, left + region.width_px, top + region.height_px))
    if geometry is not None and _is_turned(geometry):
        short = min(image.size) * geometry.scale
        image = image.rotate(geometry.rotation_deg, Image.Resampling.BICUBIC, expand=True)
        image = _cut_middle(image, *(round(side * short / min(size)) for side in size))
    if geometry is not None and geometry.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return RasterImage(np.ascontiguousarray(np.asarray(image)))


def is_partial(raster: RasterImage, mark: WatermarkEvidence) -> bool:
    """Whether the mark says that the picture was cropped, turned, stretched or put into another.

    Then a fingerprint that disagrees is no sign that the mark was moved.
    """
    geometry = mark.geometry
    if mark.region is not None and not _is_whole(mark.region, raster):
        return True
    return geometry is not None and (
        geometry.mirrored
        or _is_turned(geometry)
        or abs(geometry.scale - 1) > _LEAST_GROWTH
        or abs(geometry.stretch - 1) > _LEAST_STRETCH
    )


def _is_whole(region: MarkRegion, raster: RasterImage) -> bool:
    return (region.width_px, region.height_px) == (raster.width_px, raster.height_px)


def _is_turned(geometry: MarkGeometry) -> bool:
    return abs((geometry.rotation_deg + 180) % 360 - 180) > _LEAST_TURN_DEG


def _is_upright(geometry: MarkGeometry) -> bool:
    return abs((geometry.rotation_deg + 45) % 90 - 45) <= _LEAST_TURN_DEG


def _cut_middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle, or all of a side that is shorter."""
    width, height = min(width, image.width), min(height, image.height)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
