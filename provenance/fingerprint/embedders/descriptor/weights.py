"""Reads and writes the descriptor's weights: safetensors, half precision, with NumPy alone.

Format: 8 bytes little-endian length, JSON with name, type, shape and place of each tensor, the raw
values (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provenance.types import Float32Array

__all__ = ["Weights", "read_weights", "write_weights"]

_MAX_HEADER_BYTES = 1 << 20
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A network's values.

    Attributes:
        tensors: Name to float32 values, as they were rounded in the file.
        metadata: How they are to be used; text, as the format has it.
        sha256: Of the file.
    """

    tensors: Mapping[str, Float32Array] = field(repr=False)
    metadata: Mapping[str, str]
    sha256: str


def read_weights(path: Path) -> Weights:
    """The weights in a file.

    Raises:
        BackendUnavailableError: The file is missing or is no such file; names it.
    """
    try:
        raw = path.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = _header(raw, length)
        metadata = {str(k): str(v) for k, v in header.pop(_METADATA, {}).items()}
        tensors = {name: _tensor(raw[8 + length :], entry) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendUnavailableError(
            f"{path} cannot be read as weights of the descriptor: {error}; install Countermark "
            "again"
        ) from error
    return Weights(tensors, metadata, hashlib.sha256(raw).hexdigest())


def _header(raw: bytes, length: int) -> dict[str, Any]:
    if not 0 < length <= min(_MAX_HEADER_BYTES, len(raw) - 8):
        raise ValueError("its header does not fit")
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    return header


def _tensor(body: bytes, entry: Mapping[str, Any]) -> Float32Array:
    if entry["dtype"] != "F16":
        raise ValueError(f"type {entry['dtype']} instead of F16")
    begin, end = entry["data_offsets"]
    values = np.frombuffer(body[begin:end], dtype="<f2").reshape(entry["shape"])
    return values.astype(np.float32)


def write_weights(
    path: Path, tensors: Mapping[str, Float32Array], metadata: Mapping[str, str]
) -> None:
    """Rounds to half precision and writes; the file is whole or not there."""
    header: dict[str, object] = {_METADATA: dict(metadata)}
    parts: list[bytes] = []
    place = 0
    for name, values in sorted(tensors.items()):
        part = np.ascontiguousarray(values).astype("<f2").tobytes()
        header[name] = {
            "dtype": "F16",
            "shape": list(values.shape),
            "data_offsets": [place, place + len(part)],
        }
        parts.append(part)
        place += len(part)
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_suffix(".partial")
    partial.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *parts]))
    os.replace(partial, path)  # noqa: PTH105 - as elsewhere: atomic on every system
