"""What lies behind a picture's end is measured, and read only where it goes on as PNG chunks."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

from detector.evidence.containers import read_metadata
from detector.evidence.metadata import MetadataSource
from detector.evidence.trailing import measure_trailer
from provenance.imaging import open_candidate, sniff_media_type
from provenance.types import Finding, MetadataEvidence, SourceClaim

PARAMETERS = "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64"


def encoded(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


FILES = {
    "PNG": encoded("PNG"),
    "baseline": encoded("JPEG", quality=90),
    "progressive": encoded("JPEG", progressive=True),
    "restarts": encoded("JPEG", restart_marker_blocks=3),
    "odd WebP": encoded("WEBP", quality=33),
    "GIF": encoded("GIF"),
}
TEXT = chunk(b"tEXt", b"parameters\0" + PARAMETERS.encode())


def findings(data: bytes) -> list[MetadataEvidence]:
    found = MetadataSource().collect(open_candidate(data, name="x"))
    return [item for item in found if isinstance(item, MetadataEvidence)]


@pytest.mark.parametrize("name", FILES)
def test_the_end_is_found_by_structure(name: str) -> None:
    data = FILES[name]
    media_type = sniff_media_type(data)
    assert measure_trailer(data, media_type) is None
    trailer = measure_trailer(data + b"PK\x03\x04hidden", media_type)
    assert trailer is not None
    assert (trailer.start, trailer.size, trailer.kind) == (len(data), 10, "a ZIP archive")


@pytest.mark.parametrize(
    ("tail", "kind"),
    [
        (bytes(40), "zero bytes only"),
        (FILES["baseline"], "a JPEG picture"),
        (FILES["PNG"], "a PNG picture"),
        (b"noise", None),
        (TEXT, "more PNG chunks"),
    ],
)
def test_what_follows_is_shown_and_decides_nothing(tail: bytes, kind: str | None) -> None:
    *_, found = findings(FILES["PNG"] + tail)
    assert (found.finding, found.claim) == (Finding.PRESENT, SourceClaim.NO_CLAIM)
    assert found.detail["bytes"] == len(tail)
    assert found.detail["kind"] == kind
    assert f"{len(tail)} bytes follow the end" in found.reason


def test_a_file_that_ends_where_its_picture_does_has_no_such_finding() -> None:
    (only,) = findings(FILES["PNG"])
    assert only.finding is Finding.ABSENT


def test_chunks_after_iend_are_an_unsigned_label_with_their_place() -> None:
    label, trailer = findings(FILES["PNG"] + TEXT + chunk(b"IEND", b""))
    assert (label.tool, label.claim) == ("AUTOMATIC1111", SourceClaim.FULLY_AI)
    assert label.place == "PNG tEXt after IEND parameters"
    assert label.signed_by is None
    assert trailer.detail["bytes"] == len(TEXT) + 12


@pytest.mark.parametrize(
    "tail",
    [
        TEXT[:-1] + b"\0",  # a wrong checksum
        TEXT[:-6],  # cut short
        b"x" + TEXT,  # not where a chunk would begin
        PARAMETERS.encode(),
        b"\0\0\0\1\0\0\0\0",
    ],
)
def test_words_after_iend_that_are_no_chunk_are_no_label(tail: bytes) -> None:
    assert {item.claim for item in findings(FILES["PNG"] + tail)} == {SourceClaim.NO_CLAIM}


def test_webp_chunks_beyond_the_stated_size_say_where_they_stand() -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
        b'syntax-ns#"><rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        b'i:DigitalSourceType="trainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>'
    )
    added = b"XMP " + struct.pack("<I", len(packet)) + packet
    label, trailer = findings(FILES["odd WebP"] + added)
    assert label.claim is SourceClaim.FULLY_AI
    assert (label.place or "").startswith("WebP XMP after the end")
    assert trailer.detail["bytes"] == len(added)


def test_a_whole_second_png_behind_the_first_is_not_read() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", PARAMETERS)
    second = encoded("PNG", pnginfo=info)
    assert {item.claim for item in findings(FILES["PNG"] + second)} == {SourceClaim.NO_CLAIM}


@pytest.mark.parametrize("name", FILES)
def test_damage_never_raises(name: str) -> None:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    chance = random.Random(seed)
    whole = FILES[name] + TEXT
    for _ in range(150):
        data = bytearray(whole[: chance.randrange(16, len(whole) + 1)])
        for _ in range(6):
            data[chance.randrange(12, len(data))] = chance.randrange(256)
        read_metadata(bytes(data), sniff_media_type(bytes(data)))


@pytest.mark.parametrize(
    "hostile",
    [
        b"\xff\xd8" + b"\xff" * 10**6,
        b"\xff\xd8\xff\xda\0\2" + b"\xff" * 10**6 + b"\0",
        b"\xff\xd8" + b"\xff\xe0\0\2" * 10**6,
        b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\1a" * 10**6,
        b"\x89PNG\r\n\x1a\n" + bytes(12) * 10**6,
    ],
)
def test_a_file_of_parts_alone_has_no_end(hostile: bytes) -> None:
    assert measure_trailer(hostile, sniff_media_type(hostile)) is None
