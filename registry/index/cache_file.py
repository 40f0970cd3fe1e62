"""The file of a space's sign codes: a cache on disk, so that a start need not read every vector.

One line of JSON, then the log indexes, then the codes::

    {"magic": "countermark sign codes", ..., "rows": N, "sha256": "..."}<newline>
    N x int64, little-endian: log indexes
    W x N x uint64, little-endian: codes, one word of all rows after the other

Whatever does not fit (another version, a cut or changed file, other rows) is no error: the file is
as good as none, and the codes are made again from the rows. Files are written under a temporary
name and renamed; of several writers the last one wins, and each file is true by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.index.sign_codes import BLOCK_ROWS, CODE_VERSION, CodeBlock, code_words

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CacheHeader",
    "cache_path",
    "forget_file",
    "read_cache",
    "remove_leftovers",
    "write_cache",
]

MAGIC = "countermark sign codes"
FORMAT = 1
MAX_HEADER_BYTES = 4096
LEFTOVER_AGE_S = 3600.0
"""A file of ten million codes is written in seconds; one this old is of a process that was killed.
Were it not, its writer would go on without a file."""
INT = np.dtype("<i8")
WORD = np.dtype("<u8")


@dataclass(frozen=True, slots=True)
class CacheHeader:
    """Which rows a file holds.

    Attributes:
        space_id: Of every vector.
        dim: Components of each.
        generation: As `registry.index.generations` answered it.
        rows: How many.
        last_log_index: Of the last row.
        leaf_hash: Of the log's leaf there, hex.
    """

    space_id: str
    dim: int
    generation: int
    rows: int
    last_log_index: int
    leaf_hash: str


def cache_path(folder: Path, space_id: str) -> Path:
    """Where the file of a space lies; a space id may hold any character."""
    return folder / f"{hashlib.sha256(space_id.encode()).hexdigest()[:32]}.codes"


def write_cache(path: Path, header: CacheHeader, blocks: Sequence[CodeBlock]) -> None:
    """Writes the file whole, or leaves what was there.

    Raises:
        OSError: No room, no right.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [block.log_indexes.astype(INT, copy=False) for block in blocks]
    parts += [
        np.ascontiguousarray(block.words[word], dtype=WORD)
        for word in range(code_words(header.dim))
        for block in blocks
    ]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.data)
    line = json.dumps(_describe(header) | {"sha256": digest.hexdigest()})
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(line.encode() + b"\n")
            for part in parts:
                file.write(part.data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def forget_file(folder: Path, space_id: str) -> None:
    """Deletes the file of a space, whose rows are about to change, if it can be deleted.

    One that stays is not used either: its generation is no longer that of the rows.
    """
    with suppress(OSError):
        cache_path(folder, space_id).unlink(missing_ok=True)


def remove_leftovers(folder: Path, *, now: float) -> int:
    """Deletes files that a process was killed over while it wrote them; answers how many.

    Args:
        folder: Of the files.
        now: Seconds since 1970.
    """
    removed = 0
    for path in folder.glob(".*.codes.*"):
        with suppress(OSError):
            if now - path.stat().st_mtime > LEFTOVER_AGE_S:
                path.unlink()
                removed += 1
    return removed


def read_cache(path: Path, space_id: str) -> tuple[CacheHeader, tuple[CodeBlock, ...]] | None:
    """Header and codes of a file that is whole; None for any other."""
    try:
        with path.open("rb") as file:
            stored = json.loads(file.readline(MAX_HEADER_BYTES))
            expected = stored.pop("sha256")
            header = _parse(stored)
            if header is None or header.space_id != space_id:
                return None
            size = header.rows * (INT.itemsize + WORD.itemsize * code_words(header.dim))
            if path.stat().st_size - file.tell() != size:
                return None
            body = bytearray(size)  # not mapped: a file replaced or cut under a mapping kills us
            file.readinto(body)
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
    if hashlib.sha256(body).hexdigest() != expected:
        return None
    return header, _blocks_of(body, header)


def _blocks_of(body: bytearray, header: CacheHeader) -> tuple[CodeBlock, ...]:
    """Blocks that look into `body`, without a copy."""
    rows = header.rows
    indexes = np.frombuffer(body, dtype=INT, count=rows)
    words = np.frombuffer(body, dtype=WORD, offset=indexes.nbytes).reshape(-1, rows)
    return tuple(
        CodeBlock(indexes[start : start + BLOCK_ROWS], words[:, start : start + BLOCK_ROWS])
        for start in range(0, rows, BLOCK_ROWS)
    )


def _describe(header: CacheHeader) -> dict[str, Any]:
    versions = {"magic": MAGIC, "format": FORMAT, "code_version": CODE_VERSION}
    return versions | asdict(header)


def _parse(stored: dict[str, Any]) -> CacheHeader | None:
    names = CacheHeader.__dataclass_fields__
    try:
        header = CacheHeader(**{name: stored[name] for name in names})
    except (KeyError, TypeError):
        return None
    if stored != _describe(header) or header.rows < 1 or header.dim < 1:
        return None
    return header
