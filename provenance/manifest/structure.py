"""Whether a file has no more parts than pictures have; asked before the engine reads it. Pure.

The engine calls back for every chunk, box and sub-block, and in ISO files its cost grows with the
square of their number: 100 000 empty boxes (0.8 MB) took it 51 s, and a native call cannot be
stopped. Here the walk itself ends at the limit.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["has_too_many_parts"]

MAX_CHUNKS = 20_000
"""PNG and RIFF: half a second. 64 MiB in the smallest customary pieces (8 KiB) are 8 192."""
MAX_BOXES = 4_000
"""ISO files, at every depth: a tenth of a second. HEIF and AVIF pictures have some hundred."""
MAX_SUB_BLOCKS = 300_000
"""GIF: two seconds. 64 MiB in whole sub-blocks of 255 bytes are 263 000."""

_ISO_CONTAINERS = frozenset(
    (
        b"moov trak edts mdia minf dinf stbl mvex moof traf mfra meta meco udta tref sinf schi "
        b"rinf strk strd iprp ipco grpl ilst"
    ).split()
)
"""Boxes whose content may be boxes. Source: ISO/IEC 14496-12 §6.2.3, table 1; 23008-12."""


def has_too_many_parts(data: bytes) -> bool:
    """Whether walking the parts of `data` would cost the engine seconds; by content."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        parts, limit = _png_chunks(data), MAX_CHUNKS
    elif data.startswith(b"RIFF"):
        parts, limit = _riff_chunks(data), MAX_CHUNKS
    elif data.startswith(b"GIF8"):
        parts, limit = _gif_sub_blocks(data), MAX_SUB_BLOCKS
    elif data[4:8] == b"ftyp":
        parts, limit = _iso_boxes(data), MAX_BOXES
    else:
        return False  # JPEG segments and TIFF entries cost next to nothing, or are few.
    return next(islice(parts, limit, None), None) is not None


def _png_chunks(data: bytes) -> Iterator[int]:
    """Source: PNG specification, 3rd edition, §5.3."""
    place = 8
    while place + 12 <= len(data):
        yield place
        place += 12 + int(struct.unpack_from(">I", data, place)[0])


def _riff_chunks(data: bytes) -> Iterator[int]:
    """Source: WebP container specification, "RIFF file format"."""
    place = 12
    while place + 8 <= len(data):
        yield place
        (length,) = struct.unpack_from("<I", data, place + 4)
        place += 8 + int(length) + (int(length) & 1)


def _gif_sub_blocks(data: bytes) -> Iterator[int]:
    """Blocks and their sub-blocks. Source: GIF89a §15, §19, §20."""
    place = 13 + _gif_table_bytes(data[10:11])
    while place < len(data) and data[place] in b"\x21\x2c":
        yield place
        if data[place] == 0x21:
            place += 2
        else:
            place += 10 + _gif_table_bytes(data[place + 9 : place + 10]) + 1
        while place < len(data) and data[place]:
            yield place
            place += 1 + data[place]
        place += 1


def _gif_table_bytes(packed: bytes) -> int:
    return 3 * 2 ** ((packed[0] & 7) + 1) if packed and packed[0] & 0x80 else 0


def _iso_boxes(data: bytes) -> Iterator[int]:
    """Boxes at every depth. Source: ISO/IEC 14496-12 §4.2."""
    waiting = [(0, len(data))]
    while waiting:
        place, end = waiting.pop()
        while place + 8 <= end:
            yield place
            size, kind = struct.unpack_from(">I4s", data, place)
            head = 8
            if size == 1 and place + 16 <= end:
                (size,) = struct.unpack_from(">Q", data, place + 8)
                head = 16
            size = end - place if size == 0 else size
            if size < head:
                break
            if kind in _ISO_CONTAINERS:
                start = place + head
                # "meta" begins with version and flags, but not in QuickTime files.
                start += 4 if kind == b"meta" and data[start : start + 4] == bytes(4) else 0
                waiting.append((start, min(place + size, end)))
            place += size
