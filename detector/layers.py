"""Each layer of a manifest in its own words, never folded into one. Pure.

Every value of every layer has its sentence; the `match` statements are closed, so that a new value
fails type checking until it has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from provenance.types import (
    BindingState,
    Credential,
    History,
    Integrity,
    SignerTrust,
    SigningTime,
    SourceClaim,
    Substitution,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.types import ManifestEvidence, ManifestReport

__all__ = ["describe_layers"]

_READABLE = (Credential.EMBEDDED, Credential.SIDECAR, Credential.RECOVERED)


def describe_layers(item: ManifestEvidence) -> Mapping[str, str]:
    """A sentence for each layer that says anything, by its name.

    Without a readable manifest that is the first layer alone.
    """
    report = item.report
    words = {"credential": _credential(report.credential)}
    if report.credential not in _READABLE:
        return words
    return words | {
        "integrity": _integrity(report.integrity),
        "signer": _signer(report),
        "signing_time": _time(report.signing_time),
        "history": _history(report.history),
        "claim": _claim(report),
        "soft_bindings": _bindings(item),
        "substitution": _substitution(item.substitution),
    }


def _credential(value: Credential) -> str:
    match value:
        case Credential.NONE:
            return "The file carries no Content Credentials."
        case Credential.EMBEDDED:
            return "The Content Credentials stand in the file itself."
        case Credential.SIDECAR:
            return "The Content Credentials came in a file beside the picture."
        case Credential.REMOTE_NOT_FETCHED:
            return "The file says where its Content Credentials are kept; they were not fetched."
        case Credential.RECOVERED:
            return "The Content Credentials came out of this registry, not out of the file."
        case Credential.MALFORMED:
            return "There is something like Content Credentials, but it cannot be read."
        case _:
            assert_never(value)


def _integrity(value: Integrity) -> str:
    match value:
        case Integrity.INTACT:
            return "These are the bytes that were signed."
        case Integrity.CONTENT_CHANGED:
            return "The picture's bytes are not the signed ones."
        case Integrity.MANIFEST_ALTERED:
            return "The manifest itself is not as it was signed."
        case Integrity.NOT_CHECKABLE:
            return "It cannot be checked whether these are the signed bytes."
        case _:
            assert_never(value)


def _signer(report: ManifestReport) -> str:
    match report.signer:
        case SignerTrust.TRUSTED:
            return f"A list vouches for the signer: {report.trust_list}."
        case SignerTrust.UNTRUSTED:
            return "No list in force vouches for the signer; that is no sign of forgery."
        case SignerTrust.INVALID_CERTIFICATE:
            return "The signer's certificate breaks the C2PA profile."
        case SignerTrust.REVOKED:
            return "The signer's certificate was revoked."
        case _:
            assert_never(report.signer)


def _time(value: SigningTime) -> str:
    match value:
        case SigningTime.STAMPED_TRUSTED:
            return "A listed authority stamped the time of signing."
        case SigningTime.STAMPED_UNTRUSTED:
            return "There is a time-stamp, of an authority that is on no list."
        case SigningTime.UNSTAMPED_CURRENT:
            return "There is no time-stamp; the certificate is valid today."
        case SigningTime.EXPIRED:
            return "The certificate is not valid today, and no trusted stamp shows that it was."
        case _:
            assert_never(value)


def _history(value: History) -> str:
    match value:
        case History.CLEAN:
            return "Nothing that it was made of is known to be damaged."
        case History.DAMAGED_INGREDIENT:
            return "Something that it was made of has damaged credentials."
        case History.UNKNOWN_INGREDIENT:
            return "Something that it was made of has no credentials of its own."
        case _:
            assert_never(value)


def _claim(report: ManifestReport) -> str:
    said = _claim_itself(report.claim)
    if report.integrity is not Integrity.INTACT and report.claim is not SourceClaim.NO_CLAIM:
        said += " That is not bound to these pixels."
    return said + (" It may leave steps out." if report.ambiguous else "")


def _claim_itself(value: SourceClaim) -> str:
    match value:
        case SourceClaim.FULLY_AI:
            return "It says that generative AI made the picture."
        case SourceClaim.PARTLY_AI:
            return "It says that generative AI made or changed a part of the picture."
        case SourceClaim.POSSIBLY_AI:
            return "It leaves open whether generative AI took part."
        case SourceClaim.CAPTURE:
            return "It says that a camera captured the picture."
        case SourceClaim.HUMAN:
            return "It says that a person made the picture without generative AI."
        case SourceClaim.NOT_AI:
            return "It names a source that is not generative AI."
        case SourceClaim.NO_CLAIM:
            return "It does not say how the picture was made."
        case _:
            assert_never(value)


def _bindings(item: ManifestEvidence) -> str:
    total = len(item.report.soft_bindings)
    if not total:
        return "It names no mark and no fingerprint."
    count = {state: item.binding_states.count(state) for state in BindingState}
    rest = total - count[BindingState.AGREES] - count[BindingState.DISAGREES]
    return (
        f"Of {total} marks and fingerprints that it names, {count[BindingState.AGREES]} agree with "
        f"this picture, {count[BindingState.DISAGREES]} disagree, {rest} could not be checked."
    )


def _substitution(value: Substitution) -> str:
    match value:
        case Substitution.NONE:
            return "They are the credentials that this registry knows the picture with."
        case Substitution.EMBEDDED_DIFFERS:
            return "They are other credentials than this registry knows the picture with."
        case Substitution.NOT_EVALUATED:
            return (
                "There is nothing to compare with: this registry vouches for no credentials of it."
            )
        case _:
            assert_never(value)
