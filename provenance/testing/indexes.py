"""Conformance suite for vector indexes: subclass `VectorIndexTests` and override `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from provenance.errors import RegistryError
from provenance.interfaces import VectorIndex
from provenance.types import Embedding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.types import Float32Array

__all__ = ["SPACE", "VectorIndexTests", "copy_at", "unit_vectors"]

SPACE = "tested/1"
"""The space of every vector in the suite."""

_COUNT = 3000


def unit_vectors(count: int, dim: int, *, seed: int) -> Float32Array:
    """(count, dim) float32 of norm 1, evenly over the sphere.

    Vectors of copy detectors are spread like this: strangers at cosine 0 give or take 0.05.
    """
    vectors = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def copy_at(vector: Float32Array, cosine: float, *, seed: int = 99) -> Float32Array:
    """A vector with this cosine to `vector`, as an edited copy would have."""
    other = unit_vectors(1, len(vector), seed=seed)[0]
    across = other - (other @ vector) * vector
    across /= np.linalg.norm(across)
    mixed: Float32Array = cosine * vector + np.sqrt(1 - cosine**2) * across
    return mixed.astype(np.float32)


class VectorIndexTests:
    """What every index must do: lose no copy, compare no foreign space.

    Attributes:
        cosines: Of the copies that are planted. A stranger among three thousand comes near 0.4 when
            a vector has fewer than some 200 components.
    """

    cosines: ClassVar = {
        64: (1.0, 0.8, 0.6),
        512: (1.0, 0.8, 0.6, 0.4),
        768: (1.0, 0.8, 0.6, 0.4),
    }

    @pytest.fixture
    def build(self) -> Callable[[Sequence[str], Float32Array], VectorIndex]:
        """Answers an index of `SPACE` over record ids and (N, D) float32 unit vectors."""
        raise NotImplementedError("override the fixture 'build'")

    @pytest.fixture
    def vectors(self) -> Float32Array:
        return unit_vectors(300, 512, seed=1)

    @pytest.fixture
    def index(
        self,
        build: Callable[[Sequence[str], Float32Array], VectorIndex],
        vectors: Float32Array,
    ) -> VectorIndex:
        return build([f"{number:016x}" for number in range(len(vectors))], vectors)

    def test_matches_the_interface(
        self, build: Callable[[Sequence[str], Float32Array], VectorIndex]
    ) -> None:
        assert isinstance(build([], np.empty((0, 8), np.float32)), VectorIndex)

    @pytest.mark.parametrize("dim", list(cosines))
    def test_planted_copies_are_found_first(
        self, build: Callable[[Sequence[str], Float32Array], VectorIndex], dim: int
    ) -> None:
        vectors = unit_vectors(_COUNT, dim, seed=1)
        index = build([f"{number:016x}" for number in range(_COUNT)], vectors)
        for cosine in self.cosines[dim]:
            for number in range(0, _COUNT, 150):
                query = Embedding(SPACE, copy_at(vectors[number], cosine, seed=number))
                best = index.search(query, limit=1)[0]
                assert best.record_id == f"{number:016x}", cosine
                assert best.cosine == pytest.approx(cosine, abs=0.01)

    def test_answers_are_ordered_and_limited(
        self, index: VectorIndex, vectors: Float32Array
    ) -> None:
        query = Embedding(SPACE, vectors[5])
        found = index.search(query, limit=20)
        cosines = [one.cosine for one in found]
        assert len(found) == 20
        assert cosines == sorted(cosines, reverse=True)
        near = index.search(query, limit=20, min_cosine=0.9)
        assert [one.record_id for one in near] == [f"{5:016x}"]
        with pytest.raises(RegistryError, match=SPACE):
            index.search(Embedding(SPACE, np.eye(1, 8, dtype=np.float32)[0]), limit=1)

    def test_equal_vectors_are_answered_oldest_first(
        self, build: Callable[[Sequence[str], Float32Array], VectorIndex], vectors: Float32Array
    ) -> None:
        same = np.repeat(vectors[:1], 700, axis=0)
        index = build([f"{number:016x}" for number in range(700)], same)
        found = index.search(Embedding(SPACE, vectors[0]), limit=3)
        assert [one.record_id for one in found] == [f"{number:016x}" for number in range(3)]

    def test_another_space_is_never_compared(
        self, index: VectorIndex, vectors: Float32Array
    ) -> None:
        assert list(index.search(Embedding("other/1", vectors[5]), limit=5)) == []

    def test_an_empty_index_answers_nothing(
        self, build: Callable[[Sequence[str], Float32Array], VectorIndex], vectors: Float32Array
    ) -> None:
        empty = build([], np.empty((0, vectors.shape[1]), np.float32))
        assert list(empty.search(Embedding(SPACE, vectors[0]), limit=5)) == []
