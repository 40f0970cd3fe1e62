"""What happens to pictures, one edit at a time: pure functions, drawn from a seed.

Each factory (`jpeg`, `crop`, ...) returns an `Edit`; `chain` makes one of several.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont
from scipy import ndimage

from provenance.types import RasterImage

BICUBIC = Image.Resampling.BICUBIC
UI_GREY = (245, 246, 248)
VAE_FOLDER = Path(__file__).parents[2] / "generator" / "embedded" / "model" / "vae"


@dataclass(frozen=True, slots=True)
class Scene:
    """What an edit may use besides the picture.

    Attributes:
        draw: Where it takes its chances from; seeded, so a run can be repeated.
        others: Pictures without a mark, for collages.
    """

    draw: np.random.Generator
    others: tuple[RasterImage, ...] = field(default=())


Edit: TypeAlias = Callable[[RasterImage, Scene], RasterImage]


def chain(*edits: Edit) -> Edit:
    def run(image: RasterImage, scene: Scene) -> RasterImage:
        for edit in edits:
            image = edit(image, scene)
        return image

    return run


def nothing(image: RasterImage, _: Scene) -> RasterImage:
    return image


def _of_pillow(change: Callable[[Image.Image], Image.Image]) -> Edit:
    def run(image: RasterImage, _: Scene) -> RasterImage:
        return from_pillow(change(Image.fromarray(image.pixels)))

    return run


def from_pillow(picture: Image.Image) -> RasterImage:
    return RasterImage(np.array(picture.convert("RGB")))


def from_levels(levels: npt.NDArray[Any]) -> RasterImage:
    """(H, W, 3) of any number type -> rounded and limited to 0..255."""
    return RasterImage(np.clip(np.rint(levels), 0, 255).astype(np.uint8))


# --- saving -----------------------------------------------------------------------------------


def _saved(kind: str, quality: int) -> Edit:
    def change(picture: Image.Image) -> Image.Image:
        out = io.BytesIO()
        picture.save(out, kind, quality=quality)
        return Image.open(out)

    return _of_pillow(change)


def jpeg(quality: int) -> Edit:
    """As most programs do it: Pillow's default, chroma at half resolution (4:2:0)."""
    return _saved("JPEG", quality)


def webp(quality: int) -> Edit:
    return _saved("WEBP", quality)


# --- geometry ---------------------------------------------------------------------------------


def resize(factor: float) -> Edit:
    return stretch(factor, factor)


def stretch(across: float, down: float = 1.0) -> Edit:
    """Scales width and height, each by its own factor."""
    return _of_pillow(
        lambda p: p.resize((round(p.width * across), round(p.height * down)), BICUBIC)
    )


def crop(removed: float) -> Edit:
    """Takes a share of the *area* away; keeps the aspect, anywhere in the picture."""

    def run(image: RasterImage, scene: Scene) -> RasterImage:
        keep = math.sqrt(1.0 - removed)
        height, width = (max(1, round(s * keep)) for s in image.pixels.shape[:2])
        top = int(scene.draw.integers(0, image.height_px - height + 1))
        left = int(scene.draw.integers(0, image.width_px - width + 1))
        return RasterImage(image.pixels[top : top + height, left : left + width].copy())

    return run


def rotate(degrees: float) -> Edit:
    """Turns counter-clockwise; the frame stays as it is, black comes in at the corners."""
    return _of_pillow(lambda p: p.rotate(degrees, BICUBIC))


def quarter_turn(image: RasterImage, _: Scene) -> RasterImage:
    return RasterImage(np.rot90(image.pixels).copy())


def mirror(image: RasterImage, _: Scene) -> RasterImage:
    return RasterImage(image.pixels[:, ::-1].copy())


def perspective(strength: float) -> Edit:
    """Moves the four corners inwards by up to a share of the sides, each by its own."""

    def run(image: RasterImage, scene: Scene) -> RasterImage:
        width, height = image.width_px, image.height_px
        inwards = scene.draw.uniform(0.0, strength, (4, 2)) * (width, height)
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=float)
        towards = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
        matrix = _homography(corners, corners + inwards * towards)
        picture = Image.fromarray(image.pixels)
        turned = picture.transform(picture.size, Image.Transform.PERSPECTIVE, matrix, BICUBIC)
        return from_pillow(turned)

    return run


def _homography(targets: npt.NDArray[Any], sources: npt.NDArray[Any]) -> list[float]:
    """Eight numbers that send each target corner to its source, as Pillow wants them."""
    rows, right = [], []
    for (x, y), (u, v) in zip(targets, sources, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(rows), np.array(right))]


