import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from provenance.errors import (
    ImageDecodeError,
    ImageTooLargeError,
    InputError,
    ProvenanceError,
    UnsupportedMediaTypeError,
)
from provenance.imaging import (
    ImageLimits,
    decode_image,
    encode_image,
    hash_pixels,
    open_candidate,
    open_input,
    read_file,
    sniff_media_type,
)
from provenance.types import MediaType, RasterImage


def picture(width: int = 40, height: int = 30) -> RasterImage:
    rng = np.random.default_rng(7)
    return RasterImage(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def png_bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises many pixels: 30000 x 30000 in under 200 bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("media_type", [MediaType.PNG, MediaType.JPEG, MediaType.WEBP])
def test_encoded_pictures_come_back(media_type: MediaType) -> None:
    encoded = encode_image(picture(), media_type, quality=95)
    assert sniff_media_type(encoded.data) is media_type
    decoded = decode_image(encoded.data)
    assert decoded.pixels.shape == (30, 40, 3)
    if media_type is MediaType.PNG:
        assert hash_pixels(decoded) == hash_pixels(picture())


@pytest.mark.parametrize("media_type", [MediaType.PNG, MediaType.JPEG, MediaType.WEBP])
def test_xmp_is_written_where_readers_look(media_type: MediaType) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    encoded = encode_image(picture(), media_type, xmp=xmp)
    with Image.open(io.BytesIO(encoded.data)) as opened:
        written = opened.info.get("xmp") or opened.info.get("XML:com.adobe.xmp", "").encode()
    assert written == xmp


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("I;16", "PNG"),
     ("CMYK", "JPEG"), ("F", "TIFF"), ("I", "TIFF"), ("P", "GIF")],
)  # fmt: skip
def test_every_mode_becomes_rgb(mode: str, file_format: str) -> None:
    base = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
    if mode == "I;16":
        image = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040)
    else:
        image = base.convert(mode)
    raster = decode_image(saved(image, file_format))
    assert raster.pixels.shape == (8, 8, 3)
    assert int(raster.pixels.max()) > 200


def test_exif_orientation_is_applied() -> None:
    image = Image.fromarray(picture(40, 30).pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    raster = decode_image(saved(image, "JPEG", exif=exif))
    assert raster.pixels.shape == (40, 30, 3)


def test_input_is_decoded_and_keeps_its_bytes() -> None:
    data = saved(Image.fromarray(picture().pixels), "PNG")
    given = open_input(data, name="init_image")
    assert (given.data, given.media_type) == (data, MediaType.PNG)
    np.testing.assert_array_equal(given.raster.pixels, picture().pixels)


def test_input_that_is_no_picture_is_refused_by_its_name() -> None:
    with pytest.raises(UnsupportedMediaTypeError, match="init_image"):
        open_input(b"GIF is not here", name="init_image")
    with pytest.raises(ImageTooLargeError, match="init_image"):
        open_input(png_bomb(30_000, 30_000), name="init_image")


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7", b"\x89PNG", b"<svg/>"])
def test_what_is_no_image_is_refused_by_content(data: bytes) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match=r"photo\.png"):
        open_candidate(data, name="photo.png")


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageTooLargeError, match=r"bomb\.png.*limit is 50000000"):
        open_candidate(png_bomb(30_000, 30_000), name="bomb.png")
    with pytest.raises(ImageTooLargeError, match="8000 x 7000"):
        open_candidate(png_bomb(8_000, 7_000), name="bomb.png")


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(ImageTooLargeError, match=r"limits\.max_bytes"):
        open_candidate(b"\x89PNG\r\n\x1a\n" * 10, name="x", limits=ImageLimits(max_bytes=20))


