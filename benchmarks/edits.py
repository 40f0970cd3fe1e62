"""The 31 edits of a copy that near-duplicate detection is measured on: from a re-save to a collage.

``crop70`` keeps 70 % of each side. The groups say which target an edit belongs to; see
`benchmarks.near_duplicates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from benchmarks.watermark.edits import (
    BICUBIC,
    Scene,
    blur,
    chain,
    from_pillow,
    grey,
    hue,
    jpeg,
    mirror,
    noise,
    nothing,
    quarter_turn,
    resize,
    rotate,
    stretch,
    text,
    webp,
)
from provenance.types import RasterImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.watermark.edits import Edit

__all__ = ["EDITS", "Group", "NamedEdit", "Scene", "edit_picture"]


class Group(StrEnum):
    """Edits that share a target."""

    LIGHT = "light"
    GEOMETRY = "geometry"
    PHONE = "phone screenshot"
    DESKTOP = "desktop screenshot"
    COLLAGE = "collage"
    PASTE = "paste-in"
    CROP50 = "crop50"
    CROP30 = "crop30"
    HARD = "other"


@dataclass(frozen=True, slots=True)
class NamedEdit:
    """One edit.

    Attributes:
        group: Its target.
        apply: The picture edited; draws its chances from the scene.
    """

    group: Group
    apply: Edit


def edit_picture(name: str, image: RasterImage, scene: Scene) -> RasterImage:
    """The picture after the edit of that name."""
    return EDITS[name].apply(image, scene)


def keep_part(share: float) -> Edit:
    """A window of `share` of each side, anywhere in the picture."""

    def run(image: RasterImage, scene: Scene) -> RasterImage:
        height, width = (max(16, round(side * share)) for side in image.pixels.shape[:2])
        top = int(scene.draw.integers(0, image.height_px - height + 1))
        left = int(scene.draw.integers(0, image.width_px - width + 1))
        return RasterImage(image.pixels[top : top + height, left : left + width].copy())

    return run


def rotate_inside(degrees: float) -> Edit:
    """Turned, and cut to the largest upright window of the same aspect without black corners."""

    def run(image: RasterImage, _: Scene) -> RasterImage:
        width, height = image.width_px, image.height_px
        angle = np.deg2rad(degrees)
        wide = width * np.cos(angle) + height * np.sin(angle)
        tall = width * np.sin(angle) + height * np.cos(angle)
        share = min(width / wide, height / tall)
        turned = Image.fromarray(image.pixels).rotate(degrees, BICUBIC)
        across, down = width * (1 - share) / 2, height * (1 - share) / 2
        return from_pillow(turned.crop((across, down, width - across, height - down)))

    return run


def jitter(image: RasterImage, scene: Scene) -> RasterImage:
    """Brightness, contrast and saturation, each by up to 40 % either way."""
    picture = Image.fromarray(image.pixels)
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = kind(picture).enhance(float(scene.draw.uniform(0.6, 1.4)))
    return from_pillow(picture)


def border(share: float) -> Edit:
    """A frame of one colour, `share` of the longer side wide."""

    def run(image: RasterImage, scene: Scene) -> RasterImage:
        wide = round(share * max(image.width_px, image.height_px))
        size = (image.width_px + 2 * wide, image.height_px + 2 * wide)
        colour = tuple(int(level) for level in scene.draw.integers(0, 256, 3))
        sheet = Image.new("RGB", size, colour)
        sheet.paste(Image.fromarray(image.pixels), (wide, wide))
        return from_pillow(sheet)

    return run


def phone_screenshot(image: RasterImage, _: Scene) -> RasterImage:
    """In a chat app's feed, 720x1280, as wide as the screen."""
    shown = Image.fromarray(image.pixels)
    shown = shown.resize((720, min(960, round(720 * shown.height / shown.width))), BICUBIC)
    sheet = Image.new("RGB", (720, 1280), (250, 250, 252))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(26)
    pen.rectangle((0, 0, 720, 44), (20, 22, 26))
    pen.text((20, 8), "12:41", "white", font)
    pen.text((610, 8), "87 %", "white", font)
    pen.ellipse((20, 64, 92, 136), (120, 150, 210))
    pen.text((112, 66), "somebody", (20, 22, 26), font)
    pen.text((112, 102), "three hours ago", (120, 124, 130), ImageFont.load_default(22))
    top = 160
    sheet.paste(shown, (0, top))
    below = top + shown.height + 16
    for number, line in enumerate(
        ("1,204 likes", "somebody look what I found", "see all 31 replies")
    ):
        pen.text((20, below + 40 * number), line, (40, 44, 50), font)
    pen.rectangle((0, 1220, 720, 1280), (236, 238, 241))
    for column in range(5):
        pen.ellipse(
            (58 + 142 * column, 1234, 90 + 142 * column, 1266), outline=(90, 94, 100), width=3
        )
    return from_pillow(sheet)


