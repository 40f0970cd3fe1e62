"""R4: from evidence to a verdict, and from a verdict to what a training set does with it.

Pure and total: every combination of evidence has an answer, nothing is read or written, and the
same evidence always gives the same verdict.

The rules, in the order in which they are tried:

1. *Contradiction beats all.* A mark whose picture disagrees with its record; a signed or
   registered statement against an opposite one; two unsigned labels that disagree.
2. The highest rung of the ladder (`detector.opinions.Rung`) gives the origin.
3. The assurance is the best word among the evidence for that same origin.
4. A claim of capture or of human work counts only when it is signed or registered; as an
   unsigned label it is shown and decides nothing.
5. Without a deciding opinion the answer is unknown, never "fine".

What does not contradict: an unsigned capture label against registered, signed or keyed evidence
(anyone could add it to whitewash a picture), and a likely copy or an unkeyed watermark against a
signed claim (both are statistical and unverified).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from detector.opinions import CLAIMS, MACHINE, Opinion, Rung, form_opinion
from detector.wording import explain
from provenance.types import (
    Assurance,
    FilterAction,
    ManifestEvidence,
    MatchTier,
    Origin,
    RegistryEvidence,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.types import Evidence, ManifestReport, RecordId

__all__ = ["STANDARD", "FilterPolicy", "Policy", "choose_action", "decide"]

_ASSURANCE_RANK = MappingProxyType({a: -i for i, a in enumerate(Assurance)})
"""`Assurance` is written strongest first; higher number: stronger."""

_TIER_RANK = MappingProxyType({tier: -i for i, tier in enumerate(MatchTier)})


@dataclass(frozen=True, slots=True)
class Policy:
    """How evidence is weighed; an argument, so that a verdict can be computed again.

    Attributes:
        name: Part of the policy id that every verdict carries.
        version: Raised whenever the same evidence would give another verdict.
        weakest: Weakest assurance that may decide; HINT lets unsigned labels decide, a forensic
            reader may ask for SIGNED_UNLISTED or better. Weaker evidence is shown all the same.
    """

    name: str = "ladder"
    version: int = 1
    weakest: Assurance = Assurance.HINT

    @property
    def policy_id(self) -> str:
        return f"{self.name}-{self.version}/{self.weakest}"


STANDARD = Policy()


def decide(evidence: Sequence[Evidence], policy: Policy, list_dates: Mapping[str, str]) -> Verdict:
    """The verdict on one picture (R4).

    Args:
        evidence: Everything the sources found, in any order.
        policy: How to weigh it.
        list_dates: Date of each trust list in force, ISO 8601 by list name.
    """
    opinions = [
        opinion
        for item in evidence
        if (opinion := form_opinion(item)) is not None and _counts(opinion, policy)
    ]
    origin, deciding = _settle(opinions)
    lead = max(deciding, key=_assurance_then_weight, default=None)
    return Verdict(
        origin=origin,
        assurance=Assurance.NONE if lead is None else lead.rung.assurance,
        record_id=_record_behind(origin, opinions),
        evidence=tuple(evidence),
        reasons=explain(origin, None if lead is None else lead.rung, evidence),
        policy_id=policy.policy_id,
        list_dates=list_dates,
        claimant=_claimant(origin, evidence),
    )


def _claimant(origin: Origin, evidence: Sequence[Evidence]) -> str | None:
    """Who claims what the verdict repeats; only of evidence that says just that."""
    if origin not in CLAIMS:
        return None
    agreeing = [e for e in evidence if (o := form_opinion(e)) and o.origin is origin]
    for item in agreeing:
        if isinstance(item, RegistryEvidence) and item.claimant is not None:
            return item.claimant
    for item in agreeing:
        if isinstance(item, ManifestEvidence) and _is_own_statement(item.report):
            return item.report.signer_name
    return None


def _is_own_statement(report: ManifestReport) -> bool:
    """Whether the signer of the active manifest says it, not only an ingredient's."""
    return (report.claim_path or "").startswith(f"{report.manifest_label}:")


def _counts(opinion: Opinion, policy: Policy) -> bool:
    return _ASSURANCE_RANK[opinion.rung.assurance] >= _ASSURANCE_RANK[policy.weakest]


def _settle(opinions: Sequence[Opinion]) -> tuple[Origin, Sequence[Opinion]]:
    """The origin, and the opinions that stand for it."""
    conflict = _contradiction(opinions)
    if conflict:
        return Origin.CONFLICTING, conflict
    weighty = [o for o in opinions if o.origin in MACHINE or not _is_unsigned_claim(o)]
    if not weighty:
        return Origin.UNKNOWN, ()
    best = max(weighty, key=_weight)
    return best.origin, [o for o in weighty if o.origin is best.origin]


