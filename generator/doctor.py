"""The generator's lines of ``countermark doctor``: libraries, model, safety checker."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from generator.pipelines.weights import WeightFormats
from provenance.config import load_settings
from provenance.errors import BackendUnavailableError, ProvenanceError
from provenance.plugins import load_backend
from provenance.types import HealthCheck, RasterImage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from generator.pipelines.hub import ModelFolder
    from provenance.config import Settings
    from provenance.interfaces import SafetyChecker

__all__ = ["check_generator"]

_LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "onnxruntime")

_TRIAL_BYTES = 256 << 20
"""Weights up to this are loaded on trial, in about a second; SDXL's 7 GB only have to be there."""


def check_generator() -> Sequence[HealthCheck]:
    """Libraries of the extra ``generate``, the configured model, the configured safety checker.

    A verifier needs none of them, so a missing library is an optional line and ends the list.
    Nothing is downloaded.
    """
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        return (
            HealthCheck(
                "generator libraries",
                ok=False,
                detail=f"not installed: {', '.join(missing)}",
                remedy="to generate, pip install 'countermark[generate]'; to verify, not needed",
                optional=True,
            ),
        )
    settings = load_settings()
    return (
        _guarded("generator libraries", _describe_libraries),
        _guarded("model", lambda: _try_model(settings), optional=_may_download(settings)),
        _check_checker(settings),
    )


def _guarded(name: str, look: Callable[[], str], *, optional: bool = False) -> HealthCheck:
    """One line: what `look` saw, or the error's own words, split before its remedy.

    Args:
        name: What is checked.
        look: Answers what it saw, or raises.
        optional: Whether a `BackendUnavailableError` is no failure of the whole.
    """
    try:
        return HealthCheck(name, ok=True, detail=look())
    except ProvenanceError as error:
        detail, _, remedy = str(error).partition("; ")
        waits = optional and isinstance(error, BackendUnavailableError)
        return HealthCheck(
            name, ok=False, detail=detail, remedy=remedy or "see the message", optional=waits
        )


def _describe_libraries() -> str:
    try:
        torch = importlib.import_module("torch")
        diffusers = importlib.import_module("diffusers")
    except (ImportError, OSError) as error:
        raise BackendUnavailableError(
            f"torch or diffusers cannot be imported ({error}); "
            "pip install --force-reinstall 'countermark[generate]'"
        ) from error
    where = f"CUDA {torch.version.cuda}" if torch.cuda.is_available() else "CPU"
    return f"diffusers {diffusers.__version__}, torch {torch.__version__}, computing on {where}"


# -- model -------------------------------------------------------------------------------------


def _may_download(settings: Settings) -> bool:
    """Whether the first picture would fetch the model anyway."""
    return bool(settings.generator.model) and not settings.generator.offline


def _try_model(settings: Settings) -> str:
    """Finds the configured model without the network; loads it when it is small."""
    if settings.generator.pipeline != "diffusers":
        load_backend("countermark.pipelines", settings.generator.pipeline)
        return f"pipeline {settings.generator.pipeline} can be imported"
    folder = _find_model(settings)
    size = sum((folder.path / name).stat().st_size for name in folder.files.weights)
    seen = f"{folder.name}, {folder.index.class_name}, {size / 1e6:,.1f} MB of weights"
    if size > _TRIAL_BYTES:
        return f"{seen}, all files there (not loaded on trial)"
    load = load_backend("countermark.pipelines", "diffusers")
    pipeline = load(
        settings.generator.model or None,
        device=settings.generator.device,
        dtype=settings.generator.dtype,
        memory_saving=settings.generator.memory_saving,
        variant=settings.generator.variant or None,
        weight_formats=_formats(settings),
        revision=settings.generator.revision or None,
        cache_dir=None,  # a check leaves nothing behind
        offline=True,
    )
    return f"{seen}, loads; weights sha256 {pipeline.model.weights_sha256[:12]}"


def _find_model(settings: Settings) -> ModelFolder:
    from generator.embedded import model_folder
    from generator.pipelines.hub import open_folder, open_model

    formats = _formats(settings)
    if not settings.generator.model:
        return open_folder(model_folder(), formats=formats, name="the bundled model")
    return open_model(
        settings.generator.model,
        formats=formats,
        revision=settings.generator.revision or None,
        offline=True,
    )


def _formats(settings: Settings) -> WeightFormats:
    pickled = settings.generator.allow_pickle
    return WeightFormats.PICKLE_ALLOWED if pickled else WeightFormats.SAFETENSORS_ONLY


# -- safety checker ----------------------------------------------------------------------------


def _check_checker(settings: Settings) -> HealthCheck:
    line = _guarded("safety checker", lambda: _try_checker(settings))
    if not line.ok or settings.safety.checker != "unsafe-none":
        return line
    return HealthCheck(
        line.name,
        ok=False,
        detail="unsafe-none: pictures are delivered without any check of their content",
        remedy="set safety.checker to auto, unless this is what you want",
        optional=True,
    )


def _find_checker_folder(settings: Settings) -> Path | None:
    """Where the model's own checker lies; None too when the model isn't here yet."""
    try:
        return _find_model(settings).safety_checker_folder
    except BackendUnavailableError:
        return None


def _try_checker(settings: Settings) -> str:
    """Loads the configured checker and has it score a grey picture."""
    from generator.studios import AUTO_CHECKER, MODEL_CHECKER, OFFLINE_CHECKER

    name = settings.safety.checker
    options: dict[str, Any] = {"thresholds": settings.safety.thresholds}
    if name in (AUTO_CHECKER, MODEL_CHECKER):
        folder = _find_checker_folder(settings)
        if name == AUTO_CHECKER:
            name = OFFLINE_CHECKER if folder is None else MODEL_CHECKER
        if name == MODEL_CHECKER:
            if folder is None:
                raise BackendUnavailableError(
                    f"the model brings no safety checker of its own; set safety.checker to "
                    f"{AUTO_CHECKER} or {OFFLINE_CHECKER}"
                )
            options["model_folder"] = folder
    checker: SafetyChecker = load_backend("countermark.safety_checkers", name)(**options)
    scores = checker.score(RasterImage(np.full((64, 64, 3), 128, dtype=np.uint8)))
    return f"{checker.name} {checker.version}, scores {len(scores)} concept(s)"
