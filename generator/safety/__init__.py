"""Safety checkers score a rendered picture (W4); the policy, not the checker, decides.

Scores are kept and nothing is painted black: a blocked picture is answered with reasons.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from provenance.errors import ConfigError
from provenance.types import SafetyReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.interfaces import SafetyChecker
    from provenance.types import RasterImage, SafetyPolicy

__all__ = ["check_image", "merge_thresholds"]


def check_image(checker: SafetyChecker, image: RasterImage, policy: SafetyPolicy) -> SafetyReport:
    """Scores `image` and sets the scores beside thresholds and policy.

    Args:
        checker: Measures.
        image: As rendered, before any mark.
        policy: What the operator wants done with flagged pictures.

    Returns:
        The report; `SafetyReport.blocked` is the decision.

    Raises:
        BackendUnavailableError: The checker's weights or library are missing.
        InputError: The checker answered a score that is no number, or without a threshold.
    """
    return SafetyReport(
        checker=checker.name,
        version=checker.version,
        scores=checker.score(image),
        thresholds=checker.thresholds,
        policy=policy,
    )


def merge_thresholds(
    defaults: Mapping[str, float], chosen: Mapping[str, float] | None, *, checker: str
) -> dict[str, float]:
    """Lays the operator's thresholds over a checker's defaults.

    Raises:
        ConfigError: A concept that the checker doesn't score, which would otherwise be a
            safeguard that silently does nothing; or a threshold that is no number.
    """
    merged = dict(defaults)
    for concept, value in (chosen or {}).items():
        if concept not in defaults:
            known = ", ".join(defaults) or "none"
            raise ConfigError(
                f"threshold for {concept!r}: {checker} scores no such concept (known: {known})"
            )
        if not math.isfinite(value):
            raise ConfigError(f"threshold for {concept!r} must be a finite number, not {value}")
        merged[concept] = float(value)
    return merged
