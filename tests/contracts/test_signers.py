"""The built-in signer passes the suite with every algorithm of C2PA that it offers."""

import pytest

from provenance.manifest.pki import KeyAlgorithm, create_dev_chain
from provenance.manifest.signers.local_key import LocalKeySigner
from provenance.testing.certificates import LeafPlan, ThrowawayAuthority
from provenance.testing.signers import SignerTests


@pytest.fixture(scope="module")
def authority():
    return ThrowawayAuthority()


class TestDevelopmentChainEs256(SignerTests):
    alg = KeyAlgorithm.ES256

    @pytest.fixture(scope="class")
    @classmethod
    def signer(cls, tmp_path_factory):
        chain = create_dev_chain(tmp_path_factory.mktemp("keys"), alg=cls.alg)
        return LocalKeySigner.from_files(chain.chain_file, chain.key_file)

    def test_says_that_it_is_for_development(self, signer):
        assert signer.is_development


class TestDevelopmentChainEd25519(TestDevelopmentChainEs256):
    alg = KeyAlgorithm.ED25519


class _OwnCertificate(SignerTests):
    kind = ""

    @pytest.fixture(scope="class")
    @classmethod
    def signer(cls, authority):
        return authority.issue(LeafPlan(key_kind=cls.kind)).signer

    def test_says_that_it_is_not_for_development(self, signer):
        assert signer.alg == self.kind
        assert not signer.is_development


class TestOwnEs384(_OwnCertificate):
    kind = "es384"


class TestOwnEs512(_OwnCertificate):
    kind = "es512"


class TestOwnPs256(_OwnCertificate):
    kind = "ps256"
