"""What a policy may say, and how it weighs one piece of evidence. Pure; files: `policy_file`.

A policy chooses what may decide and what a training set does with the answer. It never changes what
the evidence says, nor the order of the ladder: two installations with different policies differ in
what they leave undecided, not in what they call true.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from detector.opinions import EvidenceKind, Opinion, Rung, form_opinion
from provenance.types import (
    Assurance,
    FilterAction,
    KnownMarkEvidence,
    ManifestEvidence,
    MetadataEvidence,
    Origin,
    SignerTrust,
    SigningTime,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.types import Evidence

__all__ = ["ASSURANCE_RANK", "STANDARD", "FilterRules", "Policy", "Weight", "list_rules", "weigh"]

LADDER_VERSION = 1
"""Raised whenever the same evidence under the same policy would give another verdict."""

ASSURANCE_RANK = MappingProxyType({a: -i for i, a in enumerate(Assurance)})
"""`Assurance` is written strongest first; higher number: stronger."""

DIGEST_DIGITS = 16
"""Of SHA-256, in hex, in a policy's id: 64 bits tell any two policies of one user apart."""


class Weight(StrEnum):
    """What a kind of evidence is worth under a policy.

    DECIDES: as much as the ladder says. HINT: no more than an unsigned label. SHOWN: it stands in
    the answer and decides nothing.
    """

    DECIDES = "decides"
    HINT = "hint"
    SHOWN = "shown"


_WEIGHT_RANK = {Weight.SHOWN: 0, Weight.HINT: 1, Weight.DECIDES: 2}

_KEEP, _DROP, _REVIEW = FilterAction.KEEP, FilterAction.DROP, FilterAction.REVIEW

MACHINE_ORIGINS = (Origin.MACHINE_MADE, Origin.MACHINE_EDITED)
OTHER_ORIGINS = (Origin.HUMAN_CLAIMED, Origin.CAPTURE_CLAIMED, Origin.CONFLICTING)
DECIDED: tuple[Assurance, ...] = tuple(a for a in Assurance if a is not Assurance.NONE)
SURE: tuple[Assurance, ...] = tuple(a for a in DECIDED if a is not Assurance.HINT)
"""Assurances that are more than a hint."""

_COPYABLE = (
    EvidenceKind.KNOWN_WATERMARK,
    EvidenceKind.UNKEYED_WATERMARK,
    EvidenceKind.SIGNPOST,
    EvidenceKind.VISIBLE_MARK,
)
"""Marks without a key: artists put them on their own pictures too, so a person should look."""


def _standard_actions() -> Mapping[tuple[Origin, Assurance], FilterAction]:
    machine = {(o, a): _DROP for o in MACHINE_ORIGINS for a in SURE}
    claims = {(o, a): _KEEP for o in OTHER_ORIGINS for a in DECIDED}
    return machine | claims | {(Origin.CONFLICTING, a): _REVIEW for a in DECIDED}


def _standard_hints() -> Mapping[tuple[Origin, EvidenceKind], FilterAction]:
    return {
        (o, k): _REVIEW if k in _COPYABLE else _DROP for o in MACHINE_ORIGINS for k in EvidenceKind
    }


