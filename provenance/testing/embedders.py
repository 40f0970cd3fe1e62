"""Conformance suite for embedders: subclass `EmbedderTests`, give the fixture ``embedder``."""

from __future__ import annotations

import numpy as np
import pytest

from provenance.interfaces import Embedder
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import Embedding, RasterImage, SpaceKind

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
        for width, height in ((400, 20), (20, 400)):
            answer = embedder.encode(natural_picture(width, height, seed=2))
            assert answer is None or answer.space_id == embedder.space_id

    def test_abstains_of_flat_and_tiny_pictures(self, embedder: Embedder) -> None:
        assert embedder.encode(_dot()) is None
        assert embedder.encode(natural_picture(7, 90, seed=3)) is None
        for rgb in ((0, 0, 0), (255, 255, 255), (12, 140, 90)):
            assert embedder.encode(flat_picture(120, 90, rgb=rgb)) is None

    def test_answers_a_batch_as_it_answers_each(
        self, embedder: Embedder, picture: RasterImage
    ) -> None:
        pictures = [picture, _dot(), natural_picture(90, 140, seed=43), picture]
        answers = embedder.encode_batch(pictures)
        assert len(answers) == len(pictures)
        for image, answer in zip(pictures, answers, strict=True):
            alone = embedder.encode(image)
            if alone is None or answer is None:
                assert alone is answer
                continue
            assert answer.space_id == embedder.space_id
            assert np.allclose(answer.vector, alone.vector, atol=1e-4)
        assert list(embedder.encode_batch([])) == []

    def test_says_what_nearness_means_in_its_space(self, embedder: Embedder) -> None:
        space = embedder.space
        assert space.space_id == embedder.space_id
        claims = (space.likely_min_cosine, space.strong_min_cosine)
        if space.kind is SpaceKind.SEMANTIC:
            assert claims == (None, None)
        else:
            # In some spaces no cosine alone is enough to say that a picture is a copy.
            assert space.likely_min_cosine is not None


def _dot() -> RasterImage:
    return RasterImage(np.zeros((1, 1, 3), dtype=np.uint8))
