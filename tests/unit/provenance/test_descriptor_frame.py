"""Plain frames are cut off; skies, dots on white and flat pictures are left as they are."""

import numpy as np
import pytest

from provenance.fingerprint.embedders.descriptor.frame import find_content
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import RasterImage


def framed(picture, colour, left, top, right, bottom):
    height, width = picture.pixels.shape[:2]
    sheet = np.empty((height + top + bottom, width + left + right, 3), np.uint8)
    sheet[:] = colour
    sheet[top : top + height, left : left + width] = picture.pixels
    return RasterImage(sheet)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (30, 90, 160)])
@pytest.mark.parametrize("sides", [(40, 40, 40, 40), (0, 100, 0, 0), (150, 150, 150, 150)])
def test_a_frame_is_found_to_within_a_cell(colour, sides):
    picture = natural_picture(400, 300, seed=1)
    sheet = framed(picture, colour, *sides)
    found = find_content(sheet)
    wanted = (sides[0], sides[1], sides[0] + 400, sides[1] + 300)
    step = max(sheet.width_px, sheet.height_px) / 128
    assert np.abs(np.subtract(found, wanted)).max() <= 1.5 * step


def test_a_frame_with_noise_is_a_frame():
    sheet = framed(natural_picture(400, 300, seed=1), (90, 90, 90), 60, 60, 60, 60)
    noise = np.random.default_rng(1).normal(0, 10, sheet.pixels.shape)
    noisy = RasterImage(np.clip(sheet.pixels + noise, 0, 255).astype(np.uint8))
    assert find_content(noisy)[0] == pytest.approx(60, abs=6)


def test_what_is_no_frame_stays():
    picture = natural_picture(300, 300, seed=2)
    assert find_content(picture) == (0, 0, 300, 300)
    assert find_content(flat_picture(200, 100, rgb=(9, 9, 9))) == (0, 0, 200, 100)
    dot = flat_picture(400, 400, rgb=(255, 255, 255)).pixels.copy()
    dot[190:210, 190:210] = 0
    assert find_content(RasterImage(dot)) == (0, 0, 400, 400)


def test_a_sky_is_no_frame():
    """Plain above, and only trees reach into it: most of the line below is sky still."""
    sky = np.full((300, 300, 3), (140, 180, 230), np.uint8)
    ground = natural_picture(300, 300, seed=3).pixels
    line = 150 + (40 * np.sin(np.arange(300) / 20)).astype(int)
    below = np.arange(300)[:, None] > line[None]
    picture = RasterImage(np.where(below[..., None], ground, sky))
    assert find_content(picture) == (0, 0, 300, 300)
