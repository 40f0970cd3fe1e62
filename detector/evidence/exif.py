"""Reads the text tags of an EXIF block: a bounded walk over TIFF directories.

Only tags that say how, by whom and where a picture was made are kept; what may point at a person
is never shown unasked (`detector.evidence.labels.personal_data`). The maker's own notes, which have
no published form, are never touched.

Source: TIFF 6.0 §2; EXIF 2.32 §4.6.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "IPTC",
    "NAMES",
    "PHOTOSHOP",
    "XMP",
    "ExifTag",
    "decode_user_comment",
    "read_exif",
    "read_tiff_blocks",
]

MAX_ENTRIES = 512
"""Per directory; cameras write fewer than 100."""
MAX_VALUE_BYTES = 4 * 2**20

IMAGE_DESCRIPTION: Final = 0x010E
MAKE: Final = 0x010F
MODEL: Final = 0x0110
SOFTWARE: Final = 0x0131
ARTIST: Final = 0x013B
USER_COMMENT: Final = 0x9286
XMP: Final = 0x02BC
IPTC: Final = 0x83BB
PHOTOSHOP: Final = 0x8649
_EXIF_IFD: Final = 0x8769
_GPS_IFD: Final = 0x8825

NAMES = {
    0x000B: "ProcessingSoftware",
    0x010D: "DocumentName",
    0xA43B: "ImageEditingSoftware",
    IMAGE_DESCRIPTION: "ImageDescription",
    MAKE: "Make",
    MODEL: "Model",
    SOFTWARE: "Software",
    ARTIST: "Artist",
    USER_COMMENT: "UserComment",
    0x8298: "Copyright",
    0xA430: "CameraOwnerName",
    0xA431: "BodySerialNumber",
    0xA435: "LensSerialNumber",
    _GPS_IFD: "GPSPosition",
}

_TOP_TAGS = frozenset({_EXIF_IFD, *NAMES})
_EXIF_TAGS = frozenset(NAMES) - {_GPS_IFD}

_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}
"""TIFF 6.0 §2: bytes per value of each field type; EXIF 3.0 §4.6.2 adds 129, UTF-8."""


@dataclass(frozen=True, slots=True)
class ExifTag:
    """One text tag.

    Attributes:
        place: For people: ``JPEG EXIF UserComment``.
        tag: Tag number.
        raw: Value bytes as they stand in the file.
        little_endian: Byte order of the block; a hint for UserComment.
    """

    place: str
    tag: int
    raw: bytes = field(repr=False)
    little_endian: bool = False

    @property
    def text(self) -> str:
        """The value as text; for UserComment, what its character code says."""
        if self.tag == USER_COMMENT:
            return decode_user_comment(self.raw, little_endian=self.little_endian)
        return self.raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def decode_user_comment(raw: bytes, *, little_endian: bool) -> str:
    """The text of a UserComment value.

    ``UNICODE`` names no byte order, and writers differ: some follow the block, some always write
    big-endian.

    Source: EXIF 2.32 §4.6.5, table 9.
    """
    code, body = raw[:8], raw[8:]
    if code == b"UNICODE\0":
        body = body[: len(body) & ~1]
        order = _utf16_order(body, "utf-16-le" if little_endian else "utf-16-be")
        return body.decode(order, "replace").strip("\0\ufeff")
    if code == b"ASCII\0\0\0" or not code.strip(b"\0"):
        return body.decode("utf-8", "replace").strip("\0")
    return raw.decode("utf-8", "replace").strip("\0")


def _utf16_order(body: bytes, expected: str) -> str:
    """By the mark; else by which half of the pairs is zero: settings are keywords and digits."""
    marked = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(body[:2])
    if marked is not None:
        return marked
    big, little = body[::2].count(0), body[1::2].count(0)
    if big == little:
        return expected
    return "utf-16-be" if big > little else "utf-16-le"


def read_exif(block: bytes, *, place: str) -> tuple[list[ExifTag], str | None]:
    """Text tags of IFD0 and of the EXIF directory, and a problem if the block is damaged."""
    order = _byte_order(block)
    if order is None:
        return [], f"{place} is not a TIFF structure"
    tags: list[ExifTag] = []
    try:
        top = _first_directory(block, order)
        for tag, raw in _entries(block, order, top, wanted=_TOP_TAGS):
            if tag == _EXIF_IFD and len(raw) == 4:
                (offset,) = struct.unpack(f"{order}I", raw)
                tags += [
                    ExifTag(f"{place} {NAMES[t]}", t, value, order == "<")
                    for t, value in _entries(block, order, offset, wanted=_EXIF_TAGS)
                ]
            elif tag == _GPS_IFD:
                position = _read_position(block, order, raw)
                if position:
                    text = position.encode("ascii")
                    tags.append(ExifTag(f"{place} {NAMES[tag]}", tag, text, order == "<"))
            elif tag in NAMES:
                tags.append(ExifTag(f"{place} {NAMES[tag]}", tag, raw, order == "<"))
    except struct.error:
        return tags, f"{place} is cut short"
    return tags, None


_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE = 1, 2, 3, 4


def _read_position(block: bytes, order: str, pointer: bytes) -> str | None:
    """Signed degrees, ``43.46745,11.88513``, of the GPS directory; None without a position.

    Source: EXIF 2.32 §4.6.6: three rationals each, and a letter for the hemisphere.

    Raises:
        struct.error: The directory lies outside the block.
    """
    if len(pointer) != 4:
        return None
    (offset,) = struct.unpack(f"{order}I", pointer)
    wanted = frozenset({_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE})
    values = dict(_entries(block, order, offset, wanted=wanted))
    latitude = _degrees(values.get(_LATITUDE, b""), order)
    longitude = _degrees(values.get(_LONGITUDE, b""), order)
    if latitude is None or longitude is None:
        return None
    south = values.get(_LATITUDE_REF, b"").startswith(b"S")
    west = values.get(_LONGITUDE_REF, b"").startswith(b"W")
    return f"{-latitude if south else latitude:.5f},{-longitude if west else longitude:.5f}"


def _degrees(raw: bytes, order: str) -> float | None:
    if len(raw) != 24:
        return None
    parts: tuple[int, ...] = struct.unpack(f"{order}6I", raw)
    if not all(parts[1::2]):
        return None
    return sum(
        above / below / 60.0**power
        for power, (above, below) in enumerate(zip(parts[::2], parts[1::2], strict=True))
    )


def read_tiff_blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of the XMP, IPTC and Photoshop blocks of a TIFF file.

    Source: XMP part 3 §1.1.6; Adobe Photoshop TIFF Technical Notes.
    """
    order = _byte_order(data)
    if order is None:
        return
    try:
        top = _first_directory(data, order)
        yield from _entries(data, order, top, wanted=frozenset({XMP, IPTC, PHOTOSHOP}))
    except struct.error:
        return


def _byte_order(block: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])


def _first_directory(block: bytes, order: str) -> int:
    (offset,) = struct.unpack_from(f"{order}I", block, 4)
    return int(offset)


def _entries(
    block: bytes, order: str, offset: int, *, wanted: frozenset[int]
) -> Iterator[tuple[int, bytes]]:
    """(tag, value bytes) of the wanted tags of one directory, the first of each.

    The chain to the next directory (thumbnails) is not followed, and only wanted values are
    copied: entries of a hostile block may all point at the same megabytes.

    Raises:
        struct.error: The directory lies outside the block.
    """
    (count,) = struct.unpack_from(f"{order}H", block, offset)
    seen: set[int] = set()
    for index in range(min(count, MAX_ENTRIES)):
        start = offset + 2 + 12 * index
        tag, kind, number = struct.unpack_from(f"{order}HHI", block, start)
        if tag not in wanted or tag in seen:
            continue
        seen.add(tag)
        size = _TYPE_SIZES.get(kind, 0) * number
        if size <= 4:
            yield tag, block[start + 8 : start + 8 + size]
        elif size <= MAX_VALUE_BYTES:
            (place,) = struct.unpack_from(f"{order}I", block, start + 8)
            yield tag, block[place : place + size]
