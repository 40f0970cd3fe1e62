"""A loaded diffusers pipeline as our `Pipeline`: checks requests, renders, translates errors."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from math import lcm
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from provenance.errors import GenerationError, InputError
from provenance.types import RasterImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from provenance.types import GenerationRequest, ModelRef

__all__ = [
    "FOREIGN_ERRORS",
    "DiffusersPipeline",
    "RenderDefaults",
    "first_line",
    "is_out_of_memory",
    "quiet_libraries",
    "quiet_logs",
]

_log = logging.getLogger(__name__)

FOREIGN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)
"""What torch, diffusers and transformers raise; torch's own errors are RuntimeErrors."""


@dataclass(frozen=True, slots=True)
class RenderDefaults:
    """What the model's own pipeline takes when nobody says otherwise.

    Attributes:
        steps: Denoising steps.
        guidance: Guidance scale.
        side_px: Width and height that the model was made for; None when it names none.
        multiple_px: Width and height must be multiples of this.
    """

    steps: int
    guidance: float
    side_px: int | None
    multiple_px: int


class DiffusersPipeline:
    """A loaded model behind the `provenance.interfaces.Pipeline` protocol.

    Renders one picture at a time: schedulers keep state, so a lock guards `render`.

    Args:
        pipeline: A diffusers pipeline, placed on its device.
        model: What it is.
        safety_checker_folder: The model folder, when a Stable Diffusion safety checker lies in it.
        device: Where it computes.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        model: ModelRef,
        safety_checker_folder: Path | None,
        device: str,
    ) -> None:
        self._pipeline = pipeline
        self._model = model
        self._safety_checker_folder = safety_checker_folder
        self._device = device
        self._accepted = inspect.signature(pipeline.__call__).parameters
        self._defaults = _read_defaults(pipeline, self._accepted)
        self._lock = threading.Lock()

    @property
    def model(self) -> ModelRef:
        """The pinned model in memory."""
        return self._model

    @property
    def version(self) -> str:
        """Version of diffusers."""
        return importlib.metadata.version("diffusers")

    @property
    def safety_checker_folder(self) -> Path | None:
        """What `generator.safety.stable_diffusion.load_checker` takes; None without a checker."""
        return self._safety_checker_folder

    @property
    def defaults(self) -> RenderDefaults:
        """What suits this model when a request leaves the choice open."""
        return self._defaults

    @property
    def device(self) -> str:
        """Where it computes, e.g. ``cuda`` or ``cpu``."""
        return self._device

    def notes(self, request: GenerationRequest) -> tuple[str, ...]:
        """What a render would leave out, in sentences without the prompt's words."""
        texts = (("prompt", request.prompt), ("negative_prompt", request.negative_prompt))
        found = (self._truncation(name, text) for name, text in texts if text)
        return tuple(note for note in found if note is not None)

    def render(
        self, request: GenerationRequest, on_step: Callable[[int, int], None]
    ) -> RasterImage:
        """Renders one picture; the same on the same hardware for the same request.

        The noise comes from a generator on the CPU, so that it doesn't depend on the device.

        Args:
            request: What to draw.
            on_step: Called after each step with (steps done, steps in all). The number in all
                is the scheduler's: some take a step or two more than asked for. What it raises
                ends the render and comes out as it is.

        Raises:
            InputError: The model cannot do what the request asks; names the field.
            GenerationError: Out of memory, or the model yields no picture.
        """
        self._check_size(request)
        with self._lock:
            self._check_negative_prompt(request)
            for note in self.notes(request):
                _log.warning("%s", note)
            watch = _StepWatch(on_step)
            with quiet_logs(), self._translated(request, watch):
                result = self._pipeline(**self._arguments(request, watch), **_NUMPY_OUTPUT)
        return _to_raster(result.images, request)

    def _arguments(self, request: GenerationRequest, watch: _StepWatch) -> dict[str, Any]:
        wanted: dict[str, Any] = {
            "prompt": request.prompt,
            "num_inference_steps": request.steps,
            "guidance_scale": request.guidance,
            "width": request.width_px,
            "height": request.height_px,
            "generator": torch.Generator(device="cpu").manual_seed(request.seed),
            "callback_on_step_end": watch,
        }
        if request.negative_prompt:
            wanted["negative_prompt"] = request.negative_prompt
        return {name: value for name, value in wanted.items() if name in self._accepted}

    def _check_size(self, request: GenerationRequest) -> None:
        for name, side in (("width", request.width_px), ("height", request.height_px)):
            multiple = self._defaults.multiple_px
            largest = _largest_side(self._pipeline)
            nearest = max(multiple, round(side / multiple) * multiple)
            if largest is not None and nearest > largest:
                nearest = largest
            if nearest != side:
                limit = f" up to {largest}" if largest is not None else ""
                raise InputError(
                    f"{name} {side} doesn't suit {self._model.name}, which needs multiples of "
                    f"{multiple}{limit}; the nearest is {nearest}"
                )

    def _check_negative_prompt(self, request: GenerationRequest) -> None:
        """Refuses a negative prompt that would have no effect, instead of dropping it."""
        if not request.negative_prompt:
            return
        # FLUX takes the argument, but heeds it only with a second, costly guidance pass.
        if "negative_prompt" not in self._accepted or "true_cfg_scale" in self._accepted:
            raise InputError(
                f"negative_prompt: {self._model.name} ({self._model.family}) cannot steer away "
                "from words; leave the negative prompt empty"
            )
        # NOTE: pipelines decide by this property, each by its own rule, from this field.
        self._pipeline._guidance_scale = request.guidance  # noqa: SLF001
        if not getattr(self._pipeline, "do_classifier_free_guidance", True):
            raise InputError(
                f"negative_prompt has no effect at guidance {request.guidance:g} with "
                f"{self._model.name}; raise the guidance above 1, or leave it empty"
            )

    def _truncation(self, name: str, text: str) -> str | None:
        """A sentence when no text encoder reads the whole text."""
        limit = self._accepted.get("max_sequence_length")
        best: tuple[int, int] | None = None
        for part, tokenizer in self._pipeline.components.items():
            if not part.startswith("tokenizer") or tokenizer is None:
                continue
            window = tokenizer.model_max_length
            if limit is not None and not type(tokenizer).__name__.startswith("CLIP"):
                window = min(window, limit.default)
            with quiet_logs():
                count = len(tokenizer(text, truncation=False).input_ids)
            if count <= window:
                return None
            if best is None or window > best[1]:
                best = (count, window)
        if best is None:
            return None
        return f"{name} has {best[0]} tokens, of which {self._model.name} reads the first {best[1]}"

    @contextmanager
    def _translated(self, request: GenerationRequest, watch: _StepWatch) -> Iterator[None]:
        try:
            yield
        except FOREIGN_ERRORS as error:
            if error is watch.raised:
                raise
            if is_out_of_memory(error):
                raise GenerationError(self._memory_message(request)) from error
            raise GenerationError(
                f"{self._model.name} failed while rendering {request.width_px}x"
                f"{request.height_px}: {first_line(error)}"
            ) from error

    def _memory_message(self, request: GenerationRequest) -> str:
        return (
            f"out of memory on {self._device} while rendering {request.width_px}x"
            f"{request.height_px} with {self._model.name}; ask for a smaller picture, or set "
            "memory saving to attention-slicing or cpu-offload"
        )


