"""PDQ, Meta's 256-bit perceptual hash, in NumPy.

The picture's luma is blurred and sampled at 64x64 points; the signs of its 16x16 lowest cosine
coefficients against their median are the hash. Blur, sampling and transform are linear and
separable, so each is one small matrix per side.

Every picture is first brought to 512x512 pixels, registered and questioned pictures alike: PDQ of
one picture at two sizes differs by 6 bits in the median and by up to 16, which a threshold would
have to pay for.

Source: Meta, "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm"
(hashing.pdf of ThreatExchange), and its C++ reference, pdq/cpp/hashing/pdqhashing.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from provenance.types import PerceptualHash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.types import RasterImage

__all__ = ["CANONICAL_SIDE_PX", "PdqHasher", "canonical_pixels"]

_Real: TypeAlias = npt.NDArray[np.float64]

CANONICAL_SIDE_PX = 512
"""The reference implementation, too, brings larger pictures to 512x512 before it hashes."""

_SAMPLES = 64
_FREQUENCIES = 16
_BOX_PASSES = 2
_BOXES_PER_SIDE = 2 * _SAMPLES
"""The reference's constants: 64x64 samples, frequencies 1..16, two passes of a box as wide as half
the distance between two samples."""

_GRADIENT_UNIT = 90
"""Divisor of the reference's quality: sum of absolute gradients in per cent of full contrast."""


@dataclass(frozen=True, slots=True)
class PdqHasher:
    """Hashes pictures; see `interfaces.Hasher`.

    Attributes:
        name: PDQ, version 1 of this canonical size.
        min_side_px: Below it there are fewer pixels than samples.
        min_quality: Below it the picture is too flat for its hash to say anything. From 10 on, a
            re-save at half size as JPEG 60 moved at most 22 bits of low-contrast pictures; at 0 up
            to 98, which is near chance. The authors' own bound of 50 is about *searching* and
            stands in `similarity.SEARCH_MIN_QUALITY`.
    """

    name: str = "pdq-1"
    min_side_px: int = _SAMPLES
    min_quality: int = 10

    def hash(self, image: RasterImage) -> PerceptualHash | None:
        """The hash, or None when the picture is too flat or too small."""
        return self.hash_batch((image,))[0]

    def hash_batch(self, images: Sequence[RasterImage]) -> tuple[PerceptualHash | None, ...]:
        """As `hash`, one answer a picture, in order; one transform for all of them."""
        answers: list[PerceptualHash | None] = [None] * len(images)
        samples: list[tuple[int, _Real, int]] = []
        for place, image in enumerate(images):
            if image.min_side_px < self.min_side_px:
                continue
            one = _sample_luma(canonical_pixels(image))
            quality = _measure_quality(one)
            if quality >= self.min_quality:
                samples.append((place, one, quality))
        if samples:
            stack = _transform(np.stack([one for _, one, _ in samples]))
            for (place, _, quality), coefficients in zip(samples, stack, strict=True):
                answers[place] = self._pack(coefficients, quality)
        return tuple(answers)

    def hash_variants(self, image: RasterImage) -> tuple[PerceptualHash, ...]:
        """Hashes of the picture in its eight rotations and reflections, itself first.

        Returns:
            Eight hashes, from one transform; none when `hash` would answer None.
        """
        if image.min_side_px < self.min_side_px:
            return ()
        samples = _sample_luma(canonical_pixels(image))
        quality = _measure_quality(samples)
        if quality < self.min_quality:
            return ()
        # Reversing a side changes the sign of its odd cosine coefficients, and index 0 is
        # frequency 1.
        flip = np.where(np.arange(_FREQUENCIES) % 2 == 0, -1.0, 1.0)
        upright = _transform(samples)
        variants = [
            turned * across * down
            for turned in (upright, upright.T)
            for down in (1.0, flip[:, None])
            for across in (1.0, flip[None, :])
        ]
        return tuple(self._pack(variant, quality) for variant in variants)

    def _pack(self, coefficients: _Real, quality: int) -> PerceptualHash:
        """Bits row by row, packed as the reference prints them: last bit first."""
        flat = coefficients.ravel()
        bits = flat > np.partition(flat, flat.size // 2 - 1)[flat.size // 2 - 1]  # lower median
        return PerceptualHash(self.name, np.packbits(bits[::-1]).tobytes().hex(), quality)


def canonical_pixels(image: RasterImage) -> npt.NDArray[np.uint8]:
    """(512, 512, 3) uint8 RGB, resampled with an anti-aliased triangle filter; aspect is given up.

    PDQ samples a fixed grid and never keeps the aspect.
    """
    side = CANONICAL_SIDE_PX
    if (image.width_px, image.height_px) == (side, side):
        return image.pixels
    resized = Image.fromarray(image.pixels).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _sample_luma(rgb: npt.NDArray[np.uint8]) -> _Real:
    """(64, 64) blurred luma, 0..255 (BT.601 weights)."""
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    samples: _Real = _sampler(rgb.shape[0]) @ luma @ _sampler(rgb.shape[1]).T
    return samples


@lru_cache(maxsize=2)
def _sampler(length: int) -> _Real:
    """(64, length) the reference's blur (boxes cut off at the border) and its sampling points."""
    window = -(-length // _BOXES_PER_SIDE)
    ahead = (window + 2) // 2
    positions = np.arange(length)
    offsets = positions[None, :] - positions[:, None]
    box = ((offsets >= ahead - window) & (offsets < ahead)).astype(np.float64)
    box /= box.sum(axis=1, keepdims=True)
    points = ((np.arange(_SAMPLES) + 0.5) * length / _SAMPLES).astype(int)
    sampler: _Real = np.linalg.matrix_power(box, _BOX_PASSES)[points]
    return sampler


@lru_cache(maxsize=1)
def _cosines() -> _Real:
    """(16, 64) cosine transform, frequencies 1..16."""
    frequency = np.arange(1, _FREQUENCIES + 1)[:, None]
    position = 2 * np.arange(_SAMPLES)[None, :] + 1
    cosines: _Real = np.sqrt(2.0 / _SAMPLES) * np.cos(np.pi / (2 * _SAMPLES) * frequency * position)
    return cosines


def _transform(samples: _Real) -> _Real:
    """(..., 64, 64) samples to (..., 16, 16) coefficients."""
    coefficients: _Real = _cosines() @ samples @ _cosines().T
    return coefficients


def _measure_quality(samples: _Real) -> int:
    """0..100: sum of the gradients between neighbouring samples; 0 for a flat picture."""
    steps = (np.diff(samples, axis=0), np.diff(samples, axis=1))
    total = sum(int(np.abs(np.trunc(step * 100 / 255)).sum()) for step in steps)
    return min(100, total // _GRADIENT_UNIT)
