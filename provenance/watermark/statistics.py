"""How sure a reading is: p-values, thresholds, intervals.

Pure. Each p-value is an *upper bound* of the probability, over keys, that a picture that never met
the key reads so. Nothing here is fitted to pictures.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import InputError
from provenance.watermark.payload import TAG_BITS

if TYPE_CHECKING:
    from provenance.types import BitArray, Float32Array

__all__ = [
    "PRESENCE_P_VALUE",
    "energy_p_value",
    "match_p_value",
    "tag_p_value",
    "wilson_interval",
]

PRESENCE_P_VALUE = 1e-6
"""Below it a mark of the key is said to be there although no tag says so.

At most one false report in a million pictures, all tries included. Such a report never names a
record, so it may be given more easily than a tag. Two uses: a record mark that is too damaged to be
read, and a presence mark of 32 bits (all 32 right: 2.3e-10; 28 right, the wrong ones faint: about
6e-7). NOTE: the bound is over keys. For one fixed key and 32 bits the rate over *pictures* may be
several times higher, because so few flips cannot average away the bias of rivaGan's decoder (its
bits are 1 with frequencies between 0.14 and 0.71 on unmarked photographs).
"""

_TILTS = np.geomspace(0.01, 100.0, 161)
"""Where Chernoff's bound is evaluated: any positive value gives a valid bound, the best one counts;
neighbours differ by 6 %, which costs a fraction of a per cent of the exponent."""


def tag_p_value(readings_tried: int) -> float:
    """Bound for a tag that fits although the picture was never marked.

    Args:
        readings_tried: All readings of the picture that could have given a verified tag: keys
            times codecs times strengths.

    Returns:
        `readings_tried` times 2**-32, at most 1. Each decoded word is fixed before its tag is
        compared, and a truncated HMAC agrees with a given word by chance only (RFC 2104, 5).
    """
    return min(1.0, math.ldexp(readings_tried, -TAG_BITS))


def energy_p_value(energy: float, *, degrees: int, readings_tried: int) -> float:
    """Bound for the energy of a reading (`payload` module docstring).

    Args:
        energy: Sum of squared normalised sums; higher speaks for a mark.
        degrees: Number of sums.
        readings_tried: Readings of which this is the best (union bound).

    Returns:
        Chernoff's bound of the upper tail of chi-square, exp(-(d/2) (x - 1 - ln x)) with
        x = energy / d, times `readings_tried`; at most 1.

    Source: Laurent and Massart, Ann. Statist. 28(5), 2000, section 4.1 (the exponent before they
    simplify it).
    """
    if degrees <= 0 or energy <= degrees:
        return 1.0
    ratio = energy / degrees
    exponent = -0.5 * degrees * (ratio - 1.0 - math.log(ratio))
    return min(1.0, readings_tried * math.exp(exponent))


def match_p_value(soft: Float32Array, bits: BitArray, *, readings_tried: int) -> float:
    """Bound for a soft reading that agrees with keyed bits.

    Args:
        soft: (n,) soft carrier bits, positive: 1.
        bits: (n,) what the key put there.
        readings_tried: Readings of which this is the best (union bound).

    Returns:
        Chernoff's bound that a sum of the same magnitudes with fair random signs reaches as far:
        min over t of exp(-t s) prod cosh(t y_i), times `readings_tried`; at most 1. For hard bits
        it is a little above the binomial tail; where wrong bits are fainter than right ones, far
        below it.

    Source: Hoeffding, J. Am. Stat. Assoc. 58, 1963, section 4, without his final relaxation.
    """
    scale = float(np.abs(soft).max(initial=0.0))
    if scale == 0.0:
        return 1.0
    values = soft.astype(np.float64) / scale
    reached = float(np.where(bits, values, -values).sum())
    if reached <= 0.0:
        return 1.0
    tilted = _TILTS[:, None] * np.abs(values)
    log_cosh = tilted + np.log1p(np.exp(-2.0 * tilted)) - math.log(2.0)
    exponent = float((log_cosh.sum(axis=1) - _TILTS * reached).min())
    return min(1.0, readings_tried * math.exp(min(0.0, exponent)))


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a rate; honest for few trials and rates near 0 or 1.

    Raises:
        InputError: `trials` is not positive, or `successes` is outside 0..trials.

    Source: Wilson, J. Am. Stat. Assoc. 22, 1927; z = 1.96.
    """
    if trials <= 0 or not 0 <= successes <= trials:
        raise InputError(f"{successes} of {trials} is no rate")
    z = 1.959964
    rate = successes / trials
    scale = 1.0 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)
