"""Chunks of hashes: no hash within 31 bits is without a key that is asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provenance.testing.stores import build_hash
from registry.index.hash_chunks import CHUNKS, chunk_keys, probe_keys


def raw(number):
    return bytes.fromhex(build_hash(number).hex)


def test_a_key_is_a_chunk_with_its_number():
    (keys,) = chunk_keys([raw(0xABCD)])
    assert keys == [*(number << 16 for number in range(15)), 15 << 16 | 0xABCD]


@given(
    number=st.integers(0, 2**256 - 1),
    flips=st.sets(st.integers(0, 255), max_size=31),
)
def test_every_hash_within_the_distance_shares_a_key(number, flips):
    near = number
    for bit in flips:
        near ^= 1 << bit
    (stored,) = chunk_keys([raw(near)])
    for asked in {len(flips), 15, 31}:
        if asked >= len(flips):
            assert set(stored) & set(probe_keys(raw(number), max_distance_bits=asked))


def test_the_hardest_distances_have_nothing_to_spare():
    # One bit in each chunk is 16: no chunk is equal. Two in each is 32: none is one bit away.
    one_in_each = sum(1 << 16 * chunk for chunk in range(CHUNKS))
    two_in_each = 3 * one_in_each
    (ones,), (twos,) = chunk_keys([raw(one_in_each)]), chunk_keys([raw(two_in_each)])
    assert not set(ones) & set(probe_keys(raw(0), max_distance_bits=15))
    assert set(ones) & set(probe_keys(raw(0), max_distance_bits=16))
    assert not set(twos) & set(probe_keys(raw(0), max_distance_bits=31))
    assert len(set(probe_keys(raw(0), max_distance_bits=31))) == 16 * 17
