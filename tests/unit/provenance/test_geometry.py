import numpy as np
import pytest

from provenance.errors import BackendUnavailableError, RegistryError
from provenance.fingerprint import keypoints as keypoint_module
from provenance.fingerprint.doctor import check_copies
from provenance.fingerprint.geometry import Alignment, Keypoints, align, measure_agreement
from provenance.fingerprint.keypoints import load_finder
from provenance.fingerprint.similarity import VERIFIED_MIN_AGREEMENT, VERIFIED_MIN_INLIERS
from provenance.fingerprint.verification import (
    GeometryVerifier,
    load_verifier,
    make_thumbnail,
    read_thumbnail,
)
from provenance.fingerprint.words.making import load_word_maker
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import RasterImage


def keypoints(points, descriptors):
    return Keypoints(points, descriptors, np.zeros(len(points), dtype=np.float32))


def planted(matrix, *, count=120, wrong=0.4, seed=3):
    """Points of two pictures: of the second, `1 - wrong` are the first's, carried and matched."""
    random = np.random.default_rng(seed)
    points = random.uniform(20, 480, (count, 2))
    descriptors = random.integers(0, 256, (count, 32), dtype=np.uint8)
    moved = points @ matrix[:, :2].T + matrix[:, 2] + random.normal(0, 0.7, points.shape)
    lost = random.random(count) < wrong
    moved[lost] = random.uniform(20, 480, (int(lost.sum()), 2))
    return keypoints(points, descriptors), keypoints(moved, descriptors), int((~lost).sum())


def similarity(degrees, scale, x=0.0, y=0.0):
    turn = np.deg2rad(degrees)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[cos, -sin, x], [sin, cos, y]])


@pytest.mark.parametrize(
    "matrix",
    [
        similarity(0, 1),
        similarity(37, 0.4, 60, -12),
        similarity(180, 3, 20, 700),
        np.array([[0.6, 0.0, 5.0], [0.0, 1.2, 9.0]]),
        np.array([[1.0, 0.3, 0.0], [0.1, 1.0, 0.0]]),
    ],
    ids=["none", "turned and small", "upside down", "squeezed", "sheared"],
)
def test_a_movement_that_carries_many_points_is_found(matrix):
    first, second, right = planted(matrix)
    found = align(first, second)
    assert found is not None
    assert found.inliers >= 0.85 * right
    assert np.allclose(found.matrix[:, :2], matrix[:, :2], atol=0.05)
    again = align(first, second)
    assert np.array_equal(found.matrix, again.matrix)
    assert found.inliers == again.inliers


@pytest.mark.parametrize(
    "matrix",
    [np.array([[-1.0, 0.0, 500.0], [0.0, 1.0, 0.0]]), similarity(10, 0.01, 200, 200),
     np.array([[1.0, 0.0, 0.0], [0.0, 0.05, 200.0]])],
    ids=["mirrored", "crushed to a point", "crushed to a line"],
)  # fmt: skip
def test_movements_that_no_copy_undergoes_count_for_nothing(matrix):
    first, second, _ = planted(matrix, wrong=0.0)
    found = align(first, second)
    assert found is None or found.inliers < VERIFIED_MIN_INLIERS


def test_points_of_one_place_count_once():
    first, _, _ = planted(similarity(0, 1), count=4, wrong=0.0)
    random = np.random.default_rng(5)
    points = np.repeat(first.points, 30, axis=0) + random.uniform(0, 1.5, (120, 2))
    descriptors = random.integers(0, 256, (120, 32), dtype=np.uint8)
    crowd = keypoints(points, descriptors)
    found = align(crowd, crowd)
    assert found is not None
    assert found.inliers <= 16 < 120


def test_chance_matches_move_together_nowhere():
    first, second, _ = planted(similarity(0, 1), wrong=1.0)
    found = align(first, second)
    assert found is None or found.inliers < VERIFIED_MIN_INLIERS
    empty = keypoints(np.empty((0, 2)), np.empty((0, 32), dtype=np.uint8))
    assert align(first, empty) is None
    assert align(empty, empty) is None


