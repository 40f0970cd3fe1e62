"""What a person sees who gives a model, a device or a request that cannot work: one clear line."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from generator.pipelines.diffusers import MemorySaving, WeightFormats, load_pipeline
from provenance.errors import (
    BackendUnavailableError,
    ConfigError,
    GenerationError,
    InputError,
    UnsafeBackendWarning,
)
from provenance.types import GenerationRequest

REQUEST = GenerationRequest(
    prompt="a red fox in snow", seed=3, steps=2, guidance=4.0, width_px=64, height_px=64
)
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def _ignore(_report):
    pass


@pytest.fixture
def copy_of(tiny_model_factory, tmp_path):
    """A private copy of a tiny model, to be damaged."""

    def copy(family):
        return shutil.copytree(tiny_model_factory(family), tmp_path / f"tiny-{family}")

    return copy


def change_weights(folder, file, change):
    weights = load_file(folder / file)
    change(weights)
    save_file(weights, folder / file, metadata={"format": "pt"})


def change_index(folder, **changes):
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# -- which model -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["nowhere", "./nowhere/at/all", "/nowhere", "a b/c", "", "owner/name/more", "x\0y"]
)
def test_model_that_is_neither_folder_nor_hub_id_is_named(model):
    with pytest.raises(InputError, match=r"^model: "):
        load_pipeline(model, offline=True)


def test_very_long_model_name_is_an_input_error():
    with pytest.raises(InputError, match=r"^model: ") as caught:
        load_pipeline("a" * 5000, offline=True)
    assert len(str(caught.value)) < 400


def test_hub_model_that_is_not_kept_is_refused_with_a_remedy_when_offline(tmp_path):
    with pytest.raises(BackendUnavailableError, match=r"owner/name is not kept on this machine.*;"):
        load_pipeline("owner/name", offline=True, hub_cache=tmp_path)


def test_file_is_refused_with_what_to_give_instead(tmp_path):
    checkpoint = tmp_path / "sd15.safetensors"
    checkpoint.write_bytes(b"x")
    with pytest.raises(InputError, match="is a file; give the folder in diffusers layout"):
        load_pipeline(str(checkpoint))


def test_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no model_index\.json"):
        load_pipeline(str(tmp_path))


def test_revision_of_a_local_folder_is_refused(tiny_model_factory):
    with pytest.raises(InputError, match=r"^revision: .*local folder"):
        load_pipeline(str(tiny_model_factory("sd2")), revision="main")


def test_pipeline_class_that_diffusers_lacks_is_named(copy_of):
    folder = copy_of("sd2")
    change_index(folder, _class_name="TomorrowsPipeline")
    with pytest.raises(InputError, match=r"needs TomorrowsPipeline, which diffusers .* upgrade"):
        load_pipeline(str(folder))


def test_pipeline_that_makes_no_pictures_from_text_is_refused(copy_of):
    folder = copy_of("sd2")
    change_index(folder, _class_name="StableDiffusionUpscalePipeline")
    with pytest.raises(InputError, match="doesn't make pictures from text"):
        load_pipeline(str(folder))


# -- code and pickles --------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle ran')",))


@pytest.fixture
def pickled_folder(copy_of):
    folder = copy_of("sd2")
    weights = load_file(folder / TEXT)
    (folder / TEXT).unlink()
    torch.save(weights, folder / "text_encoder" / "pytorch_model.bin")
    return folder


def test_pickled_weights_are_refused_by_default(pickled_folder):
    with pytest.raises(InputError, match="text_encoder/ of tiny-sd2 has weights as pickle only"):
        load_pipeline(str(pickled_folder))


def test_pickled_weights_load_with_a_warning_when_allowed(pickled_folder, tiny_model_factory):
    with pytest.warns(UnsafeBackendWarning, match="pickle"):
        pipeline = load_pipeline(str(pickled_folder), weight_formats=WeightFormats.PICKLE_ALLOWED)
    original = load_pipeline(str(tiny_model_factory("sd2")))
    one, other = (p.render(REQUEST, _ignore).pixels for p in (pipeline, original))
    assert np.array_equal(one, other)
    assert pipeline.model.weights_sha256 != original.model.weights_sha256


def test_pickle_that_is_a_program_does_not_run_even_when_allowed(pickled_folder):
    torch.save({"x": Bomb()}, pickled_folder / "text_encoder" / "pytorch_model.bin")
    with (
        pytest.warns(UnsafeBackendWarning),
        pytest.raises(GenerationError, match="tiny-sd2 is defective"),
    ):
        load_pipeline(str(pickled_folder), weight_formats=WeightFormats.PICKLE_ALLOWED)


def test_code_in_a_model_folder_is_refused(copy_of):
    folder = copy_of("sd2")
    (folder / "unet" / "evil.py").write_text("raise SystemExit('it ran')")
    change_index(folder, unet=["evil", "UNet"])
    with pytest.raises(InputError, match="code that a model brings along is never run"):
        load_pipeline(str(folder))


# -- damaged weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("file", [UNET, VAE, TEXT])
def test_missing_weight_is_an_error_and_never_random(copy_of, file):
    folder = copy_of("sd2")
    change_weights(folder, file, lambda weights: weights.pop(sorted(weights)[3]))
    with pytest.raises(GenerationError, match=r"lacks 1 of its weights.*download it again"):
        load_pipeline(str(folder))


@pytest.mark.parametrize("file", [UNET, TEXT])
def test_weight_of_another_shape_is_an_error(copy_of, file):
    folder = copy_of("sd2")
    change_weights(folder, file, lambda w: w.update({sorted(w)[3]: torch.zeros(1, 2, 3)}))
    with pytest.raises(GenerationError, match="other shapes than the configuration says"):
        load_pipeline(str(folder))


@pytest.mark.parametrize("file", [UNET, TEXT])
@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 64])
def test_file_that_holds_no_tensors_is_an_error(copy_of, file, content):
    folder = copy_of("sd2")
    (folder / file).write_bytes(content)
    with pytest.raises(GenerationError, match="tiny-sd2 is defective"):
        load_pipeline(str(folder))


def test_truncated_weights_are_an_error(copy_of):
    folder = copy_of("sd2")
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(data[: len(data) // 2])
    with pytest.raises(GenerationError, match="tiny-sd2 is defective"):
        load_pipeline(str(folder))


def test_configuration_that_is_no_json_is_an_error(copy_of):
    folder = copy_of("sd2")
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(GenerationError, match="tiny-sd2 is defective"):
        load_pipeline(str(folder))


def test_weights_under_their_historic_names_load_whole(copy_of, tiny_model_factory):
    """Published SD 1 files carry a prefix that newer libraries no longer write."""
    folder = copy_of("sd1")
    change_weights(folder, TEXT, lambda w: _prefix(w, "", "text_model."))
    old, new = (load_pipeline(str(f)) for f in (folder, tiny_model_factory("sd1")))
    one, other = (p.render(REQUEST, _ignore).pixels for p in (old, new))
    assert np.array_equal(one, other)


def _prefix(weights, start, prefix):
    for name in [name for name in weights if name.startswith(start)]:
        weights[prefix + name] = weights.pop(name)


# -- device and number format ------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_device_that_is_not_there_is_refused_with_a_remedy(tiny_model_factory):
    with pytest.raises(BackendUnavailableError, match=r"'cuda' cannot be used.*use auto or cpu"):
        load_pipeline(str(tiny_model_factory("sd2")), device="cuda")


@pytest.mark.parametrize("option", [{"device": "gpu"}, {"dtype": "int8"}, {"dtype": "half"}])
def test_unknown_device_or_dtype_is_refused_with_the_known_ones(tiny_model_factory, option):
    with pytest.raises(ConfigError, match="is unknown; use auto"):
        load_pipeline(str(tiny_model_factory("sd2")), **option)


@pytest.mark.parametrize("saving", [MemorySaving.CPU_OFFLOAD, MemorySaving.SEQUENTIAL_OFFLOAD])
def test_offloading_from_the_cpu_to_the_cpu_is_refused(tiny_model_factory, saving):
    with pytest.raises(ConfigError, match=f"{saving} moves weights"):
        load_pipeline(str(tiny_model_factory("sd2")), device="cpu", memory_saving=saving)


def test_attention_slicing_gives_the_same_picture_but_for_rounding(tiny_model_factory):
    folder = str(tiny_model_factory("sd2"))
    plain = load_pipeline(folder, device="cpu").render(REQUEST, _ignore)
    sliced = load_pipeline(
        folder, device="cpu", memory_saving=MemorySaving.ATTENTION_SLICING
    ).render(REQUEST, _ignore)
    assert np.abs(plain.pixels.astype(int) - sliced.pixels).max() <= 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", ["sd1", "flux"])
def test_half_precision_renders_nearly_the_same_picture(tiny_model_factory, family, dtype):
    folder = str(tiny_model_factory(family))
    exact = load_pipeline(folder, device="cpu").render(REQUEST, _ignore).pixels.astype(int)
    rough = load_pipeline(folder, device="cpu", dtype=dtype).render(REQUEST, _ignore).pixels
    assert np.abs(exact - rough).mean() < 8


# -- what the model cannot do ------------------------------------------------------------------


@pytest.fixture(scope="module")
def sd3_pipeline(tiny_model_factory):
    return load_pipeline(str(tiny_model_factory("sd3")), device="cpu")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"width_px": 72}, "width 72 doesn't suit tiny-sd3.* multiples of 16.* the nearest is 64"),
        ({"height_px": 88}, "height 88 .* the nearest is 96|height 88 .* the nearest is 80"),
        ({"width_px": 2048}, "width 2048 .* up to 1024; the nearest is 1024"),
        ({"width_px": 8}, "width 8 .* the nearest is 16"),
    ],
)
def test_size_is_refused_with_field_and_nearest_fit(sd3_pipeline, size, message):
    with pytest.raises(InputError, match=message):
        sd3_pipeline.render(replace(REQUEST, **size), _ignore)


def test_longest_side_that_the_message_names_is_rendered(sd3_pipeline):
    picture = sd3_pipeline.render(replace(REQUEST, width_px=1024, height_px=16), _ignore)
    assert (picture.width_px, picture.height_px) == (1024, 16)


@pytest.mark.parametrize(
    ("family", "guidance"), [("sd1", 1.0), ("sdxl", 0.5), ("sd3", 1.0), ("zimage", 0.0)]
)
def test_negative_prompt_is_refused_when_guidance_leaves_it_unread(
    tiny_model_factory, family, guidance
):
    pipeline = load_pipeline(str(tiny_model_factory(family)), device="cpu")
    request = replace(REQUEST, negative_prompt="rain", guidance=guidance)
    with pytest.raises(InputError, match="negative_prompt has no effect at guidance"):
        pipeline.render(request, _ignore)


@pytest.mark.parametrize(
    ("family", "letters", "told"),
    [("sd1", 75, False), ("sd1", 76, True), ("sd3", 200, False), ("sd3", 400, True)],
)
def test_prompt_that_is_cut_off_is_told_without_its_words(
    tiny_model_factory, caplog, family, letters, told
):
    pipeline = load_pipeline(str(tiny_model_factory(family)), device="cpu")
    request = replace(REQUEST, prompt="q" * letters)
    with caplog.at_level(logging.WARNING):
        pipeline.render(request, _ignore)
    notes = pipeline.notes(request)
    assert bool(notes) is told
    assert [record.getMessage() for record in caplog.records] == list(notes)
    assert "qq" not in caplog.text


# -- numbers and memory ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_denoiser_that_yields_no_numbers_is_an_error_with_a_remedy(copy_of, value):
    folder = copy_of("sd2")
    change_weights(folder, UNET, lambda w: w["conv_out.bias"].fill_(value))
    with pytest.raises(GenerationError, match=r"no numbers.*bfloat16 or float32"):
        load_pipeline(str(folder), device="cpu").render(REQUEST, _ignore)


def test_decoder_that_yields_no_numbers_is_an_error_with_a_remedy(copy_of):
    folder = copy_of("sd2")
    change_weights(folder, VAE, lambda w: w["decoder.conv_out.bias"].fill_(float("nan")))
    with pytest.raises(GenerationError, match=r"no numbers.*bfloat16 or float32"):
        load_pipeline(str(folder), device="cpu").render(REQUEST, _ignore)


def test_what_a_library_says_of_a_failed_render_is_not_quoted(tiny_model_factory, monkeypatch):
    pipeline = load_pipeline(str(tiny_model_factory("sd1")), device="cpu")

    def fail(*_arguments, **_named):
        raise ValueError("PRIVATE-WORD does not fit")

    monkeypatch.setattr(pipeline._pipeline.unet, "forward", fail)
    with pytest.raises(GenerationError, match=r"ValueError.*COUNTERMARK_DEBUG") as caught:
        pipeline.render(REQUEST, _ignore)
    assert "PRIVATE-WORD" not in str(caught.value)


_STARVED = """
import resource, sys
import torch
from generator.pipelines.diffusers import load_pipeline
from provenance.errors import GenerationError
from provenance.types import GenerationRequest

