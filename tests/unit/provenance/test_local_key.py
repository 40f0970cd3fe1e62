import os

import pytest
from cryptography.hazmat.primitives import serialization

from provenance.errors import ConfigError
from provenance.manifest.pki import create_dev_chain
from provenance.manifest.signers.local_key import LocalKeySigner
from provenance.testing.certificates import ThrowawayAuthority, make_private_key


@pytest.fixture(scope="module")
def authority():
    return ThrowawayAuthority()


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_key_file_that_others_can_open_is_refused(tmp_path, mode):
    chain = create_dev_chain(tmp_path)
    chain.key_file.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {chain.key_file}"):
        LocalKeySigner.from_files(chain.chain_file, chain.key_file)


@pytest.mark.parametrize("missing", ["chain_file", "key_file"])
def test_missing_file_says_how_to_make_one(tmp_path, missing):
    chain = create_dev_chain(tmp_path)
    getattr(chain, missing).unlink()
    with pytest.raises(ConfigError, match="keys init"):
        LocalKeySigner.from_files(chain.chain_file, chain.key_file)


def test_foreign_key_is_refused(authority):
    with pytest.raises(ConfigError, match="does not belong"):
        LocalKeySigner(authority.issue().chain_pem, authority.issue().key_pem)


def test_wrong_order_is_refused_with_the_remedy(authority):
    issued = authority.issue()
    leaf = issued.chain_pem[: -len(authority.intermediate_pem)]
    with pytest.raises(ConfigError, match="leaf first"):
        LocalKeySigner(authority.intermediate_pem + leaf, issued.key_pem)


@pytest.mark.parametrize("kind", ["secp256k1", "rsa1024"])
def test_forbidden_keys_are_refused(authority, kind):
    key = make_private_key(kind).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(ConfigError, match=r"C2PA (allows|asks)"):
        LocalKeySigner(authority.issue().chain_pem, key)


@pytest.mark.parametrize(
    "key_pem",
    [b"", b"\x00\xff", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"],
)
def test_garbage_is_one_clear_error(authority, key_pem):
    with pytest.raises(ConfigError, match="PKCS#8"):
        LocalKeySigner(authority.issue().chain_pem, key_pem)
    with pytest.raises(ConfigError, match="chain"):
        LocalKeySigner(key_pem, authority.issue().key_pem)


def test_key_is_not_shown(authority):
    issued = authority.issue()
    signer = issued.signer
    assert "PRIVATE" not in repr(signer) + repr(issued) + str(signer)
