"""Whether blocks of a picture carry a known message: a matched filter that structure cannot fool.

Pure. Counting agreeing bits is wrong: bits of unmarked pictures are neither fair nor independent
(grey decodes to zeros alone, and at 512 pixels each of 64 bits *is* a column of blocks). So:

1. Each block's value becomes a soft bit, less its neighbourhood's mean: the picture's own bias.
2. Soft bits are summed for each bit of the message: as many independent numbers as the message has
   bits, however many blocks a pattern of the picture repeats.
3. They are correlated with the message, r, as are what is left of both when all that repeats with
   any period dividing the message's length is taken out: columns, stripes and tiles lie in there,
   and so does what all ASCII texts share. The weakest r counts.
4. Fisher's transform, atanh(r) sqrt(n - 3), is about normal without a mark whatever the length n.

A mark may come out inverted where U is negative; then r is negative on all counts.

Source: Fisher, "On the 'probable error' of a coefficient of correlation", Metron 1, 1921. That
block-wise filters need 2 and 3 was measured: on stripes they reach 40 standard deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from provenance.watermark.codecs.dwt_reading import STEP

if TYPE_CHECKING:
    from provenance.watermark.codecs.haar_planes import Real

__all__ = ["NO_MATCH", "Match", "Template", "live_share", "match_message", "search", "soften"]

_Real: TypeAlias = npt.NDArray[np.float64]
_Complex: TypeAlias = npt.NDArray[np.complex128]

_NEIGHBOURHOOD_BLOCKS = 7
"""Side of the square whose mean is taken off: small against a picture's shapes, and large against
one block, so that a mark loses a fiftieth of itself."""

_LIVE = 0.05
"""Soft bits differ by more where a picture has any colour: a level of U moves them by 0.35."""

_SILENCE = 1e-9
"""Energies below it are rounding."""

_CANDIDATES = 8
"""Of a search, how many are looked at in full; the first correlation alone orders them."""


@dataclass(frozen=True)
class Template:
    """A message to look for.

    Attributes:
        bits: Its bits, at least four, not all alike.
    """

    bits: tuple[bool, ...]

    @cached_property
    def spectrum(self) -> _Complex:
        """(n // 2 + 1,) conjugate spectrum of the message."""
        return np.conj(np.fft.rfft(np.array(self.bits, dtype=np.float64)))

    @cached_property
    def rests(self) -> _Real:
        """(periods, n // 2 + 1): which waves are left when a period is taken out, and how often.

        A period d, proper divisor of n, takes multiples of n / d; 1 takes the mean. All others
        count twice, for their mirror image in a real spectrum, but the highest of an even length.
        """
        size = len(self.bits)
        periods = [period for period in range(1, size // 2 + 1) if size % period == 0]
        waves = np.arange(size // 2 + 1)
        left = np.array([waves % (size // period) != 0 for period in periods])
        return left * np.where(2 * waves == size, 1.0, 2.0)

    @cached_property
    def energies(self) -> _Real:
        """(periods,) of the message's rests."""
        energies: _Real = self.rests @ np.abs(self.spectrum) ** 2
        return energies


@dataclass(frozen=True, slots=True)
class Match:
    """How well a message fits.

    Attributes:
        statistic: 0 or higher; higher speaks for the mark.
        inverted: Whether it is there with all bits turned round.
    """

    statistic: float
    inverted: bool


NO_MATCH = Match(0.0, inverted=False)


def soften(values: Real) -> _Real:
    """Soft bits of blocks, free of the picture's own bias.

    Args:
        values: (rows, columns), as `dwt_reading.measure_blocks` answers.

    Returns:
        (rows, columns) float64 in -2..2; positive speaks for a 1.
    """
    soft = -np.sin((2.0 * np.pi / STEP) * values.astype(np.float64))
    debiased: _Real = soft - ndimage.uniform_filter(soft, _NEIGHBOURHOOD_BLOCKS, mode="reflect")
    return debiased


def live_share(soft: _Real) -> float:
    """Share of blocks, 0..1, that say anything; near 0 for grey and for flat pictures."""
    return float((np.abs(soft) > _LIVE).mean()) if soft.size else 0.0


def match_message(soft: _Real, template: Template) -> Match:
    """Fits a message that begins in the first block and runs on row by row.

    Args:
        soft: (rows, columns) soft bits.
        template: What to look for.
    """
    size = len(template.bits)
    index = np.arange(soft.size) % size
    sums = np.bincount(index, weights=soft.ravel(), minlength=size)
    return _fit(np.fft.rfft(sums)[None], template)


def search(soft: _Real, template: Template) -> Match:
    """Fits a message at any start, whatever the width of the picture that this was cut from.

    A block r rows down and c to the right carries bit (start + r stride + c) mod n. Blocks are
    added up by (r mod n, c mod n); the Fourier transform of that square holds the bit sums of every
    stride, and one more transform correlates them with every start.

    Args:
        soft: (rows, columns) soft bits.
        template: What to look for.
    """
    size = len(template.bits)
    plane = np.fft.rfft2(_fold(soft, size))
    waves = np.arange(size // 2 + 1)
    sums = plane[np.outer(np.arange(size), waves) % size, waves]
    length = np.sqrt(np.abs(sums) ** 2 @ template.rests[0])
    likeness = np.abs(np.fft.irfft(sums * template.spectrum, size, axis=1))
    likeness /= np.maximum(length, _SILENCE)[:, None]
    best = np.argpartition(likeness, -_CANDIDATES, axis=None)[-_CANDIDATES:]
    strides, starts = np.divmod(best, size)
    turned = sums[strides] * np.exp(2j * np.pi / size * np.outer(starts, waves))
    return _fit(turned, template)


def _fold(soft: _Real, size: int) -> _Real:
    rows, columns = soft.shape
    wide = np.zeros((rows, -(-columns // size) * size))
    wide[:, :columns] = soft
    narrow = wide.reshape(rows, -1, size).sum(axis=1)
    tall = np.zeros((-(-rows // size) * size, size))
    tall[:rows] = narrow
    folded: _Real = tall.reshape(-1, size, size).sum(axis=0)
    return folded


def _fit(sums: _Complex, template: Template) -> Match:
    """Steps 3 and 4 of the module's docstring; the best of several.

    Args:
        sums: (candidates, n // 2 + 1) spectra of bit sums.
        template: What to look for.
    """
    agreement = (sums * template.spectrum).real @ template.rests.T
    energies = (np.abs(sums) ** 2 @ template.rests.T) * template.energies
    found = agreement / np.sqrt(np.maximum(energies, _SILENCE))
    inverted = found[:, 0] < 0.0
    weakest = np.where(inverted[:, None], -found, found).min(axis=1)
    best = int(weakest.argmax())
    bounded = float(np.clip(weakest[best], 0.0, 1.0 - 1e-12))
    statistic = math.atanh(bounded) * math.sqrt(len(template.bits) - 3)
    return Match(statistic, inverted=bool(inverted[best]))
