"""The pipelines of one model: from text, from a picture, and with a mask, all on the same parts."""

from __future__ import annotations

import importlib
import inspect
from contextlib import contextmanager
from enum import StrEnum
from math import nextafter
from typing import TYPE_CHECKING, Any

from generator.pipelines.inputs import fit_image, fit_mask
from generator.pipelines.schedulers import is_flow_matching
from provenance.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generator.pipelines.stepping import Steps
    from provenance.types import GenerationRequest, ModelRef

__all__ = ["Task", "Variants", "call_arguments", "plain_unet_admitted"]


class Task(StrEnum):
    """What a pipeline starts from."""

    TEXT = "text"
    IMAGE = "image"
    MASK = "mask"

    @classmethod
    def of(cls, request: GenerationRequest) -> Task:
        """The task of a request."""
        if request.init_image is None:
            return cls.TEXT
        return cls.IMAGE if request.mask is None else cls.MASK


_AUTO = {Task.IMAGE: "AutoPipelineForImage2Image", Task.MASK: "AutoPipelineForInpainting"}
_FIELDS = {Task.IMAGE: "init_image", Task.MASK: "mask"}
_DOES = {Task.IMAGE: "start from a picture", Task.MASK: "paint inside a mask"}

_OFFLOAD_FIELDS = ("_all_hooks", "_offload_device", "_offload_gpu_id")
"""Where diffusers keeps the hooks that move parts between CPU and accelerator. The parts are
shared, so their hooks must be known to whichever pipeline runs."""


class Variants:
    """Answers the pipeline for a request; all share weights, scheduler and offloading."""

    def __init__(self, pipeline: Any, model: ModelRef) -> None:
        self._model = model
        self._made: dict[Task, Any] = {Task.TEXT: pipeline}
        self._last = pipeline

    def open(self, request: GenerationRequest) -> Any:
        """The pipeline for what the request starts from.

        Raises:
            InputError: This family has none; names the field.
        """
        task = Task.of(request)
        if task not in self._made:
            self._made[task] = self._make(task)
        chosen = self._made[task]
        if chosen is not self._last:
            for name in _OFFLOAD_FIELDS:
                if name in vars(self._last):
                    setattr(chosen, name, vars(self._last)[name])
        self._last = chosen
        return chosen

    def _make(self, task: Task) -> Any:
        auto = getattr(importlib.import_module("diffusers"), _AUTO[task])
        try:
            made = auto.from_pipe(
                self._made[Task.TEXT], requires_safety_checker=False, add_watermarker=False
            )
        except ValueError as error:
            raise InputError(
                f"{_FIELDS[task]}: {self._model.name} ({self._model.family}) cannot "
                f"{_DOES[task]}; leave it out or choose another model"
            ) from error
        if getattr(made, "watermark", None) is not None:
            made.watermark = None  # a second, unkeyed mark under ours
        made.set_progress_bar_config(disable=True)
        return made


_PLAIN_CHANNELS = 4
"""What diffusers takes a UNet for that was made for pictures, not for masks."""


@contextmanager
def plain_unet_admitted(pipeline: Any, request: GenerationRequest) -> Iterator[None]:
    """Lets a UNet whose latents have other than four channels paint inside a mask.

    NOTE: `StableDiffusionInpaintPipeline` refuses it, though all that it does with the number in
    the configuration is to tell plain UNets (4) from those that read the mask (9).
    """
    unet, vae = getattr(pipeline, "unet", None), getattr(pipeline, "vae", None)
    if request.mask is None or unet is None or vae is None:
        yield
        return
    own = unet.config
    if own.in_channels == vae.config.latent_channels != _PLAIN_CHANNELS:
        unet.register_to_config(in_channels=_PLAIN_CHANNELS)
    try:
        yield
    finally:
        unet.register_to_config(in_channels=own.in_channels)


def call_arguments(pipeline: Any, steps: Steps) -> dict[str, Any]:
    """What a diffusers pipeline is called with."""
    requests = steps.watched.requests
    first = requests[0]
    wanted: dict[str, Any] = {
        "prompt": _one_or_all([request.prompt for request in requests]),
        "num_inference_steps": first.steps,
        "guidance_scale": first.guidance,
        "width": first.width_px,
        "height": first.height_px,
        "generator": _one_or_all(list(steps.watched.generators)),
        "callback_on_step_end": steps,
        "num_images_per_prompt": 1,
        # Floats, so that a NaN can be told from black; 8-bit output would hide it.
        "output_type": "np",
    }
    if first.negative_prompt:
        wanted["negative_prompt"] = _one_or_all([r.negative_prompt for r in requests])
    if first.init_image is not None:
        image = fit_image(first.init_image.raster, first)
        wanted["image"] = _one_or_all([image] * len(requests))
        wanted["strength"] = _strength(pipeline, first)
    if first.mask is not None:
        wanted["mask_image"] = _one_or_all([fit_mask(first.mask, first)] * len(requests))
    accepted = inspect.signature(pipeline.__call__).parameters
    return {name: value for name, value in wanted.items() if name in accepted}


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _strength(pipeline: Any, request: GenerationRequest) -> float:
    """The strength that makes every family run the request's effective steps.

    NOTE: pipelines of flow-matching models round the number of skipped steps down instead of the
    number that is run: 50 steps at 0.875 would be 44 with SD 3, but 43 with SD 1.
    """
    if not is_flow_matching(pipeline.scheduler):
        return request.strength
    steps, skipped = request.steps, request.steps - request.effective_steps
    strength = request.effective_steps / steps
    while int(max(steps - min(steps * strength, steps), 0)) < skipped:
        strength = nextafter(strength, 0.0)
    return strength
