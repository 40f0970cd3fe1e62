"""The invisible mark, usable by itself: no registry, no C2PA, no torch.

    >>> import numpy as np
    >>> from provenance.watermark import WatermarkKey, detect, embed
    >>> rng = np.random.default_rng(7)
    >>> picture = rng.normal(128, 24, (320, 320, 3)).clip(0, 255).astype(np.uint8)
    >>> key = WatermarkKey(bytes(range(32)))  # yours: secrets.token_bytes(32), or make_key_file
    >>> marked = embed(picture, key=key, payload="3f2a9c0d11e87b46")
    >>> found = detect(marked.image.data, keys=[key])
    >>> found.finding.value, found.record_id
    ('present', '3f2a9c0d11e87b46')
    >>> detect(picture, keys=[key], thorough=False).finding.value
    'absent'

Pictures are paths, encoded bytes, arrays, or Pillow images. `detect_many` reads a whole data set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenance.types import WatermarkEvidence
    from provenance.watermark.batch import detect_many
    from provenance.watermark.keyfile import make_key_file, read_key_file
    from provenance.watermark.payload import WatermarkKey
    from provenance.watermark.pictures import MarkedPicture, Picture, detect, embed

__all__ = [
    "MarkedPicture",
    "Picture",
    "WatermarkEvidence",
    "WatermarkKey",
    "detect",
    "detect_many",
    "embed",
    "make_key_file",
    "read_key_file",
]

_HOMES = {
    "MarkedPicture": "provenance.watermark.pictures",
    "Picture": "provenance.watermark.pictures",
    "WatermarkEvidence": "provenance.types",
    "WatermarkKey": "provenance.watermark.payload",
    "detect": "provenance.watermark.pictures",
    "detect_many": "provenance.watermark.batch",
    "embed": "provenance.watermark.pictures",
    "make_key_file": "provenance.watermark.keyfile",
    "read_key_file": "provenance.watermark.keyfile",
}
"""Loaded when first asked for: every module below this one imports this one."""

if not TYPE_CHECKING:  # type checkers see the imports above, and so a mistyped name

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
