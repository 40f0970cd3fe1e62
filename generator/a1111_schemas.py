"""What the AUTOMATIC1111-compatible routes take, and what of it can be done here.

Its clients send dozens of fields, most of them always. Each field is one of three kinds: done;
without influence on the picture, and taken; or one that would change the picture and is not done
here, which is refused unless it says "off".

Source: ``modules/api/models.py`` and ``modules/processing.py`` of AUTOMATIC1111, version 1.10.
"""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter
from pydantic import BaseModel, ConfigDict, Field

from generator.doorway import alpha_of, mask_of
from generator.pipelines.inputs import choose_size
from generator.pipelines.schedulers import canonical_name
from generator.schemas import draw_seed
from provenance.errors import InputError
from provenance.imaging import decode_image, open_input
from provenance.types import GenerationRequest, LoraRef, MediaType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.config import JsonDict

    from generator.doorway import Doorway
    from provenance.imaging import ImageLimits
    from provenance.types import RasterImage

__all__ = [
    "Asked",
    "ImageBody",
    "ImagesView",
    "TextBody",
    "in_its_words",
    "read_body",
    "to_requests",
]

NO_INFLUENCE = frozenset(
    {
        "comments", "do_not_save_grid", "do_not_save_samples",
        "firstpass_image", "force_task_id", "hr_additional_modules", "hr_cfg", "hr_checkpoint_name",
        "hr_distilled_cfg", "hr_negative_prompt", "hr_prompt", "hr_resize_x", "hr_resize_y",
        "hr_sampler_name", "hr_scale", "hr_scheduler", "hr_second_pass_steps", "hr_upscaler",
        "image_cfg_scale", "include_init_images", "inpaint_full_res_padding",
        "override_settings_restore_afterwards", "refiner_switch_at", "s_tmax", "s_tmin",
        "sampler_index", "save_images", "script_args", "subseed",
    }
)  # fmt: skip
"""Where and how things are saved and shown, and details of what is off (below)."""

OFF: Mapping[str, tuple[Any, ...]] = {
    "alwayson_scripts": ({},),
    "controlnet_units": ([],),
    "disable_extra_networks": (False,),
    "enable_hr": (False,),
    "firstphase_height": (0,),
    "firstphase_width": (0,),
    "infotext": ("",),
    "initial_noise_multiplier": (1,),
    "latent_mask": (),
    "refiner_checkpoint": ("", "None"),
    "restore_faces": (False,),
    "s_churn": (0,),
    "s_min_uncond": (0,),
    "s_noise": (1,),
    "script_name": ("", "None"),
    "seed_resize_from_h": (0, -1),
    "seed_resize_from_w": (0, -1),
    "styles": ([],),
    "subseed_strength": (0,),
    "tiling": (False,),
}
"""What would change the picture, with the values that mean "off"; null always does."""

SETTINGS_OFF: Mapping[str, tuple[Any, ...]] = {
    "CLIP_stop_at_last_layers": (1,),
    "eta_noise_seed_delta": (0,),
    "sd_vae": ("Automatic", "None"),
    "sd_unet": ("Automatic", "None"),
}
SAMPLES_FORMATS = {
    "png": MediaType.PNG,
    "jpg": MediaType.JPEG,
    "jpeg": MediaType.JPEG,
    "webp": MediaType.WEBP,
}
CHECKPOINT = "sd_model_checkpoint"
SETTINGS_DONE = frozenset({CHECKPOINT, "samples_format"})

AUTOMATIC = frozenset({"automatic", ""})
PLAIN_SCHEDULERS = frozenset({"uniform", "normal"})
KARRAS_OF_ITSELF = frozenset({"dpm++ 2m", "dpm++ 2s a", "dpm2", "dpm2 a"})
"""Samplers whose automatic noise schedule is Karras' since version 1.9."""

ETA: Mapping[str, float] = {"euler_a": 1, "dpm2_a": 1, "dpm2_a_karras": 1, "ddim": 0}
"""The share of fresh noise of our samplers that have one; all others do not ask for it."""

BRACKETS = re.compile(r"(?<!\\)[(\[]")

LORA = re.compile(r"<lora:([^:<>]{1,100})(?::(-?\d+(?:\.\d+)?))?>")

ITS_NAMES: Mapping[str, str] = {
    "format": "override_settings.samples_format",
    "guidance": "cfg_scale",
    "init_image": "init_images",
    "loras": "prompt (<lora:NAME:SCALE>)",
    "model": f"override_settings.{CHECKPOINT}",
    "scheduler": "sampler_name",
    "strength": "denoising_strength",
}
"""Fields of ours that go by another name at this door."""
FIRST_ONLY = frozenset({"format", "loras", "model"})
"""Also plain words: names of fields only where a message begins with them."""
_OURS = re.compile(rf"'[^']*'|\"[^\"]*\"|\b({'|'.join(ITS_NAMES)})\b")

