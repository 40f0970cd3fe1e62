"""Renders with diffusers: Stable Diffusion 1, 2, XL and 3, FLUX, Z-Image and their kin.

The auto class picks the pipeline from the model folder, so a new family needs no code here. Two
things of diffusers are switched off on purpose: its safety checker, which paints flagged pictures
black (ours scores them, see `generator.safety`), and the SDXL watermarker, which would write a
second, unkeyed mark under ours.
"""

from __future__ import annotations

import inspect
import json
import warnings
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from generator.pipelines.hub import ModelFolder, kept_folder, open_folder, open_model
from generator.pipelines.weights import (
    DigestCache,
    WeightFormats,
    digest_files,
    read_licence,
    read_model_index,
)
from provenance.errors import (
    BackendUnavailableError,
    ConfigError,
    GenerationError,
    InputError,
    ProvenanceError,
    UnsafeBackendWarning,
)
from provenance.types import ModelRef, RenderDefaults

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from generator.pipelines.rendering import DiffusersPipeline

__all__ = ["BUNDLED_DEFAULTS", "MemorySaving", "WeightFormats", "load_pipeline", "peek_defaults"]

BUNDLED_NAME = "countermark-bundled"
"""What records call the bundled model; the name of its folder would say nothing."""


BUNDLED_DEFAULTS = RenderDefaults(steps=20, guidance=2.0, side_px=512, multiple_px=16)
"""What its card says suits it: it was measured so, and its autoencoder shrinks by 16."""


class MemorySaving(StrEnum):
    """What to give up for less memory: from nothing to nearly all speed."""

    NONE = "none"
    ATTENTION_SLICING = "attention-slicing"
    CPU_OFFLOAD = "cpu-offload"
    SEQUENTIAL_OFFLOAD = "sequential-offload"


def load_pipeline(
    model: str | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    weight_formats: WeightFormats = WeightFormats.SAFETENSORS_ONLY,
    memory_saving: MemorySaving = MemorySaving.NONE,
    revision: str | None = None,
    variant: str | None = None,
    cache_dir: Path | None = None,
    hub_cache: Path | None = None,
    offline: bool = False,
    lora_folder: Path | None = None,
) -> DiffusersPipeline:
    """Loads a model into memory, pinned.

    Args:
        model: Hub id or local folder; None means the bundled model.
        device: ``auto`` (CUDA before MPS before CPU), or a torch device.
        dtype: ``auto``, ``float32``, ``float16`` or ``bfloat16``; see `_choose_dtype`.
        weight_formats: Whether pickled weights may be read; allowing them warns.
        memory_saving: Trades speed for memory.
        revision: Commit, tag or branch of a hub model; None means the newest commit.
        variant: Weight variant of the repository, e.g. ``fp16``.
        cache_dir: Where digests of large files are remembered; None remembers nothing.
        hub_cache: Where hub files are kept; None means the hub library's own place.
        offline: Never asks the hub.
        lora_folder: Where the LoRA files lie that requests may name; None offers none.

    Raises:
        InputError: No such model, or its folder is unusable; names ``model`` or ``revision``.
        BackendUnavailableError: A library is missing, the hub or the device cannot be reached.
        ConfigError: `device`, `dtype` or `memory_saving` is unknown or doesn't go together.
        GenerationError: The weights don't fit the configuration, or into memory.
    """
    if weight_formats is WeightFormats.PICKLE_ALLOWED:
        warnings.warn(
            "pickled model weights are allowed: a pickle can run any program when it is loaded",
            UnsafeBackendWarning,
            stacklevel=2,
        )
    folder = _open(
        model,
        formats=weight_formats,
        revision=revision,
        variant=variant,
        hub_cache=hub_cache,
        offline=offline,
    )
    torch = _import_torch()
    from generator.pipelines.adapters import LoraShelf
    from generator.pipelines.rendering import DiffusersPipeline

    chosen_device = _choose_device(torch, device)
    chosen_dtype = _choose_dtype(torch, dtype, device=chosen_device, folder=folder)
    pipeline = _load(folder, dtype=chosen_dtype, formats=weight_formats, variant=variant)
    _place(pipeline, device=chosen_device, saving=MemorySaving(memory_saving))
    cache = DigestCache(cache_dir / "model-digests.json" if cache_dir else None)
    return DiffusersPipeline(
        pipeline,
        model=_pin(folder, family=type(pipeline).__name__, cache=cache),
        safety_checker_folder=folder.safety_checker_folder,
        device=str(chosen_device),
        loras=LoraShelf(lora_folder),
        defaults=BUNDLED_DEFAULTS if model is None else None,
    )


