"""A loaded diffusers pipeline as our `Pipeline`: checks requests, renders, translates errors."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import threading
import warnings
from contextlib import contextmanager
from math import lcm
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from generator.pipelines.adapters import LoraShelf
from generator.pipelines.inputs import keep_outside
from generator.pipelines.schedulers import build_scheduler, scheduler_class, scheduler_digest
from generator.pipelines.stepping import Steps, Watched
from generator.pipelines.variants import Variants, call_arguments, plain_unet_admitted
from provenance.errors import GenerationError, InputError
from provenance.types import RasterImage, RenderDefaults, can_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from provenance.interfaces import OnStep
    from provenance.types import Checkpoint, GenerationRequest, ModelRef, Parameters

__all__ = [
    "FOREIGN_ERRORS",
    "DiffusersPipeline",
    "class_defaults",
    "first_line",
    "is_out_of_memory",
    "quiet_libraries",
    "quiet_logs",
    "read_defaults",
    "to_raster",
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


class DiffusersPipeline:
    """A loaded model behind the `provenance.interfaces.Pipeline` protocol.

    Renders one call at a time: the parts of a model are shared, so a lock guards it.

    Args:
        pipeline: A diffusers pipeline, placed on its device.
        model: What it is.
        safety_checker_folder: The model folder, when a Stable Diffusion safety checker lies in it.
        device: Where it computes.
        loras: The operator's adaptations.
        defaults: What suits the model; None means what its pipeline class says.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        model: ModelRef,
        safety_checker_folder: Path | None,
        device: str,
        loras: LoraShelf | None = None,
        defaults: RenderDefaults | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._model = model
        self._safety_checker_folder = safety_checker_folder
        self._device = device
        self._loras = LoraShelf(None) if loras is None else loras
        self._variants = Variants(pipeline, model)
        self._own_scheduler = pipeline.scheduler
        self._accepted = inspect.signature(pipeline.__call__).parameters
        self._defaults = read_defaults(pipeline) if defaults is None else defaults
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

    def describe(self, request: GenerationRequest) -> Parameters:
        """The scheduler that runs, by class and digest of its settings; the digest of each LoRA.

        Raises:
            InputError: The request names a scheduler or a LoRA that isn't there or doesn't suit.
        """
        own, name = self._own_scheduler, request.scheduler
        facts = {
            "scheduler_class": scheduler_class(own, name),
            "scheduler_sha256": scheduler_digest(own, name, model=self._model.name),
        }
        if request.loras:
            facts["lora_files"] = self._loras.describe(request.loras)
        return facts

    def notes(self, request: GenerationRequest) -> tuple[str, ...]:
        """What a render would leave out, in sentences without the prompt's words."""
        texts = (("prompt", request.prompt), ("negative_prompt", request.negative_prompt))
        found = (self._truncation(name, text) for name, text in texts if text)
        return tuple(note for note in found if note is not None)

    def render(
        self, request: GenerationRequest, on_step: OnStep, *, resume: Checkpoint | None = None
    ) -> RasterImage:
        """Renders one picture; the same on the same hardware for the same request.

        The noise comes from a generator on the CPU, so that it doesn't depend on the device.

        Args:
            request: What to draw.
            on_step: Called after each step. What it raises ends the render and comes out as it is.
            resume: Where to go on; the picture is the same, bit for bit.

        Raises:
            InputError: The model cannot do what the request asks; names the field. Or `resume` is
                of another model.
            GenerationError: Out of memory, or the model yields no picture.
            BackendUnavailableError: The request has adaptations, but peft is missing.
        """
        if resume is not None:
            self._check_checkpoint(resume)
        return self._run((request,), on_step, resume)[0]

    def render_batch(
        self, requests: Sequence[GenerationRequest], on_step: OnStep
    ) -> Sequence[RasterImage]:
        """Renders several pictures in one call, each from its own source of noise.

        Matrix products of another height round otherwise, so a picture is that of `render` only
        nearly: on the CPU with float32 no pixel was off by more than 1 of 255 after 20 steps of
        the bundled model (`tests/integration/test_resume.py`).

        Raises:
            InputError: As `render`, or the requests don't go together.
            GenerationError: As `render`.
        """
        if not requests or not all(can_batch(requests[0], other) for other in requests):
            raise InputError(
                "the requests of a batch must be at least one, and alike in all but words, seed "
                "and format; render them one by one"
            )
        return self._run(tuple(requests), on_step, None)

    def _run(
        self, requests: tuple[GenerationRequest, ...], on_step: OnStep, resume: Checkpoint | None
    ) -> list[RasterImage]:
        first = requests[0]
        self._check_size(first)
        with self._lock, quiet_logs():
            pipeline = self._variants.open(first)
            pipeline.scheduler = build_scheduler(
                self._own_scheduler, first.scheduler, model=self._model.name
            )
            self._loras.put_on(pipeline, first.loras, model=self._model.name)
            for request in requests:
                self._check_negative_prompt(pipeline, request)
                self._log_notes(request)
            steps = self._watch(requests, on_step, resume)
            with (
                self._translated(first, steps),
                steps.attached(pipeline),
                plain_unet_admitted(pipeline, first),
            ):
                arguments = call_arguments(pipeline, steps)
                result = pipeline(**arguments)
        images = _check_images(result.images, requests)
        return [to_raster(image, r) for image, r in zip(images, requests, strict=True)]

    def _watch(
        self, requests: tuple[GenerationRequest, ...], on_step: OnStep, resume: Checkpoint | None
    ) -> Steps:
        watched = Watched(
            requests=requests,
            generators=tuple(
                torch.Generator(device="cpu").manual_seed(request.seed) for request in requests
            ),
            model=self._model,
            version=self.version,
            to_raster=to_raster,
            guard=lambda: self._translated(requests[0], None),
        )
        return Steps(watched, on_step, resume)

    def _check_checkpoint(self, resume: Checkpoint) -> None:
        made_by, here = resume.model, self._model
        if made_by.weights_sha256 != here.weights_sha256:
            raise InputError(
                f"the checkpoint was made by {made_by.name} with the weights "
                f"{made_by.weights_sha256[:12]}..., but loaded is {here.name} with "
                f"{here.weights_sha256[:12]}...; load the model that made it"
            )
        if resume.version != self.version:
            _log.warning(
                "the checkpoint was made with diffusers %s, here is %s: the picture may differ",
                resume.version,
                self.version,
            )

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

    def _check_negative_prompt(self, pipeline: Any, request: GenerationRequest) -> None:
        """Refuses a negative prompt that would have no effect, instead of dropping it."""
        if not request.negative_prompt:
            return
        accepted = inspect.signature(pipeline.__call__).parameters
        # FLUX takes the argument, but heeds it only with a second, costly guidance pass.
        if "negative_prompt" not in accepted or "true_cfg_scale" in accepted:
            raise InputError(
                f"negative_prompt: {self._model.name} ({self._model.family}) cannot steer away "
                "from words; leave the negative prompt empty"
            )
        # NOTE: pipelines decide by this property, each by its own rule, from this field.
        pipeline._guidance_scale = request.guidance  # noqa: SLF001
        if not getattr(pipeline, "do_classifier_free_guidance", True):
            raise InputError(
                f"negative_prompt has no effect at guidance {request.guidance:g} with "
                f"{self._model.name}; raise the guidance above 1, or leave it empty"
            )

    def _log_notes(self, request: GenerationRequest) -> None:
        for note in self.notes(request):
            _log.warning("%s", note)

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
    def _translated(self, request: GenerationRequest, steps: Steps | None) -> Iterator[None]:
        try:
            yield
        except FOREIGN_ERRORS as error:
            if steps is not None and error is steps.raised:
                raise
            if is_out_of_memory(error):
                raise GenerationError(self._memory_message(request)) from error
            # What libraries say may quote the prompt, and our errors reach logs and strangers.
            raise GenerationError(
                f"{self._model.name} failed while rendering {request.width_px}x"
                f"{request.height_px} ({type(error).__name__}); countermark generate shows what "
                "was said under COUNTERMARK_DEBUG=1"
            ) from error

    def _memory_message(self, request: GenerationRequest) -> str:
        return (
            f"out of memory on {self._device} while rendering {request.width_px}x"
            f"{request.height_px} with {self._model.name}; ask for a smaller picture, or set "
            "memory saving to attention-slicing or cpu-offload"
        )


