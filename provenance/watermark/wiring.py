"""From settings to the codec that writes and the reader that reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.errors import BackendUnavailableError, ProvenanceError, UnknownBackendError
from provenance.interfaces import KeyGroupScheme, WatermarkCodec, WatermarkScheme
from provenance.plugins import load_backend
from provenance.watermark.framed import as_scheme
from provenance.watermark.keyfile import make_key_file, read_key_file

if TYPE_CHECKING:
    from provenance.config import Settings
    from provenance.watermark.marking import MarkReader
    from provenance.watermark.payload import WatermarkKey
    from provenance.watermark.signpost import SignpostReader

__all__ = [
    "build_codec",
    "build_mark_reader",
    "build_signpost_reader",
    "open_codec",
    "open_current_key",
]


def build_codec(settings: Settings) -> WatermarkScheme:
    """The codec that marks what is generated.

    Raises:
        UnknownBackendError: No such codec is installed.
    """
    return open_codec(settings.watermark.codec)


def open_codec(name: str) -> WatermarkScheme:
    """A codec by its name, or by ``module:attribute``.

    Raises:
        UnknownBackendError: No such codec is installed, or what has this name is none.
        BackendUnavailableError: The codec's library is not installed, or it breaks when it is made.
    """
    make = load_backend("countermark.codecs", name)
    try:
        codec = make()
    except ProvenanceError:
        raise
    except Exception as error:  # a firewall: a stranger's code, or no codec at all
        raise BackendUnavailableError(
            f"codec {name!r} breaks when it is made: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(codec, WatermarkCodec | WatermarkScheme):
        raise UnknownBackendError(
            f"{name!r} makes a {type(codec).__name__}, which is no codec; see WatermarkScheme in "
            "provenance.interfaces"
        )
    return as_scheme(codec)


def open_current_key(settings: Settings) -> WatermarkKey:
    """The key that marks what is generated; made on first use, but never under a name of one's own.

    Raises:
        ConfigError: The key file is unusable, or the settings name one that does not exist.
        DeliveryError: It cannot be written.
    """
    if settings.watermark.key_file:
        return read_key_file(settings.watermark_key_file)[0]
    return make_key_file(settings.watermark_key_file)[0]


def build_mark_reader(settings: Settings) -> MarkReader | None:
    """The reader of our marks; None when this installation has no watermark key.

    The codec that writes is always read too, first.

    Raises:
        ConfigError: The key file is unusable, or the settings name one that does not exist.
        UnknownBackendError: No such codec is installed.
    """
    from provenance.watermark.marking import MarkReader

    if not settings.watermark.key_file and not settings.watermark_key_file.exists():
        return None
    return MarkReader(_open_read_codecs(settings), read_key_file(settings.watermark_key_file))


def build_signpost_reader(settings: Settings) -> SignpostReader | None:
    """The reader of signposts, for an installation without a key; None when no codec has them.

    Raises:
        UnknownBackendError: No such codec is installed.
    """
    from provenance.watermark.signpost import SignpostReader

    schemes = (one for one in _open_read_codecs(settings) if isinstance(one, KeyGroupScheme))
    return next((SignpostReader(one) for one in schemes), None)


def _open_read_codecs(settings: Settings) -> tuple[WatermarkScheme, ...]:
    names = dict.fromkeys((settings.watermark.codec, *settings.watermark.read_codecs))
    return tuple(open_codec(name) for name in names)
