import math

import numpy as np
import pytest

from provenance.errors import InputError
from provenance.watermark.payload import CODED_BITS, WatermarkKey, unframe
from provenance.watermark.statistics import (
    PRESENCE_P_VALUE,
    agreement_p_value,
    energy_p_value,
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


def test_agreement_p_value_is_the_binomial_tail():
    assert agreement_p_value(32, bits=32, readings_tried=1) == 2.0**-32
    assert agreement_p_value(0, bits=32, readings_tried=1) == 1.0
    assert agreement_p_value(31, bits=32, readings_tried=1) == pytest.approx(33 * 2.0**-32)
    assert agreement_p_value(29, bits=32, readings_tried=1) <= PRESENCE_P_VALUE
    assert agreement_p_value(28, bits=32, readings_tried=1) > PRESENCE_P_VALUE


@pytest.mark.parametrize("agreeing", [-1, 33])
def test_agreement_p_value_refuses_impossible_counts(agreeing):
    with pytest.raises(InputError):
        agreement_p_value(agreeing, bits=32, readings_tried=1)


def test_wilson_interval_matches_published_values():
    """Newcombe, Stat. Med. 17, 1998, table I: 81 of 263, and 0 of 20."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(20, 20)[1] == 1.0


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_interval_refuses_impossible_counts(successes, trials):
    with pytest.raises(InputError):
        wilson_interval(successes, trials)