def luma(picture):
    return np.rint(picture.pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def test_agreement_is_the_share_of_blocks_that_show_the_same():
    first = luma(natural_picture(320, 320, seed=1))
    second = luma(natural_picture(320, 320, seed=2))
    upright = Alignment(similarity(0, 1), 50)
    assert measure_agreement(first, first, upright) == 1.0
    assert measure_agreement(first, second, upright) < 0.25
    half = first.copy()
    half[:, 160:] = second[:, 160:]
    assert 0.4 < measure_agreement(first, half, upright) < 0.7
    brighter = np.clip(first * 0.6 + 40, 0, 255).astype(np.uint8)
    assert measure_agreement(first, brighter, upright) == 1.0


def test_agreement_abstains_where_little_can_be_compared():
    picture = luma(natural_picture(320, 320, seed=1))
    flat = np.full((320, 320), 90, dtype=np.uint8)
    assert measure_agreement(flat, flat, Alignment(similarity(0, 1), 50)) is None
    beside = Alignment(similarity(0, 1, x=312), 50)
    assert measure_agreement(picture, picture, beside) is None
    # Flat on one side alone is a difference, not an abstention.
    assert measure_agreement(picture, flat, Alignment(similarity(0, 1), 50)) == 0.0


FINDERS = {
    "opencv": keypoint_module._load_opencv,
    "scikit-image": keypoint_module._load_scikit_image,
}


def load(library):
    finder = FINDERS[library]()
    if finder is None:
        pytest.skip(f"{library} is not installed")
    return GeometryVerifier(finder, is_quick=library == "opencv")


def shown(picture, name):
    """The picture after an edit."""
    pixels = picture.pixels
    if name == "mirrored":
        pixels = pixels[:, ::-1]
    elif name == "turned":
        pixels = np.rot90(pixels)
    elif name == "half of each side":
        pixels = pixels[60:220, 90:250]
    elif name == "pasted":
        sheet = natural_picture(640, 480, seed=77).pixels.copy()
        sheet[100:420, 200:520] = pixels
        pixels = sheet
    return RasterImage(np.ascontiguousarray(pixels))


@pytest.mark.parametrize(
    ("library", "edit"),
    [
        ("opencv", "none"),
        ("opencv", "mirrored"),
        ("opencv", "turned"),
        ("opencv", "half of each side"),
        ("opencv", "pasted"),
        ("scikit-image", "mirrored"),
    ],
)
def test_a_copy_is_verified_and_a_stranger_is_not(library, edit):
    verifier = load(library)
    reference = verifier.look(read_thumbnail(make_thumbnail(natural_picture(320, 320, seed=8))))
    query = verifier.prepare_query(shown(natural_picture(320, 320, seed=8), edit))
    found = verifier.verify(reference, query)
    assert found.inliers >= VERIFIED_MIN_INLIERS
    assert found.agreement >= VERIFIED_MIN_AGREEMENT
    assert found.is_mirrored is (edit == "mirrored")
    assert found == verifier.verify(reference, query)
    stranger = verifier.look(read_thumbnail(make_thumbnail(natural_picture(320, 320, seed=9))))
    assert verifier.verify(stranger, query).inliers < VERIFIED_MIN_INLIERS


@pytest.mark.parametrize("library", FINDERS)
def test_a_plain_picture_says_nothing_either_way(library):
    verifier = load(library)
    plain = flat_picture(200, 200, rgb=(90, 120, 40))
    reference = verifier.look(read_thumbnail(make_thumbnail(plain)))
    query = verifier.prepare_query(natural_picture(200, 200, seed=1))
    assert verifier.verify(reference, query).inliers is None
    tiny = verifier.prepare_query(flat_picture(1, 1, rgb=(1, 2, 3)))
    assert verifier.verify(reference, tiny).inliers is None


def test_without_a_library_there_is_no_verifier_and_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(keypoint_module, "_load", lambda: None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'countermark\[geometry\]'"):
        load_finder()
    assert load_verifier() is None
    assert keypoint_module.find_library() is None
    (line,) = check_copies()
    assert (line.ok, line.optional, line.remedy) == (False, True, keypoint_module.INSTALL_HINT)


def test_doctor_names_the_library_that_is_used():
    (line,) = check_copies()
    assert line.ok is (keypoint_module.find_library() is not None)
    if line.ok:
        assert keypoint_module.find_library() in line.detail


def test_doctor_says_what_the_slow_library_leaves_out(monkeypatch):
    monkeypatch.setattr(keypoint_module, "_load", lambda: ("scikit-image", None))
    (line,) = check_copies()
    assert line.ok
    assert "no keypoint words" in line.detail
    assert load_word_maker() is None


def test_thumbnails_are_small_grey_and_nothing_else_is_taken_for_one():
    data = make_thumbnail(natural_picture(1400, 700, seed=1))
    assert len(data) < 40_000
    assert read_thumbnail(data).shape == (256, 512)
    for broken in (b"", data[:40], b"RIFF" + data):
        with pytest.raises(RegistryError, match="thumbnail"):
            read_thumbnail(broken)
