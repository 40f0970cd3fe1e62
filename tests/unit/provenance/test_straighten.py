"""What a mark says was done to its picture is undone."""

import numpy as np
import pytest
from PIL import Image

from provenance.testing.pictures import natural_picture
from provenance.types import Finding, MarkGeometry, MarkRegion, RasterImage, WatermarkEvidence
from provenance.watermark.straighten import is_partial, straighten

PICTURE = natural_picture(300, 200, seed=6)
SIZE = (300, 200)


def raster(image):
    return RasterImage(np.ascontiguousarray(np.asarray(image)))


def mark(*, mirrored=False, turned=0.0, scale=1.0, stretch=1.0, region=None):
    geometry = MarkGeometry(mirrored, turned, scale, stretch, 0.0)
    return WatermarkEvidence(Finding.PRESENT, "a mark", geometry=geometry, region=region)


def test_an_untouched_picture_stays_what_it_is():
    assert not is_partial(PICTURE, mark(region=MarkRegion(0, 0, 300, 200)))
    assert np.array_equal(straighten(PICTURE, mark(), SIZE).pixels, PICTURE.pixels)
    assert not is_partial(PICTURE, WatermarkEvidence(Finding.PRESENT, "of another codec"))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_mirrors_and_right_angles_are_undone_exactly(mirrored, quarters):
    image = Image.fromarray(PICTURE.pixels)
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = image.rotate(-90 * quarters, expand=True)
    said = mark(mirrored=mirrored, turned=90.0 * quarters)
    assert is_partial(raster(turned), said) is (mirrored or quarters > 0)
    assert np.array_equal(straighten(raster(turned), said, SIZE).pixels, PICTURE.pixels)


@pytest.mark.parametrize("expand", [False, True])
def test_other_angles_are_undone_but_for_cut_corners(expand):
    image = Image.fromarray(PICTURE.pixels)
    turned = raster(image.rotate(-10, Image.Resampling.BICUBIC, expand=expand))
    scale = 200 / min(turned.width_px, turned.height_px)
    # The upright box around what lies askew is no place to cut.
    box = MarkRegion(8, 8, turned.width_px - 16, turned.height_px - 16)
    back = straighten(turned, mark(turned=10.0, scale=scale, region=box), SIZE)
    assert (back.width_px, back.height_px) == pytest.approx(SIZE, abs=1)
    inner = (slice(60, 140), slice(90, 210))
    error = np.abs(back.pixels[:200, :300][inner].astype(int) - PICTURE.pixels[inner].astype(int))
    assert error.mean() < 12


def test_a_picture_on_a_page_is_cut_out():
    page = Image.new("RGB", (640, 480), "white")
    page.paste(Image.fromarray(PICTURE.pixels), (50, 70))
    said = mark(region=MarkRegion(50, 70, 300, 200))
    assert is_partial(raster(page), said)
    assert np.array_equal(straighten(raster(page), said, SIZE).pixels, PICTURE.pixels)


@pytest.mark.parametrize("changed", [{"scale": 1.15}, {"stretch": 1.05}])
def test_a_crop_and_a_stretch_are_told_but_not_undone(changed):
    assert is_partial(PICTURE, mark(**changed))
    assert np.array_equal(straighten(PICTURE, mark(**changed), SIZE).pixels, PICTURE.pixels)