@dataclass(frozen=True, slots=True)
class FilterRules:
    """What a training set does with each answer.

    Attributes:
        unknown: With a picture of which nothing decided.
        unreadable: With a file that is no picture, too large, or does not decode and says nothing.
        actions: By origin and assurance; of machine-made and edited pictures only what is more
            than a hint.
        hints: By origin and kind of evidence, where a mere hint says that a machine took part. Of
            several kinds that say so, the one with the most severe action decides.
    """

    unknown: FilterAction = _KEEP
    unreadable: FilterAction = _REVIEW
    actions: Mapping[tuple[Origin, Assurance], FilterAction] = field(
        default_factory=_standard_actions
    )
    hints: Mapping[tuple[Origin, EvidenceKind], FilterAction] = field(
        default_factory=_standard_hints
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", MappingProxyType(dict(self.actions)))
        object.__setattr__(self, "hints", MappingProxyType(dict(self.hints)))


@dataclass(frozen=True, slots=True)
class Policy:
    """How evidence is weighed, and what a training set does with the verdict.

    Attributes:
        name: For people; part of the id that every verdict carries.
        description: For people.
        weakest: Weakest assurance that may decide; weaker evidence is shown all the same.
        unlisted_signers: What an intact signature is worth that no trust list in force covers.
        expired_signers: What an intact signature of a listed signer is worth, whose certificate
            has expired without a trusted time-stamp.
        evidence: Weight of each kind; a missing one decides.
        only_tools: Programs whose unsigned labels and known marks may decide, lower case; empty
            means all. What names no program counts only where this is empty.
        ignore_tools: Programs whose unsigned labels and known marks decide nothing, lower case.
        filter: What a training set does.
        digest: SHA-256 of all rules, in hex, cut; the same for the same rules however written.
    """

    name: str = "default"
    description: str = ""
    weakest: Assurance = Assurance.HINT
    unlisted_signers: Weight = Weight.DECIDES
    expired_signers: Weight = Weight.DECIDES
    evidence: Mapping[EvidenceKind, Weight] = field(
        default_factory=lambda: dict.fromkeys(EvidenceKind, Weight.DECIDES)
    )
    only_tools: frozenset[str] = frozenset()
    ignore_tools: frozenset[str] = frozenset()
    filter: FilterRules = field(default_factory=FilterRules)
    digest: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", MappingProxyType(dict(self.evidence)))
        text = json.dumps(list_rules(self), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]
        object.__setattr__(self, "digest", digest)

    @property
    def policy_id(self) -> str:
        """Name, version of the ladder, digest: what every verdict carries."""
        return f"{self.name}-{LADDER_VERSION}/{self.digest}"


def list_rules(policy: Policy) -> dict[str, str | list[str]]:
    """Every rule of a policy by its place in a file, as plain values."""
    weights = {kind: policy.evidence.get(kind, Weight.DECIDES) for kind in EvidenceKind}
    rules = policy.filter
    return {
        "verdict.weakest": policy.weakest.value,
        "verdict.unlisted_signers": policy.unlisted_signers.value,
        "verdict.expired_signers": policy.expired_signers.value,
        **{f"verdict.evidence.{kind}": weight.value for kind, weight in weights.items()},
        "verdict.tools.only": sorted(policy.only_tools),
        "verdict.tools.ignore": sorted(policy.ignore_tools),
        "filter.unknown": rules.unknown.value,
        "filter.unreadable": rules.unreadable.value,
        **{f"filter.{o}.{a}": action.value for (o, a), action in rules.actions.items()},
        **{f"filter.{o}.hint.{k}": action.value for (o, k), action in rules.hints.items()},
    }


STANDARD = Policy(
    description="Drops what a machine made or edited; sets aside what a person should look at."
)
"""What ``policies/default.toml`` says, for code that reads no file; a test holds them together."""


def weigh(evidence: Evidence, policy: Policy) -> Opinion | None:
    """What `evidence` says of the origin under `policy`; None when it decides nothing."""
    opinion = form_opinion(evidence)
    if opinion is None:
        return None
    weight = _weight_of(opinion, policy)
    if weight is Weight.SHOWN:
        return None
    if weight is Weight.HINT and opinion.rung > Rung.UNSIGNED_LABEL:
        # Like any label: how sure a match was sets it above none.
        opinion = replace(opinion, rung=Rung.UNSIGNED_LABEL, tier=None)
    if ASSURANCE_RANK[opinion.rung.assurance] < ASSURANCE_RANK[policy.weakest]:
        return None
    return opinion


def _weight_of(opinion: Opinion, policy: Policy) -> Weight:
    weights = [
        policy.evidence.get(opinion.kind, Weight.DECIDES),
        _weight_of_signer(opinion, policy),
        _weight_of_tool(opinion, policy),
    ]
    return min(weights, key=_WEIGHT_RANK.__getitem__)


def _weight_of_signer(opinion: Opinion, policy: Policy) -> Weight:
    item = opinion.evidence
    if not isinstance(item, ManifestEvidence) or opinion.rung is not Rung.UNLISTED_SIGNATURE:
        return Weight.DECIDES
    report = item.report
    weights = []
    if report.signer is not SignerTrust.TRUSTED or not report.claim_vouched:
        weights.append(policy.unlisted_signers)
    if report.signing_time is SigningTime.EXPIRED:
        weights.append(policy.expired_signers)
    return min(weights, key=_WEIGHT_RANK.__getitem__)


def _weight_of_tool(opinion: Opinion, policy: Policy) -> Weight:
    item = opinion.evidence
    if not isinstance(item, MetadataEvidence | KnownMarkEvidence):
        return Weight.DECIDES
    if opinion.kind is EvidenceKind.MAKER_SIGNATURE:
        return Weight.DECIDES  # the signature says who wrote it, not the name alone
    tool = "" if item.tool is None else item.tool.casefold()
    if tool in policy.ignore_tools or (policy.only_tools and tool not in policy.only_tools):
        return Weight.SHOWN
    return Weight.DECIDES
