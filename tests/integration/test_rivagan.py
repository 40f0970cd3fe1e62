"""The presence mark on the package's real networks, at the smallest size they take."""

import numpy as np
import pytest

from provenance.errors import CapacityError
from provenance.plugins import load_backend
from provenance.testing.pictures import natural_picture
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

KEY, OTHER = WatermarkKey(b"presence" * 4), WatermarkKey(b"stranger" * 4)
PICTURE = natural_picture(256, 264, seed=6)


@pytest.fixture(scope="module")
def codec():
    return load_backend("countermark.codecs", "rivaGan")()


def keep(raster):
    return EncodedImage(raster.pixels.tobytes(), MediaType.PNG)


def restore(encoded):
    return RasterImage(np.frombuffer(encoded.data, dtype=np.uint8).reshape(264, 256, 3))


def mark(codec, payload):
    return embed_mark(PICTURE, payload, key=KEY, codec=codec, encode=keep, decode=restore)


def test_a_presence_mark_is_found_under_its_key_only(codec):
    marked = mark(codec, None)
    assert not marked.info.carries_record_id
    assert marked.info.psnr_db > 38.0
    found = MarkReader((codec,), (OTHER, KEY)).read(marked.raster)
    assert found.finding is Finding.PRESENT
    assert found.record_id is None
    assert found.key_id == KEY.key_id
    assert found.p_value <= 1e-6
    assert MarkReader((codec,), (OTHER,)).read(marked.raster).finding is Finding.ABSENT


def test_a_record_id_is_refused_by_name(codec):
    with pytest.raises(CapacityError, match="presence mark"):
        mark(codec, WatermarkPayload(RecordId("0123456789abcdef")))


def test_an_unmarked_picture_is_absent(codec):
    assert MarkReader((codec,), (KEY,)).read(PICTURE).finding is Finding.ABSENT


@pytest.mark.slow
def test_hard_bits_are_the_package_s(codec):
    from imwatermark.rivaGan import RivaWatermark

    RivaWatermark.loadModel()
    blue_first = np.ascontiguousarray(PICTURE.pixels[..., ::-1])
    theirs = RivaWatermark().decode(blue_first)
    assert np.array_equal(codec.extract(PICTURE, strength=1.0) > 0, theirs.astype(bool))


def test_a_picture_beyond_its_memory_limit_is_refused_before_any_work(codec):
    large = RasterImage(np.zeros((2049, 2048, 3), dtype=np.uint8))
    with pytest.raises(CapacityError, match="2048x2049"):
        codec.embed(large, np.zeros(32, dtype=np.bool_), strength=1.0)
    assert MarkReader((codec,), (KEY,)).read(large).finding is Finding.UNREADABLE
