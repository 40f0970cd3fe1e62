"""Conformance suite for embedders: subclass `EmbedderTests`, give the fixture ``embedder``."""

from __future__ import annotations

import numpy as np
import pytest

from provenance.interfaces import Embedder
from provenance.testing.pictures import natural_picture
from provenance.types import Embedding, RasterImage

__all__ = ["EmbedderTests"]


class EmbedderTests:
    """What every embedder must do."""

    @pytest.fixture
    def embedder(self) -> Embedder:
        """The embedder under test."""
        raise NotImplementedError

    @pytest.fixture
    def picture(self) -> RasterImage:
        """A natural picture."""
        return natural_picture(150, 118, seed=41)

    def _encode(self, embedder: Embedder, image: RasterImage) -> Embedding:
        answer = embedder.encode(image)
        assert answer is not None
        return answer

    def test_matches_the_interface(self, embedder: Embedder) -> None:
        assert isinstance(embedder, Embedder)
        assert embedder.space_id

    def test_answers_unit_vectors_of_its_space(
        self, embedder: Embedder, picture: RasterImage
    ) -> None:
        answer = self._encode(embedder, picture)
        assert answer.space_id == embedder.space_id
        assert answer.vector.dtype == np.float32
        assert float(np.linalg.norm(answer.vector)) == pytest.approx(1.0, abs=1e-4)

    def test_answers_the_same_twice(self, embedder: Embedder, picture: RasterImage) -> None:
        first, second = (self._encode(embedder, picture).vector for _ in range(2))
        assert np.allclose(first, second, atol=1e-6)

    def test_is_nearer_to_a_noisy_copy_than_to_another_picture(
        self, embedder: Embedder, picture: RasterImage
    ) -> None:
        noise = np.random.default_rng(1).integers(-3, 4, picture.pixels.shape)
        copy = RasterImage(np.clip(picture.pixels + noise, 0, 255).astype(np.uint8))
        other = natural_picture(150, 118, seed=42)
        query = self._encode(embedder, picture).vector
        assert (
            query @ self._encode(embedder, copy).vector
            > query @ self._encode(embedder, other).vector
        )

    def test_reads_extreme_shapes(self, embedder: Embedder) -> None:
        for width, height in ((400, 20), (20, 400), (1, 1)):
            answer = embedder.encode(
                natural_picture(width, height, seed=2) if width > 1 else _dot()
            )
            assert answer is None or answer.space_id == embedder.space_id


def _dot() -> RasterImage:
    return RasterImage(np.zeros((1, 1, 3), dtype=np.uint8))
