"""From how well a known mark fits to how rarely an unmarked picture fits so well. Pure.

Measured, because bits of unmarked pictures are not fair coins: photographs and drawn pictures have
a null each, and the more careful answer counts. Nulls are of the statistic's square, whose tail is
about exponential. Fitted by ``python -m benchmarks.known_watermarks_null``;
``docs/benchmarks/known_watermarks_null.json`` holds the run.
"""

from __future__ import annotations

import math
from functools import cache

from provenance.watermark.nulls import FittedNull

__all__ = [
    "LOOK_NULLS",
    "REPORT_P_VALUE",
    "SEARCH_NULLS",
    "look_p_value",
    "look_threshold",
    "search_p_value",
    "search_threshold",
]

REPORT_P_VALUE = 1e-4
"""A mark is reported where by the bound at most one unmarked picture in ten thousand answers so.

The bound is careful: it takes a tail as heavy as a few hundred pictures leave possible, where the
statistic itself is about normal. A mark without a key is a hint at most, for a person to look at.
"""

LOOK_NULLS = (
    # photographs, then drawn pictures
    FittedNull(
        size=288,
        confidence=0.95,
        level=6.5025,
        tail_rate=0.074952,
        scale=2.258925,
        shape=0.115223,
        highest=10.9561,
    ),
    FittedNull(
        size=284,
        confidence=0.95,
        level=6.66128,
        tail_rate=0.075993,
        scale=3.478972,
        shape=0.18273,
        highest=15.639971,
    ),
)
SEARCH_NULLS = (
    FittedNull(
        size=288,
        confidence=0.95,
        level=24.3049,
        tail_rate=0.074952,
        scale=3.151098,
        shape=0.156729,
        highest=30.8025,
    ),
    FittedNull(
        size=284,
        confidence=0.95,
        level=23.741783,
        tail_rate=0.075993,
        scale=2.030085,
        shape=0.253124,
        highest=27.947313,
    ),
)


def look_p_value(statistic: float) -> float:
    """Bound for a picture as it is; 1 for what is common.

    Args:
        statistic: Best of all marks and paths; higher speaks for a mark.
    """
    return max(null.p_value(statistic**2) for null in LOOK_NULLS)


def search_p_value(statistic: float) -> float:
    """Bound for the best of a whole search; 1 for what is common."""
    return max(null.p_value(statistic**2) for null in SEARCH_NULLS)


@cache
def look_threshold() -> float:
    """Statistic from which a picture as it is counts as marked."""
    return math.sqrt(max(null.threshold(REPORT_P_VALUE) for null in LOOK_NULLS))


@cache
def search_threshold() -> float:
    """Statistic from which a searched picture counts as marked."""
    return math.sqrt(max(null.threshold(REPORT_P_VALUE) for null in SEARCH_NULLS))
