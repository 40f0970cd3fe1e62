"""Fetches the weights of an embedder into a folder: whole and pinned, or not at all.

Files come down beside the folder that they are for; only when every one is complete and has the
digest that its server names (or an earlier pull pinned) does the folder get its name. A pull that
was cut off goes on where it was, as long as the server still holds the same file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from provenance.errors import BackendUnavailableError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["PIN_FILE", "Pin", "RemoteFile", "pull", "read_pin", "verify_pin"]

PIN_FILE = "pin.json"
"""Names every file's digest. A folder without it was not pulled, or not wholly."""

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 30.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        name: Its name in the folder.
        url: Where it is.
        sha256: Hex digest that it must have; None takes what the server names.
    """

    name: str
    url: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """What a pull brought.

    Attributes:
        model: Name of the model.
        digests: File name to SHA-256 in hex.
        revision: Commit of the hub, where there is one.
    """

    model: str
    digests: Mapping[str, str]
    revision: str | None = None


def pull(
    model: str,
    files: tuple[RemoteFile, ...],
    folder: Path,
    *,
    progress: Callable[[str, int, int | None], None] = lambda _name, _done, _total: None,
    renew: bool = False,
) -> Pin:
    """Fetches `files` into `folder`; does nothing when they are there already.

    Args:
        model: Name, for the pin and for messages.
        files: What to fetch.
        folder: Where to; made when everything is there.
        progress: Called with file name, bytes that are there, bytes in all (None when unknown).
        renew: Take new digests where the server's files have changed since an earlier pull.

    Raises:
        BackendUnavailableError: The server cannot be reached, breaks off, or sends other bytes.
        ConfigError: A URL is neither https nor on this machine.
    """
    earlier = read_pin(folder)
    if earlier is not None and not renew:
        verify_pin(folder, earlier)
        return earlier
    staging = folder.with_name(f".{folder.name}.partial")
    try:
        staging.mkdir(parents=True, exist_ok=True)
        digests, revisions = {}, set()
        for file in files:
            digests[file.name], revision = _fetch(file, staging, progress)
            revisions |= {revision} - {None}
        pin = Pin(model, digests, revisions.pop() if len(revisions) == 1 else None)
        _write_pin(staging / PIN_FILE, pin)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(staging, folder)  # noqa: PTH105 - a folder that exists is whole
    except OSError as error:
        raise BackendUnavailableError(f"{staging} cannot be written: {error}") from error
    return pin


def read_pin(folder: Path) -> Pin | None:
    """What an earlier pull brought; None when there was none.

    Raises:
        BackendUnavailableError: The pin is there and unreadable.
    """
    path = folder / PIN_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Pin(found["model"], dict(found["digests"]), found["revision"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackendUnavailableError(
            f"{path} is not readable; delete {folder} and pull the model again"
        ) from error


def verify_pin(folder: Path, pin: Pin) -> None:
    """Compares every file with the pin.

    Raises:
        BackendUnavailableError: A file is gone or has changed; names it.
    """
    for name, expected in pin.digests.items():
        path = folder / name
        try:
            with path.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise BackendUnavailableError(f"{path} is gone; pull {pin.model} again") from error
        if found != expected:
            raise BackendUnavailableError(
                f"{path} is not the file that was pulled (SHA-256 {found[:16]}..., pinned "
                f"{expected[:16]}...); delete {folder} and pull {pin.model} again"
            )


def _write_pin(path: Path, pin: Pin) -> None:
    content = {"model": pin.model, "digests": dict(pin.digests), "revision": pin.revision}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _fetch(
    file: RemoteFile, staging: Path, progress: Callable[[str, int, int | None], None]
) -> tuple[str, str | None]:
    """Digest and revision of a file that now lies whole in `staging`."""
    target, partial = staging / file.name, staging / f"{file.name}.part"
    tag_file = staging / f"{file.name}.etag"
    have = partial.stat().st_size if partial.exists() and tag_file.exists() else 0
    try:
        answer = _open(file, have, tag_file.read_text(encoding="utf-8") if have else "")
        with answer.stream as stream:
            if not answer.resumed:
                have = 0
            tag_file.write_text(answer.headers.get("etag", ""), encoding="utf-8")
            total = _total(answer, have)
            with partial.open("ab" if have else "wb") as out:
                while block := stream.read(_BLOCK_BYTES):
                    out.write(block)
                    have += len(block)
                    progress(file.name, have, total)
    except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError) as error:
        raise BackendUnavailableError(_explain(file, error)) from error
    if total is not None and have < total:
        raise BackendUnavailableError(
            f"{file.name} broke off after {have} of {total} bytes; run the same command again, and "
            "it goes on from there"
        )
    with partial.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    expected = file.sha256 or answer.named_sha256
    if expected is not None and found != expected:
        partial.unlink()
        tag_file.unlink()
        raise BackendUnavailableError(
            f"{file.name} came with SHA-256 {found[:16]}..., but {expected[:16]}... was promised; "
            "nothing is kept, try again later"
        )
    tag_file.unlink()
    partial.replace(target)
    return found, answer.headers.get("x-repo-commit")


@dataclass(frozen=True, slots=True)
class _Answer:
    """An open response; `headers` also holds those of the redirects on the way, in lower case."""

    stream: Any
    headers: Mapping[str, str]
    resumed: bool

    @property
    def named_sha256(self) -> str | None:
        """The digest that the hub names: the ETag of its large files is their SHA-256."""
        tag = self.headers.get("x-linked-etag", self.headers.get("etag", "")).strip('W/"')
        return tag if _SHA256.fullmatch(tag) else None


class _Remembering(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the rules of `_require_safe` and keeps their headers."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        _require_safe(newurl)
        for name, value in headers.items():
            self.seen.setdefault(name.lower(), value)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(file: RemoteFile, have: int, tag: str) -> _Answer:
    _require_safe(file.url)
    redirects = _Remembering()
    request = urllib.request.Request(file.url, headers={"User-Agent": "countermark"})  # noqa: S310
    if have and tag:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag)
    stream = urllib.request.build_opener(redirects).open(request, timeout=_TIMEOUT_S)
    headers = {name.lower(): value for name, value in stream.headers.items()} | redirects.seen
    if "etag" in stream.headers:
        headers["etag"] = stream.headers["etag"]  # of the bytes themselves: If-Range needs it
    return _Answer(stream, headers, resumed=stream.status == 206)


def _total(answer: _Answer, have: int) -> int | None:
    length = answer.stream.headers.get("Content-Length")
    return None if length is None else have + int(length)


def _require_safe(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise ConfigError(f"{url}: weights are fetched over https only")


def _explain(file: RemoteFile, error: Exception) -> str:
    host = urlsplit(file.url).hostname
    if isinstance(error, urllib.error.HTTPError):
        return f"{host} answers {error.code} {error.reason} for {file.name}; look for a newer name"
    reason = getattr(error, "reason", error)
    return (
        f"{file.name} cannot be fetched from {host} ({reason}); check the connection, or bring the "
        "file by hand and name its folder in fingerprint.embedder_folder"
    )
