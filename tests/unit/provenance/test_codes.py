import pytest

from provenance.manifest.codes import (
    FailureKind,
    failure_kind,
    is_hard_binding_match,
    is_recorded_damage,
)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("assertion.dataHash.mismatch", FailureKind.CONTENT),
        ("assertion.boxesHash.mismatch", FailureKind.CONTENT),
        ("assertion.bmffHash.mismatch", FailureKind.CONTENT),
        ("assertion.hashedURI.mismatch", FailureKind.MANIFEST),
        ("assertion.action.softBindingMissing", FailureKind.MANIFEST),
        ("claimSignature.mismatch", FailureKind.MANIFEST),
        ("claim.multiple", FailureKind.MANIFEST),
        ("manifest.multipleParents", FailureKind.MANIFEST),
        ("algorithm.unsupported", FailureKind.MANIFEST),
        ("signingCredential.untrusted", FailureKind.CREDENTIAL),
        ("signingCredential.expired", FailureKind.CREDENTIAL),
        ("claimSignature.outsideValidity", FailureKind.CREDENTIAL),
        ("timeStamp.mismatch", FailureKind.TIME),
        ("ingredient.manifest.missing", FailureKind.INGREDIENT),
        ("general.error", FailureKind.UNKNOWN),
        ("cawg.ica.did_unavailable", FailureKind.UNKNOWN),
        ("brand.new.code", FailureKind.UNKNOWN),
        ("", FailureKind.UNKNOWN),
    ],
)
def test_every_code_has_a_kind(code, kind):
    assert failure_kind(code) is kind


@pytest.mark.parametrize(
    "code", ["assertion.dataHash.match", "assertion.boxesHash.match", "assertion.bmffHash.match"]
)
def test_hard_binding_matches(code):
    assert is_hard_binding_match(code)


@pytest.mark.parametrize("code", ["assertion.hashedURI.match", "assertion.dataHash.mismatch", ""])
def test_other_successes_are_no_hard_binding(code):
    assert not is_hard_binding_match(code)


@pytest.mark.parametrize(
    "code", ["assertion.dataHash.mismatch", "claimSignature.mismatch", "brand.new.code"]
)
def test_recorded_failures_damage_an_ingredient(code):
    assert is_recorded_damage(code)


@pytest.mark.parametrize(
    "code",
    [
        "signingCredential.untrusted",
        "signingCredential.expired",
        "timeStamp.mismatch",
        "assertion.hashedURI.match",
        "ingredient.manifest.validated",
        "ingredient.unknownProvenance",
    ],
)
def test_opinions_on_certificates_do_not(code):
    assert not is_recorded_damage(code)
