"""Finds EXIF and XMP in AVIF and HEIF files: a bounded walk over boxes and items.

Source: ISO/IEC 14496-12 §4.2 (boxes), §8.11.3 (iloc), §8.11.6 (iinf); ISO/IEC 23008-12 annex A
(Exif items); XMP part 3 §1.1 (the uuid box).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ItemBlocks", "read_item_blocks"]

MAX_BOXES = 4096
MAX_ITEMS = 4096
"""A picture of 50 megapixels in tiles of 512 pixels has 200."""
MAX_BLOCK_BYTES = 4 * 2**20

_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


@dataclass(slots=True)
class ItemBlocks:
    """What was found.

    Attributes:
        exif: TIFF structures.
        xmp: XMP packets.
        problem: What was damaged, in words; None when nothing was.
    """

    exif: list[bytes] = field(default_factory=list)
    xmp: list[bytes] = field(default_factory=list)
    problem: str | None = None


def read_item_blocks(data: bytes) -> ItemBlocks:
    """The EXIF and XMP blocks of a file; never raises on hostile bytes."""
    found = ItemBlocks()
    try:
        for kind, start, end in _boxes(data, 0, len(data)):
            if kind == b"meta":
                _read_meta(data, start + 4, end, found)
            elif kind == b"uuid" and data[start : start + 16] == _XMP_UUID:
                found.xmp.append(data[start + 16 : min(end, start + 16 + MAX_BLOCK_BYTES)])
    except struct.error:
        found.problem = "a box is cut short"
    return found


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of content, end) of the boxes in a range.

    Raises:
        struct.error: A box is longer than the range.
    """
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        elif size == 0:
            size = end - start
        if size < head or start + size > end:
            raise struct.error
        yield kind, start + head, start + size
        start += size


def _read_meta(data: bytes, start: int, end: int, found: ItemBlocks) -> None:
    boxes = {kind: (begin, stop) for kind, begin, stop in _boxes(data, start, end)}
    if b"iinf" not in boxes or b"iloc" not in boxes:
        return
    wanted = dict(_wanted_items(data, *boxes[b"iinf"]))
    inside = boxes.get(b"idat", (0, 0))
    for item, extents in _locations(data, *boxes[b"iloc"]):
        kind = wanted.get(item)
        block = None if kind is None else _join(data, extents, inside)
        if block is None:
            continue
        if kind == b"Exif" and len(block) > 4:
            # Offset of the TIFF header behind this field; most writers put "Exif\0\0" between.
            found.exif.append(block[4 + int.from_bytes(block[:4], "big") :])
        elif kind == b"mime":
            found.xmp.append(block)


def _wanted_items(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(item id, type) of Exif items and of XMP among the mime items."""
    version = data[start]
    count_bytes = 2 if version == 0 else 4
    for kind, begin, stop in _boxes(data, start + 4 + count_bytes, end):
        if kind != b"infe" or data[begin] not in (2, 3):
            continue
        wide = data[begin] == 3
        place = begin + 4
        (item,) = struct.unpack_from(">I" if wide else ">H", data, place)
        place += (4 if wide else 2) + 2  # The protection index is not used.
        item_type = data[place : place + 4]
        if item_type == b"Exif":
            yield item, item_type
        elif item_type == b"mime":
            _name, _, rest = data[place + 4 : stop].partition(b"\0")
            if rest.partition(b"\0")[0] == b"application/rdf+xml":
                yield item, item_type


@dataclass(frozen=True, slots=True)
class _Extent:
    start: int
    length: int
    in_idat: bool


def _locations(data: bytes, start: int, end: int) -> Iterator[tuple[int, list[_Extent]]]:
    reader = _Reader(data, start, end)
    version = reader.take(1)
    reader.take(3)
    sizes = reader.take(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (
        (sizes >> shift) & 15 for shift in (12, 8, 4, 0)
    )
    count = reader.take(4 if version == 2 else 2)
    for _ in range(min(count, MAX_ITEMS)):
        item = reader.take(4 if version == 2 else 2)
        method = reader.take(2) & 15 if version in (1, 2) else 0
        reader.take(2)  # Data in other files is not followed.
        base = reader.take(base_bytes)
        extents = []
        for _ in range(min(reader.take(2), MAX_ITEMS)):
            if version in (1, 2):
                reader.take(index_bytes)
            extents.append(
                _Extent(base + reader.take(offset_bytes), reader.take(length_bytes), method == 1)
            )
        # Method 2 builds an item of other items' data; nobody stores EXIF so.
        if method in (0, 1):
            yield item, extents


def _join(data: bytes, extents: list[_Extent], inside: tuple[int, int]) -> bytes | None:
    if sum(extent.length for extent in extents) > MAX_BLOCK_BYTES:
        return None
    pieces = []
    for extent in extents:
        base, stop = inside if extent.in_idat else (0, len(data))
        begin = base + extent.start
        # A length of 0 means: to the end.
        finish = begin + extent.length if extent.length else stop
        pieces.append(data[begin : min(finish, stop, begin + MAX_BLOCK_BYTES)])
    joined = b"".join(pieces)
    return joined if len(joined) <= MAX_BLOCK_BYTES else None


class _Reader:
    """Big-endian numbers of any width, one after the other."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self._place, self._end = data, start, end

    def take(self, width_bytes: int) -> int:
        """The next number; of no bytes, 0.

        Raises:
            struct.error: Beyond the end.
        """
        if self._place + width_bytes > self._end:
            raise struct.error
        taken = self._data[self._place : self._place + width_bytes]
        self._place += width_bytes
        return int.from_bytes(taken, "big")
