"""What bodies of AUTOMATIC1111's clients come to."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from generator.a1111_api import SAMPLERS, SCHEDULERS
from generator.a1111_schemas import (
    ImageBody,
    TextBody,
    in_its_words,
    read_body,
    to_requests,
)
from generator.doorway import Doorway
from generator.pipelines.schedulers import SCHEDULERS as OURS
from provenance.errors import CapacityError, InputError
from provenance.imaging import ImageLimits
from provenance.types import RenderDefaults

if TYPE_CHECKING:
    from generator.a1111_schemas import Asked
    from provenance.types import GenerationRequest


UNUSED: Any = None
DOORWAY = Doorway(
    admission=UNUSED,
    records=UNUSED,
    assets=UNUSED,
    defaults_of=lambda _: RenderDefaults(steps=20, guidance=7.5, side_px=512),
    default_model="",
    allowed_models=(),
    max_batch=8,
    limits=ImageLimits(10_000_000, 4_000_000),
)


def encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def asked(**fields: Any) -> Asked:
    kind = ImageBody if "init_images" in fields else TextBody
    body = kind.model_validate(read_body({"prompt": "a house", **fields}))
    return to_requests(body, DOORWAY, chosen_model="bundled")


def first(**fields: Any) -> GenerationRequest:
    return asked(**fields).requests[0]


PICTURE = encoded(Image.effect_noise((640, 320), 60).convert("RGB"))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("schedule", [name for name, _ in SCHEDULERS if name != "karras"])
def test_every_listed_sampler_is_in_the_table(sampler: str, schedule: str) -> None:
    assert first(sampler_name=sampler, scheduler=schedule).scheduler in OURS


@pytest.mark.parametrize(
    ("sampler", "schedule", "ours"),
    [
        ("DPM++ 2M", None, "dpmpp_2m_karras"),
        ("DPM++ 2M", "Automatic", "dpmpp_2m_karras"),
        ("DPM++ 2M", "Uniform", "dpmpp_2m"),
        ("DPM++ 2M Karras", None, "dpmpp_2m_karras"),
        ("DPM++ 2M Karras", "Karras", "dpmpp_2m_karras"),
        ("Euler", "Karras", "euler_karras"),
        ("Euler a", "Automatic", "euler_a"),
        ("PLMS", None, "pndm"),
        (None, "Automatic", None),
    ],
)
def test_sampler_and_noise_schedule_name_one_of_ours(
    sampler: str | None, schedule: str | None, ours: str | None
) -> None:
    assert first(sampler_name=sampler, scheduler=schedule).scheduler == ours


def test_a_noise_schedule_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match="exponential"):
        asked(sampler_name="DPM++ 2M", scheduler="Exponential")


def test_eta_is_told_where_it_would_change_the_picture() -> None:
    assert asked(sampler_name="Euler a", eta=1.0).differences == ()
    assert asked(sampler_name="Euler", eta=1.0).differences == ()
    (told,) = asked(sampler_name="DDIM", eta=1.0).differences
    assert told.startswith("eta")


def test_emphasis_is_told() -> None:
    assert asked(prompt="a (red:1.3) house").differences[0].startswith("prompt")
    assert asked(prompt=r"a \(red\) house").differences == ()


def test_a_lora_leaves_the_prompt() -> None:
    request = first(prompt="a house <lora:ink:0.5>")
    assert request.prompt == "a house"
    assert [(one.name, one.scale) for one in request.loras] == [("ink", 0.5)]


@pytest.mark.parametrize("field", ["infotext", "disable_extra_networks"])
def test_what_rewrites_the_request_is_refused_unless_off(field: str) -> None:
    assert asked(**{field: None}).requests
    with pytest.raises(InputError, match=field):
        asked(**{field: "Steps: 3" if field == "infotext" else True})


def test_size_without_one_follows_the_input() -> None:
    request = first(init_images=[PICTURE])
    assert (request.width_px, request.height_px) == (640, 320)
    assert (first().width_px, first().height_px) == (512, 512)


def test_a_mask_that_is_left_to_its_defaults_is_blurred_and_told() -> None:
    mask = Image.new("L", (640, 320), 0)
    mask.paste(255, (320, 0, 640, 320))
    result = asked(init_images=[PICTURE], mask=encoded(mask))
    assert {told.partition(":")[0] for told in result.differences} == {
        "inpainting_fill",
        "inpaint_full_res",
    }
    drawn = result.requests[0].mask
    assert drawn is not None
    assert len(np.unique(drawn.pixels)) > 2
    sharp = first(init_images=[PICTURE], mask=encoded(mask), mask_blur=0).mask
    assert sharp is not None
    assert set(np.unique(sharp.pixels)) == {0, 255}


def test_a_mask_drawn_on_a_clear_ground_is_its_opacity() -> None:
    mask = Image.new("RGBA", (640, 320), (0, 0, 0, 0))
    mask.paste((0, 0, 0, 255), (320, 0, 640, 320))  # black, and yet what is to be repainted
    made = first(init_images=[PICTURE], mask=encoded(mask), mask_blur=0).mask
    assert made is not None
    assert made.pixels[0, 0, 0] == 0
    assert made.pixels[0, 600, 0] == 255


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cfg_scale": 101}, "cfg_scale 101.0 is outside 0..100"),
        ({"sampler_name": "guidance 9"}, "sampler_name 'guidance 9' is unknown"),
        ({"sampler_name": "Euler", "scheduler": "beta"}, "sampler_name 'Euler beta' is unknown"),
        ({"scheduler": "beta"}, "scheduler 'beta' needs a sampler_name"),
        (
            {"init_images": [PICTURE], "denoising_strength": 0.01, "steps": 5},
            "denoising_strength 0.01 of 5 steps leaves no step to run; raise denoising_strength to",
        ),
        ({"init_images": [PICTURE], "denoising_strength": 3}, "denoising_strength 3.0 must be"),
        (
            {"init_images": [PICTURE], "mask": encoded(Image.new("L", (64, 640), 255))},
            "has another shape than init_images of 640x320",
        ),
        (
            {"override_settings": {"sd_model_checkpoint": "other"}},
            "override_settings.sd_model_checkpoint 'other' is not offered",
        ),
        ({"prompt": "a <lora:ink:9>"}, "prompt (<lora:NAME:SCALE>): scale 9.0 of ink is outside"),
        ({"width": 13}, "width 13 must be a multiple"),
    ],
)
def test_what_is_wrong_is_said_by_the_names_that_its_clients_send(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        asked(**fields)
    assert said in str(caught.value)


def test_errors_of_another_kind_keep_their_kind() -> None:
    with pytest.raises(CapacityError, match="guidance"), in_its_words():
        raise CapacityError("guidance")
