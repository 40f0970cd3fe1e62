"""Photographs of a folder, as they are or cut to squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from provenance.types import RasterImage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def list_photographs(folder: Path) -> list[Path]:
    """All picture files, folders within included, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def read_photographs(folder: Path) -> Iterator[RasterImage]:
    for path in list_photographs(folder):
        yield RasterImage(np.array(open_photograph(path)))


def read_square(path: Path, side_px: int) -> RasterImage:
    """The central square, scaled."""
    square = ImageOps.fit(open_photograph(path), (side_px, side_px), Image.Resampling.LANCZOS)
    return RasterImage(np.array(square))


def read_windows(path: Path, count: int, *, seed: int) -> Iterator[RasterImage]:
    """Squares of 256 to 768 pixels from anywhere in the picture, unscaled."""
    image = open_photograph(path)
    random = np.random.default_rng(seed)
    for _ in range(count):
        side = int(random.integers(256, min(768, *image.size) + 1))
        left, top = (int(random.integers(0, length - side + 1)) for length in image.size)
        yield RasterImage(np.array(image.crop((left, top, left + side, top + side))))


def open_photograph(path: Path) -> Image.Image:
    """Upright, in RGB."""
    with Image.open(path) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB")
