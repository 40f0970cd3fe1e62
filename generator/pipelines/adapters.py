"""Low-rank adaptations (LoRA) from the operator's folder: found, digested, put on and taken off.

A request gives a plain name, never a path, so that it reaches nothing outside the folder. Only
safetensors are read: a pickle can run any program.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from provenance.errors import BackendUnavailableError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.types import LoraRef

__all__ = ["LoraShelf", "list_loras"]

_SUFFIX = ".safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_LISTED = 10
"""How many names an error lists."""
_MAX_HEADER_BYTES = 100_000_000
"""Longest header that the safetensors format allows."""
_LORA_ERRORS = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError)
"""What diffusers and peft raise for weights that don't fit, besides ValueError."""


def list_loras(folder: Path | None) -> list[str]:
    """The names that requests may give."""
    return [] if folder is None else sorted(p.stem for p in folder.glob(f"*{_SUFFIX}"))


class LoraShelf:
    """The folder with the operator's LoRA files.

    Args:
        folder: Where they lie; None means that none are offered.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._digests: dict[Path, tuple[tuple[int, int], str]] = {}
        self._worn: tuple[tuple[str, str], ...] = ()

    def describe(self, loras: tuple[LoraRef, ...]) -> str:
        """Name, scale and SHA-256 of each file, for records.

        Raises:
            InputError: One is not there, or no safetensors file.
        """
        return ", ".join(
            f"{_stem(one.name)} scale {one.scale:g} sha256:{self._digest(self._find(one.name))}"
            for one in loras
        )

    def put_on(self, pipeline: Any, loras: tuple[LoraRef, ...], *, model: str) -> None:
        """Leaves exactly these adaptations on the model.

        Args:
            pipeline: A diffusers pipeline, or another one that shares its parts.
            loras: What to put on; empty takes all off.
            model: What to call the model in errors.

        Raises:
            InputError: One is not there, or doesn't fit the model.
            BackendUnavailableError: The library peft is missing.
        """
        if loras and not hasattr(pipeline, "load_lora_weights"):
            raise InputError(
                f"loras: {model} ({type(pipeline).__name__}) takes no LoRA; leave them out"
            )
        files = [(one, self._find(one.name)) for one in loras]
        wanted = tuple((f"lora_{i}", self._digest(path)) for i, (_, path) in enumerate(files))
        if wanted != self._worn:
            self.take_off(pipeline)
            try:
                for (adapter, _), (one, path) in zip(wanted, files, strict=True):
                    _load(pipeline, path, adapter, name=one.name, model=model)
            except BaseException:
                pipeline.unload_lora_weights()  # also those before the one that failed
                raise
            self._worn = wanted
        if loras:
            pipeline.set_adapters([name for name, _ in wanted], [one.scale for one in loras])

    def take_off(self, pipeline: Any) -> None:
        """Leaves the model as it was loaded."""
        if self._worn:
            self._worn = ()
            pipeline.unload_lora_weights()

    def _find(self, name: str) -> Path:
        if self._folder is None:
            raise InputError(
                "loras: none are offered here (the operator sets generator.lora_folder); "
                "leave them out"
            )
        if name.lower().endswith(_PICKLES):
            raise InputError(
                f"loras: {name} is a pickle, which can run any program; convert it to safetensors"
            )
        path = self._folder / f"{_stem(name)}{_SUFFIX}"
        if path.is_file():
            return path
        pickled = next((p for s in _PICKLES if (p := path.with_suffix(s)).is_file()), None)
        if pickled is not None:
            raise InputError(
                f"loras: {name} is there as a pickle only ({pickled.name}), which can run any "
                "program; convert it to safetensors"
            )
        raise InputError(f"loras: there is no {name} here{self._offered()}")

    def _offered(self) -> str:
        names = list_loras(self._folder)
        if not names:
            return ", nor any other; leave them out"
        more = ", ..." if len(names) > _LISTED else ""
        return f"; use one of {', '.join(names[:_LISTED])}{more}"

    def _digest(self, path: Path) -> str:
        told = path.stat()
        stamp = (told.st_size, told.st_mtime_ns)
        kept = self._digests.get(path)
        if kept is None or kept[0] != stamp:
            with path.open("rb") as stream:
                kept = (stamp, hashlib.file_digest(stream, "sha256").hexdigest())
            self._digests[path] = kept
        return kept[1]


def _load(pipeline: Any, path: Path, adapter: str, *, name: str, model: str) -> None:
    from safetensors import SafetensorError

    expected = _count_tensors(path, name)
    try:
        pipeline.load_lora_weights(
            str(path.parent),
            weight_name=path.name,
            adapter_name=adapter,
            use_safetensors=True,
            local_files_only=True,
        )
    except (*_LORA_ERRORS, SafetensorError, ValueError) as error:
        if "PEFT backend is required" in str(error):
            raise BackendUnavailableError(
                "loras need the library peft, which is not installed; "
                "install it with: pip install 'countermark[generate]'"
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f"loras: {name} doesn't fit {model}: {reason}; take one made for this model"
        ) from error
    found = _count_loaded(pipeline, adapter)
    if found < expected or not found:
        raise InputError(
            f"loras: {name} doesn't fit {model}: {found} of its {expected} weights have a "
            "place there; take one made for this model"
        )


def _stem(name: str) -> str:
    return name.removesuffix(_SUFFIX)


def _count_tensors(path: Path, name: str) -> int:
    """Low-rank matrices in the file, by its header.

    Source: the safetensors format: 8 bytes of length, little-endian, then JSON.

    Raises:
        InputError: It is no safetensors file, whatever its name says.
    """
    refusal = InputError(
        f"loras: {name} is no safetensors file, whatever its name says; convert or copy it again"
    )
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= _MAX_HEADER_BYTES:
                raise refusal
            header = json.loads(stream.read(length))
    except (OSError, ValueError, RecursionError) as error:
        raise refusal from error
    if not isinstance(header, dict):
        raise refusal
    matrices = ("lora_a", "lora_b", "lora_down", "lora_up", "lora.down", "lora.up")
    return sum(1 for key in header if any(part in key.lower() for part in matrices))


def _count_loaded(pipeline: Any, adapter: str) -> int:
    modules = [part for part in pipeline.components.values() if hasattr(part, "named_parameters")]
    return sum(
        1
        for module in modules
        for key, _ in module.named_parameters()
        if f".{adapter}." in key and "lora_" in key
    )
