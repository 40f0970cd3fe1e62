"""Explains a certificate chain against the C2PA profile, rule by rule.

The engine answers most violations with ``claimSignature.mismatch`` or one sentence at signing
time. Here each rule is one line, with what was seen and what to do.

Source: C2PA 2.5 "Certificate Profiles"; RFC 5280; conformance programme, leaf profile AL1.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from provenance.errors import ConfigError
from provenance.manifest.certificates import parse_certificates
from provenance.manifest.signers.local_key import load_private_key
from provenance.manifest.trust import ACCEPTED_EKUS
from provenance.types import HealthCheck

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["check_certificate_chain", "is_issued_by", "short_name"]

_ASK = "ask your certificate authority for a C2PA claim signing certificate"
_EXPIRY_WARNING = timedelta(days=30)
_AL1_LIFETIME = timedelta(days=366)
"""Source: C2PA conformance programme, claim signing leaf profile AL1."""
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MIN_RSA_BITS = 2048
_SIGNATURE_ALGORITHMS = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512,
    SignatureAlgorithmOID.RSA_WITH_SHA256,
    SignatureAlgorithmOID.RSA_WITH_SHA384,
    SignatureAlgorithmOID.RSA_WITH_SHA512,
    SignatureAlgorithmOID.RSASSA_PSS,
    SignatureAlgorithmOID.ED25519,
}
"""Source: C2PA 2.5 "Certificate Profiles", permitted signatureAlgorithm values."""

Extension = TypeVar("Extension", bound=x509.ExtensionType)


def check_certificate_chain(
    chain_pem: bytes, key_pem: bytes | None, now: datetime | None = None
) -> Sequence[HealthCheck]:
    """One line for each rule of the profile.

    Args:
        chain_pem: What the user has: leaf, then intermediates, PEM.
        key_pem: The private key, PEM; None leaves its rules out.
        now: Time to judge validity by, UTC; the clock when None.
    """
    moment = now or datetime.now(UTC)
    try:
        chain = parse_certificates(chain_pem, name="the chain")
    except ConfigError as error:
        what, _, remedy = str(error).partition("; ")
        return [_line("chain is readable", ok=False, detail=what, remedy=remedy)]
    leaf = chain[0]
    return [
        _line("chain is readable", ok=True, detail=f"{len(chain)} certificates"),
        *_check_key(key_pem, chain),
        *_check_order(chain),
        *_check_leaf(leaf),
        *_check_names(leaf),
        *_check_algorithms(chain),
        *_check_validity(chain, moment),
    ]


def _line(
    name: str, *, ok: bool, detail: str, remedy: str = _ASK, optional: bool = False
) -> HealthCheck:
    return HealthCheck(
        f"certificate: {name}",
        ok=ok,
        detail=detail,
        remedy="" if ok else remedy,
        optional=optional,
    )


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _is_critical(certificate: x509.Certificate, kind: type[Extension]) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(kind).critical
    except x509.ExtensionNotFound:
        return False


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def is_issued_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """Whether `parent` signed `child`."""
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def short_name(certificate: x509.Certificate) -> str:
    """The common name, for people."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value)[:60] if names else certificate.subject.rfc4514_string()[:60]


# -- key ---------------------------------------------------------------------------------------


def _check_key(key_pem: bytes | None, chain: list[x509.Certificate]) -> Iterator[HealthCheck]:
    if key_pem is None:
        return
    try:
        key = load_private_key(key_pem, name="the private key")
    except ConfigError as error:
        what, _, remedy = str(error).partition("; ")
        yield _line("key is PKCS#8", ok=False, detail=what, remedy=remedy or _ASK)
        return
    yield _line("key is PKCS#8", ok=True, detail=type(key).__name__.lstrip("_"))
    owners = [i for i, c in enumerate(chain) if c.public_key() == key.public_key()]
    if owners == [0]:
        yield _line("key belongs to the leaf", ok=True, detail=short_name(chain[0]))
    elif owners:
        yield _line(
            "key belongs to the leaf",
            ok=False,
            detail=f"it belongs to certificate {owners[0] + 1}, {short_name(chain[owners[0]])}",
            remedy="put the leaf first, then the intermediates",
        )
    else:
        yield _line(
            "key belongs to the leaf",
            ok=False,
            detail="it belongs to no certificate of the chain",
            remedy="find the key that the certificate was requested with, or request a new one",
        )


