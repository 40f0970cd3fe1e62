"""Whether one picture lies in another, point by point and block by block. Pure.

Keypoints of both pictures are matched, a movement that carries many of them at once is sought
(RANSAC: moved, turned and scaled; then also stretched and sheared), and the two pictures are laid
over each other and compared block by block. Same arguments, same answer: the chances are drawn
from a fixed seed.

Sources: Lowe, IJCV 60(2), 2004, for the ratio test; Fischler and Bolles, CACM 24(6), 1981, for
RANSAC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = [
    "Alignment",
    "Keypoints",
    "align",
    "measure_agreement",
]

Points: TypeAlias = npt.NDArray[np.float64]
Grey: TypeAlias = npt.NDArray[np.uint8]

MAX_RATIO = 0.8
"""A match counts when its distance is below this share of the second best one's (Lowe's value)."""
MAX_DISTANCE_BITS = 80
"""Of 256: descriptors of unrelated points differ in 128 on average, in 90 and less hardly ever."""
TOLERANCE_PX = 4.0
"""How far a carried point may lie from its match; keypoints themselves jitter by a pixel or two."""
TRIALS = 400
"""Draws of RANSAC: with a quarter of the matches right, two right ones come up 25 times, three
six times."""
MAX_SCALE = 12.0
MIN_SCALE = 1.0 / 12.0
MAX_STRETCH = 2.5
"""Copies are scaled and squeezed within these; beyond, a movement crushes all points into one."""
CELL_PX = 4.0
"""Points of one cell count once: corner detectors find one corner at several scales."""

BLOCK_PX = 16
MIN_CORRELATION = 0.6
"""From which normalised correlation a block agrees (measured with these figures; docs/adr/0019)."""
MIN_CONTRAST = 3.0
"""Standard deviation, grey levels, below which a block is too flat to be compared."""
MIN_BLOCKS = 12
"""Fewer textured blocks in the overlap say nothing."""
SMOOTHING_PX = 1.5
"""Both are blurred so first: an honest copy may have lost its finest detail to scaling."""

_SEED = 20261129


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """Corners of one picture.

    Attributes:
        points: (N, 2) float64, x and y, pixels from the top left corner.
        descriptors: (N, 32) uint8, 256 bits each; lower Hamming distance is more alike.
        angles: (N,) float32, degrees 0..360: the direction of each corner.
    """

    points: Points
    descriptors: npt.NDArray[np.uint8]
    angles: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The movement that carries one picture's points onto the other's.

    Attributes:
        matrix: (2, 3) float64: x', y' = matrix @ (x, y, 1), from reference to query pixels.
        inliers: Matches that it carries, each place counted once.
    """

    matrix: Points
    inliers: int


def align(reference: Keypoints, query: Keypoints, *, at_least: int = 3) -> Alignment | None:
    """The movement that carries most of the reference's points; None where none carries three.

    Args:
        reference: Of the registered picture.
        query: Of the picture under examination.
        at_least: With fewer matches no movement is sought: most pictures end here, cheaply.
    """
    pairs = _match(reference.descriptors, query.descriptors)
    if len(pairs) < max(3, at_least):
        return None
    start, end = reference.points[pairs[:, 0]], query.points[pairs[:, 1]]
    random = np.random.default_rng(_SEED)
    similar = _similarities(start, end, random.integers(0, len(pairs), (TRIALS, 2)))
    affine = _affinities(start, end, random.integers(0, len(pairs), (TRIALS, 3)))
    best = _best(np.concatenate((similar, affine)), start, end)
    return None if best is None else _refine(best, start, end)


