"""From the engine's status codes to layers, without the engine: every rule on its own."""

import copy

import pytest

from provenance.manifest.reading import interpret
from provenance.manifest.sdk import EngineReading, StoreState, TrustName
from provenance.manifest.trust import AnchorKind
from provenance.types import Credential, History, Integrity, SignerTrust, SigningTime, SourceClaim

LABEL = "urn:c2pa:active"
SIGNATURE = f"self#jumbf=/c2pa/{LABEL}/c2pa.signature"
BINDING = f"self#jumbf=/c2pa/{LABEL}/c2pa.assertions/c2pa.hash.data"
OTHER = "self#jumbf=/c2pa/urn:c2pa:other/c2pa.signature"
NAMES = {
    "urn:m": TrustName("the list", frozenset({AnchorKind.MANIFEST})),
    "urn:t": TrustName("stamps", frozenset({AnchorKind.TSA})),
    "urn:b": TrustName("both", frozenset(AnchorKind)),
}


def status(code, explanation="", url=SIGNATURE):
    return {"code": code, "url": url, "explanation": explanation}


GOOD = {
    "report": {
        "active_manifest": LABEL,
        "manifests": {
            LABEL: {
                "claim_generator_info": [{"name": "gen", "version": "2"}],
                "assertions": [
                    {
                        "label": "c2pa.actions.v2",
                        "created": True,
                        "data": {
                            "allActionsIncluded": True,
                            "actions": [
                                {
                                    "action": "c2pa.created",
                                    "digitalSourceType": "trainedAlgorithmicMedia",
                                }
                            ],
                        },
                    }
                ],
            }
        },
        "validation_results": {
            "trustListUri": "urn:m",
            "activeManifest": {
                "success": [
                    status("signingCredential.trusted"),
                    status("claimSignature.validated"),
                    status("assertion.dataHash.match", url=BINDING),
                ],
                "informational": [],
                "failure": [],
            },
        },
    },
    "crjson": {
        "manifests": [
            {
                "label": LABEL,
                "assertions": {
                    "c2pa.actions.v2": {"actions": [{"when": "2026-01-02T03:04:05Z"}]},
                    "c2pa.soft-binding": {"alg": "org.example.a", "blocks": [{"value": "1"}]},
                    "c2pa.soft-binding__1": {"alg": "org.example.b", "blocks": [{"value": [50]}]},
                },
                "signature": {
                    "certificateInfo": {
                        "subject": {"O": "Example Org", "CN": "Example Leaf"},
                        "validity": {
                            "notBefore": "2026-01-01T00:00:00+00:00",
                            "notAfter": "2026-12-31T00:00:00+00:00",
                        },
                    }
                },
                "validationResults": {"validationTime": "2026-06-01T00:00:00.123456789+00:00"},
            }
        ]
    },
}


def read(change=lambda report, crjson: None, state=StoreState.TRUSTED):
    both = copy.deepcopy(GOOD)
    change(both["report"], both["crjson"]["manifests"][0])
    reading = EngineReading(state, both["report"], both["crjson"], NAMES)
    return interpret(reading, credential=Credential.EMBEDDED)


def active(report):
    return report["validation_results"]["activeManifest"]


def failing(*codes):
    return lambda report, _: active(report)["failure"].extend(status(code) for code in codes)


def without(code):
    def change(report, _):
        active(report)["success"] = [s for s in active(report)["success"] if s["code"] != code]

    return change


def test_good_reading_is_good_in_every_layer():
    report = read()
    assert report.integrity is Integrity.INTACT
    assert report.signer is SignerTrust.TRUSTED
    assert report.signing_time is SigningTime.UNSTAMPED_CURRENT
    assert report.history is History.CLEAN
    assert report.claim is SourceClaim.FULLY_AI
    assert report.signer_name == "Example Org"
    assert report.trust_list == "the list"
    assert report.claim_generator == "gen 2"
    assert report.signed_at == "2026-01-02T03:04:05Z"
    assert [(one.alg, one.value) for one in report.soft_bindings] == [
        ("org.example.a", "1"),
        ("org.example.b", "2"),
    ]


@pytest.mark.parametrize(
    ("codes", "integrity"),
    [
        (["assertion.dataHash.mismatch"], Integrity.CONTENT_CHANGED),
        (["assertion.boxesHash.mismatch"], Integrity.CONTENT_CHANGED),
        (["assertion.hashedURI.mismatch"], Integrity.MANIFEST_ALTERED),
        (["claimSignature.mismatch"], Integrity.MANIFEST_ALTERED),
        (["ingredient.manifest.missing"], Integrity.MANIFEST_ALTERED),
        (
            ["assertion.dataHash.mismatch", "assertion.hashedURI.mismatch"],
            Integrity.MANIFEST_ALTERED,
        ),
        (["some.new.code"], Integrity.NOT_CHECKABLE),
        (["general.error"], Integrity.NOT_CHECKABLE),
        (["some.new.code", "assertion.dataHash.mismatch"], Integrity.CONTENT_CHANGED),
        (["signingCredential.untrusted"], Integrity.INTACT),
        (["signingCredential.expired", "signingCredential.untrusted"], Integrity.INTACT),
        (["timeStamp.mismatch"], Integrity.INTACT),
    ],
)
def test_integrity_by_failure(codes, integrity):
    report = read(failing(*codes), StoreState.INVALID)
    assert report.integrity is integrity
    assert set(codes) == set(report.codes)


