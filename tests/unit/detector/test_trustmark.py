"""The optional TrustMark source: what it says without its weights, and how it judges a word."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest

from detector.evidence.context import SourceContext
from detector.evidence.trustmark import (
    MODELS,
    build_source,
    judge_word,
    missing_parts,
    word_p_value,
)
from provenance.manifest.trust import no_trust
from provenance.testing.sources import picture_candidate, raw_candidate
from provenance.types import Finding, MediaType, SourceFailure

needs_package = pytest.mark.skipif(
    find_spec("trustmark") is None, reason="the package trustmark is not installed"
)


@pytest.mark.skipif(find_spec("trustmark") is not None, reason="the package is installed")
def test_it_says_that_the_package_is_missing() -> None:
    (item,) = build_source(SourceContext(no_trust())).collect(picture_candidate(side_px=256))
    assert isinstance(item, SourceFailure)
    assert item.reason == "The package trustmark is not installed."


@pytest.mark.parametrize("candidate", [raw_candidate(b"", MediaType.PNG), picture_candidate()])
def test_undecodable_and_tiny_pictures_are_unreadable(candidate: object) -> None:
    (item,) = build_source(SourceContext(no_trust())).collect(candidate)  # type: ignore[arg-type]
    assert item.finding is Finding.UNREADABLE


def test_a_word_is_worth_the_bits_that_were_right() -> None:
    assert word_p_value(0, 1) == pytest.approx(4 * 2.0**-35)
    assert word_p_value(2, 1) == pytest.approx(4 * (1 + 96 + math.comb(96, 2)) * 2.0**-35)
    assert word_p_value(2, 1) < 1e-6 < word_p_value(3, 1)
    # What the package itself takes for a mark: one word in five hundred, and one in four.
    assert 0.005 < word_p_value(5, 1) < 0.01
    assert word_p_value(3, 3) > 0.25


@needs_package
@pytest.mark.parametrize(("schema", "payload_bits"), [(0, 40), (1, 61), (2, 68), (3, 75)])
def test_a_written_word_is_recognised_and_a_random_one_is_not(
    schema: int, payload_bits: int
) -> None:
    from trustmark.datalayer import DataLayer

    random = np.random.default_rng(schema)
    layer = DataLayer(100, verbose=False, encoding_mode=schema)
    payload = "".join(random.choice(["0", "1"], payload_bits))
    word = np.asarray(layer.encode_binary([payload])[0], dtype=bool)
    assert judge_word(word) == pytest.approx(word_p_value(0, schema))
    word[7] = not word[7]
    assert judge_word(word) == pytest.approx(word_p_value(1, schema))
    strangers = [judge_word(random.random(100) < 0.5) for _ in range(200)]
    assert min(strangers) > 1e-6


@needs_package
def test_an_unmarked_picture_carries_no_trustmark() -> None:
    ready = [model for model in MODELS if not missing_parts(model)]
    if not ready:
        pytest.skip(missing_parts(MODELS[0]))
    (item,) = build_source(SourceContext(no_trust())).collect(picture_candidate(side_px=512))
    assert item.finding is Finding.ABSENT
