"""What the generation API takes and answers. Unknown fields are refused."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from generator.pipelines.inputs import choose_size
from generator.pipelines.schedulers import canonical_name
from provenance.errors import InputError
from provenance.imaging import DEFAULT_LIMITS, ImageLimits, open_input
from provenance.types import GenerationRequest, InputRole, LoraRef, MediaType, RenderDefaults

if TYPE_CHECKING:
    from pydantic.config import JsonDict

    from provenance.types import Delivery, InputImage, RegistryRecord

__all__ = [
    "AssetView",
    "GenerationBody",
    "JobView",
    "LoraBody",
    "PictureView",
    "delivery_view",
    "draw_seed",
    "record_asset_view",
]

FORMATS: dict[str, MediaType] = {
    "png": MediaType.PNG,
    "jpeg": MediaType.JPEG,
    "jpg": MediaType.JPEG,
    "webp": MediaType.WEBP,
}

GENERIC = RenderDefaults(steps=20, guidance=7.5)
"""For models of which nothing is known yet."""

EXAMPLE: JsonDict = {"prompt": "a red house on a green hill at night", "steps": 20, "seed": 7}


def draw_seed() -> int:
    """A fresh seed, 0..2**32-1: the range that every pipeline and front end accepts."""
    return secrets.randbelow(2**32)


def _open(text: str, name: str, limits: ImageLimits) -> InputImage:
    try:
        data = base64.b64decode(text.rpartition("base64,")[2], validate=True)
    except ValueError as error:
        raise InputError(f"{name} is not base64; send the file's bytes encoded so") from error
    return open_input(data, name=name, limits=limits)


class LoraBody(BaseModel):
    """An adaptation of the model: a name of the operator's folder, and how strongly it counts."""

    model_config = ConfigDict(extra="forbid")

    name: str
    scale: float = 1.0


