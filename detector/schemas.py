"""A verdict as JSON: one shape for the command line and the HTTP service."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal, assert_never

from pydantic import BaseModel, ConfigDict

# pydantic reads these annotations at run time.
from detector.layers import describe_layers
from detector.policy import STANDARD, Policy, choose_action
from provenance.types import (
    Assurance,
    BindingState,
    Credential,
    FilterAction,
    Finding,
    History,
    Integrity,
    KnownMarkEvidence,
    Making,
    ManifestEvidence,
    MatchBasis,
    MatchTier,
    MetadataEvidence,
    Origin,
    RecordKind,
    RegistryEvidence,
    SignerTrust,
    SigningTime,
    SignpostEvidence,
    SourceClaim,
    SourceFailure,
    Substitution,
    VisibleMarkEvidence,
    WatermarkEvidence,
)
from provenance.types.base import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.config import JsonDict

    from provenance.types import Evidence, Verdict

__all__ = ["Disclosure", "EvidenceView", "VerdictView", "view_verdict"]


class Disclosure(StrEnum):
    """What of a file's own words an answer repeats.

    PUBLIC: nothing that may point at a person. PRIVATE: prompts, names, serials and positions
    too, for somebody who holds the file anyway.
    """

    PUBLIC = "public"
    PRIVATE = "private"


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SoftBindingView(_View):
    """A soft binding of the active manifest."""

    alg: str
    value: str
    state: BindingState


class RubricView(_View):
    """The conformance programme's names for one manifest; see `provenance.types.RubricReading`."""

    manifest_label: str
    classes: tuple[str, ...]


class IngredientView(_View):
    """What the picture was made of, or from; see `provenance.types.IngredientReport`."""

    relationship: str
    manifest_label: str | None
    state: History


class ManifestView(_View):
    """What a C2PA manifest shows, in layers; see `provenance.types.ManifestReport`.

    `words` holds a sentence for each layer, by the field's name; `rubric` the class names of the
    C2PA conformance programme, the active manifest first.
    """

    source: Literal["c2pa", "c2pa_recovered", "c2pa_sidecar"]
    finding: Finding
    reason: str
    credential: Credential
    integrity: Integrity
    signer: SignerTrust
    signing_time: SigningTime
    history: History
    claim: SourceClaim
    claim_path: str | None
    claim_vouched: bool
    parent_claim: SourceClaim | None
    ingredients: tuple[IngredientView, ...]
    ambiguous: bool
    signer_name: str | None
    trust_list: str | None
    claim_generator: str | None
    manifest_label: str | None
    soft_bindings: tuple[SoftBindingView, ...]
    substitution: Substitution
    codes: tuple[str, ...]
    signed_at: str | None
    words: dict[str, str]
    rubric: tuple[RubricView, ...]


class MarkRegionView(_View):
    """Where a mark was found, pixels of the upright picture; see `provenance.types.MarkRegion`."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


class MarkGeometryView(_View):
    """What was done to a picture since it was marked; see `provenance.types.MarkGeometry`."""

    mirrored: bool
    rotation_deg: float
    scale: float
    stretch: float
    shear: float


class WatermarkView(_View):
    """What our keyed mark says; see `provenance.types.WatermarkEvidence`."""

    source: Literal["watermark"]
    finding: Finding
    reason: str
    codec: str
    record_id: str | None
    p_value: float | None
    key_id: str | None
    margin: float | None
    geometry: MarkGeometryView | None
    region: MarkRegionView | None


class SignpostView(_View):
    """Where a public mark says to ask; see `provenance.types.SignpostEvidence`."""

    source: Literal["signpost"]
    finding: Finding
    reason: str
    registry: str | None
    p_value: float | None


class KnownMarkView(_View):
    """Another program's mark; see `provenance.types.KnownMarkEvidence`."""

    source: Literal["known_watermark"]
    finding: Finding
    reason: str
    tool: str | None
    claim: SourceClaim
    method: str | None
    path: str | None
    geometry: str | None
    statistic: float | None
    p_value: float | None


class VisibleMarkView(_View):
    """What people see on the picture; see `provenance.types.VisibleMarkEvidence`."""

    source: Literal["visible_mark"]
    finding: Finding
    reason: str
    agency: str | None
    read: str | None
    legibility: float | None
    claim: SourceClaim
    overlay: bool
    statistic: float | None


class RegistryView(_View):
    """What this registry says; see `provenance.types.RegistryEvidence`."""

    source: Literal["registry"]
    finding: Finding
    reason: str
    basis: MatchBasis | None
    tier: MatchTier | None
    record_id: str | None
    kind: RecordKind | None
    claim: SourceClaim | None
    claimant: str | None
    distance_bits: int | None
    cosine: float | None
    inliers: int | None
    agreement: float | None
    view: str | None
    revoked: bool
    notice: str | None


