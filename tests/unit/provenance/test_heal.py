import io
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from provenance.errors import InputError, UnsupportedMediaTypeError
from provenance.manifest.heal import heal, insert_store, read_store_bytes, split_shell
from provenance.testing.manifests import unsigned_picture
from provenance.types import WRITABLE_MEDIA_TYPES, MediaType

PICTURES = {one: unsigned_picture(one, side_px=48).data for one in WRITABLE_MEDIA_TYPES}


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_parts_make_the_file(media_type):
    data = PICTURES[media_type]
    head, essence, tail = split_shell(data, media_type)
    assert head + essence + tail == data
    assert b"Iptc4xmpExt" not in essence
    assert heal(data, media_type, head=head, tail=tail) == data


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_shell_fits_a_copy_without_metadata(media_type):
    data = PICTURES[media_type]
    shell = split_shell(data, media_type)
    stripped = strip(data, media_type)
    assert b"Iptc4xmpExt" not in stripped
    assert len(stripped) < len(data)
    assert heal(stripped, media_type, head=shell.head, tail=shell.tail) == data


def strip(data, media_type):
    """What a lossless metadata remover leaves."""
    if media_type is MediaType.PNG:
        return drop_chunks(data, {b"iTXt"})
    if media_type is MediaType.JPEG:
        start = data.index(b"\xff\xe1")
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        return data[:start] + data[start + 2 + length :]
    essence = split_shell(data, media_type).essence
    return b"RIFF" + struct.pack("<I", len(essence) + 4) + b"WEBP" + essence


def drop_chunks(data, names):
    place, out = 8, data[:8]
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        if data[place + 4 : place + 8] not in names:
            out += data[place : place + 12 + length]
        place += 12 + length
    return out


def test_jpeg_with_trailing_bytes_keeps_them_in_the_tail():
    data = PICTURES[MediaType.JPEG] + b"after"
    assert split_shell(data, MediaType.JPEG).tail == b"after"


def test_progressive_jpeg_with_restarts_is_one_essence():
    out = io.BytesIO()
    Image.effect_noise((96, 96), 90).convert("RGB").save(
        out, "JPEG", progressive=True, restart_marker_blocks=1
    )
    data = out.getvalue()
    assert data.count(b"\xff\xda") > 3
    shell = split_shell(data, MediaType.JPEG)
    assert shell.tail == b""
    assert shell.essence.endswith(b"\xff\xd9")


def test_thumbnail_inside_a_segment_does_not_end_the_picture():
    data = PICTURES[MediaType.JPEG]
    body = b"Exif\0\0" + b"\xff\xd8\xff\xd9"
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    shell = split_shell(data[:2] + segment + data[2:], MediaType.JPEG)
    assert shell.essence == split_shell(data, MediaType.JPEG).essence


def test_store_goes_right_behind_the_header():
    data = PICTURES[MediaType.PNG]
    healed = insert_store(data, MediaType.PNG, b"store")
    assert healed[33:].startswith(chunk(b"caBX", b"store"))
    assert read_store_bytes(healed, MediaType.PNG) == b"store"
    assert drop_chunks(healed, {b"caBX"}) == data


def test_second_store_is_not_inserted():
    once = insert_store(PICTURES[MediaType.PNG], MediaType.PNG, b"store")
    with pytest.raises(InputError, match="already"):
        insert_store(once, MediaType.PNG, b"store")


def test_two_stores_are_no_store():
    data = PICTURES[MediaType.PNG]
    twice = data[:33] + chunk(b"caBX", b"a") + chunk(b"caBX", b"b") + data[33:]
    assert read_store_bytes(twice, MediaType.PNG) is None


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_unsigned_picture_has_no_store(media_type):
    assert read_store_bytes(PICTURES[media_type], media_type) is None


@pytest.mark.parametrize("media_type", [MediaType.JPEG, MediaType.WEBP, MediaType.GIF])
def test_bare_store_goes_into_png_only(media_type):
    with pytest.raises(UnsupportedMediaTypeError):
        insert_store(b"x", media_type, b"store")


@pytest.mark.parametrize("media_type", [MediaType.GIF, MediaType.TIFF, MediaType.AVIF])
def test_other_formats_are_refused(media_type):
    with pytest.raises(UnsupportedMediaTypeError):
        split_shell(b"x", media_type)
    with pytest.raises(UnsupportedMediaTypeError):
        read_store_bytes(b"x", media_type)


def test_scattered_picture_data_is_refused():
    data = PICTURES[MediaType.PNG]
    start = data.index(b"IDAT") - 4
    between = data[:start] + chunk(b"IDAT", b"") + chunk(b"tEXt", b"a\0b") + data[start:]
    with pytest.raises(InputError, match="one piece"):
        split_shell(between, MediaType.PNG)


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
def test_every_truncation_is_an_input_error(media_type):
    data = PICTURES[media_type]
    for length in [*range(0, 600, 7), *range(600, len(data) - 1, max(1, len(data) // 40))]:
        with pytest.raises(InputError):
            split_shell(data[:length], media_type)


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6))
def test_damage_never_raises_anything_else(media_type, changes):
    data = bytearray(PICTURES[media_type])
    for place, value in changes:
        data[place % len(data)] = value
    for parse in (split_shell, read_store_bytes):
        with suppress(InputError):
            parse(bytes(data), media_type)


@pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
@settings(max_examples=100, deadline=None)
@given(noise=st.binary(max_size=200))
def test_noise_behind_a_signature_never_raises_anything_else(media_type, noise):
    start = {
        MediaType.PNG: b"\x89PNG\r\n\x1a\n",
        MediaType.JPEG: b"\xff\xd8",
        MediaType.WEBP: b"RIFF\xff\xff\xff\x00WEBP",
    }[media_type]
    for parse in (split_shell, read_store_bytes):
        with suppress(InputError):
            parse(start + noise, media_type)


def test_long_run_of_fill_bytes_is_quick():
    data = PICTURES[MediaType.JPEG]
    hostile = data[:-2] + b"\xff" * 5_000_000
    with pytest.raises(InputError, match="cut short"):
        split_shell(hostile, MediaType.JPEG)
