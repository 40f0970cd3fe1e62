"""Metadata is found by structure, within bounds, and damage never raises."""

from __future__ import annotations

import io
import random
import struct
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.evidence.containers import MAX_TEXT_BYTES, read_metadata
from detector.evidence.exif import decode_user_comment
from detector.evidence.signals import read_signals
from detector.evidence.xmp import parse_xmp
from provenance.imaging import sniff_media_type
from provenance.types import MediaType

DATA = Path(__file__).parents[4] / "shared" / "data"
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    'syntax-ns#"><rdf:Description xmlns:n="http://n/" n:attribute="one"><n:element>two</n:element>'
    "<n:list><rdf:Alt><rdf:li>three</rdf:li></rdf:Alt></n:list></rdf:Description></rdf:RDF>"
    "</x:xmpmeta>"
)


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(*chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return PNG_HEAD + header + b"".join(chunks) + chunk(b"IEND", b"")


def exif_block(tags: dict[int, bytes], *, order: str = ">", kind: int = 2) -> bytes:
    """A TIFF structure with IFD0 only; every value stands outside its entry."""
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", 8)
    directory = struct.pack(f"{order}H", len(tags))
    place = 8 + 2 + 12 * len(tags) + 4
    values = b""
    for tag, value in tags.items():
        directory += struct.pack(f"{order}HHII", tag, kind, len(value), place + len(values))
        values += value
    return head + directory + bytes(4) + values


def texts(data: bytes) -> list[tuple[str, str, str]]:
    found = read_metadata(data, sniff_media_type(data))
    return [(t.container, t.key, t.text) for t in found.texts]


IDAT = chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (chunk(b"tEXt", b"Key\0caf\xe9"), ("PNG tEXt", "Key", "café")),
        (chunk(b"tEXt", b"Key\0caf\xc3\xa9"), ("PNG tEXt", "Key", "café")),
        (chunk(b"zTXt", b"Key\0\0" + zlib.compress(b"text")), ("PNG zTXt", "Key", "text")),
        (chunk(b"iTXt", b"Key\0\0\0en\0\0\xc3\xa9"), ("PNG iTXt", "Key", "é")),
        (chunk(b"iTXt", b"Key\0\1\0\0\0" + zlib.compress(b"x")), ("PNG iTXt", "Key", "x")),
    ],
)
def test_png_text_is_read_before_and_after_the_picture(
    part: bytes, expected: tuple[str, str, str]
) -> None:
    assert texts(png(part, IDAT)) == [expected]
    assert texts(png(IDAT, part)) == [expected]


def test_text_behind_the_end_of_the_png_says_where_it_stands() -> None:
    late = chunk(b"tEXt", b"parameters\0late")
    assert texts(png(IDAT) + late) == [("PNG tEXt after IEND", "parameters", "late")]


def test_letters_inside_picture_data_are_not_taken_for_a_label() -> None:
    assert texts(png(chunk(b"IDAT", b"tEXtparameters\0Steps: 20, Seed: 1"))) == []


def test_a_compressed_text_bomb_stops_at_the_limit() -> None:
    bomb = zlib.compress(bytes(8 * MAX_TEXT_BYTES))
    found = read_metadata(png(chunk(b"zTXt", b"Key\0\0" + bomb)), MediaType.PNG)
    assert not found.texts
    assert found.problems == ["PNG zTXt is too long to read"]


def test_thousands_of_bombs_cost_no_more_than_a_few() -> None:
    """Each unpacks to the limit of one text; once 4 000 of them unpacked to 16 GB."""
    bomb = chunk(b"zTXt", b"Key\0\0" + zlib.compress(bytes(MAX_TEXT_BYTES + 1)))
    start = time.process_time()
    found = read_metadata(png(*[bomb] * 1000), MediaType.PNG)
    assert time.process_time() - start < 1.0
    assert found.texts == []
    assert "PNG zTXt is too long to read" in found.problems


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (png(*[chunk(b"IDAT", b"")] * 1_500_000), MediaType.PNG),
        (b"\xff\xd8" + b"\xff" * 20_000_000 + b"\xfe\x00\x04hi\xff\xda", MediaType.JPEG),
        (b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\1a" * 10_000_000 + b"\0;", MediaType.GIF),
        (
            png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<a>" + b"<b/>" * 900_000 + b"</a>")),
            MediaType.PNG,
        ),
    ],
    ids=["empty IDAT", "fill bytes", "sub-blocks of one byte", "elements"],
)
def test_files_made_to_be_slow_are_not(data: bytes, media_type: MediaType) -> None:
    start = time.process_time()
    read_signals(read_metadata(data, media_type))
    assert time.process_time() - start < 1.0


