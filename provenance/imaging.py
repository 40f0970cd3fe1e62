"""Bytes to pixels and back, with every limit checked before memory is spent.

Pillow decodes; nothing but this module talks to it for untrusted bytes. A picture is decoded once
and handed on as `RasterImage`.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from provenance.errors import (
    ImageDecodeError,
    ImageTooLargeError,
    InputError,
    UnsupportedMediaTypeError,
)
from provenance.types import Candidate, EncodedImage, InputImage, MediaType, RasterImage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provenance.types import Uint8Array

__all__ = [
    "DEFAULT_LIMITS",
    "LONGEST_SIDE_PX",
    "ImageLimits",
    "convert_pillow",
    "decode_image",
    "encode_image",
    "hash_pixels",
    "open_candidate",
    "open_input",
    "read_file",
    "read_rgb_profile",
    "sniff_media_type",
]


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before it costs anything.

    Attributes:
        max_bytes: Longest file that is read. 64 MiB holds a 50-megapixel photograph.
        max_pixels: Largest width x height that is decoded. 50 megapixels are 150 MB as RGB.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000


DEFAULT_LIMITS = ImageLimits()

NEARLY_OPAQUE = 250
"""Alpha from which a pixel counts as opaque: 2 % of transparency is not seen."""

MAX_JPEG_FILLER = 4096
"""Filler bytes and restart markers allowed before the picture. Real files have none or a few;
Pillow reads megabytes of them one by one."""

MAX_JPEG_SEGMENTS = 4096
"""Before the picture. A colour profile and XMP that fill 64 MiB need 1 025; Pillow keeps each, and
takes 47 s and 2 GB for a file of empty ones."""

MAX_PNG_CHUNKS = 100_000
"""64 MiB in the 8 KiB pieces of common writers are 8 192; Pillow takes 20 s for 5 million."""

MAX_GIF_BLOCKS = 400_000
"""64 MiB in sub-blocks of 255 bytes are 263 000; Pillow takes 9 s for 30 million."""

_PNG_PICTURE_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""What a PNG's picture is made of; everything else is ancillary (PNG 3rd ed. §5.4)."""

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})

# Pillow's plug-ins raise whatever their parsing trips over; hostile bytes reach most of these.
_DECODER_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)

# Pillow warns of odd tags and of more than 89 megapixels; what matters becomes an error here. Set
# once for the whole process: `warnings.catch_warnings` is not safe in threads, and decoding
# happens in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def sniff_media_type(data: bytes) -> MediaType | None:
    """The media type by the first bytes, or None. Names and headers of strangers do not count.

    Source: PNG 3rd ed. §5.2; ITU-T T.81 B.1.1.3; WebP container spec "RIFF header"; GIF89a;
    TIFF 6.0 §2; ISO/IEC 14496-12 §4.3 (``ftyp`` brands).
    """
    head = data[:32]
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return MediaType.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return MediaType.JPEG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return MediaType.WEBP
    if head.startswith((b"GIF87a", b"GIF89a")):
        return MediaType.GIF
    if head.startswith((b"II*\x00", b"MM\x00*")):
        return MediaType.TIFF
    if head.startswith(b"BM"):
        return MediaType.BMP
    if head[4:8] == b"ftyp":
        brands = {data[i : i + 4] for i in (8, *range(16, 64, 4))}
        if brands & _AVIF_BRANDS:
            return MediaType.AVIF
        if brands & _HEIF_BRANDS:
            return MediaType.HEIF
    return None


def hash_pixels(image: RasterImage) -> str:
    """Hex SHA-256 over width, height (big-endian 32 bit) and the RGB bytes, row by row."""
    digest = hashlib.sha256(struct.pack(">II", image.width_px, image.height_px))
    digest.update(image.pixels.data)
    return digest.hexdigest()


def decode_image(
    data: bytes, *, name: str = "image", limits: ImageLimits = DEFAULT_LIMITS
) -> RasterImage:
    """Decodes the first frame as RGB, EXIF orientation applied, transparency shown on white.

    Args:
        data: Encoded bytes, by anybody.
        name: What to call them in errors.
        limits: Checked before pixels are decoded.

    Raises:
        UnsupportedMediaTypeError: No image by content, or a kind that this build cannot decode.
        ImageTooLargeError: Too many bytes or pixels.
        ImageDecodeError: Truncated or corrupt.
    """
    return _decode(data, name=name, limits=limits).raster


