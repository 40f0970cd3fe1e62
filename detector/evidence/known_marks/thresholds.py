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

REPORT_P_VALUE = 1e-6
"""A mark is reported where at most one unmarked picture in a million, by the bound, answers so."""

LOOK_NULLS = (FittedNull(size=300, confidence=0.95, level=6.66, tail_rate=0.076, scale=2.6, shape=0.05, highest=15.6),) * 2
SEARCH_NULLS = (FittedNull(size=300, confidence=0.95, level=23.7, tail_rate=0.076, scale=2.0, shape=0.05, highest=27.9),) * 2


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
