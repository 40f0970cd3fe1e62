"""Our readers of dwtDct and dwtDctSvd against invisible-watermark's own decoder."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.foreign_marks import hand_over, read_foreign_mark, write_foreign_mark
from provenance.errors import InputError
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import RasterImage
from provenance.watermark.codecs.dwt_reading import FrequencyMethod, decode_bits, measure_blocks
from provenance.watermark.codecs.haar_planes import PixelPath, approximate, blue_difference

pytest.importorskip("imwatermark", reason="the peer, invisible-watermark, is not installed")

SVD, PLAIN = FrequencyMethod.DWT_DCT_SVD, FrequencyMethod.DWT_DCT


def pictures() -> st.SearchStrategy[RasterImage]:
    """Photographs' spectra, noise, blocks and flat colours, of sizes that no block divides."""

    def draw(kind: str, width: int, height: int, seed: int) -> RasterImage:
        random = np.random.default_rng(seed)
        if kind == "natural":
            return natural_picture(width, height, seed=seed)
        if kind == "flat":
            colour = random.integers(0, 256, 3)
            return flat_picture(width, height, rgb=(colour[0], colour[1], colour[2]))
        cell = 1 if kind == "noise" else 24
        small = random.integers(0, 256, (height // cell + 1, width // cell + 1, 3), dtype=np.uint8)
        large = small.repeat(cell, axis=0).repeat(cell, axis=1)
        return RasterImage(np.ascontiguousarray(large[:height, :width]))

    return st.builds(
        draw,
        st.sampled_from(["natural", "noise", "blocks", "flat"]),
        st.integers(256, 420),
        st.integers(256, 420),
        st.integers(0, 2**32 - 1),
    )


@pytest.mark.parametrize("path", PixelPath)
def test_plane_and_approximation_are_opencv_s_and_pywavelets_to_the_last_bit(
    path: PixelPath,
) -> None:
    import cv2
    import pywt

    pixels = np.random.default_rng(0).integers(0, 256, (264, 520, 3), dtype=np.uint8)
    plane = cv2.cvtColor(hand_over(pixels, path), cv2.COLOR_BGR2YUV)[..., 1]
    ours = blue_difference(pixels, path)
    assert np.array_equal(ours, plane)
    frame = approximate(ours)
    assert frame.dtype == (np.float32 if "float32" in path else np.float64)
    assert np.array_equal(frame, pywt.dwt2(plane, "haar")[0])


@pytest.mark.parametrize("path", PixelPath)
@settings(max_examples=25, deadline=None)
@given(image=pictures())
def test_dwt_dct_reads_every_block_as_the_package(path: PixelPath, image: RasterImage) -> None:
    blocks = (image.width_px // 8) * (image.height_px // 8)  # one bit a block: no vote hides a slip
    ours = decode_bits(image.pixels, blocks, path=path, method=PLAIN)
    assert np.array_equal(ours, read_foreign_mark(image, blocks, path=path, method=PLAIN))


@pytest.mark.parametrize("path", PixelPath)
@settings(max_examples=10, deadline=None)
@given(image=pictures())
def test_dwt_dct_svd_differs_only_on_a_quantiser_edge(path: PixelPath, image: RasterImage) -> None:
    blocks = (image.width_px // 8) * (image.height_px // 8)
    ours = decode_bits(image.pixels, blocks, path=path, method=SVD)
    theirs = read_foreign_mark(image, blocks, path=path, method=SVD)
    values = measure_blocks(image.pixels, path=path, method=SVD).ravel()
    # The package computes float32 pictures in single precision: 1e-7 of values near 1000.
    reach = 1e-3 if "float32" in path else 1e-9
    edge = np.abs(values / 18 - np.rint(values / 18)) * 18 < reach
    assert not (ours != theirs)[~edge].any()


@pytest.mark.parametrize("method", FrequencyMethod)
@pytest.mark.parametrize("path", PixelPath)
@pytest.mark.parametrize(("width", "height", "length"), [(512, 512, 48), (333, 401, 136)])
def test_messages_are_voted_as_the_package_votes(
    method: FrequencyMethod, path: PixelPath, width: int, height: int, length: int
) -> None:
    message = np.random.default_rng(length).random(length) < 0.5
    plain = natural_picture(width, height, seed=length)
    marked = write_foreign_mark(plain, message, path=path, method=method)
    for image in (plain, marked):
        ours = decode_bits(image.pixels, length, path=path, method=method)
        theirs = read_foreign_mark(image, length, path=path, method=method)
        assert np.array_equal(ours, theirs)


def test_a_bit_without_a_block_is_zero_as_in_the_package() -> None:
    image = natural_picture(256, 256, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the package takes means of nothing
        theirs = read_foreign_mark(image, 1100, path=PixelPath.UINT8_BGR, method=PLAIN)
    ours = decode_bits(image.pixels, 1100, path=PixelPath.UINT8_BGR, method=PLAIN)
    assert np.array_equal(ours, theirs)
    assert not ours[1024:].any()


@pytest.mark.parametrize("shape", [(0, 0), (7, 300), (300, 7), (1, 1)])
@pytest.mark.parametrize("method", FrequencyMethod)
def test_pictures_without_a_whole_block_have_no_values(
    shape: tuple[int, int], method: FrequencyMethod
) -> None:
    pixels = np.zeros((*shape, 3), dtype=np.uint8)
    assert not measure_blocks(pixels, path=PixelPath.UINT8_BGR, method=method).size


def test_a_message_without_bits_is_refused() -> None:
    with pytest.raises(InputError, match="at least one bit"):
        decode_bits(
            natural_picture(256, 256, seed=1).pixels, 0, path=PixelPath.UINT8_BGR, method=PLAIN
        )
