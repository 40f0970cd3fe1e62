"""Conformance suite for signers.

An author of a signer (a KMS, an HSM, a remote service) subclasses `SignerTests` in a test module
and gives one fixture::

    class TestMySigner(SignerTests):
        @pytest.fixture
        def signer(self):
            return MySigner(...)
"""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from provenance.interfaces import Signer
from provenance.manifest.profile import check_certificate_chain
from provenance.manifest.signing import ManifestSigner
from provenance.testing.manifests import sample_claim, unsigned_picture
from provenance.types import WRITABLE_MEDIA_TYPES, MediaType

__all__ = ["SignerTests"]

_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "es256": hashes.SHA256(),
    "es384": hashes.SHA384(),
    "es512": hashes.SHA512(),
    "ps256": hashes.SHA256(),
}


class SignerTests:
    """What every signer must do, wherever its key lies."""

    @pytest.fixture
    def signer(self) -> Signer:
        """The signer under test."""
        raise NotImplementedError

    def test_matches_the_interface(self, signer: Signer) -> None:
        assert isinstance(signer, Signer)
        assert signer.alg in {*_DIGESTS, "ed25519"}
        assert isinstance(signer.is_development, bool)

    def test_chain_starts_with_the_leaf_and_leaves_the_root_out(self, signer: Signer) -> None:
        chain = x509.load_pem_x509_certificates(signer.certificate_chain_pem)
        constraints = chain[0].extensions.get_extension_for_class(x509.BasicConstraints).value
        assert not constraints.ca
        assert all(certificate.issuer != certificate.subject for certificate in chain)

    def test_certificate_follows_the_profile(self, signer: Signer) -> None:
        lines = check_certificate_chain(signer.certificate_chain_pem, None)
        assert [line for line in lines if not line.ok and not line.optional] == []

    def test_signature_verifies_with_the_leaf(self, signer: Signer) -> None:
        data = b"to be signed " * 150
        _verify(signer, signer.sign(data), data)

    def test_signature_does_not_verify_for_other_data(self, signer: Signer) -> None:
        signature = signer.sign(b"this")
        with pytest.raises(InvalidSignature):
            _verify(signer, signature, b"that")

    def test_signs_the_same_data_twice(self, signer: Signer) -> None:
        for _ in range(2):
            _verify(signer, signer.sign(b"again"), b"again")

    @pytest.mark.parametrize("media_type", WRITABLE_MEDIA_TYPES)
    def test_signs_pictures_that_read_back(self, signer: Signer, media_type: MediaType) -> None:
        asset = ManifestSigner(signer).sign(unsigned_picture(media_type), sample_claim())
        assert asset.soft_bindings == sample_claim().soft_bindings
        assert not asset.time_stamped


def _verify(signer: Signer, signature: bytes, data: bytes) -> None:
    """Raises InvalidSignature unless the leaf's key made `signature`, in COSE's form."""
    key = x509.load_pem_x509_certificates(signer.certificate_chain_pem)[0].public_key()
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, data)
        return
    digest = _DIGESTS[signer.alg]
    if isinstance(key, rsa.RSAPublicKey):
        pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
        key.verify(signature, data, pss, digest)
        return
    assert isinstance(key, ec.EllipticCurvePublicKey)
    half = (key.curve.key_size + 7) // 8
    assert len(signature) == 2 * half
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    key.verify(encode_dss_signature(r, s), data, ec.ECDSA(digest))
