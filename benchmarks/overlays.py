"""Draws what agencies lay over their previews, and textures that repeat without any overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from provenance.types import RasterImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

CLEAN = ("shutterstock", "gettyimages", "dreamstime", "alamy")
GARBLED = ("sutterso", "gefty irnqes", "drearnstme", "alomy")


def draw_overlay(picture: RasterImage, text: str, *, opacity: float, seed: int) -> RasterImage:
    """`text`, light or dark, on a grid of random pitch, angle and size over the whole picture.

    Args:
        picture: What lies beneath.
        text: What is repeated.
        opacity: Of the letters, 0..1.
        seed: Of everything else.
    """
    random = np.random.default_rng(seed)
    size_px = int(random.integers(22, 40))
    pitch = int(random.integers(120, 200)), int(random.integers(8, 11) * size_px * 0.75)
    image = Image.fromarray(picture.pixels)
    side = int(1.5 * max(image.size))
    layer = Image.new("L", (side, side), 0)
    pen, font = ImageDraw.Draw(layer), ImageFont.load_default(size_px)
    for row, down in enumerate(range(0, side, pitch[0])):
        shift = pitch[1] // 2 * (row % 2)
        for across in range(shift - pitch[1], side, pitch[1]):
            pen.text((across, down), text, fill=round(255 * opacity), font=font)
    layer = layer.rotate(float(random.choice([0, 15, 30, 45])), Image.Resampling.BICUBIC)
    left, top = (side - image.width) // 2, (side - image.height) // 2
    mask = layer.crop((left, top, left + image.width, top + image.height))
    shade = (255, 255, 255) if random.random() < 0.75 else (40, 40, 40)
    image.paste(Image.new("RGB", image.size, shade), mask=mask)
    return RasterImage(np.asarray(image))


def draw_textures(count: int, *, seed: int) -> Iterator[tuple[str, RasterImage]]:
    """Brick, fence, cloth and planks, in turn: as photographed, every fourth as drawn.

    As photographed means that each part differs in shade and place, that the wall is seen at an
    angle, and that there is light and noise; as drawn means none of that.
    """
    random = np.random.default_rng(seed)
    for number in range(count):
        kind = tuple(_TEXTURES)[number % len(_TEXTURES)]
        is_drawn = number % 16 >= 12
        image = _TEXTURES[kind](random, 0.0 if is_drawn else 1.0)
        if not is_drawn:
            image = _photograph(image, random)
        name = f"{kind}, drawn" if is_drawn else kind
        yield name, RasterImage(np.asarray(image.convert("RGB")))


_SIDE_PX = 900


def _brick(random: np.random.Generator, unevenness: float) -> Image.Image:
    high, wide = int(random.integers(40, 70)), int(random.integers(100, 160))
    image = Image.new("RGB", (_SIDE_PX, _SIDE_PX), (190, 185, 175))
    pen = ImageDraw.Draw(image)
    for row, top in enumerate(range(0, _SIDE_PX, high)):
        for left in range(-(row % 2) * wide // 2, _SIDE_PX, wide):
            shade = np.array([150, 70, 50]) + random.normal(0, 14, 3) * unevenness
            slip = random.normal(0, 2.0, 4) * unevenness
            box = np.array([left + 4, top + 4, left + wide - 4, top + high - 4]) + slip
            pen.rectangle(tuple(box), fill=tuple(int(c) for c in np.clip(shade, 0, 255)))
    return image


def _fence(random: np.random.Generator, unevenness: float) -> Image.Image:
    pitch = int(random.integers(50, 110))
    image = Image.new("RGB", (_SIDE_PX, _SIDE_PX), (90, 130, 80))
    pen = ImageDraw.Draw(image)
    for start in range(-_SIDE_PX, 2 * _SIDE_PX, pitch):
        for ends in (
            ((start, 0), (start + _SIDE_PX, _SIDE_PX)),
            ((start, _SIDE_PX), (start + _SIDE_PX, 0)),
        ):
            bend = random.normal(0, 3.0 * unevenness, 4)
            (x0, y0), (x1, y1) = ends
            pen.line((x0 + bend[0], y0 + bend[1], x1 + bend[2], y1 + bend[3]), (200, 200, 205), 4)
    return image


def _cloth(random: np.random.Generator, unevenness: float) -> Image.Image:
    pitch = int(random.integers(45, 90))
    down, across = np.mgrid[0:_SIDE_PX, 0:_SIDE_PX].astype(np.float64)
    if unevenness:
        waves = random.normal(0, 1.0, (2, 12, 12))
        bends = [_enlarge(wave) * 3.0 * unevenness for wave in waves]
        down, across = down + bends[0], across + bends[1]
    weave = np.sin(2 * np.pi * down / pitch) * np.sin(2 * np.pi * across / pitch)
    threads = np.sin(2 * np.pi * (down + across) / 6.0) * 12.0
    shade = np.clip(120 + 50 * weave + threads, 0, 255).astype(np.uint8)
    return Image.fromarray(shade).convert("RGB")


def _planks(random: np.random.Generator, unevenness: float) -> Image.Image:
    wide = int(random.integers(50, 120))
    image = Image.new("RGB", (_SIDE_PX, _SIDE_PX), (60, 45, 30))
    pen = ImageDraw.Draw(image)
    for number, left in enumerate(range(0, _SIDE_PX, wide)):
        shade = np.array([170, 130, 90]) + random.normal(0, 15, 3) * unevenness
        pen.rectangle((left + 3, 0, left + wide - 3, _SIDE_PX), tuple(int(c) for c in shade))
        for nail in range((number % 2) * 100, _SIDE_PX, 200):
            slip = random.normal(0, 3.0 * unevenness)
            pen.ellipse((left + 10, nail + slip, left + 16, nail + slip + 6), fill=(30, 30, 30))
    return image


_TEXTURES = {"brick": _brick, "fence": _fence, "cloth": _cloth, "planks": _planks}


def _photograph(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """At an angle, with uneven light, a little unsharp and noisy."""
    far = random.uniform(0.0004, 0.0012, 2) * random.choice([-1, 1], 2)
    scale = 0.7
    bent = image.transform(
        image.size,
        Image.Transform.PERSPECTIVE,
        (scale, 0.03, 40.0, 0.02, scale, 40.0, abs(far[0]) * 0.4, abs(far[1]) * 0.4),
        Image.Resampling.BICUBIC,
    ).filter(ImageFilter.GaussianBlur(0.7))
    pixels = np.asarray(bent, dtype=np.float64)
    light = 1.0 + 0.15 * _enlarge(random.normal(0, 1.0, (6, 6)))
    pixels = pixels * light[..., None] + random.normal(0, 4.0, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _enlarge(coarse: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    smooth = Image.fromarray(coarse.astype(np.float32)).resize(
        (_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC
    )
    return np.asarray(smooth, dtype=np.float64)
