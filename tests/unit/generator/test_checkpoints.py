"""Checkpoint files: whole, private, and refused when they are not what they say."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import replace

import numpy as np
import pytest

from generator.pipelines.checkpoints import find_checkpoint, read_checkpoint, write_checkpoint
from provenance.errors import InputError
from provenance.imaging import encode_image
from provenance.testing.twins_generation import GradientPipeline
from provenance.types import (
    GenerationRequest,
    InputImage,
    LoraRef,
    MediaType,
    RasterImage,
    RecordId,
)

pytest.importorskip("safetensors", reason="needs the extra 'generate'")


def _request() -> GenerationRequest:
    raster = RasterImage(np.random.default_rng(2).integers(0, 256, (16, 24, 3), dtype=np.uint8))
    given = InputImage(encode_image(raster, MediaType.PNG).data, MediaType.PNG, raster)
    return GenerationRequest(
        prompt="a cat",
        seed=5,
        steps=6,
        width_px=64,
        height_px=64,
        init_image=given,
        mask=raster,
        loras=(LoraRef("style", 0.5),),
        scheduler="euler_a",
    )


@pytest.fixture
def kept():
    found = []
    GradientPipeline().render(_request(), lambda report: found.append(report.checkpoint()))
    return found


def test_checkpoint_comes_back_whole_with_its_request(kept, tmp_path):
    path = tmp_path / "a-step-0002.safetensors"
    write_checkpoint(path, replace(kept[1], record_id=RecordId("0123456789abcdef")))
    found = read_checkpoint(path)
    assert found.record_id == "0123456789abcdef"
    assert (found.done, found.total) == (2, _request().effective_steps)
    assert found.model == kept[1].model
    assert replace(found.request, mask=None) == replace(_request(), mask=None)
    np.testing.assert_array_equal(found.request.mask.pixels, _request().mask.pixels)
    np.testing.assert_array_equal(found.tensors["steps"], kept[1].tensors["steps"])


def test_checkpoint_is_for_its_owner_alone_because_it_holds_the_prompt(kept, tmp_path):
    path = tmp_path / "one.safetensors"
    write_checkpoint(path, kept[0])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("place", [40, -3, -900])
def test_damaged_checkpoint_is_refused(kept, tmp_path, place):
    path = tmp_path / "one.safetensors"
    write_checkpoint(path, kept[0])
    data = bytearray(path.read_bytes())
    data[place] ^= 0x5A
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged|no checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "said", ["[]", "{}", "1", "[" * 200_000, '{"body": [], "record_id": null}']
)
def test_a_file_with_the_right_digest_that_says_something_else_is_refused(tmp_path, said):
    from safetensors.numpy import save_file

    metadata = {
        "format": "countermark-checkpoint-1",
        "said": said,
        "sha256": hashlib.sha256(said.encode()).hexdigest(),
    }
    path = tmp_path / "forged.safetensors"
    save_file({}, path, metadata=metadata)
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(path)


def test_other_files_are_no_checkpoints(tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "text").write_text("hello")
    save_file({"a": np.zeros(3)}, tmp_path / "weights.safetensors")
    for name in ("text", "weights.safetensors", "missing"):
        with pytest.raises(InputError, match=name):
            read_checkpoint(tmp_path / name)


def test_the_step_asked_for_is_found_and_a_missing_one_is_told(kept, tmp_path):
    for one in kept:
        write_checkpoint(tmp_path / f"a-step-{one.done:04d}.safetensors", one)
    first = tmp_path / "a-step-0001.safetensors"
    assert find_checkpoint(tmp_path, None).name == f"a-step-{kept[-1].done:04d}.safetensors"
    assert find_checkpoint(tmp_path, 1) == first
    assert find_checkpoint(first, 2).name == "a-step-0002.safetensors"
    for place in (tmp_path, first):
        with pytest.raises(InputError, match="step"):
            find_checkpoint(place, 99)
    with pytest.raises(InputError, match="nowhere does not exist"):
        find_checkpoint(tmp_path / "nowhere", None)


def test_a_folder_with_several_pictures_is_not_guessed_from(kept, tmp_path):
    for stem in ("a", "b"):
        write_checkpoint(tmp_path / f"{stem}-step-0001.safetensors", kept[0])
    with pytest.raises(InputError, match="several pictures"):
        find_checkpoint(tmp_path, None)
