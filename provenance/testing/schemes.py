"""Conformance suite for watermark schemes: marks that carry a record id under a key.

An author of a `WatermarkScheme`, or of a raw codec in its frame, subclasses `SchemeTests`::

    class TestMyScheme(SchemeTests):
        @pytest.fixture
        def scheme(self):
            return MyScheme()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from provenance.errors import CapacityError
from provenance.interfaces import WatermarkScheme
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import Finding, RecordId, WatermarkPayload
from provenance.watermark.payload import WatermarkKey
from provenance.watermark.quality import measure_psnr_db
from provenance.watermark.statistics import PRESENCE_P_VALUE

if TYPE_CHECKING:
    from provenance.types import RasterImage

__all__ = ["SchemeTests"]

_KEY = WatermarkKey(bytes(range(32)))
_EARLIER = WatermarkKey(bytes(range(32, 64)))
_FOREIGN = WatermarkKey(bytes(range(64, 96)))
_PAYLOAD = WatermarkPayload(RecordId("3f2a9c0d11e87b46"))
_LOWEST, _HIGHEST = RecordId("0000000000000001"), RecordId("f" * 16)


class SchemeTests:
    """What every scheme must do, whatever its technique."""

    min_psnr_db: ClassVar[float] = 36.0
    """At the gentlest strength, on a natural picture."""

    @pytest.fixture
    def scheme(self) -> WatermarkScheme:
        """The scheme under test."""
        raise NotImplementedError

    @pytest.fixture
    def picture(self, scheme: WatermarkScheme) -> RasterImage:
        """A picture that holds a record id, wider than high, no multiple of 8."""
        side = scheme.min_side_px
        while not scheme.holds_record_id(side + 37, side + 3):
            side += 8
        return natural_picture(side + 37, side + 3, seed=11)

    @pytest.fixture
    def marked(self, scheme: WatermarkScheme, picture: RasterImage) -> RasterImage:
        """That picture, marked in the middle of the scheme's strengths."""
        strength = scheme.strengths[len(scheme.strengths) // 2]
        return scheme.embed(picture, _PAYLOAD, key=_KEY, strength=strength)

    def test_matches_the_interface(self, scheme: WatermarkScheme) -> None:
        assert isinstance(scheme, WatermarkScheme)
        assert scheme.name
        assert scheme.strengths == tuple(sorted(scheme.strengths))
        assert scheme.strengths
        assert scheme.readings(1) >= 1
        assert scheme.readings(2) >= scheme.readings(1)

    def test_nothing_fits_under_the_minimum(self, scheme: WatermarkScheme) -> None:
        side = scheme.min_side_px
        assert scheme.fits(side, side)
        for width_px, height_px in ((side - 1, side), (side, side - 1), (1, 1)):
            assert not scheme.fits(width_px, height_px)
            assert not scheme.holds_record_id(width_px, height_px)

    @pytest.mark.parametrize("record_id", [_PAYLOAD.record_id, _LOWEST, _HIGHEST])
    def test_a_record_id_comes_back_with_its_chance(
        self, scheme: WatermarkScheme, picture: RasterImage, record_id: RecordId
    ) -> None:
        payload = WatermarkPayload(record_id)
        marked = scheme.embed(picture, payload, key=_KEY, strength=scheme.strengths[-1])
        found = scheme.read(marked, (_KEY,))
        assert (found.finding, found.record_id) == (Finding.PRESENT, record_id)
        assert found.p_value is not None
        assert 0 <= found.p_value <= PRESENCE_P_VALUE

    def test_an_earlier_key_is_still_read(
        self, scheme: WatermarkScheme, picture: RasterImage
    ) -> None:
        marked = scheme.embed(picture, _PAYLOAD, key=_EARLIER, strength=scheme.strengths[-1])
        assert scheme.read(marked, (_KEY, _EARLIER)).record_id == _PAYLOAD.record_id

    @pytest.mark.parametrize("thorough", [False, True])
    def test_finds_nothing_under_a_foreign_key_or_without_a_mark(
        self, scheme: WatermarkScheme, picture: RasterImage, marked: RasterImage, *, thorough: bool
    ) -> None:
        for image, key in ((marked, _FOREIGN), (picture, _KEY)):
            found = scheme.read(image, (key,), thorough=thorough)
            assert found.finding is not Finding.PRESENT
            assert found.record_id is None

    def test_keeps_the_size_and_leaves_the_input_alone(
        self, scheme: WatermarkScheme, picture: RasterImage
    ) -> None:
        before = picture.pixels.copy()
        marked = scheme.embed(picture, _PAYLOAD, key=_KEY, strength=scheme.strengths[0])
        assert marked.pixels.shape == picture.pixels.shape
        assert np.array_equal(picture.pixels, before)
        assert not np.array_equal(marked.pixels, before)

    def test_is_hard_to_see_when_gentle(
        self, scheme: WatermarkScheme, picture: RasterImage
    ) -> None:
        marked = scheme.embed(picture, _PAYLOAD, key=_KEY, strength=scheme.strengths[0])
        assert measure_psnr_db(marked, picture) >= self.min_psnr_db

    def test_embeds_the_same_way_twice(
        self, scheme: WatermarkScheme, picture: RasterImage, marked: RasterImage
    ) -> None:
        strength = scheme.strengths[len(scheme.strengths) // 2]
        again = scheme.embed(picture, _PAYLOAD, key=_KEY, strength=strength)
        assert np.array_equal(marked.pixels, again.pixels)

    @pytest.mark.parametrize("rgb", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 255, 0)])
    def test_never_finds_a_mark_in_a_flat_picture(
        self, scheme: WatermarkScheme, picture: RasterImage, rgb: tuple[int, int, int]
    ) -> None:
        flat = flat_picture(picture.width_px, picture.height_px, rgb=rgb)
        found = scheme.read(flat, (_KEY,), thorough=True)
        assert found.finding is not Finding.PRESENT
        assert found.record_id is None

    def test_cannot_read_a_tiny_picture(self, scheme: WatermarkScheme) -> None:
        found = scheme.read(flat_picture(1, 1, rgb=(9, 9, 9)), (_KEY,), thorough=True)
        assert found.finding is Finding.UNREADABLE

    def test_refuses_a_small_picture(self, scheme: WatermarkScheme) -> None:
        small = natural_picture(scheme.min_side_px, scheme.min_side_px - 1, seed=1)
        with pytest.raises(CapacityError, match=str(scheme.min_side_px - 1)):
            scheme.embed(small, _PAYLOAD, key=_KEY, strength=scheme.strengths[0])
