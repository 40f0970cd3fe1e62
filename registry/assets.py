"""Delivered bytes on the local disk, named by their digest."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from provenance.errors import DeliveryError
from provenance.files import write_file_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provenance.types import EncodedImage

__all__ = ["LocalAssetStore", "StagedAsset"]

logger = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")


class StagedAsset:
    """Implements `provenance.interfaces.Staged`: a whole file that waits for its record."""

    def __init__(self, part: Path, path: Path) -> None:
        self._part = part
        self._path = path

    def publish(self) -> Path:
        """Gives the bytes their name.

        Raises:
            DeliveryError: The folder went away or its rights changed meanwhile.
        """
        try:
            self._part.replace(self._path)
        except OSError as error:
            if not self._path.is_file():  # else another process has published it for us
                raise DeliveryError(
                    f"asset {self._path} cannot be published: {error.strerror or error}; give this "
                    "user the right to write there and start the service again: it goes on with it"
                ) from error
        return self._path

    def discard(self) -> None:
        """Forgets the bytes; harmless after `publish`."""
        with suppress(OSError):
            self._part.unlink()


class LocalAssetStore:
    """Implements `provenance.interfaces.AssetStore` in a folder.

    A file lies at ``<first two digits>/<digest>``, and is whole from the moment it has that name.
    What waits for its record lies in ``.staged``, named by its digest too: when a process dies
    between the commit and the rename, `recover` still delivers what the record promises.

    Args:
        folder: Made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stage(self, image: EncodedImage) -> StagedAsset:
        """Lays the bytes ready on the store's own disk; publishing is a rename.

        Raises:
            DeliveryError: No room, no right; says what to do.
        """
        digest = hashlib.sha256(image.data).hexdigest()
        part, path = self._staging / f"{digest}.{secrets.token_hex(4)}", self._path(digest)
        write_file_atomic(part, image.data)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise DeliveryError(
                f"{path.parent} cannot be made: {error.strerror or error}; free some room or give "
                "this user the right to write there"
            ) from error
        return StagedAsset(part, path)

    def recover(self, is_registered: Callable[[str], bool], *, abandoned_after_s: float) -> None:
        """Publishes what a dead process had registered, and clears away what it had not.

        Args:
            is_registered: Whether a record of a file with this SHA-256 stands.
            abandoned_after_s: Age from which no living process still works on a file, seconds.
        """
        if not self._staging.is_dir():
            return
        for part in self._staging.iterdir():
            digest = part.name.partition(".")[0]
            with suppress(OSError):  # another process was first
                if _SHA256.fullmatch(digest) and is_registered(digest):
                    StagedAsset(part, self._path(digest)).publish()
                elif time.time() - part.stat().st_mtime > abandoned_after_s:
                    part.unlink()

    @property
    def _staging(self) -> Path:
        return self._folder / ".staged"

    def get(self, sha256: str) -> bytes | None:
        """The bytes, verified against their digest; None when they are not kept.

        Bytes that no longer have their digest are as good as lost: None, and an error in the log.

        Raises:
            DeliveryError: The file is there but cannot be read.
        """
        if not _SHA256.fullmatch(sha256):
            return None  # also keeps anything that is no digest out of the path
        try:
            data = self._path(sha256).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DeliveryError(
                f"asset {self._path(sha256)} cannot be read: {error.strerror or error}; "
                "give this user the right to read it, or check the disk"
            ) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            logger.error("asset %s is damaged on disk; it is not delivered", sha256)
            return None
        return data

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest
