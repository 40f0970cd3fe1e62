"""Delivered bytes on the local disk, named by their digest."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from provenance.errors import DeliveryError

if TYPE_CHECKING:
    from provenance.types import EncodedImage

__all__ = ["LocalAssetStore"]

logger = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")

_REMEDIES = {
    errno.ENOSPC: "the disk is full; make room and try again",
    errno.EDQUOT: "this user's disk quota is used up; make room and try again",
    errno.EFBIG: "the file is larger than this process may write; raise the limit (ulimit -f)",
    errno.EACCES: "this user may not write there; give it the right, or name another folder",
    errno.EPERM: "this user may not write there; give it the right, or name another folder",
    errno.EROFS: "the file system may only be read; name another folder",
}


class LocalAssetStore:
    """Implements `provenance.interfaces.AssetStore` in a folder.

    A file lies at ``<first two digits>/<digest>`` and is whole from the moment that it has its
    name: the bytes are written under another name, forced to disk, then renamed.

    Args:
        folder: Made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, image: EncodedImage) -> str:
        """Stores the bytes whole or not at all; answers their SHA-256.

        Raises:
            DeliveryError: No room, no right; says what to do.
        """
        digest = hashlib.sha256(image.data).hexdigest()
        path = self._path(digest)
        try:
            if _read_if_whole(path, digest) is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_whole(path, image.data)
        except OSError as error:
            raise DeliveryError(_explain("stored", path, error)) from error
        return digest

    def get(self, sha256: str) -> bytes | None:
        """The bytes, verified against their digest; None when they are not kept.

        Bytes that no longer have their digest are as good as lost: None, and an error in the log.

        Raises:
            DeliveryError: The file is there but cannot be read.
        """
        if not _SHA256.fullmatch(sha256):
            return None  # also keeps anything that is no digest out of the path
        path = self._path(sha256)
        try:
            return _read_if_whole(path, sha256)
        except OSError as error:
            raise DeliveryError(_explain("read", path, error)) from error

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest


def _read_if_whole(path: Path, digest: str) -> bytes | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(data).hexdigest() != digest:
        logger.error("asset %s is damaged on disk; it is not delivered", digest)
        return None
    return data


def _write_whole(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Forces the new name to disk: without it, power loss can undo the rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(what: str, path: Path, error: OSError) -> str:
    code = error.errno or 0
    remedy = _REMEDIES.get(code, f"{error.strerror or error}; check the disk")
    return f"asset {path} could not be {what}: {remedy}"
