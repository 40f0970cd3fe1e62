"""Stopping and going on: averaged weights, learning rate, checkpoints."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

__all__ = ["Average", "learning_rate", "load_checkpoint", "save_checkpoint"]


class Average:
    """An exponential moving average of a module's weights.

    The decay grows with the step, so that early averages forget the random start.

    Source: Tarvainen and Valpola, "Mean teachers" (2017); the ramp is diffusers' EMAModel's.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
        self._decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Moves the average towards ``module``'s weights after ``step`` (from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for mean, value in zip(self.module.parameters(), module.parameters(), strict=True):
            mean.lerp_(value.detach(), 1 - decay)


def learning_rate(step: int, *, steps: int, peak: float, warmup: int = 100) -> float:
    """Answers the rate at a step: a linear warm-up, then half a cosine down to a fiftieth."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint; a stop in the middle leaves the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(dict(state), partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Reads a checkpoint of `save_checkpoint`, tensors and plain values only; None if absent."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