def _weight(opinion: Opinion) -> tuple[int, int, bool, str, str]:
    tier = _TIER_RANK[opinion.tier] if opinion.tier else -len(MatchTier)
    # At the same rung "edited" wins over "made": both say that a machine took part, and the
    # weaker statement is true of either. The rest only makes the order of evidence irrelevant.
    is_edited = opinion.origin is Origin.MACHINE_EDITED
    return opinion.rung, tier, is_edited, opinion.origin, opinion.record_id or ""


def _assurance_then_weight(opinion: Opinion) -> tuple[int, tuple[int, int, bool, str, str]]:
    return _ASSURANCE_RANK[opinion.rung.assurance], _weight(opinion)


def _contradiction(opinions: Sequence[Opinion]) -> Sequence[Opinion]:
    """The opinions that contradict each other; empty when none do."""
    transplants = [o for o in opinions if o.origin is Origin.CONFLICTING]
    if transplants:
        return transplants
    machine = [o for o in opinions if o.origin in MACHINE]
    vouched = [o for o in opinions if o.origin in CLAIMS and not _is_unsigned_claim(o)]
    against = [o for o in machine if o.rung >= Rung.UNSIGNED_LABEL]
    if vouched and against:
        return [*vouched, *against]
    labels = [o for o in opinions if _is_unsigned_claim(o)]
    if labels and machine and max(o.rung for o in machine) is Rung.UNSIGNED_LABEL:
        return [*labels, *machine]
    return ()


def _is_unsigned_claim(opinion: Opinion) -> bool:
    return opinion.origin in CLAIMS and opinion.rung < Rung.UNLISTED_SIGNATURE


def _record_behind(origin: Origin, opinions: Sequence[Opinion]) -> RecordId | None:
    if origin is Origin.UNKNOWN:
        return None
    same_side = [
        opinion
        for opinion in opinions
        if opinion.record_id is not None and _same_side(opinion.origin, origin)
    ]
    best = max(same_side, key=_weight, default=None)
    return None if best is None else best.record_id


def _same_side(one: Origin, other: Origin) -> bool:
    if Origin.CONFLICTING in (one, other):
        return True
    return one is other or {one, other} <= MACHINE


# -- filter ------------------------------------------------------------------------------------


class FilterPolicy(StrEnum):
    """What a training set does with verdicts.

    DEFAULT: drops what is machine-made or machine-edited at any assurance, except where an
    unkeyed watermark or a visible mark is the only evidence (review); reviews what conflicts or
    cannot be read; keeps unknown pictures and signed claims. STRICT: drops what DEFAULT reviews.
    LENIENT: drops only what is registered or signed.
    """

    STRICT = "strict"
    DEFAULT = "default"
    LENIENT = "lenient"


def choose_action(verdict: Verdict, policy: FilterPolicy) -> tuple[FilterAction, str]:
    """What to do with a sample, and a short stable reason code for counting.

    The verdict of a picture that did not decode and whose manifest and metadata decided nothing
    says "unknown" like any other; the caller, who knows, decides on that one (see
    `detector.filter.run`).
    """
    code = f"{verdict.origin}.{verdict.assurance}"
    match verdict.origin:
        case Origin.UNKNOWN | Origin.HUMAN_CLAIMED | Origin.CAPTURE_CLAIMED:
            return FilterAction.KEEP, code
        case Origin.CONFLICTING:
            return review_or_drop(policy), code
        case Origin.MACHINE_MADE | Origin.MACHINE_EDITED:
            return _for_machine(verdict, policy, code)
        case _:
            assert_never(verdict.origin)


def review_or_drop(policy: FilterPolicy) -> FilterAction:
    """What becomes of a sample that a person should look at."""
    return FilterAction.DROP if policy is FilterPolicy.STRICT else FilterAction.REVIEW


def _for_machine(verdict: Verdict, policy: FilterPolicy, code: str) -> tuple[FilterAction, str]:
    if verdict.assurance is not Assurance.HINT:
        return FilterAction.DROP, code
    if policy is FilterPolicy.LENIENT:
        return FilterAction.KEEP, code
    rungs = [o.rung for item in verdict.evidence if (o := form_opinion(item)) is not None]
    best = max(rungs, default=Rung.UNKEYED_WATERMARK)
    if best in (Rung.UNKEYED_WATERMARK, Rung.VISIBLE_MARK):
        return review_or_drop(policy), f"{code}.{best.name.lower()}"
    return FilterAction.DROP, code
