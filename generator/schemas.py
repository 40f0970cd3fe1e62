"""What the generation API takes and answers. Unknown fields are refused."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from provenance.types import GenerationRequest, MediaType

if TYPE_CHECKING:
    from pydantic.config import JsonDict

    from provenance.types import Delivery, RegistryRecord

__all__ = [
    "AssetView",
    "GenerationBody",
    "JobView",
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

EXAMPLE: JsonDict = {"prompt": "a red house on a green hill at night", "steps": 20, "seed": 7}


def draw_seed() -> int:
    """A fresh seed, 0..2**32-1: the range that every pipeline and front end accepts."""
    return secrets.randbelow(2**32)


class GenerationBody(BaseModel):
    """One request for `n` pictures; the i-th has the seed `seed + i`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    prompt: str
    negative_prompt: str = ""
    model: str | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    steps: int = 20
    guidance: float = 7.5
    width: int = 512
    height: int = 512
    n: int = Field(default=1, ge=1)
    format: Literal["png", "jpeg", "jpg", "webp"] = "png"
    quality: int = 92
    previews_every: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="A preview after every so many steps, told in the job's events; 0: none.",
    )

    def to_requests(self) -> tuple[GenerationRequest, ...]:
        """One concrete request a picture.

        Raises:
            InputError: A field is out of range; the message names it.
        """
        first = draw_seed() if self.seed is None else self.seed
        return tuple(
            GenerationRequest(
                prompt=self.prompt,
                negative_prompt=self.negative_prompt,
                model=self.model,
                seed=first + index,
                steps=self.steps,
                guidance=self.guidance,
                width_px=self.width,
                height_px=self.height,
                media_type=FORMATS[self.format],
                quality=self.quality,
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
