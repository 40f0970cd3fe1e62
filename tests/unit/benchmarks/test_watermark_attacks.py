import numpy as np
import pytest

from benchmarks.watermark.attacks import ATTACKS, TARGETS
from benchmarks.watermark.edits import Scene, crop, erase
from benchmarks.watermark.waves import WAVES
from provenance.types import RasterImage

HEAVY = {"VAE round trip"}  # loads torch
SIZES = {
    "resize 0.5": (96, 128),
    "resize 2": (384, 512),
    "rotation 90°": (256, 192),
    "rotation 10°": (192, 256),
    "aspect +10 %": (192, 282),
    "aspect -3 %": (192, 248),
    "screenshot": (211 + 140, 282 + 80),
    "collage 2x2": (384, 512),
    "WAVES resized crop 0.5": (192, 256),
}


@pytest.fixture
def picture() -> RasterImage:
    draw = np.random.default_rng(5)
    ramp = np.linspace(20, 230, 256)[None, :, None] + np.zeros((192, 1, 3))
    return RasterImage(np.clip(ramp + draw.normal(0, 12, ramp.shape), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - HEAVY))
def test_attack_repeats_itself_and_keeps_its_input(name: str, picture: RasterImage):
    before = picture.pixels.copy()
    once, again = (ATTACKS[name].apply(picture, seed=3) for _ in range(2))
    assert np.array_equal(once.pixels, again.pixels)
    assert np.array_equal(picture.pixels, before)
    assert name == "none" or not np.array_equal(once.pixels, before)


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_attack_changes_the_size_as_it_says(name: str, size: tuple[int, int], picture: RasterImage):
    assert ATTACKS[name].apply(picture, seed=1).pixels.shape[:2] == size


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.85])
def test_crop_takes_a_share_of_the_area(share: float):
    image = RasterImage(np.zeros((400, 600, 3), np.uint8))
    left = crop(share)(image, Scene(np.random.default_rng(0))).pixels
    assert left.shape[0] * left.shape[1] / (400 * 600) == pytest.approx(1 - share, abs=0.005)
    assert left.shape[1] / left.shape[0] == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25])
def test_erase_covers_a_share_of_the_area(share: float):
    image = RasterImage(np.full((400, 600, 3), 200, np.uint8))
    erased = erase(share)(image, Scene(np.random.default_rng(0))).pixels
    assert float((erased == 0).mean()) == pytest.approx(share, abs=0.005)


def test_crops_differ_between_pictures(picture: RasterImage):
    crops = [ATTACKS["crop 50 %"].apply(picture, seed=seed).pixels for seed in range(4)]
    assert any(not np.array_equal(crops[0], other) for other in crops[1:])


def test_collage_shows_the_picture_once_and_the_others(picture: RasterImage):
    others = tuple(RasterImage(np.full((192, 256, 3), level, np.uint8)) for level in (10, 20, 30))
    sheet = ATTACKS["collage 2x2"].apply(picture, seed=2, others=others).pixels
    quarters = [sheet[r : r + 192, c : c + 256] for r in (0, 192) for c in (0, 256)]
    assert sum(np.array_equal(quarter, picture.pixels) for quarter in quarters) == 1
    assert {int(q[0, 0, 0]) for q in quarters if len(np.unique(q)) == 1} == {10, 20, 30}


def test_every_group_has_attacks_and_slow_peers_meet_each_waves_distortion_once():
    assert {attack.group for attack in ATTACKS.values()} == set(TARGETS)
    core = [name for name, (_, is_core) in WAVES.items() if is_core]
    assert len(core) * 3 == len(WAVES)
