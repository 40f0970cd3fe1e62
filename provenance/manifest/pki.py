"""A development certificate chain, made on the spot: root -> intermediate -> leaf.

Nobody outside the deployment trusts it, and it says so in its subject. It exists so that the
whole path (sign, read, trust) runs without an account anywhere. The intermediate's key is kept, so
that the leaf can be renewed under the same root; the root's key is thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provenance.errors import ConfigError, DeliveryError
from provenance.files import write_file_atomic
from provenance.manifest.certificates import parse_certificates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "C2PA_SIGNING_EKU",
    "DEVELOPMENT_UNIT",
    "DevChain",
    "KeyAlgorithm",
    "create_dev_chain",
    "is_development_certificate",
    "make_private_folder",
    "renew_dev_leaf",
    "write_private_file",
]

C2PA_SIGNING_EKU = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
"""c2pa-kp-claimSigning. Source: C2PA 2.5 "Certificate Profiles"."""

DEVELOPMENT_UNIT = "Countermark development chain, trusted nowhere else"
"""Organizational unit of every certificate made here; doctor and signer recognise it by this."""

# Ten years: the root anchors what this installation made; renewing it would orphan old pictures.
_CA_LIFETIME = timedelta(days=3650)
# Source: C2PA conformance programme, claim signing leaf profile AL1: at most 366 days.
_LEAF_LIFETIME = timedelta(days=366)
# A leaf is valid a little before it is made, so that a verifier whose clock lags accepts it.
_BACKDATE = timedelta(minutes=5)

_PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class KeyAlgorithm(StrEnum):
    """Signature algorithms that a development chain can be made for."""

    ES256 = "es256"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True)
class DevChain:
    """Where the files of a development chain lie.

    Attributes:
        chain_file: Leaf, then intermediate; PEM. What a signer embeds.
        key_file: The leaf's private key, PKCS#8 PEM, mode 0600.
        root_file: Root certificates, newest first; PEM. What a verifier adds as an anchor.
        intermediate_key_file: Signs the next leaf; mode 0600.
    """

    chain_file: Path
    key_file: Path
    root_file: Path
    intermediate_key_file: Path

    @classmethod
    def in_folder(cls, folder: Path) -> DevChain:
        """The paths that `create_dev_chain` uses in `folder`, whether they exist or not."""
        return cls(
            chain_file=folder / "chain.pem",
            key_file=folder / "signing.key",
            root_file=folder / "dev_root.pem",
            intermediate_key_file=folder / "dev_intermediate.key",
        )


def create_dev_chain(
    folder: Path,
    *,
    alg: KeyAlgorithm = KeyAlgorithm.ES256,
    now: datetime | None = None,
    organization: str = "Countermark development",
    leaf_lifetime: timedelta = _LEAF_LIFETIME,
) -> DevChain:
    """Makes root, intermediate and leaf, and writes them with private modes.

    Roots that already lie in the folder stay in ``dev_root.pem`` behind the new one, so that
    pictures signed under them stay trusted here.

    Args:
        folder: Made with mode 0700 when it is missing.
        alg: Kind of all three keys.
        now: Start of validity, UTC; the clock when None.
        organization: O of every subject.
        leaf_lifetime: How long the leaf signs.

    Raises:
        DeliveryError: The folder or a file cannot be written.
        ConfigError: ``dev_root.pem`` holds something that is no certificate.
    """
    start = (now or datetime.now(UTC)) - _BACKDATE
    paths = DevChain.in_folder(folder)
    earlier_roots = _read_roots(paths.root_file)
    root_key, middle_key = _generate(alg), _generate(alg)
    root = _authority(
        "Root", root_key, issuer=None, organization=organization, start=start, path_length=1
    )
    middle = _authority(
        "Intermediate",
        middle_key,
        issuer=(root, root_key),
        organization=organization,
        start=start,
        path_length=0,
    )
    leaf_key = _generate(alg)
    leaf = _leaf(leaf_key, issuer=(middle, middle_key), start=start, lifetime=leaf_lifetime)
    make_private_folder(folder)
    # The key goes last: a folder with chain and key is a folder that was written whole.
    write_private_file(paths.root_file, _pem([root, *earlier_roots]))
    write_private_file(paths.intermediate_key_file, _pkcs8(middle_key))
    write_private_file(paths.chain_file, _pem([leaf, middle]))
    write_private_file(paths.key_file, _pkcs8(leaf_key))
    return paths


def renew_dev_leaf(
    folder: Path, *, now: datetime | None = None, leaf_lifetime: timedelta = _LEAF_LIFETIME
) -> DevChain:
    """Makes a fresh leaf under the same root; earlier pictures stay trusted here.

    Raises:
        ConfigError: The folder holds no complete development chain.
        DeliveryError: A file cannot be written.
    """
    start = (now or datetime.now(UTC)) - _BACKDATE
    paths = DevChain.in_folder(folder)
    middle, middle_key = _load_intermediate(paths)
    alg = (
        KeyAlgorithm.ED25519
        if isinstance(middle_key, ed25519.Ed25519PrivateKey)
        else KeyAlgorithm.ES256
    )
    leaf_key = _generate(alg)
    leaf = _leaf(leaf_key, issuer=(middle, middle_key), start=start, lifetime=leaf_lifetime)
    write_private_file(paths.chain_file, _pem([leaf, middle]))
    write_private_file(paths.key_file, _pkcs8(leaf_key))
    return paths


def is_development_certificate(certificate: x509.Certificate) -> bool:
    """Whether `create_dev_chain` made this certificate."""
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return any(unit.value == DEVELOPMENT_UNIT for unit in units)


# -- certificates ------------------------------------------------------------------------------

_Issuer = tuple[x509.Certificate, _PrivateKey]


def _generate(alg: KeyAlgorithm) -> _PrivateKey:
    if alg is KeyAlgorithm.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def _digest(key: _PrivateKey) -> hashes.SHA256 | None:
    # Ed25519 hashes by itself; X.509 builders want None for it.
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _subject(common_name: str, organization: str) -> x509.Name:
    # An empty C or O makes some engines answer claimSignature.mismatch without a reason.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, DEVELOPMENT_UNIT),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name,
    key: _PrivateKey,
    *,
    issuer: _Issuer | None,
    start: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    issuer_name = subject if issuer is None else issuer[0].subject
    issuer_key = key if issuer is None else issuer[1]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )


def _authority(
    rank: str,
    key: _PrivateKey,
    *,
    issuer: _Issuer | None,
    organization: str,
    start: datetime,
    path_length: int,
) -> x509.Certificate:
    subject = _subject(f"Countermark Development {rank} CA", organization)
    builder = _builder(subject, key, issuer=issuer, start=start, lifetime=_CA_LIFETIME)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=path_length), critical=True
    ).add_extension(_key_usage(signs_certificates=True), critical=True)
    signing_key = key if issuer is None else issuer[1]
    return builder.sign(signing_key, _digest(signing_key))


def _leaf(
    key: _PrivateKey, *, issuer: _Issuer, start: datetime, lifetime: timedelta
) -> x509.Certificate:
    organization = _organization(issuer[0])
    builder = _builder(
        _subject("Countermark Development Signer", organization),
        key,
        issuer=issuer,
        start=start,
        lifetime=lifetime,
    )
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            # emailProtection as well: older verifiers accept nothing else.
            x509.ExtendedKeyUsage([C2PA_SIGNING_EKU, ExtendedKeyUsageOID.EMAIL_PROTECTION]),
            critical=False,
        )
    )
    return builder.sign(issuer[1], _digest(issuer[1]))


def _organization(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(names[0].value) if names else "Countermark development"


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


# -- files -------------------------------------------------------------------------------------


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def _pkcs8(key: _PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _read_roots(path: Path) -> list[x509.Certificate]:
    try:
        pem = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DeliveryError(
            f"{path} cannot be read ({error.strerror}); choose another COUNTERMARK_HOME"
        ) from error
    return parse_certificates(pem, name=str(path))


def _load_intermediate(paths: DevChain) -> _Issuer:
    try:
        middle = parse_certificates(paths.chain_file.read_bytes(), name=str(paths.chain_file))[1]
        key = serialization.load_pem_private_key(
            paths.intermediate_key_file.read_bytes(), password=None
        )
    except (OSError, ValueError, TypeError, IndexError, ConfigError) as error:
        raise ConfigError(
            f"{paths.chain_file.parent} holds no complete development chain to renew; "
            "make one with: countermark keys init"
        ) from error
    if not isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        raise ConfigError(
            f"{paths.intermediate_key_file} is not a key of a development chain; "
            "make one with: countermark keys init --force-new"
        )
    if not is_development_certificate(middle) or middle.public_key() != key.public_key():
        raise ConfigError(
            f"{paths.chain_file} was not made by countermark keys init, so its leaf cannot be "
            "renewed here; ask your certificate authority for a new one"
        )
    return middle, key


def make_private_folder(folder: Path) -> None:
    """Makes `folder` readable by its owner alone.

    Raises:
        DeliveryError: It cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkdir leaves an existing folder's mode alone, and the umask narrows a new one's.
        folder.chmod(0o700)
    except OSError as error:
        raise DeliveryError(
            f"{folder} cannot be made: {error.strerror}; choose another COUNTERMARK_HOME"
        ) from error


def write_private_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, mode 0600 from its first moment.

    Raises:
        DeliveryError: It cannot be written; nothing half-written stays.
    """
    write_file_atomic(path, data, mode=0o600)
