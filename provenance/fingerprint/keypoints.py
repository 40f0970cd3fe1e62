"""ORB keypoints, through OpenCV where it is installed, else through scikit-image.

The base install has neither (docs/adr/0006): then there is no finder, and copies stay unverified.
Descriptors of the two libraries differ, so both pictures of a comparison are looked at by one of
them, and none is stored whole (docs/adr/0019); what is kept of OpenCV's, `words` says.

Source: Rublee, Rabaud, Konolige, Bradski, "ORB: an efficient alternative to SIFT or SURF", 2011.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from provenance.errors import BackendUnavailableError
from provenance.fingerprint.geometry import Keypoints

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

__all__ = ["INSTALL_HINT", "KeypointFinder", "find_library", "load_finder"]

MAX_KEYPOINTS = 640
MANY_KEYPOINTS = 1600
"""Of a registered picture: a query may show a tenth of it, enlarged."""
_CANDIDATES = 3500
_CELLS = 8
"""Corners are kept evenly: of many candidates the strongest of each of 8x8 cells. Letters laid over
a picture are stronger than all its own corners, and would take every place."""
_FAST_THRESHOLD = 10
"""Grey levels; OpenCV's own 20 finds few corners in soft and small pictures."""
_MARGIN_PX = 12
"""Nearer to the edge than this no corner is looked for, at each of eight scales. OpenCV's own 31
loses most of a crop at the coarse ones: of crops to 30 % of each side 33 % were verified, and 80 %
with 12 (30 pictures)."""
_MIN_SIDE_PX = 48

INSTALL_HINT = "pip install 'countermark[geometry]'"


class KeypointFinder(Protocol):
    """Finds the corners of a picture; the same ones each time."""

    def __call__(self, grey: npt.NDArray[np.uint8], *, at_most: int = MAX_KEYPOINTS) -> Keypoints:
        """Up to `at_most` corners of an (H, W) picture, spread evenly; none of a tiny one."""


def load_finder() -> KeypointFinder:
    """The finder of this installation.

    Raises:
        BackendUnavailableError: Neither library is installed; says what to do.
    """
    found = _load()
    if found is None:
        raise BackendUnavailableError(
            f"finding keypoints needs OpenCV or scikit-image; run: {INSTALL_HINT}"
        )
    return found[1]


def find_library() -> str | None:
    """``opencv`` or ``scikit-image``; None where neither can be imported."""
    found = _load()
    return None if found is None else found[0]


@lru_cache(maxsize=1)
def _load() -> tuple[str, KeypointFinder] | None:
    for name, load in (("opencv", _load_opencv), ("scikit-image", _load_scikit_image)):
        finder = load()
        if finder is not None:
            return name, finder
    return None


def _load_opencv() -> KeypointFinder | None:
    try:
        import cv2
    except (ImportError, AttributeError):  # the second where two wheels overwrote each other
        return None

    def find(grey: npt.NDArray[np.uint8], *, at_most: int = MAX_KEYPOINTS) -> Keypoints:
        if min(grey.shape) < _MIN_SIDE_PX:
            return _none()
        orb = cv2.ORB.create(
            nfeatures=_CANDIDATES, fastThreshold=_FAST_THRESHOLD, edgeThreshold=_MARGIN_PX
        )
        found, descriptors = orb.detectAndCompute(np.ascontiguousarray(grey), None)
        if not found:
            return _none()
        points = np.array([one.pt for one in found], dtype=np.float64)
        kept = _spread(points, np.array([one.response for one in found]), grey.shape, at_most)
        angles = np.array([one.angle for one in found], dtype=np.float32)
        return Keypoints(
            points[kept], np.asarray(descriptors, dtype=np.uint8)[kept], angles[kept] % 360
        )

    return find


def _load_scikit_image() -> KeypointFinder | None:
    try:
        from skimage.feature import ORB
    except ImportError:
        return None
    return _from_scikit_image(ORB)


def _from_scikit_image(orb_class: Callable[..., Any]) -> KeypointFinder:
    def find(grey: npt.NDArray[np.uint8], *, at_most: int = MAX_KEYPOINTS) -> Keypoints:
        if min(grey.shape) < _MIN_SIDE_PX:
            return _none()
        orb = orb_class(n_keypoints=_CANDIDATES, fast_threshold=_FAST_THRESHOLD / 255)
        try:
            orb.detect_and_extract(grey)
        except RuntimeError:  # it finds no corner at all
            return _none()
        points = np.asarray(orb.keypoints, dtype=np.float64)[:, ::-1]
        kept = _spread(points, np.asarray(orb.responses), grey.shape, at_most)
        descriptors = np.packbits(np.asarray(orb.descriptors, dtype=bool), axis=1)
        angles = np.degrees(np.asarray(orb.orientations)).astype(np.float32) % 360
        return Keypoints(points[kept], descriptors[kept], angles[kept])

    return find


def _spread(
    points: npt.NDArray[np.float64],
    strength: npt.NDArray[np.floating],
    shape: tuple[int, ...],
    at_most: int,
) -> npt.NDArray[np.intp]:
    """Indices of the corners to keep: the strongest of each cell, then the next of each."""
    cells = np.minimum((points / (shape[1], shape[0]) * _CELLS).astype(int), _CELLS - 1)
    cell = cells[:, 1] * _CELLS + cells[:, 0]
    order = np.lexsort((-strength, cell))
    first = np.searchsorted(cell[order], np.arange(_CELLS**2))
    rank = np.arange(len(order)) - first[cell[order]]
    return np.sort(order[np.argsort(rank, kind="stable")[:at_most]])


def _none() -> Keypoints:
    return Keypoints(
        np.empty((0, 2)), np.empty((0, 32), dtype=np.uint8), np.empty(0, dtype=np.float32)
    )
