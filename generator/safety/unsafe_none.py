"""No check at all; warns when it is chosen, and stands in every record by its name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from generator.safety import merge_thresholds
from provenance.errors import UnsafeBackendWarning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.types import RasterImage

__all__ = ["UnsafeNoChecker", "load_checker"]


class UnsafeNoChecker:
    """Answers no scores, so that nothing is ever flagged."""

    @property
    def name(self) -> str:
        """``unsafe-none``."""
        return "unsafe-none"

    @property
    def version(self) -> str:
        """``1``: it has no weights."""
        return "1"

    @property
    def thresholds(self) -> Mapping[str, float]:
        """None."""
        return {}

    def score(self, image: RasterImage) -> Mapping[str, float]:  # noqa: ARG002
        """No concept, hence no score."""
        return {}


def load_checker(*, thresholds: Mapping[str, float] | None = None) -> UnsafeNoChecker:
    """Answers the checker that checks nothing, with an `UnsafeBackendWarning`.

    Raises:
        ConfigError: `thresholds` names a concept: whoever sets one expects a check.
    """
    merge_thresholds({}, thresholds, checker="unsafe-none")
    warnings.warn(
        "safety checker unsafe-none: pictures are delivered without any check of their content",
        UnsafeBackendWarning,
        stacklevel=2,
    )
    return UnsafeNoChecker()