class GenerationBody(BaseModel):
    """One request for `n` pictures; the i-th has the seed `seed + i`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    prompt: str
    negative_prompt: str = ""
    model: str | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    steps: int | None = Field(default=None, description="Left out: what suits the model.")
    guidance: float | None = Field(default=None, description="Left out: what suits the model.")
    width: int | None = Field(default=None, description="Left out: the input's, or the model's.")
    height: int | None = None
    n: int = Field(default=1, ge=1)
    format: Literal["png", "jpeg", "jpg", "webp"] = "png"
    quality: int = 92
    previews_every: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="A preview after every so many steps, told in the job's events; 0: none.",
    )
    init_image: str | None = Field(
        default=None, repr=False, description="A picture to start from, as base64 of its file."
    )
    strength: float = Field(
        default=0.75, description="How far from init_image: above 0, at most 1."
    )
    mask: str | None = Field(
        default=None,
        repr=False,
        description="White is painted anew, black stays; base64 of a picture. Needs init_image.",
    )
    input_role: InputRole = Field(
        default=InputRole.EDIT, description="Whether init_image is edited, or only guides."
    )
    scheduler: str | None = Field(default=None, description="Left out: the model's own.")
    loras: tuple[LoraBody, ...] = ()
    visible_label: bool = False

    def to_requests(
        self, defaults: RenderDefaults = GENERIC, *, limits: ImageLimits = DEFAULT_LIMITS
    ) -> tuple[GenerationRequest, ...]:
        """One concrete request a picture.

        Args:
            defaults: What suits the model, for what the body leaves open.
            limits: For the pictures in it.

        Raises:
            InputError: A field is out of range; the message names it.
        """
        first = draw_seed() if self.seed is None else self.seed
        given = None if self.init_image is None else _open(self.init_image, "init_image", limits)
        mask = None if self.mask is None else _open(self.mask, "mask", limits).raster
        width, height = choose_size(None if given is None else given.raster, defaults)
        return tuple(
            GenerationRequest(
                prompt=self.prompt,
                negative_prompt=self.negative_prompt,
                model=self.model,
                seed=first + index,
                steps=defaults.steps if self.steps is None else self.steps,
                guidance=defaults.guidance if self.guidance is None else self.guidance,
                width_px=width if self.width is None else self.width,
                height_px=height if self.height is None else self.height,
                media_type=FORMATS[self.format],
                quality=self.quality,
                init_image=given,
                strength=self.strength,
                mask=mask,
                input_role=self.input_role,
                scheduler=None if self.scheduler is None else canonical_name(self.scheduler),
                loras=tuple(LoraRef(one.name, one.scale) for one in self.loras),
                visible_label=self.visible_label,
            )
            for index in range(self.n)
        )


class AssetView(BaseModel):
    """One delivered picture."""

    record_id: str
    sha256: str
    media_type: str
    width: int
    height: int
    size_bytes: int
    seed: int
    steps: int
    effective_steps: int
    manifest_label: str
    time_stamped: bool
    watermark: dict[str, Any]
    safety: dict[str, Any]
    asset_url: str | None = None


class PictureView(BaseModel):
    """One picture of a job, whether or not it was delivered."""

    number: int
    seed: int
    status: Literal["waiting", "done", "refused", "failed", "cancelled"]
    record_id: str | None = None


JOB_EXAMPLE: JsonDict = {
    "id": "5f0c3a9be4d1720886aa41c3",
    "status": "running",
    "queue_position": None,
    "steps_done": 7,
    "steps_total": 20,
    "pictures_done": 0,
    "pictures_total": 1,
    "pictures": [{"number": 0, "seed": 7, "status": "waiting", "record_id": None}],
    "results": [],
    "detail": None,
    "created_at": "2026-11-24T20:00:00Z",
    "started_at": "2026-11-24T20:00:01Z",
    "finished_at": None,
    "url": "http://127.0.0.1:8765/v1/generations/5f0c3a9be4d1720886aa41c3",
    "events_url": "http://127.0.0.1:8765/v1/generations/5f0c3a9be4d1720886aa41c3/events",
}


class JobView(BaseModel):
    """A job as clients see it; never the prompt.

    `steps_total` counts the steps that are run: with an input picture fewer than were asked for.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [JOB_EXAMPLE]})

    id: str
    status: Literal["queued", "running", "done", "refused", "failed", "cancelled"]
    queue_position: int | None = None
    steps_done: int
    steps_total: int
    pictures_done: int
    pictures_total: int
    pictures: list[PictureView]
    results: list[AssetView]
    detail: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    url: str
    events_url: str


def delivery_view(delivery: Delivery, *, asset_url: str | None = None) -> AssetView:
    """The public view of one delivery."""
    return record_asset_view(delivery.record, asset_url=asset_url)


def _count(record: RegistryRecord, name: str) -> int:
    return int(record.parameters.get(name) or 0)


def record_asset_view(record: RegistryRecord, *, asset_url: str | None = None) -> AssetView:
    """The public view of a delivered picture, from its record."""
    mark, safety = record.watermark, record.safety
    return AssetView(
        record_id=record.record_id,
        sha256=record.asset.sha256,
        media_type=str(record.asset.media_type),
        width=record.asset.width_px,
        height=record.asset.height_px,
        size_bytes=record.asset.size_bytes,
        seed=int(record.parameters.get("seed") or 0),
        steps=_count(record, "steps"),
        effective_steps=_count(record, "effective_steps") or _count(record, "steps"),
        manifest_label=record.manifest_label,
        time_stamped=record.time_stamped,
        watermark={}
        if mark is None
        else {
            "codec": mark.codec,
            "alg": mark.alg,
            "strength": mark.strength,
            "psnr_db": round(mark.psnr_db, 2),
            "bit_accuracy": round(mark.bit_accuracy, 4),
            "ssim": None if mark.ssim is None else round(mark.ssim, 4),
            "margin": None if mark.margin is None else round(mark.margin, 3),
        },
        safety={}
        if safety is None
        else {
            "checker": safety.checker,
            "policy": str(safety.policy),
            "scores": dict(safety.scores),
            "flagged": list(safety.flagged),
        },
        asset_url=asset_url,
    )
