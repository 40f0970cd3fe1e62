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

A policy (`detector.policy_rules`) says beforehand what each piece of evidence may count for.

What does not contradict: an unsigned capture label against registered, signed or keyed evidence
(anyone could add it to whitewash a picture), and a likely copy or an unkeyed watermark against a
signed claim (both are statistical and unverified).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from detector.contradictions import describe_clash, find_clashes, is_unsigned_claim
from detector.opinions import CLAIMS, MACHINE, Opinion, form_opinion
from detector.policy_rules import ASSURANCE_RANK, STANDARD, Policy, weigh
from detector.wording import explain
from provenance.types import (
    Assurance,
    FilterAction,
    ManifestEvidence,
    MatchTier,
    Origin,
    RegistryEvidence,
    SourceFailure,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provenance.types import Evidence, ManifestReport, RecordId

__all__ = ["STANDARD", "Policy", "choose_action", "decide", "is_settled"]

_TIER_RANK = MappingProxyType({tier: -i for i, tier in enumerate(MatchTier)})

_SEVERITY = MappingProxyType({FilterAction.KEEP: 0, FilterAction.REVIEW: 1, FilterAction.DROP: 2})


def decide(evidence: Sequence[Evidence], policy: Policy, list_dates: Mapping[str, str]) -> Verdict:
    """The verdict on one picture (R4).

    Args:
        evidence: Everything the sources found, in any order.
        policy: How to weigh it.
        list_dates: Date of each trust list in force, ISO 8601 by list name.
    """
    opinions = _weigh_all(evidence, policy)
    clashes = find_clashes(opinions)
    origin, deciding = _settle(opinions)
    if clashes:
        origin, deciding = Origin.CONFLICTING, [o for clash in clashes for o in clash.opinions]
    lead = max(deciding, key=_assurance_then_weight, default=None)
    return Verdict(
        origin=origin,
        assurance=Assurance.NONE if lead is None else lead.rung.assurance,
        record_id=_record_behind(origin, opinions),
        evidence=tuple(evidence),
        reasons=explain(origin, lead, evidence, tuple(_tell_policy(evidence, policy))),
        policy_id=policy.policy_id,
        list_dates=list_dates,
        claimant=_claimant(origin, opinions),
        contradictions=tuple(describe_clash(clash, evidence) for clash in clashes),
    )


def is_settled(verdict: Verdict) -> bool:
    """Whether a longer look could change nothing that matters.

    Hints do not settle: anyone could write one to keep the search from finding the record, whose
    answer weighs more. Nor does a claim that anybody signed: a copy of a registered picture may be
    behind it.
    """
    if verdict.origin is Origin.UNKNOWN:
        return False
    if verdict.origin in CLAIMS:
        return verdict.assurance is Assurance.REGISTERED
    return verdict.origin is Origin.CONFLICTING or verdict.assurance is not Assurance.HINT


def _weigh_all(evidence: Sequence[Evidence], policy: Policy) -> list[Opinion]:
    return [o for item in evidence if (o := weigh(item, policy)) is not None]


def _claimant(origin: Origin, opinions: Sequence[Opinion]) -> str | None:
    """Who claims what the verdict repeats; only of evidence that says just that."""
    if origin not in CLAIMS:
        return None
    agreeing = [o.evidence for o in opinions if o.origin is origin]
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


def _settle(opinions: Sequence[Opinion]) -> tuple[Origin, Sequence[Opinion]]:
    """The origin, and the opinions that stand for it, where nothing contradicts."""
    weighty = [o for o in opinions if not is_unsigned_claim(o)]
    if not weighty:
        return Origin.UNKNOWN, ()
    best = max(weighty, key=_weight)
    return best.origin, [o for o in weighty if o.origin is best.origin]


def _weight(opinion: Opinion) -> tuple[int, int, bool, str, str]:
    tier = _TIER_RANK[opinion.tier] if opinion.tier else -len(MatchTier)
    # At the same rung "edited" wins over "made": both say that a machine took part, and the
    # weaker statement is true of either; so does "a person's work" over "a photograph". The rest
    # only makes the order of evidence irrelevant.
    is_edited = opinion.origin is Origin.MACHINE_EDITED
    return opinion.rung, tier, is_edited, opinion.origin, opinion.record_id or ""


def _assurance_then_weight(opinion: Opinion) -> tuple[int, tuple[int, int, bool, str, str]]:
    return ASSURANCE_RANK[opinion.rung.assurance], _weight(opinion)


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


def _tell_policy(evidence: Sequence[Evidence], policy: Policy) -> Iterator[str]:
    """A sentence for each kind of evidence that the policy lets count for less than it could."""
    for item in evidence:
        free, weighed = form_opinion(item), weigh(item, policy)
        if free is None:
            continue
        if weighed is None:
            yield f'By the policy "{policy.name}", what "{free.kind}" says here decides nothing.'
        elif weighed.rung < free.rung:
            yield f'By the policy "{policy.name}", what "{free.kind}" says here is a mere hint.'


# -- filter ------------------------------------------------------------------------------------


def choose_action(verdict: Verdict, policy: Policy) -> tuple[FilterAction, str]:
    """What to do with a sample under `policy`, and a short stable reason code for counting."""
    rules, code = policy.filter, f"{verdict.origin}.{verdict.assurance}"
    match verdict.origin:
        case Origin.UNKNOWN:
            if any(isinstance(e, SourceFailure) and e.source == "pixels" for e in verdict.evidence):
                # Neither its pixels nor anything around them said a word.
                return rules.unreadable, "unreadable"
            return rules.unknown, code
        case Origin.MACHINE_MADE | Origin.MACHINE_EDITED:
            if verdict.assurance is Assurance.HINT:
                return _for_hint(verdict, policy, code)
            return rules.actions[verdict.origin, verdict.assurance], code
        case Origin.HUMAN_CLAIMED | Origin.CAPTURE_CLAIMED | Origin.CONFLICTING:
            return rules.actions[verdict.origin, verdict.assurance], code
        case _:
            assert_never(verdict.origin)


def _for_hint(verdict: Verdict, policy: Policy, code: str) -> tuple[FilterAction, str]:
    rules = policy.filter
    speaking = [o for o in _weigh_all(verdict.evidence, policy) if o.origin in MACHINE]
    ranked = sorted(speaking, key=_weight, reverse=True)
    found = [(rules.hints[verdict.origin, o.kind], f"{code}.{o.kind}") for o in ranked]
    return max(found, key=lambda one: _SEVERITY[one[0]], default=(rules.unreadable, code))