TEXT_EXAMPLE: JsonDict = {
    "prompt": "a red house on a green hill",
    "negative_prompt": "",
    "steps": 20,
    "cfg_scale": 7,
    "width": 512,
    "height": 512,
    "sampler_name": "Euler a",
    "seed": -1,
}


class TextBody(BaseModel):
    """The fields of ``txt2img`` that are done here; see the module for all others."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [TEXT_EXAMPLE]})

    prompt: str = ""
    negative_prompt: str | None = ""
    seed: int | None = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int = Field(default=1, ge=1, le=64)
    n_iter: int = Field(default=1, ge=1, le=64)
    steps: int | None = None
    cfg_scale: float | None = None
    eta: float | None = None
    width: int | None = None
    height: int | None = None
    denoising_strength: float | None = None
    override_settings: dict[str, Any] | None = None
    send_images: bool | None = True


class ImageBody(TextBody):
    """The fields of ``img2img`` that are done here, besides those of ``txt2img``."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{**TEXT_EXAMPLE, "init_images": ["iVBORw0KGgo..."], "steps": 20}]
        },
    )

    init_images: list[str] = Field(min_length=1, max_length=1)
    resize_mode: int = Field(default=0, ge=0, le=0)
    mask: str | None = None
    mask_blur: float | None = Field(default=None, ge=0, le=64)
    mask_blur_x: float | None = Field(default=4, ge=0, le=64)
    mask_blur_y: float | None = Field(default=4, ge=0, le=64)
    inpainting_fill: int | None = Field(default=0, ge=0, le=1)
    inpaint_full_res: bool | None = True
    inpainting_mask_invert: int | None = Field(default=0, ge=0, le=1)


class ImagesView(BaseModel):
    """As AUTOMATIC1111 answers: pictures, what was asked for, and `info`, itself JSON text."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "images": ["iVBORw0KGgo..."],
                    "parameters": {"prompt": "a red house", "steps": 20},
                    "info": '{"seed": 7, "record_ids": ["3f2a9c0d11e87b46"]}',
                }
            ]
        }
    )

    images: list[str]
    parameters: dict[str, Any]
    info: str


@contextmanager
def in_its_words() -> Iterator[None]:
    """What is wrong with a request, by the names that this door's clients know.

    Raises:
        InputError: As the block did.
    """
    try:
        yield
    except InputError as error:
        if type(error) is not InputError:
            raise
        raise InputError(_OURS.sub(_rename, str(error))) from error


def _rename(found: re.Match[str]) -> str:
    ours = found[1]
    if ours is None or (ours in FIRST_ONLY and found.start()):  # quoted, or a plain word
        return found[0]
    return ITS_NAMES[ours]


def read_body(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are done here, when all others are without influence or off.

    Raises:
        InputError: One would change the picture, and is not done here.
    """
    kept: dict[str, Any] = {}
    for name, value in sent.items():
        if name in NO_INFLUENCE:
            continue
        if name not in OFF:
            kept[name] = value
        elif not (value is None or value in OFF[name] or _is_idle(name, value)):
            raise InputError(
                f"{name} would change the picture and is not done here; leave it out, "
                "or ask for it in another way"
            )
    if not kept.get("sampler_name") and sent.get("sampler_index"):
        kept["sampler_name"] = sent["sampler_index"]  # its old name
    return kept


