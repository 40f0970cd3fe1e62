import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.watermark import forging, quality
from benchmarks.watermark.html import write_html
from benchmarks.watermark.null import summarise as summarise_null
from benchmarks.watermark.null import upper_bound
from benchmarks.watermark.report import as_markdown, summarise
from provenance.types import RasterImage

MACHINE = {"date": "2026-01-01", "cpu": "<some>", "cores": 2, "python": "3.11"}


def piece(codec: str, number: int, *, exact: bool) -> dict[str, object]:
    outcome = [exact, True, False, exact, 12.0]
    return {
        "codec": codec,
        "picture": f"photos/{number}",
        "source": "photos",
        "marked": True,
        "psnr_db": 44.0 + number,
        "ssim": 0.99 - number / 1000,
        "embed_ms": 50.0,
        "direct_ms": 8.0,
        "absent_ms": 500.0,
        "outcomes": {"none": outcome, "JPEG 30": outcome},
    }


@pytest.fixture
def result() -> dict[str, object]:
    pieces = [piece("lattice", n, exact=n != 0) for n in range(4)]
    lost = {"codec": "dwtDct", "picture": "photos/0", "source": "photos", "marked": False}
    pieces += [piece("dwtDct", 1, exact=False), {**lost, "outcomes": {}}]
    section = {"title": "Photographs", **summarise(pieces)}
    return {
        "machine": MACHINE,
        "command": "python -m benchmarks.watermark",
        "absent_peers": ["TrustMark"],
        "sections": {"512": section},
    }


def test_summary_counts_unmarked_pictures_as_lost(result):
    codecs = result["sections"]["512"]["codecs"]
    assert codecs["lattice"]["attacks"]["none"]["exact"] == 3
    assert codecs["lattice"]["attacks"]["none"]["lost"] == ["photos/0"]
    assert codecs["dwtDct"]["attacks"]["none"]["of"] == 2
    assert [w["picture"] for w in codecs["lattice"]["worst"]] == [f"photos/{n}" for n in (3, 2, 1)]
    json.dumps(result)


def test_markdown_states_counts_intervals_and_targets(result):
    text = as_markdown(result)
    assert "| none | 3/4 (30–95), p 4 | 0/2 (0–66), p 1 |" in text
    assert "| **all of them, target 93%** | 75.0% | 0.0% |" in text
    assert "Not installed, so not measured: TrustMark." in text


def test_page_stands_alone_and_escapes(result, tmp_path: Path):
    write_html(result, {}, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<svg" in page
    assert "&lt;some&gt;" in page
    assert "<script" not in page
    assert "http" not in page


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise():
    draw = np.random.default_rng(1)
    image = RasterImage(draw.integers(60, 190, (64, 64, 3), dtype=np.uint8))
    noisy = RasterImage((image.pixels + draw.integers(-20, 20, (64, 64, 3))).astype(np.uint8))
    assert quality.ssim(image, image) == pytest.approx(1.0)
    assert 0.5 < quality.ssim(noisy, image) < 0.99
    assert quality.psnr_db(image, image) == 100.0


def test_bound_without_hits_is_the_rule_of_three():
    assert upper_bound(0, 20_000) == pytest.approx(3 / 20_000, rel=0.01)
    assert upper_bound(1, 20_000) > upper_bound(0, 20_000)


def test_null_summary_counts_trials_and_leaves_unreadable_pictures_out():
    read = {"kind": "photographs", "ids": [], "present": False, "looked": True, "p_value": 0.2}
    flat = {**read, "looked": False, "p_value": None, "words": 0.0, "statistics": [0.0, 0.0]}
    summary = summarise_null([{**read, "words": 6.0, "statistics": [3.9, 4.1]}, flat])
    assert summary["all"]["trials"] == 2
    assert summary["all"]["unreadable"] == 1
    assert summary["all"]["statistic"]["highest"] == 4.1


def test_alignment_undoes_a_circular_shift():
    tile = np.random.default_rng(2).normal(size=(128, 128)).astype(np.float32)
    moved = np.roll(tile, (17, -40), axis=(0, 1))
    assert np.allclose(forging.aligned(moved, tile), tile, atol=1e-4)
