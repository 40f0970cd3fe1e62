"""Measures of how visible a mark is."""

import numpy as np
import pytest

from provenance.testing.pictures import natural_picture
from provenance.types import RasterImage
from provenance.watermark.quality import measure_psnr_db, measure_ssim

PICTURE = natural_picture(200, 150, seed=4)


def noisy(deviation):
    noise = np.random.default_rng(1).normal(0, deviation, PICTURE.pixels.shape[:2])
    pixels = np.clip(np.rint(PICTURE.pixels + noise[..., None]), 0, 255)
    return RasterImage(pixels.astype(np.uint8))


def ssim_by_definition(one, other):
    """Wang et al. 2004, equation 13, one 11x11 window after the other."""
    axis = np.arange(-5, 6)
    window = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 1.5**2))
    window /= window.sum()
    x, y = (p.pixels @ np.array([0.299, 0.587, 0.114]) for p in (one, other))
    found = []
    for row in range(0, x.shape[0] - 10, 7):
        for column in range(0, x.shape[1] - 10, 7):
            a, b = (p[row : row + 11, column : column + 11] for p in (x, y))
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            top = (2 * ma * mb + c1) * (2 * cov + c2)
            found.append(top / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(found)


def test_equal_pictures_are_perfectly_similar():
    assert measure_ssim(PICTURE, PICTURE) == pytest.approx(1.0)
    assert measure_psnr_db(PICTURE, PICTURE) == 100.0


def test_similarity_is_that_of_the_definition():
    changed = noisy(6)
    # The definition is evaluated at every seventh window only.
    assert measure_ssim(changed, PICTURE) == pytest.approx(
        ssim_by_definition(changed, PICTURE), abs=0.01
    )


def test_more_noise_is_less_similar():
    assert measure_ssim(noisy(2), PICTURE) > measure_ssim(noisy(5), PICTURE)
    assert measure_psnr_db(noisy(2), PICTURE) > measure_psnr_db(noisy(5), PICTURE)


def test_large_pictures_are_measured_at_a_smaller_size():
    large = natural_picture(2100, 2050, seed=2)
    shifted = RasterImage(large.pixels ^ 1)  # a grey level: gone after averaging, in part
    assert measure_ssim(shifted, large) > 0.99
