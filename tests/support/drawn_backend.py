"""Back-ends by ``module:attribute`` that need no model: for tests of everything around one."""

from __future__ import annotations

import time

from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker
from provenance.types import RasterImage


def load_pipeline(model: str | None = None, **options: object) -> GradientPipeline:
    """A pipeline that draws a textured gradient."""
    del options
    return GradientPipeline(model or "gradient")


def load_strict_checker(**options: object) -> LuminanceChecker:
    """A checker that flags every picture."""
    del options
    return LuminanceChecker(threshold=0.0)


class SecondRefusingChecker(LuminanceChecker):
    """Lets the first picture pass and flags all that follow."""

    def __init__(self) -> None:
        super().__init__(threshold=0.999)
        self._calls = 0

    def score(self, image: RasterImage) -> dict[str, float]:
        """Scores 0 once, then 1."""
        self._calls += 1
        return {"bright": float(self._calls > 1)}


def load_second_refusing_checker(**options: object) -> SecondRefusingChecker:
    """A checker that flags every picture but the first."""
    del options
    return SecondRefusingChecker()


class SlowPipeline(GradientPipeline):
    """Takes a quarter of a second for each step, so that tests can act between two of them."""

    def render(self, request, on_step, *, resume=None):
        """Draws as `GradientPipeline` does, slowly."""

        def slow(report: object) -> None:
            time.sleep(0.25)
            on_step(report)

        return super().render(request, slow, resume=resume)


def load_slow_pipeline(model: str | None = None, **options: object) -> SlowPipeline:
    """A pipeline that draws slowly."""
    del options
    return SlowPipeline(model or "gradient")
