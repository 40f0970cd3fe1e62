"""From bodies and command lines to concrete requests."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from generator.cli_requests import Order, read_lora
from generator.pipelines.checkpoints import write_checkpoint
from generator.pipelines.inputs import choose_size, keep_outside
from generator.pipelines.schedulers import SCHEDULERS, canonical_name
from generator.schemas import GenerationBody
from provenance.config import LimitSettings
from provenance.errors import ImageTooLargeError, InputError
from provenance.imaging import ImageLimits, encode_image
from provenance.testing.twins_generation import GradientPipeline
from provenance.types import (
    GenerationRequest,
    InputImage,
    InputRole,
    MediaType,
    RasterImage,
    RenderDefaults,
)

DEFAULTS = RenderDefaults(steps=28, guidance=3.5, side_px=1024, multiple_px=16)


def _picture(width: int, height: int) -> RasterImage:
    values = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return RasterImage(values)


def _png(width: int = 40, height: int = 24) -> bytes:
    return encode_image(_picture(width, height), MediaType.PNG).data


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_what_a_body_leaves_open_is_the_models_choice():
    (request,) = GenerationBody(prompt="a cat").to_requests(DEFAULTS)
    assert (request.steps, request.guidance) == (28, 3.5)
    assert (request.width_px, request.height_px) == (1024, 1024)
    assert request.scheduler is None


def test_a_body_reads_inputs_and_names_of_other_front_ends():
    body = GenerationBody(
        prompt="a cat",
        init_image="data:image/png;base64," + _base64(_png()),
        mask=_base64(_png(8, 8)),
        strength=0.5,
        scheduler="DPM++ 2M Karras",
        loras=({"name": "style", "scale": 0.5},),
        visible_label=True,
    )
    (request,) = body.to_requests(DEFAULTS)
    assert request.init_image.data == _png()
    assert request.mask.width_px == 8
    assert request.effective_steps == 14
    assert request.scheduler == "dpmpp_2m_karras"
    assert request.loras[0].scale == 0.5
    assert request.visible_label
    assert request.input_role is InputRole.EDIT


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"init_image": "%%%"}, "init_image is not base64"),
        ({"init_image": "aGVsbG8="}, "init_image is not an image"),
        ({"mask": "aGVsbG8="}, "mask is not an image"),
        ({"scheduler": "nope"}, "scheduler 'nope' is unknown"),
        ({"steps": 0}, "steps 0"),
        ({"loras": ({"name": "../x"},)}, "loras"),
    ],
)
def test_a_body_names_the_field_that_is_wrong(fields, named):
    with pytest.raises(InputError, match=named):
        GenerationBody(prompt="a cat", **fields).to_requests(DEFAULTS)


def test_an_input_beyond_the_limits_is_refused():
    body = GenerationBody(prompt="a cat", init_image=_base64(_png()))
    with pytest.raises(ImageTooLargeError, match="init_image"):
        body.to_requests(DEFAULTS, limits=ImageLimits(max_bytes=10**6, max_pixels=100))


@pytest.mark.parametrize(
    ("size", "chosen"),
    [
        ((640, 480), (640, 480)),
        ((4000, 3000), (1360, 1024)),
        ((100, 50), (96, 48)),
        ((5, 5), (16, 16)),
    ],
)
def test_size_follows_the_input_down_to_what_the_model_was_made_for(size, chosen):
    assert choose_size(_picture(*size), DEFAULTS) == chosen


def test_pixels_under_a_black_mask_are_the_inputs_own():
    before = _picture(64, 64)
    mask = np.zeros((64, 64, 3), np.uint8)
    mask[:, 32:] = 255
    given = InputImage(encode_image(before, MediaType.PNG).data, MediaType.PNG, before)
    request = GenerationRequest(
        "a cat", 1, width_px=64, height_px=64, init_image=given, mask=RasterImage(mask)
    )
    drawn = RasterImage(255 - before.pixels)
    kept = keep_outside(drawn, request).pixels
    np.testing.assert_array_equal(kept[:, :32], before.pixels[:, :32])
    np.testing.assert_array_equal(kept[:, 32:], drawn.pixels[:, 32:])


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Euler a", "euler_a"),
        ("DPM++ 2M SDE Karras", "dpmpp_2m_sde_karras"),
        ("PLMS", "pndm"),
        ("DDIM", "ddim"),
        ("UniPC", "unipc"),
        *((name, name) for name in SCHEDULERS),
    ],
)
def test_samplers_have_our_names_and_automatic1111s(name, ours):
    assert canonical_name(name) == ours


@pytest.mark.parametrize(
    ("text", "read"),
    [("style", {"name": "style"}), ("style:0.5", {"name": "style", "scale": 0.5})],
)
def test_lora_option_is_name_and_scale(text, read):
    assert read_lora(text) == read


def test_lora_option_with_a_bad_scale_is_refused():
    with pytest.raises(InputError, match="--lora"):
        read_lora("style:much")


def _order(**changes) -> Order:
    body = {
        "prompt": None, "negative_prompt": "", "model": None, "seed": None, "steps": None,
        "guidance": None, "width": None, "height": None, "n": 1, "strength": None,
        "input_role": "edit", "scheduler": None, "loras": [], "visible_label": False,
        "format": "png", "quality": 92,
    }  # fmt: skip
    files = {"init_image": None, "mask": None, "resume": None, "from_step": None}
    for name, value in changes.items():
        (files if name in files else body)[name] = value
    return Order(body, **files)


@pytest.fixture
def checkpoint_file(tmp_path):
    pytest.importorskip("safetensors")
    request = GenerationRequest("a cat", 3, steps=2, width_px=64, height_px=64)
    kept = []
    GradientPipeline().render(request, lambda report: kept.append(report.checkpoint()))
    path = tmp_path / "a-step-0001.safetensors"
    write_checkpoint(path, kept[0])
    return path


def test_resuming_needs_nothing_but_the_checkpoint(checkpoint_file):
    order = _order(resume=checkpoint_file, format="jpeg")
    found = order.checkpoint()
    (request,) = order.requests(DEFAULTS, found, LimitSettings())
    assert (request.prompt, request.seed, request.steps) == ("a cat", 3, 2)
    assert request.media_type is MediaType.JPEG


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prompt": "a dog"}, "prompt"),
        ({"steps": 9}, "--steps"),
        ({"seed": 9}, "--seed"),
        ({"seed": 0}, "--seed"),
        ({"guidance": 0.0}, "--guidance"),
        ({"input_role": "guide"}, "--input-role"),
        ({"n": 2}, "-n"),
    ],
)
def test_resuming_with_something_else_is_refused(checkpoint_file, change, named):
    with pytest.raises(InputError, match=named):
        _order(resume=checkpoint_file, **change).checkpoint()


def test_from_step_without_resume_and_no_prompt_are_refused():
    with pytest.raises(InputError, match="--resume"):
        _order(prompt="a cat", from_step=2).checkpoint()
    with pytest.raises(InputError, match="PROMPT"):
        _order().check()


def test_strength_without_a_picture_to_start_from_is_refused():
    with pytest.raises(InputError, match="--init-image"):
        _order(prompt="a cat", strength=0.5).check()


@pytest.mark.parametrize(
    ("mask", "size", "fits"),
    [
        ((60, 50), (60, 50), True),
        ((600, 500), (60, 50), True),
        ((61, 50), (60, 50), True),
        ((64, 64), (60, 50), True),  # of the picture that is asked for
        ((50, 60), (60, 50), False),  # turned, as by an orientation that it does not carry
        ((240, 30), (60, 50), False),
    ],
)
def test_a_mask_has_the_shape_of_its_picture(mask, size, fits):
    before = _picture(*size)
    given = InputImage(encode_image(before, MediaType.PNG).data, MediaType.PNG, before)
    white = RasterImage(np.full((mask[1], mask[0], 3), 255, np.uint8))
    fields = {"width_px": 64, "height_px": 64, "init_image": given, "mask": white}
    if fits:
        assert GenerationRequest("a cat", 1, **fields).mask is white
    else:
        with pytest.raises(InputError, match=rf"mask of {mask[0]}x{mask[1]} .*init_image of 60x50"):
            GenerationRequest("a cat", 1, **fields)
