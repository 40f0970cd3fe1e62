"""A certificate authority for tests: issues good leaves, and leaves with one chosen flaw."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provenance.manifest.pki import C2PA_SIGNING_EKU
from provenance.manifest.signers.local_key import LocalKeySigner

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

__all__ = ["IssuedLeaf", "LeafPlan", "ThrowawayAuthority", "make_private_key"]


@dataclass(frozen=True, slots=True)
class LeafPlan:
    """What a leaf shall look like; the defaults follow the C2PA profile.

    Attributes:
        names: Subject, by attribute.
        lifetime: Before now and after now.
        extended_usages: None leaves the extension out.
        signs_data: digitalSignature in the key usage; None leaves the extension out.
        is_authority: CA in the basic constraints.
        has_authority_key_id: Whether the AKI extension is there.
        key_kind: ``es256``, ``es384``, ``es512``, ``ed25519``, ``ps256``, or a flaw:
            ``secp256k1``, ``rsa1024``.
        digest: Of the authority's signature; C2PA does not permit SHA-224.
    """

    names: dict[x509.ObjectIdentifier, str] = field(
        default_factory=lambda: {
            NameOID.COUNTRY_NAME: "XX",
            NameOID.ORGANIZATION_NAME: "Throwaway Signer",
            NameOID.COMMON_NAME: "Throwaway Leaf",
        }
    )
    lifetime: tuple[timedelta, timedelta] = (timedelta(days=1), timedelta(days=300))
    extended_usages: tuple[x509.ObjectIdentifier, ...] | None = (
        C2PA_SIGNING_EKU,
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
    )
    signs_data: bool | None = True
    is_authority: bool = False
    has_authority_key_id: bool = True
    key_kind: str = "es256"
    digest: hashes.SHA256 | hashes.SHA224 = field(default_factory=hashes.SHA256)


@dataclass(frozen=True, slots=True)
class IssuedLeaf:
    """A leaf with its chain and key, as a user would hold them."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)

    @property
    def signer(self) -> LocalKeySigner:
        return LocalKeySigner(self.chain_pem, self.key_pem)


class ThrowawayAuthority:
    """Root and intermediate that live as long as the object.

    Attributes:
        root_pem: For trust settings.
        intermediate_pem: Second in every chain.
    """

    def __init__(self, name: str = "Throwaway", *, now: datetime | None = None) -> None:
        """Makes both; `now` is what lifetimes count from, the clock at each issue when None."""
        self._fixed_now = now
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._root = self._authority(f"{name} Root", self._root_key, None)
        self._middle_key = ec.generate_private_key(ec.SECP256R1())
        self._middle = self._authority(
            f"{name} Intermediate", self._middle_key, (self._root, self._root_key)
        )
        self.root_pem = self._root.public_bytes(serialization.Encoding.PEM)
        self.intermediate_pem = self._middle.public_bytes(serialization.Encoding.PEM)

    @property
    def _now(self) -> datetime:
        return self._fixed_now or datetime.now(UTC)

    def issue(self, plan: LeafPlan | None = None) -> IssuedLeaf:
        """Issues one leaf under the intermediate."""
        leaf, key_pem = self._leaf(plan or LeafPlan(), (self._middle, self._middle_key))
        return IssuedLeaf(leaf + self.intermediate_pem, key_pem)

    def issue_self_signed(self) -> IssuedLeaf:
        """A leaf that signed itself."""
        leaf, key_pem = self._leaf(LeafPlan(), None)
        return IssuedLeaf(leaf, key_pem)

    def _leaf(
        self,
        plan: LeafPlan,
        issuer: tuple[x509.Certificate, CertificateIssuerPrivateKeyTypes] | None,
    ) -> tuple[bytes, bytes]:
        key = make_private_key(plan.key_kind)
        subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in plan.names.items()])
        issuer_key = key if issuer is None else issuer[1]
        before, after = plan.lifetime
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer[0].subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - before)
            .not_valid_after(self._now + after)
            .add_extension(
                x509.BasicConstraints(ca=plan.is_authority, path_length=None), critical=True
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        if plan.signs_data is not None:
            usage = _usage(signs_data=plan.signs_data, issues=plan.is_authority)
            builder = builder.add_extension(usage, critical=True)
        if plan.extended_usages is not None:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage(plan.extended_usages), critical=False
            )
        if plan.has_authority_key_id:
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                critical=False,
            )
        certificate = builder.sign(issuer_key, plan.digest)
        return certificate.public_bytes(serialization.Encoding.PEM), _pkcs8(key)

    def _authority(
        self,
        common_name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    ) -> x509.Certificate:
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Throwaway Authority"),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )
        issuer_key = key if issuer is None else issuer[1]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer[0].subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(days=3650))
            .not_valid_after(self._now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_data=False, issues=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                critical=False,
            )
            .sign(issuer_key, hashes.SHA256())
        )


def make_private_key(
    kind: str,
) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey:
    """A fresh key: ``es256``, ``es384``, ``es512``, ``ed25519``, ``ps256``, or a forbidden one."""
    curves: dict[str, ec.EllipticCurve] = {
        "es256": ec.SECP256R1(),
        "es384": ec.SECP384R1(),
        "es512": ec.SECP521R1(),
        "secp256k1": ec.SECP256K1(),
    }
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    sizes = {"ps256": 2048, "rsa1024": 1024}
    return rsa.generate_private_key(public_exponent=65537, key_size=sizes[kind])


def _usage(*, signs_data: bool, issues: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs_data,
        key_cert_sign=issues,
        crl_sign=issues,
        # A usage with no bit at all is malformed, so the flawed leaf encrypts instead.
        key_encipherment=not signs_data and not issues,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pkcs8(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey,
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