def peek_defaults(model: str | None, *, revision: str | None = None) -> RenderDefaults | None:
    """What suits a model, from its folder's lists alone; nothing is loaded or downloaded.

    Returns:
        None when the model isn't on this machine, or is none that diffusers knows.
    """
    if model is None:
        return BUNDLED_DEFAULTS
    import diffusers

    from generator.pipelines.rendering import DISTILLED_STEPS, class_defaults

    try:
        folder = kept_folder(model, revision)
        index = read_model_index(folder)
    except ProvenanceError:
        return None
    family = getattr(diffusers, index.class_name, None)
    if family is None:
        return None
    steps, guidance = class_defaults(family)
    network = "transformer" if "transformer" in index.names else "unet"
    said = _read_json(folder / network / "config.json")
    if index.class_name == "FluxPipeline" and said.get("guidance_embeds") is False:
        steps, guidance = DISTILLED_STEPS, 0.0
    latent = said.get("sample_size")
    side = latent * 8 if isinstance(latent, int) else 1024 if network == "transformer" else None
    multiple = 16 if network == "transformer" else 8
    return RenderDefaults(steps=steps, guidance=guidance, side_px=side, multiple_px=multiple)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


# -- loading -----------------------------------------------------------------------------------


def _open(
    model: str | None,
    *,
    formats: WeightFormats,
    revision: str | None,
    variant: str | None,
    hub_cache: Path | None,
    offline: bool,
) -> ModelFolder:
    if model is not None:
        return open_model(
            model,
            formats=formats,
            revision=revision,
            variant=variant,
            hub_cache=hub_cache,
            offline=offline,
        )
    from generator import embedded

    return open_folder(embedded.model_folder(), formats=formats, name=BUNDLED_NAME)


def _import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailableError(
            "rendering needs the module torch, which is not installed; "
            "install it with: pip install 'countermark[generate]'"
        ) from error
    return torch


def _choose_device(torch: Any, device: str) -> Any:
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next((name for name, there in has.items() if there), "cpu"))
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"device {device!r} is unknown; use auto, cpu, cuda, cuda:0 or mps"
        ) from error
    if not has.get(chosen.type, True):
        raise BackendUnavailableError(
            f"device {device!r} cannot be used: torch {torch.__version__} sees no such "
            "accelerator; use auto or cpu, or install the torch build for it"
        )
    return chosen


_DTYPES = ("float32", "float16", "bfloat16")


def _choose_dtype(torch: Any, dtype: str, *, device: Any, folder: ModelFolder) -> Any:
    """The number format: what was asked for, or the best for model and device.

    ``auto`` is float32 on the CPU (where half precision is slower), bfloat16 for transformer
    models on a CUDA device that has it (FLUX and Z-Image are published in it, and overflow in
    float16), else float16.
    """
    if dtype in _DTYPES:
        return getattr(torch, dtype)
    if dtype != "auto":
        raise ConfigError(f"dtype {dtype!r} is unknown; use auto or one of {', '.join(_DTYPES)}")
    if device.type == "cpu":
        return torch.float32
    wide = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if wide and "transformer" in folder.index.names else torch.float16


def _load(folder: ModelFolder, *, dtype: Any, formats: WeightFormats, variant: str | None) -> Any:
    from generator.pipelines.rendering import FOREIGN_ERRORS, first_line, quiet_libraries

    try:
        import diffusers
        import transformers
        from safetensors import SafetensorError
    except ImportError as error:
        raise BackendUnavailableError(
            f"rendering needs diffusers, transformers and safetensors: {first_line(error)}; "
            "install them with: pip install 'countermark[generate]'"
        ) from error
    family = getattr(diffusers, folder.index.class_name, None)
    if family is None:
        raise InputError(
            f"model: {folder.name} needs {folder.index.class_name}, which diffusers "
            f"{diffusers.__version__} doesn't have; upgrade diffusers or choose another model"
        )
    use_safetensors = True if formats is WeightFormats.SAFETENSORS_ONLY else None
    shared = {"dtype": dtype, "use_safetensors": use_safetensors, "local_files_only": True}
    auto: Any = diffusers.AutoPipelineForText2Image
    try:
        with quiet_libraries(diffusers, transformers):
            encoders = _load_encoders(folder, transformers, shared, variant=variant)
            pipeline = auto.from_pretrained(
                str(folder.path), variant=variant, **shared, **encoders, **_safeguards_off(family)
            )
    except (*FOREIGN_ERRORS, SafetensorError) as error:
        raise _load_error(folder, error) from error
    for name, part in pipeline.components.items():
        _require_no_gaps(folder, name, _unfilled(part))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _load_encoders(
    folder: ModelFolder, transformers: Any, shared: dict[str, Any], *, variant: str | None
) -> dict[str, Any]:
    """Loads the text encoders, and refuses those with gaps.

    NOTE: transformers fills a weight that its file lacks with random numbers and only logs it:
    the picture would differ on every start. diffusers leaves such weights empty instead.
    """
    encoders = {}
    for part in folder.index.rendering:
        kind = getattr(transformers, part.class_name, None)
        if part.library != "transformers" or not part.has_weights or kind is None:
            continue
        has_variant = any(
            name.startswith(f"{part.name}/") and f".{variant}" in name
            for name in folder.files.weights
        )
        encoder, info = kind.from_pretrained(
            str(folder.path / part.name),
            variant=variant if has_variant else None,
            output_loading_info=True,
            **shared,
        )
        _require_no_gaps(folder, part.name, info["missing_keys"])
        encoders[part.name] = encoder
    return encoders