def collage(image: RasterImage, scene: Scene) -> RasterImage:
    """The picture as one quarter of a two by two collage, the others without a mark."""
    size = (image.width_px, image.height_px)
    grey = RasterImage(np.full_like(image.pixels, 128))
    others = [scene.others[n] if n < len(scene.others) else grey for n in range(3)]
    place = int(scene.draw.integers(4))
    four = [Image.fromarray(other.pixels).resize(size, BICUBIC) for other in others]
    four.insert(place, Image.fromarray(image.pixels))
    sheet = Image.new("RGB", (2 * size[0], 2 * size[1]))
    for number, one in enumerate(four):
        sheet.paste(one, (number % 2 * size[0], number // 2 * size[1]))
    return from_pillow(sheet)


# --- light and colour -------------------------------------------------------------------------


def brightness(factor: float) -> Edit:
    return _of_pillow(lambda p: ImageEnhance.Brightness(p).enhance(factor))


def contrast(factor: float) -> Edit:
    return _of_pillow(lambda p: ImageEnhance.Contrast(p).enhance(factor))


def saturation(factor: float) -> Edit:
    return _of_pillow(lambda p: ImageEnhance.Color(p).enhance(factor))


def hue(degrees: float) -> Edit:
    def change(picture: Image.Image) -> Image.Image:
        planes = np.array(picture.convert("HSV"))
        planes[..., 0] += np.uint8(round(degrees / 360 * 256) % 256)
        return Image.fromarray(planes, "HSV")

    return _of_pillow(change)


grey = _of_pillow(lambda p: p.convert("L"))


# --- blur, noise, denoising -------------------------------------------------------------------


def blur(sigma: float) -> Edit:
    return _of_pillow(lambda p: p.filter(ImageFilter.GaussianBlur(sigma)))


def kernel_blur(side: int) -> Edit:
    """Gaussian kernel of so many pixels; its deviation follows from them as in torchvision."""

    def run(image: RasterImage, _: Scene) -> RasterImage:
        sigma = 0.3 * ((side - 1) / 2 - 1) + 0.8
        levels = image.pixels.astype(np.float32)
        radius = max(1, side // 2)
        return from_levels(ndimage.gaussian_filter(levels, (sigma, sigma, 0), radius=radius))

    return run


def noise(deviation: float) -> Edit:
    """Gaussian noise in each channel, deviation in grey levels."""

    def run(image: RasterImage, scene: Scene) -> RasterImage:
        shape = image.pixels.shape
        drawn = scene.draw.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
        return from_levels(image.pixels + drawn)

    return run


def median(side: int) -> Edit:
    return _of_pillow(lambda p: p.filter(ImageFilter.MedianFilter(side)))


def non_local_means(strength: float) -> Edit:
    """Buades' denoising as OpenCV does it; strength 10 is its own default for colour."""

    def run(image: RasterImage, _: Scene) -> RasterImage:
        import cv2

        return RasterImage(
            cv2.fastNlMeansDenoisingColored(image.pixels, None, strength, strength, 7, 21)
        )

    return run


def vae_round_trip(image: RasterImage, _: Scene) -> RasterImage:
    """Through the bundled model's autoencoder and back: the mildest regeneration there is."""
    import torch

    vae = _autoencoder()
    height, width = (side - side % 16 for side in image.pixels.shape[:2])
    levels = image.pixels[:height, :width].astype(np.float32) / 127.5 - 1.0
    with torch.inference_mode():
        latents = vae.encode(torch.from_numpy(levels).permute(2, 0, 1)[None]).latent_dist.mode()
        drawn = vae.decode(latents).sample[0].permute(1, 2, 0).numpy()
    return from_levels((drawn + 1.0) * 127.5)


@lru_cache(maxsize=1)
def _autoencoder() -> Any:
    import torch
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(VAE_FOLDER, torch_dtype=torch.float32).eval()


# --- things laid over, and around -------------------------------------------------------------


def text(image: RasterImage, _: Scene) -> RasterImage:
    """Three lines of white letters with black edges, a tenth of the height each."""
    picture = Image.fromarray(image.pixels)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(picture.height / 10)
    for number, line in enumerate(("when you laid", "text over it", "@somebody")):
        place = (picture.width * 0.05, picture.height * (0.08 + 0.3 * number))
        pen.text(place, line, "white", font, stroke_width=2, stroke_fill="black")
    return from_pillow(picture)


def erase(share: float, level: int = 0) -> Edit:
    """One rectangle of the picture's aspect with a share of its area becomes one grey level."""

    def run(image: RasterImage, scene: Scene) -> RasterImage:
        pixels = image.pixels.copy()
        height, width = (round(s * math.sqrt(share)) for s in pixels.shape[:2])
        top = int(scene.draw.integers(0, image.height_px - height + 1))
        left = int(scene.draw.integers(0, image.width_px - width + 1))
        pixels[top : top + height, left : left + width] = level
        return RasterImage(pixels)

    return run


def screenshot(image: RasterImage, _: Scene) -> RasterImage:
    """Shown 1.1 times as large in a window with a title bar, and the whole window saved."""
    shown = Image.fromarray(image.pixels)
    size = (round(shown.width * 1.1), round(shown.height * 1.1))
    shown = shown.resize(size, Image.Resampling.BILINEAR)
    sheet = Image.new("RGB", (size[0] + 80, size[1] + 140), UI_GREY)
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, 0, sheet.width, 60), (222, 225, 230))
    pen.text((20, 20), "holiday.png - Viewer", (60, 64, 67), ImageFont.load_default(18))
    sheet.paste(shown, (40, 90))
    return from_pillow(sheet)


def caption_bar(image: RasterImage, _: Scene) -> RasterImage:
    """A white bar with black words on top, as memes have it."""
    bar = round(image.height_px * 0.18)
    sheet = Image.new("RGB", (image.width_px, image.height_px + bar), "white")
    words = ImageFont.load_default(bar * 0.4)
    ImageDraw.Draw(sheet).text((12, bar * 0.25), "nobody: / me on Monday:", "black", words)
    sheet.paste(Image.fromarray(image.pixels), (0, bar))
    return from_pillow(sheet)
