# ruff: noqa: E501  the table reads best with a row a line
"""Every combination of evidence against a second statement of the ladder.

`SINGLE` holds one representative of each kind, finding and strength of evidence, with the answer
that it must give alone. Every pair of them, and every triple of those that differ in what they say,
is then held against `expected`: the rules written down once more, over words and sets, sharing no
code with `detector.policy`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

import pytest

from detector.policy import choose_action, decide
from detector.policy_file import SHIPPED, load_policy
from detector.policy_rules import STANDARD, Policy, Weight
from provenance.types import (
    Assurance,
    Credential,
    Evidence,
    Finding,
    Integrity,
    KnownMarkEvidence,
    ManifestEvidence,
    ManifestReport,
    MatchBasis,
    MatchTier,
    MetadataEvidence,
    RecordId,
    RecordKind,
    RegistryEvidence,
    SignerTrust,
    SigningTime,
    SignpostEvidence,
    SourceClaim,
    SourceFailure,
    VisibleMarkEvidence,
    WatermarkEvidence,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from provenance.types import Verdict

PRESENT, ABSENT, INVALID, UNREADABLE = Finding
RECORD = RecordId("3f2a9c0d11e87b46")

LADDER = (
    "trusted",
    "exact",
    "strong copy",
    "verified copy",
    "transplant",
    "maker",
    "unlisted",
    "revoked exact",
    "revoked strong copy",
    "revoked verified copy",
    "revoked transplant",
    "no record",
    "unconfirmed",
    "key",
    "label",
    "likely copy",
    "open",
    "visible",
)
"""Steps, strongest first. "open": a mark under no key, which anyone can write."""

REGISTERED = {"exact", "strong copy", "verified copy", "transplant"}
SIGNED = {"trusted", "maker"}
VOUCHED = REGISTERED | SIGNED | {"unlisted"}
"""Steps on which a claim of a person or a camera counts."""
UNVERIFIED = {"likely copy", "open", "visible"}
"""Steps that accuse nobody who signed."""
WORDS = ("registered", "signed_trusted", "signed_unlisted", "hint")


def word_of(step: str) -> str:
    if step in REGISTERED:
        return "registered"
    if step in SIGNED:
        return "signed_trusted"
    return "signed_unlisted" if step == "unlisted" else "hint"


@dataclass(frozen=True)
class Row:
    """What one piece of evidence must say.

    Attributes:
        name: For the test's output.
        evidence: The representative.
        says: made, edited, human, capture, transplant; empty when it says nothing.
        step: Of `LADDER`; empty when it says nothing.
        kind: Its word in policy files; empty when it says nothing.
        answer: Origin and assurance of a verdict on it alone.
    """

    name: str
    evidence: Evidence
    says: str
    step: str
    kind: str
    answer: tuple[str, str]


UNKNOWN = ("unknown", "none")
CLAIM = SourceClaim


def silent(name: str, evidence: Evidence) -> Row:
    return Row(name, evidence, "", "", "", UNKNOWN)


def manifest(
    claim: SourceClaim = CLAIM.FULLY_AI,
    signer: SignerTrust = SignerTrust.TRUSTED,
    *,
    time: SigningTime = SigningTime.STAMPED_TRUSTED,
    integrity: Integrity = Integrity.INTACT,
    finding: Finding = PRESENT,
    source: str = "c2pa",
    vouched: bool = True,
) -> ManifestEvidence:
    report = ManifestReport(
        Credential.EMBEDDED, integrity, signer, time, claim=claim, claim_vouched=vouched
    )
    return ManifestEvidence(finding, "credentials", report, source)  # type: ignore[arg-type]


def hit(
    tier: MatchTier,
    kind: RecordKind | None = RecordKind.GENERATED,
    *,
    claim: SourceClaim | None = None,
    revoked: bool = False,
    finding: Finding = PRESENT,
) -> RegistryEvidence:
    return RegistryEvidence(
        finding, "a record", MatchBasis.WATERMARK, tier, RECORD, kind, claim, revoked=revoked
    )


def mark(key_id: str | None = "k", finding: Finding = PRESENT) -> WatermarkEvidence:
    return WatermarkEvidence(finding, "a mark", "lattice", RECORD, 1e-9, key_id)


def label(
    claim: SourceClaim, *, signed_by: str | None = None, finding: Finding = PRESENT
) -> MetadataEvidence:
    return MetadataEvidence(finding, "a label", "ComfyUI", claim=claim, signed_by=signed_by)


def known(claim: SourceClaim = CLAIM.FULLY_AI, finding: Finding = PRESENT) -> KnownMarkEvidence:
    return KnownMarkEvidence(finding, "a known mark", "FLUX", claim)


def signpost(finding: Finding = PRESENT) -> SignpostEvidence:
    return SignpostEvidence(finding, "a signpost", "acme.io/cm", 1e-9)


def visible(claim: SourceClaim, finding: Finding = PRESENT) -> VisibleMarkEvidence:
    return VisibleMarkEvidence(finding, "a visible mark", "Getty Images", claim=claim)


TRUSTED, UNLISTED = SignerTrust.TRUSTED, SignerTrust.UNTRUSTED
EXPIRED = SigningTime.EXPIRED
GENERATED, EDITED, ATTESTED = RecordKind.GENERATED, RecordKind.EDITED, RecordKind.ATTESTED
TIER = MatchTier
REGISTRY = "registry"

MADE_TRUSTED, MADE_HINT = ("machine_made", "signed_trusted"), ("machine_made", "hint")
EDITED_HINT = ("machine_edited", "hint")

# fmt: off
SINGLE: list[Row] = [
    # credentials, intact
    Row("trusted, AI", manifest(), "made", "trusted", "c2pa", MADE_TRUSTED),
    Row("trusted, part AI", manifest(CLAIM.PARTLY_AI), "edited", "trusted", "c2pa", ("machine_edited", "signed_trusted")),
    Row("trusted, camera", manifest(CLAIM.CAPTURE), "capture", "trusted", "c2pa", ("capture_claimed", "signed_trusted")),
    Row("trusted, person", manifest(CLAIM.HUMAN), "human", "trusted", "c2pa", ("human_claimed", "signed_trusted")),
    silent("trusted, perhaps AI", manifest(CLAIM.POSSIBLY_AI)),
    silent("trusted, not AI", manifest(CLAIM.NOT_AI)),
    silent("trusted, no claim", manifest(CLAIM.NO_CLAIM)),
    Row("trusted by an untrusted stamp, AI", manifest(time=SigningTime.STAMPED_UNTRUSTED), "made", "trusted", "c2pa", MADE_TRUSTED),
    Row("trusted without a stamp, AI", manifest(time=SigningTime.UNSTAMPED_CURRENT), "made", "trusted", "c2pa", MADE_TRUSTED),
    Row("expired, AI", manifest(time=EXPIRED), "made", "unlisted", "c2pa", ("machine_made", "signed_unlisted")),
    Row("expired, camera", manifest(CLAIM.CAPTURE, time=EXPIRED), "capture", "unlisted", "c2pa", ("capture_claimed", "signed_unlisted")),
    Row("ingredient's claim, AI", manifest(vouched=False), "made", "unlisted", "c2pa", ("machine_made", "signed_unlisted")),
    Row("unlisted, AI", manifest(signer=UNLISTED), "made", "unlisted", "c2pa", ("machine_made", "signed_unlisted")),
    Row("unlisted, part AI", manifest(CLAIM.PARTLY_AI, UNLISTED), "edited", "unlisted", "c2pa", ("machine_edited", "signed_unlisted")),
    Row("unlisted, camera", manifest(CLAIM.CAPTURE, UNLISTED), "capture", "unlisted", "c2pa", ("capture_claimed", "signed_unlisted")),
    Row("unlisted, person", manifest(CLAIM.HUMAN, UNLISTED), "human", "unlisted", "c2pa", ("human_claimed", "signed_unlisted")),
    Row("unlisted and expired, AI", manifest(signer=UNLISTED, time=EXPIRED), "made", "unlisted", "c2pa", ("machine_made", "signed_unlisted")),
    Row("revoked signer, AI", manifest(signer=SignerTrust.REVOKED), "made", "label", "c2pa", MADE_HINT),
    Row("revoked signer, camera", manifest(CLAIM.CAPTURE, SignerTrust.REVOKED), "capture", "label", "c2pa", UNKNOWN),
    Row("malformed certificate, AI", manifest(signer=SignerTrust.INVALID_CERTIFICATE), "made", "label", "c2pa", MADE_HINT),
    Row("recovered, AI", manifest(source="c2pa_recovered"), "made", "trusted", "c2pa_recovered", MADE_TRUSTED),
    Row("recovered, unlisted, part AI", manifest(CLAIM.PARTLY_AI, UNLISTED, source="c2pa_recovered"), "edited", "unlisted", "c2pa_recovered", ("machine_edited", "signed_unlisted")),
    # credentials, broken or not there: whatever they say
    silent("changed picture, AI", manifest(integrity=Integrity.CONTENT_CHANGED, finding=INVALID)),
    silent("changed picture, camera", manifest(CLAIM.CAPTURE, integrity=Integrity.CONTENT_CHANGED, finding=INVALID)),
    silent("altered manifest, AI", manifest(integrity=Integrity.MANIFEST_ALTERED, finding=INVALID)),
    silent("unchecked manifest, person", manifest(CLAIM.HUMAN, integrity=Integrity.NOT_CHECKABLE, finding=UNREADABLE)),
    silent("recovered for other bytes, AI", manifest(integrity=Integrity.CONTENT_CHANGED, finding=INVALID, source="c2pa_recovered")),
    silent("no credentials", ManifestEvidence(ABSENT, "none", ManifestReport(Credential.NONE))),
    # registry
    Row("exact, generated", hit(TIER.EXACT), "made", "exact", REGISTRY, ("machine_made", "registered")),
    Row("exact, edited", hit(TIER.EXACT, EDITED), "edited", "exact", REGISTRY, ("machine_edited", "registered")),
    Row("exact, attested photograph", hit(TIER.EXACT, ATTESTED, claim=CLAIM.CAPTURE), "capture", "exact", REGISTRY, ("capture_claimed", "registered")),
    Row("exact, attested work", hit(TIER.EXACT, ATTESTED, claim=CLAIM.HUMAN), "human", "exact", REGISTRY, ("human_claimed", "registered")),
    Row("strong copy, generated", hit(TIER.COPY_STRONG), "made", "strong copy", REGISTRY, ("machine_made", "registered")),
    Row("strong copy, edited", hit(TIER.COPY_STRONG, EDITED), "edited", "strong copy", REGISTRY, ("machine_edited", "registered")),
    Row("strong copy, attested", hit(TIER.COPY_STRONG, ATTESTED), "human", "strong copy", REGISTRY, ("human_claimed", "registered")),
    Row("verified copy, generated", hit(TIER.COPY_VERIFIED), "made", "verified copy", REGISTRY, ("machine_made", "registered")),
    Row("verified copy, edited", hit(TIER.COPY_VERIFIED, EDITED), "edited", "verified copy", REGISTRY, ("machine_edited", "registered")),
    Row("verified copy, attested", hit(TIER.COPY_VERIFIED, ATTESTED), "human", "verified copy", REGISTRY, ("human_claimed", "registered")),
    Row("likely copy, generated", hit(TIER.COPY_LIKELY), "made", "likely copy", "likely_copy", MADE_HINT),
    Row("likely copy, edited", hit(TIER.COPY_LIKELY, EDITED), "edited", "likely copy", "likely_copy", EDITED_HINT),
    Row("likely copy, attested", hit(TIER.COPY_LIKELY, ATTESTED), "human", "likely copy", "likely_copy", UNKNOWN),
    silent("similar, generated", hit(TIER.SIMILAR)),
    silent("similar, attested", hit(TIER.SIMILAR, ATTESTED)),
    Row("transplant", hit(TIER.TRANSPLANT), "transplant", "transplant", REGISTRY, ("conflicting", "registered")),
    Row("transplant of a revoked record", hit(TIER.TRANSPLANT, revoked=True), "transplant", "revoked transplant", REGISTRY, ("conflicting", "hint")),
    Row("mark without a record", hit(TIER.NO_RECORD, None), "made", "no record", "watermark", MADE_HINT),
    Row("mark on a flat picture", hit(TIER.UNCONFIRMED), "made", "unconfirmed", "watermark", MADE_HINT),
    Row("mark on a flat picture, edited", hit(TIER.UNCONFIRMED, EDITED), "edited", "unconfirmed", "watermark", EDITED_HINT),
    Row("revoked, exact", hit(TIER.EXACT, revoked=True), "made", "revoked exact", REGISTRY, MADE_HINT),
    Row("revoked, exact, edited", hit(TIER.EXACT, EDITED, revoked=True), "edited", "revoked exact", REGISTRY, EDITED_HINT),
    Row("revoked, exact, attested", hit(TIER.EXACT, ATTESTED, revoked=True), "human", "revoked exact", REGISTRY, UNKNOWN),
    Row("revoked, strong copy", hit(TIER.COPY_STRONG, revoked=True), "made", "revoked strong copy", REGISTRY, MADE_HINT),
    Row("revoked, verified copy", hit(TIER.COPY_VERIFIED, revoked=True), "made", "revoked verified copy", REGISTRY, MADE_HINT),
    Row("revoked, likely copy", hit(TIER.COPY_LIKELY, revoked=True), "made", "likely copy", "likely_copy", MADE_HINT),
    silent("no record", RegistryEvidence(ABSENT, "none")),
    silent("registry down", hit(TIER.EXACT, finding=UNREADABLE)),
    silent("damaged record", hit(TIER.TRANSPLANT, finding=INVALID)),
    # marks
    Row("mark under our key", mark(), "made", "key", "watermark", MADE_HINT),
    Row("mark under no key", mark(None), "made", "open", "unkeyed_watermark", MADE_HINT),
    silent("no mark", mark(finding=ABSENT)),
    silent("broken mark", mark(finding=INVALID)),
    silent("no key to look with", mark(finding=UNREADABLE)),
    Row("signpost", signpost(), "made", "open", "signpost", MADE_HINT),
    silent("signpost without a name", signpost(UNREADABLE)),
    Row("known mark, AI", known(), "made", "open", "known_watermark", MADE_HINT),
    Row("known mark, part AI", known(CLAIM.PARTLY_AI), "edited", "open", "known_watermark", EDITED_HINT),
    silent("known mark of any picture", known(CLAIM.NO_CLAIM)),
    silent("no known mark", known(finding=ABSENT)),
    silent("too flat for known marks", known(finding=UNREADABLE)),
    Row("garbled agency's name", visible(CLAIM.FULLY_AI), "made", "visible", "visible_mark", MADE_HINT),
    silent("agency's name", visible(CLAIM.NO_CLAIM)),
    silent("no visible mark", visible(CLAIM.FULLY_AI, ABSENT)),
    silent("too small for visible marks", visible(CLAIM.FULLY_AI, UNREADABLE)),
    # labels
    Row("label, AI", label(CLAIM.FULLY_AI), "made", "label", "metadata", MADE_HINT),
    Row("label, part AI", label(CLAIM.PARTLY_AI), "edited", "label", "metadata", EDITED_HINT),
    Row("label, camera", label(CLAIM.CAPTURE), "capture", "label", "metadata", UNKNOWN),
    Row("label, person", label(CLAIM.HUMAN), "human", "label", "metadata", UNKNOWN),
    silent("label, perhaps AI", label(CLAIM.POSSIBLY_AI)),
    silent("label, not AI", label(CLAIM.NOT_AI)),
    silent("label, no claim", label(CLAIM.NO_CLAIM)),
    Row("maker's signature, AI", label(CLAIM.FULLY_AI, signed_by="NovelAI"), "made", "maker", "maker_signature", MADE_TRUSTED),
    Row("maker's signature, part AI", label(CLAIM.PARTLY_AI, signed_by="NovelAI"), "edited", "maker", "maker_signature", ("machine_edited", "signed_trusted")),
    Row("maker's signature, camera", label(CLAIM.CAPTURE, signed_by="a maker"), "capture", "maker", "maker_signature", ("capture_claimed", "signed_trusted")),
    silent("no label", label(CLAIM.NO_CLAIM, finding=ABSENT)),
    silent("broken label", label(CLAIM.FULLY_AI, finding=INVALID)),
    silent("unreadable label", label(CLAIM.CAPTURE, finding=UNREADABLE)),
    # failures
    silent("a source failed", SourceFailure("metadata", "It broke.")),
    silent("the pixels do not decode", SourceFailure("pixels", "It is cut short.")),
]
# fmt: on

SPEAKING = [row for row in SINGLE if row.says]
ONE_OF_EACH = list({(row.says, row.step): row for row in SPEAKING}.values())
SPEAKING_PAIRS = list(itertools.combinations_with_replacement(SPEAKING, 2))
POLICIES = {name: load_policy(name) for name in SHIPPED}
ORIGINS = {
    "made": "machine_made",
    "edited": "machine_edited",
    "human": "human_claimed",
    "capture": "capture_claimed",
}
MACHINE, PEOPLE = {"made", "edited"}, {"human", "capture"}


# -- the rules once more -------------------------------------------------------------------------


def expected(rows: Iterable[Row]) -> tuple[str, str]:
    """Origin and assurance: contradictions first, then down the ladder to the first that speaks."""
    said = {(row.says, row.step) for row in rows if row.says}
    against = {step for says, step in said if says in MACHINE}
    signed = {step for says, step in said if says in PEOPLE and step in VOUCHED}
    loose = {step for says, step in said if says in PEOPLE and step not in VOUCHED}
    clashing = {step for says, step in said if says == "transplant"}
    if signed and against - UNVERIFIED:
        clashing |= signed | against - UNVERIFIED
    if loose and not signed and against and strongest(against) == "label":
        clashing |= {"label"}
    if clashing:
        return "conflicting", best_word(clashing)
    heard = {(says, step) for says, step in said if says in MACHINE or step in VOUCHED}
    for step in LADDER:
        here = {says for says, where in heard if where == step}
        # Of two that stand on one step the weaker statement is taken: it is true of either.
        for says in ("edited", "human", "made", "capture"):
            if says in here:
                return ORIGINS[says], best_word({w for s, w in heard if s == says})
    return UNKNOWN


def strongest(steps: Iterable[str]) -> str:
    return min(steps, key=LADDER.index)


def best_word(steps: Iterable[str]) -> str:
    return min((word_of(step) for step in steps), key=WORDS.index)


def expected_action(policy: str, rows: Sequence[Row]) -> str:
    origin, assurance = expected(rows)
    doubtful = "drop" if policy == "strict" else "review"
    if origin == "conflicting":
        return doubtful
    if origin == "unknown":
        blind = any(row.name == "the pixels do not decode" for row in rows)
        return doubtful if blind else "keep"
    if origin in ("human_claimed", "capture_claimed"):
        return "keep"
    if assurance != "hint":
        return "drop"
    if policy == "lenient":
        return "keep"
    only_open = all(row.step in ("open", "visible") for row in rows if row.says in MACHINE)
    return doubtful if only_open else "drop"


def answer(rows: Iterable[Row], policy: Policy = STANDARD) -> Verdict:
    return decide([row.evidence for row in rows], policy, {})


def told(verdict: Verdict) -> tuple[str, str]:
    return verdict.origin.value, verdict.assurance.value


def combinations() -> Iterator[tuple[Row, ...]]:
    """Every pair, of one with itself too, and every triple of those that say different things."""
    yield from itertools.combinations_with_replacement(SINGLE, 2)
    yield from itertools.combinations(ONE_OF_EACH, 3)


# -- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", SINGLE, ids=lambda row: row.name)
def test_each_alone_gives_its_answer_under_every_shipped_policy(row: Row) -> None:
    for name, policy in POLICIES.items():
        verdict = answer([row], policy)
        assert told(verdict) == row.answer == expected([row])
        assert choose_action(verdict, policy)[0] == expected_action(name, [row])


def test_the_table_has_every_kind_and_value_of_evidence() -> None:
    items = [row.evidence for row in SINGLE]
    assert {type(item) for item in items} == set(get_args(Evidence))
    reports = [item.report for item in items if isinstance(item, ManifestEvidence)]
    assert {report.integrity for report in reports} == set(Integrity)
    assert {report.signer for report in reports} == set(SignerTrust)
    assert {report.signing_time for report in reports} == set(SigningTime)
    assert {report.claim for report in reports} == set(SourceClaim)
    hits = [item for item in items if isinstance(item, RegistryEvidence)]
    assert {item.tier for item in hits} == {None, *MatchTier}
    assert {item.kind for item in hits} == {None, *RecordKind}
    found = {(type(item), item.finding) for item in items}
    kinds = (ManifestEvidence, RegistryEvidence, WatermarkEvidence, MetadataEvidence)
    assert {(kind, finding) for kind in kinds for finding in Finding} <= found
    assert {row.kind for row in SPEAKING} == {kind.value for kind in STANDARD.evidence}
    assert {row.step for row in SPEAKING} == set(LADDER)
    assert len({row.name for row in SINGLE}) == len(SINGLE)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_combination_gives_the_answer_of_the_ladder(name: str) -> None:
    policy = POLICIES[name]
    for rows in combinations():
        verdict = answer(rows, policy)
        names = [row.name for row in rows]
        assert told(verdict) == expected(rows), names
        assert choose_action(verdict, policy)[0] == expected_action(name, rows), names
        assert bool(verdict.contradictions) == (verdict.origin == "conflicting"), names


# -- what never happens --------------------------------------------------------------------------


def test_order_and_repetition_of_evidence_decide_nothing() -> None:
    for rows in combinations():
        verdict = answer(rows)
        other = answer(rows[::-1])
        assert (told(verdict), verdict.record_id) == (told(other), other.record_id)
        assert verdict.contradictions == other.contradictions
        assert told(answer([*rows, *rows])) == told(verdict)


def test_what_is_silent_changes_nothing() -> None:
    quiet = [row for row in SINGLE if not row.says]
    for row in SINGLE:
        alone = answer([row])
        for other in quiet:
            both = answer([row, other])
            assert (told(both), both.record_id) == (told(alone), alone.record_id)


def test_a_broken_manifest_never_applies() -> None:
    broken = [
        row
        for row in SINGLE
        if isinstance(row.evidence, ManifestEvidence)
        and row.evidence.report.integrity is not Integrity.INTACT
    ]
    assert {row.evidence.finding for row in broken} == {ABSENT, INVALID, UNREADABLE}
    for rows in itertools.combinations_with_replacement(broken, 3):
        assert told(answer(rows)) == UNKNOWN


def test_contradiction_beats_all_that_is_added() -> None:
    pairs = list(itertools.combinations(ONE_OF_EACH, 2))
    clashing = [rows for rows in pairs if expected(rows)[0] == "conflicting"]
    # Labels that disagree are the one contradiction that better evidence settles.
    lasting = [
        rows
        for rows in clashing
        if any(row.says == "transplant" or row.step in VOUCHED for row in rows)
    ]
    assert 100 < len(lasting) < len(clashing)
    for rows in lasting:
        for more in ONE_OF_EACH:
            assert answer([*rows, more]).origin == "conflicting"


def test_only_signed_or_registered_claims_speak_for_people_and_cameras() -> None:
    for rows in combinations():
        origin = answer(rows).origin.value
        if origin in ("human_claimed", "capture_claimed"):
            assert any(ORIGINS.get(r.says) == origin and r.step in VOUCHED for r in rows)


# -- custom policies are the same ladder over less -----------------------------------------------


@pytest.mark.parametrize("weakest", [word for word in WORDS if word != "hint"])
def test_a_weakest_assurance_leaves_out_what_is_weaker(weakest: str) -> None:
    policy = replace(STANDARD, name="p", weakest=Assurance(weakest))
    for rows in SPEAKING_PAIRS:
        left = [r for r in rows if r.says and WORDS.index(word_of(r.step)) <= WORDS.index(weakest)]
        assert told(answer(rows, policy)) == expected(left)


@pytest.mark.parametrize("kind", list(STANDARD.evidence))
def test_a_kind_that_is_only_shown_is_as_good_as_not_there(kind: str) -> None:
    policy = replace(STANDARD, name="p", evidence={**STANDARD.evidence, kind: Weight.SHOWN})
    for rows in SPEAKING_PAIRS:
        verdict = answer(rows, policy)
        assert told(verdict) == expected(row for row in rows if row.kind != kind)
        assert verdict.evidence == tuple(row.evidence for row in rows)
        said = any("decides nothing" in reason for reason in verdict.reasons)
        assert said == any(row.kind == kind for row in rows)


def as_hint(row: Row) -> Row:
    """The row as a mere hint; a mark or copy below labels stays where it is."""
    lower = LADDER.index(row.step) < LADDER.index("label")
    return replace(row, step="label") if lower else row


@pytest.mark.parametrize("kind", list(STANDARD.evidence))
def test_a_kind_that_is_only_a_hint_counts_as_a_label(kind: str) -> None:
    policy = replace(STANDARD, name="p", evidence={**STANDARD.evidence, kind: Weight.HINT})
    for rows in SPEAKING_PAIRS:
        lowered = [as_hint(row) if row.kind == kind else row for row in rows]
        assert told(answer(rows, policy)) == expected(lowered), [row.name for row in rows]


def signature(row: Row) -> str:
    """listed, unlisted or expired: whose the signature is; empty for what has none."""
    if row.step != "unlisted" or not isinstance(row.evidence, ManifestEvidence):
        return ""
    report = row.evidence.report
    unlisted = report.signer is UNLISTED or not report.claim_vouched
    expired = report.signing_time is EXPIRED
    return "both" if unlisted and expired else "unlisted" if unlisted else "expired"


@pytest.mark.parametrize("which", ["unlisted", "expired"])
@pytest.mark.parametrize("weight", [Weight.HINT, Weight.SHOWN])
def test_signers_that_no_list_vouches_for_count_as_the_policy_says(
    which: str, weight: Weight
) -> None:
    policy = replace(STANDARD, name="p", **{f"{which}_signers": weight})  # type: ignore[arg-type]
    for rows in SPEAKING_PAIRS:
        touched = [row for row in rows if signature(row) in (which, "both")]
        left = [row for row in rows if row not in touched]
        if weight is Weight.HINT:
            left += [as_hint(row) for row in touched]
        assert told(answer(rows, policy)) == expected(left)


@pytest.mark.parametrize(
    ("only", "ignore", "muted"),
    [
        ([], ["flux"], {"FLUX"}),
        ([], ["comfyui", "flux"], {"FLUX", "ComfyUI"}),
        (["comfyui"], [], {"FLUX"}),
        (["nothing"], [], {"FLUX", "ComfyUI"}),
        (["comfyui"], ["comfyui"], {"FLUX", "ComfyUI"}),
    ],
)
def test_programs_can_be_chosen_and_ignored(
    only: list[str], ignore: list[str], muted: set[str]
) -> None:
    policy = replace(STANDARD, name="p", only_tools=frozenset(only), ignore_tools=frozenset(ignore))
    for rows in SPEAKING_PAIRS:
        left = [
            row
            for row in rows
            if row.kind not in ("metadata", "known_watermark")
            or getattr(row.evidence, "tool", None) not in muted
        ]
        assert told(answer(rows, policy)) == expected(left)
