"""What the generation API takes and answers. Unknown fields are refused."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from provenance.types import GenerationRequest, MediaType

if TYPE_CHECKING:
    from pydantic.config import JsonDict

    from provenance.types import Delivery

__all__ = ["AssetView", "GenerationBody", "JobView", "delivery_view", "draw_seed"]

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


class JobView(BaseModel):
    """A job as clients see it; never the prompt."""

    id: str
    status: Literal["queued", "running", "done", "refused", "failed"]
    steps_done: int
    steps_total: int
    pictures_done: int
    pictures_total: int
    results: list[AssetView]
    detail: str | None = None
    url: str


def delivery_view(delivery: Delivery, *, asset_url: str | None = None) -> AssetView:
    """The public view of one delivery."""
    record, asset = delivery.record, delivery.asset
    mark, safety = record.watermark, record.safety
    return AssetView(
        record_id=record.record_id,
        sha256=asset.sha256,
        media_type=str(asset.image.media_type),
        width=record.asset.width_px,
        height=record.asset.height_px,
        size_bytes=record.asset.size_bytes,
        seed=int(record.parameters.get("seed") or 0),
        manifest_label=asset.manifest_label,
        time_stamped=asset.time_stamped,
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