@pytest.mark.parametrize("code", ["claimSignature.validated", "assertion.dataHash.match"])
def test_nothing_is_intact_without_its_proof(code):
    assert read(without(code)).integrity is Integrity.NOT_CHECKABLE


def test_invalid_without_a_named_reason_is_not_intact():
    assert read(state=StoreState.INVALID).integrity is Integrity.NOT_CHECKABLE


def test_failure_that_appeared_in_an_ingredient_is_alteration():
    def change(report, _):
        report["validation_results"]["ingredientDeltas"] = [
            {"validationDeltas": {"failure": [status("assertion.hashedURI.mismatch", url=OTHER)]}}
        ]

    report = read(change, StoreState.INVALID)
    assert report.integrity is Integrity.MANIFEST_ALTERED
    assert report.history is History.DAMAGED_INGREDIENT


def test_opinion_on_an_ingredients_certificate_is_no_damage():
    def change(report, _):
        report["validation_results"]["ingredientDeltas"] = [
            {"validationDeltas": {"failure": [status("signingCredential.untrusted", url=OTHER)]}}
        ]

    report = read(change)
    assert report.integrity is Integrity.INTACT
    assert report.history is History.CLEAN


@pytest.mark.parametrize(
    ("codes", "trust"),
    [
        (["signingCredential.untrusted"], SignerTrust.UNTRUSTED),
        (["signingCredential.invalid"], SignerTrust.INVALID_CERTIFICATE),
        (["signingCredential.ocsp.revoked"], SignerTrust.REVOKED),
        (["signingCredential.invalid", "signingCredential.ocsp.revoked"], SignerTrust.REVOKED),
        (["signingCredential.expired"], SignerTrust.UNTRUSTED),
        (["signingCredential.brandNew"], SignerTrust.UNTRUSTED),
        # The signature over the claim still holds, so it is known who signed something.
        (["assertion.dataHash.mismatch"], SignerTrust.TRUSTED),
    ],
)
def test_signer_by_failure(codes, trust):
    report = read(failing(*codes), StoreState.INVALID)
    assert report.signer is trust
    assert (report.signer_name is not None) is (trust is SignerTrust.TRUSTED)


@pytest.mark.parametrize("uri", ["urn:t", "urn:unknown", "user_anchors", None, 5])
def test_signer_is_trusted_by_a_signer_list_only(uri):
    def change(report, _):
        report["validation_results"]["trustListUri"] = uri

    report = read(change)
    assert report.signer is SignerTrust.UNTRUSTED
    assert report.signer_name is None


def test_list_for_both_uses_counts():
    def change(report, _):
        report["validation_results"]["trustListUri"] = "urn:b"

    assert read(change).trust_list == "both"


@pytest.mark.parametrize("url", [OTHER, SIGNATURE.replace(LABEL, LABEL + "/x"), SIGNATURE + "/x"])
@pytest.mark.parametrize("code", ["signingCredential.trusted", "claimSignature.validated"])
def test_good_standing_of_an_ingredient_does_not_count(code, url):
    def change(report, _):
        for one in active(report)["success"]:
            if one["code"] == code:
                one["url"] = url

    assert read(change).signer is SignerTrust.UNTRUSTED


def test_matching_hash_of_an_ingredient_does_not_count():
    def change(report, _):
        active(report)["success"][2]["url"] = OTHER.replace("c2pa.signature", "x/c2pa.hash.data")

    assert read(change).integrity is Integrity.NOT_CHECKABLE


def test_update_manifest_stands_on_its_parents_hash():
    def change(report, crjson):
        parent = report["manifests"][LABEL]
        update = {"ingredients": [{"relationship": "parentOf", "active_manifest": LABEL}]}
        report["manifests"] = {"urn:c2pa:update": update, LABEL: parent}
        report["active_manifest"] = crjson["label"] = "urn:c2pa:update"
        crjson["isUpdateManifest"] = True
        for one in active(report)["success"][:2]:
            one["url"] = SIGNATURE.replace(LABEL, "urn:c2pa:update")

    report = read(change)
    assert report.integrity is Integrity.INTACT
    assert report.signer is SignerTrust.TRUSTED
    assert report.claim is SourceClaim.FULLY_AI
    assert report.manifest_label == "urn:c2pa:update"


def stamped(explanation, *, url=SIGNATURE):
    def change(report, _):
        active(report)["success"] += [
            status("timeStamp.validated", url=url),
            status("timeStamp.trusted", explanation, url=url),
        ]

    return change


@pytest.mark.parametrize("uri", ["urn:t", "urn:b"])
def test_stamp_is_trusted_by_a_stamp_list(uri):
    report = read(stamped(f"timestamp cert trusted: TSA, trust list: {uri}"))
    assert report.signing_time is SigningTime.STAMPED_TRUSTED


