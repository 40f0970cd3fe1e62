"""Reads where PNG, JPEG, WebP, GIF, TIFF, AVIF and HEIF files keep their metadata, by structure.

Nothing is found by scanning bytes for a word: four letters occur by chance in compressed data, so
every text comes out of the box that the format's standard gives it. Every loop and every
allocation is bounded, and damage yields what was readable before it plus a stated problem, never
an exception.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector.evidence.exif import IPTC, PHOTOSHOP, XMP, ExifTag, read_exif, read_tiff_blocks
from detector.evidence.iptc import PHOTOSHOP_HEADER, read_iim, read_resources
from detector.evidence.isobmff import read_item_blocks
from detector.evidence.samsung import read_trailer
from detector.evidence.trailing import Trailer, chunks_behind, measure_trailer
from provenance.types import MediaType

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FileMetadata", "TextField", "read_metadata"]

MAX_PARTS = 4096
"""Chunks or segments looked at, picture data not counted; real files have fewer than 100."""
MAX_PICTURE_PARTS = 300_000
"""Pieces of picture data stepped over: 64 MiB in a GIF's sub-blocks of 255 bytes are 263 000."""
MAX_PICTURE_CHUNKS = 100_000
"""The same in a PNG, whose writers cut it into pieces of 8 KiB or more: 64 MiB are 8 192."""
MAX_TEXT_BYTES = 4 * 2**20
"""One text; the largest workflows seen in the wild are below 1 MiB."""
MAX_TOTAL_TEXT_BYTES = 16 * 2**20
"""All texts of a file together: bounds what a file full of compressed texts can unpack to."""
MAX_XMP_BYTES = 4 * 2**20
"""All packets of a file together; parsing takes up to 0.4 s a megabyte."""

_XMP_KEYWORD = "XML:com.adobe.xmp"
_IPTC_RESOURCE, _EXIF_RESOURCE, _XMP_RESOURCE = 0x0404, 0x0422, 0x0424
"""Source: Adobe Photoshop File Formats Specification, "Image Resource IDs"."""


@dataclass(frozen=True, slots=True)
class TextField:
    """A text with a keyword, where the container stores such things.

    Attributes:
        container: For people: ``PNG tEXt``, ``JPEG comment``.
        key: The keyword; empty where the format has none.
        text: Its value.
    """

    container: str
    key: str
    text: str = field(repr=False)


@dataclass(slots=True)
class FileMetadata:
    """Everything textual in a file, still unjudged.

    Attributes:
        texts: PNG text chunks, comments.
        xmp: (place, packet bytes) per XMP packet.
        exif: Tags of all EXIF blocks.
        problems: One sentence each on what is damaged or was too large.
        supported: False for formats whose metadata this reader does not know.
        budget_bytes: How much text may still be taken from this file.
        trailer: What lies behind the end of the picture; None where nothing does.
    """

    texts: list[TextField] = field(default_factory=list)
    xmp: list[tuple[str, bytes]] = field(default_factory=list)
    exif: list[ExifTag] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    supported: bool = True
    budget_bytes: int = MAX_TOTAL_TEXT_BYTES
    trailer: Trailer | None = None

    def add_text(self, container: str, key: str, raw: bytes, encoding: str) -> None:
        """Keeps one text within the limits; undecodable bytes become replacement characters."""
        if len(raw) > min(MAX_TEXT_BYTES, self.budget_bytes):
            self.problems.append(f"{container} is too long to read")
            return
        self.budget_bytes -= len(raw)
        self.texts.append(TextField(container, key, raw.decode(encoding, "replace")))

    def add_xmp(self, place: str, packet: bytes) -> None:
        """Keeps one XMP packet within the limits."""
        taken = sum(len(earlier) for _, earlier in self.xmp)
        if len(packet) > min(MAX_XMP_BYTES - taken, self.budget_bytes):
            self.problems.append(f"XMP in {place} is too long to read")
            return
        self.budget_bytes -= len(packet)
        self.xmp.append((place, packet))

    def add_iptc(self, place: str, block: bytes) -> None:
        """Keeps the IPTC-IIM datasets of one block."""
        for name, value in read_iim(block):
            self.add_text(place, name, value, "utf-8" if _is_utf8(value) else "latin-1")

    def add_resources(self, place: str, block: bytes) -> None:
        """Keeps what Photoshop's image resources hold: IPTC-IIM, EXIF and XMP."""
        for kind, content in read_resources(block):
            if kind == _IPTC_RESOURCE:
                self.add_iptc(f"{place} IPTC", content)
            elif kind == _EXIF_RESOURCE:
                self.add_exif(f"{place} EXIF", content)
            elif kind == _XMP_RESOURCE:
                self.add_xmp(f"{place} XMP", content)

    def add_exif(self, place: str, block: bytes) -> None:
        """Keeps the tags of one EXIF block (a TIFF structure)."""
        tags, problem = read_exif(block, place=place)
        for tag in tags:
            if len(tag.raw) > self.budget_bytes:
                problem = f"{tag.place} is too long to read"
                break
            self.budget_bytes -= len(tag.raw)
            self.exif.append(tag)
        if problem:
            self.problems.append(problem)


