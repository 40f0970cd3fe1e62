import hashlib
import json
import os

import pytest

from generator.pipelines.weights import (
    DigestCache,
    WeightFormats,
    digest_files,
    list_files,
    parse_model_index,
    read_licence,
    read_model_index,
    select_files,
)
from provenance.errors import InputError

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "requires_safety_checker": True,
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": [None, None],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
FILES = [
    "README.md",
    "model_index.json",
    "v1-5-pruned.ckpt",
    "feature_extractor/preprocessor_config.json",
    "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_flax_model.msgpack",
]


def parse(**changes):
    return parse_model_index(json.dumps({**INDEX, **changes}), where="m")


def select(names=FILES, *, index=None, formats=WeightFormats.SAFETENSORS_ONLY, variant=None):
    return select_files(names, index or parse(), formats=formats, variant=variant, where="m")


# -- index -------------------------------------------------------------------------------------


def test_index_lists_components_that_are_there_when_it_is_read():
    index = parse()
    assert index.class_name == "StableDiffusionPipeline"
    assert "image_encoder" not in index.names
    assert {c.name for c in index.rendering} == {"scheduler", "text_encoder", "tokenizer", "unet"}


def test_image_processor_renders_when_there_is_no_checker():
    index = parse(safety_checker=[None, None])
    assert "feature_extractor" in {c.name for c in index.rendering}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"unet": ["os", "system"]}, "'os'"),
        ({"unet": ["my_package", "UNet"]}, "my_package"),
        ({"_class_name": ["pipeline", "Mine"]}, "_class_name"),
        ({"_class_name": None}, "_class_name"),
        ({"../../x": ["diffusers", "UNet2DModel"]}, "malformed"),
        ({"unet": ["diffusers"]}, "malformed"),
        ({"unet": ["diffusers", 3]}, "malformed"),
        ({"unet": [None, "UNet2DModel"]}, "malformed"),
    ],
)
def test_index_is_refused_when_it_points_outside_diffusers(changes, named):
    with pytest.raises(InputError, match="model: ") as caught:
        parse(**changes)
    assert named in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000])
def test_index_is_refused_when_it_is_no_json_object(text):
    with pytest.raises(InputError, match=r"model_index\.json of m"):
        parse_model_index(text, where="m")


def test_folder_without_index_is_refused_with_what_to_give(tmp_path):
    with pytest.raises(InputError, match=r"no model_index\.json.*give the folder"):
        read_model_index(tmp_path)


def test_index_is_refused_when_it_is_larger_than_any_index(tmp_path):
    (tmp_path / "model_index.json").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(InputError, match="too large"):
        read_model_index(tmp_path)


def test_index_is_refused_when_it_is_not_utf8(tmp_path):
    (tmp_path / "model_index.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="cannot be read"):
        read_model_index(tmp_path)


# -- which files -------------------------------------------------------------------------------


def test_select_takes_plain_safetensors_of_rendering_components_only():
    files = select()
    assert files.weights == (
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    )
    assert "model_index.json" in files.configs
    assert "tokenizer/merges.txt" in files.configs
    assert not any("safety" in name or "feature" in name for name in files.all)


def test_select_takes_the_variant_where_there_is_one():
    names = [name for name in FILES if name != "text_encoder/model.fp16.safetensors"]
    assert select(names, variant="fp16").weights == (
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
    )


def test_select_is_the_same_when_a_copy_holds_twins_in_other_formats():
    lean = [n for n in FILES if not n.endswith((".bin", ".msgpack", ".ckpt"))]
    assert select(lean) == select()


@pytest.fixture
def pickled_names():
    return [n.replace("model.safetensors", "pytorch_model.bin") for n in FILES if "fp16" not in n]


def test_select_refuses_pickles_unless_allowed(pickled_names):
    with pytest.raises(InputError, match=r"text_encoder/ of m has weights as pickle only"):
        select(pickled_names)
    allowed = select(pickled_names, formats=WeightFormats.PICKLE_ALLOWED)
    assert "text_encoder/pytorch_model.bin" in allowed.weights


def test_select_prefers_safetensors_when_pickles_are_allowed():
    assert select(formats=WeightFormats.PICKLE_ALLOWED) == select()


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("unet/", "lacks the folder unet/"),
        ("unet/diffusion_pytorch_model", "unet/ of m has no weights"),
        ("tokenizer/", "lacks the folder tokenizer/"),
    ],
)
def test_select_names_the_component_that_is_missing(lost, message):
    with pytest.raises(InputError, match=message):
        select([name for name in FILES if not name.startswith(lost)])


