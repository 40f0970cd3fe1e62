"""Conformance suite for vector indexes: subclass `VectorIndexTests` and override `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from provenance.interfaces import VectorIndex
from provenance.types import Embedding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.types import Float32Array

__all__ = ["SPACE", "VectorIndexTests"]

SPACE = "tested/1"
"""The space of every vector in the suite."""

_DIM, _COUNT = 64, 3000


def _unit_vectors(count: int, *, seed: int) -> Float32Array:
    """(count, 64) float32 of norm 1."""
    vectors = np.random.default_rng(seed).standard_normal((count, _DIM)).astype(np.float32)
    scaled: Float32Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def _copy_at(vector: Float32Array, cosine: float) -> Float32Array:
    """A vector with this cosine to `vector`, as an edited copy would have."""
    other = _unit_vectors(1, seed=99)[0]
    across = other - (other @ vector) * vector
    across /= np.linalg.norm(across)
    mixed: Float32Array = cosine * vector + np.sqrt(1 - cosine**2) * across
    return mixed.astype(np.float32)


class VectorIndexTests:
    """What every index must do: lose no copy, compare no foreign space."""

    @pytest.fixture
    def build(self) -> Callable[[Sequence[str], Float32Array], VectorIndex]:
        """Answers an index of `SPACE` over record ids and (N, 64) float32 unit vectors."""
        raise NotImplementedError("override the fixture 'build'")

    @pytest.fixture
    def vectors(self) -> Float32Array:
        return _unit_vectors(_COUNT, seed=1)

    @pytest.fixture
    def index(
        self,
        build: Callable[[Sequence[str], Float32Array], VectorIndex],
        vectors: Float32Array,
    ) -> VectorIndex:
        return build([f"{number:016x}" for number in range(_COUNT)], vectors)

    def test_matches_the_interface(self, index: VectorIndex) -> None:
        assert isinstance(index, VectorIndex)

    @pytest.mark.parametrize("cosine", [1.0, 0.8, 0.6])
    def test_planted_copies_are_found_first(
        self, index: VectorIndex, vectors: Float32Array, cosine: float
    ) -> None:
        for number in range(0, _COUNT, 150):
            query = Embedding(SPACE, _copy_at(vectors[number], cosine))
            best = index.search(query, limit=1)[0]
            assert best.record_id == f"{number:016x}"
            assert best.cosine == pytest.approx(cosine, abs=0.01)

    def test_answers_are_ordered_and_limited(
        self, index: VectorIndex, vectors: Float32Array
    ) -> None:
        found = index.search(Embedding(SPACE, vectors[5]), limit=20)
        cosines = [one.cosine for one in found]
        assert len(found) == 20
        assert cosines == sorted(cosines, reverse=True)

    def test_another_space_is_never_compared(
        self, index: VectorIndex, vectors: Float32Array
    ) -> None:
        assert list(index.search(Embedding("other/1", vectors[5]), limit=5)) == []

    def test_an_empty_index_answers_nothing(
        self, build: Callable[[Sequence[str], Float32Array], VectorIndex], vectors: Float32Array
    ) -> None:
        empty = build([], np.empty((0, _DIM), np.float32))
        assert list(empty.search(Embedding(SPACE, vectors[0]), limit=5)) == []
