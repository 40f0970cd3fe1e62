"""In-memory twins of the generator's seams: real enough to pass the same suites, torch-free."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import InputError
from provenance.types import Checkpoint, ModelRef, RasterImage, RenderDefaults, can_batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.interfaces import OnStep
    from provenance.types import Float32Array, GenerationRequest, Parameters, Uint8Array

__all__ = ["GradientPipeline", "LuminanceChecker"]


@dataclass(frozen=True, slots=True)
class _GradientStep:
    """A `StepReport` of the twin: its pictures come out of the noise, step by step."""

    pipeline: GradientPipeline
    requests: tuple[GenerationRequest, ...]
    done: int
    total: int

    def preview(self, index: int = 0) -> RasterImage:
        """The finished picture under the noise that is left."""
        finished = self.pipeline.draw(self.requests[index]).pixels.astype(np.float32)
        left = 1.0 - self.done / self.total
        noise = np.random.default_rng(self.done).uniform(0.0, 255.0, finished.shape)
        return RasterImage(np.rint((1.0 - left) * finished + left * noise).astype(np.uint8))

    def checkpoint(self, index: int = 0) -> Checkpoint:
        """There is no state: the twin draws at the end."""
        return Checkpoint(
            request=self.requests[index],
            model=self.pipeline.model,
            version=self.pipeline.version,
            done=self.done,
            total=self.total,
            tensors={"steps": np.arange(self.done, dtype=np.int64)},
            state={"kind": "gradient"},
        )


class GradientPipeline:
    """Draws a textured picture from prompt and seed, in milliseconds and without a model.

    A colour gradient under noise of several scales: smooth places, edges and fine grain in one
    picture, as watermark codecs and perceptual hashes expect of photographs. Each render setting
    changes the picture, as it does with a real model; an input picture shines through it, and
    stays as it is where a mask is black.

    Args:
        name: Model name that records show.
        largest_side_px: Refuses longer sides, so that callers' handling of it can be tested.
    """

    def __init__(self, name: str = "gradient", *, largest_side_px: int = 4096) -> None:
        digest = hashlib.sha256(f"GradientPipeline 1 {name}".encode()).hexdigest()
        self._model = ModelRef(
            name=name,
            revision=f"sha256:{digest}",
            weights_sha256=digest,
            licence="Apache-2.0",
            family="GradientPipeline",
        )
        self._largest_side_px = largest_side_px

    @property
    def model(self) -> ModelRef:
        """A pinned model; its digest is that of its name."""
        return self._model

    @property
    def version(self) -> str:
        """``1``: of the way it draws."""
        return "1"

    @property
    def defaults(self) -> RenderDefaults:
        """Those of the bundled model."""
        return RenderDefaults(steps=20, guidance=7.5, side_px=512)

    def describe(self, request: GenerationRequest) -> Parameters:
        """Its one way to draw; the scheduler's name only counts as every word does."""
        del request
        return {"scheduler_class": "gradient"}

    def render(
        self, request: GenerationRequest, on_step: OnStep, *, resume: Checkpoint | None = None
    ) -> RasterImage:
        """Draws the picture; `on_step` is called once for each step that is run.

        Raises:
            InputError: A side is longer than this twin takes, or `resume` is not its own.
        """
        if resume is not None and resume.model != self._model:
            raise InputError(
                f"the checkpoint is of {resume.model.name}, which is another model than "
                f"{self._model.name}; load the model that made it"
            )
        return self._run((request,), on_step, 0 if resume is None else resume.done)[0]

    def render_batch(
        self, requests: Sequence[GenerationRequest], on_step: OnStep
    ) -> Sequence[RasterImage]:
        """Draws the pictures one after the other, after the steps of all.

        Raises:
            InputError: As `render`, or the requests don't go together.
        """
        if not requests or not all(can_batch(requests[0], other) for other in requests):
            raise InputError("the requests of a batch differ in more than words and seed")
        return self._run(tuple(requests), on_step, 0)

    def draw(self, request: GenerationRequest) -> RasterImage:
        """The picture of a request, without its steps."""
        random = np.random.default_rng(_seed_of(self._model.name, request))
        canvas = _gradient(random, request.width_px, request.height_px)
        for cells, amplitude in ((4, 55.0), (16, 30.0), (64, 14.0)):
            canvas += amplitude * _noise(random, cells, canvas.shape)
        canvas += random.normal(0.0, 3.0, canvas.shape).astype(np.float32)
        return RasterImage(np.rint(_over_input(canvas, request).clip(0.0, 255.0)).astype(np.uint8))

    def _run(
        self, requests: tuple[GenerationRequest, ...], on_step: OnStep, done: int
    ) -> list[RasterImage]:
        first = requests[0]
        for name, side in (("width", first.width_px), ("height", first.height_px)):
            if side > self._largest_side_px:
                raise InputError(
                    f"{name} {side} doesn't suit {self._model.name}; "
                    f"the nearest is {self._largest_side_px}"
                )
        total = first.effective_steps
        for step in range(done, total):
            on_step(_GradientStep(self, requests, step + 1, total))
        return [self.draw(request) for request in requests]


