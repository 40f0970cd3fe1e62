"""What the OpenAI-compatible routes take and answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from generator.pipelines.inputs import choose_size
from generator.schemas import draw_seed
from provenance.errors import InputError
from provenance.types import GenerationRequest, MediaType

if TYPE_CHECKING:
    from pydantic.config import JsonDict

    from generator.doorway import Doorway
    from provenance.types import InputImage, RasterImage, RenderDefaults

__all__ = ["EditForm", "ImagesBody", "ImagesView", "ModelList", "ModelView"]

FORMATS = {"png": MediaType.PNG, "jpeg": MediaType.JPEG, "webp": MediaType.WEBP}

STEPS_SHARE = {"low": 0.5, "high": 1.5, "hd": 1.5}
"""Quality as a share of the model's usual steps; every other quality takes those."""

REPAINT_STRENGTH = 1.0
"""With a mask, what is clear in it is painted anew from nothing."""

GENERATION_EXAMPLE: JsonDict = {
    "prompt": "a red house on a green hill at night",
    "n": 1,
    "size": "512x512",
    "response_format": "b64_json",
}


class ImagesBody(BaseModel):
    """The fields of OpenAI's image generation, and a few of ours below them.

    What would change the picture and is not done here is refused; ``user`` and
    ``safety_identifier`` are taken and not kept.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [GENERATION_EXAMPLE]})

    prompt: str
    model: str | None = None
    n: int | None = Field(default=1, ge=1, le=10)
    size: str | None = Field(default="auto", description="WIDTHxHEIGHT, multiples of 8, or auto.")
    quality: Literal["auto", "low", "medium", "high", "standard", "hd"] | None = "auto"
    response_format: Literal["b64_json", "url"] | None = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] | None = "png"
    output_compression: int | None = Field(default=None, ge=0, le=100)
    background: Literal["auto", "opaque"] | None = Field(
        default="auto", description="transparent is refused: the models here paint all pixels."
    )
    moderation: Literal["auto"] | None = Field(
        default="auto", description="low is refused: the safety policy is the operator's."
    )
    style: None = Field(default=None, description="Refused: say it in the prompt.")
    stream: bool | None = False
    partial_images: int | None = Field(default=0, ge=0, le=3)
    user: str | None = None
    safety_identifier: str | None = None

    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Ours.")
    steps: int | None = Field(default=None, ge=1, le=1000, description="Ours.")
    guidance: float | None = Field(default=None, ge=0, le=100, description="Ours.")
    negative_prompt: str = Field(default="", description="Ours.")

    def to_requests(
        self,
        doorway: Doorway,
        *,
        init_image: InputImage | None = None,
        mask: RasterImage | None = None,
        strength: float = 0.75,
    ) -> tuple[GenerationRequest, ...]:
        """One concrete request a picture.

        Raises:
            InputError: A field is out of range; the message names it.
        """
        if self.stream and self.n not in (None, 1):
            raise InputError("n must be 1 with stream: each stream tells of one picture")
        if self.output_compression not in (None, 100) and self.output_format == "png":
            raise InputError("output_compression goes with jpeg and webp; png loses nothing")
        model = doorway.resolve_model(self.model)
        doorway.check_count(self.n or 1, f"n {self.n}")
        usual = doorway.defaults_of(model)
        first = draw_seed() if self.seed is None else self.seed
        share = STEPS_SHARE.get(self.quality or "auto", 1.0)
        width, height = self._size(usual, init_image)
        return tuple(
            GenerationRequest(
                prompt=self.prompt,
                negative_prompt=self.negative_prompt,
                model=model,
                seed=first + index,
                steps=self.steps or max(1, round(usual.steps * share)),
                guidance=usual.guidance if self.guidance is None else self.guidance,
                width_px=width,
                height_px=height,
                media_type=FORMATS[self.output_format or "png"],
                quality=92 if self.output_compression is None else max(1, self.output_compression),
                init_image=init_image,
                mask=mask,
                strength=strength,
            )
            for index in range(self.n or 1)
        )

    def _size(self, usual: RenderDefaults, init_image: InputImage | None) -> tuple[int, int]:
        if self.size in (None, "auto"):
            return choose_size(None if init_image is None else init_image.raster, usual)
        width_text, _, height_text = str(self.size).partition("x")
        if not (width_text.isascii() and width_text.isdigit() and len(width_text) < 6) or not (
            height_text.isascii() and height_text.isdigit() and len(height_text) < 6
        ):
            raise InputError(f"size {str(self.size)[:40]!r} must be WIDTHxHEIGHT, like 512x512")
        return int(width_text), int(height_text)


class EditForm(ImagesBody):
    """The text fields of OpenAI's image edit; the files come beside them."""

    model_config = ConfigDict(extra="forbid")

    input_fidelity: Literal["low"] | None = Field(
        default=None, description="high is refused: use strength."
    )
    strength: float | None = Field(
        default=None, gt=0, le=1, description="Ours: how far it may go from the picture."
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, sent: dict[str, Any]) -> dict[str, Any]:
        """Forms know no null: clients send an empty text for what they leave open."""
        return {name: value for name, value in sent.items() if value != "" or name == "prompt"}


# -- answers -------------------------------------------------------------------------------------

IMAGES_EXAMPLE: JsonDict = {
    "created": 1795550409,
    "background": "opaque",
    "output_format": "png",
    "size": "512x512",
    "data": [
        {
            "b64_json": "iVBORw0KGgo...",
            "url": None,
            "record_id": "3f2a9c0d11e87b46",
            "seed": 7,
        }
    ],
}


class ImageView(BaseModel):
    """One picture; `record_id` and `seed` are ours."""

    b64_json: str | None = None
    url: str | None = None
    record_id: str
    seed: int


class ImagesView(BaseModel):
    """As OpenAI's ``ImagesResponse``."""

    model_config = ConfigDict(json_schema_extra={"examples": [IMAGES_EXAMPLE]})

    created: int
    background: Literal["opaque"] = "opaque"
    output_format: Literal["png", "jpeg", "webp"]
    size: str
    data: list[ImageView]


class ModelView(BaseModel):
    """As OpenAI's ``Model``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "bundled", "object": "model", "created": 0, "owned_by": "operator"}]
        }
    )

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "operator"


class ModelList(BaseModel):
    """As OpenAI's list of models."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [
                        {"id": "bundled", "object": "model", "created": 0, "owned_by": "operator"}
                    ],
                }
            ]
        }
    )

    object: Literal["list"] = "list"
    data: list[ModelView]
