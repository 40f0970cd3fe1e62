"""What is answered: origin, assurance, reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from provenance.types.base import RecordId, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.types.evidence import Evidence

__all__ = ["Assurance", "Contradiction", "Origin", "Statement", "Verdict"]


class Origin(StrEnum):
    """What a verdict says of a picture."""

    MACHINE_MADE = "machine_made"
    MACHINE_EDITED = "machine_edited"
    HUMAN_CLAIMED = "human_claimed"
    CAPTURE_CLAIMED = "capture_claimed"
    CONFLICTING = "conflicting"
    UNKNOWN = "unknown"


class Assurance(StrEnum):
    """The highest rung of evidence that decided, strongest first."""

    REGISTERED = "registered"
    SIGNED_TRUSTED = "signed_trusted"
    SIGNED_UNLISTED = "signed_unlisted"
    HINT = "hint"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Statement:
    """What one piece of evidence says, on one side of a contradiction.

    Attributes:
        says: In plain words.
        source: Which source found it.
        assurance: How strong it is.
        reason: The evidence's own sentence.
    """

    says: str
    source: str
    assurance: Assurance
    reason: str


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two sides of which at most one is true, the strongest statement of each first.

    Attributes:
        left: That a machine took part; of a transplant, what the mark says.
        right: That a person or a camera made it; of a transplant, what the registry says.
    """

    left: tuple[Statement, ...]
    right: tuple[Statement, ...]

    def __post_init__(self) -> None:
        require(bool(self.left and self.right), "a contradiction has two sides")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of the reader path: a pure function of evidence and policy (R4).

    Attributes:
        origin: What the evidence shows.
        assurance: The highest rung that decided.
        record_id: Set whenever a record stands behind the answer.
        evidence: All of it, also what did not decide.
        reasons: Plain sentences: first what it means, second what it does not mean, then the
            rest.
        policy_id: Name, version of the rules and digest of the policy.
        list_dates: Date of each trust list used, ISO 8601 by list name.
        claimant: Who signed the claim that the origin names: as this registry recorded it, or as
            a trusted certificate says; None where neither does.
        contradictions: Side by side, where the origin is CONFLICTING; else empty.
    """

    origin: Origin
    assurance: Assurance
    record_id: RecordId | None
    evidence: tuple[Evidence, ...]
    reasons: tuple[str, ...]
    policy_id: str
    list_dates: Mapping[str, str] = field(default_factory=dict)
    claimant: str | None = None
    contradictions: tuple[Contradiction, ...] = ()

    def __post_init__(self) -> None:
        bare = self.origin is Origin.UNKNOWN
        require(
            bare == (self.assurance is Assurance.NONE),
            f"origin {self.origin} does not go with assurance {self.assurance}",
        )
        agrees = self.origin is not Origin.CONFLICTING
        require(
            not (agrees and self.contradictions),
            f"origin {self.origin} does not go with contradictions",
        )
        require(len(self.reasons) > 1, "a verdict says what it means and what it does not mean")
        object.__setattr__(self, "list_dates", MappingProxyType(dict(self.list_dates)))
