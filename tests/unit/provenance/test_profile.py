import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provenance.manifest.pki import C2PA_SIGNING_EKU
from provenance.manifest.profile import check_certificate_chain
from provenance.testing.certificates import LeafPlan, ThrowawayAuthority, make_private_key

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority():
    return ThrowawayAuthority(now=NOW)


def failing(chain_pem, key_pem=None, now=NOW):
    lines = check_certificate_chain(chain_pem, key_pem, now)
    assert all(line.remedy for line in lines if not line.ok)
    assert not any(line.remedy for line in lines if line.ok)
    return {line.name.removeprefix("certificate: ") for line in lines if not line.ok}


@pytest.mark.parametrize("kind", ["es256", "es384", "es512", "ed25519", "ps256"])
def test_good_chain_passes_every_rule(authority, kind):
    issued = authority.issue(LeafPlan(key_kind=kind))
    assert failing(issued.chain_pem, issued.key_pem) == set()


def names_without(oid):
    return {key: text for key, text in LeafPlan().names.items() if key != oid}


@pytest.mark.parametrize(
    ("plan", "rule"),
    [
        (LeafPlan(extended_usages=None), "extended key usage"),
        (LeafPlan(extended_usages=(ExtendedKeyUsageOID.SERVER_AUTH,)), "extended key usage"),
        (
            LeafPlan(
                extended_usages=(C2PA_SIGNING_EKU, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
            ),
            "extended key usage",
        ),
        (
            LeafPlan(extended_usages=(C2PA_SIGNING_EKU, ExtendedKeyUsageOID.TIME_STAMPING)),
            "extended key usage",
        ),
        (LeafPlan(signs_data=None), "key usage digitalSignature"),
        (LeafPlan(signs_data=False), "key usage digitalSignature"),
        (LeafPlan(is_authority=True), "leaf comes first"),
        (LeafPlan(has_authority_key_id=False), "authority key identifier"),
        (LeafPlan(names=names_without(NameOID.ORGANIZATION_NAME)), "subject has O"),
        (LeafPlan(names=names_without(NameOID.COMMON_NAME)), "subject has CN"),
        (LeafPlan(names=names_without(NameOID.COUNTRY_NAME)), "subject has C"),
        (LeafPlan(key_kind="secp256k1"), "key algorithm"),
        (LeafPlan(key_kind="rsa1024"), "key algorithm"),
        (LeafPlan(digest=hashes.SHA224()), "signature algorithms"),
        (
            LeafPlan(lifetime=(timedelta(days=300), timedelta(days=-1))),
            "leaf is valid now",
        ),
        (
            LeafPlan(lifetime=(timedelta(days=-1), timedelta(days=300))),
            "leaf is valid now",
        ),
        (
            LeafPlan(lifetime=(timedelta(days=300), timedelta(days=10))),
            "leaf stays valid for 30 days",
        ),
        (
            LeafPlan(lifetime=(timedelta(days=1), timedelta(days=900))),
            "lifetime of at most 366 days",
        ),
    ],
)
def test_each_flaw_fails_its_own_rule_and_few_others(authority, plan, rule):
    found = failing(authority.issue(plan).chain_pem)
    assert rule in found
    # An expired leaf also fails the 30-day warning; no flaw drags more than that along.
    assert found - {rule} <= {"leaf stays valid for 30 days"}


def test_self_signed_leaf_is_named(authority):
    assert "leaf is not self-signed" in failing(authority.issue_self_signed().chain_pem)


def test_wrong_order_is_named_with_the_owner_of_the_key(authority):
    issued = authority.issue()
    leaf = issued.chain_pem[: -len(authority.intermediate_pem)]
    lines = check_certificate_chain(authority.intermediate_pem + leaf, issued.key_pem, NOW)
    bad = {line.name.removeprefix("certificate: "): line for line in lines if not line.ok}
    assert {"leaf comes first", "key belongs to the leaf"} <= set(bad)
    assert "certificate 2" in bad["key belongs to the leaf"].detail


def test_foreign_intermediate_is_named(authority):
    issued = authority.issue()
    leaf = issued.chain_pem[: -len(authority.intermediate_pem)]
    found = failing(leaf + ThrowawayAuthority().intermediate_pem)
    assert found == {"each certificate is signed by the next"}


def test_included_root_is_a_hint_only(authority):
    lines = check_certificate_chain(authority.issue().chain_pem + authority.root_pem, None, NOW)
    (line,) = [line for line in lines if not line.ok]
    assert line.name == "certificate: root is left out"
    assert line.optional


def test_foreign_key_is_named(authority):
    found = failing(authority.issue().chain_pem, authority.issue().key_pem)
    assert found == {"key belongs to the leaf"}


@pytest.mark.parametrize(
    ("form", "encryption"),
    [
        (serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()),
        (serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")),
    ],
)
def test_key_in_another_form_is_named_with_the_conversion(authority, form, encryption):
    key = make_private_key("es256").private_bytes(serialization.Encoding.PEM, form, encryption)
    lines = check_certificate_chain(authority.issue().chain_pem, key, NOW)
    (line,) = [line for line in lines if not line.ok]
    assert line.name == "certificate: key is PKCS#8"
    assert "openssl pkcs8" in line.remedy


@pytest.mark.parametrize("pem", [b"", b"garbage", b"\xff" * 100, b"-----BEGIN CERTIFICATE-----"])
def test_unreadable_chain_is_one_line(pem):
    assert failing(pem) == {"chain is readable"}


def test_chain_with_damaged_bytes_never_raises(authority):
    der = x509.load_pem_x509_certificate(authority.issue().chain_pem).public_bytes(
        serialization.Encoding.DER
    )
    for place in range(0, len(der), 3):
        spoiled = bytearray(der)
        spoiled[place] ^= 0x55
        body = base64.encodebytes(bytes(spoiled))
        pem = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
        assert check_certificate_chain(pem, None, NOW)
