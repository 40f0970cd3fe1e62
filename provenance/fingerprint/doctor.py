"""The line of ``countermark doctor`` on verifying copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.fingerprint.keypoints import INSTALL_HINT, find_library
from provenance.types import HealthCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_copies"]

_NAME = "verifying copies"


def check_copies() -> Sequence[HealthCheck]:
    """Whether some library finds keypoints, without which copies stay unverified."""
    library = find_library()
    if library is None:
        return [
            HealthCheck(
                _NAME,
                ok=False,
                detail="neither OpenCV nor scikit-image is here: cropped and pasted copies of "
                "registered pictures are not found",
                remedy=INSTALL_HINT,
                optional=True,
            )
        ]
    less = (
        ""
        if library == "opencv"
        else ", about a second for each picture that is compared, and no keypoint words: of large "
        "registries crops are not found; OpenCV does both"
    )
    return [HealthCheck(_NAME, ok=True, detail=f"keypoints by {library}{less}")]
