"""Takes an encoded picture apart into shell and essence, and puts a lost shell back.

Signing adds bytes and leaves the compressed picture alone. So whoever strips metadata losslessly
removes exactly what the registry kept, and the signed file can be restored byte for byte.

The parsers read structure only, never pixels, and only forwards: their cost is bounded by the
number of chunks or segments, which is bounded by the length of the file.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from provenance.errors import InputError, UnsupportedMediaTypeError
from provenance.types import MediaType

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Shell", "heal", "insert_store", "read_store_bytes", "remove_stores", "split_shell"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PARTS = 200_000
"""Chunks or segments; a picture of the largest allowed size written in the smallest customary
pieces (8 KiB) has 8 192."""


class Shell(NamedTuple):
    """A file in three parts: head + essence + tail is the file.

    Attributes:
        head: All before the compressed picture: headers, manifest, XMP.
        essence: The compressed picture.
        tail: All after it.
    """

    head: bytes
    essence: bytes
    tail: bytes


@dataclass(frozen=True, slots=True)
class _Part:
    """One chunk (PNG, RIFF) or segment (JPEG): its name and its place in the file."""

    name: bytes
    start: int
    end: int


def split_shell(data: bytes, media_type: MediaType) -> Shell:
    """Splits a file around its compressed picture.

    PNG: from the first to the last IDAT chunk. JPEG: from the first segment that is neither APPn
    nor COM to the end-of-image marker. WebP: VP8, VP8L or ALPH chunks, or the animation's frames.

    Raises:
        InputError: The file is not built as its format says.
        UnsupportedMediaTypeError: Neither PNG, JPEG nor WebP.
    """
    if media_type is MediaType.PNG:
        parts = [p for p in _png_chunks(data) if p.name == b"IDAT"]
    elif media_type is MediaType.WEBP:
        parts = [p for p in _riff_chunks(data) if p.name in _WEBP_ESSENCE]
    elif media_type is MediaType.JPEG:
        parts = [_jpeg_essence(data)]
    else:
        raise UnsupportedMediaTypeError(
            f"{media_type} files cannot be taken apart; only PNG, JPEG and WebP"
        )
    if not parts:
        raise InputError(f"this {media_type} file holds no picture data")
    start, end = parts[0].start, parts[-1].end
    if sum(p.end - p.start for p in parts) != end - start:
        raise InputError(f"the picture data of this {media_type} file is not in one piece")
    return Shell(head=data[:start], essence=data[start:end], tail=data[end:])


def heal(candidate: bytes, media_type: MediaType, *, head: bytes, tail: bytes) -> bytes:
    """The candidate's compressed picture inside another shell.

    The result is the registered file if, and only if, its SHA-256 is the registered one: the
    caller compares.

    Raises:
        InputError: The candidate is not built as its format says.
        UnsupportedMediaTypeError: Neither PNG, JPEG nor WebP.
    """
    return head + split_shell(candidate, media_type).essence + tail


def insert_store(data: bytes, media_type: MediaType, store: bytes) -> bytes:
    """Puts a manifest store into a PNG, right behind the header chunk, where the engine puts it.

    Source: C2PA 2.5 "Embedding manifests into PNG": chunk caBX before IDAT.

    Raises:
        InputError: The file is not built as PNG says, or carries a store already.
        UnsupportedMediaTypeError: Not a PNG. (JPEG and WebP need their whole shell: see `heal`.)
    """
    if media_type is not MediaType.PNG:
        raise UnsupportedMediaTypeError(
            f"a bare manifest store can be put back into PNG files only, not {media_type}"
        )
    chunks = list(_png_chunks(data))
    if any(chunk.name == b"caBX" for chunk in chunks):
        raise InputError("this PNG file carries a manifest store already")
    place = chunks[0].end
    body = b"caBX" + store
    chunk_bytes = struct.pack(">I", len(store)) + body + struct.pack(">I", zlib.crc32(body))
    return data[:place] + chunk_bytes + data[place:]


def read_store_bytes(data: bytes, media_type: MediaType) -> bytes | None:
    """The embedded manifest store, byte for byte; None when there is none, or more than one.

    Source: C2PA 2.5 "Embedding manifests": PNG chunk caBX, JPEG APP11 segments (ISO/IEC 19566-5,
    JUMBF in JPEG XT boxes), RIFF chunk ``C2PA``.

    Raises:
        InputError: The file is not built as its format says.
        UnsupportedMediaTypeError: Neither PNG, JPEG nor WebP.
    """
    if media_type is MediaType.PNG:
        found = [data[p.start + 8 : p.end - 4] for p in _png_chunks(data) if p.name == b"caBX"]
    elif media_type is MediaType.WEBP:
        found = [_riff_body(data, p) for p in _riff_chunks(data) if p.name == b"C2PA"]
    elif media_type is MediaType.JPEG:
        found = _jpeg_stores(data)
    else:
        raise UnsupportedMediaTypeError(
            f"{media_type} files cannot be taken apart; only PNG, JPEG and WebP"
        )
    return found[0] if len(found) == 1 else None


def remove_stores(data: bytes, media_type: MediaType) -> bytes:
    """The file without any manifest store; every other byte stays.

    For whoever signs anew and keeps the old manifest as ingredient. Source: as `read_store_bytes`.

    Raises:
        InputError: The file is not built as its format says.
        UnsupportedMediaTypeError: Neither PNG, JPEG nor WebP.
    """
    if media_type is MediaType.PNG:
        return _without(data, [p for p in _png_chunks(data) if p.name == b"caBX"])
    if media_type is MediaType.JPEG:
        return _without(data, _jpeg_store_segments(data))
    if media_type is MediaType.WEBP:
        stores = [p for p in _riff_chunks(data) if p.name == b"C2PA"]
        length = struct.unpack_from("<I", data, 4)[0] - sum(p.end - p.start for p in stores)
        return data[:4] + struct.pack("<I", length) + _without(data, stores)[8:]
    raise UnsupportedMediaTypeError(
        f"{media_type} files cannot be taken apart; only PNG, JPEG and WebP"
    )


def _without(data: bytes, parts: list[_Part]) -> bytes:
    kept, place = [], 0
    for part in parts:
        kept.append(data[place : part.start])
        place = part.end
    return b"".join([*kept, data[place:]])


# -- PNG ---------------------------------------------------------------------------------------


def _png_chunks(data: bytes) -> Iterator[_Part]:
    """Source: PNG specification, 3rd edition, §5.3: length, type, data, CRC."""
    if not data.startswith(_PNG_SIGNATURE):
        raise InputError("not a PNG file: its signature is missing")
    place = len(_PNG_SIGNATURE)
    for number in range(_MAX_PARTS):
        if place + 12 > len(data):
            raise InputError("this PNG file is cut short: its IEND chunk is missing")
        (length,) = struct.unpack_from(">I", data, place)
        part = _Part(data[place + 4 : place + 8], place, place + 12 + length)
        if part.end > len(data):
            raise InputError("this PNG file is cut short inside a chunk")
        if (number == 0) != (part.name == b"IHDR"):
            raise InputError("this PNG file does not begin with one IHDR chunk")
        yield part
        if part.name == b"IEND":
            return
        place = part.end
    raise InputError(f"this PNG file has more than {_MAX_PARTS} chunks")


# -- WebP --------------------------------------------------------------------------------------

_WEBP_ESSENCE = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")


def _riff_chunks(data: bytes) -> Iterator[_Part]:
    """Source: WebP container specification, "RIFF file format": chunks padded to even length."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise InputError("not a WebP file: its RIFF header is missing")
    end_of_riff = 8 + int(struct.unpack_from("<I", data, 4)[0])
    if end_of_riff > len(data):
        raise InputError("this WebP file is cut short")
    place = 12
    for _ in range(_MAX_PARTS):
        if place == end_of_riff:
            return
        if place + 8 > end_of_riff:
            raise InputError("this WebP file ends inside a chunk header")
        (length,) = struct.unpack_from("<I", data, place + 4)
        end = place + 8 + length + (length & 1)
        if end > end_of_riff:
            raise InputError("this WebP file is cut short inside a chunk")
        yield _Part(data[place : place + 4], place, end)
        place = end
    raise InputError(f"this WebP file has more than {_MAX_PARTS} chunks")