# -- chain -------------------------------------------------------------------------------------


def _check_order(chain: list[x509.Certificate]) -> Iterator[HealthCheck]:
    leaf = chain[0]
    yield _line(
        "leaf comes first",
        ok=not _is_authority(leaf),
        detail=short_name(leaf) + (" is a certificate authority" if _is_authority(leaf) else ""),
        remedy="put the leaf first, then the intermediates; an authority's certificate cannot sign",
    )
    is_self_signed = leaf.subject == leaf.issuer
    yield _line(
        "leaf is not self-signed",
        ok=not is_self_signed,
        detail=f"issued by {leaf.issuer.rfc4514_string()[:80]}",
        remedy=f"C2PA engines refuse self-signed leaves; {_ASK}, or: countermark keys init",
    )
    breaks = [
        i + 1
        for i, (child, parent) in enumerate(pairwise(chain))
        if not is_issued_by(child, parent)
    ]
    yield _line(
        "each certificate is signed by the next",
        ok=not breaks,
        detail="in order"
        if not breaks
        else f"certificate {breaks[0]} is not signed by certificate {breaks[0] + 1}",
        remedy="order them: leaf, its issuer, the issuer's issuer; leave out what does not belong",
    )
    root_included = len(chain) > 1 and chain[-1].subject == chain[-1].issuer
    yield _line(
        "root is left out",
        ok=not root_included,
        detail="the last one is self-signed" if root_included else "no root in the file",
        remedy="remove the last certificate; verifiers take roots from their lists only",
        optional=True,
    )
    helpless = [c for c in chain[1:] if not _may_issue(c)]
    yield _line(
        "intermediates may issue",
        ok=not helpless,
        detail="CA true, keyCertSign" if not helpless else f"not {short_name(helpless[0])}",
        remedy=_ASK,
    )


def _may_issue(certificate: x509.Certificate) -> bool:
    usage = _extension(certificate, x509.KeyUsage)
    return _is_authority(certificate) and (usage is None or usage.key_cert_sign)


# -- leaf --------------------------------------------------------------------------------------


def _check_leaf(leaf: x509.Certificate) -> Iterator[HealthCheck]:
    yield _line(
        "version 3", ok=leaf.version is x509.Version.v3, detail=f"version {leaf.version.name}"
    )
    usage = _extension(leaf, x509.KeyUsage)
    signs = usage is not None and usage.digital_signature
    yield _line(
        "key usage digitalSignature",
        ok=signs and _is_critical(leaf, x509.KeyUsage),
        detail="missing"
        if usage is None
        else ("set" if signs else "not set")
        + (", critical" if _is_critical(leaf, x509.KeyUsage) else ", not critical"),
    )
    yield _check_extended_usage(leaf)
    yield _line(
        "authority key identifier",
        ok=_extension(leaf, x509.AuthorityKeyIdentifier) is not None,
        detail="present" if _extension(leaf, x509.AuthorityKeyIdentifier) else "missing",
    )
    yield _line(
        "subject key identifier",
        ok=_extension(leaf, x509.SubjectKeyIdentifier) is not None,
        detail="present" if _extension(leaf, x509.SubjectKeyIdentifier) else "missing",
        optional=True,
    )


def _check_extended_usage(leaf: x509.Certificate) -> HealthCheck:
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    oids = [] if usage is None else [one.dotted_string for one in usage]
    forbidden = {
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string: "anyExtendedKeyUsage",
        ExtendedKeyUsageOID.TIME_STAMPING.dotted_string: "timeStamping",
        ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string: "OCSPSigning",
    }
    bad = [forbidden[oid] for oid in oids if oid in forbidden]
    if not oids:
        detail = "missing"
    elif bad:
        detail = f"holds {', '.join(bad)}, which may not sign claims"
    elif not set(oids) & set(ACCEPTED_EKUS):
        detail = f"none of {', '.join(oids)} may sign claims"
    else:
        detail = ", ".join(oids)
    return _line(
        "extended key usage",
        ok=bool(oids) and not bad and bool(set(oids) & set(ACCEPTED_EKUS)),
        detail=detail,
        remedy="ask for 1.3.6.1.4.1.62558.2.1 (C2PA claim signing); older verifiers also want "
        "emailProtection",
    )


