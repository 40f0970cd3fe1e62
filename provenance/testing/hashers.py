"""Conformance suite for perceptual hashers: subclass `HasherTests`, give the fixture ``hasher``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from provenance.fingerprint.similarity import AGREE_MAX_BITS, hamming_distance
from provenance.interfaces import Hasher
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import PerceptualHash, RasterImage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HasherTests"]


def _brighten(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels * 1.1 + 4, 0, 255)


def _add_noise(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels + np.random.default_rng(1).normal(0, 4, pixels.shape), 0, 255)


def _halve(pixels: np.ndarray) -> np.ndarray:
    high, wide = pixels.shape[0] // 2, pixels.shape[1] // 2
    means: np.ndarray = pixels[: 2 * high, : 2 * wide].reshape(high, 2, wide, 2, 3).mean((1, 3))
    return means


class HasherTests:
    """What every perceptual hasher must do."""

    max_edit_bits: ClassVar[int] = 31
    """Distance allowed after light edits."""

    @pytest.fixture
    def hasher(self) -> Hasher:
        """The hasher under test."""
        raise NotImplementedError

    @pytest.fixture
    def picture(self) -> RasterImage:
        """A natural picture, no multiple of anything."""
        return natural_picture(391, 307, seed=31)

    def _hash(self, hasher: Hasher, image: RasterImage) -> PerceptualHash:
        answer = hasher.hash(image)
        assert answer is not None
        return answer

    def test_matches_the_interface(self, hasher: Hasher) -> None:
        assert isinstance(hasher, Hasher)
        assert hasher.name

    def test_answers_the_same_twice_under_its_own_name(
        self, hasher: Hasher, picture: RasterImage
    ) -> None:
        first, second = self._hash(hasher, picture), self._hash(hasher, picture)
        assert first == second
        assert first.algorithm == hasher.name

    @pytest.mark.parametrize("edit", [_brighten, _add_noise, _halve])
    def test_stays_near_after_a_light_edit(
        self,
        hasher: Hasher,
        picture: RasterImage,
        edit: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        edited = RasterImage(np.rint(edit(picture.pixels.astype(np.float64))).astype(np.uint8))
        distance = hamming_distance(self._hash(hasher, picture), self._hash(hasher, edited))
        assert distance <= self.max_edit_bits

    def test_keeps_different_pictures_apart(self, hasher: Hasher) -> None:
        hashes = [self._hash(hasher, natural_picture(256, 256, seed=n)) for n in range(12)]
        distances = [
            hamming_distance(first, second)
            for position, first in enumerate(hashes)
            for second in hashes[:position]
        ]
        assert min(distances) > AGREE_MAX_BITS

    @pytest.mark.parametrize("rgb", [(0, 0, 0), (255, 255, 255), (90, 140, 30)])
    def test_abstains_on_a_flat_picture(self, hasher: Hasher, rgb: tuple[int, int, int]) -> None:
        assert hasher.hash(flat_picture(300, 200, rgb=rgb)) is None

    def test_abstains_on_a_tiny_picture(self, hasher: Hasher) -> None:
        assert hasher.hash(natural_picture(8, 8, seed=1)) is None

    def test_reads_extreme_shapes(self, hasher: Hasher) -> None:
        for width, height in ((2000, 70), (70, 2000)):
            answer = hasher.hash(natural_picture(width, height, seed=2))
            assert answer is None or answer.algorithm == hasher.name