@dataclass(frozen=True, slots=True)
class _Frame:
    """The first frame, how many there are, and `Candidate.alpha_bits`."""

    raster: RasterImage
    frames: int
    alpha_bits: bytes | None


def _decode(data: bytes, *, name: str, limits: ImageLimits) -> _Frame:
    """The first frame; raises as `decode_image`."""
    _check_length(len(data), name, limits)
    media_type = sniff_media_type(data)
    if media_type is None:
        raise UnsupportedMediaTypeError(
            f"{name} is not an image by its content; give a PNG, JPEG, WebP, GIF, TIFF or AVIF file"
        )
    _check_parts(data, media_type, name)
    try:
        return _open_frame(data, name, limits)
    except ImageDecodeError:
        # A damaged ancillary chunk does not keep browsers from showing the picture: neither us.
        bare = _without_ancillary_chunks(data) if media_type is MediaType.PNG else data
        if bare == data:
            raise
        return _open_frame(bare, name, limits)


def _open_frame(data: bytes, name: str, limits: ImageLimits) -> _Frame:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            _check_pixels(opened.size, name, limits)
            frames = int(getattr(opened, "n_frames", 1))
            opened.seek(0)
            raster = RasterImage(_to_rgb(ImageOps.exif_transpose(opened)))
            return _Frame(raster, frames, _alpha_bits(opened))
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(
            f"{name} declares more pixels than can be decoded safely; the limit is "
            f"{limits.max_pixels} pixels (limits.max_pixels)"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageDecodeError(
            f"{name} begins like {sniff_media_type(data)} but cannot be decoded; is it complete?"
        ) from error
    except _DECODER_FAILURES as error:
        raise ImageDecodeError(
            f"{name} is a damaged or truncated {sniff_media_type(data)} file ({_brief(error)})"
        ) from error
    except MemoryError as error:
        raise ImageTooLargeError(f"{name} does not fit into memory when decoded") from error


def _alpha_bits(image: Image.Image) -> bytes | None:
    if image.mode not in ("RGBA", "LA"):
        return None
    alpha = np.asarray(image.getchannel("A"), dtype=np.uint8)
    return np.packbits(alpha.T & 1).tobytes()


def convert_pillow(image: Image.Image) -> RasterImage:
    """A picture that somebody opened with Pillow, as `decode_image` would give it.

    Raises:
        ImageDecodeError: It is read from a file only now, and that is damaged.
    """
    try:
        return RasterImage(_to_rgb(ImageOps.exif_transpose(image)))
    except _DECODER_FAILURES as error:
        raise ImageDecodeError(f"the Pillow image cannot be read ({_brief(error)})") from error


def read_rgb_profile(picture: bytes | Image.Image) -> bytes | None:
    """The ICC profile of a picture that decodes; None when there is none, or none for RGB.

    Decoded pixels are the file's numbers as they stand: without its profile a picture of a wider
    colour space looks pale. A profile for grey or CMYK no longer fits them.

    Source: ICC.1:2022 §7.2.6, data colour space field.
    """
    try:
        image = Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture
    except (*_DECODER_FAILURES, Image.DecompressionBombError):
        return None
    profile = image.info.get("icc_profile")
    fits = isinstance(profile, bytes) and profile[16:20] == b"RGB "
    return profile if fits else None


def _check_parts(data: bytes, media_type: MediaType, name: str) -> None:
    """Walks the pieces that a file is made of; refuses files made to be slow.

    Raises:
        ImageDecodeError: There are more pieces than any real file has.
    """
    checks = {
        MediaType.JPEG: _has_sane_jpeg_header,
        MediaType.PNG: _has_sane_png_chunks,
        MediaType.GIF: _has_sane_gif_blocks,
    }
    check = checks.get(media_type)
    if check is not None and not check(data):
        raise ImageDecodeError(f"{name} is a {media_type} file of more pieces than any picture has")


def _has_sane_jpeg_header(data: bytes) -> bool:
    place, filler, segments = 2, 0, 0
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD7:
            filler += 1
            place += 1 if marker == 0xFF else 2
        elif marker in (0xDA, 0xD9):  # start of scan, end of image
            return True
        else:
            segments += 1
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if filler > MAX_JPEG_FILLER or segments > MAX_JPEG_SEGMENTS:
            return False
    return True


def _has_sane_png_chunks(data: bytes) -> bool:
    place = 8
    for _ in range(MAX_PNG_CHUNKS):
        if place + 12 > len(data):
            return True
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return False


def _has_sane_gif_blocks(data: bytes) -> bool:
    """Source: GIF89a §15, §18, §20, §23 to §26."""
    if len(data) < 13:
        return True
    place = 13 + _gif_table_bytes(data[10])
    blocks = 0
    while place + 1 < len(data) and blocks < MAX_GIF_BLOCKS:
        if data[place] == 0x2C and place + 10 < len(data):
            place += 11 + _gif_table_bytes(data[place + 9])
        elif data[place] == 0x21:
            place += 2
        else:
            return True
        while place < len(data) and data[place] and blocks < MAX_GIF_BLOCKS:
            place += 1 + data[place]
            blocks += 1
        place += 1
        blocks += 1
    return blocks < MAX_GIF_BLOCKS


def _gif_table_bytes(packed: int) -> int:
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _without_ancillary_chunks(data: bytes) -> bytes:
    kept, place = [data[:8]], 8
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] in _PNG_PICTURE_CHUNKS:
            kept.append(data[place:end])
        place = end
    return b"".join(kept)


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:120]


