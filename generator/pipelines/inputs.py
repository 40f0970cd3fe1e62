"""Input pictures and masks, brought to the size of the picture, and laid over it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from provenance.types import RasterImage

if TYPE_CHECKING:
    from provenance.types import GenerationRequest, RenderDefaults, Uint8Array

__all__ = ["choose_size", "fit_image", "fit_mask", "keep_outside"]


def choose_size(
    image: RasterImage | None, defaults: RenderDefaults, *, fallback_px: int = 512
) -> tuple[int, int]:
    """Width and height for a request that names none.

    Without an input, the square that the model was made for. With one, the input's own
    proportions; a larger one comes down until its short side is what the model was made for.
    """
    side = defaults.side_px or fallback_px
    if image is None:
        return side, side
    scale = min(1.0, side / image.min_side_px)
    multiple = defaults.multiple_px
    width, height = (
        max(multiple, round(length * scale / multiple) * multiple)
        for length in (image.width_px, image.height_px)
    )
    return width, height


def fit_image(image: RasterImage, request: GenerationRequest) -> Image.Image:
    """The input picture at the size of the request."""
    size = (request.width_px, request.height_px)
    picture = Image.fromarray(image.pixels)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def fit_mask(mask: RasterImage, request: GenerationRequest) -> Image.Image:
    """The mask at the size of the request, as one channel: 255 is painted anew, 0 stays."""
    size = (request.width_px, request.height_px)
    grey = Image.fromarray(mask.pixels).convert("L")
    return grey if grey.size == size else grey.resize(size, Image.Resampling.BILINEAR)


def keep_outside(rendered: RasterImage, request: GenerationRequest) -> RasterImage:
    """The rendered picture where the mask is white, the input's own pixels where it is black.

    The image decoder changes every pixel a little, also those that were not to be touched; this
    puts them back. Grey blends.
    """
    if request.mask is None or request.init_image is None:
        return rendered
    opened = np.asarray(fit_mask(request.mask, request), dtype=np.uint16)[:, :, None]
    before = np.asarray(fit_image(request.init_image.raster, request), dtype=np.uint16)
    mixed = (rendered.pixels * opened + before * (255 - opened) + 127) // 255
    pixels: Uint8Array = mixed.astype(np.uint8)
    return RasterImage(pixels)
