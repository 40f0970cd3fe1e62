"""Back-ends by ``module:attribute`` that need no model: for tests of everything around one."""

from __future__ import annotations

from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker


def load_pipeline(model: str | None = None, **options: object) -> GradientPipeline:
    """A pipeline that draws a textured gradient."""
    del options
    return GradientPipeline(model or "gradient")


def load_strict_checker(**options: object) -> LuminanceChecker:
    """A checker that flags every picture."""
    del options
    return LuminanceChecker(threshold=0.0)
