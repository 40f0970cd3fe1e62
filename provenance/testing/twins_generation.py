"""In-memory twins of the generator's seams: real enough to pass the same suites, torch-free."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import InputError
from provenance.types import ModelRef, RasterImage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provenance.types import Float32Array, GenerationRequest

__all__ = ["GradientPipeline", "LuminanceChecker"]


class GradientPipeline:
    """Draws a textured picture from prompt and seed, in milliseconds and without a model.

    A colour gradient under noise of several scales: smooth places, edges and fine grain in one
    picture, as watermark codecs and perceptual hashes expect of photographs. Each render setting
    changes the picture, as it does with a real model.

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

    def render(
        self, request: GenerationRequest, on_step: Callable[[int, int], None]
    ) -> RasterImage:
        """Draws the picture; `on_step` is called once for each step asked for.

        Raises:
            InputError: A side is longer than this twin takes.
        """
        for name, side in (("width", request.width_px), ("height", request.height_px)):
            if side > self._largest_side_px:
                raise InputError(
                    f"{name} {side} doesn't suit {self._model.name}; "
                    f"the nearest is {self._largest_side_px}"
                )
        random = np.random.default_rng(_seed_of(self._model.name, request))
        for step in range(request.steps):
            on_step(step + 1, request.steps)
        canvas = _gradient(random, request.width_px, request.height_px)
        for cells, amplitude in ((4, 55.0), (16, 30.0), (64, 14.0)):
            canvas += amplitude * _noise(random, cells, canvas.shape)
        canvas += random.normal(0.0, 3.0, canvas.shape).astype(np.float32)
        return RasterImage(np.rint(canvas.clip(0.0, 255.0)).astype(np.uint8))


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
    )
    return int.from_bytes(hashlib.sha256(repr(choices).encode()).digest()[:16], "big")


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
