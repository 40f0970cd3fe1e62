"""One tiny random-weights folder per model family, loaded and rendered as the real ones are."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from tiny_models import FAMILIES, build_model

from generator.pipelines.diffusers import load_pipeline
from provenance.errors import InputError
from provenance.testing.pipelines import PipelineTests
from provenance.types import GenerationRequest

FAMILY_CLASSES = {
    "sd1": "StableDiffusionPipeline",
    "sd2": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
    "zimage": "ZImagePipeline",
}
REQUEST = GenerationRequest(
    prompt="a red fox in snow", seed=3, steps=2, guidance=4.0, width_px=256, height_px=256
)


def _ignore(_report):
    pass


@pytest.fixture(scope="module")
def load_family(tiny_model_factory):
    @functools.cache
    def load(family):
        return load_pipeline(str(tiny_model_factory(family)), device="cpu")

    return load


class FamilyTests(PipelineTests):
    family = ""

    @pytest.fixture
    def pipeline(self, load_family):
        return load_family(self.family)

    def test_reference_names_folder_class_and_digests(self, pipeline):
        model = pipeline.model
        assert model.name == f"tiny-{self.family}"
        assert model.family == FAMILY_CLASSES[self.family]
        assert model.revision.startswith("sha256:")
        assert model.revision != f"sha256:{model.weights_sha256}"

    def test_picture_of_256_px_has_texture_for_marks(self, pipeline):
        pixels = pipeline.render(REQUEST, _ignore).pixels
        assert pixels.std(axis=(0, 1)).min() > 10
        assert np.isin(pixels, (0, 255)).mean() < 0.2

    def test_prompt_changes_the_picture(self, pipeline):
        one, other = (
            pipeline.render(replace(REQUEST, prompt=prompt, width_px=64, height_px=64), _ignore)
            for prompt in ("a red fox in snow", "seven blue boats")
        )
        assert not np.array_equal(one.pixels, other.pixels)


class TestStableDiffusion1(FamilyTests):
    family = "sd1"


class TestStableDiffusion2(FamilyTests):
    family = "sd2"


class TestStableDiffusionXL(FamilyTests):
    family = "sdxl"


class TestStableDiffusion3(FamilyTests):
    family = "sd3"


class TestFlux(FamilyTests):
    family = "flux"

    def test_negative_prompt_is_refused_because_it_would_do_nothing(self, pipeline):
        with pytest.raises(InputError, match="negative_prompt: tiny-flux"):
            pipeline.render(replace(REQUEST, negative_prompt="rain"), _ignore)


class TestZImage(FamilyTests):
    family = "zimage"


def test_every_family_has_its_class_here():
    assert set(FAMILY_CLASSES) == set(FAMILIES)


# -- what the pipeline must not do to pictures --------------------------------------------------


def test_safety_checker_is_taken_out_and_its_folder_told_when_the_model_has_one(
    tiny_model_factory,
):
    folder = tiny_model_factory("sd1")
    pipeline = load_pipeline(str(folder), device="cpu")
    assert pipeline.safety_checker_folder == folder
    assert pipeline._pipeline.safety_checker is None


def test_no_safety_checker_folder_is_told_when_the_model_has_none(tiny_model_factory):
    assert load_pipeline(str(tiny_model_factory("sd2"))).safety_checker_folder is None


def test_sdxl_watermarker_stays_off_when_the_folder_does_not_say(tiny_model_factory, tmp_path):
    folder = tmp_path / "sdxl"
    shutil.copytree(tiny_model_factory("sdxl"), folder)
    index = (folder / "model_index.json").read_text()
    for said in ("false", "null"):
        index = index.replace(f'"add_watermarker": {said}', '"add_watermarker": true')
    (folder / "model_index.json").write_text(index)
    assert load_pipeline(str(folder))._pipeline.watermark is None


# -- digests -----------------------------------------------------------------------------------


def test_weights_digest_is_what_sha256sum_says(tiny_model_factory):
    folder = tiny_model_factory("sd2")
    model = load_pipeline(str(folder)).model
    listing = subprocess.run(
        "LC_ALL=C ls */*.safetensors | xargs sha256sum",
        shell=True,
        cwd=folder,
        capture_output=True,
        check=True,
    )
    assert model.weights_sha256 == hashlib.sha256(listing.stdout).hexdigest()


def test_both_digests_change_when_weights_change(tmp_path):
    one = load_pipeline(str(build_model("sd2", tmp_path / "a" / "m"))).model
    same = load_pipeline(str(build_model("sd2", tmp_path / "b" / "m"))).model
    other = load_pipeline(str(build_model("sd2", tmp_path / "c" / "m", seed=1))).model
    assert one == same
    assert other.weights_sha256 != one.weights_sha256
    assert other.revision != one.revision


def test_only_the_revision_changes_when_a_configuration_changes(tiny_model_factory, tmp_path):
    folder = tmp_path / "tiny-sd2"
    shutil.copytree(tiny_model_factory("sd2"), folder)
    before = load_pipeline(str(folder)).model
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"beta_end": 0.012', '"beta_end": 0.013'))
    after = load_pipeline(str(folder)).model
    assert after.weights_sha256 == before.weights_sha256
    assert after.revision != before.revision


def test_another_safety_checker_changes_neither(tiny_model_factory, tmp_path):
    folder = tmp_path / "tiny-sd1"
    shutil.copytree(tiny_model_factory("sd1"), folder)
    weights = folder / "safety_checker" / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    one, other = (load_pipeline(str(f)).model for f in (tiny_model_factory("sd1"), folder))
    assert one == other


def test_licence_is_the_model_cards(tiny_model_factory):
    assert load_pipeline(str(tiny_model_factory("sd1"))).model.licence == "creativeml-openrail-m"
