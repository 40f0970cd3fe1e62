"""Reads PEM certificates whole, so that no damage surfaces later."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from provenance.errors import ConfigError

__all__ = ["parse_certificates"]


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
        raise ConfigError(
            f"{name}: not a list of PEM certificates ({str(error)[:100] or type(error).__name__}); "
            "each must stand between BEGIN CERTIFICATE and END CERTIFICATE"
        ) from error
    return certificates
