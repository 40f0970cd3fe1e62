"""Every sampler of the table runs and keeps what the model was trained with; LoRA files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_models import build_model

from generator.pipelines.diffusers import load_pipeline, peek_defaults
from generator.pipelines.schedulers import SCHEDULERS, build_scheduler
from provenance.errors import InputError
from provenance.types import GenerationRequest, LoraRef

REQUEST = GenerationRequest(prompt="a fox", seed=3, steps=3, width_px=64, height_px=64)


def _ignore(_report):
    pass


@pytest.fixture(scope="module")
def loras(tmp_path_factory, tiny_model_factory):
    """A folder with an adaptation of tiny-sd1, made by peft itself, and things that are none."""
    import torch
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig, get_peft_model_state_dict
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("loras")
    model = StableDiffusionPipeline.from_pretrained(
        tiny_model_factory("sd1"), safety_checker=None, requires_safety_checker=False
    )
    torch.manual_seed(1)
    config = LoraConfig(
        r=4, lora_alpha=4, init_lora_weights=False, target_modules=["to_q", "to_k", "to_v"]
    )
    model.unet.add_adapter(config)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(model.unet))
    layers = {name: value * 20 for name, value in layers.items()}
    StableDiffusionPipeline.save_lora_weights(folder, layers, weight_name="style.safetensors")
    (folder / "pickled.bin").write_bytes(b"\x80\x04.")
    (folder / "fake.safetensors").write_bytes(b"\x80\x04 this is a pickle" * 9)
    deep = b"[" * 200_000
    (folder / "deep.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep)
    (folder / "cut.safetensors").write_bytes((folder / "style.safetensors").read_bytes()[:-9])
    nowhere = {f"unet.nowhere.lora_{part}.weight": np.ones((4, 4), np.float32) for part in "AB"}
    save_file(nowhere, folder / "misfit.safetensors")
    return folder


@pytest.fixture(scope="module")
def sd1(tiny_model_factory, loras):
    return load_pipeline(str(tiny_model_factory("sd1")), device="cpu", lora_folder=loras)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_sampler_renders(sd1, name):
    request = replace(REQUEST, scheduler=name)
    first = sd1.render(request, _ignore)
    assert first.pixels.std() > 0
    assert np.array_equal(sd1.render(request, _ignore).pixels, first.pixels)
    assert sd1.describe(request)["scheduler_class"] == SCHEDULERS[name].class_name


@pytest.mark.parametrize("name", ["euler", "ddim", "dpmpp_2m", "unipc"])
def test_sampler_keeps_what_the_model_was_trained_with(name):
    own = load_pipeline(device="cpu")._own_scheduler
    made = build_scheduler(own, name, model="m").config
    for key in ("prediction_type", "beta_start", "beta_end", "beta_schedule"):
        assert made[key] == own.config[key]
    assert made["rescale_betas_zero_snr"] is True
    assert made["timestep_spacing"] == own.config["timestep_spacing"]


def test_flow_matching_model_takes_its_own_scheduler_only(tiny_model_factory):
    flux = load_pipeline(str(tiny_model_factory("flux")), device="cpu")
    with pytest.raises(InputError, match="scheduler euler doesn't suit tiny-flux"):
        flux.render(replace(REQUEST, scheduler="euler"), _ignore)
    flux.render(replace(REQUEST, scheduler="flow_match_euler"), _ignore)


def test_defaults_are_the_models_own(tiny_model_factory, sd1):
    assert (sd1.defaults.steps, sd1.defaults.guidance) == (50, 7.5)
    flux = peek_defaults(str(tiny_model_factory("flux")))
    assert (flux.steps, flux.guidance, flux.multiple_px) == (28, 3.5, 16)
    assert peek_defaults(None) == load_pipeline(device="cpu").defaults
    assert peek_defaults("nobody/has-this-model") is None


def test_distilled_flux_takes_few_steps_and_no_guidance(tmp_path):
    folder = build_model("flux", tmp_path / "schnell")
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "guidance_embeds": False}))
    found = peek_defaults(str(folder))
    assert (found.steps, found.guidance) == (4, 0.0)


# -- LoRA --------------------------------------------------------------------------------------


def test_lora_changes_the_picture_by_its_scale_and_comes_off_again(sd1):
    plain = sd1.render(REQUEST, _ignore).pixels
    full, half = (
        sd1.render(replace(REQUEST, loras=(LoraRef("style", scale),)), _ignore).pixels
        for scale in (1.0, 0.5)
    )
    assert not np.array_equal(plain, full)
    assert not np.array_equal(half, full)
    assert np.array_equal(sd1.render(REQUEST, _ignore).pixels, plain)


def test_lora_is_described_by_its_digest(sd1, loras):
    digest = hashlib.sha256((loras / "style.safetensors").read_bytes()).hexdigest()
    said = sd1.describe(replace(REQUEST, loras=(LoraRef("style", 0.5),)))
    assert said["lora_files"] == f"style scale 0.5 sha256:{digest}"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "there is no missing here; use one of cut, deep, fake, misfit, style"),
        ("pickled", "pickle"),
        ("pickled.bin", "pickle"),
        ("fake", "no safetensors file"),
        ("deep", "no safetensors file"),
    ],
)
def test_lora_that_cannot_be_used_is_refused_by_name(sd1, name, reason):
    plain = sd1.render(REQUEST, _ignore).pixels
    with pytest.raises(InputError, match=reason):
        sd1.render(replace(REQUEST, loras=(LoraRef(name),)), _ignore)
    assert np.array_equal(sd1.render(REQUEST, _ignore).pixels, plain)


@pytest.mark.parametrize("name", ["misfit", "cut"])
def test_lora_counts_again_after_one_beside_it_was_refused(sd1, name):
    alone = replace(REQUEST, loras=(LoraRef("style"),))
    wanted = sd1.render(alone, _ignore).pixels
    sd1.render(REQUEST, _ignore)
    with pytest.raises(InputError, match=f"loras: {name} doesn't fit"):
        sd1.render(replace(REQUEST, loras=(LoraRef("style"), LoraRef(name))), _ignore)
    assert np.array_equal(sd1.render(alone, _ignore).pixels, wanted)


def test_lora_for_another_model_is_refused(tiny_model_factory, loras):
    sdxl = load_pipeline(str(tiny_model_factory("sdxl")), device="cpu", lora_folder=loras)
    with pytest.raises(InputError, match="loras: style doesn't fit tiny-sdxl"):
        sdxl.render(replace(REQUEST, loras=(LoraRef("style"),)), _ignore)
    sdxl.render(REQUEST, _ignore)


def test_lora_is_refused_where_the_operator_offers_none(tiny_model_factory):
    pipeline = load_pipeline(str(tiny_model_factory("sd2")), device="cpu")
    with pytest.raises(InputError, match=r"generator\.lora_folder"):
        pipeline.render(replace(REQUEST, loras=(LoraRef("style"),)), _ignore)
