"""Marks and reads whole pictures, with nothing else around: what `provenance.watermark` offers."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from provenance.errors import CapacityError, InputError, ReadBackError
from provenance.files import write_file_atomic
from provenance.imaging import (
    DEFAULT_LIMITS,
    ImageLimits,
    convert_pillow,
    decode_image,
    encode_image,
    read_file,
    read_rgb_profile,
)
from provenance.types import (
    EncodedImage,
    MediaType,
    RasterImage,
    RecordId,
    Uint8Array,
    WatermarkPayload,
)
from provenance.types.base import parse_record_id
from provenance.watermark.marking import MarkReader, embed_mark
from provenance.watermark.payload import WatermarkKey
from provenance.watermark.wiring import open_codec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.interfaces import WatermarkScheme
    from provenance.types import WatermarkEvidence, WatermarkInfo

__all__ = [
    "DEFAULT_CODEC",
    "MarkedPicture",
    "Picture",
    "detect",
    "embed",
    "media_type_of",
    "open_picture",
    "open_reader",
]

DEFAULT_CODEC = "lattice"
"""Needs no weights and no cv2, and is found again after crop and rotation."""

Picture: TypeAlias = "str | os.PathLike[str] | bytes | RasterImage | Uint8Array | Image.Image"
"""A file's path, its bytes, (H, W, 3) uint8 RGB, or a Pillow image."""

_BY_SUFFIX = {
    ".png": MediaType.PNG,
    ".jpg": MediaType.JPEG,
    ".jpeg": MediaType.JPEG,
    ".webp": MediaType.WEBP,
}


@dataclass(frozen=True, slots=True)
class MarkedPicture:
    """A picture that carries its mark, as read back from the encoded bytes.

    Attributes:
        image: The encoded bytes.
        raster: `image`, decoded.
        payload: What the mark says; None for a presence mark.
        info: How it was marked: strength, decibels, bit accuracy.
        evidence: What a reader says of `image`: p-value, margin.
        sturdy: Whether every margin held; False means that a re-save may lose the mark.
    """

    image: EncodedImage
    raster: RasterImage
    payload: RecordId | None
    info: WatermarkInfo
    evidence: WatermarkEvidence
    sturdy: bool

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `image` whole or not at all, over any older file; makes missing folders.

        Raises:
            InputError: The name's ending is that of another format.
            DeliveryError: The place cannot be written.
        """
        if media_type_of(path) is not self.image.media_type:
            raise InputError(
                f"{os.fspath(path)} does not end like {self.image.media_type}; name it so, or "
                "embed with another media_type"
            )
        write_file_atomic(Path(path), self.image.data)


def embed(
    picture: Picture,
    *,
    key: WatermarkKey,
    payload: str | None = None,
    codec: str = DEFAULT_CODEC,
    media_type: MediaType = MediaType.PNG,
    quality: int = 92,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> MarkedPicture:
    """Marks a picture, and proves that the mark is in the bytes that come back.

    EXIF orientation is applied, transparency shown on white, an RGB colour profile kept; other
    metadata does not come along.

    Args:
        picture: Of several frames the first.
        key: Under which to mark; who has it can read the mark, and forge it.
        payload: 16 hex digits; drawn at random when None.
        codec: Entry point of ``countermark.codecs``.
        media_type: PNG, JPEG or WebP.
        quality: 1..100, for JPEG and WebP.
        limits: On the bytes and pixels of `picture`, and of what is made of it.

    Raises:
        InputError: The picture cannot be read or, once marked, not written in this format;
            `payload` is not 16 hex digits; `quality` is out of range; `key` is no key.
        CapacityError: The picture is too small, too flat or too strongly compressed for the mark.
        UnknownBackendError: No such codec is installed.
        BackendUnavailableError: The codec's library is not installed.
    """
    wanted = _checked_payload(payload)
    _check_quality(quality)
    _check_keys((key,))
    scheme = open_codec(codec)
    opened = open_picture(picture, limits=limits)
    word = _choose_word(opened, scheme, wanted)
    try:
        marked = embed_mark(
            opened.raster,
            word,
            key=key,
            codec=scheme,
            encode=lambda raster: encode_image(
                raster,
                media_type,
                quality=quality,
                icc_profile=opened.profile,
                name=opened.name,
            ),
            # Under the same limits: a file that is too large for a reader is no use.
            decode=lambda encoded: decode_image(
                encoded.data, name=f"{opened.name}, once marked,", limits=limits
            ),
        )
    except ReadBackError as error:
        raise CapacityError(
            f"{opened.name}: the {scheme.name} mark could not be read back from the {media_type} "
            f"file of quality {quality}, because the picture is too flat or the quality too low; "
            "write PNG, or raise the quality, or take another picture"
        ) from error
    return MarkedPicture(
        image=marked.encoded,
        raster=marked.raster,
        payload=None if word is None else word.record_id,
        info=marked.info,
        evidence=MarkReader((scheme,), (key,)).read(marked.raster),
        sturdy=marked.sturdy,
    )


def detect(
    picture: Picture,
    *,
    keys: Sequence[WatermarkKey],
    codec: str = DEFAULT_CODEC,
    thorough: bool = True,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> WatermarkEvidence:
    """What a picture's mark says; a picture without one is an answer, not an error.

    Args:
        picture: Of several frames the first.
        keys: Current key first; at least one.
        codec: Entry point of ``countermark.codecs``.
        thorough: Also undoes rotation, scaling, mirroring and stretching, where the codec can;
            up to some seconds for a picture without a mark.
        limits: On the bytes and pixels of `picture`.

    Raises:
        InputError: The picture cannot be read, or what is in `keys` is no key.
        ConfigError: There is no key.
        UnknownBackendError: No such codec is installed.
        BackendUnavailableError: The codec's library is not installed.
    """
    reader = open_reader(keys, codec)
    return reader.read(open_picture(picture, limits=limits).raster, thorough=thorough)


def open_reader(keys: Sequence[WatermarkKey], codec: str) -> MarkReader:
    """A reader of one codec's marks; raises as `detect`."""
    _check_keys(keys)
    return MarkReader((open_codec(codec),), tuple(keys))


