"""Texts hidden in the lowest bits are read from alpha and from colours, within bounds."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pytest
from PIL import Image

from detector.evidence.metadata import MetadataSource
from detector.evidence.stealth import MAX_TEXT_BYTES, read_alpha_text, read_colour_text
from provenance.imaging import open_candidate
from provenance.types import Finding, MetadataEvidence, RasterImage, SourceClaim

A1111 = (
    "a secret prompt\nNegative prompt: bad\nSteps: 20, Sampler: Euler a, Seed: 1, Version: v1.10.1"
)


def payload(magic: bytes, text: str) -> bytes:
    body = text.encode()
    if magic.endswith(b"comp"):
        body = gzip.compress(body)
    return magic + (8 * len(body)).to_bytes(4, "big") + body


def hidden_picture(magic: bytes, text: str, *, side_px: int = 96) -> bytes:
    """A PNG whose pixels, column by column, carry the payload in their lowest bits."""
    rng = np.random.default_rng(5)
    channels = 4 if magic.startswith(b"stealth_png") else 3
    pixels = rng.integers(0, 256, (side_px, side_px, channels), dtype=np.uint8)
    bits = np.unpackbits(np.frombuffer(payload(magic, text), np.uint8))
    if channels == 4:
        pixels[:, :, 3] = 255
        column = pixels[:, :, 3].T.reshape(-1)
        column[: len(bits)] = (column[: len(bits)] & 0xFE) | bits
        pixels[:, :, 3] = column.reshape(side_px, side_px).T
    else:
        column = pixels.transpose(1, 0, 2).reshape(-1)
        column[: len(bits)] = (column[: len(bits)] & 0xFE) | bits
        pixels = column.reshape(side_px, side_px, 3).transpose(1, 0, 2)
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG")
    return out.getvalue()


def collect(data: bytes) -> list[MetadataEvidence]:
    found = MetadataSource().collect(open_candidate(data, name="x"))
    return [e for e in found if isinstance(e, MetadataEvidence)]


MAGICS = (b"stealth_pnginfo", b"stealth_pngcomp", b"stealth_rgbinfo", b"stealth_rgbcomp")


@pytest.mark.parametrize("magic", MAGICS)
def test_hidden_settings_are_read_from_a_file_without_any_text(magic: bytes) -> None:
    (evidence,) = collect(hidden_picture(magic, A1111))
    assert (evidence.tool, evidence.version) == ("AUTOMATIC1111", "v1.10.1")
    assert evidence.place is not None
    assert magic.decode() in evidence.place
    assert evidence.settings is not None
    assert evidence.settings.steps == 20
    assert "secret" not in repr(evidence)


def test_hidden_novelai_settings_are_read_and_stay_unsigned_when_they_are_not_its_own() -> None:
    comment = json.dumps({"prompt": "secret", "steps": 28, "signed_hash": "AAAA"})
    wrapped = json.dumps({"Software": "NovelAI", "Source": "NovelAI V4", "Comment": comment})
    (evidence,) = collect(hidden_picture(b"stealth_pngcomp", wrapped))
    assert (evidence.tool, evidence.version, evidence.signed_by) == ("NovelAI", "NovelAI V4", None)
    assert evidence.claim is SourceClaim.FULLY_AI


def test_a_magic_word_with_a_length_beyond_the_picture_is_a_problem_not_a_label() -> None:
    data = bytearray(payload(b"stealth_pnginfo", "x"))
    data[15:19] = (2**31).to_bytes(4, "big")
    found = read_alpha_text(bytes(data))
    assert found is not None
    assert found.text is None


def test_a_bomb_stops_at_the_limit() -> None:
    found = read_alpha_text(payload(b"stealth_pngcomp", "x" * (MAX_TEXT_BYTES + 1)))
    assert found is not None
    assert found.text is None


@pytest.mark.parametrize("cut", [0, 10, 19])
def test_what_does_not_unpack_is_a_problem(cut: int) -> None:
    whole = payload(b"stealth_pngcomp", A1111)
    damaged = whole[:19] + bytes(len(whole) - 19) if cut == 0 else whole[: 15 + cut]
    found = read_alpha_text(damaged)
    assert found is None or found.text is None


@pytest.mark.parametrize("side_px", [1, 2, 5])
def test_pictures_too_small_for_a_magic_word_hold_none(side_px: int) -> None:
    assert read_colour_text(RasterImage(np.zeros((side_px, side_px, 3), np.uint8))) is None


def test_lossy_files_and_plain_alpha_hold_nothing() -> None:
    lossless = hidden_picture(b"stealth_rgbinfo", A1111)
    out = io.BytesIO()
    Image.open(io.BytesIO(lossless)).save(out, "JPEG", quality=95)
    (evidence,) = collect(out.getvalue())
    assert evidence.finding is Finding.ABSENT
    out = io.BytesIO()
    Image.new("RGBA", (64, 64), (9, 9, 9, 254)).save(out, "PNG")
    (evidence,) = collect(out.getvalue())
    assert evidence.finding is Finding.ABSENT