def test_comment_behind_fill_bytes_is_read() -> None:
    data = b"\xff\xd8" + b"\xff" * 9 + b"\xfe\x00\x04hi\xff\xda"
    assert texts(data) == [("JPEG comment", "", "hi")]


def test_many_large_texts_stop_at_the_total_limit() -> None:
    packed = zlib.compress(bytes(MAX_TEXT_BYTES))
    found = read_metadata(png(*[chunk(b"zTXt", b"K\0\0" + packed)] * 12), MediaType.PNG)
    assert sum(len(t.text) for t in found.texts) <= 4 * MAX_TEXT_BYTES
    assert found.problems


def test_exif_entries_that_all_point_at_the_same_bytes_cost_nothing() -> None:
    value = bytes(3 * 2**20)
    entry = struct.pack(">HHII", 0x010F, 2, len(value), 8 + 2 + 12 * 512 + 4)
    block = b"MM\0*" + struct.pack(">IH", 8, 512) + entry * 512 + bytes(4) + value
    found = read_metadata(png(*[chunk(b"eXIf", block)] * 8), MediaType.PNG)
    assert sum(len(tag.raw) for tag in found.exif) <= 4 * MAX_TEXT_BYTES


def test_png_xmp_exif_and_raw_profiles_are_read() -> None:
    block = exif_block({0x010F: b"maker\0"})
    hexed = b"\nexif\n  %d\n" % (6 + len(block)) + (b"Exif\0\0" + block).hex().encode()
    data = png(
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.encode()),
        chunk(b"eXIf", block),
        chunk(b"tEXt", b"Raw profile type exif\0" + hexed),
    )
    found = read_metadata(data, MediaType.PNG)
    assert [packet for _, packet in found.xmp] == [XMP.encode()]
    assert [(tag.place, tag.text) for tag in found.exif] == [
        ("PNG eXIf Make", "maker"),
        ("PNG Raw profile type exif Make", "maker"),
    ]


def test_jpeg_exif_xmp_extended_xmp_and_comment_are_read() -> None:
    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content

    guid = b"0" * 32
    header = b"http://ns.adobe.com/xmp/extension/\0"
    half = len(XMP) // 2
    pieces = [(half, XMP[half:]), (0, XMP[:half])]  # The standard allows any order.
    data = (
        b"\xff\xd8"
        + segment(0xE1, b"Exif\0\0" + exif_block({0x0131: b"tool\0"}, order="<"))
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP.encode())
        + b"".join(
            segment(0xE1, header + guid + struct.pack(">II", len(XMP), at) + text.encode())
            for at, text in pieces
        )
        + b"\xff"  # A fill byte before a marker.
        + segment(0xFE, b"a comment")
        + segment(0xDA, b"")
    )
    found = read_metadata(data, MediaType.JPEG)
    assert [packet.decode() for _, packet in found.xmp] == [XMP, XMP]
    assert [tag.text for tag in found.exif] == ["tool"]
    assert [t.text for t in found.texts] == ["a comment"]
    assert not found.problems


def test_extended_xmp_with_a_hole_is_a_problem() -> None:
    body = (
        b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 99, 50) + b"<a/>"
    )
    data = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(body) + 2) + body + b"\xff\xd9"
    found = read_metadata(data, MediaType.JPEG)
    assert found.problems == ["extended XMP is incomplete"]


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_webp_exif_is_read_with_and_without_prefix(prefix: bytes) -> None:
    block = prefix + exif_block({0x0131: b"tool\0"})
    block += b"\0" * (len(block) & 1)
    chunks = b"EXIF" + struct.pack("<I", len(block)) + block
    chunks += b"XMP " + struct.pack("<I", len(XMP)) + XMP.encode() + b"\0" * (len(XMP) & 1)
    data = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
    found = read_metadata(data, MediaType.WEBP)
    assert [tag.text for tag in found.exif] == ["tool"]
    assert [packet for _, packet in found.xmp] == [XMP.encode()]


