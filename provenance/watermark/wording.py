"""What a reading of a mark says, in one line for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.types import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.types import MarkGeometry, WatermarkEvidence

__all__ = ["describe_reading"]

LEAST_TURN_DEG = 0.1
LEAST_CHANGE = 0.005
"""Below these a reader's estimate of an untouched picture wanders by itself."""


def describe_reading(evidence: WatermarkEvidence) -> str:
    """The reason, and how sure, how near to being lost, where, and what was done to the picture.

    No full stop, and no capital letter, which the reason may have.
    """
    return "; ".join([evidence.reason, *_details(evidence)])


def _details(evidence: WatermarkEvidence) -> Iterator[str]:
    if evidence.finding is Finding.ABSENT:
        return
    if evidence.p_value is not None:
        yield f"chance of a false report at most {evidence.p_value:.1e}"
    if evidence.margin is not None:
        yield f"margin {evidence.margin:.0%}"
    changes = [] if evidence.geometry is None else [*_changes(evidence.geometry)]
    if changes:
        yield f"since it was marked: {', '.join(changes)}"
    if evidence.region is not None:
        place = evidence.region
        yield (
            f"found in {place.width_px}x{place.height_px} pixels at "
            f"({place.left_px}, {place.top_px})"
        )


def _changes(geometry: MarkGeometry) -> Iterator[str]:
    if geometry.mirrored:
        yield "mirrored"
    turn = (geometry.rotation_deg + 180.0) % 360.0 - 180.0
    if abs(turn) >= LEAST_TURN_DEG:
        yield f"turned {abs(turn):.1f}° {'clockwise' if turn > 0 else 'counter-clockwise'}"
    if abs(geometry.scale - 1.0) >= LEAST_CHANGE:
        yield f"scale {geometry.scale:.2f}"
    if abs(geometry.stretch - 1.0) >= LEAST_CHANGE:
        yield f"width stretched by {geometry.stretch:.2f}"
    if abs(geometry.shear) >= LEAST_CHANGE:
        yield f"sheared by {geometry.shear:.2f}"