def _riff_body(data: bytes, part: _Part) -> bytes:
    (length,) = struct.unpack_from("<I", data, part.start + 4)
    return data[part.start + 8 : part.start + 8 + length]


# -- JPEG --------------------------------------------------------------------------------------

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP11, _APP15 = 0xE0, 0xEB, 0xEF
_REAL_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""Any marker but stuffed bytes, fill bytes and restarts, which stand inside a scan."""


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, _Part]]:
    """Segments up to the first scan. Source: ITU-T T.81 B.1.1."""
    if data[:2] != b"\xff\xd8":
        raise InputError("not a JPEG file: its start-of-image marker is missing")
    place = 2
    for _ in range(_MAX_PARTS):
        start = place
        if data[place : place + 1] != b"\xff":
            raise InputError("this JPEG file is damaged: no marker where one must stand")
        # Fill bytes before a marker are allowed.
        while data[place : place + 1] == b"\xff":
            place += 1
        if place + 3 > len(data):
            raise InputError("this JPEG file is cut short before its first scan")
        marker = data[place]
        (length,) = struct.unpack_from(">H", data, place + 1)
        end = place + 1 + length
        if length < 2 or end > len(data) or marker in (_SOI, _EOI):
            raise InputError("this JPEG file is damaged or cut short before its first scan")
        yield marker, _Part(data[place + 3 : end], start, end)
        if marker == _SOS:
            return
        place = end
    raise InputError(f"this JPEG file has more than {_MAX_PARTS} segments")


def _jpeg_essence(data: bytes) -> _Part:
    start, scan = 0, 0
    for marker, part in _jpeg_segments(data):
        is_wrapping = _APP0 <= marker <= _APP15 or marker == _COM
        if not start and not is_wrapping:
            start = part.start
        scan = part.end
    return _Part(b"", start, _jpeg_end(data, scan))


def _jpeg_end(data: bytes, place: int) -> int:
    """Offset behind the end-of-image marker; walks over scans and the tables between them."""
    while True:
        found = _REAL_MARKER.search(data, place)
        if found is None:
            raise InputError("this JPEG file is cut short: its end-of-image marker is missing")
        if found[0][1] == _EOI:
            return found.end()
        if found.end() + 2 > len(data):
            raise InputError("this JPEG file is cut short between two scans")
        (length,) = struct.unpack_from(">H", data, found.end())
        place = found.end() + max(length, 2)


def _jpeg_boxes(data: bytes) -> list[list[_Part]]:
    """The APP11 segments of each box, as they stand in the file.

    Source: ISO/IEC 19566-5 annex D, JPEG XT box header: "JP", instance number (16 bit), sequence
    number (32 bit), then box length and type, repeated in each segment.
    """
    boxes: dict[bytes, list[_Part]] = {}
    for marker, part in _jpeg_segments(data):
        body = part.name
        if marker == _APP11 and body[:2] == b"JP" and len(body) > 16:
            boxes.setdefault(body[2:4], []).append(part)
    return list(boxes.values())


def _begins_store(segment: _Part) -> bool:
    return segment.name[12:16] == b"jumb" and b"c2pa" in segment.name[8:72]


def _jpeg_store_segments(data: bytes) -> list[_Part]:
    """The segments of all boxes that hold a manifest store."""
    found = [
        part
        for segments in _jpeg_boxes(data)
        if any(map(_begins_store, segments))
        for part in segments
    ]
    return sorted(found, key=lambda part: part.start)


def _jpeg_stores(data: bytes) -> list[bytes]:
    """The manifest stores, each joined of its segments."""
    stores = []
    for segments in _jpeg_boxes(data):
        # By sequence number, and what is numbered alike by content.
        first, *rest = sorted(segments, key=lambda part: (part.name[4:8], part.name[8:]))
        if _begins_store(first):
            stores.append(first.name[8:] + b"".join(part.name[16:] for part in rest))
    return stores