class LuminanceChecker:
    """Scores the one concept ``bright``: mean pixel value over 255, 0..1, higher is brighter.

    Harmless pictures on either side of its threshold are easily made, which no checker of real
    content allows.

    Args:
        threshold: At or above it a picture is flagged; above 1 nothing is.
    """

    def __init__(self, threshold: float = 1.01) -> None:
        self._threshold = threshold

    @property
    def name(self) -> str:
        """``luminance``."""
        return "luminance"

    @property
    def version(self) -> str:
        """``1``: it has no weights."""
        return "1"

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The threshold for ``bright``."""
        return {"bright": self._threshold}

    def score(self, image: RasterImage) -> Mapping[str, float]:
        """Mean pixel value over 255."""
        return {"bright": float(image.pixels.mean()) / 255.0}


def _seed_of(name: str, request: GenerationRequest) -> int:
    choices = (
        name,
        request.prompt,
        request.negative_prompt,
        request.seed,
        request.steps,
        request.guidance,
        request.scheduler,
        request.loras,
    )
    return int.from_bytes(hashlib.sha256(repr(choices).encode()).digest()[:16], "big")


def _over_input(canvas: Float32Array, request: GenerationRequest) -> Float32Array:
    """The canvas over the input picture: by strength, and only where the mask is white."""
    if request.init_image is None:
        return canvas
    under = _fit(request.init_image.raster, request).astype(np.float32)
    blended: Float32Array = under + request.strength * (canvas - under)
    if request.mask is not None:
        opened = _fit(request.mask, request).astype(np.float32) / 255.0
        blended = under + opened * (blended - under)
    return blended


def _fit(image: RasterImage, request: GenerationRequest) -> Uint8Array:
    """(H, W, 3) uint8: the nearest pixels."""
    rows = np.arange(request.height_px) * image.height_px // request.height_px
    columns = np.arange(request.width_px) * image.width_px // request.width_px
    fitted: Uint8Array = image.pixels[rows][:, columns]
    return fitted


def _gradient(random: np.random.Generator, width_px: int, height_px: int) -> Float32Array:
    """(H, W, 3) float32, 64..192: a blend of three corner colours."""
    corner, right, down = random.uniform(64.0, 192.0, (3, 3)).astype(np.float32)
    across = np.linspace(0.0, 1.0, width_px, dtype=np.float32)[None, :, None]
    below = np.linspace(0.0, 1.0, height_px, dtype=np.float32)[:, None, None]
    blend: Float32Array = corner + 0.5 * across * (right - corner) + 0.5 * below * (down - corner)
    return blend


def _noise(random: np.random.Generator, cells: int, shape: tuple[int, ...]) -> Float32Array:
    """Value noise of (H, W, 3), -1..1, float32: `cells` random values a side, blended between."""
    grid = random.uniform(-1.0, 1.0, (cells + 1, cells + 1, 3)).astype(np.float32)
    rows, row_weights = _places(cells, shape[0])
    columns, column_weights = _places(cells, shape[1])
    tall = grid[rows] + row_weights[:, None, None] * (grid[rows + 1] - grid[rows])
    left = tall[:, columns]
    wide: Float32Array = left + column_weights[None, :, None] * (tall[:, columns + 1] - left)
    return wide


def _places(cells: int, length: int) -> tuple[np.ndarray, Float32Array]:
    """For each pixel its cell and its place in it, eased so that the cells' borders don't show."""
    position = np.linspace(0.0, cells, length, endpoint=False, dtype=np.float32)
    cell = position.astype(np.intp)
    inside = position - cell
    return cell, inside * inside * (3.0 - 2.0 * inside)
