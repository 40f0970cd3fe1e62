"""Words that all other types are made of, and the checks they share."""

from __future__ import annotations

import copyreg
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NewType, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.errors import InputError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "BitArray",
    "Float32Array",
    "Parameters",
    "RecordId",
    "Scalar",
    "Uint8Array",
    "frozen_parameters",
    "parse_record_id",
    "require",
    "require_sha256",
    "require_utc",
]

Uint8Array: TypeAlias = npt.NDArray[np.uint8]
Float32Array: TypeAlias = npt.NDArray[np.float32]
BitArray: TypeAlias = npt.NDArray[np.bool_]
Scalar: TypeAlias = str | int | float | bool | None
Parameters: TypeAlias = Mapping[str, Scalar]

RecordId = NewType("RecordId", str)
"""64 unguessable bits as 16 lower-case hex digits: the payload of the mark *and* the record."""

_RECORD_ID = re.compile(r"[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_record_id(text: str) -> RecordId:
    """Returns `text` as a record id.

    Raises:
        InputError: `text` is not 16 hex digits.
    """
    folded = text.strip().lower()
    if not _RECORD_ID.fullmatch(folded):
        raise InputError(f"record id {text[:40]!r} is not 16 hex digits, like 3f2a9c0d11e87b46")
    return RecordId(folded)


def require(condition: bool, message: str) -> None:  # noqa: FBT001  a predicate reads best so
    """Raises `InputError` with `message` unless `condition` holds."""
    if not condition:
        raise InputError(message)


def require_sha256(name: str, value: str) -> None:
    """Requires a digest as 64 lower-case hex digits."""
    require(bool(_SHA256.fullmatch(value)), f"{name} must be 64 lower-case hex digits of SHA-256")


def require_utc(name: str, value: datetime) -> None:
    """Requires an aware time with offset zero."""
    offset = value.utcoffset()
    require(offset is not None and not offset, f"{name} must be a time in UTC")


def frozen_parameters(values: Parameters) -> Parameters:
    """A read-only copy."""
    return MappingProxyType(dict(values))


def _read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


# A read-only mapping does not pickle by itself; pictures on their way to be marked hold some.
copyreg.pickle(MappingProxyType, lambda values: (_read_only, (dict(values),)))
