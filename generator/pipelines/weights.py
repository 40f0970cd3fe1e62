"""What a model folder holds: which files a pipeline loads, their digests, and their licence.

Pure file work on the diffusers layout (``model_index.json`` with one folder per component): no
torch, no network, and nothing of the folder is ever executed.

**Digests that anyone can repeat.** A digest over several files is the SHA-256 of the text that
``sha256sum`` prints for them, sorted by path in byte order::

    cd MODEL && LC_ALL=C ls FILES... | xargs sha256sum | sha256sum

`ModelFiles.weights` (what `ModelRef.weights_sha256` covers) are the tensors that the pipeline
reads; `ModelFiles.configs` are the JSON, vocabulary and template files that shape the picture
too. The revision of a local folder covers both. A safety checker inside the folder belongs to
neither: it never touches pixels, and its own version names its weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CHECKER_FILES",
    "SAFETY_COMPONENTS",
    "Component",
    "DigestCache",
    "ModelFiles",
    "ModelIndex",
    "WeightFormats",
    "digest_files",
    "list_files",
    "parse_model_index",
    "read_licence",
    "read_model_index",
    "select_files",
]

INDEX_NAME = "model_index.json"

MAX_INDEX_BYTES = 1 << 20
"""Real ones have about 600 bytes; a cap keeps a wrong file from filling memory."""

SAFETY_COMPONENTS = frozenset({"safety_checker", "feature_extractor"})
"""Taken out of the pipeline: run as our own checker, so that nothing is painted black."""

CHECKER_FILES = (
    "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "feature_extractor/preprocessor_config.json",
)
"""What a Stable Diffusion safety checker needs; one that comes as a pickle counts as none."""

_TRUSTED_LIBRARIES = frozenset({"diffusers", "transformers"})
_PIPELINE_MODULE_CLASSES = frozenset({"StableDiffusionSafetyChecker"})
"""Classes that an index names by a module below ``diffusers.pipelines`` (``stable_diffusion``)."""

_WEIGHTLESS_CLASS = re.compile(
    r"(Tokenizer|TokenizerFast|Scheduler|Processor|ProcessorFast|Extractor)$"
)
_CONFIG_SUFFIXES = frozenset({".json", ".txt", ".model", ".jinja"})
_WEIGHT_NAME = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)"
    r"(?P<before>\.[A-Za-z][A-Za-z0-9_]*)?"
    r"(?:-\d{5}-of-\d{5})?"
    r"(?P<after>\.[A-Za-z][A-Za-z0-9_]*)?"
    r"\.(?P<suffix>safetensors|bin)"
)
"""Names that diffusers (``diffusion_pytorch_model``) and transformers (``model``,
``pytorch_model``) load, with shard numbers and with the variant on either side of them.

Source: diffusers 0.42 `utils/constants.py` and `_add_variant`; transformers 5 `utils/__init__.py`.
"""
_SAFE_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class WeightFormats(StrEnum):
    """Which weight files may be read.

    A pickle can run any program when it is loaded; safetensors files hold numbers only.
    """

    SAFETENSORS_ONLY = "safetensors-only"
    PICKLE_ALLOWED = "pickle-allowed"


@dataclass(frozen=True, slots=True)
class Component:
    """One line of ``model_index.json``: a part of the pipeline with its class."""

    name: str
    library: str
    class_name: str

    @property
    def has_weights(self) -> bool:
        """Tokenizers, schedulers and image processors have none; everything else does."""
        return _WEIGHTLESS_CLASS.search(self.class_name) is None


@dataclass(frozen=True, slots=True)
class ModelIndex:
    """``model_index.json``, checked: only classes of diffusers and transformers are named."""

    class_name: str
    components: tuple[Component, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(component.name for component in self.components)

    @property
    def rendering(self) -> tuple[Component, ...]:
        """The components that make the picture; all but those of the safety checker.

        An image processor counts as the checker's only where there is a checker.
        """
        if "safety_checker" not in self.names:
            return self.components
        return tuple(c for c in self.components if c.name not in SAFETY_COMPONENTS)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Paths relative to the model folder, in POSIX form, sorted."""

    weights: tuple[str, ...]
    configs: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(sorted((*self.weights, *self.configs)))


# -- the index ---------------------------------------------------------------------------------


