"""What happens to a sample of a training set."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenance.types.verdicts import Verdict

__all__ = ["FilterAction", "FilterDecision"]


class FilterAction(StrEnum):
    """What happens to a sample of a training set."""

    KEEP = "keep"
    DROP = "drop"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class FilterDecision:
    """The one decision on one sample.

    Attributes:
        key: Sample key: path relative to the folder, with forward slashes.
        action: Keep, drop or review.
        reason_code: Short and stable, for counting, e.g. ``machine_made.registered``.
        verdict: None when the sample could not be read at all.
        detail: One sentence for a person.
        sha256: Of the bytes that were decided on; None when they could not be read.
    """

    key: str
    action: FilterAction
    reason_code: str
    verdict: Verdict | None
    detail: str = ""
    sha256: str | None = None
