"""The watermark key on disk; see `provenance.keylines`.

Marks of a retired key are still recognised (EU Code of Practice 2.1.4).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from provenance.keylines import make_key_lines, read_key_lines
from provenance.watermark.payload import WatermarkKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["make_key_file", "read_key_file"]

_WHAT = "watermark key"

_REMEDY = (
    "check watermark.key_file, or leave it empty: then the first `countermark generate` makes "
    "a key in the home folder"
)


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
    return tuple(WatermarkKey(one) for one in lines)


def read_key_file(path: Path, *, remedy: str = _REMEDY) -> tuple[WatermarkKey, ...]:
    """All keys, current first.

    Args:
        path: One key a line, in hex; readable by its owner alone.
        remedy: What to do when it is missing.

    Raises:
        ConfigError: Missing, readable by others, or not hex; names the file and the remedy.
    """
    return tuple(WatermarkKey(one) for one in read_key_lines(path, what=_WHAT, remedy=remedy))
