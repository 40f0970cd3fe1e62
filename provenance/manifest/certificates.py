"""Reads PEM certificates whole, so that no damage surfaces later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from provenance.errors import ConfigError
from provenance.manifest.hostile import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["name_holder", "parse_certificates", "to_pem"]


def parse_certificates(pem: bytes, *, name: str) -> list[x509.Certificate]:
    """All certificates of a PEM bundle, in order; at least one.

    Args:
        pem: Bytes; text between the certificates is allowed.
        name: What to call the bundle in errors: a path, or words.

    Raises:
        ConfigError: It holds none, or one that is damaged.
    """
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        for one in certificates:
            # The library parses these when they are first used.
            _ = one.subject, one.issuer, one.public_key(), list(one.extensions), one.version
            _ = one.not_valid_before_utc, one.not_valid_after_utc, one.signature_algorithm_oid
    except (
        ValueError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        # The library's sentence goes on with the address of a page about it.
        said = str(error).partition(" See http")[0][:100] or type(error).__name__
        raise ConfigError(
            f"{name}: not a list of PEM certificates ({said.rstrip('.')}); "
            "each must stand between BEGIN CERTIFICATE and END CERTIFICATE"
        ) from error
    return certificates


def to_pem(certificates: Iterable[bytes]) -> bytes:
    """DER certificates as one PEM bundle, in their order."""
    loaded = (x509.load_der_x509_certificate(one) for one in certificates)
    return b"".join(one.public_bytes(Encoding.PEM) for one in loaded)


def name_holder(chain_pem: bytes) -> str:
    """Whom a chain's leaf names: common name and organisation, as one visible line.

    Raises:
        ConfigError: The chain holds no certificate, or its leaf names nobody.
    """
    subject = parse_certificates(chain_pem, name="the certificate chain")[0].subject
    common, organisation = (
        clean_text(str(found[0].value)) if (found := subject.get_attributes_for_oid(oid)) else ""
        for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
    )
    if common and organisation and common != organisation:
        return f"{common} ({organisation})"
    if not common and not organisation:
        raise ConfigError(
            "the signing certificate names nobody; its subject needs a common name or an "
            "organisation"
        )
    return common or organisation
