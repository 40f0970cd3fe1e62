"""Codes of signs: what they are, and the scan against counting bits one by one."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.testing.indexes import copy_at, unit_vectors
from registry.index.sign_codes import (
    BLOCK_ROWS,
    CodeBlock,
    append_block,
    code_words,
    encode,
    nearest_codes,
)


def to_int(code):
    return int.from_bytes(np.ascontiguousarray(code).astype("<u8").tobytes(), "big")


@pytest.mark.parametrize(
    ("dim", "words"), [(1, 8), (64, 8), (512, 8), (513, 9), (768, 12), (1000, 16), (1024, 16)]
)
def test_a_code_has_512_bits_or_one_for_each_component(dim, words):
    assert code_words(dim) == words
    assert encode(unit_vectors(3, dim, seed=2)).shape == (words, 3)


@pytest.mark.parametrize("dim", [512, 700])
def test_a_bit_is_a_sign(dim):
    (vector,) = unit_vectors(1, dim, seed=4)
    bits = f"{to_int(encode(vector[None])[:, 0]):0{code_words(dim) * 64}b}"
    assert bits == "".join("1" if one >= 0 else "0" for one in vector).ljust(len(bits), "0")


def test_codes_of_short_vectors_stay_what_they_are():
    # Files of codes outlive the process: another projection needs another CODE_VERSION.
    code = encode(np.eye(1, 16, dtype=np.float32))[:, 0]
    digest = hashlib.sha256(code.astype("<u8").tobytes()).hexdigest()
    assert digest == "939739189895be10805ef478047980e6a8293b4c290d7997c11f6e68619e19eb"


@pytest.mark.parametrize("dim", [16, 100, 512, 1024])
@pytest.mark.parametrize("cosine", [0.9, 0.6, 0.0])
def test_the_share_of_differing_bits_is_the_angle(dim, cosine):
    vectors = unit_vectors(300, dim, seed=dim)
    copies = np.stack([copy_at(one, cosine, seed=10**6 + n) for n, one in enumerate(vectors)])
    different = np.bitwise_count(encode(vectors) ^ encode(copies)).sum(axis=0)
    share = different.mean() / max(512, dim)
    assert share == pytest.approx(np.arccos(cosine) / np.pi, abs=0.02)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    count=st.integers(1, 60),
    bits=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_nearest_codes_agrees_with_counting_bits(sizes, count, bits, seed):
    random = np.random.default_rng(seed)
    total = sum(sizes)
    # Few distinct codes, so that there are many ties.
    words = random.integers(0, 2**bits, (8, total), dtype=np.uint64)
    query = random.integers(0, 2**bits, 8, dtype=np.uint64)
    blocks, start = (), 0
    for size in sizes:
        part = slice(start, start + size)
        blocks = append_block(blocks, CodeBlock(np.arange(total)[part] * 3, words[:, part]))
        start += size
    counted = sorted(
        (sum(int(a ^ b).bit_count() for a, b in zip(words[:, n], query, strict=True)), 3 * n)
        for n in range(total)
    )
    expected = [(index, differing) for differing, index in counted][:count]
    assert nearest_codes(blocks, query, count=count) == expected


def test_many_small_additions_leave_few_blocks():
    blocks = ()
    for number in range(3000):
        one = CodeBlock(np.array([number]), np.zeros((8, 1), np.uint64))
        blocks = append_block(blocks, one)
    assert len(blocks) < 14
    assert np.concatenate([one.log_indexes for one in blocks]).tolist() == list(range(3000))
    full = CodeBlock(np.arange(BLOCK_ROWS), np.zeros((8, BLOCK_ROWS), np.uint64))
    assert len(append_block((full,), full)) == 2


def test_copies_stay_among_the_candidates_where_vectors_crowd():
    # As semantic spaces do: few directions matter, and strangers are alike (cosine 0.5).
    random = np.random.default_rng(1)
    basis = random.standard_normal((48, 512)).astype(np.float32)
    vectors = random.standard_normal((20_000, 48)).astype(np.float32) @ basis / np.sqrt(48)
    vectors += 0.3 * random.standard_normal((20_000, 512)).astype(np.float32)
    vectors += random.standard_normal(512).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert 0.4 < float(np.mean(vectors[:200] @ vectors[200:400].T)) < 0.6
    blocks = (CodeBlock(np.arange(len(vectors)), encode(vectors)),)
    for number in range(0, len(vectors), 500):
        for cosine in (0.95, 0.8, 0.6):
            query = copy_at(vectors[number], cosine, seed=10**7 + number)
            near = nearest_codes(blocks, encode(query[None])[:, 0], count=200)
            assert number in {index for index, _ in near}
