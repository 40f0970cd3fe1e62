import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.errors import InputError
from provenance.fingerprint.similarity import (
    AGREE_MAX_BITS,
    Likeness,
    can_search,
    cosine_standing,
    hamming_distance,
    judge_likeness,
    match_marked_picture,
)
from provenance.types import EmbeddingSpace, MatchTier, PerceptualHash, SpaceKind

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


COPY = EmbeddingSpace(
    space_id="copy/1",
    kind=SpaceKind.COPY,
    similar_min_cosine=0.35,
    verify_min_cosine=0.25,
    likely_min_cosine=0.60,
    strong_min_cosine=0.90,
)
SEMANTIC = EmbeddingSpace(
    space_id="clip/1", kind=SpaceKind.SEMANTIC, similar_min_cosine=0.9, verify_min_cosine=0.5
)


def near(bits, quality=80, **rest):
    return Likeness(distance_bits=bits, quality=quality, **rest)


def cosine(value, space=COPY, **rest):
    return Likeness(cosine=value, space=space, **rest)


TIERS = [
    ("nothing was measured", Likeness(), None),
    ("hash at the bound", near(31, 50), MatchTier.COPY_STRONG),
    ("hash beyond it", near(32), None),
    ("hash of a flat picture", near(0, 49), MatchTier.SIMILAR),
    ("hash of a part, nothing to verify with", near(3, is_whole=False), MatchTier.COPY_LIKELY),
    ("hash of a part, verified", near(3, is_whole=False, inliers=12, agreement=0.80),
     MatchTier.COPY_VERIFIED),
    ("hash of a part, refuted", near(3, is_whole=False, inliers=2), MatchTier.SIMILAR),
    ("hash of a flat part", near(3, 40, is_whole=False), MatchTier.SIMILAR),
    ("strong cosine", cosine(0.90), MatchTier.COPY_STRONG),
    ("likely cosine", cosine(0.60), MatchTier.COPY_LIKELY),
    ("likely cosine, refuted", cosine(0.89, inliers=4), MatchTier.SIMILAR),
    ("likely cosine, verified", cosine(0.60, inliers=30, agreement=0.9), MatchTier.COPY_VERIFIED),
    ("low cosine, verified", cosine(0.25, inliers=24, agreement=0.65), MatchTier.COPY_VERIFIED),
    ("low cosine, few points", cosine(0.25, inliers=23, agreement=0.79), None),
    ("low cosine, few points and more blocks", cosine(0.25, inliers=12, agreement=0.80),
     MatchTier.COPY_VERIFIED),
    ("low cosine, a point too few", cosine(0.25, inliers=11, agreement=0.99), None),
    ("low cosine, other blocks", cosine(0.25, inliers=99, agreement=0.64), None),
    ("low cosine, no blocks to compare", cosine(0.25, inliers=99), None),
    ("alike", cosine(0.35), MatchTier.SIMILAR),
    ("not alike", cosine(0.34), None),
    ("no embedder: geometry alone", Likeness(inliers=12, agreement=0.80),
     MatchTier.COPY_VERIFIED),
    ("semantic, equal", cosine(1.0, SEMANTIC), MatchTier.SIMILAR),
    ("semantic, near", cosine(0.89, SEMANTIC), None),
    ("a cosine of an unknown space", Likeness(cosine=1.0), None),
]  # fmt: skip


@pytest.mark.parametrize(("likeness", "tier"), [t[1:] for t in TIERS], ids=[t[0] for t in TIERS])
def test_each_measure_gives_its_tier(likeness, tier):
    assert judge_likeness(likeness) is tier


@given(st.floats(-1, 1), st.integers(0, 256) | st.none())
def test_a_semantic_space_adds_nothing_to_a_copy(value, bits):
    """Whatever its cosine, the tier is no surer than without it, but for similar."""
    without = judge_likeness(Likeness(distance_bits=bits, quality=80))
    with_it = judge_likeness(Likeness(distance_bits=bits, quality=80, cosine=value, space=SEMANTIC))
    assert with_it is without or (without is None and with_it is MatchTier.SIMILAR)


def test_a_wider_radius_shows_more_and_calls_none_a_copy():
    assert judge_likeness(near(60), similar_max_bits=60) is MatchTier.SIMILAR
    assert judge_likeness(near(61), similar_max_bits=60) is None


def test_cosines_of_two_spaces_are_compared_by_what_they_say_there():
    ordered = [
        Likeness(),
        Likeness(cosine=1.0),
        cosine(0.30),
        cosine(0.50, SEMANTIC),
        cosine(0.34),
        cosine(0.36),
        cosine(0.59),
        cosine(0.95, SEMANTIC),
        cosine(0.61),
        cosine(0.90),
        cosine(0.95),
    ]
    standings = [cosine_standing(one) for one in ordered]
    assert standings[0] == standings[1]
    assert standings[4:] == sorted(standings[4:])
    assert max(standings[:5]) < standings[5]


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_in_one_space_a_higher_cosine_never_says_less(one, other):
    low, high = sorted((one, other))
    assert cosine_standing(cosine(low)) <= cosine_standing(cosine(high))
