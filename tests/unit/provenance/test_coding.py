import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance.errors import InputError
from provenance.watermark.coding import GENERATORS, RATE, decode_list, decode_soft, encode_bits

words = st.lists(st.booleans(), min_size=8, max_size=120).map(lambda w: np.array(w, dtype=np.bool_))


@settings(max_examples=30, deadline=None)
@given(words)
def test_decodes_what_it_encodes(word):
    assert np.array_equal(decode_soft(2.0 * encode_bits(word) - 1.0), word)


@settings(max_examples=20, deadline=None)
@given(words, st.integers(0, 119))
def test_encoding_commutes_with_rotation(word, shift):
    """Tail-biting: the word is a circle, so no position is special."""
    rotated = encode_bits(np.roll(word, shift))
    assert np.array_equal(rotated, np.roll(encode_bits(word), RATE * shift))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_encoding_is_linear(seed):
    first, second = np.random.default_rng(seed).random((2, 96)) < 0.5
    total = encode_bits(first ^ second)
    assert np.array_equal(total, encode_bits(first) ^ encode_bits(second))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_corrects_any_eleven_wrong_bits_on_any_scale(seed, scale):
    """Free distance 24 guarantees the correction of 11 hard errors."""
    random = np.random.default_rng(seed)
    word = random.random(96) < 0.5
    soft = 2.0 * encode_bits(word) - 1.0
    soft[random.choice(soft.size, size=11, replace=False)] *= -1.0
    assert np.array_equal(decode_soft(scale * soft), word)


def test_free_distance_is_24():
    """Lightest path that leaves state 0 and comes back, by Dijkstra's search."""
    queue, best = [], {}
    heapq.heappush(queue, (_weight(1 << 8), 1 << 7))
    while queue:
        weight, state = heapq.heappop(queue)
        if state == 0:
            assert weight == 24
            return
        if best.get(state, 10**6) <= weight:
            continue
        best[state] = weight
        for bit in (0, 1):
            register = bit << 8 | state
            heapq.heappush(queue, (weight + _weight(register), register >> 1))
    pytest.fail("state 0 was never reached again")


def _weight(register):
    return sum((register & generator).bit_count() & 1 for generator in GENERATORS)


def test_decodes_at_minus_one_decibel_per_coded_bit():
    """Noise as strong as at 0.9 of its amplitude: 2 dB per information bit, nearly all correct."""
    random = np.random.default_rng(5)
    sent = random.random((60, 96)) < 0.5
    soft = np.stack([2.0 * encode_bits(word) - 1.0 for word in sent])
    decoded = decode_soft(0.9 * soft + random.normal(size=soft.shape))
    assert (decoded == sent).all(axis=1).mean() >= 0.95


def test_decodes_a_batch_as_each_word_alone():
    soft = np.random.default_rng(6).normal(size=(4, 384))
    alone = np.stack([decode_soft(row) for row in soft])
    assert np.array_equal(decode_soft(soft), alone)


def test_erased_bits_cost_little():
    word = np.random.default_rng(7).random(96) < 0.5
    soft = 2.0 * encode_bits(word) - 1.0
    soft[::3] = 0.0
    assert np.array_equal(decode_soft(soft), word)


@pytest.mark.parametrize("shape", [(7,), (2, 30), (385,), (0,), (1, 2, 384)])
def test_refuses_impossible_lengths(shape):
    with pytest.raises(InputError):
        decode_soft(np.zeros(shape))


def test_refuses_words_shorter_than_the_memory():
    with pytest.raises(InputError):
        encode_bits(np.zeros(7, dtype=np.bool_))


def test_a_list_begins_with_the_best_word_and_holds_others():
    rng = np.random.default_rng(3)
    word = rng.random(96) < 0.5
    soft = 2.0 * encode_bits(word) - 1 + rng.normal(size=384)
    words = decode_list(soft, 16)
    assert words.shape == (16, 96)
    assert np.array_equal(words[0], decode_soft(soft))
    assert len(np.unique(words, axis=0)) == 16


def test_a_list_finds_words_that_the_best_guess_misses():
    rng = np.random.default_rng(4)
    best = listed = 0
    for _ in range(40):
        word = rng.random(96) < 0.5
        soft = 0.68 * (2.0 * encode_bits(word) - 1) + rng.normal(size=384)
        words = decode_list(soft, 24)
        best += np.array_equal(words[0], word)
        listed += bool((words == word).all(axis=1).any())
    assert listed >= best + 3


def test_a_list_of_one_is_the_best_word():
    soft = np.random.default_rng(5).normal(size=384)
    assert np.array_equal(decode_list(soft, 1)[0], decode_soft(soft))


def test_a_list_refuses_odd_lengths():
    with pytest.raises(InputError, match="4 L"):
        decode_list(np.zeros(383), 4)
