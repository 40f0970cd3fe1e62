"""Steps that are exported: previews are outputs, and checkpoints lead to the same picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from deliveries import make_home

from generator.cli_rendering import Bench
from generator.marking import LocalMarker
from generator.pipelines.checkpoints import find_checkpoint, read_checkpoint
from generator.service import Studio
from provenance.errors import ContentBlockedError, ReadBackError
from provenance.imaging import decode_image
from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker
from provenance.types import GenerationRequest

pytest.importorskip("safetensors", reason="needs the extra 'generate'")

REQUEST = GenerationRequest(prompt="a SECRET cat", seed=7, steps=2, width_px=256, height_px=256)


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home")


def _bench(service, export=None, resume=None, batch_size=1) -> Bench:
    return Bench(SimpleNamespace(service=service), batch_size, export, resume)


def test_previews_are_marked_registered_and_linked_to_their_final(home, tmp_path):
    rows: list[dict[str, object]] = []
    _bench(home.service, tmp_path / "steps").render_all([REQUEST], [tmp_path / "a.png"], rows)
    final, *previews = rows
    assert [row["preview_step"] for row in previews] == [1, 2]
    for row in previews:
        assert row["preview_of"] == final["record_id"]
        record = home.service.store.get(row["record_id"])
        assert record.parameters["preview_of"] == final["record_id"]
        assert record.watermark is not None
        assert str(final["record_id"]).encode() in record.manifest_store
        assert home.service.store.find_by_file_hash(row["sha256"]).record_id == row["record_id"]
        assert Path(row["file"]).name == f"a-step-{row['preview_step']:04d}.png"
    assert "preview_of" not in home.service.store.get(final["record_id"]).parameters


def test_going_on_from_an_exported_checkpoint_gives_the_same_pixels(home, tmp_path):
    rows: list[dict[str, object]] = []
    _bench(home.service, tmp_path / "steps").render_all([REQUEST], [tmp_path / "a.png"], rows)
    kept = read_checkpoint(find_checkpoint(tmp_path / "steps", 1))
    rendered = home.service.render(kept.request, lambda _report: None, resume=kept)
    whole = home.service.render(REQUEST, lambda _report: None)
    np.testing.assert_array_equal(rendered.raster.pixels, whole.raster.pixels)
    home.service.discard(whole)
    resumed = home.service.finish(rendered)
    for name, value in (("resumed_from", rows[0]["record_id"]), ("resumed_step", 1)):
        assert resumed.record.parameters[name] == value
        assert name.encode() in resumed.record.manifest_store
    assert str(rows[0]["record_id"]).encode() in resumed.record.manifest_store
    assert "resumed_step" not in whole.says


def test_a_blocked_preview_is_withheld_and_its_refusal_recorded(home, tmp_path):
    class PreviewBlocking(LuminanceChecker):
        """Flags the first picture that it sees."""

        seen = 0

        def score(self, image):
            self.seen += 1
            return {"bright": 2.0 if self.seen == 1 else 0.0}

    studio = Studio(GradientPipeline(), PreviewBlocking())
    service = replace(home.service, open_studio=lambda _name: studio)
    rows: list[dict[str, object]] = []
    _bench(service, tmp_path / "steps").render_all([REQUEST], [tmp_path / "a.png"], rows)
    assert not (tmp_path / "steps" / "a-step-0001.png").exists()
    assert (tmp_path / "steps" / "a-step-0002.png").exists()
    assert "step 1 withheld" in str(rows[-1]["withheld"])


def test_a_preview_that_cannot_carry_the_mark_costs_nothing_else(home, tmp_path):
    marker = LocalMarker(home.service.marks, home.service.clock, "test 1")

    def mark(rendered):
        if rendered.preview is not None and rendered.preview.step == 1:
            raise ReadBackError("the mark could not be read back")
        return marker(rendered)

    service = replace(home.service, marker=mark)
    rows: list[dict[str, object]] = []
    _bench(service, tmp_path / "steps").render_all([REQUEST], [tmp_path / "a.png"], rows)
    assert (tmp_path / "a.png").exists()
    assert [path.name for path in sorted((tmp_path / "steps").glob("*.png"))] == ["a-step-0002.png"]
    assert "step 1 withheld: the mark" in str(rows[-1]["withheld"])


def test_a_shorter_render_leaves_no_later_checkpoint_of_an_earlier_one(home, tmp_path):
    for steps in (3, 2):
        request = replace(REQUEST, steps=steps, seed=steps)
        _bench(home.service, tmp_path / "steps").render_all([request], [tmp_path / "a.png"], [])
    assert read_checkpoint(find_checkpoint(tmp_path / "steps", None)).request.seed == 2
    # Going on from a step keeps what lies before it.
    kept = read_checkpoint(find_checkpoint(tmp_path / "steps", 1))
    _bench(home.service, tmp_path / "steps", kept).render_all(
        [kept.request], [tmp_path / "a.png"], []
    )
    assert len(list((tmp_path / "steps").glob("*.safetensors"))) == 2


def test_a_batch_delivers_all_but_the_blocked_one(home, tmp_path):
    class SecondBlocking(LuminanceChecker):
        """Flags the second picture that it sees."""

        seen = 0

        def score(self, image):
            self.seen += 1
            return {"bright": 2.0 if self.seen == 2 else 0.0}

    pipeline = GradientPipeline()
    pipeline.device = "cuda"
    studio = Studio(pipeline, SecondBlocking())
    service = replace(home.service, open_studio=lambda _name: studio)
    wanted = [replace(REQUEST, seed=seed) for seed in (1, 2, 3)]
    paths = [tmp_path / f"{number}.png" for number in (1, 2, 3)]
    rows: list[dict[str, object]] = []
    with pytest.raises(ContentBlockedError):
        _bench(service, batch_size=4).render_all(wanted, paths, rows)
    assert [path.exists() for path in paths] == [True, False, True]
    assert [bool(row.get("refusal_id")) for row in rows] == [False, True, False]
    assert decode_image(paths[0].read_bytes()).width_px == 256
    assert rows[0]["seed"] == 1
