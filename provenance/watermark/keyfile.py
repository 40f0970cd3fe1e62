"""The watermark key on disk; see `provenance.keylines`.

Marks of a retired key are still recognised (EU Code of Practice 2.1.4).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from provenance.errors import ConfigError
from provenance.keylines import make_key_lines, read_key_lines, rotate_key_lines
from provenance.watermark.payload import MIN_SECRET_BYTES, WatermarkKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["MAX_KEYS", "make_key_file", "read_key_file", "rotate_key_file"]

_WHAT = "watermark key"

_REMEDY = (
    "check watermark.key_file, or leave it empty: then the first `countermark generate` makes "
    "a key in the home folder"
)

MAX_KEYS = 15
"""Keys that one file holds. Every picture is read under each of them, and what is drawn from a key
is kept in memory for sixteen: these and the published one of signposts."""


def make_key_file(
    path: Path, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> tuple[WatermarkKey, ...]:
    """Reads the key file, or makes it with one fresh key.

    Args:
        path: Its folder is made with mode 0700.
        random_bytes: Answers so many secret bytes.

    Raises:
        ConfigError: The file exists but is unusable.
        DeliveryError: It cannot be written.
    """
    lines = make_key_lines(path, what=_WHAT, random_bytes=random_bytes)
    return _as_keys(lines, path)


def read_key_file(path: Path, *, remedy: str = _REMEDY) -> tuple[WatermarkKey, ...]:
    """All keys, current first.

    Args:
        path: One key a line, in hex; readable by its owner alone.
        remedy: What to do when it is missing.

    Raises:
        ConfigError: Missing, readable by others, not hex, or too many; names the file and the
            remedy.
    """
    return _as_keys(read_key_lines(path, what=_WHAT, remedy=remedy), path)


def rotate_key_file(
    path: Path, *, random_bytes: Callable[[int], bytes]
) -> tuple[WatermarkKey, ...]:
    """Puts a fresh key before the others, whose marks are still recognised.

    Args:
        path: The key file; made when there is none.
        random_bytes: `secrets.token_bytes`.

    Returns:
        All keys, the fresh one first.

    Raises:
        ConfigError: The file is unusable, or holds `MAX_KEYS` already; then nothing is changed.
        DeliveryError: It cannot be written; then nothing is changed.
    """
    if path.exists():
        read_key_file(path)  # a line that is no key stays an error, and is not carried along
    lines = rotate_key_lines(path, what=_WHAT, most=MAX_KEYS, random_bytes=random_bytes)
    return _as_keys(lines, path)


def _as_keys(lines: tuple[bytes, ...], path: Path) -> tuple[WatermarkKey, ...]:
    if len(lines) > MAX_KEYS:
        raise ConfigError(
            f"{_WHAT} {path} holds {len(lines)} keys, and {MAX_KEYS} is the most; take out lines "
            "whose marks need not be recognised any more, the last one is the oldest"
        )
    for number, one in enumerate(lines, 1):
        if len(one) < MIN_SECRET_BYTES:
            raise ConfigError(
                f"{_WHAT} {path}, key {number}, has {len(one)} bytes; it needs {MIN_SECRET_BYTES} "
                "or more from a secure random source"
            )
    return tuple(WatermarkKey(one) for one in lines)
