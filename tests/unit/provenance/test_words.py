"""Corners become words: the nearest ones of the vocabulary, the same each time."""

import numpy as np
import pytest

from provenance.errors import BackendUnavailableError, RegistryError
from provenance.fingerprint.geometry import Keypoints
from provenance.fingerprint.verification import load_verifier, make_thumbnail
from provenance.fingerprint.words.making import KEPT_CORNERS, keep_small, load_word_maker
from provenance.fingerprint.words.vocabulary import VOCABULARY_FILE, WORDS, load_vocabulary
from provenance.testing.pictures import flat_picture, natural_picture
from registry.index.word_votes import best_votes, word_block

VOCABULARY = np.frombuffer(VOCABULARY_FILE.read_bytes(), dtype=np.uint8).reshape(WORDS, 32)


def corners(count, seed=0):
    random = np.random.default_rng(seed)
    return Keypoints(
        random.random((count, 2)),
        random.integers(0, 256, (count, 32)).astype(np.uint8),
        random.uniform(0, 360, count).astype(np.float32),
    )


def distances(descriptors):
    return np.bitwise_count(descriptors[:, None] ^ VOCABULARY[None]).sum(axis=2, dtype=int)


def test_words_of_the_vocabulary_differ():
    assert len(np.unique(VOCABULARY, axis=0)) == WORDS


def test_each_corner_gets_the_nearest_words():
    found = corners(40)
    vocabulary = load_vocabulary("test-1")
    away = distances(found.descriptors)
    kept, asked = vocabulary.describe(found), vocabulary.ask(found)
    rows = np.arange(40)
    assert np.array_equal(away[rows, kept.words[:, 0]], away.min(axis=1))
    assert np.array_equal(
        np.sort(away[rows[:, None], asked.words], axis=1), np.sort(away, axis=1)[:, :2]
    )
    assert kept.space_id == asked.space_id == vocabulary.space_id
    assert kept.space_id.startswith("test-1@")


def test_angles_are_256ths_of_a_turn():
    found = corners(4)
    turned = Keypoints(
        found.points, found.descriptors, np.array([0, 90, 180.5, 359.99], dtype=np.float32)
    )
    assert load_vocabulary("test-1").describe(turned).angles.tolist() == [0, 64, 128, 255]


def test_check_bits_count_what_differs_in_a_quarter_of_a_descriptor():
    found = corners(2)
    other = found.descriptors.copy()
    other[0, 4] ^= 0b101  # every fourth byte counts
    other[0, 5] ^= 0b111
    first, second = (
        load_vocabulary("test-1").describe(Keypoints(found.points, one, found.angles)).check_bits
        for one in (found.descriptors, other)
    )
    assert np.bitwise_count(first ^ second).tolist() == [2, 0]


@pytest.mark.parametrize("content", [None, b"too short"])
def test_a_broken_installation_is_told(tmp_path, content):
    file = tmp_path / "vocabulary.bin"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BackendUnavailableError, match=r"vocabulary\.bin.*install Countermark"):
        load_vocabulary("test-1", file)


@pytest.fixture
def maker():
    found = load_word_maker()
    if found is None:
        pytest.skip("OpenCV is not installed")
    return found


def test_a_crop_votes_for_its_picture_and_its_mirror_image_too(maker):
    pictures = [natural_picture(400, 400, seed=seed) for seed in range(12)]
    kept = [keep_small(one, maker)[1] for one in pictures]
    assert all(0 < len(one) <= KEPT_CORNERS for one in kept)
    block = word_block([f"{n:016x}" for n in range(12)], kept)
    part = pictures[7].pixels[120:320, 90:290]
    verifier = load_verifier()
    for pixels in (part, part[:, ::-1], np.rot90(part)):
        query = verifier.prepare_query(type(pictures[0])(np.ascontiguousarray(pixels)))
        near = best_votes([block], maker.ask(query), limit=2)
        assert near[0].record_id == f"{7:016x}"
        assert near[0].votes > 3 * near[1].votes


def test_a_flat_picture_has_no_words(maker):
    assert len(maker.describe(make_thumbnail(flat_picture(300, 300, rgb=(90, 120, 60))))) == 0


def test_bytes_that_are_no_thumbnail_are_refused(maker):
    with pytest.raises(RegistryError, match="thumbnail"):
        maker.describe(b"no picture")


def test_without_a_maker_only_the_thumbnail_is_kept():
    thumbnail, words = keep_small(natural_picture(80, 80, seed=1), None)
    assert thumbnail == make_thumbnail(natural_picture(80, 80, seed=1))
    assert words is None
