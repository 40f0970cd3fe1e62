import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance.errors import CapacityError, ConfigError
from provenance.types import RecordId, WatermarkPayload
from provenance.watermark.payload import CODED_BITS, WatermarkKey, frame, frame_presence, unframe
from provenance.watermark.statistics import energy_p_value

KEY = WatermarkKey(b"a secret of a test" * 2)
OTHER = WatermarkKey(b"quite another one." * 2)

payloads = st.integers(0, 2**64 - 1).map(lambda n: WatermarkPayload(RecordId(f"{n:016x}")))


def read(soft, key=KEY):
    return unframe(soft.astype(np.float32)[None], key)[0]


@settings(max_examples=30, deadline=None)
@given(payloads, st.integers(CODED_BITS, 5000))
def test_reads_back_every_id_from_every_carrier(payload, capacity):
    reading = read(2.0 * frame(payload, KEY, capacity) - 1.0)
    assert reading.record_id == payload.record_id
    assert reading.bit_accuracy == 1.0


@settings(max_examples=15, deadline=None)
@given(payloads, st.integers(0, 2**32 - 1))
def test_reads_through_three_wrong_bits_in_ten(payload, seed):
    bits = frame(payload, KEY, 4096)
    wrong = np.random.default_rng(seed).random(4096) < 0.30
    reading = read(2.0 * (bits ^ wrong) - 1.0)
    assert reading.record_id == payload.record_id
    assert reading.bit_accuracy == pytest.approx(1.0 - wrong.mean())


def test_reads_through_a_lost_half():
    payload = WatermarkPayload(RecordId("00000000000000ff"))
    soft = 2.0 * frame(payload, KEY, 2048) - 1.0
    soft[:1024] = 0.0
    assert read(soft).record_id == payload.record_id


def test_another_key_reads_nothing():
    payload = WatermarkPayload(RecordId("0123456789abcdef"))
    reading = read(2.0 * frame(payload, KEY, 4096) - 1.0, OTHER)
    assert reading.record_id is None
    assert energy_p_value(reading.energy, degrees=reading.degrees, readings_tried=1) > 1e-3


def test_a_changed_tag_is_not_believed():
    """The right word under a foreign tag: everything decodes, nothing is said."""
    payload = WatermarkPayload(RecordId("0123456789abcdef"))
    from provenance.watermark import coding
    from provenance.watermark import payload as module

    word = np.concatenate([payload.bits, ~module._tag_bits(payload.record_id, KEY)])
    spread = coding.encode_bits(word)[module._slot_order(KEY, 4096)]
    reading = read(2.0 * (spread ^ module._flips(KEY, 4096)) - 1.0)
    assert reading.record_id is None
    assert reading.bit_accuracy is None
    assert energy_p_value(reading.energy, degrees=reading.degrees, readings_tried=1) < 1e-100


@pytest.mark.parametrize(
    "soft",
    [
        np.ones(4096),
        -np.ones(4096),
        np.tile([1.0, -1.0], 2048),
        np.repeat(np.sin(np.arange(64)), 64),
        np.where(np.arange(4096) % 64 < 9, 1.0, -0.1),
        np.zeros(4096),
    ],
    ids=["ones", "zeros", "stripes", "bands", "columns", "nothing"],
)
def test_no_structure_of_a_picture_looks_like_a_mark(soft):
    """Over 40 keys, no biased or periodic carrier reaches a p-value under 1e-4."""
    for number in range(40):
        reading = read(soft, WatermarkKey(number.to_bytes(16, "big")))
        assert reading.record_id is None
        assert energy_p_value(reading.energy, degrees=reading.degrees, readings_tried=1) > 1e-4


def test_carrier_bits_are_fair_and_every_coded_bit_is_repeated_evenly():
    payload = WatermarkPayload(RecordId("0000000000000000"))
    bits = frame(payload, KEY, 38400)
    assert abs(bits.mean() - 0.5) < 4 * 0.5 / np.sqrt(bits.size)
    from provenance.watermark.payload import _slot_order

    assert set(np.bincount(_slot_order(KEY, 38400))) == {100}


def test_the_first_slots_do_not_depend_on_the_capacity():
    payload = WatermarkPayload(RecordId("feedfacecafebeef"))
    assert np.array_equal(frame(payload, KEY, 1024), frame(payload, KEY, 9999)[:1024])


def test_the_frame_never_changes():
    """Marks out there must stay readable: a release that changes this needs another version."""
    bits = frame(WatermarkPayload(RecordId("3f2a9c0d11e87b46")), WatermarkKey(bytes(32)), 4096)
    digest = hashlib.sha256(np.packbits(bits).tobytes()).hexdigest()
    assert digest == "54a9dd39f2b3f416faf2364d0992644b6f80e0451218e6adaa34ac586ab241db"
    presence = np.packbits(frame_presence(WatermarkKey(bytes(32)), 32)).tobytes().hex()
    assert presence == "f92ac1a7"


def test_an_id_does_not_fit_into_a_small_carrier():
    payload = WatermarkPayload(RecordId("0123456789abcdef"))
    with pytest.raises(CapacityError, match="384"):
        frame(payload, KEY, 32)
    with pytest.raises(CapacityError, match="383"):
        unframe(np.zeros((1, 383), dtype=np.float32), KEY)


def test_presence_bits_differ_between_keys():
    assert not np.array_equal(frame_presence(KEY, 32), frame_presence(OTHER, 32))
    assert frame_presence(KEY, 0).size == 0


def test_the_key_stays_secret():
    assert "secret" not in repr(KEY)
    assert KEY.key_id != OTHER.key_id
    assert len(KEY.key_id) == 16
    assert KEY.secret.hex()[:16] != KEY.key_id
    assert len({KEY.derive(purpose) for purpose in ("tag", "order", "flips", "key-id")}) == 4


def test_a_short_key_is_refused():
    with pytest.raises(ConfigError, match="15 bytes"):
        WatermarkKey(bytes(15))


def test_the_limit_of_reading_is_where_the_margins_say():
    """`marking.MIN_BIT_ACCURACY` rests on it: at 0.64 every word is read, at 0.56 none."""
    payload = WatermarkPayload(RecordId("3f2a9c0d11e87b46"))
    bits, random = frame(payload, KEY, 4096), np.random.default_rng(0)
    for accuracy, expected in ((0.64, 1.0), (0.56, 0.0)):
        wrong = random.random((40, 4096)) > accuracy
        readings = unframe((2.0 * (bits ^ wrong) - 1.0).astype(np.float32), KEY)
        read_share = np.mean([reading.record_id == payload.record_id for reading in readings])
        assert read_share == pytest.approx(expected, abs=0.05)