def test_a_truncated_picture_is_still_a_candidate() -> None:
    data = encode_image(picture(200, 200), MediaType.PNG).data
    candidate = open_candidate(data[: len(data) // 2], name="cut.png")
    assert candidate.raster is None
    assert candidate.decode_problem is not None
    assert "cut.png" in candidate.decode_problem
    with pytest.raises(ImageDecodeError):
        decode_image(data[: len(data) // 2])


def test_one_pixel_decodes() -> None:
    assert open_candidate(encode_image(picture(1, 1), MediaType.PNG).data, name="x").raster


def test_colours_under_transparency_are_not_what_a_viewer_sees() -> None:
    rgba = np.dstack([picture(8, 8).pixels, np.zeros((8, 8), np.uint8)])
    assert (decode_image(saved(Image.fromarray(rgba), "PNG")).pixels == 255).all()
    rgba[:, :, 3] = 128
    half = decode_image(saved(Image.fromarray(rgba), "PNG")).pixels.astype(int)
    assert np.abs(half - (rgba[:, :, :3].astype(int) + 255) / 2).max() <= 1
    # NovelAI and stealth PNG info write 254 and 255: the colours stay as they are signed.
    rgba[:, :, 3] = 254
    assert hash_pixels(decode_image(saved(Image.fromarray(rgba), "PNG"))) == hash_pixels(
        RasterImage(rgba[:, :, :3].copy())
    )


def test_a_damaged_ancillary_chunk_does_not_hide_the_picture() -> None:
    whole = encode_image(picture(), MediaType.PNG).data
    for body in (b"Comment\0\0" + zlib.compress(b"x" * 3_000_000), b"Comment\0hello"):
        kind = b"zTXt" if len(body) > 100 else b"tEXt"
        chunk = struct.pack(">I", len(body)) + kind + body + b"\0\0\0\0"  # and a wrong checksum
        damaged = whole[:33] + chunk + whole[33:]
        assert hash_pixels(decode_image(damaged)) == hash_pixels(picture())


def test_a_jpeg_of_filler_is_refused_and_a_little_is_read() -> None:
    whole = encode_image(picture(), MediaType.JPEG).data
    with pytest.raises(ImageDecodeError, match="more pieces"):
        decode_image(whole[:2] + b"\xff" * 5_000_000 + whole[2:])
    with pytest.raises(ImageDecodeError, match="more pieces"):
        decode_image(whole[:2] + b"\xff\xd0" * 100_000 + whole[2:])
    assert decode_image(whole[:2] + b"\xff" * 100 + whole[2:]).pixels.shape == (30, 40, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff\xe1\0\2" * 100_000,
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0abCd\0\0\0\0" * 200_000,
        b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\1a" * 500_000,
        b"GIF89a" + bytes(7) + b"\x21\xfe\1a\0" * 500_000,
    ],
    ids=["JPEG segments", "PNG chunks", "GIF sub-blocks", "GIF extensions"],
)
def test_files_of_countless_pieces_are_refused_before_they_are_decoded(data: bytes) -> None:
    """Given to Pillow, files of 60 MB like these took up to 47 s and 2 GB."""
    with pytest.raises(ImageDecodeError, match="more pieces"):
        decode_image(data)


def test_a_gif_of_many_frames_is_read() -> None:
    frames = [Image.new("RGB", (300, 300), (6 * shade, 0, 0)) for shade in range(40)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=b"x" * 999)
    assert open_candidate(data, name="moving.gif").frames == 40


def test_lowest_bits_of_alpha_are_kept_column_by_column() -> None:
    pixels = np.full((2, 5, 4), 255, np.uint8)
    pixels[:, :, 3] -= np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 1]], np.uint8)
    candidate = open_candidate(saved(Image.fromarray(pixels), "PNG"), name="x")
    assert candidate.alpha_bits == bytes([0b01_10_11_11, 0b10_000000])
    opaque = saved(Image.new("RGB", (4, 4)), "PNG")
    assert open_candidate(opaque, name="x").alpha_bits is None


def test_frames_are_counted_and_the_first_is_decoded() -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (10, 200, 250)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    candidate = open_candidate(data, name="moving.png")
    assert candidate.frames == 3
    assert candidate.raster is not None
    assert candidate.raster.pixels[0, 0, 0] == 10


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="regular file"):
        read_file(tmp_path / "pipe")


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_damaged_bytes_raise_only_our_errors(data: st.DataObject) -> None:
    file_format = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"]))
    body = bytearray(saved(Image.fromarray(picture(24, 24).pixels), file_format))
    for _ in range(data.draw(st.integers(1, 12))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(body)))
    try:
        decode_image(bytes(body[:cut]))
    except ProvenanceError as error:
        assert str(error)  # noqa: PT017  most mutations decode, so no pytest.raises


def test_decoding_in_threads_leaves_warnings_alone() -> None:
    data = encode_image(picture(), MediaType.PNG).data
    before = list(warnings.filters)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: decode_image(data), range(60)))
    assert list(warnings.filters) == before


def test_read_file_names_file_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "long.png").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="does not exist"):
        read_file(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a folder"):
        read_file(tmp_path)
    with pytest.raises(InputError, match="is empty"):
        read_file(tmp_path / "empty.png")
    with pytest.raises(ImageTooLargeError, match=r"long\.png"):
        read_file(tmp_path / "long.png", limits=ImageLimits(max_bytes=99))
    with pytest.raises(InputError, match="cannot be read"):
        read_file(Path("nul\0byte.png"))
