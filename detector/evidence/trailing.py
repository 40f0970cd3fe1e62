"""What lies behind the end of a picture, where no reader of its format looks. Pure.

Cameras keep second pictures and depth there, editors their undo data, and anybody can hide
anything. How much it is and what it begins like is told; it is read only where it goes on in the
format's own structure, as PNG chunks behind IEND do.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.types import MediaType

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Trailer", "chunks_behind", "measure_trailer"]

MAX_PARTS = 100_000
"""Chunks, segments or blocks stepped over on the way to the end."""
MAX_SUB_BLOCKS = 300_000
"""Of a GIF: 64 MiB in whole sub-blocks of 255 bytes are 263 000."""
MAX_CHUNKS_BEHIND = 256
"""PNG chunks that are read behind IEND."""

_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"RIFF", "a RIFF file"),
    (b"GIF8", "a GIF picture"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"%PDF-", "a PDF document"),
)
"""First bytes. Source: each format's own specification."""


@dataclass(frozen=True, slots=True)
class Trailer:
    """Bytes behind the end of a picture.

    Attributes:
        start: Where they begin, bytes from the start of the file.
        size: How many.
        kind: What they begin like, for people; None when that is nothing known.
    """

    start: int
    size: int
    kind: str | None


def measure_trailer(data: bytes, media_type: MediaType | None) -> Trailer | None:
    """What follows the end of the picture; None where nothing does or no end is found.

    Formats: PNG, JPEG, WebP, GIF. TIFF and the ISO formats have no end of their own.
    """
    end = _find_end(data, media_type)
    if end is None or end >= len(data):
        return None
    return Trailer(end, len(data) - end, _kind_of(data, end, media_type))


def chunks_behind(data: bytes, start: int) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of whole PNG chunks from `start`, up to the first thing that is none.

    Here the checksum decides, because nothing else says that these bytes are meant as chunks.
    """
    for _ in range(MAX_CHUNKS_BEHIND):
        if start + 12 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if not (kind.isascii() and kind.isalpha()) or end > len(data):
            return
        checksum = int.from_bytes(data[end - 4 : end], "big")
        if zlib.crc32(memoryview(data)[start + 4 : end - 4]) != checksum:
            return
        yield kind, data[start + 8 : end - 4]
        start = end


def _kind_of(data: bytes, start: int, media_type: MediaType | None) -> str | None:
    if media_type is MediaType.PNG and next(chunks_behind(data, start), None) is not None:
        return "more PNG chunks"
    if data.endswith(b"SEFT"):
        return "a Samsung directory"
    for head, kind in _KINDS:
        if data.startswith(head, start):
            return kind
    return "zero bytes only" if data.count(0, start) == len(data) - start else None


def _find_end(data: bytes, media_type: MediaType | None) -> int | None:
    match media_type:
        case MediaType.PNG:
            return _png_end(data)
        case MediaType.JPEG:
            return _jpeg_end(data)
        case MediaType.WEBP:
            # Source: WebP container specification: the size counts from behind itself, and a
            # chunk of odd size is padded.
            (size,) = struct.unpack_from("<I", data, 4) if len(data) >= 8 else (0,)
            return 8 + int(size) + (int(size) & 1) if size > 4 else None
        case MediaType.GIF:
            return _gif_end(data)
        case _:
            return None


def _png_end(data: bytes) -> int | None:
    """Source: PNG 3rd edition §5.3, §11.2.4: IEND ends the datastream."""
    place = 8
    for _ in range(MAX_PARTS):
        if place + 12 > len(data):
            return None
        length, kind = struct.unpack_from(">I4s", data, place)
        place += 12 + int(length)
        if kind == b"IEND":
            return place
    return None


_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""With fill bytes before it. Source: T.81 §B.1.1.2."""
_ENTROPY_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""In coded data FF is followed by 00, or by a restart marker. Source: T.81 §B.1.1.5, §F.1.2.3.

One FF alone: searching for a run of them would try every run of a hostile file from each of its
bytes."""


def _jpeg_end(data: bytes) -> int | None:
    """Source: ITU-T T.81 §B.1.1, §B.2.1: EOI ends the picture, after any number of scans."""
    place = 2
    for _ in range(MAX_PARTS):
        found = _MARKER.match(data, place)
        if found is None:
            return None
        place = found.end()
        marker = data[place - 1]
        if marker == 0xD9:
            return place
        if marker in (0x01, 0xD8):
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        if length < 2 or place + length > len(data):
            return None
        place += length
        if marker == 0xDA:
            found = _ENTROPY_END.search(data, place)
            if found is None:
                return None
            place = found.start()
    return None


def _gif_end(data: bytes) -> int | None:
    """Source: GIF89a §15 to §27."""
    if len(data) < 13:
        return None
    place, left = 13 + _gif_table_bytes(data[10]), MAX_SUB_BLOCKS
    for _ in range(MAX_PARTS):
        introducer = data[place : place + 1]
        if introducer == b"\x3b":
            return place + 1
        if introducer == b"\x2c" and place + 10 <= len(data):
            start = place + 11 + _gif_table_bytes(data[place + 9])
            place, left = _skip_sub_blocks(data, start, left)
        elif introducer == b"\x21":
            place, left = _skip_sub_blocks(data, place + 2, left)
        else:
            return None
    return None


def _gif_table_bytes(packed: int) -> int:
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _skip_sub_blocks(data: bytes, place: int, left: int) -> tuple[int, int]:
    """(place behind the terminator, how many sub-blocks may still be stepped over)."""
    while place < len(data) and data[place]:
        place, left = place + 1 + data[place], left - 1
        if left < 0:
            return len(data), 0  # no end was found
    return place + 1, left
