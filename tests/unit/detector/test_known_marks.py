"""Known messages, the matched filter, and what the sources say where they cannot see."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from detector.evidence.context import SourceContext
from detector.evidence.known_marks import matching, thresholds
from detector.evidence.known_marks.matching import Template, match_message, search
from detector.evidence.known_marks.source import build_search, build_source
from detector.evidence.known_marks.table import KNOWN_MARKS
from detector.policy import STANDARD, choose_action, decide
from detector.policy_file import load_policy
from provenance.imaging import encode_image, open_candidate
from provenance.manifest.trust import no_trust
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.testing.sources import raw_candidate
from provenance.types import (
    Assurance,
    Candidate,
    FilterAction,
    Finding,
    KnownMarkEvidence,
    MediaType,
    Origin,
    RasterImage,
    SourceClaim,
)

CONTEXT = SourceContext(trust=no_trust())
TEMPLATES = {mark.tool: Template(mark.bits) for mark in KNOWN_MARKS}
NULL_RUN = Path(__file__).parents[3] / "docs" / "benchmarks" / "known_watermarks_null.json"

Soft = npt.NDArray[np.float64]


def written(
    bits: tuple[bool, ...], rows: int, columns: int, *, start: int = 0, stride: int | None = None
) -> Soft:
    """Soft bits of a perfect mark."""
    step = columns if stride is None else stride
    index = start + step * np.arange(rows)[:, None] + np.arange(columns)
    soft = np.where(np.array(bits)[index % len(bits)], 1.0, -1.0)
    return soft - soft.mean()  # as `soften` answers them


def candidate(raster: RasterImage) -> Candidate:
    return open_candidate(encode_image(raster, MediaType.PNG).data, name="picture")


# -- table -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "length", "ones"),
    [
        ("Stable Diffusion 1", 136, 68),
        ("Stable Diffusion 1 inpainting", 224, 113),
        ("Stable Diffusion 2", 32, 13),
        ("Stable Diffusion XL", 48, 27),
        ("FLUX", 46, 28),
        ("InvokeAI", 64, 33),
        ("HumanSD", 56, 26),
        ("Cremage", 56, 28),
    ],
)
def test_messages_have_the_lengths_and_ones_of_their_sources(
    tool: str, length: int, ones: int
) -> None:
    (bits,) = (mark.bits for mark in KNOWN_MARKS if mark.tool == tool)
    assert (len(bits), sum(bits)) == (length, ones)


def test_literals_are_the_integers_of_their_sources() -> None:
    values = {
        mark.tool: int("".join(str(int(bit)) for bit in mark.bits), 2) for mark in KNOWN_MARKS
    }
    assert values["Stable Diffusion XL"] == 0xB3EC907BB19E
    assert values["FLUX"] == 0b001010101111111010000111100111001111010100101110


# -- filter ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", TEMPLATES)
def test_a_perfect_mark_fits_far_better_than_any_other_message(tool: str) -> None:
    soft = written(TEMPLATES[tool].bits, 64, 64)
    fits = {other: match_message(soft, template) for other, template in TEMPLATES.items()}
    best = fits.pop(tool).statistic
    assert best > 20.0
    # Two texts that begin alike share more than two others.
    assert max(match.statistic for match in fits.values()) < best / 3.0


@pytest.mark.parametrize("tool", TEMPLATES)
def test_a_complemented_mark_fits_as_well(tool: str) -> None:
    soft = written(TEMPLATES[tool].bits, 50, 70)
    straight, inverted = match_message(soft, TEMPLATES[tool]), match_message(-soft, TEMPLATES[tool])
    assert inverted.statistic == pytest.approx(straight.statistic)
    assert (straight.inverted, inverted.inverted) == (False, True)


@settings(max_examples=40, deadline=None)
@given(
    tool=st.sampled_from(sorted(TEMPLATES)),
    start=st.integers(0, 500),
    stride=st.integers(32, 300),
    rows=st.integers(32, 60),
    columns=st.integers(32, 60),
)
def test_a_search_finds_any_start_and_any_stride(
    tool: str, start: int, stride: int, rows: int, columns: int
) -> None:
    size = len(TEMPLATES[tool].bits)
    seen = np.arange(rows)[:, None] * stride + np.arange(columns)
    assume(np.unique(seen % size).size == size)
    noise = np.random.default_rng(start).normal(0.0, 1.0, (rows, columns))
    soft = written(TEMPLATES[tool].bits, rows, columns, start=start, stride=stride) + 0.5 * noise
    assert search(soft, TEMPLATES[tool]).statistic > 6.0


@pytest.mark.parametrize(("tool", "seed"), list(product(TEMPLATES, range(25))))
def test_columns_rows_and_tiles_do_not_fit(tool: str, seed: int) -> None:
    """Where a bit of the message is a column of blocks, a striped picture must not look marked."""
    random = np.random.default_rng(seed)
    columns = int(random.choice([32, 48, 64, 80, 96, 128]))
    tile = int(random.choice([1, 2, 4, 8, 16]))
    patterns = [
        np.broadcast_to(random.uniform(-1, 1, columns), (64, columns)),
        np.broadcast_to(random.uniform(-1, 1, (64, 1)), (64, columns)),
        np.tile(random.uniform(-1, 1, (tile, tile)), (64 // tile, columns // tile)),
    ]
    for pattern in patterns:
        assert match_message(pattern, TEMPLATES[tool]).statistic < 5.0


@pytest.mark.parametrize("tool", TEMPLATES)
def test_silence_fits_nothing(tool: str) -> None:
    soft = np.zeros((64, 64))
    assert match_message(soft, TEMPLATES[tool]).statistic == 0.0
    assert search(soft, TEMPLATES[tool]).statistic == 0.0


def test_soft_bits_lose_the_pictures_own_bias() -> None:
    assert np.abs(matching.soften(np.full((20, 30), 261.0))).max() < 1e-12
    assert matching.live_share(matching.soften(np.full((20, 30), 261.0))) == 0.0


# -- thresholds --------------------------------------------------------------------------------


def test_thresholds_are_those_of_the_published_run() -> None:
    run = json.loads(NULL_RUN.read_text())
    for depth, nulls in (("look", thresholds.LOOK_NULLS), ("search", thresholds.SEARCH_NULLS)):
        fits = [run[sort][depth]["fit"] for sort in ("photographs", "drawn")]
        for null, fit in zip(nulls, fits, strict=True):
            assert asdict(null) == pytest.approx(fit, rel=1e-3)


def test_a_search_asks_for_more_than_a_look() -> None:
    look, searched = thresholds.look_threshold(), thresholds.search_threshold()
    assert thresholds.look_p_value(look) == pytest.approx(thresholds.REPORT_P_VALUE)
    assert thresholds.search_p_value(searched) == pytest.approx(thresholds.REPORT_P_VALUE)
    assert thresholds.look_p_value(0.0) == thresholds.search_p_value(0.0) == 1.0
    assert thresholds.search_p_value(look) >= thresholds.look_p_value(look)


# -- where nothing can be seen -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_candidate", "words"),
    [
        (raw_candidate(b"\xff\xd8\xff", MediaType.JPEG), "do not decode"),
        (candidate(natural_picture(255, 255, seed=1)), "too small"),
        (candidate(natural_picture(4000, 20, seed=1)), "too small"),
        (candidate(flat_picture(512, 512, rgb=(200, 30, 30))), "grey or so plain"),
        (candidate(flat_picture(512, 512, rgb=(0, 0, 0))), "grey or so plain"),
    ],
)
def test_the_source_says_why_it_cannot_answer(given_candidate: Candidate, words: str) -> None:
    (item,) = build_source(CONTEXT).collect(given_candidate)
    assert isinstance(item, KnownMarkEvidence)
    assert item.finding is Finding.UNREADABLE
    assert words in item.reason


def test_a_grey_photograph_is_unreadable_not_unmarked() -> None:
    grey = natural_picture(512, 512, seed=2).pixels[..., :1].repeat(3, axis=2)
    (item,) = build_source(CONTEXT).collect(candidate(RasterImage(np.ascontiguousarray(grey))))
    assert item.finding is Finding.UNREADABLE


def test_a_search_leaves_undecodable_and_tiny_pictures_to_the_look() -> None:
    assert not build_search(CONTEXT).collect(raw_candidate(b"GIF89a", MediaType.GIF))
    assert not build_search(CONTEXT).collect(candidate(natural_picture(64, 64, seed=1)))


def test_an_unmarked_picture_has_none() -> None:
    given_candidate = candidate(natural_picture(320, 320, seed=4))
    for source in (build_source(CONTEXT), build_search(CONTEXT)):
        (item,) = source.collect(given_candidate)
        assert item.finding is Finding.ABSENT


# -- what follows ------------------------------------------------------------------------------

MARK = KnownMarkEvidence(Finding.PRESENT, "a known mark", "FLUX", SourceClaim.FULLY_AI)


def test_a_known_mark_is_a_hint_and_says_that_anyone_can_write_it() -> None:
    verdict = decide([MARK], STANDARD, {})
    assert (verdict.origin, verdict.assurance) == (Origin.MACHINE_MADE, Assurance.HINT)
    assert "anyone could copy" in verdict.reasons[0]
    assert "hint, not proof" in verdict.reasons[1]


@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("default", FilterAction.REVIEW),
        ("strict", FilterAction.DROP),
        ("lenient", FilterAction.KEEP),
    ],
)
def test_a_known_mark_alone_is_for_a_person_to_look_at(policy: str, action: FilterAction) -> None:
    assert choose_action(decide([MARK], STANDARD, {}), load_policy(policy))[0] is action


def test_a_mark_of_any_kind_of_picture_decides_nothing() -> None:
    verdict = decide([KnownMarkEvidence(Finding.PRESENT, "a mark", "TrustMark")], STANDARD, {})
    assert verdict.origin is Origin.UNKNOWN