def _check_length(size_bytes: int, name: str, limits: ImageLimits) -> None:
    if size_bytes > limits.max_bytes:
        raise ImageTooLargeError(
            f"{name} has {size_bytes} bytes; the limit is {limits.max_bytes} (limits.max_bytes)"
        )


def _check_pixels(size: tuple[int, int], name: str, limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"{name} is {width} x {height} pixels; the limit is {limits.max_pixels} pixels "
            "(limits.max_pixels)"
        )


def _to_rgb(image: Image.Image) -> Uint8Array:
    """(H, W, 3) uint8 of any Pillow mode."""
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow clips wide modes at 255 on conversion, so they are scaled first: 16-bit by its
        # range, 32-bit and float, which have none of their own, by their brightest pixel.
        wide = np.asarray(image, dtype=np.float64)
        wide = np.nan_to_num(wide, posinf=0.0, neginf=0.0)
        peak = 65535.0 if image.mode.startswith("I;16") else max(1.0, float(wide.max(initial=0.0)))
        grey = np.clip(wide * (255.0 / peak), 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        return _over_white(np.asarray(image.convert("RGBA"), dtype=np.uint8))
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _over_white(rgba: Uint8Array) -> Uint8Array:
    """(H, W, 3) uint8: what a viewer shows on white, so that marks hidden under alpha don't count.

    Nearly opaque pixels keep their colours as they are: generators hide text in the lowest bit of
    alpha (NovelAI, stealth PNG info), and their signatures cover the colours beneath.
    """
    colour, alpha = rgba[:, :, :3], rgba[:, :, 3:].astype(np.uint16)
    if int(alpha.min(initial=255)) >= NEARLY_OPAQUE:
        return np.ascontiguousarray(colour)
    blended = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    return np.where(alpha >= NEARLY_OPAQUE, colour, blended.astype(np.uint8))


LONGEST_SIDE_PX: Mapping[MediaType, int] = {MediaType.JPEG: 65_500, MediaType.WEBP: 16_383}
"""Source: JPEG_MAX_DIMENSION of libjpeg, WEBP_MAX_DIMENSION of libwebp."""


def encode_image(
    image: RasterImage,
    media_type: MediaType,
    *,
    quality: int = 92,
    xmp: bytes | None = None,
    icc_profile: bytes | None = None,
    name: str = "the picture",
) -> EncodedImage:
    """Encodes pixels, with an optional XMP packet and colour profile and no other metadata.

    Args:
        image: What to encode.
        media_type: PNG (lossless), JPEG (4:4:4, so that chroma marks keep their resolution) or
            WebP (lossy).
        quality: 1..100, for JPEG and WebP.
        xmp: A whole XMP packet; placed where each format's standard says.
        icc_profile: What the pixels' numbers mean; None for sRGB.
        name: What to call it in errors.

    Raises:
        UnsupportedMediaTypeError: Another media type.
        ImageTooLargeError: A side is longer than the format can say.
    """
    longest = LONGEST_SIDE_PX.get(media_type)
    if longest is not None and max(image.width_px, image.height_px) > longest:
        raise ImageTooLargeError(
            f"{name} is {image.width_px}x{image.height_px} pixels, and {media_type} holds at most "
            f"{longest} on a side; write PNG, or scale it down"
        )
    picture = Image.fromarray(image.pixels)
    out = io.BytesIO()
    if media_type == MediaType.PNG:
        info = PngImagePlugin.PngInfo()
        if xmp is not None:
            # Source: XMP part 3 §1.1.5: uncompressed iTXt with this keyword.
            info.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8"))
        # Level 6 costs a fifth of level 9's time for 2 % more bytes.
        # Level 4 makes files as small as level 6 does of photographs, in less than half the time.
        picture.save(out, "PNG", pnginfo=info, compress_level=4, icc_profile=icc_profile)
    elif media_type == MediaType.JPEG:
        picture.save(
            out, "JPEG", quality=quality, subsampling=0, xmp=xmp or b"", icc_profile=icc_profile
        )
    elif media_type == MediaType.WEBP:
        picture.save(
            out, "WEBP", quality=quality, method=4, xmp=xmp or b"", icc_profile=icc_profile
        )
    else:
        raise UnsupportedMediaTypeError(f"{media_type} cannot be written; use PNG, JPEG or WebP")
    return EncodedImage(data=out.getvalue(), media_type=MediaType(media_type))


def open_candidate(data: bytes, *, name: str, limits: ImageLimits = DEFAULT_LIMITS) -> Candidate:
    """R1: guards, sniffs, hashes and decodes once.

    A picture that does not decode is still a candidate: its manifest and metadata may speak.

    Raises:
        UnsupportedMediaTypeError: The bytes are no image at all.
        ImageTooLargeError: A limit is exceeded; nothing was decoded.
    """
    _check_length(len(data), name, limits)
    media_type = sniff_media_type(data)
    if media_type is None:
        what = "is empty" if not data else "is not an image by its content"
        raise UnsupportedMediaTypeError(
            f"{name} {what}; give a PNG, JPEG, WebP, GIF, TIFF, AVIF or HEIF file"
        )
    frame: _Frame | None = None
    problem: str | None = None
    try:
        frame = _decode(data, name=name, limits=limits)
    except (ImageDecodeError, UnsupportedMediaTypeError) as error:
        problem = str(error)
    return Candidate(
        name=name,
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        media_type=media_type,
        raster=None if frame is None else frame.raster,
        decode_problem=problem,
        pixel_sha256=None if frame is None else hash_pixels(frame.raster),
        frames=1 if frame is None else frame.frames,
        alpha_bits=None if frame is None else frame.alpha_bits,
    )


def open_input(data: bytes, *, name: str, limits: ImageLimits = DEFAULT_LIMITS) -> InputImage:
    """A picture that somebody gives to start from, decoded once.

    Raises:
        UnsupportedMediaTypeError: No image by content, or a kind that this build cannot decode.
        ImageTooLargeError: Too many bytes or pixels.
        ImageDecodeError: Truncated or corrupt.
    """
    raster = decode_image(data, name=name, limits=limits)
    media_type = sniff_media_type(data)
    if media_type is None:
        raise UnsupportedMediaTypeError(f"{name} is not an image by its content")
    return InputImage(data=data, media_type=media_type, raster=raster)


def read_file(path: Path, *, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """Reads a whole file within the byte limit.

    Raises:
        InputError: Missing, a folder, empty, or not readable.
        ImageTooLargeError: Longer than `limits.max_bytes`.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it")
        if path.exists() and not path.is_file():
            # A pipe has no end while nobody writes: reading it would never return.
            raise InputError(f"{path} is a pipe, a socket or a device; name a regular file")
        with path.open("rb") as stream:
            data = stream.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {_brief(error)}") from error
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"{path} has more than {limits.max_bytes} bytes (limits.max_bytes)"
        )
    if not data:
        raise InputError(f"{path} is empty; nothing can be said of it")
    return data