def _match(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """(M, 2) indices: each other's best match, clearly better than the second best."""
    if len(first) < 2 or len(second) < 2:
        return np.empty((0, 2), dtype=np.intp)
    distances = _hamming(first, second)
    rows = np.arange(len(first))
    best = distances.argmin(axis=1)
    nearest = distances[rows, best]
    mutual = distances.argmin(axis=0)[best] == rows
    distances[rows, best] = 1 << 14
    clear = nearest < MAX_RATIO * distances.min(axis=1)
    kept = np.flatnonzero(mutual & clear & (nearest <= MAX_DISTANCE_BITS))
    return np.stack((kept, best[kept]), axis=1)


def _hamming(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """(N, M) differing bits; as a product of matrices of ±1, which is faster than counting."""
    signs = [np.unpackbits(one, axis=1).astype(np.float32) * 2 - 1 for one in (first, second)]
    bits = signs[0].shape[1]
    differing: npt.NDArray[np.int16] = ((bits - signs[0] @ signs[1].T) / 2).astype(np.int16)
    return differing


def _similarities(start: Points, end: Points, chosen: npt.NDArray[np.intp]) -> Points:
    """(T, 2, 3) movements that turn, scale and shift; as multiplication of complex numbers."""
    from_, to = start @ (1, 1j), end @ (1, 1j)
    span = from_[chosen[:, 1]] - from_[chosen[:, 0]]
    usable = np.abs(span) > CELL_PX
    chosen, span = chosen[usable], span[usable]
    turn = (to[chosen[:, 1]] - to[chosen[:, 0]]) / span
    shift = to[chosen[:, 0]] - turn * from_[chosen[:, 0]]
    matrices = np.empty((len(turn), 2, 3))
    matrices[:, 0] = np.stack((turn.real, -turn.imag, shift.real), axis=1)
    matrices[:, 1] = np.stack((turn.imag, turn.real, shift.imag), axis=1)
    return matrices


def _affinities(start: Points, end: Points, chosen: npt.NDArray[np.intp]) -> Points:
    """(T, 2, 3) movements through three matches each."""
    corners = np.concatenate((start[chosen], np.ones((*chosen.shape, 1))), axis=2)
    areas = np.abs(np.linalg.det(corners))
    usable = areas > 16 * CELL_PX**2
    solved = np.linalg.solve(corners[usable], end[chosen[usable]])
    matrices: Points = np.swapaxes(solved, 1, 2)
    return matrices


def _best(matrices: Points, start: Points, end: Points) -> Points | None:
    """The first of those that carry most matches, and that a copy may undergo."""
    matrices = matrices[_is_usual(matrices)]
    if not len(matrices):
        return None
    carried = np.einsum("tij,nj->tni", matrices[:, :, :2], start) + matrices[:, None, :, 2]
    near = ((carried - end) ** 2).sum(axis=2) <= TOLERANCE_PX**2
    best: Points = matrices[near.sum(axis=1).argmax()]
    return best


def _is_usual(matrices: Points) -> npt.NDArray[np.bool_]:
    """(T,) whether a movement neither mirrors nor crushes nor stretches beyond the bounds."""
    turns = matrices[:, :, :2]
    area = turns[:, 0, 0] * turns[:, 1, 1] - turns[:, 0, 1] * turns[:, 1, 0]
    # Singular values of a 2x2 matrix: their squares have the sum and the product of these.
    total = (turns**2).sum(axis=(1, 2))
    longest = np.sqrt((total + np.sqrt(np.maximum(total**2 - 4 * area**2, 0.0))) / 2)
    # A mirrored query is tried as a picture of its own.
    usual: npt.NDArray[np.bool_] = (
        (area >= MIN_SCALE**2)
        & (longest <= MAX_SCALE)
        & (longest**2 <= MAX_STRETCH * np.maximum(area, 1e-12))
    )
    return usual


def _refine(matrix: Points, start: Points, end: Points) -> Alignment | None:
    """Fits all that the movement carries, twice, by least squares."""
    inside = _carried(matrix, start, end)
    for _ in range(2):
        if inside.sum() < 3:
            return None
        ones = np.concatenate((start[inside], np.ones((int(inside.sum()), 1))), axis=1)
        solved, _, rank, _ = np.linalg.lstsq(ones, end[inside], rcond=None)
        if rank < 3:
            return None
        fitted: Points = np.asarray(solved.T, dtype=np.float64)
        again = _carried(fitted, start, end)
        if again.sum() < inside.sum() or not _is_usual(fitted[None])[0]:
            break
        matrix, inside = fitted, again
    return Alignment(matrix, min(_places(start[inside]), _places(end[inside])))


def _carried(matrix: Points, start: Points, end: Points) -> npt.NDArray[np.bool_]:
    away = start @ matrix[:, :2].T + matrix[:, 2] - end
    near: npt.NDArray[np.bool_] = (away**2).sum(axis=1) <= TOLERANCE_PX**2
    return near


def _places(points: Points) -> int:
    return len(np.unique(np.floor(points / CELL_PX), axis=0))


def measure_agreement(reference: Grey, query: Grey, alignment: Alignment) -> float | None:
    """Share of the blocks that show the same in both pictures, where they overlap.

    Args:
        reference: (H, W) uint8 luma of the registered picture.
        query: (h, w) uint8 luma of the other.
        alignment: From reference to query pixels.

    Returns:
        0..1, higher agrees more; None where less than `MIN_BLOCKS` blocks can be compared.
    """
    laid, seen = _lay_over(query, alignment.matrix, (reference.shape[0], reference.shape[1]))
    ours = _blocks(ndimage.gaussian_filter(reference.astype(np.float32), SMOOTHING_PX))
    theirs = _blocks(ndimage.gaussian_filter(laid, SMOOTHING_PX))
    whole = _blocks(seen.astype(np.float32)).min(axis=(1, 2)) > 0
    ours, theirs = ours[whole], theirs[whole]
    ours = ours - ours.mean(axis=(1, 2), keepdims=True)
    theirs = theirs - theirs.mean(axis=(1, 2), keepdims=True)
    spread, other = ours.std(axis=(1, 2)), theirs.std(axis=(1, 2))
    # Flat in both says nothing; flat in one alone is a difference.
    textured = np.maximum(spread, other) >= MIN_CONTRAST
    if int(textured.sum()) < MIN_BLOCKS:
        return None
    product = (ours * theirs).mean(axis=(1, 2))[textured]
    scale = np.maximum(spread * other, MIN_CONTRAST**2 / 16)[textured]
    return float((product / scale > MIN_CORRELATION).mean())


def _lay_over(
    query: Grey, matrix: Points, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The query in the reference's frame, and where it covers it."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    source = query.astype(np.float32)
    if scale > 1.5:  # one pixel of the reference sees several of the query
        source = ndimage.gaussian_filter(source, 0.5 * scale)
    # ndimage thinks in rows and columns: x and y change places on both sides.
    turned = matrix[::-1, [1, 0, 2]]
    laid = ndimage.affine_transform(
        source, turned[:, :2], offset=turned[:, 2], output_shape=shape, order=1, cval=-1.0
    )
    return np.maximum(laid, 0.0), laid >= 0.0


def _blocks(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(N, 16, 16); what is left over at right and below is dropped."""
    rows, columns = plane.shape[0] // BLOCK_PX, plane.shape[1] // BLOCK_PX
    cut = plane[: rows * BLOCK_PX, : columns * BLOCK_PX]
    blocks = cut.reshape(rows, BLOCK_PX, columns, BLOCK_PX).swapaxes(1, 2)
    return blocks.reshape(-1, BLOCK_PX, BLOCK_PX)
