"""Pictures: pixels, bytes, and bytes under examination."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from provenance.types.base import Uint8Array, require

__all__ = [
    "WRITABLE_MEDIA_TYPES",
    "Candidate",
    "EncodedImage",
    "MediaType",
    "RasterImage",
    "Sidecar",
]


class MediaType(StrEnum):
    """Media types that Countermark recognises by their first bytes."""

    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"
    GIF = "image/gif"
    TIFF = "image/tiff"
    BMP = "image/bmp"
    AVIF = "image/avif"
    HEIF = "image/heif"


WRITABLE_MEDIA_TYPES: tuple[MediaType, ...] = (MediaType.PNG, MediaType.JPEG, MediaType.WEBP)
"""What the generator delivers: each can carry a C2PA manifest and XMP."""


@dataclass(frozen=True, slots=True, eq=False)
class RasterImage:
    """A decoded picture: the only thing that codecs, checkers, hashers and embedders see.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, 0..255, EXIF orientation applied; made read-only.
    """

    pixels: Uint8Array

    def __post_init__(self) -> None:
        array = self.pixels
        require(array.dtype == np.uint8, f"pixels must be uint8, not {array.dtype}")
        require(
            array.ndim == 3 and array.shape[2] == 3 and min(array.shape) > 0,
            f"pixels must have the shape (H, W, 3), not {array.shape}",
        )
        frozen = np.ascontiguousarray(array)
        if frozen is array:
            frozen = array.view()
        frozen.flags.writeable = False
        object.__setattr__(self, "pixels", frozen)

    def __reduce__(self) -> tuple[type[RasterImage], tuple[Uint8Array]]:
        """Comes out of another process checked and read-only too."""
        return RasterImage, (self.pixels,)

    @property
    def width_px(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def min_side_px(self) -> int:
        return min(self.width_px, self.height_px)


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """Encoded bytes with their media type: the only thing that signing and reading see."""

    data: bytes = field(repr=False)
    media_type: MediaType

    def __post_init__(self) -> None:
        require(bool(self.data), "an encoded image must have at least one byte")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A C2PA manifest store that came in a file of its own, beside the picture.

    Attributes:
        name: What the caller calls it; for messages only.
        data: The bytes as they came; empty where they could not be read.
        problem: Why they could not be read, in a sentence; None when they could.
    """

    name: str
    data: bytes = field(repr=False)
    problem: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Bytes under examination (R1), hashed and decoded once for all sources.

    Attributes:
        name: What the caller calls it (a path, an upload's name); for messages only.
        data: The bytes as they came.
        sha256: Hex digest of `data`.
        media_type: By content, never by name; None when no known signature is there.
        raster: The decoded first frame, orientation applied; None when it does not decode.
        decode_problem: Why `raster` is None, in a sentence; None otherwise.
        pixel_sha256: `imaging.hash_pixels` of the raster; None without one.
        frames: Number of frames that the file announces; only the first is decoded.
        alpha_bits: Lowest bit of alpha of every pixel as stored, column by column from the left,
            eight to a byte, first bit highest; None without an alpha channel. Generators hide
            texts there.
        sidecar: A manifest store that the caller gives with the file; None for the usual file.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    media_type: MediaType | None
    raster: RasterImage | None = field(repr=False)
    decode_problem: str | None = None
    pixel_sha256: str | None = None
    frames: int = 1
    alpha_bits: bytes | None = field(default=None, repr=False)
    sidecar: Sidecar | None = None
