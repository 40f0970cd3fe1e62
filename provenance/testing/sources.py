"""Conformance suite for evidence sources.

A source's author subclasses `EvidenceSourceTests` in a test module and gives one fixture::

    class TestMySource(EvidenceSourceTests):
        @pytest.fixture
        def source(self):
            return MySource()
"""

from __future__ import annotations

import hashlib
import io
import threading
from typing import TYPE_CHECKING, get_args

import pytest
from PIL import Image

from provenance.imaging import encode_image, open_candidate
from provenance.interfaces import EvidenceSource, SkimmingSource
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import Candidate, Evidence, MediaType

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EvidenceSourceTests", "picture_candidate", "raw_candidate"]

EVIDENCE_KINDS = get_args(Evidence)


def picture_candidate(media_type: MediaType = MediaType.PNG, *, side_px: int = 96) -> Candidate:
    """A natural picture without any mark, as the service would hand it to a source."""
    encoded = encode_image(natural_picture(side_px, side_px, seed=5), media_type)
    return open_candidate(encoded.data, name="picture")


def raw_candidate(data: bytes, media_type: MediaType | None) -> Candidate:
    """A candidate of bytes that do not decode."""
    return Candidate(
        name="damaged",
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        media_type=media_type,
        raster=None,
        decode_problem="damaged is cut short",
    )


class EvidenceSourceTests:
    """What every source must do, whatever it looks for.

    The service wraps each call in a firewall; a source that needs it in these tests is defective.
    """

    @pytest.fixture
    def source(self) -> EvidenceSource:
        """The source under test."""
        raise NotImplementedError

    def test_matches_the_interface(self, source: EvidenceSource) -> None:
        assert isinstance(source, EvidenceSource)
        assert source.name
        assert source.name.isascii()
        assert isinstance(source.thorough, bool)

    @pytest.mark.parametrize("media_type", [MediaType.PNG, MediaType.JPEG, MediaType.WEBP])
    def test_answers_well_formed_evidence(
        self, source: EvidenceSource, media_type: MediaType
    ) -> None:
        for item in self._collect(source, picture_candidate(media_type)):
            assert isinstance(item, EVIDENCE_KINDS)
            assert item.reason.strip()
            assert "\n" not in item.reason

    def test_skims_as_well_formed_as_it_collects(self, source: EvidenceSource) -> None:
        if not isinstance(source, SkimmingSource):
            return
        damaged = raw_candidate(b"\xff\xd8\xff", MediaType.JPEG)
        for candidate in (picture_candidate(), damaged):
            for item in source.skim(candidate):
                assert isinstance(item, EVIDENCE_KINDS)
                assert item.reason.strip()
                assert "\n" not in item.reason

    def test_answers_alike_when_asked_twice(self, source: EvidenceSource) -> None:
        candidate = picture_candidate()
        first, second = (self._collect(source, candidate) for _ in range(2))
        assert [_facts(item) for item in first] == [_facts(item) for item in second]

    def test_leaves_the_candidate_as_it_was(self, source: EvidenceSource) -> None:
        candidate = picture_candidate()
        assert candidate.raster is not None
        before = candidate.raster.pixels.tobytes()
        self._collect(source, candidate)
        assert candidate.raster.pixels.tobytes() == before
        assert not candidate.raster.pixels.flags.writeable

    @pytest.mark.parametrize("media_type", [*MediaType, None])
    @pytest.mark.parametrize("length", [0, 1, 12, 400])
    def test_survives_bytes_that_do_not_decode(
        self, source: EvidenceSource, media_type: MediaType | None, length: int
    ) -> None:
        data = bytes((7 * i) % 256 for i in range(length))
        self._collect(source, raw_candidate(data, media_type))

    def test_survives_tiny_and_flat_pictures(self, source: EvidenceSource) -> None:
        for width, height in ((1, 1), (1, 300), (256, 256)):
            encoded = encode_image(flat_picture(width, height, rgb=(0, 0, 0)), MediaType.PNG)
            self._collect(source, open_candidate(encoded.data, name="flat"))

    def test_survives_files_cut_anywhere(self, source: EvidenceSource) -> None:
        out = io.BytesIO()
        picture = Image.fromarray(natural_picture(64, 64, seed=6).pixels)
        picture.save(out, "JPEG", exif=_exif(), xmp=b"<x/>", comment=b"words")
        whole = out.getvalue()
        for end in range(4, len(whole), max(1, len(whole) // 24)):
            self._collect(source, raw_candidate(whole[:end], MediaType.JPEG))

    def test_answers_in_several_threads_at_once(self, source: EvidenceSource) -> None:
        candidate = picture_candidate()
        expected = [_facts(item) for item in self._collect(source, candidate)]
        answers: list[list[tuple[object, ...]]] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append([_facts(item) for item in source.collect(candidate)])
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [expected] * 4

    @staticmethod
    def _collect(source: EvidenceSource, candidate: Candidate) -> Sequence[Evidence]:
        return list(source.collect(candidate))


def _facts(item: Evidence) -> tuple[object, ...]:
    return type(item), item.source, item.finding, item.reason


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0131] = "a program"
    return exif.tobytes()
