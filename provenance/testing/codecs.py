"""Conformance suite for watermark codecs.

A backend author subclasses `CodecTests` in a test module and gives one fixture::

    class TestMyCodec(CodecTests):
        @pytest.fixture
        def codec(self):
            return MyCodec()
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from provenance.errors import CapacityError
from provenance.interfaces import OneLookCodec, WatermarkCodec
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.watermark.quality import measure_psnr_db

if TYPE_CHECKING:
    from provenance.types import BitArray, RasterImage

__all__ = ["CodecTests"]


def _random_bits(codec: WatermarkCodec, image: RasterImage) -> BitArray:
    capacity = codec.capacity_bits(image.width_px, image.height_px)
    return np.random.default_rng(3).random(capacity) < 0.5


class CodecTests:
    """What every codec must do, whatever its technique."""

    min_clean_accuracy: ClassVar[float] = 0.95
    """Share of raw bits right without any attack; error correction above needs far less."""

    min_psnr_db: ClassVar[float] = 36.0
    """At the gentlest strength, on a natural picture."""

    @pytest.fixture
    def codec(self) -> WatermarkCodec:
        """The codec under test."""
        raise NotImplementedError

    @pytest.fixture
    def picture(self, codec: WatermarkCodec) -> RasterImage:
        """A picture a little over the minimum, no multiple of 8, wider than high."""
        side = codec.min_side_px
        return natural_picture(side + 37, side + 3, seed=11)

    def test_matches_the_interface(self, codec: WatermarkCodec) -> None:
        assert isinstance(codec, WatermarkCodec)
        assert codec.name
        assert re.fullmatch(r"[a-z0-9.-]+", codec.alg)
        assert codec.strengths == tuple(sorted(codec.strengths))
        assert codec.strengths

    def test_has_no_capacity_under_the_minimum(self, codec: WatermarkCodec) -> None:
        side = codec.min_side_px
        assert codec.capacity_bits(side, side) > 0
        assert codec.capacity_bits(side - 1, side) == 0
        assert codec.capacity_bits(side, side - 1) == 0
        assert codec.capacity_bits(1, 1) == 0

    def test_reads_back_what_it_embeds_at_every_strength(
        self, codec: WatermarkCodec, picture: RasterImage
    ) -> None:
        bits = _random_bits(codec, picture)
        for strength in codec.strengths:
            marked = codec.embed(picture, bits, strength=strength)
            soft = codec.extract(marked, strength=strength)
            assert ((soft > 0) == bits).mean() >= self.min_clean_accuracy

    def test_reads_back_from_an_upright_picture(self, codec: WatermarkCodec) -> None:
        side = codec.min_side_px
        upright = natural_picture(side + 5, side + 30, seed=12)
        bits = _random_bits(codec, upright)
        strength = codec.strengths[0]
        soft = codec.extract(codec.embed(upright, bits, strength=strength), strength=strength)
        assert ((soft > 0) == bits).mean() >= self.min_clean_accuracy

    def test_keeps_the_size_and_leaves_the_input_alone(
        self, codec: WatermarkCodec, picture: RasterImage
    ) -> None:
        before = picture.pixels.copy()
        marked = codec.embed(picture, _random_bits(codec, picture), strength=codec.strengths[0])
        assert marked.pixels.shape == picture.pixels.shape
        assert np.array_equal(picture.pixels, before)
        assert not np.array_equal(marked.pixels, before)

    def test_is_hard_to_see_when_gentle(self, codec: WatermarkCodec, picture: RasterImage) -> None:
        marked = codec.embed(picture, _random_bits(codec, picture), strength=codec.strengths[0])
        assert measure_psnr_db(marked, picture) >= self.min_psnr_db

    def test_embeds_the_same_way_twice(self, codec: WatermarkCodec, picture: RasterImage) -> None:
        bits = _random_bits(codec, picture)
        first, second = (codec.embed(picture, bits, strength=codec.strengths[0]) for _ in range(2))
        assert np.array_equal(first.pixels, second.pixels)

    def test_answers_soft_bits_within_bounds(
        self, codec: WatermarkCodec, picture: RasterImage
    ) -> None:
        soft = codec.extract(picture, strength=codec.strengths[-1])
        assert soft.shape == (codec.capacity_bits(picture.width_px, picture.height_px),)
        assert soft.dtype == np.float32
        assert np.isfinite(soft).all()
        assert np.abs(soft).max() <= 1.0

    def test_one_look_reads_what_each_strength_does(
        self, codec: WatermarkCodec, picture: RasterImage
    ) -> None:
        if not isinstance(codec, OneLookCodec):
            return
        assert np.array_equal(
            codec.extract_each(picture),
            np.stack([codec.extract(picture, strength=s) for s in codec.strengths]),
        )

    def test_reads_a_flat_picture_without_complaint(self, codec: WatermarkCodec) -> None:
        side = codec.min_side_px
        for rgb in ((0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 255, 0)):
            soft = codec.extract(flat_picture(side, side, rgb=rgb), strength=codec.strengths[0])
            assert np.isfinite(soft).all()

    def test_reads_nothing_from_a_small_picture(self, codec: WatermarkCodec) -> None:
        tiny = flat_picture(1, 1, rgb=(9, 9, 9))
        assert codec.extract(tiny, strength=codec.strengths[0]).size == 0

    def test_refuses_a_small_picture(self, codec: WatermarkCodec) -> None:
        small = natural_picture(codec.min_side_px, codec.min_side_px - 1, seed=1)
        with pytest.raises(CapacityError, match=str(codec.min_side_px - 1)):
            codec.embed(small, np.zeros(0, dtype=np.bool_), strength=codec.strengths[0])

    def test_refuses_a_wrong_number_of_bits(
        self, codec: WatermarkCodec, picture: RasterImage
    ) -> None:
        bits = _random_bits(codec, picture)
        for wrong in (bits[:-1], np.append(bits, bits[:1])):
            with pytest.raises(CapacityError):
                codec.embed(picture, wrong, strength=codec.strengths[0])
