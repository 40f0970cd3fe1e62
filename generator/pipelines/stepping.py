"""One call of a diffusers pipeline, watched step by step, and gone on with from any of them.

To go on from step k, the pipeline is called as for the whole render, and everything before its
loop happens as it did: prompts and input pictures are encoded, masks made, noise drawn. For the
first k turns the network and the scheduler stand still, at no cost; after turn k latents,
scheduler and noise generator are put where the checkpoint says. So it works for every pipeline
that has a step callback, whatever it prepares, and the rest of the render is the same bit for bit.
"""

from __future__ import annotations

import functools
import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from generator.pipelines.latents import decode_latents
from generator.pipelines.scheduler_state import capture_state, from_array, restore_state, to_array
from generator.pipelines.schedulers import is_flow_matching
from provenance.errors import GenerationError, InputError
from provenance.types import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import torch

    from provenance.interfaces import OnStep
    from provenance.types import GenerationRequest, ModelRef, RasterImage

__all__ = ["Steps", "Watched"]

_NETWORKS = ("unet", "transformer")


@dataclass(frozen=True, slots=True)
class Watched:
    """What a render is made of, for the one who watches its steps.

    Attributes:
        requests: One a picture.
        generators: The source of noise of each picture.
        model: What renders.
        version: Of diffusers.
        to_raster: Makes the picture of a request from (H, W, 3) floats, 0..1.
        guard: Translates what diffusers and torch raise.
    """

    requests: tuple[GenerationRequest, ...]
    generators: tuple[torch.Generator, ...]
    model: ModelRef
    version: str
    to_raster: Callable[[Any, GenerationRequest], RasterImage]
    guard: Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class _Move:
    """What the scheduler was given in the last step, and what it answered."""

    model_output: torch.Tensor
    sample: torch.Tensor
    answer: tuple[Any, ...]