def read_metadata(data: bytes, media_type: MediaType | None) -> FileMetadata:
    """All metadata texts of a file; never raises on hostile bytes."""
    found = FileMetadata(trailer=measure_trailer(data, media_type))
    if media_type is MediaType.PNG:
        _read_png(data, found)
    elif media_type is MediaType.JPEG:
        _read_jpeg(data, found)
    elif media_type is MediaType.WEBP:
        _read_webp(data, found)
    elif media_type is MediaType.GIF:
        _read_gif(data, found)
    elif media_type is MediaType.TIFF:
        _read_tiff(data, found)
    elif media_type in (MediaType.AVIF, MediaType.HEIF):
        _read_items(data, media_type, found)
    else:
        found.supported = False
    for name, value in read_trailer(data):
        found.add_text("Samsung trailer", name, value, "utf-8")
    return found


# -- PNG (PNG 3rd edition §5.3 chunk layout, §11.3.3 textual information) ----------------------


def _png_chunks(data: bytes, found: FileMetadata) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of every chunk that is not picture data, up to IEND."""
    position, parts = 8, 0
    for _ in range(MAX_PICTURE_CHUNKS):
        if position + 12 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if length > 2**31 - 1 or end > len(data):
            found.problems.append("a PNG chunk is longer than the file")
            return
        # Text may come after IDAT: picture data is skipped, not taken for the end.
        if kind != b"IDAT":
            parts += 1
            if parts > MAX_PARTS:
                found.problems.append("the PNG has too many chunks to read them all")
                return
            yield kind, data[position + 8 : end - 4]
        if kind == b"IEND":
            return
        position = end
    found.problems.append("the PNG has too many chunks to read them all")


def _read_png(data: bytes, found: FileMetadata) -> None:
    for kind, content in _png_chunks(data, found):
        _read_png_chunk(kind, content, found)
    if found.trailer is not None:
        for kind, content in chunks_behind(data, found.trailer.start):
            _read_png_chunk(kind, content, found, " after IEND")


def _read_png_chunk(kind: bytes, content: bytes, found: FileMetadata, where: str = "") -> None:
    if kind == b"tEXt":
        key, _, text = content.partition(b"\0")
        _add_png_text(found, f"PNG tEXt{where}", key, text, "latin-1")
    elif kind == b"zTXt":
        key, _, rest = content.partition(b"\0")
        # rest[0] is the compression method; 0 (zlib) is the only one defined.
        unpacked = _inflate(rest[1:], found, f"PNG zTXt{where}")
        if unpacked is not None:
            _add_png_text(found, f"PNG zTXt{where}", key, unpacked, "latin-1")
    elif kind == b"iTXt":
        _read_itxt(content, found, f"PNG iTXt{where}")
    elif kind == b"eXIf":
        found.add_exif(f"PNG eXIf{where}", content)


def _read_itxt(content: bytes, found: FileMetadata, place: str) -> None:
    key, _, rest = content.partition(b"\0")
    if len(rest) < 2:
        found.problems.append("a PNG iTXt chunk is cut short")
        return
    compressed = rest[0] == 1
    _language, _, rest = rest[2:].partition(b"\0")
    _translated, _, text = rest.partition(b"\0")
    unpacked = _inflate(text, found, place) if compressed else text
    if unpacked is not None:
        _add_png_text(found, place, key, unpacked, "utf-8")


def _add_png_text(
    found: FileMetadata, container: str, key: bytes, text: bytes, encoding: str
) -> None:
    # Source: PNG §11.3.3.2: a keyword has 1 to 79 characters of Latin-1.
    name = key[:80].decode("latin-1")
    if name == _XMP_KEYWORD:
        found.add_xmp(f"{container} {name}", text)
    elif name.startswith("Raw profile type "):
        _read_raw_profile(found, name, text)
    else:
        if encoding == "latin-1" and _is_utf8(text):
            encoding = "utf-8"  # Many writers put UTF-8 into tEXt against the standard.
        found.add_text(container, name, text, encoding)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _read_raw_profile(found: FileMetadata, name: str, text: bytes) -> None:
    """ImageMagick's hex dump of another block: a name, a decimal length, hex digits."""
    fields = text.split(maxsplit=2)
    try:
        block = bytes.fromhex(b"".join(fields[2].split()).decode("ascii"))
    except (IndexError, ValueError, UnicodeDecodeError):
        found.problems.append(f"PNG {name[:40]!r} is not a hex dump")
        return
    kind = name.removeprefix("Raw profile type ").lower()
    if kind in ("exif", "app1") and block.startswith(b"Exif\0\0"):
        found.add_exif(f"PNG {name}", block[6:])
    elif kind == "exif":
        found.add_exif(f"PNG {name}", block)
    elif kind == "xmp" or block.startswith(_XMP_HEADER):
        found.add_xmp(f"PNG {name}", block.removeprefix(_XMP_HEADER))
    elif kind in ("iptc", "8bim"):
        # ImageMagick dumps the image resources, some writers the datasets in them alone.
        block = block.removeprefix(PHOTOSHOP_HEADER)
        if block.startswith(b"8BIM"):
            found.add_resources(f"PNG {name}", block)
        else:
            found.add_iptc(f"PNG {name}", block)


