"""Delivered bytes on the local disk, named by their digest."""

from __future__ import annotations

import hashlib
import logging
import re
from typing import TYPE_CHECKING

from provenance.errors import DeliveryError
from provenance.files import StagedFile

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.types import EncodedImage

__all__ = ["LocalAssetStore"]

logger = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")


class LocalAssetStore:
    """Implements `provenance.interfaces.AssetStore` in a folder.

    A file lies at ``<first two digits>/<digest>``, and is whole from the moment it has that name.

    Args:
        folder: Made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stage(self, image: EncodedImage) -> StagedFile:
        """Lays the bytes ready on the store's own disk; publishing is a rename.

        Raises:
            DeliveryError: No room, no right; says what to do.
        """
        return StagedFile(self._path(hashlib.sha256(image.data).hexdigest()), image.data)

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
