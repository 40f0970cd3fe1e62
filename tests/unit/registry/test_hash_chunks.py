"""Chunks of hashes: no hash within 31 bits is without a key that is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.testing.stores import build_hash
from registry.index.hash_chunks import chunk_keys, plan_probe, probe_keys


def raw(number):
    return bytes.fromhex(build_hash(number).hex)


def test_a_key_is_a_chunk_with_its_number():
    (keys,) = chunk_keys([raw(0xABCD)])
    assert keys == [*(number << 16 for number in range(15)), 15 << 16 | 0xABCD]


def seen_in(stored, query, distance):
    """In how many chunks `stored` is seen, and how many are needed, for a search."""
    radii, least = plan_probe(distance)
    (keys,) = chunk_keys([raw(stored)])
    return len(set(keys) & set(probe_keys(raw(query), radii))), least


def flipped(number, flips):
    for bit in flips:
        number ^= 1 << bit
    return number


@given(number=st.integers(0, 2**256 - 1), flips=st.sets(st.integers(0, 255), max_size=31))
def test_every_hash_within_the_distance_is_seen_in_enough_chunks(number, flips):
    for distance in range(len(flips), 32):
        seen, least = seen_in(flipped(number, flips), number, distance)
        assert seen >= least >= 2


@given(
    counts=st.lists(st.integers(0, 4), min_size=16, max_size=16),
    order=st.permutations(range(16)),
)
def test_bits_spread_as_evenly_as_can_be_are_seen(counts, order):
    # The hardest case: as many chunks as possible with one bit more than is looked around.
    spread = [counts[place] for place in order]
    while sum(spread) > 31:
        spread[spread.index(max(spread))] -= 1
    flips = [16 * chunk + bit for chunk, bits in enumerate(spread) for bit in range(bits)]
    for distance in {len(flips), 29, 31} - set(range(len(flips))):
        seen, least = seen_in(flipped(0, flips), 0, distance)
        assert seen >= least


@pytest.mark.parametrize("distance", range(32))
def test_the_least_number_is_no_smaller_than_it_must_be(distance):
    # Some hash within the distance is seen in just that many chunks, so one more would lose it.
    radii, least = plan_probe(distance)
    cheapest = sorted((radius + 1, chunk) for chunk, radius in enumerate(radii))
    flips, left = [], distance
    for cost, chunk in cheapest:
        if cost <= left:
            left -= cost
            # Chunk 0 is the highest 16 bits.
            flips += [16 * (15 - chunk) + bit for bit in range(cost)]
    seen, _ = seen_in(flipped(0, flips), 0, distance)
    assert seen == least


def test_what_is_asked_for_has_no_key_twice():
    for distance, keys in ((14, 16), (29, 16 * 17), (31, 3 * 137 + 13 * 17)):
        asked = probe_keys(raw(12345), plan_probe(distance)[0])
        assert len(asked) == len(set(asked)) == keys