def desktop_screenshot(image: RasterImage, _: Scene) -> RasterImage:
    """In a viewer's window that fills about a quarter of a 1280x800 desktop."""
    sheet = _wallpaper(1280, 800)
    shown = Image.fromarray(image.pixels)
    shown.thumbnail((640, 400), BICUBIC)
    left, top = 180, 160
    frame = (left - 12, top - 44, left + shown.width + 12, top + shown.height + 32)
    pen = ImageDraw.Draw(sheet)
    pen.rectangle(frame, (245, 246, 248))
    pen.rectangle((frame[0], frame[1], frame[2], frame[1] + 34), (222, 225, 230))
    pen.text((left, top - 40), "picture.png - Viewer", (60, 64, 67), ImageFont.load_default(20))
    sheet.paste(shown, (left, top))
    pen.rectangle((0, 760, 1280, 800), (32, 36, 44))
    for column in range(8):
        pen.rectangle((20 + 60 * column, 768, 44 + 60 * column, 792), (90 + 18 * column, 150, 190))
    return from_pillow(sheet)


def _wallpaper(width: int, height: int) -> Image.Image:
    down, across = np.mgrid[0:height, 0:width] / (height, width)[0]
    levels = np.stack([40 + 60 * down, 80 + 70 * across / 2, 140 - 40 * down], axis=-1)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def collage(count: int) -> Edit:
    """Two pictures side by side, or four in two rows; the copy in any place."""

    def run(image: RasterImage, scene: Scene) -> RasterImage:
        size = (image.width_px, image.height_px)
        panes = [_other(scene, number, size) for number in range(count - 1)]
        panes.insert(int(scene.draw.integers(count)), Image.fromarray(image.pixels))
        rows = count // 2
        sheet = Image.new("RGB", (2 * size[0], rows * size[1]))
        for number, pane in enumerate(panes):
            sheet.paste(pane, (number % 2 * size[0], number // 2 * size[1]))
        return from_pillow(sheet)

    return run


def paste_in(area: float) -> Edit:
    """On another picture, covering `area` of it, anywhere."""

    def run(image: RasterImage, scene: Scene) -> RasterImage:
        width, height = image.width_px, image.height_px
        ground = _other(scene, 0, (width, height))
        share = float(np.sqrt(area))
        small = Image.fromarray(image.pixels).resize(
            (round(width * share), round(height * share)), BICUBIC
        )
        left = int(scene.draw.integers(0, width - small.width + 1))
        top = int(scene.draw.integers(0, height - small.height + 1))
        ground.paste(small, (left, top))
        return from_pillow(ground)

    return run


def _other(scene: Scene, number: int, size: tuple[int, int]) -> Image.Image:
    """Another picture of the scene, or grey where there is none."""
    if number >= len(scene.others):
        return Image.new("RGB", size, (128, 128, 128))
    return Image.fromarray(scene.others[number].pixels).resize(size, BICUBIC)


EDITS: Mapping[str, NamedEdit] = MappingProxyType(
    {
        "none": NamedEdit(Group.LIGHT, nothing),
        "jpeg50": NamedEdit(Group.LIGHT, jpeg(50)),
        "jpeg30": NamedEdit(Group.LIGHT, jpeg(30)),
        "webp30": NamedEdit(Group.LIGHT, webp(30)),
        "resize50": NamedEdit(Group.LIGHT, resize(0.5)),
        "jpeg10": NamedEdit(Group.HARD, jpeg(10)),
        "resize25": NamedEdit(Group.LIGHT, resize(0.25)),
        "aspect": NamedEdit(Group.HARD, stretch(0.7)),
        "crop70": NamedEdit(Group.GEOMETRY, keep_part(0.7)),
        "crop50": NamedEdit(Group.CROP50, keep_part(0.5)),
        "crop30": NamedEdit(Group.CROP30, keep_part(0.3)),
        "rotate5": NamedEdit(Group.GEOMETRY, rotate(5)),
        "rotate15": NamedEdit(Group.GEOMETRY, rotate(15)),
        "rotate15in": NamedEdit(Group.GEOMETRY, rotate_inside(15)),
        "rotate90": NamedEdit(Group.GEOMETRY, quarter_turn),
        "mirror": NamedEdit(Group.GEOMETRY, mirror),
        "blur2": NamedEdit(Group.LIGHT, blur(2)),
        "blur5": NamedEdit(Group.HARD, blur(5)),
        "jitter": NamedEdit(Group.LIGHT, jitter),
        "hue": NamedEdit(Group.LIGHT, hue(60)),
        "gray": NamedEdit(Group.LIGHT, grey),
        "noise": NamedEdit(Group.LIGHT, noise(12)),
        "memetext": NamedEdit(Group.LIGHT, text),
        "border10": NamedEdit(Group.LIGHT, border(0.1)),
        "border30": NamedEdit(Group.GEOMETRY, border(0.3)),
        "phone": NamedEdit(Group.PHONE, phone_screenshot),
        "desktop": NamedEdit(Group.DESKTOP, desktop_screenshot),
        "collage2": NamedEdit(Group.COLLAGE, collage(2)),
        "collage4": NamedEdit(Group.COLLAGE, collage(4)),
        "onbg30": NamedEdit(Group.PASTE, paste_in(0.3)),
        "combo": NamedEdit(Group.GEOMETRY, chain(keep_part(0.75), jitter, text, jpeg(50))),
    }
)
