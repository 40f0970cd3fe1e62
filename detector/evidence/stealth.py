"""Reads the text that generators hide in the lowest bits of a lossless picture. Pure.

The stealth-pnginfo extension of AUTOMATIC1111's family and NovelAI write it into alpha, the
extension also into the colours: a magic word, a length in bits, the text, plain or as gzip. It
survives the removal of all metadata, and dies with the first lossy step.

Source: the extension's ``stealth_pnginfo.py``; github.com/NovelAI/novelai-image-metadata at
08e636a5, ``nai_meta.py``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from provenance.types import RasterImage

__all__ = ["HiddenText", "read_alpha_text", "read_colour_text"]

MAX_TEXT_BYTES = 4 * 2**20
_MAGIC_BYTES = 15
_LENGTH_BYTES = 4
_GZIP = 31
"""zlib's window size argument for a gzip wrapper."""


@dataclass(frozen=True, slots=True)
class HiddenText:
    """A payload.

    Attributes:
        place: For people.
        text: What it says; None when it does not unpack or is too long.
    """

    place: str
    text: str | None = field(repr=False)


def read_alpha_text(alpha_bits: bytes) -> HiddenText | None:
    """The payload in `Candidate.alpha_bits`; None when there is none."""
    magic = alpha_bits[:_MAGIC_BYTES]
    if magic not in (b"stealth_pnginfo", b"stealth_pngcomp"):
        return None
    body = alpha_bits[_MAGIC_BYTES:]
    return _unpack(f"lowest bits of alpha ({magic.decode()})", magic, body)


def read_colour_text(raster: RasterImage) -> HiddenText | None:
    """The payload in red, green and blue, column by column; None when there is none.

    Args:
        raster: Decoded without a lossy step, or it holds no payload.
    """
    head = _colour_bytes(raster, _MAGIC_BYTES + _LENGTH_BYTES)
    magic = head[:_MAGIC_BYTES]
    if magic not in (b"stealth_rgbinfo", b"stealth_rgbcomp"):
        return None
    length = int.from_bytes(head[_MAGIC_BYTES:], "big") // 8
    needed = _MAGIC_BYTES + _LENGTH_BYTES + min(length, MAX_TEXT_BYTES)
    body = _colour_bytes(raster, needed)[_MAGIC_BYTES:]
    return _unpack(f"lowest bits of the colours ({magic.decode()})", magic, body)


def _colour_bytes(raster: RasterImage, count: int) -> bytes:
    columns = -(-8 * count // (3 * raster.height_px))
    bits = raster.pixels[:, :columns].transpose(1, 0, 2) & 1
    return np.packbits(bits.reshape(-1)[: 8 * count]).tobytes()


def _unpack(place: str, magic: bytes, body: bytes) -> HiddenText:
    """Reads length and text; a length beyond the picture or the limit is no text."""
    length = int.from_bytes(body[:_LENGTH_BYTES], "big") // 8
    packed = body[_LENGTH_BYTES : _LENGTH_BYTES + length]
    if not 0 < length <= MAX_TEXT_BYTES or len(packed) < length:
        return HiddenText(place, None)
    if magic.endswith(b"info"):
        return HiddenText(place, packed.decode("utf-8", "replace"))
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(packed, MAX_TEXT_BYTES)
    except zlib.error:
        return HiddenText(place, None)
    if unpacker.unconsumed_tail:
        return HiddenText(place, None)
    return HiddenText(place, plain.decode("utf-8", "replace"))
