"""How sure a reading is: p-values, thresholds, intervals.

Pure. Each p-value is an *upper bound* of the probability, over keys, that a picture that never met
the key reads so. Nothing here is fitted to pictures.
"""

from __future__ import annotations

import math

from provenance.errors import InputError
from provenance.watermark.payload import TAG_BITS

__all__ = [
    "ENERGY_P_VALUE",
    "PRESENCE_P_VALUE",
    "agreement_p_value",
    "energy_p_value",
    "tag_p_value",
    "wilson_interval",
]

ENERGY_P_VALUE = 1e-6
"""Below it, an unreadable reading is reported as "a mark of this key seems to be there".

One false report in a million pictures, all tries included. It never names a record, so it may be
more easily given than a tag; and it cannot help much further down: where the energy reaches 1e-9
the code mostly decodes.
"""

PRESENCE_P_VALUE = 2e-6
"""Below it, a 32-bit presence mark counts as found: 29 or more of 32 bits in one reading (1.3e-6).

31 of 32 (7.7e-9) would miss marks that lost two bits to the codec's own errors; 28 (9.7e-6) would
call ten strangers' pictures in a million ours. NOTE: this bound is over keys. For one fixed key the
rate over *pictures* may be several times higher, because 32 flips cannot average away the bias of
rivaGan's decoder (its bits are 1 with frequencies between 0.14 and 0.71 on unmarked photographs).
A presence mark is weak evidence, and never names a record.
"""


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


def agreement_p_value(agreeing: int, *, bits: int, readings_tried: int) -> float:
    """Probability that fair keyed bits agree at least so often with a fixed reading.

    Args:
        agreeing: Carrier bits that equal the key's, 0..bits.
        bits: Carrier bits in all.
        readings_tried: Readings of which this is the best (union bound).

    Returns:
        Upper binomial tail times `readings_tried`, at most 1.

    Raises:
        InputError: `agreeing` is outside 0..bits.
    """
    if not 0 <= agreeing <= bits:
        raise InputError(f"{agreeing} agreeing bits of {bits} is no count")
    ways = sum(math.comb(bits, count) for count in range(agreeing, bits + 1))
    return min(1.0, math.ldexp(readings_tried * ways, -bits))


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