def read_model_index(folder: Path) -> ModelIndex:
    """Reads and checks ``model_index.json``.

    Raises:
        InputError: `folder` is no diffusers model; the message names the field ``model``.
    """
    path = folder / INDEX_NAME
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise InputError(f"model: {path.name} of {folder.name} is too large to be an index")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"model: the folder {folder} has no {INDEX_NAME}, so it is no diffusers model; "
            f"give the folder that holds {INDEX_NAME}, unet/ or transformer/, vae/ and so on"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"model: {path} cannot be read: {error}") from error
    return parse_model_index(text, where=folder.name)


def parse_model_index(text: str, *, where: str) -> ModelIndex:
    """Parses the text of a ``model_index.json``.

    Args:
        text: JSON.
        where: What the messages call the model.

    Raises:
        InputError: Not JSON, no pipeline class, or a component from outside diffusers and
            transformers (such folders bring code of their own, which is never run).
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"model: {INDEX_NAME} of {where} is not valid JSON: {error}") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("_class_name"), str):
        raise InputError(
            f"model: {INDEX_NAME} of {where} names no diffusers pipeline in _class_name; "
            "pipelines with code of their own are not run"
        )
    pairs = ((name, value) for name, value in raw.items() if isinstance(value, list))
    components = tuple(
        _parse_component(name, value, where=where) for name, value in pairs if value != [None, None]
    )
    return ModelIndex(class_name=raw["_class_name"], components=components)


def _parse_component(name: str, value: list[Any], *, where: str) -> Component:
    texts = [part for part in value if isinstance(part, str)]
    if len(value) != 2 or len(texts) != 2 or not _SAFE_PART.fullmatch(name):
        raise InputError(f"model: {INDEX_NAME} of {where} has a malformed entry {name[:40]!r}")
    library, class_name = texts
    if library not in _TRUSTED_LIBRARIES and class_name not in _PIPELINE_MODULE_CLASSES:
        raise InputError(
            f"model: the component {name} of {where} comes from {library[:40]!r}, not from "
            "diffusers or transformers; code that a model brings along is never run"
        )
    return Component(name=name, library=library, class_name=class_name)


# -- which files are loaded --------------------------------------------------------------------


def select_files(
    names: Iterable[str],
    index: ModelIndex,
    *,
    formats: WeightFormats,
    variant: str | None = None,
    where: str,
) -> ModelFiles:
    """Chooses the files that a pipeline with this index reads.

    The one rule for downloads and for digests, so that a digest covers what is loaded and no
    more: a copy that also holds half-precision or pickle twins has the same digest.

    Args:
        names: Paths of all files, relative to the model folder, POSIX form.
        index: The model's index.
        formats: Whether pickles may stand in where there are no safetensors.
        variant: ``fp16`` and the like; a component without it falls back to the plain files.
        where: What the messages call the model.

    Raises:
        InputError: A component is missing, or has no weights of an allowed format.
    """
    by_folder: dict[str, list[str]] = {}
    for name in names:
        folder, _, file_name = name.rpartition("/")
        by_folder.setdefault(folder, []).append(file_name)
    weights: list[str] = []
    configs = [INDEX_NAME]
    for component in index.rendering:
        files = by_folder.get(component.name)
        if not files:
            raise InputError(
                f"model: {where} lacks the folder {component.name}/ that its index names; "
                "copy or download the model again, whole"
            )
        if f"{component.library}.py" in files:
            # NOTE: diffusers takes such a file for the component's own code and runs it.
            raise InputError(
                f"model: {component.name}/ of {where} holds {component.library}.py; code that a "
                "model brings along is never run"
            )
        configs += (f"{component.name}/{n}" for n in files if Path(n).suffix in _CONFIG_SUFFIXES)
        if component.has_weights:
            chosen = _select_weights(
                component, files, formats=formats, variant=variant, where=where
            )
            weights += (f"{component.name}/{n}" for n in chosen)
    return ModelFiles(weights=tuple(sorted(weights)), configs=tuple(sorted(configs)))


def _select_weights(
    component: Component,
    names: Sequence[str],
    *,
    formats: WeightFormats,
    variant: str | None,
    where: str,
) -> list[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        match = _WEIGHT_NAME.fullmatch(name)
        if match:
            label = (match["before"] or match["after"] or "").removeprefix(".")
            found.setdefault((match["suffix"], label), []).append(name)
    suffixes = ["safetensors"]
    if formats is WeightFormats.PICKLE_ALLOWED:
        suffixes.append("bin")
    for suffix in suffixes:
        for label in (variant, ""):
            if label is not None and (suffix, label) in found:
                return found[suffix, label]
    pickled = any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names)
    raise InputError(_missing_weights_message(component, pickled=pickled, where=where))


def _missing_weights_message(component: Component, *, pickled: bool, where: str) -> str:
    if pickled:
        return (
            f"model: {component.name}/ of {where} has weights as pickle only, and a pickle can run "
            "any program when it is loaded; convert it to safetensors, or allow pickle weights "
            "if you trust whoever made them"
        )
    return (
        f"model: {component.name}/ of {where} has no weights in safetensors form; "
        "copy or download the model again, whole"
    )


def list_files(folder: Path) -> list[str]:
    """All files at most one folder down, as POSIX paths relative to `folder`, sorted."""
    found = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in found)


# -- digests -----------------------------------------------------------------------------------


def digest_files(folder: Path, names: Iterable[str], *, cache: DigestCache) -> str:
    """Digest over several files, as the module's docstring defines it.

    Args:
        folder: Where `names` start.
        names: Relative POSIX paths; order doesn't matter.
        cache: Remembers the digests of large files.

    Returns:
        64 hex digits.

    Raises:
        InputError: A file cannot be read.
    """
    ordered = sorted(set(names), key=lambda name: name.encode())
    try:
        lines = [f"{cache.digest(folder / name)}  {name}\n" for name in ordered]
    except OSError as error:
        raise InputError(f"model: a file of {folder.name} cannot be read: {error}") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class DigestCache:
    """SHA-256 of files; remembers large ones by path, size and times in a small JSON file.

    Reading the 7 GB of an SDXL folder takes seconds to minutes; doing so on each start of a
    command would be felt. A file that was changed in place *and* given back its size and all its
    times is taken for unchanged: somebody with that much power over the machine could as well
    replace this program.

    Args:
        path: The JSON file; None remembers nothing.
    """

    MIN_BYTES = 1 << 20
    """Smaller files are hashed faster than looked up."""

    SETTLE_S = 2.0
    """A file younger than this isn't remembered: it could change again within one clock tick of
    its file system (FAT counts in 2 s)."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._entries = _read_entries(path)

    def digest(self, file: Path) -> str:
        """64 hex digits of the file's bytes.

        Raises:
            OSError: The file cannot be read.
        """
        real = file.resolve(strict=True)
        state = real.stat()
        if state.st_size < self.MIN_BYTES:
            return _hash_file(real)
        stamp = f"{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}"
        known = self._entries.get(str(real))
        if known is not None and known[0] == stamp:
            return known[1]
        value = _hash_file(real)
        if time.time() - max(state.st_mtime, state.st_ctime) > self.SETTLE_S:
            self._entries[str(real)] = (stamp, value)
            self._save()
        return value

    def _save(self) -> None:
        if self._path is None:
            return
        text = json.dumps({"version": 1, "files": self._entries}, indent=1, sort_keys=True)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(temporary).replace(self._path)
        except OSError:
            # A cache that cannot be written costs time on the next start, never the answer.
            self._path = None


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_entries(path: Path | None) -> dict[str, tuple[str, str]]:
    """Entries of a cache file; anything unexpected in it counts as nothing remembered."""
    if path is None:
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        files = raw["files"] if raw["version"] == 1 else {}
        return {
            str(name): (str(stamp), str(value))
            for name, (stamp, value) in files.items()
            if re.fullmatch(r"[0-9a-f]{64}", str(value))
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


# -- licence -----------------------------------------------------------------------------------

_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+()_-]{0,63}")
"""SPDX names and the hub's own (``creativeml-openrail-m``); it goes into manifests, so nothing
that could be markup passes."""
_FRONT_MATTER = re.compile(r"\A\ufeff?---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_FRONT_MATTER_KEY = re.compile(r"^(license|license_name)\s*:\s*(.+?)\s*$", re.MULTILINE)


def read_licence(folder: Path) -> str | None:
    """The licence that the model card (``README.md``) states in its YAML front matter.

    ``license: other`` gives way to ``license_name``, where there is one.

    Returns:
        The card's own word, or None when it states none.
    """
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(64 * 1024)
    except OSError:
        return None
    matter = _FRONT_MATTER.match(head)
    if matter is None:
        return None
    stated = {key: value.strip("'\"") for key, value in _FRONT_MATTER_KEY.findall(matter[1])}
    licence = stated.get("license")
    if licence == "other":
        licence = stated.get("license_name", licence)
    return licence if licence and _LICENCE.fullmatch(licence) else None