def test_gif_comment_and_xmp_are_read() -> None:
    out = io.BytesIO()
    Image.new("P", (2, 2)).save(out, "GIF", comment=b"a comment")
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    extension = b"\x21\xff\x0bXMP DataXMP" + XMP.encode() + trailer
    data = out.getvalue()
    found = read_metadata(data[:-1] + extension + b"\x3b", MediaType.GIF)
    assert [t.text for t in found.texts] == ["a comment"]
    assert [packet for _, packet in found.xmp] == [XMP.encode()]


def test_tiff_xmp_is_read() -> None:
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "TIFF", tiffinfo={700: XMP.encode(), 0x010F: "maker"})
    found = read_metadata(out.getvalue(), MediaType.TIFF)
    assert [packet for _, packet in found.xmp] == [XMP.encode()]
    assert [tag.text for tag in found.exif] == ["maker"]


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("little_endian", [True, False])
def test_user_comment_is_decoded_in_either_byte_order(order: str, *, little_endian: bool) -> None:
    raw = b"UNICODE\0" + "prompt, 猫\nSteps: 20".encode(order)
    assert decode_user_comment(raw, little_endian=little_endian) == "prompt, 猫\nSteps: 20"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("little_endian", [True, False])
def test_user_comment_with_a_long_foreign_prompt(
    order: str, mark: str, *, little_endian: bool
) -> None:
    """No ASCII letter for pages: the settings behind them tell the byte order."""
    text = "\u732b\u3001" * 3000 + "\nSteps: 20, Sampler: Euler a"
    raw = b"UNICODE\0" + (mark + text).encode(order)
    assert decode_user_comment(raw, little_endian=little_endian) == text


@pytest.mark.parametrize("code", [b"ASCII\0\0\0", bytes(8)])
def test_user_comment_is_decoded_as_ascii(code: bytes) -> None:
    assert decode_user_comment(code + b'{"a":1}\0', little_endian=False) == '{"a":1}'


def test_xmp_reads_attributes_elements_and_lists_alike() -> None:
    values = parse_xmp(XMP.encode())
    assert values is not None
    assert [(v.namespace, v.name, v.value) for v in values] == [
        ("http://n/", "attribute", "one"),
        ("http://n/", "element", "two"),
        ("http://n/", "list", "three"),
    ]


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"<unclosed",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>" * 50_000 + b"</a>" * 50_000,
    ],
)
def test_xmp_refuses_entities_and_garbage(packet: bytes) -> None:
    assert not parse_xmp(packet)


@pytest.mark.parametrize(
    "inside",
    [
        '<n:list rdf:resource="three"/>',
        '<n:list><rdf:Bag><rdf:li rdf:resource="three"/></rdf:Bag></n:list>',
        '<n:list rdf:parseType="Resource"><rdf:value>three</rdf:value></n:list>',
        "<n:list><rdf:Description><rdf:value>three</rdf:value></rdf:Description></n:list>",
        '<n:list><rdf:Description rdf:value="three"/></n:list>',
    ],
)
def test_xmp_reads_every_spelling_of_a_value(inside: str) -> None:
    packet = XMP.replace("<n:list><rdf:Alt><rdf:li>three</rdf:li></rdf:Alt></n:list>", inside)
    assert packet != XMP
    properties = parse_xmp(packet.encode())
    assert properties is not None
    assert [p.value for p in properties if p.name == "list"] == ["three"]


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
def test_xmp_in_utf16_without_a_mark_is_read(order: str) -> None:
    assert parse_xmp(XMP.encode(order)) == parse_xmp(XMP.encode())


def test_xmp_of_too_many_elements_is_read_as_far_as_it_goes() -> None:
    properties = parse_xmp(XMP.replace("</rdf:RDF>", "<b/>" * 50_000 + "</rdf:RDF>").encode())
    assert properties == parse_xmp(XMP.encode())


def test_xmp_in_utf16_is_read() -> None:
    values = parse_xmp(XMP.encode("utf-16"))
    assert values is not None
    assert len(values) == 3


def iptc(**values: bytes) -> bytes:
    numbers = {"program": 65, "credit": 110, "caption": 120, "byline": 80}
    return b"".join(
        struct.pack(">BBBH", 0x1C, 2, numbers[name], len(value)) + value
        for name, value in values.items()
    )


def resource(kind: int, content: bytes) -> bytes:
    padding = b"\0" * (len(content) & 1)
    return b"8BIM" + struct.pack(">HHI", kind, 0, len(content)) + content + padding


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


