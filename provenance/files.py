"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from provenance.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["StagedFile", "locked_folder", "write_file_atomic"]

_UNNAMED = getattr(os, "O_TMPFILE", 0)


class StagedFile:
    """Bytes that lie safely on the target's disk, but not yet under its name.

    Staging can fail (no room, no right); publishing is a rename. Where the system allows it the
    staged bytes have no name at all, so that a killed process leaves nothing behind.

    Used as a context manager, it discards what was not published.
    """

    def __init__(self, path: Path, data: bytes, *, mode: int = 0o644) -> None:
        """Writes and syncs the bytes beside `path`.

        Raises:
            DeliveryError: No room, no right, or no such folder; nothing stays.
        """
        self._path = path
        self._part: Path | None = None
        self._handle: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():
                # A rename would replace a device or a pipe; nobody means that.
                raise FileExistsError(errno.EEXIST, "it is a folder or no regular file")
            self._handle = self._open(mode)
            with os.fdopen(self._handle, "wb", closefd=False) as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            self.discard()
            raise _delivery_error(path, error) from error

    def _open(self, mode: int) -> int:
        if _UNNAMED:
            with suppress(OSError):  # not every file system has unnamed files
                return os.open(self._path.parent, _UNNAMED | os.O_WRONLY, mode)
        self._part = self._part_name()
        return os.open(self._part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)

    def _part_name(self) -> Path:
        return self._path.with_name(f".{self._path.name[:40]}.{secrets.token_hex(4)}.part")

    def publish(self) -> Path:
        """Gives the bytes their name, over any older file.

        Raises:
            DeliveryError: The folder went away or its rights changed meanwhile.
        """
        try:
            self._named_part().replace(self._path)
        except OSError as error:
            self.discard()
            raise _delivery_error(self._path, error) from error
        self._part = None
        self._close()
        return self._path

    def publish_new(self) -> Path:
        """Gives the bytes their name, unless another process was first: then its file stays.

        Raises:
            DeliveryError: The folder went away or its rights changed meanwhile.
        """
        try:
            with suppress(FileExistsError):
                os.link(self._named_part(), self._path)
        except OSError as error:
            raise _delivery_error(self._path, error) from error
        finally:
            self.discard()
        return self._path

    def _named_part(self) -> Path:
        if self._part is None:
            self._part = self._name_unnamed()
        return self._part

    def _name_unnamed(self) -> Path:
        part = self._part_name()
        folder = os.open(part.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # NOTE: only with a dir_fd does CPython call linkat(AT_SYMLINK_FOLLOW), see open(2).
            os.link(f"/proc/self/fd/{self._handle}", part.name, dst_dir_fd=folder)
        finally:
            os.close(folder)
        return part

    def discard(self) -> None:
        """Forgets the bytes; harmless after `publish`."""
        self._close()
        if self._part is not None:
            with suppress(OSError):
                self._part.unlink()
            self._part = None

    def _close(self) -> None:
        if self._handle is not None:
            with suppress(OSError):
                os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def write_file_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Writes the file whole or not at all.

    Raises:
        DeliveryError: No room, no right, or no such folder; nothing half-written stays.
    """
    with StagedFile(path, data, mode=mode) as staged:
        staged.publish()


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lets one process at a time change the folder; the lock dies with its process.

    Raises:
        DeliveryError: There is no right to write in it.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover  (Windows has no fcntl; the folder has one user there)
        yield
        return
    try:
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise DeliveryError(
            f"{folder} cannot be written: {error.strerror}; check its mode"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _delivery_error(path: Path, error: OSError) -> DeliveryError:
    what = error.strerror or str(error)
    return DeliveryError(
        f"{path} cannot be written: {what}; free some room or choose another place"
    )