def _inflate(packed: bytes, found: FileMetadata, place: str) -> bytes | None:
    """Unpacks zlib data up to the text limit, so that a bomb stops there."""
    unpacker = zlib.decompressobj()
    limit = min(MAX_TEXT_BYTES, found.budget_bytes)
    try:
        # No limit at all is what a limit of 0 would mean.
        text = unpacker.decompress(packed, limit) if limit else b""
    except zlib.error:
        found.problems.append(f"{place} does not unpack")
        return None
    if unpacker.unconsumed_tail or not limit:
        # A bomb is paid for too, or thousands of them would unpack to gigabytes.
        found.budget_bytes -= len(text)
        found.problems.append(f"{place} is too long to read")
        return None
    return text


# -- JPEG (ITU-T T.81 B.1.1; EXIF 2.32 §4.7; XMP part 3 §1.1.3) --------------------------------

_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION_HEADER = b"http://ns.adobe.com/xmp/extension/\0"
_FILL_BYTES = re.compile(rb"\xff{2,}")
_STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
_APPLICATION_MARKERS = range(0xE0, 0xF0)


def _jpeg_segments(data: bytes, found: FileMetadata) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of every segment before the picture data."""
    position = 2
    for _ in range(MAX_PARTS):
        fill = _FILL_BYTES.match(data, position)
        if fill:
            position = fill.end() - 1  # Fill bytes are allowed before a marker.
        if position + 2 > len(data) or data[position] != 0xFF:
            found.problems.append("the JPEG breaks off before its picture data")
            return
        marker = data[position + 1]
        if marker in _STANDALONE_MARKERS:
            position += 2
            continue
        if marker in (0xDA, 0xD9):
            return
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if length < 2 or position + 4 > len(data) or position + 2 + length > len(data):
            found.problems.append("a JPEG segment is longer than the file")
            return
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + length
    found.problems.append("the JPEG has too many segments to read them all")


def _read_jpeg(data: bytes, found: FileMetadata) -> None:
    extensions: dict[bytes, dict[int, bytes]] = {}
    resources: list[bytes] = []
    for marker, content in _jpeg_segments(data, found):
        if marker == 0xE1 and content.startswith(b"Exif\0"):
            found.add_exif("JPEG EXIF", content[6:])
        elif marker == 0xE1 and content.startswith(_XMP_HEADER):
            found.add_xmp("JPEG XMP", content[len(_XMP_HEADER) :])
        elif marker == 0xE1 and content.startswith(_XMP_EXTENSION_HEADER):
            body = content[len(_XMP_EXTENSION_HEADER) :]
            # 32 bytes of GUID, full length, offset; Source: XMP part 3 §1.1.3.1.
            if len(body) > 40:
                offset = int.from_bytes(body[36:40], "big")
                extensions.setdefault(body[:32], {})[offset] = body[40:]
        elif marker == 0xED and content.startswith(PHOTOSHOP_HEADER):
            resources.append(content[len(PHOTOSHOP_HEADER) :])
        elif marker == 0xFE:
            found.add_text("JPEG comment", "", content.rstrip(b"\0"), "utf-8")
        elif marker in _APPLICATION_MARKERS and content.startswith(b"AIGC{"):
            # Seen from Chinese services: the label of GB 45438 glued to its name.
            found.add_text("JPEG APP", "AIGC", content[4:], "utf-8")
    # Resources of more than a segment go on in the next one.
    found.add_resources("JPEG", b"".join(resources))
    for pieces in extensions.values():
        _join_extended_xmp(pieces, found)


def _join_extended_xmp(pieces: dict[int, bytes], found: FileMetadata) -> None:
    joined, size = [], 0
    for offset in sorted(pieces):
        if offset != size:
            found.problems.append("extended XMP is incomplete")
            return
        joined.append(pieces[offset])
        size += len(pieces[offset])
    found.add_xmp("JPEG extended XMP", b"".join(joined))


# -- WebP (container specification, "RIFF file format") ----------------------------------------


def _read_webp(data: bytes, found: FileMetadata) -> None:
    position, end = 12, len(data) if found.trailer is None else found.trailer.start
    for _ in range(MAX_PARTS):
        if position + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        content = data[position + 8 : position + 8 + length]
        if len(content) < length:
            found.problems.append("a WebP chunk is longer than the file")
            return
        # Some writers add chunks and leave the file's size as it was.
        where = " after the end" if position >= end else ""
        if kind == b"EXIF":
            # The standard wants bare TIFF; many writers keep JPEG's prefix.
            found.add_exif(f"WebP EXIF{where}", content.removeprefix(b"Exif\0\0"))
        elif kind == b"XMP ":
            found.add_xmp(f"WebP XMP{where}", content)
        position += 8 + length + (length & 1)
    found.problems.append("the WebP file has too many chunks to read them all")


# -- GIF (GIF89a §23, §24, §26; XMP part 3 §1.1.2) ---------------------------------------------


def _read_gif(data: bytes, found: FileMetadata) -> None:
    if len(data) < 13:
        found.problems.append("the GIF is cut short")
        return
    position = 13 + _gif_table_bytes(data[10])
    for _ in range(MAX_PARTS):
        block = data[position : position + 2]
        if not block or block[:1] == b"\x3b":
            return
        if block[:1] == b"\x2c" and position + 10 <= len(data):
            # Picture: its descriptor, its colour table, one byte of code size, its data.
            position += 10 + _gif_table_bytes(data[position + 9]) + 1
            position, _ = _gif_sub_blocks(data, position)
            continue
        if block[:1] != b"\x21" or len(block) < 2:
            found.problems.append("the GIF breaks off")
            return
        start = position + 2
        if block == b"\x21\xff" and data[start : start + 12] == b"\x0bXMP DataXMP":
            # A trailer of 01 FF FE .. 00 lets other readers skip the packet as sub-blocks.
            end = data.find(b"\x01\xff\xfe", start)
            found.add_xmp("GIF XMP", data[start + 12 : end if end > 0 else None])
            position, _ = _gif_sub_blocks(data, start)
            continue
        position, text = _gif_sub_blocks(data, start)
        if block == b"\x21\xfe":
            found.add_text("GIF comment", "", text, "utf-8")
    found.problems.append("the GIF has too many blocks to read them all")


def _gif_table_bytes(packed: int) -> int:
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _gif_sub_blocks(data: bytes, position: int) -> tuple[int, bytes]:
    """(position after the terminator, joined content up to the text limit)."""
    pieces: list[bytes] = []
    for _ in range(MAX_PICTURE_PARTS):
        if position >= len(data) or not data[position]:
            return position + 1, b"".join(pieces)
        size = data[position]
        if len(pieces) * 255 < MAX_TEXT_BYTES:
            pieces.append(data[position + 1 : position + 1 + size])
        position += 1 + size
    return len(data), b"".join(pieces)


# -- TIFF (TIFF 6.0 §2; XMP part 3 §1.1.6), AVIF and HEIF --------------------------------------


def _read_tiff(data: bytes, found: FileMetadata) -> None:
    found.add_exif("TIFF", data)
    for tag, block in read_tiff_blocks(data):
        if tag == XMP:
            found.add_xmp("TIFF", block)
        elif tag == IPTC:
            found.add_iptc("TIFF IPTC", block)
        elif tag == PHOTOSHOP:
            found.add_resources("TIFF Photoshop", block)


def _read_items(data: bytes, media_type: MediaType, found: FileMetadata) -> None:
    name = media_type.name
    blocks = read_item_blocks(data)
    for block in blocks.exif:
        found.add_exif(f"{name} EXIF", block.removeprefix(b"Exif\0\0"))
    for packet in blocks.xmp:
        found.add_xmp(f"{name} XMP", packet)
    if blocks.problem:
        found.problems.append(f"the {name} file breaks off: {blocks.problem}")
