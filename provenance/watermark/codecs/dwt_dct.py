"""The codec ``dwtDct`` of invisible-watermark: one bit in the largest coefficient of each block.

Kept because many services use it. It is fragile: JPEG at quality 90 already destroys most of it,
because compression changes which coefficient is the largest. (Despite its name the package applies
no DCT here.) Embedding runs the package's own quantiser; reading is NumPy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.types import Resave
from provenance.watermark.codecs import haar_blocks

if TYPE_CHECKING:
    from provenance.types import BitArray, Float32Array, RasterImage

__all__ = ["DwtDctCodec", "largest_coefficients"]

_Real: TypeAlias = npt.NDArray[np.float64]

_STEPS = (36.0, 50.5, 84.0)
"""Quantiser steps, gentle to strong; 36 is the package's own.

A grey block (U = 128) has sixteen coefficients of 256. At these steps 256 lies just above a whole
number of steps (7.1, 5.1 and 3.05), so that both bits raise the chosen coefficient and it stays the
largest; where they lower it, the reader looks at another one.
"""


@dataclass(frozen=True, slots=True)
class DwtDctCodec:
    """Reads and writes marks in the blue-difference plane; see `interfaces.WatermarkCodec`."""

    name: str = "dwtDct"
    alg: str = "dwtdct.1"
    min_side_px: int = haar_blocks.MIN_SIDE_PX
    strengths: tuple[float, ...] = _STEPS
    endures: tuple[Resave, ...] = (Resave(quality=75),)

    def capacity_bits(self, width_px: int, height_px: int) -> int:
        """Number of 8x8 blocks; 0 under the minimum size."""
        return haar_blocks.block_count(width_px, height_px)

    def embed(self, image: RasterImage, bits: BitArray, *, strength: float) -> RasterImage:
        """Returns a copy that carries `bits`; `strength` is the quantiser step.

        Raises:
            CapacityError: The picture is too small, or `bits` has another length.
            BackendUnavailableError: invisible-watermark is not installed.
        """
        haar_blocks.check_bits(self.name, image=image, bits=bits)
        # Here, not above: reading a mark must need neither torch nor cv2.
        from provenance.watermark.codecs import imwatermark_adapter

        quantise = partial(imwatermark_adapter.quantise_largest_coefficients, step=strength)
        return haar_blocks.write_blocks(image, bits, quantise)

    def extract(self, image: RasterImage, *, strength: float) -> Float32Array:
        """Soft bits, one per block; empty when the picture is too small."""
        values = haar_blocks.read_blocks(image, largest_coefficients)
        return haar_blocks.soften_steps(values, step=strength)

    def extract_each(self, image: RasterImage) -> Float32Array:
        """See `interfaces.OneLookCodec`: the steps differ, what they are steps of does not."""
        values = haar_blocks.read_blocks(image, largest_coefficients)
        return np.stack([haar_blocks.soften_steps(values, step=s) for s in self.strengths])


def largest_coefficients(blocks: _Real) -> _Real:
    """(n,) largest absolute value of each (4, 4) block, its first element left out."""
    largest: _Real = np.abs(blocks.reshape(len(blocks), 16)[:, 1:]).max(axis=1)
    return largest
