"""From settings to hasher and embedder; the same for writing and reading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from provenance.plugins import load_backend

if TYPE_CHECKING:
    from provenance.config import Settings
    from provenance.interfaces import Embedder, Hasher

__all__ = ["build_embedder", "build_hasher"]


def build_hasher(settings: Settings) -> Hasher:
    """The configured perceptual hasher.

    Raises:
        UnknownBackendError: No such hasher is installed.
    """
    hasher: Hasher = load_backend("countermark.hashers", settings.fingerprint.hasher)()
    return hasher


def build_embedder(settings: Settings) -> Embedder | None:
    """The configured embedder; None when none is.

    Raises:
        BackendUnavailableError: Its weights or library are missing.
    """
    options = settings.fingerprint
    if not options.embedder:
        return None
    folder = Path(options.embedder_folder).expanduser() if options.embedder_folder else None
    embedder: Embedder = load_backend("countermark.embedders", options.embedder)(folder=folder)
    return embedder
