"""Signs with a private key that lies in a file.

For keys in a KMS or an HSM, write another `provenance.interfaces.Signer`; the conformance suite is
`provenance.testing.signers.SignerTests`.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from provenance.errors import ConfigError
from provenance.manifest.certificates import parse_certificates
from provenance.manifest.pki import is_development_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

__all__ = ["LocalKeySigner", "load_private_key"]

SigningKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

# Source: C2PA 2.5 "Digital Signatures": ES256 with P-256, ES384 with P-384, ES512 with P-521.
_CURVES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "secp256r1": ("es256", hashes.SHA256()),
    "secp384r1": ("es384", hashes.SHA384()),
    "secp521r1": ("es512", hashes.SHA512()),
}
_MIN_RSA_BITS = 2048
"""Source: C2PA 2.5 "Digital Signatures": RSA modulus of at least 2048 bits."""


class LocalKeySigner:
    """Signs C2PA claims with a key in memory.

    The key never leaves the object: no property, no ``repr``, no log line shows it.
    """

    def __init__(
        self,
        chain_pem: bytes,
        key_pem: bytes,
        *,
        chain_name: str = "the certificate chain",
        key_name: str = "the signing key",
    ) -> None:
        """Loads chain and key and checks that they belong together.

        Args:
            chain_pem: Leaf first, then intermediates, without the root; PEM.
            key_pem: The leaf's private key, unencrypted PKCS#8 PEM.
            chain_name: What errors call the chain: its file.
            key_name: What errors call the key: its file.

        Raises:
            ConfigError: Either cannot be used; says why and what to do.
        """
        chain = parse_certificates(chain_pem, name=chain_name)
        self._key = load_private_key(key_pem, name=key_name)
        self._alg, self._hash = _algorithm(self._key)
        if chain[0].public_key() != self._key.public_key():
            raise ConfigError(_mismatch_message(chain, self._key))
        self._chain_pem = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain)
        self._is_development = is_development_certificate(chain[0])

    @classmethod
    def from_files(cls, chain_file: Path, key_file: Path) -> LocalKeySigner:
        """Loads chain and key from files.

        Raises:
            ConfigError: A file is missing, unreadable, unusable, or the key file can be read by
                other users.
        """
        check_key_file_mode(key_file)
        return cls(
            _read(chain_file, "certificate chain"),
            _read(key_file, "private key"),
            chain_name=f"certificate chain {chain_file}",
            key_name=f"signing key {key_file}",
        )

    @property
    def alg(self) -> str:
        return self._alg

    @property
    def certificate_chain_pem(self) -> bytes:
        return self._chain_pem

    @property
    def is_development(self) -> bool:
        return self._is_development

    def sign(self, data: bytes) -> bytes:
        """Signature over `data`, in the form that COSE wants.

        Source: RFC 9053 §2.1 (raw r||s), §2.2 (EdDSA); RFC 8230 §2 (PSS, salt as long as the
        digest).
        """
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        if isinstance(self._key, rsa.RSAPrivateKey):
            pss = padding.PSS(mgf=padding.MGF1(self._hash), salt_length=self._hash.digest_size)
            return self._key.sign(data, pss, self._hash)
        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(self._hash)))
        length = (self._key.curve.key_size + 7) // 8
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def load_private_key(key_pem: bytes, *, name: str) -> SigningKey:
    """Loads a private key that C2PA can sign with.

    Args:
        key_pem: PEM bytes.
        name: What to call it in errors: a path, or words.

    Raises:
        ConfigError: Not PKCS#8, encrypted, or of a kind that C2PA does not allow.
    """
    _require_pkcs8(key_pem, name)
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{name} is damaged or not a private key; give an unencrypted PKCS#8 PEM file"
        ) from error
    if isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey)):
        _algorithm(key)
        return key
    raise ConfigError(
        f"{name} is a {type(key).__name__}, which C2PA does not allow; "
        "use ECDSA (P-256, P-384, P-521), Ed25519 or RSA of at least 2048 bits"
    )


def check_key_file_mode(key_file: Path) -> None:
    """Refuses a private key that other users can read.

    Raises:
        ConfigError: The file is missing, or its mode lets group or others in.
    """
    try:
        mode = key_file.stat().st_mode
    except OSError as error:
        raise ConfigError(_missing_message(key_file, "private key", error)) from error
    # Windows has no such bits: stat() reports 0o666 for every writable file there.
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"{key_file} can be read by other users (mode {stat.S_IMODE(mode):04o}); "
            f"close it with: chmod 600 {key_file}"
        )


def _require_pkcs8(key_pem: bytes, name: str) -> None:
    # The C2PA engine takes PKCS#8 alone and would fail only when the first picture is signed.
    if b"-----BEGIN PRIVATE KEY-----" in key_pem:
        return
    if b"ENCRYPTED" in key_pem:
        problem = "is encrypted"
        remedy = "openssl pkcs8 -topk8 -nocrypt -in OLD.key -out NEW.key"
    elif b"PRIVATE KEY-----" in key_pem:
        problem = "is in an old form (SEC1 or PKCS#1)"
        remedy = "openssl pkcs8 -topk8 -nocrypt -in OLD.key -out NEW.key"
    else:
        problem = "holds no PEM private key"
        remedy = "openssl pkey -in KEYFILE -out NEW.key"
    raise ConfigError(f"{name} {problem}; it must be PKCS#8, converted with: {remedy}")


def _algorithm(key: SigningKey) -> tuple[str, hashes.HashAlgorithm]:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519", hashes.SHA512()
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _MIN_RSA_BITS:
            raise ConfigError(
                f"the RSA signing key has {key.key_size} bits; C2PA asks for at least 2048"
            )
        return "ps256", hashes.SHA256()
    if key.curve.name not in _CURVES:
        raise ConfigError(
            f"the signing key lies on the curve {key.curve.name}; C2PA allows P-256, P-384, P-521"
        )
    return _CURVES[key.curve.name]


def _mismatch_message(chain: list[x509.Certificate], key: SigningKey) -> str:
    place = next(
        (i for i, c in enumerate(chain) if c.public_key() == key.public_key()),
        None,
    )
    if place is not None:
        return (
            f"the signing key belongs to certificate {place + 1} of the chain, not to the first; "
            "put the leaf first, then the intermediates"
        )
    return (
        "the signing key does not belong to the first certificate of the chain; "
        "countermark keys doctor --chain FILE --key FILE says more"
    )


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(_missing_message(path, what, error)) from error


def _missing_message(path: Path, what: str, error: OSError) -> str:
    return (
        f"{path}: the {what} cannot be read ({error.strerror}); "
        "make a development chain with: countermark keys init"
    )