CREDIT = iptc(byline=b"a person", credit=b"Made with Google AI", program=b"caf\xe9")
EXPECTED_CREDIT = [("Credit", "Made with Google AI"), ("OriginatingProgram", "café")]


def test_iptc_in_photoshop_resources_is_read_over_several_segments() -> None:
    block = resource(0x03ED, b"odd") + resource(0x0404, CREDIT) + resource(0x0424, XMP.encode())
    half = len(block) // 2
    data = b"\xff\xd8" + b"".join(
        segment(0xED, b"Photoshop 3.0\0" + part) for part in (block[:half], block[half:])
    )
    found = read_metadata(data + b"\xff\xd9", MediaType.JPEG)
    assert [(t.key, t.text) for t in found.texts] == EXPECTED_CREDIT
    assert [t.container for t in found.texts] == ["JPEG IPTC"] * 2
    assert [packet for _, packet in found.xmp] == [XMP.encode()]


@pytest.mark.parametrize("block", [CREDIT, b"Photoshop 3.0\0" + resource(0x0404, CREDIT)])
def test_iptc_in_a_raw_profile_is_read(block: bytes) -> None:
    hexed = b"\niptc\n  %d\n" % len(block) + block.hex().encode()
    found = read_metadata(png(chunk(b"tEXt", b"Raw profile type iptc\0" + hexed)), MediaType.PNG)
    assert [(t.key, t.text) for t in found.texts] == EXPECTED_CREDIT


def test_iptc_in_a_tiff_is_read() -> None:
    out = io.BytesIO()
    info = {33723: CREDIT, 34377: resource(0x0404, CREDIT)}
    Image.new("RGB", (2, 2)).save(out, "TIFF", tiffinfo=info)
    found = read_metadata(out.getvalue(), MediaType.TIFF)
    assert [t.container for t in found.texts] == ["TIFF IPTC"] * 2 + ["TIFF Photoshop IPTC"] * 2


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def heif(exif: bytes, packet: bytes, *, in_idat: bool) -> bytes:
    """A file of one Exif item and one of XMP, in ``idat`` or behind the boxes."""
    blocks = struct.pack(">I", 6) + b"Exif\0\0" + exif, packet
    entries = box(b"infe", b"\2\0\0\0" + struct.pack(">HH4s", 1, 0, b"Exif") + b"\0")
    entries += box(
        b"infe",
        b"\2\0\0\0" + struct.pack(">HH4s", 2, 0, b"mime") + b"x\0application/rdf+xml\0",
    )
    head = box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def meta(base: int) -> bytes:
        items, at = b"", base
        for number, block in enumerate(blocks, start=1):
            method = 1 if in_idat else 0
            items += struct.pack(">HHHHII", number, method, 0, 1, at, len(block))
            at += len(block)
        location = b"\1\0\0\0" + b"\x44\x00" + struct.pack(">H", 2) + items
        inner = box(b"iinf", bytes(4) + struct.pack(">H", 2) + entries) + box(b"iloc", location)
        return box(b"meta", bytes(4) + inner + box(b"idat", b"".join(blocks) if in_idat else b""))

    if in_idat:
        return head + meta(0)
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", b"".join(blocks))


@pytest.mark.parametrize("in_idat", [True, False])
def test_heif_items_are_read(*, in_idat: bool) -> None:
    data = heif(exif_block({0x0131: b"tool\0"}), XMP.encode(), in_idat=in_idat)
    assert sniff_media_type(data) is MediaType.HEIF
    found = read_metadata(data, MediaType.HEIF)
    assert [(tag.place, tag.text) for tag in found.exif] == [("HEIF EXIF Software", "tool")]
    assert found.xmp == [("HEIF XMP", XMP.encode())]
    assert not found.problems


def test_avif_exif_and_xmp_are_read() -> None:
    out = io.BytesIO()
    exif = exif_block({0x0131: b"tool\0"})
    Image.new("RGB", (16, 16)).save(out, "AVIF", exif=exif, xmp=XMP.encode())
    found = read_metadata(out.getvalue(), MediaType.AVIF)
    assert [tag.text for tag in found.exif] == ["tool"]
    assert [packet for _, packet in found.xmp] == [XMP.encode()]


def test_xmp_in_a_uuid_box_is_read() -> None:
    uuid = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
    data = box(b"ftyp", b"avif\0\0\0\0") + box(b"uuid", uuid + XMP.encode())
    assert read_metadata(data, MediaType.AVIF).xmp == [("AVIF XMP", XMP.encode())]


