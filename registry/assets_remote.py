"""Delivered bytes wherever fsspec reaches: ``s3://``, ``gs://``, ``memory://``, ``file://`` ...

The one file that knows fsspec. Names and staging are those of `registry.assets`: a file lies at
``<first two digits>/<digest>``. An object store puts an object whole or not at all; publishing is a
copy on its side and the deletion of the staged object.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provenance.errors import BackendUnavailableError, ConfigError, DeliveryError, ProvenanceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provenance.types import EncodedImage

__all__ = ["RemoteAssetStore", "open_remote_assets"]

logger = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_STAGED = ".staged"
_INSTALL = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs"}


def open_remote_assets(url: str) -> RemoteAssetStore:
    """The store behind an fsspec URL; connects to nothing yet.

    Args:
        url: E.g. ``s3://bucket/folder``; credentials come from where the library of that protocol
            looks for them, never from the URL.

    Raises:
        BackendUnavailableError: fsspec or the library of the protocol is not installed.
        ConfigError: No library knows such a URL.
    """
    protocol, is_url, _ = url.partition("://")
    if not is_url:  # would be a folder below wherever the command is run
        raise ConfigError(
            f"registry.assets_url {url!r} is no address of a folder; write e.g. "
            "s3://bucket/folder, gs://bucket/folder or file:///folder"
        )
    try:
        import fsspec
    except ImportError as error:
        raise BackendUnavailableError(
            "registry.assets_url needs fsspec; install it with: pip install 'countermark[storage]'"
        ) from error
    options = {"auto_mkdir": True} if protocol in {"file", "local"} else {}
    try:
        system, root = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        package = _INSTALL.get(protocol, f"the fsspec library for {protocol}")
        raise BackendUnavailableError(
            f"registry.assets_url {url!r} needs {package}; install it with pip"
        ) from error
    except Exception as error:  # each library rejects its URLs in its own ways
        raise ConfigError(
            f"registry.assets_url {url!r} is no address of a folder: {error}; write e.g. "
            "s3://bucket/folder, gs://bucket/folder or file:///folder"
        ) from error
    return RemoteAssetStore(system, root.rstrip("/"))


class _StagedObject:
    """Implements `provenance.interfaces.Staged`."""

    def __init__(self, system: Any, part: str, path: str) -> None:
        self._system = system
        self._part = part
        self._path = path

    def publish(self) -> str:
        """Gives the bytes their name.

        Raises:
            DeliveryError: The store cannot be reached any more.
        """
        with _translated(f"asset {self._path} cannot be published"):
            try:
                self._system.mv(self._part, self._path)
            except FileNotFoundError:
                if not self._system.exists(self._path):  # else another process was first
                    raise
        return self._path

    def discard(self) -> None:
        """Forgets the bytes; harmless after `publish`."""
        with suppress(Exception):
            if self._system.exists(self._part):
                self._system.rm_file(self._part)


class RemoteAssetStore:
    """Implements `registry.assets.ManagedAssets` on an fsspec file system.

    Args:
        system: An `fsspec.AbstractFileSystem`.
        root: The folder within it.
    """

    def __init__(self, system: Any, root: str) -> None:
        self._system = system
        self._root = root

    def stage(self, image: EncodedImage) -> _StagedObject:
        """Lays the bytes ready in the store.

        Raises:
            DeliveryError: No room, no right, no connection.
        """
        digest = hashlib.sha256(image.data).hexdigest()
        part = f"{self._root}/{_STAGED}/{digest}.{secrets.token_hex(4)}"
        with _translated(f"asset {part} cannot be written"):
            self._system.pipe_file(part, image.data)
        return _StagedObject(self._system, part, self._path(digest))

    def get(self, sha256: str) -> bytes | None:
        """The bytes, verified against their digest; None when they are not kept, or damaged.

        Raises:
            DeliveryError: The store cannot be reached, or refuses.
        """
        if not _SHA256.fullmatch(sha256):
            return None
        with _translated(f"asset {self._path(sha256)} cannot be read"):
            try:
                data: bytes = self._system.cat_file(self._path(sha256))
            except FileNotFoundError:
                return None
        if hashlib.sha256(data).hexdigest() != sha256:
            logger.error("asset %s is damaged in its store; it is not delivered", sha256)
            return None
        return data

    def contains(self, sha256: str) -> bool:
        """As in `ManagedAssets`."""
        if not _SHA256.fullmatch(sha256):
            return False
        with _translated(f"asset {self._path(sha256)} cannot be looked for"):
            self._system.invalidate_cache()
            return bool(self._system.exists(self._path(sha256)))

    def remove(self, sha256: str) -> bool:
        """As in `ManagedAssets`."""
        if not self.contains(sha256):
            return False
        with _translated(f"asset {self._path(sha256)} cannot be deleted"):
            try:
                self._system.rm_file(self._path(sha256))
            except FileNotFoundError:
                return False
        return True

    def digests(self) -> Iterator[str]:
        """As in `ManagedAssets`."""
        for path in self._find(self._root):
            name = path.rpartition("/")[2]
            if _SHA256.fullmatch(name) and path.endswith(f"/{name[:2]}/{name}"):
                yield name

    def recover(self, is_registered: Callable[[str], bool], *, abandoned_after_s: float) -> int:
        """As in `ManagedAssets`."""
        done = 0
        for path in self._find(f"{self._root}/{_STAGED}"):
            digest = path.rpartition("/")[2].partition(".")[0]
            staged = _StagedObject(self._system, path, self._path(digest))
            with suppress(DeliveryError):  # another process was first
                if _SHA256.fullmatch(digest) and is_registered(digest):
                    staged.publish()
                    done += 1
                elif self._age_s(path) > abandoned_after_s:
                    staged.discard()
                    done += 1
        return done

    def _find(self, folder: str) -> list[str]:
        with _translated(f"the assets under {folder} cannot be listed"):
            self._system.invalidate_cache()
            try:
                return list(self._system.find(folder))
            except FileNotFoundError:
                return []

    def _age_s(self, path: str) -> float:
        with _translated(f"the age of {path} cannot be read"):
            changed: datetime = self._system.modified(path)
        moment = changed if changed.tzinfo else changed.replace(tzinfo=UTC)
        return (datetime.now(UTC) - moment).total_seconds()

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}"


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Lets no exception of a storage library leave the block: each has its own.

    Raises:
        DeliveryError: Instead of any of them.
    """
    try:
        yield
    except ProvenanceError:
        raise
    except Exception as error:
        raise DeliveryError(
            f"{what}: {type(error).__name__}: {error}; check the address, the credentials and "
            "that the store can be reached"
        ) from error