def _checked_payload(payload: object) -> RecordId | None:
    if payload is None:
        return None
    if not isinstance(payload, str):  # a number has lost its leading zeros
        raise InputError(f"payload {payload!r} is no text of 16 hex digits, like 3f2a9c0d11e87b46")
    return parse_record_id(payload)


def _check_quality(quality: object) -> None:
    if not isinstance(quality, int) or not 1 <= quality <= 100:
        raise InputError(f"quality {quality!r} is outside 1..100")


def _check_keys(keys: Sequence[object]) -> None:
    """Refuses what is easily taken for a key: its bytes, its digits, the name of its file."""
    for key in keys:
        if not isinstance(key, WatermarkKey):
            raise InputError(
                f"a {type(key).__name__} is no watermark key; WatermarkKey(secret) makes one of "
                "bytes, and read_key_file(path) reads those of a file"
            )


def media_type_of(path: str | os.PathLike[str]) -> MediaType | None:
    """The format that a name's ending stands for; None when it is none that can be written."""
    return _BY_SUFFIX.get(Path(path).suffix.lower())


# -- what a picture may be ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenedPicture:
    """A picture with what to call it, and its colour profile where that is one of RGB."""

    raster: RasterImage
    name: str = "the picture"
    profile: bytes | None = None


def open_picture(picture: Picture, *, limits: ImageLimits) -> OpenedPicture:
    """Decodes whatever a picture was given as.

    Raises:
        InputError: It cannot be read.
    """
    if isinstance(picture, RasterImage):
        return OpenedPicture(picture)
    if isinstance(picture, np.ndarray):
        return OpenedPicture(RasterImage(picture))
    if isinstance(picture, Image.Image):
        return OpenedPicture(convert_pillow(picture), profile=read_rgb_profile(picture))
    if isinstance(picture, bytes):
        return _open_bytes(picture, "the picture", limits)
    if isinstance(picture, str | os.PathLike):
        path = Path(picture)
        return _open_bytes(read_file(path, limits=limits), str(path), limits)
    raise InputError(
        f"a {type(picture).__name__} is no picture; give a path, bytes, an array or a Pillow image"
    )


def _open_bytes(data: bytes, name: str, limits: ImageLimits) -> OpenedPicture:
    raster = decode_image(data, name=name, limits=limits)
    return OpenedPicture(raster, name, read_rgb_profile(data))


def _choose_word(
    opened: OpenedPicture, scheme: WatermarkScheme, wanted: RecordId | None
) -> WatermarkPayload | None:
    """What the mark will say; None where there is room for a presence mark only."""
    width, height = opened.raster.width_px, opened.raster.height_px
    if not scheme.fits(width, height):
        raise CapacityError(
            f"{opened.name} is {width}x{height} pixels; the {scheme.name} mark needs "
            f"{scheme.min_side_px} on the short side: give a larger picture, or enlarge it first"
        )
    if scheme.holds_record_id(width, height):
        return WatermarkPayload(wanted or RecordId(secrets.token_hex(8)))
    if wanted is not None:
        raise CapacityError(
            f"{opened.name}: {scheme.name} has no room for a payload in {width}x{height} pixels, "
            "only for a presence mark; leave the payload out, or take another codec"
        )
    return None
