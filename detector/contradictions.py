"""Which opinions contradict each other, and each side of it in plain words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.opinions import CLAIMS, MACHINE, Rung
from provenance.types import (
    Assurance,
    Contradiction,
    Finding,
    Origin,
    Statement,
    WatermarkEvidence,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.opinions import Opinion
    from provenance.types import Evidence

__all__ = ["Clash", "describe_clash", "find_clashes", "is_unsigned_claim"]


@dataclass(frozen=True, slots=True)
class Clash:
    """Opinions of which not all can be true.

    Attributes:
        machine: That a machine took part; of a transplant, the one opinion that is both sides.
        claims: That a person or a camera made it; empty for a transplant.
    """

    machine: tuple[Opinion, ...]
    claims: tuple[Opinion, ...] = ()

    @property
    def opinions(self) -> tuple[Opinion, ...]:
        return (*self.machine, *self.claims)


def find_clashes(opinions: Sequence[Opinion]) -> tuple[Clash, ...]:
    """Every contradiction among the opinions that count; transplants first.

    An unsigned claim contradicts only where unsigned labels are all that speak for a machine:
    anyone could add one to whitewash a picture. A mark without a key and a likely copy contradict
    no signed claim: both are unverified.
    """
    transplants = [one for one in opinions if one.origin is Origin.CONFLICTING]
    found = [Clash((one,)) for one in sorted(transplants, key=_strongest_first)]
    machine = tuple(o for o in opinions if o.origin in MACHINE)
    against = tuple(o for o in machine if o.rung >= Rung.UNSIGNED_LABEL)
    if not against:
        return tuple(found)
    claims = [o for o in opinions if o.origin in CLAIMS]
    vouched = tuple(o for o in claims if not is_unsigned_claim(o))
    labels = tuple(o for o in claims if is_unsigned_claim(o))
    if vouched:
        found.append(Clash(against, vouched))
    elif labels and max(o.rung for o in against) is Rung.UNSIGNED_LABEL:
        found.append(Clash(machine, labels))
    return tuple(found)


def is_unsigned_claim(opinion: Opinion) -> bool:
    """Whether it is a claim of a person or a camera that anyone could have written."""
    return opinion.origin in CLAIMS and opinion.rung < Rung.UNLISTED_SIGNATURE


_SAYS = {
    Origin.MACHINE_MADE: "A machine made this picture.",
    Origin.MACHINE_EDITED: "A machine made or changed part of this picture.",
    Origin.HUMAN_CLAIMED: "A person made this picture.",
    Origin.CAPTURE_CLAIMED: "A camera captured this picture.",
}


def describe_clash(clash: Clash, evidence: Sequence[Evidence]) -> Contradiction:
    """Both sides, the strongest statement of each first.

    Args:
        clash: One of `find_clashes`.
        evidence: All of it; among it the mark that a transplant is about.
    """
    if not clash.claims:
        return _describe_transplant(clash.machine[0], evidence)
    return Contradiction(_statements(clash.machine), _statements(clash.claims))


def _describe_transplant(opinion: Opinion, evidence: Sequence[Evidence]) -> Contradiction:
    reason = opinion.evidence.reason
    marks = [
        item
        for item in evidence
        if isinstance(item, WatermarkEvidence)
        and item.finding is Finding.PRESENT
        and item.record_id == opinion.record_id
    ]
    return Contradiction(
        (
            Statement(
                "This is the registered picture that the watermark names.",
                "watermark",
                Assurance.HINT,
                marks[0].reason if marks else reason,
            ),
        ),
        (
            Statement(
                "This is not that picture.",
                opinion.evidence.source,
                opinion.rung.assurance,
                reason,
            ),
        ),
    )


def _strongest_first(opinion: Opinion) -> tuple[int, str, str, str]:
    item = opinion.evidence
    return -opinion.rung, opinion.origin, item.reason, opinion.record_id or ""


def _statements(opinions: Sequence[Opinion]) -> tuple[Statement, ...]:
    ordered = sorted(opinions, key=_strongest_first)
    return tuple(
        Statement(_SAYS[o.origin], o.evidence.source, o.rung.assurance, o.evidence.reason)
        for o in ordered
    )
