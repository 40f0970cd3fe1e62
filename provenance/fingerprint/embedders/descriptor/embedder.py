"""The ``countermark-descriptor`` embedder: copies found by a small network of our own.

Its weights come with the package, it needs NumPy, SciPy and Pillow only, and it was trained on
drawn pictures. What it finds and what it misses: docs/benchmarks/descriptor.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from provenance.errors import BackendUnavailableError
from provenance.fingerprint.embedders.descriptor.frame import find_content
from provenance.fingerprint.embedders.descriptor.inference import NumpyNetwork
from provenance.fingerprint.embedders.descriptor.page import find_on_page
from provenance.fingerprint.embedders.descriptor.weights import read_weights
from provenance.fingerprint.plain import is_too_plain, to_embedding
from provenance.types import Embedding, EmbeddingSpace, SpaceKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.types import Float32Array, RasterImage

__all__ = ["SIDE_PX", "WEIGHTS_FILE", "DescriptorEmbedder", "load_embedder", "prepare", "turned"]

WEIGHTS_FILE = Path(__file__).with_name("descriptor.safetensors")

SIDE_PX = 64
"""Every picture is squeezed to this square, whatever its aspect."""

MIN_DETAIL = 50
"""Smooth pictures (a night sky, an empty wall) resemble each other: below it there is no answer.
The measure and the value are those of PDQ's authors for hashes that are not to be searched."""

_PREPROCESSING = "p2"
"""Version of `prepare`."""


@dataclass(frozen=True, slots=True)
class DescriptorEmbedder:
    """See `interfaces.Embedder`."""

    space: EmbeddingSpace
    _network: NumpyNetwork = field(repr=False)
    _projection: Float32Array = field(repr=False)
    _offset: Float32Array = field(repr=False)

    @property
    def space_id(self) -> str:
        """``countermark-descriptor@WEIGHTS+PREPROCESSING``."""
        return self.space.space_id

    def encode(self, image: RasterImage) -> Embedding | None:
        """The embedding; None for pictures under 16 pixels, of one colour, or of little detail."""
        if is_too_plain(image):
            return None
        ready = prepare(image)
        if measure_detail(ready) < MIN_DETAIL:
            return None
        mean = self._network(turned(ready)).mean(axis=0)
        return to_embedding(self.space_id, mean @ self._projection + self._offset)

    def encode_batch(self, images: Sequence[RasterImage]) -> Sequence[Embedding | None]:
        """One by one: the layers of one picture fit a core's cache, those of several do not."""
        return [self.encode(image) for image in images]


def prepare(image: RasterImage, side_px: int = SIDE_PX) -> Float32Array:
    """(side, side, 3) float32 of -1..1: the picture without frame or page, squeezed to a square."""
    box = find_content(image)
    small = Image.fromarray(image.pixels).resize(
        (side_px, side_px),
        Image.Resampling.BILINEAR,
        box=find_on_page(image, box) or box,
        reducing_gap=3.0,
    )
    return np.asarray(small, dtype=np.float32) / np.float32(127.5) - np.float32(1)


def measure_detail(picture: Float32Array) -> int:
    """0 upwards: steps between neighbouring points of a prepared picture, as PDQ's quality.

    Source: ThreatExchange, pdq/cpp/hashing/pdqhashing.cpp: hundredths of full contrast, cut to
    whole numbers, summed up, over 90; there of 64x64 luma samples too.
    """
    luma = picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32) / 2
    steps = (np.diff(luma, axis=0), np.diff(luma, axis=1))
    return int(sum(np.abs(np.trunc(step * 100)).sum() for step in steps)) // 90


def turned(picture: Float32Array) -> Float32Array:
    """(8, side, side, 3): the picture in its eight rotations and reflections.

    The answer is the mean over them, so that a mirrored or turned copy has the very same one.
    """
    quarters = [np.rot90(picture, turns) for turns in range(4)]
    return np.stack(quarters + [quarter[:, ::-1] for quarter in quarters])


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
        # docs/benchmarks/descriptor.md: of a million pairs of strangers 100 pass 0.54, ten 0.62.
        similar_min_cosine=0.62,
        verify_min_cosine=0.54,
        # Of strangers none passes 0.70, but pictures of one prompt with other seeds come up to
        # 0.982 (600 pairs of the bundled model's): they are no likely copies.
        likely_min_cosine=0.985,
        # No cosine is proof: a hash or geometry has to say that a picture is a copy.
        strong_min_cosine=None,
    )
    network = NumpyNetwork(weights.tensors, weights.metadata)
    try:
        projection, offset = weights.tensors["project.weight"].T, weights.tensors["project.bias"]
    except KeyError as error:
        raise BackendUnavailableError(
            f"the descriptor's weights lack {error}; install Countermark again"
        ) from error
    return DescriptorEmbedder(space, network, np.ascontiguousarray(projection), offset)
