"""Thresholds from pictures that carry no mark: a fitted null with a confidence bound.

Where a statistic has an exact bound (`statistics`), that bound decides. Some have none: the bits of
other people's marks are not fair coins, and what a filter shows on unmarked pictures can only be
measured. Within the sample, the share that reaches a value is bounded by Clopper and Pearson's
limit. Beyond it, the excess over a high level is taken to be a generalised Pareto variable, its
scale at an upper confidence limit, its shape never lighter than exponential. What is answered is
always the larger, more careful one.

For tails that are truly heavy the shape itself is uncertain, and the bound is a good guess rather
than a guarantee; more pictures make it one.

Pure. Samples must be independent: one number for each picture, the worst of all that was tried on
it.

Sources: Clopper and Pearson, Biometrika 26, 1934; Pickands, Ann. Statist. 3(1), 1975; Hosking and
Wallis, "Parameter and quantile estimation for the generalized Pareto distribution", Technometrics
29(3), 1987.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from provenance.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["LEAST_SAMPLES", "FittedNull", "fit_null", "rate_limit"]

LEAST_SAMPLES = 200
"""Fewer unmarked pictures say nothing of a tail."""

_TAIL_SHARE = 0.05
"""Share of the sample taken for its tail, 10 values at least."""


@dataclass(frozen=True, slots=True)
class FittedNull:
    """What a statistic reaches on pictures without the mark.

    Attributes:
        size: Pictures measured.
        confidence: Of every bound, 0..1.
        level: Where the fitted tail begins.
        tail_rate: Upper limit of the share beyond the level.
        scale: Upper limit of the mean excess over the level, in the statistic's unit.
        shape: Pareto shape, 0 (exponential) or heavier.
        highest: Highest value measured.
    """

    size: int
    confidence: float
    level: float
    tail_rate: float
    scale: float
    shape: float
    highest: float

    def p_value(self, statistic: float) -> float:
        """Upper bound of the share of unmarked pictures that reach a value at or above the level.

        Below the level the bound is 1: nothing is reported there.
        """
        if statistic < self.level:
            return 1.0
        excess = (statistic - self.level) / self.scale
        if self.shape == 0.0:
            return self.tail_rate * math.exp(-excess)
        return float(self.tail_rate * (1.0 + self.shape * excess) ** (-1.0 / self.shape))

    def threshold(self, p_value: float) -> float:
        """The value whose `p_value` is as given, in 0..1.

        Raises:
            InputError: `p_value` is not within 0..1.
        """
        if not 0.0 < p_value <= 1.0:
            raise InputError(f"a p-value lies above 0 and at most at 1, not at {p_value}")
        if p_value >= self.tail_rate:
            return self.level
        ratio = math.log(self.tail_rate / p_value)
        if self.shape == 0.0:
            return self.level + self.scale * ratio
        return self.level + self.scale * math.expm1(self.shape * ratio) / self.shape


def fit_null(values: npt.ArrayLike, *, confidence: float = 0.95) -> FittedNull:
    """Fits the upper tail of a statistic measured on unmarked pictures.

    Args:
        values: (n,) real, one for each picture; higher speaks for a mark.
        confidence: Of the bounds, above 0.5 and below 1.

    Raises:
        InputError: There are fewer than `LEAST_SAMPLES` values, or some are not finite.
    """
    sample = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if sample.size < LEAST_SAMPLES or not np.isfinite(sample).all():
        raise InputError(
            f"a null needs at least {LEAST_SAMPLES} finite values, one for each unmarked picture; "
            f"these are {sample.size}"
        )
    count = max(10, round(_TAIL_SHARE * sample.size))
    level = float(sample[-count - 1])
    excess = sample[-count:] - level
    mean = max(float(excess.mean()), 1e-12)
    # The sum of exponential excesses is a gamma variable; its lower quantile bounds the scale.
    scale = mean * count / float(special.gammaincinv(count, 1.0 - confidence))
    return FittedNull(
        size=int(sample.size),
        confidence=confidence,
        level=level,
        tail_rate=rate_limit(count, int(sample.size), confidence=confidence),
        scale=scale,
        shape=_shape(excess, mean),
        highest=float(sample[-1]),
    )


def rate_limit(hits: int, trials: int, *, confidence: float = 0.95) -> float:
    """Upper confidence limit of a rate of which ``hits`` of ``trials`` were seen (one-sided).

    With no hit in n trials it is about 3 / n at 95 %.
    """
    if hits >= trials:
        return 1.0
    return float(special.betaincinv(hits + 1, trials - hits, confidence))


def _shape(excess: npt.NDArray[np.float64], mean: float) -> float:
    """Shape by probability-weighted moments; lighter tails than exponential count as exponential.

    A tail that seems light in a small sample may still be an exponential one.
    """
    count = excess.size
    ranks = (np.arange(1, count + 1) - 0.35) / count
    weighted = float((excess * (1.0 - ranks)).mean())
    if mean <= 2.0 * weighted:  # beyond shape 1 there is no mean: as heavy as it gets
        return 0.9
    return float(np.clip(2.0 - mean / (mean - 2.0 * weighted), 0.0, 0.9))
