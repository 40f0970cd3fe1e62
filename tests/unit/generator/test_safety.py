import numpy as np
import pytest

from generator.safety import check_image, merge_thresholds
from generator.safety.stable_diffusion import (
    CONCEPT_THRESHOLD,
    SPECIAL_THRESHOLD,
    score_margins,
)
from generator.safety.unsafe_none import load_checker
from provenance.errors import ConfigError, InputError, UnsafeBackendWarning
from provenance.testing.twins_generation import LuminanceChecker
from provenance.types import RasterImage, SafetyPolicy


@pytest.fixture
def grey():
    return RasterImage(np.full((8, 8, 3), 128, dtype=np.uint8))


# -- composition -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "policy", "blocked"),
    [
        (0.4, SafetyPolicy.BLOCK, True),
        (0.4, SafetyPolicy.FLAG, False),
        (0.6, SafetyPolicy.BLOCK, False),
    ],
)
def test_report_blocks_when_the_policy_and_the_score_say_so(grey, threshold, policy, blocked):
    report = check_image(LuminanceChecker(threshold), grey, policy)
    assert report.blocked is blocked
    assert report.checker == "luminance"
    assert report.scores["bright"] == pytest.approx(128 / 255)


def test_score_at_its_threshold_is_flagged(grey):
    report = check_image(LuminanceChecker(128 / 255), grey, SafetyPolicy.BLOCK)
    assert report.flagged == ("bright",)


def test_score_that_is_no_number_is_an_error_and_never_passes(grey):
    class Broken(LuminanceChecker):
        def score(self, image):
            return {"bright": float("nan")}

    with pytest.raises(InputError, match="luminance answered a score that is no number"):
        check_image(Broken(), grey, SafetyPolicy.BLOCK)


def test_unsafe_none_warns_when_loaded_and_flags_nothing(grey):
    with pytest.warns(UnsafeBackendWarning, match="unsafe-none"):
        checker = load_checker()
    report = check_image(checker, grey, SafetyPolicy.BLOCK)
    assert report.checker == "unsafe-none"
    assert not report.scores
    assert not report.blocked


def test_unsafe_none_refuses_thresholds():
    with pytest.raises(ConfigError, match="unsafe-none scores no such concept"):
        load_checker(thresholds={"nsfw": 0.5})


def test_thresholds_are_laid_over_the_defaults():
    merged = merge_thresholds({"a": 1.0, "b": 2.0}, {"b": 3}, checker="c")
    assert merged == {"a": 1.0, "b": 3.0}


def test_threshold_of_an_unknown_concept_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'nfsw'.*known: nsfw"):
        merge_thresholds({"nsfw": 0.8}, {"nfsw": 0.5}, checker="c")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_threshold_that_is_not_finite_is_refused(value):
    with pytest.raises(ConfigError, match="finite"):
        merge_thresholds({"nsfw": 0.8}, {"nsfw": value}, checker="c")


# -- the rule of the Stable Diffusion checker --------------------------------------------------


def margins(special, concepts):
    return score_margins(
        special,
        concepts,
        special_thresholds=[0.2] * len(special),
        concept_thresholds=[0.2] * len(concepts),
    )


def test_margin_is_cosine_less_threshold_in_three_decimals():
    assert margins([0.1], [0.25, 0.1234]) == ([-0.1], [0.05, -0.077])


def test_special_care_hit_sharpens_everything_after_it():
    special, concepts = margins([0.1, 0.21, 0.195], [0.195])
    assert special == [-0.1, 0.01, 0.005]
    assert concepts == [0.005]


def test_special_care_at_its_threshold_is_no_hit():
    assert margins([0.2], [0.195]) == ([0.0], [-0.005])


@pytest.mark.parametrize(
    ("cosine", "flagged"), [(0.2004, False), (0.2006, True), (0.2, False), (0.1, False)]
)
def test_default_threshold_flags_what_the_rule_rounds_above_zero(cosine, flagged):
    _special, (margin,) = margins([], [cosine])
    assert (margin > 0) is flagged
    assert (margin >= CONCEPT_THRESHOLD) is flagged


def test_special_care_alone_stays_below_its_default_threshold():
    special, _concepts = score_margins(
        [1.0, 1.0], [], special_thresholds=[-1.0, -1.0], concept_thresholds=[]
    )
    assert max(special) < SPECIAL_THRESHOLD