def _check_images(images: Any, requests: tuple[GenerationRequest, ...]) -> Any:
    """(N, H, W, 3) float32, RGB, 0..1, as diffusers gives it for ``np``, and nothing else."""
    floats = np.asarray(images)
    wanted = (len(requests), requests[0].height_px, requests[0].width_px, 3)
    if floats.shape != wanted:
        raise GenerationError(
            f"the model answered an array of shape {floats.shape} instead of {wanted}; "
            "ask for the size that the model was made for"
        )
    return floats


def to_raster(floats: Any, request: GenerationRequest) -> RasterImage:
    """Rounds a picture to 8 bits, and puts back what a mask keeps.

    Args:
        floats: (H, W, 3) float32, RGB, 0..1.
        request: Whose picture it is.
    """
    if not np.isfinite(floats).all():
        raise GenerationError(
            "the model answered pixels that are no numbers; half precision is too narrow for its "
            "image decoder: set the dtype to bfloat16 or float32"
        )
    rounded = np.rint(floats.clip(0.0, 1.0) * 255.0).astype(np.uint8)
    return keep_outside(RasterImage(rounded), request)


def read_defaults(pipeline: Any) -> RenderDefaults:
    """What the pipeline's class and configuration say."""
    steps, guidance = class_defaults(type(pipeline))
    if _is_distilled(pipeline):
        steps, guidance = DISTILLED_STEPS, 0.0
    scale = int(getattr(pipeline, "vae_scale_factor", 8))
    latent_side = getattr(pipeline, "default_sample_size", None)
    if latent_side is None and "unet" in pipeline.components:
        latent_side = pipeline.unet.config.sample_size
    return RenderDefaults(
        steps=steps,
        guidance=guidance,
        side_px=latent_side * scale if isinstance(latent_side, int) else None,
        multiple_px=_multiple(pipeline, scale),
    )


def class_defaults(kind: Any) -> tuple[int, float]:
    """Steps and guidance that a pipeline class takes when nobody says otherwise."""
    accepted = inspect.signature(kind.__call__).parameters

    def default(name: str, otherwise: float) -> float:
        value = accepted[name].default if name in accepted else None
        return otherwise if value is None or value is inspect.Parameter.empty else float(value)

    return int(default("num_inference_steps", 50)), default("guidance_scale", 0.0)


DISTILLED_STEPS = 4
"""Source: the model card of FLUX.1 schnell."""


def _is_distilled(pipeline: Any) -> bool:
    """Whether this is a FLUX that was distilled to a few steps without guidance (schnell)."""
    config = getattr(getattr(pipeline, "transformer", None), "config", {})
    return type(pipeline).__name__ == "FluxPipeline" and config.get("guidance_embeds") is False


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
