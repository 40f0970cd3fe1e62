"""From settings to hasher and embedder; the same for writing and reading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from provenance.errors import ConfigError
from provenance.fingerprint.catalogue import find_for_embedder
from provenance.fingerprint.pulling import read_pin, verify_pin
from provenance.plugins import load_backend

if TYPE_CHECKING:
    from provenance.config import Settings
    from provenance.fingerprint.words.making import WordMaker
    from provenance.interfaces import Embedder, Hasher

__all__ = [
    "build_embedder",
    "build_embedders",
    "build_hasher",
    "build_words",
    "pulled_folder",
]


def build_hasher(settings: Settings) -> Hasher:
    """The configured perceptual hasher.

    Raises:
        UnknownBackendError: No such hasher is installed.
    """
    hasher: Hasher = load_backend("countermark.hashers", settings.fingerprint.hasher)()
    return hasher


def build_embedder(settings: Settings, name: str | None = None) -> Embedder | None:
    """An embedder; None when none is configured.

    Its weights are those of ``fingerprint.embedder_folder``, else what ``countermark models pull``
    brought, else what the embedder finds by itself.

    Args:
        settings: Of this deployment.
        name: Entry point; None is the configured one. The folder of the settings counts for the
            configured one only.

    Raises:
        BackendUnavailableError: Its weights or library are missing.
        UnknownBackendError: No such embedder is installed.
        ConfigError: Its folder does not exist.
    """
    options = settings.fingerprint
    chosen = name or options.embedder
    if not chosen:
        return None
    folder = None
    if chosen == options.embedder and options.embedder_folder:
        folder = Path(options.embedder_folder).expanduser()
        if not folder.exists():
            raise ConfigError(f"fingerprint.embedder_folder: {folder} does not exist")
    loader = load_backend("countermark.embedders", chosen)
    if folder is None:
        folder = pulled_folder(settings, chosen)
    embedder: Embedder = loader(folder=folder)
    return embedder


def build_embedders(settings: Settings) -> tuple[Embedder, ...]:
    """The configured embedder and those beside it, each of a space of its own; none without one.

    Raises:
        ConfigError: There are some beside it, but not it; or two are of one space.
        BackendUnavailableError: As for `build_embedder`.
        UnknownBackendError: As for `build_embedder`.
    """
    options = settings.fingerprint
    first = build_embedder(settings)
    if first is None:
        if options.further_embedders:
            raise ConfigError(
                "fingerprint.further_embedders: set fingerprint.embedder first; its vector is the "
                "one that the log covers"
            )
        return ()
    found: dict[str, Embedder] = {first.space_id: first}
    for name in dict.fromkeys(options.further_embedders):
        embedder = None if name == options.embedder else build_embedder(settings, name)
        if embedder is None or embedder.space_id in found:
            raise ConfigError(
                f"fingerprint.further_embedders: {name!r} is named already, or works in the same "
                "space as another one; leave it out"
            )
        found[embedder.space_id] = embedder
    return tuple(found.values())


def build_words(settings: Settings) -> WordMaker | None:
    """What makes keypoint words; None where they are not wanted, or OpenCV is not installed.

    Raises:
        BackendUnavailableError: The vocabulary is missing from the installation.
    """
    from provenance.fingerprint.words.making import load_word_maker

    return load_word_maker() if settings.fingerprint.keypoint_words else None


def pulled_folder(settings: Settings, embedder: str) -> Path | None:
    """Folder of the weights that were pulled for an embedder, digests checked; None without.

    Raises:
        BackendUnavailableError: A file is not what was pulled.
    """
    pullable = find_for_embedder(embedder)
    if pullable is None:
        return None
    folder = settings.models_folder / pullable.name
    pin = read_pin(folder)
    if pin is None:
        return None
    verify_pin(folder, pin)
    return folder
