"""`decide` is total, and settles every case of the ladder as the architecture says."""

from __future__ import annotations

import itertools
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.opinions import CLAIMS, MACHINE, Rung, form_opinion
from detector.policy import STANDARD, Policy, choose_action, decide
from detector.policy_file import SHIPPED, load_policy
from provenance.types import (
    Assurance,
    Credential,
    Evidence,
    FilterAction,
    Finding,
    History,
    Integrity,
    KnownMarkEvidence,
    ManifestEvidence,
    ManifestReport,
    MatchBasis,
    MatchTier,
    MetadataEvidence,
    Origin,
    RecordId,
    RecordKind,
    RegistryEvidence,
    SignerTrust,
    SigningTime,
    SignpostEvidence,
    SourceClaim,
    SourceFailure,
    Verdict,
    VisibleMarkEvidence,
    WatermarkEvidence,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORD = RecordId("3f2a9c0d11e87b46")
OTHER_RECORD = RecordId("00000000000000aa")


def manifest(
    claim: SourceClaim = SourceClaim.FULLY_AI,
    *,
    integrity: Integrity = Integrity.INTACT,
    signer: SignerTrust = SignerTrust.TRUSTED,
    time: SigningTime = SigningTime.UNSTAMPED_CURRENT,
    finding: Finding = Finding.PRESENT,
    history: History = History.CLEAN,
    source: str = "c2pa",
    vouched: bool = True,
) -> ManifestEvidence:
    report = ManifestReport(
        credential=Credential.EMBEDDED,
        integrity=integrity,
        signer=signer,
        signing_time=time,
        claim=claim,
        claim_vouched=vouched,
        history=history,
    )
    return ManifestEvidence(finding, "a manifest", report, source)  # type: ignore[arg-type]


def broken_manifest(claim: SourceClaim = SourceClaim.FULLY_AI) -> ManifestEvidence:
    return manifest(claim, integrity=Integrity.CONTENT_CHANGED, finding=Finding.INVALID)


def registry(
    tier: MatchTier,
    kind: RecordKind | None = RecordKind.GENERATED,
    *,
    record_id: RecordId = RECORD,
    revoked: bool = False,
) -> RegistryEvidence:
    return RegistryEvidence(
        Finding.PRESENT, "a hit", MatchBasis.WATERMARK, tier, record_id, kind, revoked=revoked
    )


def mark(*, key_id: str | None = "k1") -> WatermarkEvidence:
    return WatermarkEvidence(Finding.PRESENT, "a mark", "dwtDctSvd", RECORD, 1e-9, key_id)


def label(claim: SourceClaim, *, signed_by: str | None = None) -> MetadataEvidence:
    return MetadataEvidence(Finding.PRESENT, f"a label: {claim}", claim=claim, signed_by=signed_by)


UNLISTED = SignerTrust.UNTRUSTED
SIGNPOST = SignpostEvidence(Finding.PRESENT, "a signpost", "acme.io/cm", 1e-9)
AI, PARTLY, CAPTURE, HUMAN = (
    SourceClaim.FULLY_AI,
    SourceClaim.PARTLY_AI,
    SourceClaim.CAPTURE,
    SourceClaim.HUMAN,
)

CASES: list[tuple[str, list[Evidence], Origin, Assurance]] = [
    ("nothing", [], Origin.UNKNOWN, Assurance.NONE),
    ("source failure", [SourceFailure("x", "broke")], Origin.UNKNOWN, Assurance.NONE),
    ("trusted AI", [manifest()], Origin.MACHINE_MADE, Assurance.SIGNED_TRUSTED),
    ("trusted edit", [manifest(PARTLY)], Origin.MACHINE_EDITED, Assurance.SIGNED_TRUSTED),
    (
        "what an unlisted ingredient says under a trusted signer",
        [manifest(CAPTURE, vouched=False)],
        Origin.CAPTURE_CLAIMED,
        Assurance.SIGNED_UNLISTED,
    ),
    ("unlisted AI", [manifest(signer=UNLISTED)], Origin.MACHINE_MADE, Assurance.SIGNED_UNLISTED),
    (
        "expired is unlisted, not tampered",
        [manifest(time=SigningTime.EXPIRED)],
        Origin.MACHINE_MADE,
        Assurance.SIGNED_UNLISTED,
    ),
    (
        "revoked signer is worth a label",
        [manifest(signer=SignerTrust.REVOKED)],
        Origin.MACHINE_MADE,
        Assurance.HINT,
    ),
    (
        "revoked signer's capture claim decides nothing",
        [manifest(CAPTURE, signer=SignerTrust.REVOKED)],
        Origin.UNKNOWN,
        Assurance.NONE,
    ),
    ("a signpost", [SIGNPOST], Origin.MACHINE_MADE, Assurance.HINT),
    (
        "a signpost contradicts no camera",
        [SIGNPOST, manifest(CAPTURE)],
        Origin.CAPTURE_CLAIMED,
        Assurance.SIGNED_TRUSTED,
    ),
    (
        "a signpost does not outweigh an edit",
        [SIGNPOST, manifest(PARTLY)],
        Origin.MACHINE_EDITED,
        Assurance.SIGNED_TRUSTED,
    ),
    ("unbound AI claim", [broken_manifest()], Origin.UNKNOWN, Assurance.NONE),
    ("unbound capture claim", [broken_manifest(CAPTURE)], Origin.UNKNOWN, Assurance.NONE),
    (
        "unbound capture claim never contradicts",
        [broken_manifest(CAPTURE), label(AI)],
        Origin.MACHINE_MADE,
        Assurance.HINT,
    ),
    ("manifest without claim", [manifest(SourceClaim.NO_CLAIM)], Origin.UNKNOWN, Assurance.NONE),
    ("algorithmic media", [manifest(SourceClaim.NOT_AI)], Origin.UNKNOWN, Assurance.NONE),
    ("may contain AI", [manifest(SourceClaim.POSSIBLY_AI)], Origin.UNKNOWN, Assurance.NONE),
    ("signed capture", [manifest(CAPTURE)], Origin.CAPTURE_CLAIMED, Assurance.SIGNED_TRUSTED),
    (
        "unlisted capture",
        [manifest(CAPTURE, signer=UNLISTED)],
        Origin.CAPTURE_CLAIMED,
        Assurance.SIGNED_UNLISTED,
    ),
    ("signed human work", [manifest(HUMAN)], Origin.HUMAN_CLAIMED, Assurance.SIGNED_TRUSTED),
    (
        "damaged history does not break the active manifest",
        [manifest(PARTLY, history=History.DAMAGED_INGREDIENT)],
        Origin.MACHINE_EDITED,
        Assurance.SIGNED_TRUSTED,
    ),
    ("exact hit", [registry(MatchTier.EXACT)], Origin.MACHINE_MADE, Assurance.REGISTERED),
    (
        "edited record",
        [registry(MatchTier.COPY_VERIFIED, RecordKind.EDITED)],
        Origin.MACHINE_EDITED,
        Assurance.REGISTERED,
    ),
    (
        "attested record",
        [registry(MatchTier.EXACT, RecordKind.ATTESTED)],
        Origin.HUMAN_CLAIMED,
        Assurance.REGISTERED,
    ),
    (
        "mark and picture agree",
        [mark(), registry(MatchTier.COPY_STRONG)],
        Origin.MACHINE_MADE,
        Assurance.REGISTERED,
    ),
    (
        "transplanted mark",
        [mark(), registry(MatchTier.TRANSPLANT)],
        Origin.CONFLICTING,
        Assurance.REGISTERED,
    ),
    (
        "mark without a record",
        [mark(), registry(MatchTier.NO_RECORD, None)],
        Origin.MACHINE_MADE,
        Assurance.HINT,
    ),
    (
        "mark whose picture is too flat",
        [mark(), registry(MatchTier.UNCONFIRMED)],
        Origin.MACHINE_MADE,
        Assurance.HINT,
    ),
    ("mark while the registry is down", [mark()], Origin.MACHINE_MADE, Assurance.HINT),
    (
        "revoked record",
        [registry(MatchTier.EXACT, revoked=True)],
        Origin.MACHINE_MADE,
        Assurance.HINT,
    ),
    ("likely copy", [registry(MatchTier.COPY_LIKELY)], Origin.MACHINE_MADE, Assurance.HINT),
    ("looks alike", [registry(MatchTier.SIMILAR)], Origin.UNKNOWN, Assurance.NONE),
    (
        "registry and own unlisted signature agree",
        [manifest(signer=UNLISTED), registry(MatchTier.EXACT)],
        Origin.MACHINE_MADE,
        Assurance.REGISTERED,
    ),
    (
        "a trusted edit of a registered picture",
        [manifest(PARTLY), registry(MatchTier.COPY_STRONG)],
        Origin.MACHINE_EDITED,
        Assurance.SIGNED_TRUSTED,
    ),
    (
        "registered picture signed again as a photograph",
        [manifest(CAPTURE), registry(MatchTier.COPY_STRONG)],
        Origin.CONFLICTING,
        Assurance.REGISTERED,
    ),
    (
        "own mark without record against a signed photograph",
        [manifest(CAPTURE), mark()],
        Origin.CONFLICTING,
        Assurance.SIGNED_TRUSTED,
    ),
    (
        "AI label inside a signed photograph",
        [manifest(CAPTURE, signer=UNLISTED), label(AI)],
        Origin.CONFLICTING,
        Assurance.SIGNED_UNLISTED,
    ),
    (
        "a likely copy accuses no signed photograph",
        [manifest(CAPTURE), registry(MatchTier.COPY_LIKELY)],
        Origin.CAPTURE_CLAIMED,
        Assurance.SIGNED_TRUSTED,
    ),
    (
        "attested picture with an AI label",
        [registry(MatchTier.EXACT, RecordKind.ATTESTED), label(AI)],
        Origin.CONFLICTING,
        Assurance.REGISTERED,
    ),
    (
        "two trusted manifests that disagree",
        [manifest(CAPTURE), manifest(AI)],
        Origin.CONFLICTING,
        Assurance.SIGNED_TRUSTED,
    ),
    ("unsigned AI label", [label(AI)], Origin.MACHINE_MADE, Assurance.HINT),
    ("unsigned edit label", [label(PARTLY)], Origin.MACHINE_EDITED, Assurance.HINT),
    (
        "made and edited are no conflict",
        [label(AI), label(PARTLY)],
        Origin.MACHINE_EDITED,
        Assurance.HINT,
    ),
    ("unsigned capture label", [label(CAPTURE)], Origin.UNKNOWN, Assurance.NONE),
    ("unsigned human label", [label(HUMAN)], Origin.UNKNOWN, Assurance.NONE),
    (
        "two unsigned labels that disagree",
        [label(AI), label(CAPTURE)],
        Origin.CONFLICTING,
        Assurance.HINT,
    ),
    (
        "an added capture label whitewashes no registered picture",
        [registry(MatchTier.EXACT), label(CAPTURE)],
        Origin.MACHINE_MADE,
        Assurance.REGISTERED,
    ),
    (
        "an added capture label whitewashes no keyed mark",
        [mark(), label(AI), label(CAPTURE)],
        Origin.MACHINE_MADE,
        Assurance.HINT,
    ),
    (
        "NovelAI's signature",
        [label(AI, signed_by="NovelAI")],
        Origin.MACHINE_MADE,
        Assurance.SIGNED_TRUSTED,
    ),
    ("unkeyed watermark", [mark(key_id=None)], Origin.MACHINE_MADE, Assurance.HINT),
]


def verdict_on(evidence: Sequence[Evidence], policy: Policy = STANDARD) -> Verdict:
    return decide(evidence, policy, {"C2PA": "2026-08-05"})


@pytest.mark.parametrize(
    ("evidence", "origin", "assurance"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_decide_settles_the_case(
    evidence: list[Evidence], origin: Origin, assurance: Assurance
) -> None:
    verdict = verdict_on(evidence)
    assert (verdict.origin, verdict.assurance) == (origin, assurance)
    # The order in which sources answer decides nothing.
    turned = verdict_on(evidence[::-1])
    assert (turned.origin, turned.assurance) == (origin, assurance)


REPORTS = st.builds(
    ManifestReport,
    credential=st.sampled_from(Credential),
    integrity=st.sampled_from(Integrity),
    signer=st.sampled_from(SignerTrust),
    signing_time=st.sampled_from(SigningTime),
    history=st.sampled_from(History),
    claim=st.sampled_from(SourceClaim),
    ambiguous=st.booleans(),
)
FINDINGS = st.sampled_from(Finding)
RECORDS = st.sampled_from([None, RECORD, OTHER_RECORD])
EVIDENCE = st.one_of(
    st.builds(
        ManifestEvidence,
        finding=FINDINGS,
        reason=st.just("manifest"),
        report=REPORTS,
        source=st.sampled_from(["c2pa", "c2pa_recovered"]),
    ),
    st.builds(
        WatermarkEvidence,
        finding=FINDINGS,
        reason=st.just("mark"),
        record_id=RECORDS,
        key_id=st.sampled_from([None, "k1"]),
    ),
    st.builds(
        SignpostEvidence,
        finding=FINDINGS,
        reason=st.just("signpost"),
        registry=st.sampled_from([None, "acme.io/cm"]),
    ),
    st.builds(
        KnownMarkEvidence,
        finding=FINDINGS,
        reason=st.just("known mark"),
        claim=st.sampled_from(SourceClaim),
    ),
    st.builds(
        VisibleMarkEvidence,
        finding=FINDINGS,
        reason=st.just("visible mark"),
        claim=st.sampled_from([SourceClaim.FULLY_AI, SourceClaim.NO_CLAIM]),
    ),
    st.builds(
        RegistryEvidence,
        finding=FINDINGS,
        reason=st.just("registry"),
        basis=st.sampled_from([None, *MatchBasis]),
        tier=st.sampled_from([None, *MatchTier]),
        record_id=RECORDS,
        kind=st.sampled_from([None, *RecordKind]),
        revoked=st.booleans(),
    ),
    st.builds(
        MetadataEvidence,
        finding=FINDINGS,
        reason=st.just("label"),
        claim=st.sampled_from(SourceClaim),
        signed_by=st.sampled_from([None, "NovelAI"]),
    ),
    st.builds(SourceFailure, source=st.just("x"), reason=st.just("broke")),
)
SHIPPED_POLICIES = [load_policy(name) for name in SHIPPED]
POLICIES = st.builds(Policy, weakest=st.sampled_from([a for a in Assurance if a != "none"]))


@settings(deadline=None)
@given(st.lists(EVIDENCE, max_size=6), POLICIES)
def test_decide_is_total_and_its_verdict_well_formed(
    evidence: list[Evidence], policy: Policy
) -> None:
    verdict = verdict_on(evidence, policy)
    assert verdict.evidence == tuple(evidence)
    assert len(verdict.reasons) >= 2
    assert len(set(verdict.reasons)) == len(verdict.reasons)
    ranks = list(Assurance)
    if verdict.origin is not Origin.UNKNOWN:
        assert ranks.index(verdict.assurance) <= ranks.index(policy.weakest)
    assert (verdict.origin is Origin.CONFLICTING) == bool(verdict.contradictions)
    for shipped in SHIPPED_POLICIES:
        choose_action(verdict, shipped)


@settings(deadline=None)
@given(st.lists(EVIDENCE, max_size=6), st.randoms())
def test_decide_does_not_depend_on_the_order_of_evidence(
    evidence: list[Evidence], rng: Random
) -> None:
    shuffled = list(evidence)
    rng.shuffle(shuffled)
    one, other = verdict_on(evidence), verdict_on(shuffled)
    assert (one.origin, one.assurance, one.record_id) == (
        other.origin,
        other.assurance,
        other.record_id,
    )


@settings(deadline=None)
@given(st.lists(EVIDENCE, max_size=6))
def test_claims_of_people_and_cameras_are_never_inferred(evidence: list[Evidence]) -> None:
    verdict = verdict_on(evidence)
    if verdict.origin in CLAIMS:
        assert any(
            (o := form_opinion(item)) is not None
            and o.origin is verdict.origin
            and o.rung >= Rung.UNLISTED_SIGNATURE
            for item in evidence
        )


@settings(deadline=None)
@given(st.lists(EVIDENCE, max_size=6))
def test_evidence_that_found_nothing_changes_nothing(evidence: list[Evidence]) -> None:
    silent = [e for e in evidence if e.finding is not Finding.PRESENT]
    assert verdict_on(silent).origin is Origin.UNKNOWN
    loud = [e for e in evidence if e.finding is Finding.PRESENT]
    one, other = verdict_on(evidence), verdict_on(loud)
    assert (one.origin, one.assurance, one.record_id) == (
        other.origin,
        other.assurance,
        other.record_id,
    )


def test_every_pair_of_settled_cases_has_an_answer() -> None:
    for (_, one, *_), (_, other, *_) in itertools.product(CASES, repeat=2):
        verdict = verdict_on([*one, *other])
        assert (verdict.origin is Origin.UNKNOWN) == (verdict.assurance is Assurance.NONE)


@pytest.mark.parametrize("tier", [MatchTier.EXACT, MatchTier.TRANSPLANT, MatchTier.UNCONFIRMED])
def test_record_id_is_given_when_a_record_stands_behind_the_answer(tier: MatchTier) -> None:
    assert verdict_on([mark(), registry(tier)]).record_id == RECORD


def test_record_id_of_the_surest_match_wins() -> None:
    evidence = [
        registry(MatchTier.COPY_STRONG, record_id=OTHER_RECORD),
        registry(MatchTier.EXACT),
    ]
    assert verdict_on(evidence).record_id == RECORD
    assert verdict_on(evidence[::-1]).record_id == RECORD


def test_a_similar_record_is_not_named_as_the_answer() -> None:
    assert verdict_on([registry(MatchTier.SIMILAR), label(AI)]).record_id is None


def test_a_forensic_policy_shows_hints_but_does_not_decide_by_them() -> None:
    strict = Policy(name="forensic", weakest=Assurance.SIGNED_UNLISTED)
    verdict = verdict_on([label(AI)], strict)
    assert verdict.origin is Origin.UNKNOWN
    assert any("a label" in reason for reason in verdict.reasons)
    assert verdict.policy_id == f"forensic-1/{strict.digest}" != STANDARD.policy_id
    assert any('By the policy "forensic"' in reason for reason in verdict.reasons)
    assert verdict_on([manifest()], strict).origin is Origin.MACHINE_MADE


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ([], "does not mean that a person made it"),
        ([broken_manifest()], "claim is unbound"),
        ([broken_manifest()], "this file is not that file"),
        ([manifest(time=SigningTime.EXPIRED)], "Expired does not mean tampered"),
        ([manifest(history=History.DAMAGED_INGREDIENT)], "already damaged"),
        ([manifest(CAPTURE)], "not proof"),
        ([mark(), registry(MatchTier.TRANSPLANT)], "belongs to another picture"),
        ([registry(MatchTier.SIMILAR)], "never proof"),
        ([SourceFailure("c2pa", "took too long")], '"c2pa" could not look: took too long'),
        ([label(AI)], "hint, not proof"),
    ],
)
def test_reasons_say_what_it_does_not_mean(evidence: list[Evidence], words: str) -> None:
    assert words in " ".join(verdict_on(evidence).reasons)


KEEP, DROP, REVIEW = FilterAction.KEEP, FilterAction.DROP, FilterAction.REVIEW


@pytest.mark.parametrize(
    ("evidence", "strict", "default", "lenient"),
    [
        ([], KEEP, KEEP, KEEP),
        ([manifest(CAPTURE)], KEEP, KEEP, KEEP),
        ([manifest(HUMAN)], KEEP, KEEP, KEEP),
        ([registry(MatchTier.EXACT)], DROP, DROP, DROP),
        ([manifest(PARTLY, signer=UNLISTED)], DROP, DROP, DROP),
        ([label(AI)], DROP, DROP, KEEP),
        ([mark()], DROP, DROP, KEEP),
        ([mark(key_id=None)], DROP, REVIEW, KEEP),
        ([mark(key_id=None), label(AI)], DROP, DROP, KEEP),
        ([label(AI), label(CAPTURE)], DROP, REVIEW, REVIEW),
        ([mark(), registry(MatchTier.TRANSPLANT)], DROP, REVIEW, REVIEW),
    ],
)
def test_choose_action_follows_the_three_policies(
    evidence: list[Evidence], strict: FilterAction, default: FilterAction, lenient: FilterAction
) -> None:
    verdict = verdict_on(evidence)
    chosen = [choose_action(verdict, load_policy(n))[0] for n in ("strict", "default", "lenient")]
    assert chosen == [strict, default, lenient]


def test_choose_action_gives_a_stable_reason_code() -> None:
    verdict = verdict_on([registry(MatchTier.EXACT)])
    assert choose_action(verdict, STANDARD)[1] == "machine_made.registered"
    verdict = verdict_on([mark(key_id=None)])
    code = choose_action(verdict, STANDARD)[1]
    assert code == "machine_made.hint.unkeyed_watermark"


def test_machine_and_claims_share_no_origin() -> None:
    assert not MACHINE & CLAIMS
