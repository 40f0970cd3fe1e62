"""A render that goes on from a checkpoint file gives the very same pixels, whatever it does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from generator.pipelines.checkpoints import read_checkpoint, write_checkpoint
from generator.pipelines.diffusers import load_pipeline
from provenance.errors import InputError
from provenance.imaging import encode_image
from provenance.types import GenerationRequest, InputImage, MediaType, RasterImage

REQUEST = GenerationRequest(
    prompt="a red house on a green hill", seed=11, steps=6, width_px=64, height_px=64
)


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline(device="cpu")


def _given() -> InputImage:
    raster = RasterImage(np.random.default_rng(4).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return InputImage(encode_image(raster, MediaType.PNG).data, MediaType.PNG, raster)


def _mask() -> RasterImage:
    mask = np.zeros((64, 64, 3), np.uint8)
    mask[16:48] = 255
    return RasterImage(mask)


SAMPLERS = ("dpmpp_2m", "dpmpp_2m_sde_karras", "euler_a", "ddim", "unipc", "heun", "lms", "pndm")
CASES = {
    "own": REQUEST,
    **{name: replace(REQUEST, scheduler=name) for name in SAMPLERS},
    "image": replace(REQUEST, steps=8, init_image=_given()),
    "image euler_a": replace(REQUEST, steps=8, init_image=_given(), scheduler="euler_a"),
    "mask": replace(REQUEST, steps=8, init_image=_given(), mask=_mask()),
    "mask ddim": replace(REQUEST, steps=8, init_image=_given(), mask=_mask(), scheduler="ddim"),
}


@pytest.mark.parametrize("case", CASES)
def test_resumed_picture_is_the_same_to_the_last_bit(pipeline, tmp_path, case):
    request, files = CASES[case], []

    def keep(report):
        files.append(tmp_path / f"a-step-{report.done:04d}.safetensors")
        write_checkpoint(files[-1], report.checkpoint())

    whole = pipeline.render(request, keep)
    for place in (0, len(files) // 2, len(files) - 2):
        kept = read_checkpoint(files[place])
        again = pipeline.render(kept.request, lambda _report: None, resume=kept)
        np.testing.assert_array_equal(again.pixels, whole.pixels)


def test_checkpoint_of_other_settings_or_another_model_is_refused(pipeline):
    kept = []
    pipeline.render(REQUEST, lambda report: kept.append(report.checkpoint()))
    one = kept[1]
    other = replace(one, model=replace(one.model, weights_sha256="0" * 64))
    with pytest.raises(InputError, match="load the model that made it"):
        pipeline.render(REQUEST, lambda _report: None, resume=other)
    with pytest.raises(InputError, match="other settings"):
        pipeline.render(replace(REQUEST, scheduler="euler"), lambda _report: None, resume=one)
    broken = replace(one, state={**one.state, "scheduler_state": '{"step": 1, "__class__": 2}'})
    with pytest.raises(InputError, match="damaged"):
        pipeline.render(REQUEST, lambda _report: None, resume=broken)
    after = pipeline.render(REQUEST, lambda _report: None)
    assert np.array_equal(after.pixels, pipeline.render(REQUEST, lambda _report: None).pixels)


def test_batched_pictures_are_those_of_single_renders_up_to_one_level(pipeline):
    wanted = [replace(REQUEST, steps=20, seed=seed) for seed in (1, 2, 3, 4)]
    batched = pipeline.render_batch(wanted, lambda _report: None)
    for request, picture in zip(wanted, batched, strict=True):
        single = pipeline.render(request, lambda _report: None).pixels.astype(int)
        assert np.abs(single - picture.pixels).max() <= 1
