import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.errors import InputError
from provenance.fingerprint.similarity import (
    AGREE_MAX_BITS,
    can_search,
    hamming_distance,
    match_marked_picture,
)
from provenance.types import MatchTier, PerceptualHash

digests = st.integers(0, 2**256 - 1)


def hashed(value, algorithm="pdq-1", quality=80):
    return PerceptualHash(algorithm, f"{value:064x}", quality)


@given(digests, digests, digests)
def test_hamming_distance_is_a_metric(first, second, third):
    a, b, c = hashed(first), hashed(second), hashed(third)
    assert hamming_distance(a, a) == 0
    assert hamming_distance(a, b) == hamming_distance(b, a) == bin(first ^ second).count("1")
    assert hamming_distance(a, c) <= hamming_distance(a, b) + hamming_distance(b, c)


def test_hashes_of_two_algorithms_are_never_compared():
    with pytest.raises(InputError, match=r"pdq-1.*mean-1"):
        hamming_distance(hashed(1), hashed(1, "mean-1"))


@pytest.mark.parametrize(
    ("quality", "expected"), [(49, False), (50, True), (100, True), (0, False)]
)
def test_flat_pictures_are_not_searched(quality, expected):
    assert can_search(hashed(5, quality=quality)) is expected


@pytest.mark.parametrize(
    ("distance", "tier"),
    [
        (0, MatchTier.COPY_VERIFIED),
        (AGREE_MAX_BITS, MatchTier.COPY_VERIFIED),
        (AGREE_MAX_BITS + 1, MatchTier.TRANSPLANT),
        (256, MatchTier.TRANSPLANT),
    ],
)
def test_a_mark_is_confirmed_or_called_a_transplant(distance, tier):
    match = match_marked_picture(hashed(0), hashed((1 << distance) - 1))
    assert (match.tier, match.distance_bits) == (tier, distance)


@pytest.mark.parametrize(
    ("record", "query"),
    [(None, hashed(1)), (hashed(1), None), (None, None), (hashed(1), hashed(1, "mean-1"))],
)
def test_nothing_to_compare_is_unconfirmed_never_a_transplant(record, query):
    match = match_marked_picture(record, query)
    assert match.tier is MatchTier.UNCONFIRMED
    assert match.distance_bits is None