_NUMPY_OUTPUT = {"output_type": "np", "num_images_per_prompt": 1}
"""Floats, so that a NaN can be told from black; 8-bit output would hide it."""


class _StepWatch:
    """diffusers' step callback: counts, watches for NaN, and remembers what the caller raised."""

    def __init__(self, on_step: Callable[[int, int], None]) -> None:
        self._on_step = on_step
        self.raised: BaseException | None = None

    def __call__(
        self, pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        latents = tensors.get("latents")
        if latents is not None and not bool(latents.isfinite().all()):
            # The VAE would turn infinity into plain white: clamped, so no longer to be seen.
            raise FloatingPointError(
                f"step {step + 1} gave values that are no numbers; half precision is too narrow "
                "for this model: set the dtype to bfloat16 or float32"
            )
        try:
            self._on_step(step + 1, max(step + 1, pipeline.num_timesteps))
        except BaseException as error:
            self.raised = error
            raise
        return tensors


def _to_raster(images: Any, request: GenerationRequest) -> RasterImage:
    """Rounds the pipeline's answer to 8 bits.

    Args:
        images: (1, H, W, 3) float32, RGB, 0..1, as diffusers gives it for ``np``.
        request: Whose picture it is.
    """
    floats = np.asarray(images)
    wanted = (1, request.height_px, request.width_px, 3)
    if floats.shape != wanted:
        raise GenerationError(
            f"the model answered an array of shape {floats.shape} instead of {wanted}; "
            "ask for the size that the model was made for"
        )
    if not np.isfinite(floats).all():
        raise GenerationError(
            "the model answered pixels that are no numbers; half precision is too narrow for its "
            "image decoder: set the dtype to bfloat16 or float32"
        )
    return RasterImage(np.rint(floats[0].clip(0.0, 1.0) * 255.0).astype(np.uint8))


def _read_defaults(pipeline: Any, accepted: Mapping[str, inspect.Parameter]) -> RenderDefaults:
    def default(name: str, otherwise: float) -> float:
        value = accepted[name].default if name in accepted else None
        return otherwise if value is None or value is inspect.Parameter.empty else float(value)

    scale = int(getattr(pipeline, "vae_scale_factor", 8))
    latent_side = getattr(pipeline, "default_sample_size", None)
    if latent_side is None and "unet" in pipeline.components:
        latent_side = pipeline.unet.config.sample_size
    return RenderDefaults(
        steps=int(default("num_inference_steps", 50)),
        guidance=default("guidance_scale", 0.0),
        side_px=latent_side * scale if isinstance(latent_side, int) else None,
        multiple_px=_multiple(pipeline, scale),
    )


def _multiple(pipeline: Any, scale: int) -> int:
    """What width and height must be multiples of, in pixels.

    Source: `check_inputs` of the diffusers pipelines: 8 for those with a UNet; the VAE's scale
    times the patch (2 for FLUX and Z-Image, a setting for SD 3) for those with a transformer.
    FLUX only logs when it does not fit, and answers another size.
    """
    if "transformer" in pipeline.components:
        return scale * int(getattr(pipeline, "patch_size", 2))
    return lcm(8, scale)


def _largest_side(pipeline: Any) -> int | None:
    """Longest side that a learned table of positions covers (SD 3), pixels; None without one."""
    config = getattr(getattr(pipeline, "transformer", None), "config", {})
    positions = config.get("pos_embed_max_size")
    if positions is None:
        return None
    return int(positions) * _multiple(pipeline, int(pipeline.vae_scale_factor))


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Keeps diffusers and transformers from logging below errors.

    Their warnings repeat what our own messages say, and quote the prompt.
    """
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def quiet_libraries(*libraries: Any) -> Iterator[None]:
    """Keeps warnings and progress bars of `libraries` off the terminal while a model loads."""
    bars = [library.utils.logging for library in libraries]
    shown = [bar for bar in bars if bar.is_progress_bar_enabled()]
    for bar in shown:
        bar.disable_progress_bar()
    try:
        with quiet_logs(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for bar in shown:
            bar.enable_progress_bar()


_MEMORY_TEXTS = ("can't allocate memory", "could not create a primitive")
"""What torch's CPU allocator and oneDNN say: neither has an exception of its own. A primitive of a
layer that has worked before fails to be created only for want of memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or the accelerator had no room left.

    NOTE: torch's allocator for the CPU raises a plain RuntimeError, told apart by its words.
    """
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or any(text in str(error) for text in _MEMORY_TEXTS)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, short enough for a terminal."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
