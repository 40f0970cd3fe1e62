"""What may have happened to a picture's geometry, as a matrix.

A `Geometry` maps canonical pixels of the marked picture to pixels of the raster that is read, both
seen from their middles; shifts are left out, because a mark's start is found anyway. A line at
frequency f of the canonical picture stands at inverse-transpose(matrix) f of the raster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.watermark.codecs.lattice_carrier import TILE_PX

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Geometry", "line_frequencies", "similarity_matrices"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Mirror first, then stretch and shear, then scale, then rotation.

    Attributes:
        mirrored: Left and right were exchanged.
        angle: Rotation, radians, anticlockwise as seen on the screen if negative.
        scale: Raster pixels per canonical pixel.
        stretch: Across is longer than down by this factor; both by its root.
        shear: Pixels across per pixel down.
    """

    mirrored: bool = False
    angle: float = 0.0
    scale: float = 1.0
    stretch: float = 1.0
    shear: float = 0.0

    def matrix(self) -> npt.NDArray[np.float64]:
        """(2, 2): (down, across) of the canonical picture to (down, across) of the raster."""
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        root = math.sqrt(self.stretch)
        bend = np.array([[1 / root, 0.0], [self.shear, root]])
        mirror = np.diag([1.0, -1.0 if self.mirrored else 1.0])
        matrix: npt.NDArray[np.float64] = self.scale * turn @ bend @ mirror
        return matrix


def similarity_matrices(
    angles: npt.NDArray[np.floating], scales: npt.NDArray[np.floating], *, mirrored: bool
) -> npt.NDArray[np.float64]:
    """(n, 2, 2) matrices of many rotations and scales, as `Geometry.matrix` makes one."""
    cosine, sine = scales * np.cos(angles), scales * np.sin(angles)
    across = -1.0 if mirrored else 1.0
    rows = [cosine, across * sine, -sine, across * cosine]
    return np.stack(rows, axis=-1).reshape(-1, 2, 2)


def line_frequencies(
    matrices: npt.NDArray[np.float64], points: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Frequencies of lattice points: (..., n, 2) cycles per raster pixel.

    Args:
        matrices: (..., 2, 2) geometries.
        points: (n, 2) lattice points.
    """
    inverse = np.linalg.inv(matrices)
    frequencies: npt.NDArray[np.float64] = (points / TILE_PX) @ inverse
    return frequencies
