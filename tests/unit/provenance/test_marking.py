"""The read-back loop on the in-memory codec; the real codecs stand in tests/integration."""

import logging

import numpy as np
import pytest

from provenance.errors import CapacityError, ConfigError, ReadBackError
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.testing.twins_marks import StripeCodec
from provenance.types import (
    EncodedImage,
    Finding,
    MediaType,
    RasterImage,
    RecordId,
    WatermarkPayload,
)
from provenance.watermark.marking import MarkReader, embed_mark
from provenance.watermark.payload import WatermarkKey
from provenance.watermark.quality import measure_psnr_db

KEY = WatermarkKey(b"k" * 32)
OTHER = WatermarkKey(b"o" * 32)
PAYLOAD = WatermarkPayload(RecordId("3f2a9c0d11e87b46"))
PICTURE = natural_picture(64, 48, seed=4)


class TinyCodec(StripeCodec):
    """A codec of 32 bits, like rivaGan."""

    def capacity_bits(self, width_px, height_px):
        return min(32, super().capacity_bits(width_px, height_px))


def keep(raster):
    return EncodedImage(raster.pixels.tobytes(), MediaType.PNG)


def restore(encoded):
    return RasterImage(np.frombuffer(encoded.data, dtype=np.uint8).reshape(48, 64, 3))


def shake(amount):
    """A lossy save that moves every value by up to `amount`."""

    def save(raster):
        noise = np.random.default_rng(9).integers(-amount, amount + 1, raster.pixels.shape)
        return RasterImage(np.clip(raster.pixels + noise, 0, 255).astype(np.uint8))

    return save


def mark(payload=PAYLOAD, codec=None, encode=keep, stress=()):
    return embed_mark(
        PICTURE,
        payload,
        key=KEY,
        codec=codec or StripeCodec(),
        encode=encode,
        decode=restore,
        stress=stress,
    )


def test_the_gentlest_strength_is_enough_without_loss():
    marked = mark()
    assert marked.sturdy
    assert marked.info.strength == 8.0
    assert marked.info.bit_accuracy == 1.0
    assert marked.info.carries_record_id
    assert marked.info.key_id == KEY.key_id
    assert marked.info.psnr_db == pytest.approx(measure_psnr_db(marked.raster, PICTURE))
    assert np.array_equal(restore(marked.encoded).pixels, marked.raster.pixels)


def test_a_lossy_encoder_is_answered_with_more_strength():
    def lossy(raster):
        return keep(shake(3)(raster))

    marked = mark(encode=lossy)
    assert marked.info.strength == 16.0
    assert marked.sturdy
    assert MarkReader((StripeCodec(),), (KEY,)).read(marked.raster).record_id == PAYLOAD.record_id


def test_a_simulated_resave_is_answered_with_more_strength():
    assert mark(stress=[shake(4)]).info.strength == 16.0


def test_a_margin_that_no_strength_holds_is_told_and_logged(caplog):
    with caplog.at_level(logging.WARNING):
        marked = mark(stress=[shake(120)])
    assert not marked.sturdy
    assert "not with every margin" in caplog.text
    assert PAYLOAD.record_id not in caplog.text


def test_nothing_is_delivered_when_the_mark_is_lost_in_encoding():
    with pytest.raises(ReadBackError, match="nothing is delivered"):
        mark(encode=lambda raster: keep(shake(120)(raster)))


def test_nothing_is_delivered_when_another_id_is_read_back():
    other = mark(WatermarkPayload(RecordId("ffffffffffffffff")))
    with pytest.raises(ReadBackError):
        mark(encode=lambda _: other.encoded)


def test_no_mark_is_made_visible():
    class Loud(StripeCodec):
        def embed(self, image, bits, *, strength):
            loud = super().embed(image, bits, strength=strength).pixels.astype(int)
            return RasterImage(np.clip(loud + 40, 0, 255).astype(np.uint8))

    with pytest.raises(ReadBackError, match="would be visible"):
        mark(codec=Loud())


def test_a_small_codec_refuses_a_record_id_and_carries_a_presence_mark():
    with pytest.raises(CapacityError, match="presence mark"):
        mark(codec=TinyCodec())
    marked = mark(None, codec=TinyCodec())
    assert not marked.info.carries_record_id
    answer = MarkReader((TinyCodec(),), (OTHER, KEY)).read(marked.raster)
    assert answer.finding is Finding.PRESENT
    assert answer.record_id is None
    assert answer.key_id == KEY.key_id
    assert answer.p_value == pytest.approx(4 * 2.0**-32)


