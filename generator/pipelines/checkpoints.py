"""Checkpoints as files: safetensors with the request beside the numbers; nothing is pickled.

A file holds the prompt and the input pictures, so it is readable by its owner alone. A digest over
everything tells a damaged file from a whole one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from generator.job_documents import read_requests, write_requests
from provenance.errors import BackendUnavailableError, DeliveryError, InputError, ProvenanceError
from provenance.files import write_file_atomic
from provenance.types import Checkpoint, ModelRef, parse_record_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

__all__ = [
    "SUFFIX",
    "checkpoint_name",
    "find_checkpoint",
    "read_checkpoint",
    "remove_later_checkpoints",
    "write_checkpoint",
]

SUFFIX = ".safetensors"
_FORMAT = "countermark-checkpoint-1"
_TENSOR, _INPUT = "state.", "input."
_OWNER_ONLY = 0o600

_MISSHAPEN = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What reading runs into where a file of the right digest says something else than a checkpoint."""


def checkpoint_name(stem: str, step: int) -> str:
    """File name of the checkpoint after a step, so that names sort as the steps do."""
    return f"{stem}-step-{step:04d}{SUFFIX}"


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file whole or not at all, for its owner's eyes only (it holds the prompt).

    Raises:
        BackendUnavailableError: The library safetensors is missing.
        DeliveryError: The file cannot be written.
    """
    body, inputs = write_requests((checkpoint.request,))
    tensors = {f"{_TENSOR}{name}": value for name, value in checkpoint.tensors.items()}
    for digest, data in inputs.items():
        tensors[f"{_INPUT}{digest}"] = np.frombuffer(data, dtype=np.uint8)
    said = json.dumps(
        {
            "body": body,
            "model": asdict(checkpoint.model),
            "version": checkpoint.version,
            "done": checkpoint.done,
            "total": checkpoint.total,
            "state": dict(checkpoint.state),
            "record_id": checkpoint.record_id,
        },
        sort_keys=True,
    )
    metadata = {"format": _FORMAT, "said": said, "sha256": _digest(said, tensors)}
    data = _library().numpy.save(
        {name: np.array(value, order="C") for name, value in tensors.items()}, metadata=metadata
    )
    write_file_atomic(path, data, mode=_OWNER_ONLY)


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads what `write_checkpoint` wrote.

    Raises:
        InputError: It is not there, no checkpoint, or damaged.
        BackendUnavailableError: The library safetensors is missing.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; name a checkpoint that --export-steps wrote")
    library = _library()
    try:
        with library.safe_open(path, framework="numpy") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (OSError, ValueError, TypeError, library.SafetensorError) as error:
        raise _damaged(path) from error
    if metadata.get("format") != _FORMAT:
        raise InputError(
            f"{path} is no checkpoint of this version of Countermark; name one that "
            "--export-steps wrote"
        )
    said = metadata.get("said", "")
    if metadata.get("sha256") != _digest(said, tensors):
        raise _damaged(path)
    try:
        return _compose(json.loads(said), tensors)
    except (ProvenanceError, *_MISSHAPEN) as error:
        raise _damaged(path) from error


def remove_later_checkpoints(folder: Path, stem: str, step: int) -> None:
    """Removes what an earlier render of this name left beyond `step`.

    The last checkpoint of a folder would otherwise be one of another picture.

    Raises:
        DeliveryError: One cannot be removed.
    """
    for one in folder.glob(f"*-step-*{SUFFIX}"):
        number = one.stem.rpartition("-step-")[2]
        if one.name.startswith(f"{stem}-step-") and number.isdecimal() and int(number) > step:
            try:
                one.unlink(missing_ok=True)
            except OSError as error:
                raise DeliveryError(
                    f"{one} is of an earlier picture and cannot be removed; choose another folder"
                ) from error


def find_checkpoint(place: Path, step: int | None) -> Path:
    """The checkpoint to go on from.

    Args:
        place: A checkpoint, or the folder that ``--export-steps`` filled.
        step: The step that it must be of; None means the file's own, or the last of the folder.

    Raises:
        InputError: There is none, or more than one picture's steps lie in the folder.
    """
    if place.is_file():
        if step is not None and not place.name.endswith(checkpoint_name("", step)):
            place = place.parent / f"{place.stem.rpartition('-step-')[0]}-step-{step:04d}{SUFFIX}"
        if place.is_file():
            return place
        raise InputError(f"--from-step {step}: there is no {place.name} beside the checkpoint")
    if not place.exists():
        raise InputError(f"{place} does not exist; name a checkpoint that --export-steps wrote")
    found = sorted(place.glob(f"*-step-*{SUFFIX}")) if place.is_dir() else []
    if step is not None:
        found = [one for one in found if one.name.endswith(checkpoint_name("", step))]
    if not found:
        what = "" if step is None else f" of step {step}"
        raise InputError(f"{place} holds no checkpoint{what}; name what --export-steps wrote")
    if len({one.name.rpartition("-step-")[0] for one in found}) > 1:
        raise InputError(f"{place} holds the steps of several pictures; name one of its files")
    return found[-1]


def _compose(said: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> Checkpoint:
    inputs = {
        name.removeprefix(_INPUT): value.tobytes()
        for name, value in tensors.items()
        if name.startswith(_INPUT)
    }
    named = said.get("record_id")
    return Checkpoint(
        request=read_requests(said["body"], inputs)[0],
        model=ModelRef(**said["model"]),
        version=said["version"],
        done=said["done"],
        total=said["total"],
        tensors={
            name.removeprefix(_TENSOR): value
            for name, value in tensors.items()
            if name.startswith(_TENSOR)
        },
        state=said["state"],
        record_id=None if named is None else parse_record_id(named),
    )


def _digest(said: str, tensors: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256(said.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name}\0{value.dtype.str}\0{value.shape}\0".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged or no checkpoint; go on from another step's file")


def _library() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise BackendUnavailableError(
            "checkpoints need the library safetensors, which is not installed; "
            "install it with: pip install 'countermark[generate]'"
        ) from error
    return safetensors
