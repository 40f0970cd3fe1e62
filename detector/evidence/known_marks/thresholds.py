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
    FittedNull(
        size=1200,
        confidence=0.95,
        level=6.462625,
        tail_rate=0.061617,
        scale=1.720177,
        shape=0.008913,
        highest=13.431227,
    ),
    FittedNull(
        size=720,
        confidence=0.95,
        level=6.189646,
        tail_rate=0.065496,
        scale=2.697404,
        shape=0.054113,
        highest=15.639652,
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
"""Photographs, then drawn pictures."""


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