def _unfilled(part: Any) -> list[str]:
    """Names of weights that exist in the network, but were in no file."""
    if not hasattr(part, "named_parameters"):
        return []
    return [name for name, tensor in part.named_parameters() if tensor.is_meta]


def _require_no_gaps(folder: ModelFolder, name: str, missing: Iterable[str]) -> None:
    gaps = sorted(missing)
    if gaps:
        raise GenerationError(
            f"the model folder {folder.name} is defective: {name}/ lacks {len(gaps)} of its "
            f"weights, the first is {gaps[0]}; copy or download it again, whole"
        )


def _safeguards_off(family: Any) -> dict[str, Any]:
    """Constructor arguments that keep diffusers from touching finished pictures."""
    off = {
        "safety_checker": None,
        "requires_safety_checker": False,  # no warning that it is off: ours runs instead
        "add_watermarker": False,
    }
    accepted = inspect.signature(family.__init__).parameters
    if "safety_checker" in accepted:
        off["feature_extractor"] = None  # only the checker looks through it
    return {name: value for name, value in off.items() if name in accepted}


def _load_error(folder: ModelFolder, error: BaseException) -> GenerationError | InputError:
    from generator.pipelines.rendering import first_line, is_out_of_memory

    if "AutoPipeline can't find a pipeline" in str(error):
        return InputError(
            f"model: {folder.name} is a {folder.index.class_name}, which doesn't make pictures "
            "from text; choose a text-to-image model"
        )
    if is_out_of_memory(error):
        return GenerationError(
            f"out of memory while loading {folder.name}; choose a smaller model, or half precision"
        )
    # transformers explains mismatched shapes in a log that is kept quiet, not in its error.
    mismatch = "ignore_mismatched_sizes" in str(error)
    reason = "weights have other shapes than the configuration says" if mismatch else ""
    return GenerationError(
        f"the model folder {folder.name} is defective: {reason or first_line(error)}; "
        "copy or download it again, whole"
    )


def _place(pipeline: Any, *, device: Any, saving: MemorySaving) -> None:
    from generator.pipelines.rendering import FOREIGN_ERRORS, first_line, is_out_of_memory

    offloads = saving in (MemorySaving.CPU_OFFLOAD, MemorySaving.SEQUENTIAL_OFFLOAD)
    if offloads and device.type == "cpu":
        raise ConfigError(
            f"memory saving {saving} moves weights between CPU and accelerator, but the device is "
            "cpu; use attention-slicing, or a cuda or mps device"
        )
    try:
        if saving is MemorySaving.CPU_OFFLOAD:
            pipeline.enable_model_cpu_offload(device=device)
        elif saving is MemorySaving.SEQUENTIAL_OFFLOAD:
            pipeline.enable_sequential_cpu_offload(device=device)
        else:
            pipeline.to(device)
            if saving is MemorySaving.ATTENTION_SLICING:
                pipeline.enable_attention_slicing()
    except FOREIGN_ERRORS as error:
        if is_out_of_memory(error):
            raise GenerationError(
                f"the model doesn't fit into the memory of {device}; set memory saving to "
                "cpu-offload, or choose half precision or a smaller model"
            ) from error
        raise BackendUnavailableError(
            f"the model cannot be placed on {device}: {first_line(error)}"
        ) from error


def _pin(folder: ModelFolder, *, family: str, cache: DigestCache) -> ModelRef:
    weights = digest_files(folder.path, folder.files.weights, cache=cache)
    revision = folder.commit
    if revision is None:
        revision = "sha256:" + digest_files(folder.path, folder.files.all, cache=cache)
    return ModelRef(
        name=folder.name,
        revision=revision,
        weights_sha256=weights,
        licence=read_licence(folder.path),
        family=family,
    )
