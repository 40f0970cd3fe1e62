import io
import struct
import time
import zlib

import pytest
from PIL import Image

from provenance.manifest.reading import read_manifest
from provenance.manifest.structure import (
    MAX_BOXES,
    MAX_CHUNKS,
    MAX_SUB_BLOCKS,
    has_too_many_parts,
)
from provenance.manifest.trust import no_trust
from provenance.testing.manifests import unsigned_picture
from provenance.types import Credential, MediaType

AVIF = struct.pack(">I", 24) + b"ftypavif\0\0\0\0avifmif1"
FREE = struct.pack(">I", 8) + b"free"


def encoded(file_format):
    out = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 10, 10)).save(out, file_format)
    return out.getvalue()


def box(kind, content):
    return struct.pack(">I", 8 + len(content)) + kind + content


def many_chunks(count):
    png = encoded("PNG")
    empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return png[:33] + empty * count + png[33:]


def many_riff_chunks(count):
    body = encoded("WEBP")[8:] + b"abcd\0\0\0\0" * count
    return b"RIFF" + struct.pack("<I", len(body)) + body


def many_sub_blocks(count):
    return encoded("GIF")[:-1] + b"\x21\xfe" + b"\x01a" * count + b"\0;"


CROWDED = {
    "png": (many_chunks(MAX_CHUNKS), MediaType.PNG),
    "webp": (many_riff_chunks(MAX_CHUNKS), MediaType.WEBP),
    "gif": (many_sub_blocks(MAX_SUB_BLOCKS), MediaType.GIF),
    "avif": (AVIF + FREE * 100_000, MediaType.AVIF),
    "avif inside": (AVIF + box(b"moov", box(b"trak", FREE * 100_000)), MediaType.AVIF),
    "avif in meta": (AVIF + box(b"meta", bytes(4) + FREE * 100_000), MediaType.AVIF),
    "avif long sizes": (
        AVIF + (struct.pack(">I4sQ", 1, b"free", 16)) * 100_000,
        MediaType.AVIF,
    ),
}


@pytest.mark.parametrize("kind", CROWDED)
def test_crowded_files_never_reach_the_engine(kind):
    """100 000 boxes took the engine 51 s, with its lock held."""
    data, media_type = CROWDED[kind]
    start = time.monotonic()
    report = read_manifest(data + b"jumb", media_type, trust=no_trust())
    assert time.monotonic() - start < 1.0
    assert report.credential is Credential.MALFORMED


@pytest.mark.parametrize(
    "data",
    [
        *(unsigned_picture(one).data for one in (MediaType.PNG, MediaType.JPEG, MediaType.WEBP)),
        encoded("GIF"),
        encoded("TIFF"),
        encoded("AVIF"),
        many_chunks(9_000),
        many_sub_blocks(1000),
        AVIF + FREE * (MAX_BOXES - 10),
        b"",
        b"GIF8",
        AVIF + struct.pack(">I", 3) + b"free",
        AVIF + struct.pack(">I", 0) + b"moov",
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 100,
    ],
    ids=range(14),
)
def test_pictures_and_fragments_pass(data):
    assert not has_too_many_parts(data)