def test_an_absent_presence_mark_is_absent():
    answer = MarkReader((TinyCodec(),), (KEY,)).read(PICTURE)
    assert answer.finding is Finding.ABSENT


def test_a_picture_under_the_minimum_is_refused_by_name():
    with pytest.raises(CapacityError, match="stripe"):
        embed_mark(
            natural_picture(31, 40, seed=1),
            PAYLOAD,
            key=KEY,
            codec=StripeCodec(),
            encode=keep,
            decode=restore,
        )


def test_reads_its_mark_among_several_keys_and_codecs():
    reader = MarkReader((TinyCodec(), StripeCodec()), (OTHER, KEY))
    answer = reader.read(mark().raster)
    assert answer.finding is Finding.PRESENT
    assert (answer.codec, answer.key_id) == ("stripe", KEY.key_id)
    assert answer.record_id == PAYLOAD.record_id
    assert answer.p_value == pytest.approx(8 * 2.0**-32)
    assert reader.readings == 8


def test_an_unmarked_picture_is_absent():
    for seed in range(20):
        answer = MarkReader((StripeCodec(),), (KEY, OTHER)).read(natural_picture(64, 64, seed=seed))
        assert answer.finding is Finding.ABSENT
        assert answer.record_id is None
        assert answer.key_id is None


def test_a_foreign_mark_is_absent():
    assert MarkReader((StripeCodec(),), (OTHER,)).read(mark().raster).finding is Finding.ABSENT


def damage(raster, *, share, seed):
    """Flips a share of the carrier bits of the first strength."""
    pixels = raster.pixels.copy()
    red = pixels.reshape(-1, 3)[1::2, 0]
    red[np.random.default_rng(seed).random(red.size) < share] ^= 4
    return RasterImage(pixels)


def test_a_mark_damaged_beyond_reading_is_unreadable_not_absent():
    reader = MarkReader((StripeCodec(strengths=(8.0,)),), (KEY,))
    answer = reader.read(damage(mark().raster, share=0.36, seed=6))
    assert answer.finding is Finding.UNREADABLE
    assert "seems to be there" in answer.reason
    assert answer.record_id is None
    assert answer.key_id == KEY.key_id
    assert 0 < answer.p_value <= 1e-6


def test_a_damaged_mark_is_never_read_wrongly():
    """Around the limit of the code every answer is the right id, a trace, or nothing."""
    reader, raster = MarkReader((StripeCodec(strengths=(8.0,)),), (KEY,)), mark().raster
    answers = [reader.read(damage(raster, share=0.34, seed=seed)) for seed in range(24)]
    assert {answer.record_id for answer in answers} == {None, PAYLOAD.record_id}


def test_a_collage_of_two_marked_pictures_names_one_of_them():
    other = WatermarkPayload(RecordId("0123456789abcdef"))
    collage = np.vstack([mark().raster.pixels[:30], mark(other).raster.pixels[30:]])
    answer = MarkReader((StripeCodec(),), (OTHER, KEY)).read(RasterImage(collage))
    assert answer.record_id == PAYLOAD.record_id


@pytest.mark.parametrize("rgb", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (250, 10, 200)])
def test_a_flat_picture_is_unreadable(rgb):
    answer = MarkReader((StripeCodec(),), (KEY,)).read(flat_picture(64, 64, rgb=rgb))
    assert answer.finding is Finding.UNREADABLE
    assert "flat" in answer.reason


def test_a_small_picture_is_unreadable():
    answer = MarkReader((StripeCodec(),), (KEY,)).read(natural_picture(31, 31, seed=2))
    assert answer.finding is Finding.UNREADABLE
    assert "31x31" in answer.reason


def test_one_codec_that_could_not_look_is_not_folded_into_absent():
    reader = MarkReader((StripeCodec(), StripeCodec(min_side_px=200, name="picky")), (KEY,))
    answer = reader.read(PICTURE)
    assert answer.finding is Finding.UNREADABLE
    assert answer.codec == "picky"


def test_a_reader_without_keys_is_refused():
    with pytest.raises(ConfigError):
        MarkReader((StripeCodec(),), ())


def test_psnr_of_equal_pictures_is_100():
    assert measure_psnr_db(PICTURE, PICTURE) == 100.0
    brighter = RasterImage(flat_picture(9, 9, rgb=(11, 11, 11)).pixels)
    assert measure_psnr_db(brighter, flat_picture(9, 9, rgb=(10, 10, 10))) == pytest.approx(
        48.13, abs=0.01
    )
