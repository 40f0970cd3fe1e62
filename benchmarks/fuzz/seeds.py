"""Small files of every container, with something in every place that is read, and hostile ones.

All are built here; none is somebody's picture.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

__all__ = ["hostile_files", "seed_files"]

_A1111 = (
    'a prompt\nNegative prompt: bad\nSteps: 20, Sampler: Euler a, Seed: 1, Lora hashes: "a: b, c"'
)
_GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
    "2": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0]}},
    "3": {
        "class_type": "KSampler",
        "inputs": {"denoise": 0.5, "latent_image": ["2", 0], "positive": ["4", 0], "steps": 20},
    },
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "a prompt"}},
}
_AIGC = {"Label": "1", "ContentProducer": "001191110102MACQD9K64010000", "ProduceID": "7"}
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    b'xmlns:t="http://www.tc260.org.cn/ns/AIGC/1.0/" i:DigitalSourceType="trainedAlgorithmicMedia" '
    b't:AIGC=\'{"Label":"1","ContentProducer":"doubao"}\'><i:AISystemUsed><rdf:Alt><rdf:li>x'
    b"</rdf:li></rdf:Alt></i:AISystemUsed></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def _noise(channels: int) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (24, 24, channels), dtype=np.uint8)
    if channels == 4:
        body = gzip.compress(_A1111.encode())
        payload = b"stealth_pngcomp" + (8 * len(body)).to_bytes(4, "big") + body
        bits = np.unpackbits(np.frombuffer(payload, np.uint8))[: 24 * 24]
        alpha = np.full(24 * 24, 255, np.uint8)
        alpha[: len(bits)] = (alpha[: len(bits)] & 0xFE) | bits
        pixels[:, :, 3] = alpha.reshape(24, 24).T
    return Image.fromarray(pixels)


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Workflow:" + json.dumps({"nodes": [{"id": 1, "type": "KSampler"}], "links": []})
    exif[0x0110] = "Prompt:" + json.dumps(_GRAPH)
    exif[0x0131] = "NovelAI"
    exif[0x013B] = "2b6e053b-9a65-4ca9-9e13-b6f4465164d4"
    exif[0x010E] = "Signature: aGVsbG8="
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + _A1111.encode("utf-16-be")
    exif.get_ifd(0x8769)[0x927C] = b"maker's note" * 20
    exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0), 3: "E", 4: (4.0, 5.0, 6.0)})
    return exif.tobytes()


def _resources() -> bytes:
    credit = b"Made with Google AI"
    iptc = struct.pack(">BBBH", 0x1C, 2, 110, len(credit)) + credit
    return b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(iptc)) + iptc + b"\0" * (len(iptc) & 1)


def samsung_trailer() -> bytes:
    """A directory behind the picture, with one block."""
    name, value = b"PEg_Info", b'{"genAIType":8}'
    block = struct.pack("<HHI", 0, 0x0D91, len(name)) + name + value
    directory = b"SEFH" + struct.pack("<IIII", 107, 1, 0x0D910000, len(block))
    directory += struct.pack("<I", len(block))
    return block + directory + struct.pack("<I", len(directory)) + b"SEFT"


def _png() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", _A1111)
    info.add_text("prompt", json.dumps(_GRAPH), zip=True)
    info.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    info.add_text("AIGC", json.dumps(_AIGC))
    info.add_text("Comment", json.dumps({"prompt": "x", "signed_hash": "AAAA", "width": 24}))
    hexed = (b"Photoshop 3.0\0" + _resources()).hex()
    info.add_text("Raw profile type iptc", f"\niptc\n {len(hexed) // 2}\n{hexed}")
    out = io.BytesIO()
    _noise(4).save(out, "PNG", pnginfo=info, exif=_exif())
    return out.getvalue() + samsung_trailer()


def _jpeg() -> bytes:
    out = io.BytesIO()
    _noise(3).save(out, "JPEG", exif=_exif(), xmp=_XMP, comment=json.dumps(_GRAPH).encode())
    data = out.getvalue()
    header = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    extended = header + struct.pack(">II", len(_XMP), 0) + _XMP
    segments = b"".join(
        bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
        for marker, body in ((0xE1, extended), (0xED, b"Photoshop 3.0\0" + _resources()))
    )
    return data[:2] + segments + data[2:] + samsung_trailer()


def _gif() -> bytes:
    out = io.BytesIO()
    frames = [_noise(3).convert("P") for _ in range(2)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], comment=_A1111.encode())
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    return out.getvalue()[:-1] + b"\x21\xff\x0bXMP DataXMP" + _XMP + trailer + b"\x3b"


def _with_pillow(kind: str, channels: int, **options: object) -> bytes:
    out = io.BytesIO()
    _noise(channels).save(out, kind, **options)
    return out.getvalue()


def seed_files() -> list[bytes]:
    """One or more well-formed files a container."""
    second = _noise(4).rotate(90)
    animated = {"save_all": True, "append_images": [second], "duration": 40}
    tiff = {700: _XMP, 33723: _resources()[12:], 34377: _resources(), 0x0131: "Midjourney v6"}
    return [
        _png(),
        _jpeg(),
        _gif(),
        _with_pillow("WEBP", 4, exif=_exif(), xmp=_XMP, lossless=True),
        _with_pillow("WEBP", 4, exif=_exif(), xmp=_XMP, **animated),
        _with_pillow("TIFF", 3, tiffinfo=tiff),
        _with_pillow("AVIF", 3, exif=_exif(), xmp=_XMP),
        _with_pillow("BMP", 3),
        _heif(),
    ]


def _heif() -> bytes:
    """The boxes of an AVIF file under another brand: no decoder here reads its pixels."""
    data = _with_pillow("AVIF", 3, exif=_exif(), xmp=_XMP)
    return data.replace(b"avif", b"heic", 1).replace(b"avif", b"heic", 1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def _png_of(*chunks: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    picture = _chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
    end = _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + picture + end


def _text(key: bytes, value: bytes) -> bytes:
    return _chunk(b"tEXt", key + b"\0" + value)


def hostile_files() -> dict[str, bytes]:
    """Files made to be slow, large or deep, by what they try."""
    bomb = zlib.compress(bytes(64 * 2**20))
    deep = b"[" * 500_000
    entry = struct.pack(">HHII", 0x010F, 2, 3 * 2**20, 0)
    nodes = {
        str(i): {"class_type": "A", "inputs": {"image": [str(i + 1), 0]}} for i in range(20000)
    }
    huge = _chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0))
    stealth = b"stealth_pngcomp" + b"\xff\xff\xff\xff" + bomb
    return {
        "compressed text bombs": _png_of(*[_chunk(b"zTXt", b"K\0\0" + bomb)] * 40),
        "deep JSON": _png_of(*[_text(key, deep) for key in (b"prompt", b"workflow", b"Comment")]),
        "wide graph": _png_of(_text(b"prompt", json.dumps(nodes).encode())),
        "long numbers": _png_of(
            _text(b"parameters", b'{"sui_image_params":{"seed":1' + b"0" * 5000)
        ),
        "settings line without end": _png_of(
            _text(b"parameters", b'\nSteps: 1, Seed: "' + b', A: "\\' * 200_000)
        ),
        "deep XMP": _png_of(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<a>" * 300_000)),
        "XML entities": _png_of(
            _chunk(
                b"iTXt",
                b'XML:com.adobe.xmp\0\0\0\0\0<!DOCTYPE a [<!ENTITY b "'
                + b"c" * 99
                + b'">]><a>&b;</a>',
            )
        ),
        "overlapping EXIF": _png_of(
            _chunk(b"eXIf", b"MM\0*" + struct.pack(">IH", 8, 512) + entry * 512 + bytes(3 * 2**20))
        ),
        "declared gigapixels": b"\x89PNG\r\n\x1a\n" + huge + _chunk(b"IDAT", bomb[:1000]),
        "empty picture chunks": _png_of(*[_chunk(b"IDAT", b"")] * 1_500_000),
        "private chunks": _png_of(*[_chunk(b"abCd", b"")] * 1_500_000),
        "JPEG of fill bytes": b"\xff\xd8" + b"\xff" * 10_000_000,
        "JPEG of empty segments": b"\xff\xd8" + b"\xff\xe1\0\2" * 5_000_000,
        "GIF of one-byte blocks": b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\1a" * 10_000_000,
        "GIF of empty extensions": b"GIF89a" + bytes(7) + b"\x21\xfe\1a\0" * 4_000_000,
        "boxes of no length": b"\0\0\0\x0cftypavif" + struct.pack(">I4s", 0, b"meta") * 100_000,
        "hidden bomb": _hidden(stealth),
        "signed labels": _png_of(*[_text(b"AIGC", _signed_label())] * 2000),
    }


def _signed_label() -> bytes:
    algorithm = {"AlgID": "1.2.156.10197.1.501"}
    signature = {"Type": "DS", "TBSData": {"Type": "Md"}, "Signature": "7" * 128, **algorithm}
    key = {"Type": "PubKey", "KeyValue": "00" + "32c4ae2c1f1981195f9904466a39c994" * 2, **algorithm}
    security = {"Type": "TC260PG", "PubSD": [signature] * 4 + [key] * 4}
    return json.dumps({**_AIGC, "ReservedCode1": json.dumps({"SecurityData": security})}).encode()


def _hidden(payload: bytes) -> bytes:
    bits = np.unpackbits(np.frombuffer(payload, np.uint8))
    side_px = int(len(bits) ** 0.5) + 1
    alpha = np.full(side_px * side_px, 254, np.uint8)
    alpha[: len(bits)] |= bits
    pixels = np.zeros((side_px, side_px, 4), np.uint8)
    pixels[:, :, 3] = alpha.reshape(side_px, side_px).T
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
