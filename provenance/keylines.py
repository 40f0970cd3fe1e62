"""Files of secret keys: made once, private, never logged.

A file holds one key a line in hex, the current one first; older lines stay readable, so that what
was written under a retired key can still be read.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from provenance.errors import ConfigError, DeliveryError
from provenance.files import StagedFile, locked_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["make_key_lines", "read_key_lines", "rotate_key_lines"]

SECRET_BYTES = 32
"""As long as the keys that are used or derived: HMAC-SHA-256 and AES-256."""


def make_key_lines(
    path: Path, *, what: str, random_bytes: Callable[[int], bytes]
) -> tuple[bytes, ...]:
    """Reads the file, or makes it with one fresh key.

    Args:
        path: Its folder is made with mode 0700.
        what: What to call it in errors, e.g. ``watermark key``.
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
    return read_key_lines(path, what=what, remedy="start again to make it")


def read_key_lines(path: Path, *, what: str, remedy: str) -> tuple[bytes, ...]:
    """All keys, current first.

    Args:
        path: The file.
        what: What to call it in errors.
        remedy: What to do when it is missing.

    Raises:
        ConfigError: Missing, readable by others, or not hex; names the file and the remedy.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise ConfigError(f"{what} {path} does not exist; {remedy}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{what} {path} can be read by others; run: chmod 600 {path}")
    keys = []
    for number, line in enumerate(text.split(), 1):
        try:
            keys.append(bytes.fromhex(line))
        except ValueError as error:
            raise ConfigError(f"{what} {path}, line {number}, is not hex") from error
    if not keys:
        raise ConfigError(f"{what} {path} is empty; restore it from a backup")
    return tuple(keys)


def rotate_key_lines(
    path: Path, *, what: str, most: int, random_bytes: Callable[[int], bytes]
) -> tuple[bytes, ...]:
    """Puts a fresh key before those of the file; makes the file when there is none.

    Two that rotate at once come one after the other, so that no key is lost: what is marked in
    between would never be recognised again.

    Args:
        path: Its folder is made with mode 0700.
        what: What to call it in errors.
        most: How many keys the file may hold.
        random_bytes: `secrets.token_bytes`.

    Returns:
        All keys, the fresh one first.

    Raises:
        ConfigError: The file is unusable, or full; then nothing is changed.
        DeliveryError: It cannot be written; then nothing is changed.
    """
    target = path.resolve()  # a link stays one: what it names is replaced, not the link
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DeliveryError(
            f"{target.parent} cannot be made: {error.strerror}; check the folder above it"
        ) from error
    with locked_folder(target.parent):
        old = read_key_lines(target, what=what, remedy="") if target.exists() else ()
        if len(old) >= most:
            raise ConfigError(
                f"{what} {path} holds {len(old)} keys, and {most} is the most; take out a line "
                "whose marks need not be recognised any more, the last one is the oldest"
            )
        keys = (random_bytes(SECRET_BYTES), *old)
        text = "".join(f"{key.hex()}\n" for key in keys)
        StagedFile(target, text.encode("ascii"), mode=0o600).publish()
    return keys
