"""Finds and reads the C2PA manifest store that lies in a file of its own beside a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.errors import InputError
from provenance.imaging import DEFAULT_LIMITS, ImageLimits, read_file
from provenance.types import Sidecar

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SUFFIX", "find_sidecar", "read_sidecar"]

SUFFIX = ".c2pa"
"""Source: C2PA 2.2 §11.4, "External manifests": the extension of a manifest store in a file."""


def find_sidecar(picture: Path) -> Path | None:
    """The file beside `picture` that should hold its manifest store; None where there is none.

    ``photo.jpg.c2pa`` is surely of ``photo.jpg`` and comes before ``photo.c2pa``, which may be of
    another ``photo``.
    """
    if picture.suffix == SUFFIX:
        return None
    for name in (picture.name, picture.stem):
        path = picture.with_name(name + SUFFIX)
        if path.exists():
            return path
    return None


def read_sidecar(path: Path, *, limits: ImageLimits = DEFAULT_LIMITS) -> Sidecar:
    """What `path` holds, or why it cannot be read: the picture is answered all the same."""
    try:
        return Sidecar(path.name, read_file(path, limits=limits))
    except InputError as error:
        return Sidecar(path.name, b"", f"{error}.")
