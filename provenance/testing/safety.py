"""Conformance suite of the safety checker seam: subclass it, give a fixture, run it under pytest.

Example (load once for the module, since the fixture is asked for by each test)::

    @pytest.fixture(scope="module")
    def loaded():
        return load_my_checker()

    class TestMyChecker(SafetyCheckerTests):
        @pytest.fixture
        def checker(self, loaded):
            return loaded
"""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from provenance.interfaces import SafetyChecker
from provenance.types import RasterImage, SafetyPolicy, SafetyReport

__all__ = ["SafetyCheckerTests"]

_SHAPES = ((1, 1), (8, 300), (64, 64), (257, 131))


def _picture(height_px: int, width_px: int) -> RasterImage:
    random = np.random.default_rng(height_px * 1000 + width_px)
    return RasterImage(random.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8))


class SafetyCheckerTests:
    """What every `SafetyChecker` must do. Override `checker`."""

    @pytest.fixture
    def checker(self) -> SafetyChecker:
        """The backend under test, loaded."""
        raise NotImplementedError("override the fixture 'checker'")

    def test_satisfies_the_protocol(self, checker: SafetyChecker) -> None:
        assert isinstance(checker, SafetyChecker)

    def test_name_is_one_word_for_records(self, checker: SafetyChecker) -> None:
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", checker.name)

    def test_version_is_stated_and_stays_the_same(self, checker: SafetyChecker) -> None:
        assert checker.version
        assert checker.version == checker.version

    @pytest.mark.parametrize(("height_px", "width_px"), _SHAPES)
    def test_every_score_has_a_threshold_and_is_a_number(
        self, checker: SafetyChecker, height_px: int, width_px: int
    ) -> None:
        scores = checker.score(_picture(height_px, width_px))
        assert set(scores) == set(checker.thresholds)
        assert all(math.isfinite(score) for score in scores.values())
        assert all(math.isfinite(limit) for limit in checker.thresholds.values())

    def test_same_picture_gives_the_same_scores(self, checker: SafetyChecker) -> None:
        first, again = (dict(checker.score(_picture(96, 80))) for _ in range(2))
        assert first == again

    def test_picture_is_left_as_it_is(self, checker: SafetyChecker) -> None:
        picture = _picture(96, 80)
        before = picture.pixels.copy()
        checker.score(picture)
        assert np.array_equal(picture.pixels, before)

    def test_black_and_white_are_scored(self, checker: SafetyChecker) -> None:
        for level in (0, 255):
            flat = RasterImage(np.full((64, 64, 3), level, dtype=np.uint8))
            assert set(checker.score(flat)) == set(checker.thresholds)

    def test_scores_make_a_report(self, checker: SafetyChecker) -> None:
        report = SafetyReport(
            checker=checker.name,
            version=checker.version,
            scores=checker.score(_picture(64, 64)),
            thresholds=checker.thresholds,
            policy=SafetyPolicy.FLAG,
        )
        assert not report.blocked

    def test_thresholds_cannot_be_changed_from_outside(self, checker: SafetyChecker) -> None:
        before = dict(checker.thresholds)
        taken = checker.thresholds
        if isinstance(taken, dict):
            taken["sneaked-in"] = 0.0
        assert dict(checker.thresholds) == before
