"""Delivered bytes on the local disk, named by their digest; and what every asset store can do."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from provenance.errors import DeliveryError, RecordGoneError
from provenance.files import write_file_atomic
from provenance.interfaces import AssetStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provenance.interfaces import Staged
    from provenance.types import EncodedImage, RegistryEvent

__all__ = ["DeliveringAssets", "LocalAssetStore", "ManagedAssets", "StagedAsset"]

logger = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ManagedAssets(AssetStore, Protocol):
    """An asset store as its operator needs it; every method raises `DeliveryError` on failure."""

    def contains(self, sha256: str) -> bool:
        """Whether there are bytes of this name, intact or not."""

    def remove(self, sha256: str) -> bool:
        """Deletes the bytes; answers whether there were any."""

    def digests(self) -> Iterator[str]:
        """The names of all published bytes, in no order."""

    def recover(self, is_registered: Callable[[str], bool], *, abandoned_after_s: float) -> int:
        """Publishes what a dead process had registered, and clears away what it had not.

        Args:
            is_registered: Whether a record of a file with this SHA-256 stands.
            abandoned_after_s: Age from which no living process still works on a file, seconds.

        Returns:
            How many files were published or cleared away.
        """


class DeliveringAssets:
    """Implements `provenance.interfaces.AssetStore`: hands out no file that was taken down.

    Args:
        assets: Where the bytes are.
        find_take_down: Why a file is withheld, by its SHA-256; None when it is not.
    """

    def __init__(
        self, assets: ManagedAssets, find_take_down: Callable[[str], RegistryEvent | None]
    ) -> None:
        self._assets = assets
        self._find_take_down = find_take_down

    def stage(self, image: EncodedImage) -> Staged:
        """As the store does."""
        return self._assets.stage(image)

    def get(self, sha256: str) -> bytes | None:
        """The bytes; None when they are not kept.

        Raises:
            RecordGoneError: The file was taken down; says why.
        """
        withheld = self._find_take_down(sha256)
        if withheld is not None:
            raise RecordGoneError(withheld.describe())
        return self._assets.get(sha256)


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
    """Implements `ManagedAssets` in a folder.

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

    def recover(self, is_registered: Callable[[str], bool], *, abandoned_after_s: float) -> int:
        """As in `ManagedAssets`."""
        done = 0
        for part in self._staging.iterdir() if self._staging.is_dir() else ():
            digest = part.name.partition(".")[0]
            with suppress(OSError):  # another process was first
                if _SHA256.fullmatch(digest) and is_registered(digest):
                    StagedAsset(part, self._path(digest)).publish()
                    done += 1
                elif time.time() - part.stat().st_mtime > abandoned_after_s:
                    part.unlink()
                    done += 1
        return done

    def contains(self, sha256: str) -> bool:
        """As in `ManagedAssets`."""
        return bool(_SHA256.fullmatch(sha256)) and self._path(sha256).exists()

    def remove(self, sha256: str) -> bool:
        """As in `ManagedAssets`."""
        if not _SHA256.fullmatch(sha256):
            return False
        try:
            self._path(sha256).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise DeliveryError(
                f"asset {self._path(sha256)} cannot be deleted: {error.strerror or error}; give "
                "this user the right to write its folder, and run the command again"
            ) from error
        return True

    def digests(self) -> Iterator[str]:
        """As in `ManagedAssets`."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            if _SHA256.fullmatch(path.name):
                yield path.name

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