def test_select_refuses_a_component_that_brings_code():
    with pytest.raises(InputError, match=r"unet/ of m holds diffusers\.py"):
        select([*FILES, "unet/diffusers.py"])


def test_list_files_looks_one_folder_down(tmp_path):
    for name in ("a.json", "unet/b.json", "unet/deep/c.json"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    assert list_files(tmp_path) == ["a.json", "unet/b.json"]


# -- digests -----------------------------------------------------------------------------------


def test_digest_is_that_of_sorted_sha256sum_lines(tmp_path):
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    lines = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n"
        for name, data in (("a", b"one"), ("b", b"two"))
    )
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert digest_files(tmp_path, ["b", "a", "b"], cache=DigestCache(None)) == expected


def test_digest_changes_when_two_files_swap_names(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    before = digest_files(tmp_path, ["a", "b"], cache=DigestCache(None))
    (tmp_path / "a").write_bytes(b"two")
    (tmp_path / "b").write_bytes(b"one")
    assert digest_files(tmp_path, ["a", "b"], cache=DigestCache(None)) != before


def test_digest_of_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        digest_files(tmp_path, ["gone"], cache=DigestCache(None))


@pytest.fixture
def large_file(tmp_path):
    """A file that is large enough and old enough to be remembered."""
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"\1" * DigestCache.MIN_BYTES)
    return file


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr(DigestCache, "SETTLE_S", -1.0)


@pytest.mark.usefixtures("settled")
def test_cache_answers_without_reading_when_nothing_changed(tmp_path, large_file, monkeypatch):
    path = tmp_path / "cache" / "digests.json"
    value = DigestCache(path).digest(large_file)
    monkeypatch.setattr("generator.pipelines.weights._hash_file", lambda _: pytest.fail("read"))
    assert DigestCache(path).digest(large_file) == value
    assert value == hashlib.sha256(large_file.read_bytes()).hexdigest()


@pytest.mark.usefixtures("settled")
def test_cache_reads_again_when_the_file_changed_under_its_old_time(tmp_path, large_file):
    cache = DigestCache(tmp_path / "digests.json")
    state = large_file.stat()
    before = cache.digest(large_file)
    large_file.write_bytes(b"\2" * DigestCache.MIN_BYTES)
    os.utime(large_file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert cache.digest(large_file) != before


def test_cache_does_not_remember_a_file_that_was_just_written(tmp_path, large_file):
    path = tmp_path / "digests.json"
    DigestCache(path).digest(large_file)
    assert not path.exists()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 2}', '{"version": 1, "files": {"x": 3}}', "\0"]
)
def test_cache_starts_afresh_when_its_file_is_unusable(tmp_path, large_file, text):
    path = tmp_path / "digests.json"
    path.write_text(text)
    value = DigestCache(path).digest(large_file)
    assert value == hashlib.sha256(large_file.read_bytes()).hexdigest()
    assert json.loads(path.read_text())["version"] == 1


@pytest.mark.usefixtures("settled")
def test_cache_that_cannot_be_written_does_no_harm(tmp_path, large_file):
    (tmp_path / "blocked").write_text("a file where the folder should be")
    value = DigestCache(tmp_path / "blocked" / "digests.json").digest(large_file)
    assert value == hashlib.sha256(large_file.read_bytes()).hexdigest()


# -- licence -----------------------------------------------------------------------------------


NAMED = "flux-1-dev-non-commercial"


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: creativeml-openrail-m\ntags:\n- x\n---\n# T", "creativeml-openrail-m"),
        ("---\r\nlicense: apache-2.0\r\n---\r\n", "apache-2.0"),
        ("\ufeff---\nlicense: 'mit'\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: flux-1-dev-non-commercial\n---\n", NAMED),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags: [a]\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("---\nlicense: <script>\n---\n", None),
        ("---\nlicense: " + "a" * 65 + "\n---\n", None),
        ("", None),
    ],
)
def test_licence_is_the_front_matters(tmp_path, card, licence):
    (tmp_path / "README.md").write_bytes(card.encode())
    assert read_licence(tmp_path) == licence


def test_licence_is_none_without_a_card(tmp_path):
    assert read_licence(tmp_path) is None