class Steps:
    """diffusers' step callback: counts, watches for NaN, remembers what the caller raised.

    Args:
        watched: The render.
        on_step: The caller's own callback.
        resume: Where to go on; None means from the start.
    """

    def __init__(self, watched: Watched, on_step: OnStep, resume: Checkpoint | None) -> None:
        self.watched = watched
        self.raised: BaseException | None = None
        self.move: _Move | None = None
        self._on_step = on_step
        self._resume = resume
        self._standing = resume is not None

    @contextmanager
    def attached(self, pipeline: Any) -> Iterator[None]:
        """Lays itself over the scheduler, and on resuming over the network, of one call.

        Raises:
            InputError: The model has no network that could stand still.
        """
        with ExitStack() as stack:
            stack.enter_context(_laid_over(pipeline.scheduler, "step", self._step))
            if self._resume is not None:
                network = next((n for n in _NETWORKS if getattr(pipeline, n, None)), None)
                if network is None:
                    raise InputError(
                        f"a {type(pipeline).__name__} cannot go on from a checkpoint; render anew"
                    )
                over = _laid_over(getattr(pipeline, network), "forward", self._forward)
                stack.enter_context(over)
            yield

    def __call__(
        self, pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        done, latents = step + 1, tensors["latents"]
        total = max(done, int(pipeline.num_timesteps))
        if self._resume is not None and done <= self._resume.done:
            if done < self._resume.done:
                return tensors
            self._standing = False
            return {**tensors, "latents": self._put_back(pipeline, latents, total, self._resume)}
        if not bool(latents.isfinite().all()):
            # The VAE would turn infinity into plain white: clamped, so no longer to be seen.
            raise GenerationError(
                f"step {done} gave values that are no numbers; half precision is too narrow "
                "for this model: set the dtype to bfloat16 or float32"
            )
        try:
            self._on_step(_Report(self, pipeline, latents, done, total))
        except BaseException as error:
            self.raised = error
            raise
        return tensors

    def _step(self, original: Callable[..., Any], *args: Any, **named: Any) -> Any:
        model_output, sample = (
            named.get(name, args[place] if len(args) > place else None)
            for place, name in ((0, "model_output"), (2, "sample"))
        )
        if self._standing:
            return (sample, sample)
        answer = original(*args, **named)
        if isinstance(answer, tuple) and model_output is not None and sample is not None:
            self.move = _Move(model_output, sample, answer)
        return answer

    def _forward(self, original: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if not self._standing:
            return original(*args, **named)
        return (args[0] if args else next(iter(named.values())),)

    def _put_back(
        self, pipeline: Any, latents: torch.Tensor, total: int, resume: Checkpoint
    ) -> torch.Tensor:
        """Latents, scheduler and noise generator as they were after the checkpoint's step."""
        scheduler, state = pipeline.scheduler, resume.state
        same = (
            total == resume.total
            and state.get("scheduler_class") == type(scheduler).__name__
            and state.get("scheduler_config") == _configuration(scheduler)
            and state.get("latents_dtype") == str(latents.dtype).removeprefix("torch.")
            and {"latents", "generator"} <= resume.tensors.keys()
            and resume.tensors["latents"].shape == tuple(latents.shape)
        )
        if not same:
            raise InputError(
                f"the checkpoint was made with other settings of {resume.model.name} (scheduler "
                f"{state.get('scheduler_class')}, {state.get('latents_dtype')}, {resume.total} "
                "steps); use the same model folder and dtype"
            )
        restore_state(
            scheduler, resume.tensors, str(state.get("scheduler_state")), device=latents.device
        )
        layouts = json.loads(str(state["layouts"]))
        noise = from_array(resume.tensors["generator"], layouts["generator"])
        self.watched.generators[0].set_state(noise)
        return from_array(resume.tensors["latents"], layouts["latents"], device=latents.device)


@dataclass(frozen=True, slots=True)
class _Report:
    """`provenance.interfaces.StepReport` of a diffusers pipeline."""

    steps: Steps
    pipeline: Any
    latents: torch.Tensor
    done: int
    total: int

    def preview(self, index: int = 0) -> RasterImage:
        """The model's estimate of the finished picture, where its scheduler tells one."""
        request = self.steps.watched.requests[index]
        shown = self.latents if self.done == self.total else self._estimate()
        one = shown[index : index + 1].to(self.latents.dtype)
        with self.steps.watched.guard():
            floats = decode_latents(self.pipeline, one, request)
        return self.steps.watched.to_raster(floats[0], request)

    def checkpoint(self, index: int = 0) -> Checkpoint:
        """Latents, scheduler and noise generator of one picture."""
        watched, scheduler = self.steps.watched, self.pipeline.scheduler

        def pick(tensor: torch.Tensor) -> torch.Tensor:
            of_batch = tensor.shape == self.latents.shape
            return tensor[index : index + 1] if of_batch else tensor

        arrays, state = capture_state(scheduler, pick=pick)
        layouts = {}
        arrays["latents"], layouts["latents"] = to_array(pick(self.latents))
        noise = watched.generators[index].get_state()
        arrays["generator"], layouts["generator"] = to_array(noise)
        return Checkpoint(
            request=watched.requests[index],
            model=watched.model,
            version=watched.version,
            done=self.done,
            total=self.total,
            tensors=arrays,
            state={
                "latents_dtype": layouts["latents"]["dtype"],
                "layouts": json.dumps(layouts),
                "scheduler_class": type(scheduler).__name__,
                "scheduler_config": _configuration(scheduler),
                "scheduler_state": state,
            },
        )

    def _estimate(self) -> torch.Tensor:
        """The noise-free latents as the model sees them now; the noisy ones where nobody says.

        Source: each scheduler's ``step``. For a flow, x0 = x - sigma * v.
        """
        scheduler, move = self.pipeline.scheduler, self.steps.move
        if move is None:
            return self.latents
        if is_flow_matching(scheduler) and getattr(scheduler, "_step_index", None):
            sigma = scheduler.sigmas[scheduler._step_index - 1].item()  # noqa: SLF001
            clean: torch.Tensor = move.sample.float() - sigma * move.model_output.float()
            return clean
        if len(move.answer) > 1 and type(scheduler).__name__ != "TCDScheduler":
            return _like(move.answer[1], self.latents)
        predicts = "++" in str(scheduler.config.get("algorithm_type")) or bool(
            getattr(scheduler, "predict_x0", False)
        )
        kept = getattr(scheduler, "model_outputs", None)
        return _like(kept[-1] if predicts and kept else None, self.latents)


def _like(found: Any, latents: torch.Tensor) -> torch.Tensor:
    fits = getattr(found, "shape", None) == latents.shape
    fitting: torch.Tensor = found if fits else latents
    return fitting


def _configuration(scheduler: Any) -> str:
    """The scheduler's settings as text that is the same for the same settings."""
    said = {k: v for k, v in dict(scheduler.config).items() if not k.startswith("_")}
    return json.dumps(said, sort_keys=True, default=str)


@contextmanager
def _laid_over(owner: Any, name: str, over: Callable[..., Any]) -> Iterator[None]:
    """Calls ``over(original, ...)`` instead of a method, with the method's own signature.

    NOTE: pipelines look at the signature of ``step`` to see what it takes, and accelerate's
    offloading hooks live in the same place of the instance: what was there comes back.
    """
    original = getattr(owner, name)
    before = vars(owner).get(name)

    @functools.wraps(original)
    def call(*args: Any, **named: Any) -> Any:
        return over(original, *args, **named)

    setattr(owner, name, call)
    try:
        yield
    finally:
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
