import numpy as np
import pytest

from provenance.fingerprint.views import MIN_VIEW_PX, find_content_box, list_views
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import RasterImage


def framed(picture, left, top, right, bottom, levels=(20, 200, 90, 250)):
    """The picture in a frame with a level of its own for each side."""
    height, width = picture.pixels.shape[:2]
    sheet = np.zeros((height + top + bottom, width + left + right, 3), dtype=np.uint8)
    sheet[:, :left] = levels[0]
    sheet[:, left + width :] = levels[2]
    sheet[:top] = levels[1]
    sheet[top + height :] = levels[3]
    sheet[top : top + height, left : left + width] = picture.pixels
    return RasterImage(sheet)


@pytest.mark.parametrize(
    "margins", [(40, 40, 40, 40), (0, 120, 0, 60), (200, 10, 30, 0), (0, 0, 0, 90)]
)
def test_the_content_box_is_what_the_frame_surrounds(margins):
    left, top, right, bottom = margins
    picture = natural_picture(300, 200, seed=4)
    box = find_content_box(framed(picture, left, top, right, bottom))
    assert box is not None
    assert np.abs(np.subtract(box, (left, top, left + 300, top + 200))).max() <= 2


def test_small_print_on_a_frame_is_frame():
    sheet = framed(natural_picture(300, 200, seed=4), 50, 80, 50, 40).pixels.copy()
    sheet[30:40, 60:80] = 0
    box = find_content_box(RasterImage(sheet))
    assert np.abs(np.subtract(box, (50, 80, 350, 280))).max() <= 2


def test_large_pictures_are_looked_at_coarsely():
    box = find_content_box(framed(natural_picture(1500, 900, seed=4), 150, 90, 150, 90))
    assert np.abs(np.subtract(box, (150, 90, 1650, 990))).max() <= 8


@pytest.mark.parametrize(
    "picture",
    [natural_picture(300, 200, seed=4), flat_picture(200, 200, rgb=(9, 9, 9)),
     flat_picture(3, 2, rgb=(9, 9, 9))],
    ids=["no frame", "nothing but frame", "tiny"],
)  # fmt: skip
def test_no_border_or_no_content_has_no_box(picture):
    assert find_content_box(picture) is None


def test_the_parts_of_a_picture():
    picture = natural_picture(200, 160, seed=4)
    views = {view.name: view.image for view in list_views(picture)}
    assert list(views) == [
        "whole", "top left", "top right", "bottom left", "bottom right", "centre",
        "left", "right", "top", "bottom",
    ]  # fmt: skip
    assert np.array_equal(views["bottom right"].pixels, picture.pixels[80:, 100:])
    assert np.array_equal(views["centre"].pixels, picture.pixels[40:120, 50:150])
    with_frame = [view.name for view in list_views(framed(picture, 40, 40, 40, 40))]
    assert with_frame[:2] == ["whole", "content"]


def test_parts_too_small_to_say_anything_are_left_out():
    assert [view.name for view in list_views(natural_picture(100, 100, seed=1))] == ["whole"]
    assert 2 * MIN_VIEW_PX > 100
