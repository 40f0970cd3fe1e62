"""Pictures that are flat, tiny or do not decode: pixel sources say why they cannot answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from detector.evidence.metadata import MetadataSource
from detector.evidence.registry import RegistrySource
from detector.evidence.watermark import WatermarkSource
from provenance.imaging import encode_image, open_candidate
from provenance.testing.pictures import flat_picture
from provenance.testing.twins_marks import MeanHasher
from provenance.testing.twins_registry import MemoryRecordStore
from provenance.types import Finding, MediaType

if TYPE_CHECKING:
    from provenance.interfaces import EvidenceSource
    from provenance.types import Candidate


def plain() -> Candidate:
    return open_candidate(
        encode_image(flat_picture(64, 64, rgb=(90, 120, 40)), MediaType.PNG).data, name="plain"
    )


def undecodable() -> Candidate:
    broken = open_candidate(
        encode_image(flat_picture(64, 64, rgb=(90, 120, 40)), MediaType.PNG).data[:60],
        name="broken",
    )
    assert broken.raster is None
    return broken


def source() -> EvidenceSource:
    store = MemoryRecordStore()
    return RegistrySource(lambda: store, MeanHasher, max_distance_bits=31)


def test_a_plain_picture_is_not_compared_and_that_is_said() -> None:
    (answer,) = source().collect(plain())
    assert answer.finding is Finding.UNREADABLE
    assert "too plain or too small" in answer.reason


def test_pixels_that_do_not_decode_are_not_compared_and_that_is_said() -> None:
    (answer,) = source().collect(undecodable())
    assert answer.finding is Finding.UNREADABLE
    assert "not decode" in answer.reason


def test_no_watermark_is_looked_for_in_what_does_not_decode() -> None:
    (answer,) = WatermarkSource(lambda: None).collect(undecodable())
    assert answer.finding is Finding.UNREADABLE
    assert "do not decode" in answer.reason


def test_metadata_of_a_file_whose_pixels_do_not_decode_still_speaks() -> None:
    data = encode_image(flat_picture(64, 64, rgb=(90, 120, 40)), MediaType.PNG).data
    text = b"parameters\0Steps: 20, Sampler: Euler a, Seed: 1"
    chunk = len(text).to_bytes(4, "big") + b"tEXt" + text + b"\0\0\0\0"
    broken = replace(undecodable(), data=data[:33] + chunk)
    (answer,) = MetadataSource().collect(broken)
    assert answer.finding is Finding.PRESENT