def _check_names(leaf: x509.Certificate) -> Iterator[HealthCheck]:
    wanted = (
        ("O", NameOID.ORGANIZATION_NAME, False),
        ("CN", NameOID.COMMON_NAME, False),
        ("C", NameOID.COUNTRY_NAME, True),
    )
    for letter, oid, optional in wanted:
        found = leaf.subject.get_attributes_for_oid(oid)
        yield _line(
            f"subject has {letter}",
            ok=bool(found),
            detail=str(found[0].value)[:60] if found else "missing",
            remedy="some engines answer claimSignature.mismatch without it; " + _ASK,
            optional=optional,
        )


# -- algorithms and time -----------------------------------------------------------------------


def _check_algorithms(chain: list[x509.Certificate]) -> Iterator[HealthCheck]:
    problem, seen = _key_problem(chain[0])
    yield _line(
        "key algorithm",
        ok=not problem,
        detail=problem or seen,
        remedy="use ECDSA (P-256, P-384, P-521), Ed25519 or RSA of at least 2048 bits",
    )
    weak = [c for c in chain if c.signature_algorithm_oid not in _SIGNATURE_ALGORITHMS]
    yield _line(
        "signature algorithms",
        ok=not weak,
        detail="permitted"
        if not weak
        else f"{short_name(weak[0])}: {weak[0].signature_algorithm_oid.dotted_string}",
        remedy="C2PA permits ECDSA and RSA with SHA-256, SHA-384, SHA-512, and Ed25519; " + _ASK,
    )


def _key_problem(leaf: x509.Certificate) -> tuple[str, str]:
    """(What is wrong with the leaf's key, or nothing; what it is)."""
    key = leaf.public_key()
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "", "Ed25519"
    if isinstance(key, ec.EllipticCurvePublicKey):
        good = key.curve.name in _CURVES
        return ("" if good else f"curve {key.curve.name} is not permitted", key.curve.name)
    if isinstance(key, rsa.RSAPublicKey):
        good = key.key_size >= _MIN_RSA_BITS
        return ("" if good else f"RSA with {key.key_size} bits is too short", f"RSA {key.key_size}")
    return f"{type(key).__name__.lstrip('_')} is not permitted", ""


def _check_validity(chain: list[x509.Certificate], now: datetime) -> Iterator[HealthCheck]:
    for place, certificate in enumerate(chain):
        who = "leaf" if place == 0 else f"intermediate {place}"
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now < start:
            detail = f"not valid before {start:%Y-%m-%d %H:%M} UTC"
        elif now > end:
            detail = f"expired on {end:%Y-%m-%d %H:%M} UTC"
        else:
            detail = f"until {end:%Y-%m-%d %H:%M} UTC"
        yield _line(
            f"{who} is valid now",
            ok=start <= now <= end,
            detail=detail,
            remedy="check this machine's clock; else renew the certificate "
            "(a development chain: countermark keys init --renew)",
        )
    leaf = chain[0]
    left = leaf.not_valid_after_utc - now
    yield _line(
        "leaf stays valid for 30 days",
        ok=left > _EXPIRY_WARNING,
        detail=f"{max(left.days, 0)} days left",
        remedy="renew it in time; a time-stamp (manifest.tsa_url) keeps old pictures verifiable",
        optional=True,
    )
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    yield _line(
        "lifetime of at most 366 days",
        ok=lifetime <= _AL1_LIFETIME,
        detail=f"{lifetime.days} days",
        remedy="needed only for the C2PA conformance programme (assurance level 1)",
        optional=True,
    )