class SettingsView(_View):
    """How a generator says that it worked; see `provenance.types.GenerationSettings`.

    `prompt` and `negative_prompt` are null unless private data was asked for.
    """

    model: str | None
    model_hash: str | None
    sampler: str | None
    scheduler: str | None
    steps: int | None
    guidance: float | None
    seed: int | None
    width_px: int | None
    height_px: int | None
    strength: float | None
    clip_skip: int | None
    prompt: str | None
    negative_prompt: str | None


class MetadataView(_View):
    """What an unsigned label says; see `provenance.types.MetadataEvidence`.

    `private` is null unless private data was asked for; `redacted` says that there is some.
    """

    source: Literal["metadata"]
    finding: Finding
    reason: str
    tool: str | None
    version: str | None
    place: str | None
    claim: SourceClaim
    making: Making | None
    level: Literal["signed", "unsigned"]
    settings: SettingsView | None
    detail: dict[str, str | int | float | bool | None]
    private: dict[str, str | int | float | bool | None] | None
    redacted: bool
    signed_by: str | None


class FailureView(_View):
    """A source that could not look."""

    source: str
    finding: Literal[Finding.UNREADABLE]
    reason: str


EvidenceView = (
    ManifestView
    | WatermarkView
    | SignpostView
    | KnownMarkView
    | RegistryView
    | MetadataView
    | VisibleMarkView
    | FailureView
)


class StatementView(_View):
    """What one piece of evidence says; see `provenance.types.Statement`."""

    says: str
    source: str
    assurance: Assurance
    reason: str


class ContradictionView(_View):
    """Two sides of which at most one is true; see `provenance.types.Contradiction`."""

    left: tuple[StatementView, ...]
    right: tuple[StatementView, ...]


VERDICT_EXAMPLE: JsonDict = {
    "file": "house.png",
    "sha256": "6f1d3c" + 58 * "0",
    "origin": "machine_made",
    "assurance": "registered",
    "record_id": "3f2a9c0d11e87b46",
    "evidence": [
        {
            "source": "registry",
            "finding": "present",
            "reason": "exactly this file is registered here",
            "basis": "file_hash",
            "tier": "exact",
            "record_id": "3f2a9c0d11e87b46",
            "kind": "generated",
            "claim": None,
            "claimant": None,
            "distance_bits": None,
            "cosine": None,
            "inliers": None,
            "agreement": None,
            "view": None,
            "revoked": False,
            "notice": None,
        }
    ],
    "means": "This service's own registry says that a machine made this picture.",
    "does_not_mean": "It does not say who published it or whether what it shows is true.",
    "reasons": [
        "This service's own registry says that a machine made this picture.",
        "It does not say who published it or whether what it shows is true.",
        "exactly this file is registered here",
    ],
    "contradictions": [],
    "policy_id": "default-1/0123456789abcdef",
    "filter_action": "drop",
    "filter_reason": "machine_made.registered",
    "list_dates": {"C2PA trust list": "2026-08-05", "C2PA TSA trust list": "2026-08-05"},
    "claimant": None,
    "error": None,
}


