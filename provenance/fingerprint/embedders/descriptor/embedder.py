"""The ``countermark-descriptor`` embedder: copies found by a small network of our own.

Its weights come with the package, it needs NumPy and Pillow only, and it was trained on drawn
pictures. What it finds and what it misses: docs/benchmarks/descriptor.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from provenance.fingerprint.embedders.descriptor.inference import NumpyNetwork
from provenance.fingerprint.embedders.descriptor.weights import read_weights
from provenance.fingerprint.plain import is_too_plain
from provenance.types import Embedding, EmbeddingSpace, SpaceKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.types import Float32Array, RasterImage

__all__ = ["SIDE_PX", "WEIGHTS_FILE", "DescriptorEmbedder", "load_embedder", "prepare"]

WEIGHTS_FILE = Path(__file__).with_name("descriptor.safetensors")

SIDE_PX = 160
"""Every picture is squeezed to this square, whatever its aspect."""

_PREPROCESSING = "p1"
"""Version of `prepare`."""


@dataclass(frozen=True, slots=True)
class DescriptorEmbedder:
    """See `interfaces.Embedder`."""

    space: EmbeddingSpace
    _network: NumpyNetwork = field(repr=False)

    @property
    def space_id(self) -> str:
        """``countermark-descriptor@WEIGHTS+PREPROCESSING``."""
        return self.space.space_id

    def encode(self, image: RasterImage) -> Embedding | None:
        """The embedding; None for pictures under 16 pixels or of one colour."""
        if is_too_plain(image):
            return None
        features = self._network(prepare(image))
        norm = float(np.linalg.norm(features))
        if not np.isfinite(norm) or norm == 0.0:
            return None
        return Embedding(self.space_id, features / norm)

    def encode_batch(self, images: Sequence[RasterImage]) -> Sequence[Embedding | None]:
        """One by one: the layers of one picture fit a core's cache, those of several do not."""
        return [self.encode(image) for image in images]


def prepare(image: RasterImage, side_px: int = SIDE_PX) -> Float32Array:
    """(side, side, 3) float32 of -1..1."""
    small = Image.fromarray(image.pixels).resize(
        (side_px, side_px), Image.Resampling.BILINEAR, reducing_gap=3.0
    )
    return np.asarray(small, dtype=np.float32) / np.float32(127.5) - np.float32(1)


def load_embedder(*, folder: Path | None = None) -> DescriptorEmbedder:
    """The descriptor with the shipped weights, or those of a folder.

    Args:
        folder: Holds another ``descriptor.safetensors``; None is the shipped one.

    Raises:
        BackendUnavailableError: The weights are missing or broken.
    """
    weights = read_weights(WEIGHTS_FILE if folder is None else folder / WEIGHTS_FILE.name)
    space = EmbeddingSpace(
        space_id=f"countermark-descriptor@{weights.sha256[:16]}+{_PREPROCESSING}-{SIDE_PX}",
        kind=SpaceKind.COPY,
        similar_min_cosine=0.6,
        verify_min_cosine=0.5,
        likely_min_cosine=0.8,
        strong_min_cosine=0.95,
    )
    return DescriptorEmbedder(space, NumpyNetwork(weights.tensors, weights.metadata))
