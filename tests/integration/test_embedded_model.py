"""The bundled model as it ships: loads offline, draws, and is what its card says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open

from generator.embedded import model_folder

torch = pytest.importorskip("torch", reason="needs the extra 'generate'")
diffusers = pytest.importorskip("diffusers", reason="needs the extra 'generate'")

# The size that the package promises for the bundled model.
_MAX_BYTES = 40_000_000


@pytest.fixture(scope="module")
def pipeline():
    loaded = diffusers.DiffusionPipeline.from_pretrained(
        model_folder(), local_files_only=True, use_safetensors=True
    )
    loaded.set_progress_bar_config(disable=True)
    return loaded


def _draw(pipeline, prompt: str, *, seed: int = 1, steps: int = 2, side_px: int = 128):
    drawn = pipeline(
        prompt,
        num_inference_steps=steps,
        height=side_px,
        width=side_px,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    )
    return drawn.images[0]


def test_model_folder_is_small_safe_and_in_half_precision():
    files = [path for path in model_folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= _MAX_BYTES
    assert not [path for path in files if path.suffix in {".bin", ".pt", ".ckpt", ".pkl"}]
    weights = [path for path in files if path.suffix == ".safetensors"]
    assert {path.parent.name for path in weights} == {"vae", "unet", "text_encoder"}
    for path in weights:
        with safe_open(path, framework="numpy") as tensors:
            kinds = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
        assert kinds == {"F16"}


def test_model_folder_names_parts_and_licence():
    index = json.loads((model_folder() / "model_index.json").read_text(encoding="utf-8"))
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["safety_checker"] == [None, None]
    front = (model_folder() / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert "license: apache-2.0" in front


def test_pipeline_delivers_512_pixels_by_default(pipeline):
    assert pipeline.unet.config.sample_size * pipeline.vae_scale_factor == 512


def test_pipeline_draws_the_same_picture_when_the_seed_is_the_same(pipeline):
    first = _draw(pipeline, "a red house on a green hill")
    np.testing.assert_array_equal(first, _draw(pipeline, "a red house on a green hill"))
    assert not np.array_equal(first, _draw(pipeline, "a red house on a green hill", seed=2))


def test_pipeline_follows_the_prompt(pipeline):
    """Day is bright and night is dark, from the same noise."""
    day = _draw(pipeline, "a landscape with a green hill by day", steps=8, side_px=256)
    night = _draw(pipeline, "a landscape with a green hill at night", steps=8, side_px=256)
    assert day.mean() > night.mean() + 0.1


@pytest.mark.parametrize(
    "prompt",
    ["", "ein Haus, 日本 🦊 \u0000\u200d", "masterpiece " * 90, "<|endoftext|><|startoftext|>"],
    ids=["empty", "foreign", "long", "special"],
)
def test_pipeline_accepts_any_text(pipeline, prompt):
    assert np.isfinite(_draw(pipeline, prompt)).all()


def test_tokenizer_keeps_known_words_whole_and_never_loses_text(pipeline):
    assert pipeline.tokenizer.tokenize("A red house") == ["a</w>", "red</w>", "house</w>"]
    unknown = pipeline.tokenizer.tokenize("zyxq")
    assert "".join(unknown).replace("</w>", "") == "zyxq"


@pytest.mark.slow
def test_pipeline_draws_textured_coloured_pictures_at_full_size(pipeline):
    picture = _draw(pipeline, "a red house on a green hill by day", steps=20, side_px=512) * 255
    assert picture.shape == (512, 512, 3)
    luma = picture.mean(axis=-1)
    blocks = luma.reshape(64, 8, 64, 8).std(axis=(1, 3))
    # A watermark hides in texture, and in colour.
    assert np.median(blocks) > 2.0
    assert np.median(picture.max(axis=-1) - picture.min(axis=-1)) > 25


@pytest.mark.slow
def test_autoencoder_reconstructs_fresh_scenes(pipeline):
    from generator.embedded.training.captions import Split
    from generator.embedded.training.train_autoencoder import fresh_scenes, measure_psnr

    scenes = fresh_scenes(4, seed=31, split=Split.TEST)
    assert measure_psnr(pipeline.vae, scenes) >= 23
