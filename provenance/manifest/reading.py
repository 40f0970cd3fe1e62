"""Reads a C2PA manifest in layers that are never folded into one boolean.

The engine's own summary misleads both ways: *Valid* includes any self-made certificate, *Invalid*
includes an intact picture whose certificate has expired since. So each layer is computed from the
status codes: credential, integrity, signer, time, history, claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provenance.manifest import sdk
from provenance.manifest.codes import FailureKind, failure_kind, is_hard_binding_match
from provenance.manifest.heal import read_store_bytes
from provenance.manifest.history import content_manifest_label, walk_claims
from provenance.manifest.hostile import (
    clean_text,
    items_of,
    mapping_of,
    soft_binding_text,
    text_of,
    time_of,
    values_of,
)
from provenance.manifest.rubrics import read_rubric
from provenance.manifest.trust import AnchorKind
from provenance.types import (
    Credential,
    History,
    Integrity,
    ManifestReport,
    SignerTrust,
    SigningTime,
    SoftBinding,
    SourceClaim,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from provenance.manifest.trust import TrustSettings

__all__ = ["credential_without_reading", "interpret", "read_manifest", "read_store_bytes"]

_MAX_CODES = 500
_MAX_SHOWN_CODES = 50
_MAX_SOFT_BINDINGS = 32
_TRUSTED = "signingCredential.trusted"
_STORE_URI = "self#jumbf=/c2pa/"
_STORE_MARKERS = (b"jumb", b"c2pa")
"""Any JUMBF box type or C2PA label; a file without either carries no manifest, damaged or not."""


def read_manifest(
    data: bytes,
    media_type: str,
    *,
    trust: TrustSettings,
    manifest_store: bytes | None = None,
) -> ManifestReport:
    """Reads and validates; opens no connection, raises for no input.

    Args:
        data: The whole file, within the caller's limit on bytes.
        media_type: By content.
        trust: Whom to believe.
        manifest_store: A store from the registry, to be judged against `data`.

    Returns:
        The layers. Without a readable manifest only `credential` says anything.
    """
    reading = sdk.read_store(data, media_type, trust=trust, manifest_store=manifest_store)
    if isinstance(reading, sdk.ReadFailure):
        return ManifestReport(credential=credential_without_reading(reading, data))
    found = Credential.EMBEDDED if manifest_store is None else Credential.RECOVERED
    return interpret(reading, credential=found)


def credential_without_reading(failure: sdk.ReadFailure, data: bytes) -> Credential:
    """What a file that the engine gives no reading of carries."""
    if failure is sdk.ReadFailure.REMOTE_NOT_FETCHED:
        return Credential.REMOTE_NOT_FETCHED
    has_marker = any(marker in data for marker in _STORE_MARKERS)
    if failure is sdk.ReadFailure.MALFORMED and has_marker:
        return Credential.MALFORMED
    return Credential.NONE


def interpret(reading: sdk.EngineReading, *, credential: Credential) -> ManifestReport:
    """Folds the engine's codes into layers. Pure.

    Args:
        reading: What the engine read; untrusted.
        credential: Where the store was found.
    """
    codes = _sort_codes(reading)
    label = reading.report.get("active_manifest")
    active = _crjson_manifest(reading.crjson, label)
    time = _signing_time(codes, reading, active)
    signer, trust_list = _signer(codes, reading, time)
    walk = walk_claims(reading.report, _updates(reading), _trusted_ingredients(reading))
    damaged = any(failure_kind(c) is FailureKind.INGREDIENT for c in codes.failures)
    damaged = damaged or bool(codes.delta_failures)
    strongest = walk.strongest
    return ManifestReport(
        credential=credential,
        integrity=_integrity(codes, reading.state),
        signer=signer,
        signing_time=time,
        history=History.DAMAGED_INGREDIENT if damaged else walk.history,
        claim=strongest.claim if strongest else SourceClaim.NO_CLAIM,
        claim_path=strongest.path if strongest else None,
        claim_vouched=strongest.is_vouched if strongest else True,
        parent_claim=walk.parent_claim,
        ingredients=walk.ingredients,
        ambiguous=walk.ambiguous,
        signer_name=_signer_name(active) if signer is SignerTrust.TRUSTED else None,
        trust_list=trust_list,
        claim_generator=_claim_generator(reading),
        manifest_label=text_of(label),
        soft_bindings=tuple(_soft_bindings(reading)),
        codes=tuple(dict.fromkeys(codes.failures + codes.delta_failures))[:_MAX_SHOWN_CODES],
        signed_at=_signed_at(reading, active),
        rubric=read_rubric(reading.crjson, text_of(label)),
    )


# -- codes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Codes:
    """Status codes of one reading.

    Attributes:
        successes: Codes on the active manifest's signature, with their explanation.
        hard_binding_matches: Of the active manifest, or of the parent of an update manifest.
        time_failures: Time-stamp codes that are not successes.
        failures: Of the active manifest.
        delta_failures: Of ingredients, beyond what was recorded when they were added; without
            opinions on certificates.
    """

    successes: Mapping[str, str]
    hard_binding_matches: bool
    time_failures: tuple[str, ...]
    failures: tuple[str, ...]
    delta_failures: tuple[str, ...]


def _sort_codes(reading: sdk.EngineReading) -> _Codes:
    results = mapping_of(reading.report.get("validation_results"))
    active = mapping_of(results.get("activeManifest"))
    signature = f"{_STORE_URI}{reading.report.get('active_manifest')}/c2pa.signature"
    content = content_manifest_label(reading.report, _updates(reading))
    successes = list(_statuses(active.get("success")))
    informational = [code for code, _, _ in _statuses(active.get("informational"))]
    deltas = [
        code
        for delta in _deltas(results)
        for code, _, _ in _statuses(delta.get("failure"))
        if failure_kind(code) not in (FailureKind.CREDENTIAL, FailureKind.TIME)
    ]
    failures = [code for code, _, _ in _statuses(active.get("failure"))]
    return _Codes(
        # An ingredient's good standing must never count for the active manifest.
        successes={code: text for code, url, text in successes if url == signature},
        hard_binding_matches=any(
            is_hard_binding_match(code) and url.startswith(f"{_STORE_URI}{content}/")
            for code, url, _ in successes
        ),
        time_failures=tuple(c for c in informational + failures if c.startswith("timeStamp.")),
        failures=tuple(failures),
        delta_failures=tuple(deltas),
    )


def _statuses(statuses: Any) -> Iterator[tuple[str, str, str]]:
    for status in values_of(statuses, limit=_MAX_CODES):
        code = text_of(status.get("code")) or "unnamed"
        yield code, str(status.get("url", "")), str(status.get("explanation", ""))


# -- layers ------------------------------------------------------------------------------------


def _integrity(codes: _Codes, state: sdk.StoreState) -> Integrity:
    kinds = {failure_kind(code) for code in codes.failures}
    if kinds & {FailureKind.MANIFEST, FailureKind.INGREDIENT} or codes.delta_failures:
        return Integrity.MANIFEST_ALTERED
    if FailureKind.CONTENT in kinds:
        return Integrity.CONTENT_CHANGED
    if FailureKind.UNKNOWN in kinds:
        return Integrity.NOT_CHECKABLE
    if "claimSignature.validated" not in codes.successes or not codes.hard_binding_matches:
        return Integrity.NOT_CHECKABLE
    if state is sdk.StoreState.INVALID and not kinds:
        # The engine objects to something that it does not name.
        return Integrity.NOT_CHECKABLE
    return Integrity.INTACT


def _signing_time(
    codes: _Codes, reading: sdk.EngineReading, active: Mapping[str, Any]
) -> SigningTime:
    if _is_stamp_trusted(codes, reading):
        return SigningTime.STAMPED_TRUSTED
    expired = {"signingCredential.expired", "claimSignature.outsideValidity"} & set(codes.failures)
    # NOTE: for claims of version 1 the engine trusts any time-stamp ("legacy"), even one of the
    # attacker's own making, and then lets an expired certificate pass. So the dates are checked.
    if expired or not _is_within_validity(active):
        return SigningTime.EXPIRED
    stamped = "timeStamp.validated" in codes.successes or codes.time_failures
    return SigningTime.STAMPED_UNTRUSTED if stamped else SigningTime.UNSTAMPED_CURRENT


def _is_stamp_trusted(codes: _Codes, reading: sdk.EngineReading) -> bool:
    if "timeStamp.validated" not in codes.successes:
        return False
    explanation = codes.successes.get("timeStamp.trusted", "")
    # NOTE: the engine names the list of a time-stamp only in this sentence, and lets manifest
    # anchors vouch for time-stamps; when the sentence changes, the stamp counts as untrusted.
    _, found, uri = explanation.partition("trust list: ")
    name = reading.trust_names.get(uri.strip()) if found else None
    return name is not None and AnchorKind.TSA in name.kinds


def _is_within_validity(active: Mapping[str, Any]) -> bool:
    validity = mapping_of(_certificate(active).get("validity"))
    results = mapping_of(active.get("validationResults"))
    try:
        start = _utc(validity.get("notBefore"))
        end = _utc(validity.get("notAfter"))
        checked = results.get("validationTime")
        now = _utc(checked) if checked is not None else datetime.now(UTC)
    except ValueError:
        return False
    return start <= now <= end


def _utc(text: Any) -> datetime:
    stamp = datetime.fromisoformat(str(text))
    return stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=UTC)


def _signer(
    codes: _Codes, reading: sdk.EngineReading, time: SigningTime
) -> tuple[SignerTrust, str | None]:
    failures = set(codes.failures)
    if "signingCredential.ocsp.revoked" in failures:
        return SignerTrust.REVOKED, None
    if "signingCredential.invalid" in failures:
        return SignerTrust.INVALID_CERTIFICATE, None
    is_signed = "claimSignature.validated" in codes.successes
    objections = {c for c in failures if failure_kind(c) is FailureKind.CREDENTIAL}
    if not is_signed or objections or time is SigningTime.EXPIRED:
        return SignerTrust.UNTRUSTED, None
    results = mapping_of(reading.report.get("validation_results"))
    name = reading.trust_names.get(str(results.get("trustListUri")))
    # NOTE: the engine trusts a signer under an anchor that is meant for time-stamps.
    may_sign = name is not None and AnchorKind.MANIFEST in name.kinds
    if name is None or not may_sign or _TRUSTED not in codes.successes:
        return SignerTrust.UNTRUSTED, None
    return SignerTrust.TRUSTED, name.name


def _trusted_ingredients(reading: sdk.EngineReading) -> frozenset[str]:
    """Labels of the ingredients' manifests whose signers the lists in force vouch for.

    The engine tells only what differs from what the adder recorded, so that both count; where
    two adders recorded opposite things, the doubt does.
    """
    results = mapping_of(reading.report.get("validation_results"))
    recorded = [
        mapping_of(ingredient.get("validation_results"))
        for manifest in mapping_of(reading.report.get("manifests")).values()
        for ingredient in values_of(mapping_of(manifest).get("ingredients"), limit=_MAX_CODES)
    ]
    then = [mapping_of(one.get("activeManifest")) for one in recorded]
    then += [delta for one in recorded for delta in _deltas(one)]
    good_then, bad_then = _opinions_on_signers(then)
    good_now, bad_now = _opinions_on_signers(_deltas(results))
    return frozenset((good_now | (good_then - bad_then)) - bad_now)


def _deltas(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        mapping_of(delta.get("validationDeltas"))
        for delta in values_of(results.get("ingredientDeltas"), limit=_MAX_CODES)
    ]


def _opinions_on_signers(results: Iterable[Mapping[str, Any]]) -> tuple[set[str], set[str]]:
    """Labels of manifests whose signers were called trusted, and of those objected to."""
    good: set[str] = set()
    bad: set[str] = set()
    for one in results:
        good |= {_label_in(u) for c, u, _ in _statuses(one.get("success")) if c == _TRUSTED}
        bad |= {
            _label_in(url)
            for code, url, _ in _statuses(one.get("failure"))
            if failure_kind(code) is FailureKind.CREDENTIAL
        }
    return good, bad


def _label_in(url: str) -> str:
    return url.removeprefix(_STORE_URI).partition("/")[0]


# -- descriptions ------------------------------------------------------------------------------


def _crjson_manifest(crjson: Mapping[str, Any], label: Any) -> Mapping[str, Any]:
    for manifest in items_of(crjson.get("manifests")):
        if isinstance(manifest, dict) and manifest.get("label") == label:
            return manifest
    return {}


def _updates(reading: sdk.EngineReading) -> frozenset[str]:
    return frozenset(
        str(manifest.get("label"))
        for manifest in values_of(reading.crjson.get("manifests"), limit=_MAX_CODES)
        if manifest.get("isUpdateManifest") is True
    )


def _certificate(active: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping_of(mapping_of(active.get("signature")).get("certificateInfo"))


def _signer_name(active: Mapping[str, Any]) -> str | None:
    subject = mapping_of(_certificate(active).get("subject"))
    return text_of(subject.get("O")) or text_of(subject.get("CN"))


def _claim_generator(reading: sdk.EngineReading) -> str | None:
    label = content_manifest_label(reading.report, _updates(reading))
    manifest = mapping_of(mapping_of(reading.report.get("manifests")).get(label or ""))
    for info in values_of(manifest.get("claim_generator_info"), limit=1):
        parts = (text_of(info.get("name")), text_of(info.get("version")))
        name = " ".join(part for part in parts if part)
        if name:
            return clean_text(name)
    return text_of(manifest.get("claim_generator"))


def _signed_at(reading: sdk.EngineReading, active: Mapping[str, Any]) -> str | None:
    stamp = mapping_of(mapping_of(active.get("signature")).get("timeStampInfo"))
    stamped = time_of(stamp.get("timestamp"))
    if stamped is not None:
        return stamped
    label = content_manifest_label(reading.report, _updates(reading))
    assertions = mapping_of(_crjson_manifest(reading.crjson, label).get("assertions"))
    for name, data in assertions.items():
        if name.startswith("c2pa.actions"):
            for action in values_of(mapping_of(data).get("actions"), limit=1):
                return time_of(action.get("when"))
    return None


def _soft_bindings(reading: sdk.EngineReading) -> Iterator[SoftBinding]:
    # crJSON, because the other view shows byte strings and lists of integers alike.
    label = content_manifest_label(reading.report, _updates(reading))
    assertions = mapping_of(_crjson_manifest(reading.crjson, label).get("assertions"))
    left = _MAX_SOFT_BINDINGS
    for name, data in assertions.items():
        if not name.startswith("c2pa.soft-binding"):
            continue
        alg = text_of(mapping_of(data).get("alg"))
        for block in values_of(mapping_of(data).get("blocks"), limit=left):
            left -= 1
            value = soft_binding_text(block.get("value"))
            if alg is not None and value is not None:
                yield SoftBinding(alg, value)
