"""A folder of files as samples: each file one sample, its relative path the key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from detector.sidecars import SUFFIX
from provenance.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_folders", "key_of", "list_samples"]


def list_samples(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, in a stable order; linked folders are not followed.

    A manifest that lies beside its picture is part of that sample and none of its own.

    Raises:
        InputError: `folder` is missing or no folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the folder that holds the pictures")
    for place, folders, names in os.walk(folder):
        folders.sort()
        pictures = [name for name in names if not name.endswith(SUFFIX)]
        owners = {*pictures, *(Path(name).stem for name in pictures)}
        for name in sorted(names):
            if not (name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in owners):
                yield Path(place) / name


def key_of(path: Path, folder: Path) -> str:
    """Sample key: relative path with forward slashes.

    Names that are not UTF-8 get their stray bytes escaped, so that every key is text.
    """
    relative = path.relative_to(folder).as_posix()
    return os.fsencode(relative).decode("utf-8", "backslashreplace")


def check_folders(folder: Path, out: Path) -> None:
    """Refuses an output inside the input, where a second run would take it for samples.

    Raises:
        InputError: `out` lies in `folder`, or is it.
    """
    source, target = folder.resolve(), out.resolve()
    if target == source or source in target.parents:
        raise InputError(f"{out} lies inside {folder}; choose an output folder outside of it")
