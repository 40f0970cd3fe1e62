"""Pictures are found on pages of one colour; what only looks like a page is left whole."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from provenance.fingerprint.embedders.descriptor.embedder import prepare
from provenance.fingerprint.embedders.descriptor.page import find_on_page
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import RasterImage


def whole(image):
    return 0, 0, image.width_px, image.height_px


def feed(picture, ground, ink):
    """A column of text with the picture across the whole width, as telephones show it."""
    width = picture.width_px
    sheet = Image.new("RGB", (width, 2 * picture.height_px + 400), ground)
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, 0, width, 40), fill=ink)
    pen.text((20, 60), "a name\nand when", ink, ImageFont.load_default(24))
    sheet.paste(Image.fromarray(picture.pixels), (0, 150))
    pen.text(
        (20, 170 + picture.height_px),
        "what they say of it\nand more",
        ink,
        ImageFont.load_default(24),
    )
    return np.array(sheet)


@pytest.mark.parametrize("colours", [((255, 255, 255), (20, 20, 30)), ((18, 18, 18), (230,) * 3)])
def test_the_picture_of_a_feed_is_found_to_the_pixel_and_after_jpeg_to_a_block(colours):
    picture = natural_picture(600, 400, seed=1)
    page = feed(picture, *colours)
    saved = io.BytesIO()
    Image.fromarray(page).save(saved, "JPEG", quality=85)
    again = np.array(Image.open(saved))
    assert find_on_page(RasterImage(page), whole(RasterImage(page))) == (0, 150, 600, 550)
    found = find_on_page(RasterImage(again), whole(RasterImage(again)))
    assert np.abs(np.subtract(found, (0, 150, 600, 550))).max() <= 8  # a block of JPEG


def test_the_picture_of_a_window_is_found_on_a_wallpaper():
    picture, wallpaper = natural_picture(300, 420, seed=2), natural_picture(1280, 800, seed=3)
    screen = wallpaper.pixels.copy()
    screen[100:600, 200:520] = (240, 241, 243)
    screen[100:130, 200:520] = (200, 203, 210)  # the title bar
    screen[150:570, 210:510] = picture.pixels
    assert find_on_page(RasterImage(screen), (0, 0, 1280, 800)) == (210, 150, 510, 570)


def test_only_the_given_part_is_looked_at():
    page = feed(natural_picture(600, 400, seed=1), (255, 255, 255), (0, 0, 0))
    inner = np.full((page.shape[0] + 200, 800, 3), 90, np.uint8)
    inner[100:-100, 100:700] = page
    box = (100, 100, 700, 100 + page.shape[0])
    assert find_on_page(RasterImage(inner), box) == (100, 250, 700, 650)


def test_a_copy_on_a_page_is_seen_as_the_picture_itself():
    picture = natural_picture(600, 400, seed=4)
    page = RasterImage(feed(picture, (250, 250, 252), (30, 30, 30)))
    assert np.abs(prepare(page) - prepare(picture)).mean() < 0.01


def test_what_is_no_page_stays():
    for seed in range(6):
        picture = natural_picture(320, 240, seed=seed)
        assert find_on_page(picture, whole(picture)) is None
    flat = flat_picture(200, 100, rgb=(9, 9, 9))
    assert find_on_page(flat, whole(flat)) is None
    dot = flat_picture(400, 400, rgb=(255, 255, 255)).pixels.copy()
    dot[190:210, 190:210] = 0
    assert find_on_page(RasterImage(dot), (0, 0, 400, 400)) is None


def test_an_object_on_white_and_a_plain_sky_are_no_page():
    """Round things touch the lines around them in a point only; a sky is on one side."""
    y, x = np.mgrid[0:400, 0:400]
    texture = natural_picture(400, 400, seed=5).pixels
    ball = np.where(((x - 200) ** 2 + (y - 200) ** 2 < 120**2)[..., None], texture, 255)
    assert find_on_page(RasterImage(ball.astype(np.uint8)), (0, 0, 400, 400)) is None
    sky = np.where((y > 150 + 30 * np.sin(x / 20))[..., None], texture, (140, 180, 230))
    assert find_on_page(RasterImage(sky.astype(np.uint8)), (0, 0, 400, 400)) is None
