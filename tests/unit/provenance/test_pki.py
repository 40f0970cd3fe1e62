import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from provenance.errors import ConfigError, DeliveryError
from provenance.manifest.pki import (
    C2PA_SIGNING_EKU,
    DevChain,
    KeyAlgorithm,
    create_dev_chain,
    is_development_certificate,
    renew_dev_leaf,
)
from provenance.manifest.profile import check_certificate_chain
from provenance.manifest.signers.local_key import LocalKeySigner

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def certificates(path):
    return x509.load_pem_x509_certificates(path.read_bytes())


@pytest.mark.parametrize("alg", KeyAlgorithm)
def test_chain_follows_every_rule_of_the_profile(tmp_path, alg):
    chain = create_dev_chain(tmp_path / "keys", alg=alg, now=NOW)
    lines = check_certificate_chain(chain.chain_file.read_bytes(), chain.key_file.read_bytes(), NOW)
    assert [line for line in lines if not line.ok] == []
    assert LocalKeySigner.from_files(chain.chain_file, chain.key_file).alg == alg


def test_leaf_is_made_for_c2pa_and_ends_within_a_year(tmp_path):
    leaf, middle = certificates(create_dev_chain(tmp_path, now=NOW).chain_file)
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert C2PA_SIGNING_EKU in usages
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=366)
    assert leaf.not_valid_before_utc < NOW
    leaf.verify_directly_issued_by(middle)
    (root,) = certificates(DevChain.in_folder(tmp_path).root_file)
    middle.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert all(is_development_certificate(one) for one in (leaf, middle, root))


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")
def test_files_are_private_from_the_start(tmp_path):
    before = os.umask(0)
    try:
        create_dev_chain(tmp_path / "keys")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()}
    assert set(modes.values()) == {0o600}
    assert set(modes) == {"chain.pem", "signing.key", "dev_root.pem", "dev_intermediate.key"}


def test_renewed_leaf_stays_under_the_root(tmp_path):
    first = create_dev_chain(tmp_path, alg=KeyAlgorithm.ED25519, now=NOW)
    old_leaf, old_middle = certificates(first.chain_file)
    later = NOW + timedelta(days=400)
    second = renew_dev_leaf(tmp_path, now=later)
    new_leaf, new_middle = certificates(second.chain_file)
    assert new_middle == old_middle
    assert new_leaf.public_key() != old_leaf.public_key()
    assert new_leaf.not_valid_after_utc > later
    assert LocalKeySigner.from_files(second.chain_file, second.key_file).alg == "ed25519"


def test_new_chain_keeps_earlier_roots_as_anchors(tmp_path):
    (first,) = certificates(create_dev_chain(tmp_path).root_file)
    found = certificates(create_dev_chain(tmp_path).root_file)
    assert len(found) == 2
    assert found[1] == first


def test_own_chain_is_not_renewed(tmp_path):
    chain = create_dev_chain(tmp_path)
    other = create_dev_chain(tmp_path / "other")
    chain.intermediate_key_file.write_bytes(other.intermediate_key_file.read_bytes())
    with pytest.raises(ConfigError, match="not made by countermark"):
        renew_dev_leaf(tmp_path)


def test_empty_folder_cannot_be_renewed(tmp_path):
    with pytest.raises(ConfigError, match="keys init"):
        renew_dev_leaf(tmp_path)


def test_unwritable_place_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeliveryError, match="file"):
        create_dev_chain(tmp_path / "file" / "keys")