def test_a_box_longer_than_the_file_is_a_problem() -> None:
    data = box(b"ftyp", b"avif\0\0\0\0") + struct.pack(">I4s", 2**31, b"meta")
    assert read_metadata(data, MediaType.AVIF).problems


def samsung_trailer(name: bytes, value: bytes) -> bytes:
    block = struct.pack("<HHI", 0, 0x0D91, len(name)) + name + value
    directory = b"SEFH" + struct.pack("<II", 107, 1)
    directory += struct.pack("<HHII", 0, 0x0D91, len(block), len(block))
    return block + directory + struct.pack("<I", len(directory)) + b"SEFT"


TRAILER = samsung_trailer(b"PEg_Info", b'{"genAIType":8}')


@pytest.mark.parametrize("picture", [png(IDAT), b"\xff\xd8\xff\xda..\xff\xd9"])
def test_samsungs_trailer_is_read_behind_any_picture(picture: bytes) -> None:
    assert texts(picture + TRAILER) == [("Samsung trailer", "PEg_Info", '{"genAIType":8}')]


@pytest.mark.parametrize(
    "tail",
    [
        TRAILER[:-1],
        TRAILER[:-8] + struct.pack("<I", 2**31) + b"SEFT",
        b"SEFT",
        samsung_trailer(b"Image_UTC_Data", b"1"),
        b'PEg_Info{"genAIType":8}',
    ],
)
def test_what_merely_resembles_the_trailer_is_not_read(tail: bytes) -> None:
    assert texts(png(IDAT) + tail) == []


def test_label_glued_to_its_name_in_an_application_segment_is_read() -> None:
    data = b"\xff\xd8" + segment(0xEB, b'AIGC{"Label":"1"}') + b"\xff\xd9"
    assert texts(data) == [("JPEG APP", "AIGC", '{"Label":"1"}')]


def test_position_and_serial_are_read_with_their_signs() -> None:
    image = Image.new("RGB", (4, 4))
    exif = image.getexif()
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 30.0, 0.0), 3: "E", 4: (151.0, 0.0, 36.0)})
    exif.get_ifd(0x8769)[0xA431] = "serial 7"
    out = io.BytesIO()
    image.save(out, "JPEG", exif=exif)
    found = read_metadata(out.getvalue(), MediaType.JPEG)
    said = {tag.place: tag.text for tag in found.exif}
    assert said["JPEG EXIF GPSPosition"] == "-33.50000,151.01000"
    assert said["JPEG EXIF BodySerialNumber"] == "serial 7"


def test_thousands_of_extended_xmp_pieces_take_linear_time() -> None:
    header = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    piece = 10_000
    data = b"\xff\xd8" + b"".join(
        segment(0xE1, header + struct.pack(">II", 4000 * piece, at * piece) + b" " * piece)
        for at in range(4000)
    )
    start = time.process_time()
    read_metadata(data + b"\xff\xd9", MediaType.JPEG)
    assert time.process_time() - start < 1.0


def sample_files() -> list[Path]:
    found = [p for folder in ("generators", "camera") for p in (DATA / folder).rglob("*.*g*")]
    return sorted(p for p in found if p.is_file())


@pytest.mark.skipif(not DATA.is_dir(), reason="the sample files are not here")
def test_damaged_files_never_raise() -> None:
    rng = random.Random(7)
    for path in sample_files():
        whole = path.read_bytes()[:60_000]
        media_type = sniff_media_type(whole)
        for _ in range(25):
            damaged = bytearray(whole[: rng.randrange(8, len(whole) + 1)])
            for _ in range(rng.randrange(1, 12)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            read_signals(read_metadata(bytes(damaged), media_type))


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from(MediaType))
def test_any_bytes_behind_any_signature_never_raise(tail: bytes, media_type: MediaType) -> None:
    heads = {
        MediaType.PNG: PNG_HEAD,
        MediaType.JPEG: b"\xff\xd8\xff",
        MediaType.WEBP: b"RIFF\0\0\0\0WEBP",
        MediaType.GIF: b"GIF89a",
        MediaType.TIFF: b"MM\0*",
        MediaType.AVIF: box(b"ftyp", b"avif\0\0\0\0"),
        MediaType.HEIF: box(b"ftyp", b"heic\0\0\0\0"),
    }
    read_signals(read_metadata(heads.get(media_type, b"") + tail, media_type))
    read_signals(read_metadata(tail, media_type))
