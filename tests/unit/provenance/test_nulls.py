"""Thresholds fitted to unmarked pictures err on the careful side."""

import math

import numpy as np
import pytest

from provenance.errors import InputError
from provenance.watermark.nulls import LEAST_SAMPLES, fit_null, rate_limit


def test_no_hit_in_n_trials_is_bounded_by_three_over_n():
    assert rate_limit(0, 20_000) == pytest.approx(3 / 20_000, rel=0.01)
    assert rate_limit(5, 5) == 1.0
    # At the limit, as few hits as were seen come up in one sample of twenty.
    rate = rate_limit(3, 50)
    fewer = sum(math.comb(50, k) * rate**k * (1 - rate) ** (50 - k) for k in range(4))
    assert fewer == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize("tail", ["exponential", "gaussian", "heavy"])
def test_a_threshold_holds_what_it_promises(tail):
    """Of many samples, at most one in twenty may set its threshold too low."""
    rng = np.random.default_rng(7)
    draw = {
        "exponential": lambda: rng.exponential(size=2_000),
        "gaussian": lambda: rng.normal(size=2_000),
        "heavy": lambda: rng.pareto(8, size=2_000),
    }[tail]
    truth = {
        "exponential": lambda x: np.exp(-x),
        "gaussian": lambda x: 0.5 * np.exp(-(x**2) / 2) / max(x, 1),  # a bound is enough here
        "heavy": lambda x: (1 + x) ** -8,
    }[tail]
    runs = 200
    broken = sum(truth(fit_null(draw()).threshold(1e-4)) > 1e-4 for _ in range(runs))
    assert broken <= runs * (0.30 if tail == "heavy" else 0.05)


def test_p_value_and_threshold_undo_each_other():
    null = fit_null(np.random.default_rng(3).exponential(size=1_000))
    for p_value in (1e-2, 1e-4, 1e-9):
        assert null.p_value(null.threshold(p_value)) == pytest.approx(p_value, rel=1e-6)
    assert null.p_value(null.level - 0.1) == 1.0
    assert null.threshold(1.0) == null.level


def test_a_null_of_few_or_unusable_values_is_refused():
    with pytest.raises(InputError, match=f"at least {LEAST_SAMPLES}"):
        fit_null(np.zeros(LEAST_SAMPLES - 1))
    with pytest.raises(InputError, match="finite"):
        fit_null(np.full(LEAST_SAMPLES, np.nan))
    with pytest.raises(InputError, match="p-value"):
        fit_null(np.arange(1_000.0)).threshold(0.0)


def test_equal_values_are_no_reason_to_fail():
    null = fit_null(np.full(500, 3.0))
    assert null.threshold(1e-6) >= 3.0
    assert null.p_value(4.0) < 1e-6
