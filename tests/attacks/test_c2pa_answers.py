"""Every C2PA sample file gets its known answer from the manifest reader alone.

The answers are those of the whole detector; a small fold stands in for its policy, so that a
failure here points at the reader.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provenance.imaging import sniff_media_type
from provenance.manifest.heal import insert_store
from provenance.manifest.loopback import listen_and_count
from provenance.manifest.reading import read_manifest
from provenance.manifest.trust import (
    AnchorKind,
    default_trust,
    load_anchors,
    no_trust,
    with_anchors,
)
from provenance.types import (
    Credential,
    History,
    Integrity,
    MediaType,
    SignerTrust,
    SigningTime,
    SourceClaim,
)

DATA = Path("../shared/data")
ANSWERS = (
    [
        answer
        for answer in json.loads((DATA / "expected.json").read_text("utf-8"))
        if answer["path"].startswith("c2pa/")
    ]
    if (DATA / "expected.json").is_file()
    else []
)

pytestmark = pytest.mark.skipif(not ANSWERS, reason="the folder ../shared/data is not here")

ORIGINS = {
    SourceClaim.FULLY_AI: "machine_made",
    SourceClaim.PARTLY_AI: "machine_edited",
    SourceClaim.CAPTURE: "capture_claimed",
    SourceClaim.HUMAN: "human_claimed",
}


def trust_of(anchors):
    files = [] if anchors == "default" else anchors.split(" + ")
    kinds = {True: AnchorKind.TSA, False: AnchorKind.MANIFEST}
    return with_anchors(
        default_trust(),
        [load_anchors(DATA / "c2pa" / "trust" / one, kinds["tsa" in one]) for one in files],
    )


def read(path, trust=None):
    data = (DATA / path).read_bytes()
    return read_manifest(data, sniff_media_type(data), trust=trust or default_trust())


def fold(report):
    origin = ORIGINS.get(report.claim)
    if report.integrity is not Integrity.INTACT or origin is None:
        return "unknown", "none"
    trusted = report.signer is SignerTrust.TRUSTED
    return origin, "signed_trusted" if trusted else "signed_unlisted"


def test_there_are_answers_for_every_file():
    answered = {answer["path"] for answer in ANSWERS}
    found = {
        str(path.relative_to(DATA))
        for folder in ("c2pa-org", "c2pa-rs", "synthetic")
        for path in (DATA / "c2pa" / folder).iterdir()
        if path.suffix in (".jpg", ".png")
    }
    assert found == answered


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda a: f"{Path(a['path']).name}-{a['anchors']}")
def test_reader_gives_the_known_answer(answer):
    report = read(answer["path"], trust_of(answer["anchors"]))
    assert fold(report) == (answer["origin"], answer["assurance"])


SYNTHETIC = "c2pa/synthetic/"


@pytest.mark.parametrize(
    ("name", "credential"),
    [
        ("c2pa/c2pa-org/adobe-20220124-A.jpg", Credential.NONE),
        ("c2pa/c2pa-rs/cloud.jpg", Credential.REMOTE_NOT_FETCHED),
        ("c2pa/c2pa-rs/prerelease.jpg", Credential.MALFORMED),
        (SYNTHETIC + "s05_stripped.png", Credential.NONE),
        (SYNTHETIC + "s09_remote_manifest_ssrf.jpg", Credential.REMOTE_NOT_FETCHED),
        (SYNTHETIC + "s19_truncated_manifest.png", Credential.MALFORMED),
    ],
)
def test_files_without_a_reading_say_why(name, credential):
    report = read(name)
    assert report.credential is credential
    assert report.integrity is Integrity.NOT_CHECKABLE
    assert report.claim is SourceClaim.NO_CLAIM


@pytest.mark.parametrize(
    ("name", "integrity"),
    [
        ("adobe-20220124-E-dat-CA.jpg", Integrity.CONTENT_CHANGED),
        ("adobe-20220124-XCA.jpg", Integrity.CONTENT_CHANGED),
        ("adobe-20220124-XCI.jpg", Integrity.CONTENT_CHANGED),
        ("adobe-20220124-E-sig-CA.jpg", Integrity.MANIFEST_ALTERED),
        ("adobe-20220124-E-uri-CA.jpg", Integrity.MANIFEST_ALTERED),
        ("adobe-20220124-E-clm-CAICAI.jpg", Integrity.MANIFEST_ALTERED),
        ("adobe-20220124-E-uri-CIE-sig-CA.jpg", Integrity.MANIFEST_ALTERED),
        ("adobe-20220124-C.jpg", Integrity.INTACT),
        ("adobe-20220124-CACA.jpg", Integrity.INTACT),
        ("adobe-20220124-CIE-sig-CA.jpg", Integrity.INTACT),
    ],
)
def test_kinds_of_damage_are_told_apart(name, integrity):
    assert read(f"c2pa/c2pa-org/{name}").integrity is integrity


@pytest.mark.parametrize(
    "name",
    [
        "c2pa/c2pa-org/adobe-20220124-CIE-sig-CA.jpg",
        "c2pa/c2pa-org/adobe-20220124-E-uri-CIE-sig-CA.jpg",
        "c2pa/c2pa-rs/CACAE-uri-CA.jpg",
        SYNTHETIC + "s11_edit_of_tampered_parent.png",
    ],
)
def test_damaged_history_is_told(name):
    assert read(name).history is History.DAMAGED_INGREDIENT


@pytest.mark.parametrize("name", ["adobe-20220124-CA.jpg", "adobe-20220124-CAI.jpg"])
def test_ingredient_without_manifest_is_unknown(name):
    assert read(f"c2pa/c2pa-org/{name}").history is History.UNKNOWN_INGREDIENT


@pytest.mark.parametrize(
    "path",
    [
        "c2pa/c2pa-rs/C.jpg",
        "c2pa/c2pa-rs/boxhash.jpg",
        "c2pa/c2pa-rs/update_manifest.jpg",
        "c2pa/c2pa-org/adobe-20220124-CA.jpg",
    ],
)
def test_test_signer_is_trusted_under_its_own_roots_only(path):
    roots = load_anchors(DATA / "c2pa/trust/c2pa_rs_test_roots.pem", AnchorKind.MANIFEST)
    trusted = read(path, with_anchors(no_trust(), [roots]))
    assert trusted.signer is SignerTrust.TRUSTED
    assert trusted.signer_name == "C2PA Test Signing Cert"
    assert trusted.trust_list == "c2pa_rs_test_roots.pem"
    assert read(path).signer is SignerTrust.UNTRUSTED
    assert read(path).signer_name is None


def test_update_manifest_resolves_through_its_parent():
    report = read("c2pa/c2pa-rs/update_manifest.jpg")
    assert report.integrity is Integrity.INTACT
    assert report.claim_generator == "adobe unit test"
    assert report.manifest_label.endswith(":update_manifest_vendor")


def test_impostor_is_never_named():
    report = read(SYNTHETIC + "s07_impostor_openai_subject.png")
    assert report.signer is SignerTrust.UNTRUSTED
    assert "OpenAI" not in repr(report)


def test_moved_manifest_of_openai_does_not_name_openai():
    report = read(SYNTHETIC + "s16_real_openai_manifest_on_other_pixels.png")
    assert report.integrity is Integrity.CONTENT_CHANGED
    assert report.signer_name is None


def test_root_that_is_on_both_official_lists_still_vouches_for_signers():
    report = read(SYNTHETIC + "s17_real_google_manifest_on_other_pixels.png")
    assert report.signer is SignerTrust.TRUSTED
    assert report.signing_time is SigningTime.STAMPED_TRUSTED
    assert report.trust_list == "C2PA trust list"


@pytest.mark.parametrize(
    ("anchors", "time", "signer"),
    [
        ("test_dev_root.pem", SigningTime.EXPIRED, SignerTrust.UNTRUSTED),
        (
            "test_dev_root.pem + test_dev_tsa_root.pem",
            SigningTime.STAMPED_TRUSTED,
            SignerTrust.TRUSTED,
        ),
    ],
)
def test_expired_leaf_is_saved_by_a_trusted_stamp_only(anchors, time, signer):
    report = read(SYNTHETIC + "s20_expired_with_timestamp.png", trust_of(anchors))
    assert report.integrity is Integrity.INTACT
    assert (report.signing_time, report.signer) == (time, signer)


def test_expired_is_not_called_tampered():
    report = read(SYNTHETIC + "s08_expired_no_timestamp.png", trust_of("test_dev_root.pem"))
    assert report.integrity is Integrity.INTACT
    assert report.signing_time is SigningTime.EXPIRED


def test_soft_bindings_come_back():
    report = read(SYNTHETIC + "s01_ai_dev_trusted.png")
    assert [(one.alg, one.value) for one in report.soft_bindings] == [
        ("org.example.heldout.wm.1", "1*0101010111001100"),
        ("org.example.heldout.fp.1", "00ff00ff00ff00ff"),
    ]


def test_generative_edit_with_generated_component_is_partly():
    report = read("c2pa/c2pa-rs/ocsp.jpg")
    assert report.claim is SourceClaim.PARTLY_AI
    assert report.ambiguous


def test_stripped_file_heals_byte_for_byte():
    kept = json.loads((DATA / SYNTHETIC / "s05_manifest_store.json").read_text("utf-8"))
    stripped = (DATA / SYNTHETIC / "s05_stripped.png").read_bytes()
    healed = insert_store(stripped, MediaType.PNG, base64.b64decode(kept["base64"]))
    assert hashlib.sha256(healed).hexdigest() == kept["sha256_of_s01"]
    report = read_manifest(healed, "image/png", trust=trust_of("test_dev_root.pem"))
    assert report.signer is SignerTrust.TRUSTED
    assert report.integrity is Integrity.INTACT


READ_ALL = """
import json, sys
from pathlib import Path
from provenance.imaging import sniff_media_type
from provenance.manifest.reading import read_manifest
from provenance.manifest.trust import default_trust
for path in sorted(Path(sys.argv[1]).glob("c2pa/*/*.*g")):
    data = path.read_bytes()
    read_manifest(data, sniff_media_type(data), trust=default_trust())
"""
READ_BY_DEFAULTS = """
import sys
from pathlib import Path
import c2pa
try:
    c2pa.Reader(str(Path(sys.argv[1]) / "c2pa/c2pa-rs/cloud.jpg"))
except c2pa.C2paError:
    pass
"""


@pytest.mark.parametrize(("program", "connects"), [(READ_ALL, False), (READ_BY_DEFAULTS, True)])
def test_reading_asks_nobody(program, connects):
    """A counting proxy stands in every request's way; the second program is the control."""
    with listen_and_count() as listener:
        proxy = f"http://127.0.0.1:{listener.port}"
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        environment = {
            **{key: value for key, value in os.environ.items() if key.lower() != "no_proxy"},
            **dict.fromkeys(names, proxy),
        }
        subprocess.run(
            [sys.executable, "-c", program, str(DATA)], env=environment, check=True, timeout=60
        )
    assert bool(listener.connections) is connects
