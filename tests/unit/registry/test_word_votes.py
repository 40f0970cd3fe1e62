"""Votes do not depend on how the records lie in blocks, and are those that words describe."""

import tracemalloc
import weakref

import numpy as np
import pytest

from provenance.testing.twins_registry import _count_votes
from provenance.types import KeypointWords
from registry.index.word_votes import BLOCK_RECORDS, append_words, best_votes, word_block
from registry.index.words import decode_words, encode_words

SPACE = "words/1"


def random_words(random, count, *, columns=1, words=12):
    """Few words and bits from few patterns: many corners agree by chance."""
    patterns = random.integers(0, 1 << 63, 4, dtype=np.uint64)
    noise = np.array([1 << int(n) for n in random.integers(0, 63, count)], dtype=np.uint64)
    return KeypointWords(
        SPACE,
        np.stack([random.permutation(words)[:columns] for _ in range(count)]).astype(np.uint16)
        if count
        else np.empty((0, columns), np.uint16),
        random.integers(0, 256, count).astype(np.uint8),
        patterns[random.integers(0, 4, count)] ^ noise,
    )


def ids_of(count):
    return [f"{n:016x}" for n in range(count)]


@pytest.fixture(params=range(4))
def case(request):
    random = np.random.default_rng(request.param)
    records = [random_words(random, int(random.integers(1, 30))) for _ in range(9)]
    seen = records[4]
    query = KeypointWords(
        SPACE,
        np.concatenate((seen.words, (seen.words + 1) % 12), axis=1),
        (seen.angles.astype(int) + 77).astype(np.uint8),
        seen.check_bits ^ np.uint64(0b101),
    )
    return records, [query, random_words(random, 25, columns=2)]


def test_votes_are_those_of_counting_corner_by_corner(case):
    records, queries = case
    block = word_block(ids_of(len(records)), records)
    found = {one.record_id: one.votes for one in best_votes([block], queries, limit=99)}
    kept = dict(zip(ids_of(len(records)), records, strict=True))
    counted = [_count_votes(kept, query) for query in queries]
    for record_id in kept:
        expected = max(votes[record_id] for votes in counted)
        # A corner that meets two of a record's with equal bits may take either one's angle.
        assert found.get(record_id, 0.0) == pytest.approx(expected, rel=0.15, abs=0.5)
    assert best_votes([block], queries, limit=1)[0].record_id == ids_of(9)[4]


def test_votes_do_not_depend_on_the_blocks(case):
    records, queries = case
    names = ids_of(len(records))
    whole = best_votes([word_block(names, records)], queries, limit=99)
    blocks = ()
    for name, words in zip(names, records, strict=True):
        blocks = append_words(blocks, word_block([name], [words]))
    parts = [word_block(names[n : n + 2], records[n : n + 2]) for n in range(0, len(records), 2)]
    for one in (blocks, parts):
        again = best_votes(one, queries, limit=99)
        assert [n.record_id for n in again] == [n.record_id for n in whole]
        assert [n.votes for n in again] == pytest.approx([n.votes for n in whole])
    assert sum(len(one) for one in blocks) == len(records)
    assert len(blocks) < 5


def test_joined_blocks_stay_below_their_bound():
    random = np.random.default_rng(5)
    words = [random_words(random, 1)] * BLOCK_RECORDS
    full = word_block(ids_of(BLOCK_RECORDS), words)
    blocks = append_words((full,), word_block(ids_of(2), words[:2]))
    assert [len(one) for one in blocks] == [BLOCK_RECORDS, 2]


def test_a_picture_without_corners_votes_for_nothing(case):
    records, _ = case
    empty = random_words(np.random.default_rng(1), 0, columns=2)
    block = word_block(ids_of(len(records)), records)
    assert best_votes([block], [empty], limit=3) == []
    assert best_votes([], [empty], limit=3) == []


def test_a_pattern_with_all_corners_in_one_word_takes_little_memory():
    def pattern(count, columns):
        noise = np.arange(count, dtype=np.uint64)
        words = np.repeat(np.array([[7, 8][:columns]], np.uint16), count, axis=0)
        return KeypointWords(SPACE, words, np.zeros(count, np.uint8), noise)

    block = word_block(ids_of(40), [pattern(512, 1)] * 40)
    query = pattern(640, 2)  # thirteen million pairs
    tracemalloc.start()
    try:
        found = best_votes([block], [query], limit=3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [one.record_id for one in found] == ids_of(40)[:3]
    assert peak < 150e6


def test_of_blocks_that_are_read_one_by_one_none_is_kept(case):
    records, queries = case
    names = ids_of(len(records))
    seen = []

    def blocks():
        for name, words in zip(names, records, strict=True):
            assert all(one() is None for one in seen[:-1])
            block = word_block([name], [words])
            seen.append(weakref.ref(block.check_bits))
            yield block
            del block

    again = best_votes(blocks(), queries, limit=99)
    whole = best_votes([word_block(names, records)], queries, limit=99)
    assert [one.record_id for one in again] == [one.record_id for one in whole]
    assert len(seen) == len(records)


def test_stored_words_come_back_as_they_were(case):
    (first, *_), _ = case
    again = decode_words(SPACE, encode_words(first))
    assert np.array_equal(again.words, first.words)
    assert np.array_equal(again.angles, first.angles)
    assert np.array_equal(again.check_bits, first.check_bits)
