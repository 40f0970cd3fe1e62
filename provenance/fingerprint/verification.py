"""Geometric verification: is this picture, or a part of it, that record's picture?

Of a record only a small grey thumbnail is needed (docs/adr/0019). Keypoints of both are found anew,
by the same library.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from provenance.errors import BackendUnavailableError, RegistryError
from provenance.fingerprint.geometry import Alignment, Keypoints, align, measure_agreement
from provenance.fingerprint.keypoints import MANY_KEYPOINTS, find_library, load_finder
from provenance.fingerprint.similarity import VERIFIED_MIN_INLIERS
from provenance.types import RasterImage

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.fingerprint.keypoints import KeypointFinder

__all__ = [
    "THUMBNAIL_SIDE_PX",
    "GeometryVerifier",
    "Look",
    "PreparedQuery",
    "Verification",
    "bound_size",
    "load_verifier",
    "make_thumbnail",
    "read_thumbnail",
]

Grey: TypeAlias = npt.NDArray[np.uint8]

THUMBNAIL_SIDE_PX = 512
"""Longest side; below 400, half-size crops were verified less often."""
_THUMBNAIL_QUALITY = 60
"""WebP; about 10 KB. Keypoints of the query were re-encoded too, mostly worse than that."""
_QUERY_SIDE_PX = 800
"""A copy that fills a quarter of the query is still as large as the thumbnail's half."""
_SLOW_QUERY_SIDE_PX = 512
"""For scikit-image: a second of one core for each look, forty times OpenCV's."""
_MIN_KEYPOINTS = 4 * VERIFIED_MIN_INLIERS
"""With fewer points on either side, that few agree says nothing against a copy."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One picture, as keypoints see it.

    Attributes:
        grey: (H, W) uint8 luma.
        keypoints: Of `grey`.
    """

    grey: Grey
    keypoints: Keypoints


class PreparedQuery:
    """The picture under examination, as it is and mirrored: keypoints are not mirror images.

    Args:
        grey: (H, W) uint8 luma.
        look: Finds its keypoints; asked for the mirrored ones when they are first needed.
    """

    def __init__(self, grey: Grey, look: Callable[[Grey], Look]) -> None:
        self.upright = look(grey)
        self._look = look
        self._mirrored: Look | None = None

    @property
    def mirrored(self) -> Look:
        """The mirror image."""
        if self._mirrored is None:
            self._mirrored = self._look(np.ascontiguousarray(self.upright.grey[:, ::-1]))
        return self._mirrored


@dataclass(frozen=True, slots=True)
class Verification:
    """What geometry says of one comparison.

    Attributes:
        inliers: Keypoints that one movement carries; None where the pictures have too few to tell.
        agreement: Share of blocks that show the same, 0..1; None where it was not reached.
        is_mirrored: Whether the query agrees mirrored.
    """

    inliers: int | None
    agreement: float | None = None
    is_mirrored: bool = False


def make_thumbnail(image: RasterImage) -> bytes:
    """A grey WebP of at most 512 pixels: all that verification keeps of a registered picture."""
    out = io.BytesIO()
    _shrink(image, THUMBNAIL_SIDE_PX).save(out, "WEBP", quality=_THUMBNAIL_QUALITY, method=4)
    return out.getvalue()


def bound_size(image: RasterImage, side_px: int) -> RasterImage:
    """The picture, made smaller where its longer side has more pixels than that."""
    if max(image.width_px, image.height_px) <= side_px:
        return image
    smaller = Image.fromarray(image.pixels)
    smaller.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return RasterImage(np.array(smaller))


def read_thumbnail(data: bytes) -> Grey:
    """(H, W) uint8 luma of a kept thumbnail.

    Raises:
        RegistryError: The bytes are none.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP",)) as opened:
            if max(opened.size) > THUMBNAIL_SIDE_PX:
                raise RegistryError("a kept thumbnail is larger than thumbnails are")
            return np.array(opened.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise RegistryError(f"a kept thumbnail does not decode: {error}") from error


def load_verifier() -> GeometryVerifier | None:
    """The verifier of this installation; None where no library finds keypoints."""
    try:
        find = load_finder()
    except BackendUnavailableError:
        return None
    return GeometryVerifier(find, is_quick=find_library() == "opencv")


class GeometryVerifier:
    """Compares pictures point by point and block by block; the same answer each time.

    Args:
        find: Finds keypoints.
        is_quick: Whether it takes milliseconds; else queries are looked at in less detail, and
            callers should compare few pictures.
    """

    def __init__(self, find: KeypointFinder, *, is_quick: bool = True) -> None:
        self._find = find
        self.is_quick = is_quick

    def prepare_query(self, image: RasterImage) -> PreparedQuery:
        """Looks at a picture once, for any number of comparisons."""
        side_px = _QUERY_SIDE_PX if self.is_quick else _SLOW_QUERY_SIDE_PX
        return PreparedQuery(np.array(_shrink(image, side_px)), self._look_twice)

    def _look_twice(self, grey: Grey) -> Look:
        """At half the size once more.

        A query may show the reference enlarged; then its own finest corners take all the places.
        """
        near = self._find(grey)
        half = Image.fromarray(grey).reduce(2) if min(grey.shape) > 1 else Image.fromarray(grey)
        far = self._find(np.array(half))
        return Look(
            grey,
            Keypoints(
                np.concatenate((near.points, 2.0 * far.points + 0.5)),
                np.concatenate((near.descriptors, far.descriptors)),
                np.concatenate((near.angles, far.angles)),
            ),
        )

    def look(self, grey: Grey) -> Look:
        """A registered picture, (H, W) uint8 luma, with its keypoints."""
        return Look(grey, self._find(grey, at_most=MANY_KEYPOINTS))

    def verify(self, reference: Look, query: PreparedQuery) -> Verification:
        """Compares a registered picture with the query, upright and mirrored."""
        fewest = min(len(reference.keypoints), len(query.upright.keypoints))
        if fewest < _MIN_KEYPOINTS:
            return Verification(None)
        best = Verification(0)
        for is_mirrored in (False, True):
            look = query.mirrored if is_mirrored else query.upright
            found = align(reference.keypoints, look.keypoints, at_least=VERIFIED_MIN_INLIERS)
            if found is not None and found.inliers > (best.inliers or 0):
                best = _agree(reference, look, found, is_mirrored=is_mirrored)
            if (best.inliers or 0) >= 2 * VERIFIED_MIN_INLIERS:
                break  # no picture agrees both ways
        return best


def _agree(reference: Look, query: Look, found: Alignment, *, is_mirrored: bool) -> Verification:
    if found.inliers < VERIFIED_MIN_INLIERS:
        return Verification(found.inliers, None, is_mirrored)
    agreement = measure_agreement(reference.grey, query.grey, found)
    return Verification(found.inliers, agreement, is_mirrored)


def _shrink(image: RasterImage, side_px: int) -> Image.Image:
    grey = Image.fromarray(image.pixels).convert("L")
    grey.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    return grey
