"""Exact search over blocks, against counting and multiplying one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.errors import RegistryError
from provenance.interfaces import VectorIndex
from provenance.testing.stores import DIM, build_embedding, build_hash
from provenance.types import Embedding
from registry.index.exact import (
    ExactVectorIndex,
    HashBlock,
    VectorBlock,
    best_cosines,
    best_distances,
    pack_hash,
)


def ids_of(numbers):
    return np.array([f"{number:016x}" for number in numbers], dtype="S16")


def hash_block(start, hashes):
    values = np.stack([pack_hash(build_hash(number)) for number in hashes])
    return HashBlock(ids_of(range(start, start + len(hashes))), values)


def vector_block(start, vectors):
    return VectorBlock(ids_of(range(start, start + len(vectors))), np.stack(vectors))


small = st.integers(0, 2**10 - 1)
wide = st.integers(0, 2**256 - 1)


@given(
    first=st.lists(small | wide, min_size=1, max_size=20),
    second=st.lists(small | wide, min_size=1, max_size=20),
    query=small | wide,
    distance=st.integers(0, 256),
    limit=st.integers(1, 8),
)
def test_best_distances_agrees_with_counting_bits(first, second, query, distance, limit):
    found = best_distances(
        [hash_block(0, first), hash_block(len(first), second)],
        build_hash(query),
        max_distance_bits=distance,
        limit=limit,
    )
    counted = sorted(
        ((number ^ query).bit_count(), place) for place, number in enumerate([*first, *second])
    )
    expected = [(f"{place:016x}", bits) for bits, place in counted if bits <= distance][:limit]
    assert [(n.record_id, n.distance_bits) for n in found] == expected


def test_best_distances_answers_nothing_without_rows():
    assert best_distances([], build_hash(0), max_distance_bits=256, limit=3) == []


def test_best_cosines_agrees_with_multiplying_one_by_one():
    random = np.random.default_rng(3)
    vectors = random.normal(size=(50, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = Embedding("space/1", vectors[31])
    blocks = [vector_block(0, list(vectors[:20])), vector_block(20, list(vectors[20:]))]
    found = best_cosines(blocks, query, min_cosine=0.0, limit=7)
    cosines = [float(np.dot(v.astype(np.float64), vectors[31].astype(np.float64))) for v in vectors]
    expected = sorted((-c, place) for place, c in enumerate(cosines) if c >= 0)[:7]
    assert [n.record_id for n in found] == [f"{place:016x}" for _, place in expected]
    np.testing.assert_allclose([n.cosine for n in found], [-c for c, _ in expected], atol=1e-6)


def test_best_cosines_never_leaves_minus_one_to_one():
    # A unit vector may be a thousandth too long, and float32 rounds: products come out above 1.
    vector = Embedding("s", build_embedding(1, 2, 3).vector * 1.0005).vector
    assert float(vector @ vector) > 1
    blocks = [vector_block(0, [vector, -vector])]
    found = best_cosines(blocks, Embedding("s", vector), min_cosine=-1, limit=2)
    assert [n.cosine for n in found] == [1.0, -1.0]


def test_best_cosines_refuses_a_query_of_another_length():
    blocks = [VectorBlock(ids_of([1]), np.eye(1, 4, dtype=np.float32))]
    with pytest.raises(RegistryError, match="space/1"):
        best_cosines(blocks, build_embedding(1), min_cosine=-1, limit=1)


def test_exact_vector_index_answers_its_own_space_only():
    index = ExactVectorIndex("space/1", [vector_block(7, [build_embedding(1).vector])])
    assert isinstance(index, VectorIndex)
    assert [n.record_id for n in index.search(build_embedding(1), limit=3)] == [f"{7:016x}"]
    assert list(index.search(build_embedding(1, space_id="space/2"), limit=3)) == []