class VerdictView(_View):
    """The answer to one file.

    Attributes:
        file: What the caller calls it.
        sha256: Of the bytes as they came.
        origin: What the evidence shows.
        assurance: The highest rung that decided.
        record_id: Set whenever a record stands behind the answer.
        evidence: All of it, also what did not decide.
        means: The answer in a sentence.
        does_not_mean: Its limit in a sentence.
        reasons: Those two, and then every other sentence that the evidence calls for.
        contradictions: Each side by side, where the origin is conflicting; else empty.
        policy_id: Name, version of the rules and digest of the policy.
        filter_action: What a training set does with the file under that policy.
        filter_reason: Why: a short stable code.
        list_dates: Date of each trust list used.
        claimant: Who signed the claim that `origin` names, where that is known.
        error: Why the pixels could not be decoded; null when they could.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [VERDICT_EXAMPLE]}
    )

    file: str
    sha256: str
    origin: Origin
    assurance: Assurance
    record_id: str | None
    evidence: tuple[EvidenceView, ...]
    means: str
    does_not_mean: str
    reasons: tuple[str, ...]
    contradictions: tuple[ContradictionView, ...]
    policy_id: str
    filter_action: FilterAction
    filter_reason: str
    list_dates: dict[str, str]
    claimant: str | None = None
    error: str | None = None


def view_verdict(
    verdict: Verdict,
    *,
    file: str,
    sha256: str,
    error: str | None = None,
    policy: Policy = STANDARD,
    disclosure: Disclosure = Disclosure.PUBLIC,
) -> VerdictView:
    """The JSON view of a verdict.

    Args:
        verdict: What was decided.
        file: What the caller calls the file.
        sha256: Hex digest of its bytes.
        error: Why its pixels could not be decoded.
        policy: The one that decided; it says what a training set does.
        disclosure: Whether private data is repeated.

    Raises:
        InputError: Another policy decided.
    """
    decided_by = verdict.policy_id
    require(decided_by == policy.policy_id, f"{decided_by} decided, not {policy.policy_id}")
    action, reason_code = choose_action(verdict, policy)
    return VerdictView(
        file=file,
        sha256=sha256,
        origin=verdict.origin,
        assurance=verdict.assurance,
        record_id=verdict.record_id,
        evidence=tuple(_view_evidence(item, disclosure) for item in verdict.evidence),
        means=verdict.reasons[0],
        does_not_mean=verdict.reasons[1],
        reasons=verdict.reasons,
        contradictions=tuple(
            ContradictionView.model_validate(one, from_attributes=True)
            for one in verdict.contradictions
        ),
        policy_id=verdict.policy_id,
        filter_action=action,
        filter_reason=reason_code,
        list_dates=dict(verdict.list_dates),
        claimant=verdict.claimant,
        error=error,
    )


def _view_evidence(item: Evidence, disclosure: Disclosure) -> EvidenceView:
    match item:
        case ManifestEvidence():
            return _view_manifest(item)
        case WatermarkEvidence():
            return WatermarkView.model_validate(item, from_attributes=True)
        case SignpostEvidence():
            return SignpostView.model_validate(item, from_attributes=True)
        case KnownMarkEvidence():
            return KnownMarkView.model_validate(item, from_attributes=True)
        case RegistryEvidence():
            return RegistryView.model_validate(item, from_attributes=True)
        case MetadataEvidence():
            return _view_metadata(item, disclosure)
        case VisibleMarkEvidence():
            return VisibleMarkView.model_validate(item, from_attributes=True)
        case SourceFailure():
            return FailureView.model_validate(item, from_attributes=True)
        case _:
            assert_never(item)


def _view_manifest(item: ManifestEvidence) -> ManifestView:
    report = item.report
    return ManifestView(
        source=item.source,
        finding=item.finding,
        reason=item.reason,
        credential=report.credential,
        integrity=report.integrity,
        signer=report.signer,
        signing_time=report.signing_time,
        history=report.history,
        claim=report.claim,
        claim_path=report.claim_path,
        claim_vouched=report.claim_vouched,
        parent_claim=report.parent_claim,
        ingredients=tuple(
            IngredientView.model_validate(one, from_attributes=True) for one in report.ingredients
        ),
        ambiguous=report.ambiguous,
        signer_name=report.signer_name,
        trust_list=report.trust_list,
        claim_generator=report.claim_generator,
        manifest_label=report.manifest_label,
        soft_bindings=tuple(_view_bindings(item)),
        substitution=item.substitution,
        codes=report.codes,
        signed_at=report.signed_at,
        words=dict(describe_layers(item)),
        rubric=tuple(RubricView.model_validate(one, from_attributes=True) for one in report.rubric),
    )


def _view_bindings(item: ManifestEvidence) -> Iterator[SoftBindingView]:
    bindings = item.report.soft_bindings
    states = item.binding_states or (BindingState.NOT_EVALUATED,) * len(bindings)
    for one, state in zip(bindings, states, strict=True):
        yield SoftBindingView(alg=one.alg, value=one.value, state=state)


def _view_metadata(item: MetadataEvidence, disclosure: Disclosure) -> MetadataView:
    is_private = disclosure is Disclosure.PRIVATE
    settings = (
        None
        if item.settings is None
        else SettingsView.model_validate(item.settings, from_attributes=True)
    )
    has_prompt = settings is not None and (settings.prompt or settings.negative_prompt)
    if settings is not None and not is_private:
        settings = settings.model_copy(update={"prompt": None, "negative_prompt": None})
    return MetadataView(
        source=item.source,
        finding=item.finding,
        reason=item.reason,
        tool=item.tool,
        version=item.version,
        place=item.place,
        claim=item.claim,
        making=item.making,
        level="unsigned" if item.signed_by is None else "signed",
        settings=settings,
        detail=dict(item.detail),
        private=dict(item.private) if is_private else None,
        redacted=not is_private and bool(item.private or has_prompt),
        signed_by=item.signed_by,
    )
