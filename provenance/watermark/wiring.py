"""From settings to the codec that writes and the reader that reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.plugins import load_backend
from provenance.watermark.framed import as_scheme
from provenance.watermark.keyfile import make_key_file, read_key_file

if TYPE_CHECKING:
    from provenance.config import Settings
    from provenance.interfaces import WatermarkScheme
    from provenance.watermark.marking import MarkReader
    from provenance.watermark.payload import WatermarkKey

__all__ = ["build_codec", "build_mark_reader", "open_codec", "open_current_key"]


def build_codec(settings: Settings) -> WatermarkScheme:
    """The codec that marks what is generated.

    Raises:
        UnknownBackendError: No such codec is installed.
    """
    return open_codec(settings.watermark.codec)


def open_codec(name: str) -> WatermarkScheme:
    """A codec by its name, or by ``module:attribute``.

    Raises:
        UnknownBackendError: No such codec is installed.
    """
    return as_scheme(load_backend("countermark.codecs", name)())


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
    names = dict.fromkeys((settings.watermark.codec, *settings.watermark.read_codecs))
    codecs = tuple(open_codec(name) for name in names)
    return MarkReader(codecs, read_key_file(settings.watermark_key_file))