def _is_idle(name: str, value: Any) -> bool:
    """Whether extension scripts are merely named: with no arguments, or switched off."""
    if name != "alwayson_scripts" or not isinstance(value, dict):
        return False
    arguments = (one.get("args") if isinstance(one, dict) else one for one in value.values())
    return all(args in ([], None, {}) or args == [False] for args in arguments)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body comes to.

    Attributes:
        requests: One a picture.
        model: As clients name it.
        sampler: As it was asked for.
        differences: Where the picture is made in another way than AUTOMATIC1111 would.
    """

    requests: tuple[GenerationRequest, ...]
    model: str
    sampler: str
    differences: tuple[str, ...]


def to_requests(body: TextBody, doorway: Doorway, *, chosen_model: str) -> Asked:
    """Concrete requests.

    Raises:
        InputError: A field is out of range or not offered; the message names it.
    """
    doorway.check_count(body.batch_size * body.n_iter, _count_asked(body))
    settings = _checked_settings(body.override_settings or {})
    label = str(settings.get(CHECKPOINT) or chosen_model)
    with in_its_words():
        model = doorway.resolve_model(_without_hash(label))
        prompt, loras = _split_loras(body.prompt)
    usual = doorway.defaults_of(model)
    first = draw_seed() if body.seed is None or body.seed == -1 else body.seed
    made: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": body.negative_prompt or "",
        "model": model,
        "steps": usual.steps if body.steps is None else body.steps,
        "guidance": usual.guidance if body.cfg_scale is None else body.cfg_scale,
        "media_type": _media_type(settings),
        "scheduler": _scheduler(body),
        "loras": loras,
    }
    differences = _differences(body, made["scheduler"])
    if isinstance(body, ImageBody):
        differences += _add_image(made, body, doorway.limits)
    opened = made.get("init_image")
    width, height = choose_size(None if opened is None else opened.raster, usual)
    made["width_px"] = width if body.width is None else body.width
    made["height_px"] = height if body.height is None else body.height
    with in_its_words():
        requests = tuple(
            GenerationRequest(seed=first + index, **made)
            for index in range(body.batch_size * body.n_iter)
        )
    return Asked(requests, label, body.sampler_name or "Automatic", differences)


def _count_asked(body: TextBody) -> str:
    """How many pictures, by the fields that the client chose."""
    fields = {"batch_size": body.batch_size, "n_iter": body.n_iter}
    return " times ".join(f"{name} {value}" for name, value in fields.items() if value > 1)


def _differences(body: TextBody, scheduler: str | None) -> tuple[str, ...]:
    """What of any request is done in another way."""
    found = []
    if BRACKETS.search(body.prompt) or BRACKETS.search(body.negative_prompt or ""):
        found.append("prompt: brackets are read as words, not as emphasis")
    usual = ETA.get(scheduler or "")
    if usual is not None and body.eta not in (None, usual):
        found.append(f"eta: {usual}, that of the sampler")
    return tuple(found)


def _checked_settings(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, value in settings.items():
        if name in SETTINGS_DONE or value is None or value in SETTINGS_OFF.get(name, ()):
            continue
        raise InputError(
            f"override_settings.{name[:60]} is not done here; only {CHECKPOINT} and samples_format"
        )
    return settings


def _media_type(settings: Mapping[str, Any]) -> MediaType:
    asked = settings.get("samples_format")
    found = SAMPLES_FORMATS.get("png" if asked is None else str(asked))
    if found is None:
        known = ", ".join(SAMPLES_FORMATS)
        raise InputError(f"override_settings.samples_format must be one of {known}")
    return found


def _without_hash(title: str) -> str:
    """Its clients name a model by a title that may end with a short digest in brackets."""
    return re.sub(r" \[[0-9a-f]{6,64}\]$", "", title)


def _scheduler(body: TextBody) -> str | None:
    name, kind = body.sampler_name, (body.scheduler or "").lower()
    if not name or name.lower() == "automatic":
        if kind in AUTOMATIC:
            return None
        raise InputError(f"scheduler {kind[:40]!r} needs a sampler_name beside it")
    if kind in AUTOMATIC:
        kind = "karras" if name.lower() in KARRAS_OF_ITSELF else "uniform"
    is_whole = kind in PLAIN_SCHEDULERS or name.lower().endswith(kind)
    with in_its_words():
        return canonical_name(name if is_whole else f"{name} {kind}")


def _split_loras(prompt: str) -> tuple[str, tuple[LoraRef, ...]]:
    loras = tuple(
        LoraRef(name, 1.0 if scale is None else float(scale))
        for name, scale in ((m[1], m[2]) for m in LORA.finditer(prompt))
    )
    return LORA.sub("", prompt).strip() if loras else prompt, loras


# -- pictures ------------------------------------------------------------------------------------


def _add_image(made: dict[str, Any], body: ImageBody, limits: ImageLimits) -> tuple[str, ...]:
    data = _decode(body.init_images[0], "init_images")
    made["init_image"] = open_input(data, name="init_images", limits=limits)
    strength = 0.75 if body.denoising_strength is None else body.denoising_strength
    if not strength:
        raise InputError("denoising_strength 0 changes nothing; send more than 0")
    made["strength"] = strength
    if not body.mask:
        return ()
    made["mask"] = _mask(body, limits)
    differences = []
    if body.inpainting_fill == 0:
        differences.append("inpainting_fill: the masked place starts from the original, as with 1")
    if body.inpaint_full_res:
        differences.append("inpaint_full_res: the whole picture is rendered, as with false")
    return tuple(differences)


def _mask(body: ImageBody, limits: ImageLimits) -> RasterImage:
    data = _decode(str(body.mask), "mask")
    clear = alpha_of(data, name="mask", limits=limits)
    if clear is None:
        raster = decode_image(data, name="mask", limits=limits)
        grey = Image.fromarray(np.asarray(raster.pixels)).convert("L")
    else:
        grey = Image.fromarray(clear)  # what is drawn on a clear ground, of whatever colour
    if body.inpainting_mask_invert:
        grey = grey.point(lambda value: 255 - value)
    blur = (body.mask_blur_x or 0, body.mask_blur_y or 0)
    if body.mask_blur is not None:
        blur = (body.mask_blur, body.mask_blur)
    if any(blur):
        grey = grey.filter(ImageFilter.GaussianBlur(blur))
    return mask_of(np.asarray(grey))


def _decode(text: str, name: str) -> bytes:
    """The bytes of a picture in base64, with or without ``data:image/png;base64,`` before it."""
    if text.startswith(("http://", "https://")):
        raise InputError(f"{name} is an address; nothing is fetched here: send the picture itself")
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name} is no base64") from error