torch.set_num_threads(1)
pipeline = load_pipeline(sys.argv[1], device="cpu")
small = GenerationRequest(prompt="a cat", seed=1, steps=1, width_px=64, height_px=64)
before = pipeline.render(small, lambda _report: None)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (4 << 20)
_, most = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (limit, most))
big = GenerationRequest(prompt="a cat", seed=1, steps=1, width_px=512, height_px=512)
try:
    pipeline.render(big, lambda _report: None)
except GenerationError as error:
    print(error)
# Memory that others gave back: what is left below the limit depends on how the heap is cut up.
resource.setrlimit(resource.RLIMIT_AS, (most, most))
after = pipeline.render(small, lambda _report: None)
print((before.pixels == after.pixels).all())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory the Linux way")
def test_out_of_memory_is_an_error_with_a_remedy_and_the_pipeline_lives_on(tiny_model_factory):
    done = subprocess.run(
        [sys.executable, "-c", _STARVED, str(tiny_model_factory("sd2"))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    message, lives = done.stdout.splitlines()
    assert message.startswith("out of memory on cpu while rendering 512x512 with tiny-sd2; ask")
    assert lives == "True"


# -- a clean terminal --------------------------------------------------------------------------


def test_nothing_is_printed_when_a_model_loads_and_renders(tiny_model_factory, capfd):
    pipeline = load_pipeline(str(tiny_model_factory("sdxl")), device="cpu")
    pipeline.render(replace(REQUEST, prompt="z" * 100), _ignore)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""


def test_digests_are_remembered_in_the_cache_folder(tiny_model_factory, tmp_path, monkeypatch):
    monkeypatch.setattr("generator.pipelines.weights.DigestCache.MIN_BYTES", 1000)
    monkeypatch.setattr("generator.pipelines.weights.DigestCache.SETTLE_S", -1.0)
    folder = str(tiny_model_factory("sd2"))
    first = load_pipeline(folder, cache_dir=tmp_path).model
    monkeypatch.setattr(
        "generator.pipelines.weights._hash_file",
        lambda path: pytest.fail(f"read again: {path}") if path.stat().st_size > 1000 else "0" * 64,
    )
    assert load_pipeline(folder, cache_dir=tmp_path).model.weights_sha256 == first.weights_sha256