@pytest.mark.parametrize(
    "explanation",
    ["legacy timestamp cert trusted: TSA", "trust list: urn:m", "trust list: urn:x", "", "urn:t"],
)
def test_other_stamps_are_not(explanation):
    assert read(stamped(explanation)).signing_time is SigningTime.STAMPED_UNTRUSTED


def test_stamp_of_an_ingredient_does_not_count():
    change = stamped("timestamp cert trusted: TSA, trust list: urn:t", url=OTHER)
    assert read(change).signing_time is SigningTime.UNSTAMPED_CURRENT


@pytest.mark.parametrize("code", ["timeStamp.untrusted", "timeStamp.mismatch"])
def test_informational_stamp_codes_are_seen(code):
    def change(report, _):
        active(report)["informational"].append(status(code))

    assert read(change).signing_time is SigningTime.STAMPED_UNTRUSTED


@pytest.mark.parametrize(
    "validity",
    [
        {"notBefore": "2026-01-01T00:00:00Z", "notAfter": "2026-05-01T00:00:00Z"},
        {"notBefore": "2026-07-01T00:00:00Z", "notAfter": "2026-12-01T00:00:00Z"},
        {"notBefore": "nonsense", "notAfter": "2026-12-01T00:00:00Z"},
        {},
        None,
    ],
)
@pytest.mark.parametrize("explanation", ["legacy timestamp cert trusted: TSA", "trust list: urn:m"])
def test_ended_certificate_needs_a_trusted_stamp(validity, explanation):
    def change(report, crjson):
        crjson["signature"]["certificateInfo"]["validity"] = validity
        stamped(explanation)(report, crjson)

    report = read(change)
    assert report.signing_time is SigningTime.EXPIRED
    assert report.signer is SignerTrust.UNTRUSTED


@pytest.mark.parametrize(
    ("report", "crjson"),
    [
        ({}, {}),
        ({"active_manifest": 5, "validation_results": []}, {"manifests": {}}),
        ({"active_manifest": "a", "manifests": None}, {"manifests": [None, 1, {"label": "a"}]}),
        (
            {"active_manifest": "a", "validation_results": {"activeManifest": {"success": "x"}}},
            {"manifests": [{"label": "a", "signature": [], "assertions": []}]},
        ),
        (
            {
                "active_manifest": "a",
                "validation_results": {
                    "activeManifest": {"failure": [{"code": None}, 3, {}]},
                    "ingredientDeltas": [{"validationDeltas": None}],
                },
            },
            {},
        ),
    ],
)
def test_nonsense_is_never_intact_and_never_raises(report, crjson):
    for state in StoreState:
        found = interpret(
            EngineReading(state, report, crjson, NAMES), credential=Credential.EMBEDDED
        )
        assert found.integrity is not Integrity.INTACT
        assert found.signer is not SignerTrust.TRUSTED


PARENT = "urn:c2pa:parent"
PARENT_SIGNATURE = f"self#jumbf=/c2pa/{PARENT}/c2pa.signature"
TRUSTED = status("signingCredential.trusted", url=PARENT_SIGNATURE)
UNTRUSTED = status("signingCredential.untrusted", url=PARENT_SIGNATURE)
EXPIRED = status("signingCredential.expired", url=PARENT_SIGNATURE)


@pytest.mark.parametrize(
    ("then", "now", "vouched"),
    [
        ([TRUSTED], [], True),
        ([], [TRUSTED], True),
        ([UNTRUSTED], [TRUSTED], True),
        ([], [], False),
        ([UNTRUSTED], [], False),
        ([TRUSTED], [UNTRUSTED], False),
        ([TRUSTED], [TRUSTED, EXPIRED], False),
        ([TRUSTED, UNTRUSTED], [], False),
        ([status("signingCredential.trusted")], [], False),
    ],
    ids=range(9),
)
def test_statement_of_an_ingredient_counts_as_its_signer_does(then, now, vouched):
    def split(statuses):
        good = [s for s in statuses if s["code"].endswith("trusted") and s is not UNTRUSTED]
        return {"success": good, "failure": [s for s in statuses if s not in good]}

    def change(report, _):
        made = report["manifests"][LABEL]
        report["manifests"][PARENT] = copy.deepcopy(made)
        made["assertions"][0]["data"]["actions"] = [{"action": "c2pa.opened"}]
        made["ingredients"] = [
            {
                "relationship": "parentOf",
                "active_manifest": PARENT,
                "validation_results": {"activeManifest": split(then)},
            }
        ]
        report["validation_results"]["ingredientDeltas"] = [{"validationDeltas": split(now)}]

    report = read(change)
    assert (report.integrity, report.signer) == (Integrity.INTACT, SignerTrust.TRUSTED)
    assert report.claim is SourceClaim.FULLY_AI
    assert report.claim_vouched is vouched


def test_many_codes_are_cut():
    assert len(read(failing(*(f"code.{i}" for i in range(600)))).codes) <= 50
