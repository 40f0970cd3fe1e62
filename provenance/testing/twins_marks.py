"""In-memory twins of the marking seams: small, exact, without any library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import CapacityError
from provenance.types import (
    BitArray,
    Embedding,
    EmbeddingSpace,
    Float32Array,
    PerceptualHash,
    RasterImage,
    Resave,
    SpaceKind,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["MeanHasher", "StripeCodec", "ThumbnailEmbedder", "load_thumbnail"]


@dataclass(frozen=True, slots=True)
class StripeCodec:
    """A watermark codec that moves the red value of every second pixel; survives no re-save.

    Large enough from 32x32 on to carry a record id, so tests need no large pictures.
    """

    name: str = "stripe"
    alg: str = "stripe.1"
    min_side_px: int = 32
    strengths: tuple[float, ...] = (8.0, 16.0)
    endures: tuple[Resave, ...] = ()

    def capacity_bits(self, width_px: int, height_px: int) -> int:
        """Every second pixel, row by row."""
        if min(width_px, height_px) < self.min_side_px:
            return 0
        return width_px * height_px // 2

    def embed(self, image: RasterImage, bits: BitArray, *, strength: float) -> RasterImage:
        """Moves each value to a quarter (0) or three quarters (1) of its step of `strength`."""
        capacity = self.capacity_bits(image.width_px, image.height_px)
        if not capacity or bits.shape != (capacity,):
            raise CapacityError(
                f"stripe carries {capacity} bits in a picture of "
                f"{image.width_px}x{image.height_px}, not {bits.size}"
            )
        pixels = image.pixels.copy()
        red = pixels.reshape(-1, 3)[1 : 2 * capacity : 2, 0]
        steps = np.minimum(red // strength, 255 // strength - 1)
        red[:] = (steps + 0.25 + 0.5 * bits) * strength
        return RasterImage(pixels)

    def extract(self, image: RasterImage, *, strength: float) -> Float32Array:
        """Hard bits as ±1."""
        capacity = self.capacity_bits(image.width_px, image.height_px)
        red = image.pixels.reshape(-1, 3)[1 : 2 * capacity : 2, 0]
        return np.where(red % strength >= strength / 2, 1.0, -1.0).astype(np.float32)


def _thumbnail(image: RasterImage, side: int) -> Float32Array:
    """(side, side) float32 mean grey of a grid of cells; the picture is at least side x side."""
    grey = image.pixels.mean(axis=2)
    rows = np.linspace(0, image.height_px, side, endpoint=False).astype(int)
    columns = np.linspace(0, image.width_px, side, endpoint=False).astype(int)
    sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=0), columns, axis=1)
    heights = np.diff(np.append(rows, image.height_px))
    widths = np.diff(np.append(columns, image.width_px))
    means: Float32Array = (sums / np.outer(heights, widths)).astype(np.float32)
    return means


@dataclass(frozen=True, slots=True)
class MeanHasher:
    """A 256-bit hash: which of 16x16 cells are brighter than the median."""

    name: str = "mean-1"

    def hash(self, image: RasterImage) -> PerceptualHash | None:
        """None under 16 pixels, or when the cells hardly differ."""
        if image.min_side_px < 16:
            return None
        cells = _thumbnail(image, 16)
        contrast = float(cells.std())
        if contrast < 2.0:  # grey levels: below the rounding of a re-save nothing is left to hash
            return None
        bits = np.packbits(cells > np.median(cells))
        return PerceptualHash(self.name, bits.tobytes().hex(), min(100, int(contrast * 2)))


@dataclass(frozen=True, slots=True)
class ThumbnailEmbedder:
    """A 64-dimensional embedding: the 8x8 thumbnail, centred and normed."""

    space_id: str = "thumbnail/1"

    @property
    def space(self) -> EmbeddingSpace:
        """A copy space: what a thumbnail shows is where things are, not what they are."""
        return EmbeddingSpace(
            space_id=self.space_id,
            kind=SpaceKind.COPY,
            similar_min_cosine=0.8,
            verify_min_cosine=0.8,
            likely_min_cosine=0.95,
            strong_min_cosine=0.99,
        )

    def encode(self, image: RasterImage) -> Embedding | None:
        """None under 8 pixels, or for a flat picture."""
        if image.min_side_px < 8:
            return None
        cells = _thumbnail(image, 8).ravel()
        centred = cells - cells.mean()
        norm = float(np.linalg.norm(centred))
        return None if norm < 1.0 else Embedding(self.space_id, centred / norm)

    def encode_batch(self, images: Sequence[RasterImage]) -> Sequence[Embedding | None]:
        """One by one."""
        return [self.encode(image) for image in images]


def load_thumbnail(*, folder: Path | None = None) -> ThumbnailEmbedder:
    """As an entry point of ``countermark.embedders``; needs no folder."""
    del folder
    return ThumbnailEmbedder()
