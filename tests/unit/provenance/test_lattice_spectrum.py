"""Spectrum and geometry of the lattice codec against direct computation."""

import numpy as np
import pytest

from provenance.watermark.codecs.lattice_carrier import TILE_PX
from provenance.watermark.codecs.lattice_embedding import half_plane
from provenance.watermark.codecs.lattice_geometry import Geometry, line_frequencies
from provenance.watermark.codecs.lattice_spectrum import Spectrum


@pytest.mark.parametrize("shape", [(64, 64), (75, 101), (90, 33)])
def test_lines_between_samples_equal_direct_summation(shape):
    rng = np.random.default_rng(1)
    plane = rng.normal(size=shape).astype(np.float32)
    frequencies = rng.uniform(-0.4, 0.4, (40, 2))
    down, across = np.mgrid[: shape[0], : shape[1]]
    down, across = down - shape[0] // 2, across - shape[1] // 2
    direct = np.array(
        [np.sum(plane * np.exp(-2j * np.pi * (f * down + g * across))) for f, g in frequencies]
    )
    error = np.abs(Spectrum(plane).lines(frequencies) - direct)
    assert error.max() < 0.01 * np.sqrt(plane.size)


def test_lines_beyond_the_spectrum_are_silent():
    plane = np.ones((64, 64), dtype=np.float32)
    assert not Spectrum(plane).lines(np.array([[0.7, 0.1], [0.0, -0.6]])).any()


def test_half_plane_turns_into_the_sum_of_waves():
    points = np.array([[3, 5], [0, 4], [2, -7], [6, 0]])
    values = np.exp(1j * np.array([0.3, 1.0, -2.0, 0.7])).astype(np.complex64)
    down, across, halves = half_plane(points, values)
    grid = np.zeros((32, 17), dtype=np.complex64)
    grid[down % 32, across] = halves
    made = np.fft.irfft2(grid, s=(32, 32)) * 32 * 32
    y, x = np.mgrid[:32, :32]
    wanted = sum(
        (value * np.exp(2j * np.pi * (a * y + b * x) / 32)).real
        for (a, b), value in zip(points, values, strict=True)
    )
    assert np.allclose(made, wanted, atol=1e-4)


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(angle=0.3),
        Geometry(scale=1.4),
        Geometry(mirrored=True),
        Geometry(stretch=1.1),
        Geometry(shear=0.05),
        Geometry(mirrored=True, angle=2.0, scale=0.8, stretch=0.95, shear=-0.02),
    ],
)
def test_a_wave_moves_to_the_frequency_that_the_geometry_says(geometry):
    point = np.array([[9, -14]])
    matrix = geometry.matrix()
    row, column = np.mgrid[-60:60, -60:60]
    place = np.stack([row, column], axis=-1) @ np.linalg.inv(matrix).T
    wave = np.cos(2 * np.pi / TILE_PX * (place @ point[0]))
    lines = Spectrum(wave.astype(np.float32)).lines(line_frequencies(matrix, point))
    assert abs(lines[0]) > 0.45 * wave.size
