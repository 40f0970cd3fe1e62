import math

import numpy as np
import pytest

from provenance.errors import InputError
from provenance.watermark.payload import CODED_BITS, WatermarkKey, unframe
from provenance.watermark.statistics import (
    PRESENCE_P_VALUE,
    energy_p_value,
    match_p_value,
    tag_p_value,
    wilson_interval,
)


def test_tag_p_value_counts_every_reading():
    assert tag_p_value(1) == 2.0**-32
    assert tag_p_value(6) == 6 * 2.0**-32
    assert tag_p_value(2**33) == 1.0


@pytest.mark.parametrize("degrees", [10, 100, 384])
def test_energy_p_value_bounds_the_chi_square_tail(degrees):
    """Against 200,000 draws: never below the true tail, and not wildly above."""
    draws = np.random.default_rng(1).chisquare(degrees, size=200_000)
    for quantile in (0.5, 0.9, 0.99, 0.999):
        tail = float((draws >= np.quantile(draws, quantile)).mean())
        bound = energy_p_value(
            float(np.quantile(draws, quantile)), degrees=degrees, readings_tried=1
        )
        assert tail <= bound <= 30 * tail


def test_energy_p_value_bounds_random_signs_of_any_carrier():
    """The claim of the payload's docstring, on the nastiest carriers: few large values, many 0."""
    random = np.random.default_rng(2)
    soft = np.stack(
        [
            np.where(random.random(1024) < 0.02, 1.0, 0.001),
            np.repeat([1.0, 0.0], 512),
            random.exponential(size=1024) ** 3,
        ]
    ).astype(np.float32)
    p_values = np.array(
        [
            [
                energy_p_value(r.energy, degrees=r.degrees, readings_tried=1)
                for r in unframe(soft, WatermarkKey(n.to_bytes(16, "big")))
            ]
            for n in range(300)
        ]
    )
    for level in (0.3, 0.1, 0.03, 0.01):
        share = (p_values <= level).mean(axis=0)
        assert (share <= level + 4 * math.sqrt(level / 300)).all()


def test_energy_p_value_at_its_limits():
    assert energy_p_value(0.0, degrees=CODED_BITS, readings_tried=1) == 1.0
    assert energy_p_value(5.0, degrees=0, readings_tried=1) == 1.0
    assert energy_p_value(1e6, degrees=CODED_BITS, readings_tried=10**9) < 1e-100
    one, ten = (energy_p_value(600.0, degrees=384, readings_tried=n) for n in (1, 10))
    assert ten == pytest.approx(10 * one)


def binomial_tail(least):
    return sum(math.comb(32, count) for count in range(least, 33)) / 2**32


@pytest.mark.parametrize("agreeing", [20, 24, 28, 30, 31, 32])
def test_match_p_value_of_hard_bits_lies_just_above_the_binomial_tail(agreeing):
    bits = np.random.default_rng(3).random(32) < 0.5
    soft = np.where(bits, 1.0, -1.0).astype(np.float32)
    soft[: 32 - agreeing] *= -1.0
    p_value = match_p_value(soft, bits, readings_tried=1)
    assert 0.999999 * binomial_tail(agreeing) <= p_value <= 6 * binomial_tail(agreeing)
    assert match_p_value(0.01 * soft, bits, readings_tried=1) == pytest.approx(p_value, rel=1e-5)


def test_match_p_value_trusts_loud_bits_more():
    bits = np.ones(32, dtype=np.bool_)
    loud, faint = np.ones(32, dtype=np.float32), np.ones(32, dtype=np.float32)
    loud[:4] = -1.0
    faint[:4] = -0.1
    assert match_p_value(loud, bits, readings_tried=1) > PRESENCE_P_VALUE
    assert match_p_value(faint, bits, readings_tried=1) < PRESENCE_P_VALUE


def test_match_p_value_holds_for_uneven_magnitudes():
    """No level is reached more often than it says, over 20,000 random keys."""
    random = np.random.default_rng(4)
    soft = (random.exponential(size=32) ** 2).astype(np.float32)
    keys = random.random((20_000, 32)) < 0.5
    p_values = np.array([match_p_value(soft, key, readings_tried=1) for key in keys])
    for level in (0.3, 0.1, 0.01, 0.001):
        assert (p_values <= level).mean() <= level + 4 * math.sqrt(level / 20_000)


def test_match_p_value_at_its_limits():
    bits = np.ones(32, dtype=np.bool_)
    assert match_p_value(np.zeros(32, dtype=np.float32), bits, readings_tried=1) == 1.0
    assert match_p_value(-np.ones(32, dtype=np.float32), bits, readings_tried=1) == 1.0
    ones = np.ones(32, dtype=np.float32)
    one, three = (match_p_value(ones, bits, readings_tried=n) for n in (1, 3))
    assert three == pytest.approx(3 * one)


def test_wilson_interval_matches_published_values():
    """Newcombe, Stat. Med. 17, 1998, table I: 81 of 263, and 0 of 20."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(20, 20)[1] == 1.0


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_interval_refuses_impossible_counts(successes, trials):
    with pytest.raises(InputError):
        wilson_interval(successes, trials)
