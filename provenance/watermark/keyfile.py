"""The watermark key on disk: made once, private, never logged.

A file holds one key a line in hex, the current one first; older lines stay readable, so marks of a
retired key are still recognised (EU Code of Practice 2.1.4).
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from provenance.errors import ConfigError
from provenance.files import StagedFile
from provenance.watermark.payload import WatermarkKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["make_key_file", "read_key_file"]

SECRET_BYTES = 32
"""Equal to the hash that keys are derived with (SHA-256); more would add nothing."""


def make_key_file(path: Path, *, random_bytes: Callable[[int], bytes]) -> tuple[WatermarkKey, ...]:
    """Reads the key file, or makes it with one fresh key.

    Args:
        path: Its folder is made with mode 0700.
        random_bytes: `secrets.token_bytes`.

    Raises:
        ConfigError: The file exists but is unusable.
        DeliveryError: It cannot be written.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = random_bytes(SECRET_BYTES).hex() + "\n"
        # Of several processes that start together one key wins, and all of them read that one.
        StagedFile(path, line.encode("ascii"), mode=0o600).publish_new()
    return read_key_file(path)


def read_key_file(path: Path) -> tuple[WatermarkKey, ...]:
    """All keys, current first.

    Raises:
        ConfigError: Missing, readable by others, or not hex; names the file and the remedy.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise ConfigError(
            f"watermark key {path} does not exist; check watermark.key_file, or leave it empty: "
            "then the first `countermark generate` makes a key in the home folder"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"watermark key {path} cannot be read: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"watermark key {path} can be read by others; run: chmod 600 {path}")
    keys = []
    for number, line in enumerate(text.split(), 1):
        try:
            keys.append(WatermarkKey(bytes.fromhex(line)))
        except ValueError as error:
            raise ConfigError(f"watermark key {path}, line {number}, is not hex") from error
    if not keys:
        raise ConfigError(f"watermark key {path} is empty; restore it from a backup")
    return tuple(keys)
