"""The label that people see: a small plate in the lower right corner, drawn before marking.

The fonts are Pillow's own, so the label looks alike on every machine and can be drawn again when a
picture is reproduced.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from provenance.errors import BackendUnavailableError
from provenance.types import RasterImage

__all__ = ["LABEL_CREATED", "LABEL_EDITED", "draw_label", "missing_letters"]

LABEL_CREATED = "AI-generated"
LABEL_EDITED = "AI-edited"

_HEIGHT_SHARE = 0.03
"""Of the short side: as large as a caption, legible when the picture fills a telephone's screen."""
_MIN_FONT_PX = 11
"""Below it the letters of Pillow's font run together."""
_MAX_WIDTH_SHARE = 0.6
"""The longest part of the width that a label may take; a longer one is set smaller."""
_PLATE_OPACITY = 0.62
"""Enough for a contrast of 4.5 to 1 on any picture (WCAG 2.2, "Contrast (Minimum)"): the light
letters have at worst 5.1 to 1 (on white ground), the dark ones 6.4 to 1 (on black ground)."""
_NO_CHARACTER = "\uffff"
"""Unicode assigns it to nothing, so every font draws what it draws for letters that it lacks."""
_DARK_GROUND = 110
"""Mean luminance, 0..255, below which the plate is light, so that it stands out."""


def draw_label(image: RasterImage, text: str) -> RasterImage:
    """A copy with `text` on a plate in the lower right corner.

    Args:
        image: The rendered picture.
        text: One short line.

    Raises:
        BackendUnavailableError: This Pillow was built without FreeType.
    """
    picture = Image.fromarray(image.pixels)
    font = _choose_font(text, picture.width, picture.height)
    left, top, right, bottom = font.getbbox(text)
    padding = max(3, round(font.size * 0.45))
    width, height = round(right - left) + 2 * padding, round(bottom - top) + 2 * padding
    margin = max(4, round(min(picture.size) * 0.02))
    x = max(0, picture.width - width - margin)
    y = max(0, picture.height - height - margin)
    box = (x, y, min(picture.width, x + width), min(picture.height, y + height))
    plate, ink = _choose_colours(picture.crop(box))
    overlay = Image.new("L", picture.size, 0)
    ImageDraw.Draw(overlay).rounded_rectangle(
        (box[0], box[1], box[2] - 1, box[3] - 1),
        radius=padding,
        fill=round(255 * _PLATE_OPACITY),
    )
    picture.paste(Image.new("RGB", picture.size, plate), mask=overlay)
    ImageDraw.Draw(picture).text((x + padding - left, y + padding - top), text, fill=ink, font=font)
    return RasterImage(np.asarray(picture))


def missing_letters(text: str) -> str:
    """What of `text` the font cannot draw; a label of empty boxes tells people nothing.

    Raises:
        BackendUnavailableError: This Pillow was built without FreeType.
    """
    if text.isascii():
        return ""
    font = _font(_MIN_FONT_PX)
    box = _glyph(font, _NO_CHARACTER)
    return "".join(one for one in dict.fromkeys(text) if _glyph(font, one) == box)


def _glyph(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def _choose_font(text: str, width_px: int, height_px: int) -> ImageFont.FreeTypeFont:
    size = max(_MIN_FONT_PX, round(min(width_px, height_px) * _HEIGHT_SHARE))
    while size > _MIN_FONT_PX and _font(size).getlength(text) > width_px * _MAX_WIDTH_SHARE:
        size -= 1
    return _font(size)


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow without FreeType has a bitmap font
        raise BackendUnavailableError(
            "visible_label needs a Pillow with FreeType; install Pillow from PyPI"
        )
    return font


def _choose_colours(ground: Image.Image) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Plate and ink: a dark plate on light ground and the other way round."""
    luminance = float(np.asarray(ground.convert("L"), dtype=np.float32).mean())
    if luminance < _DARK_GROUND:
        return (245, 245, 245), (20, 20, 20)
    return (16, 16, 16), (250, 250, 250)
