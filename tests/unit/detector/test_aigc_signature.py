"""SM2 and SM3 agree with published vectors; a label's signature is checked and proves no name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from detector.evidence import sm2
from detector.evidence.aigc_signature import LabelSignature, check_label

KEY = (
    0x393A2AD9E27E43ACAAAB85A19D3B85591E14406157175ADDD37BF77FF0CAF9ED,
    0x37FCF3A8B4F55C038523261FCA6636AFE6A7AFA2A1482A606F5CB3A18B2E2A1E,
)
SIGNED = [
    (
        "D7AD397F6FFA5D4F7F11E7217F241607DC30618C236D2C09C1B9EA8FDADEE2E8",
        0xAB1DB64DE7C40EDBDE6651C9B8EBDB804673DB836E5D5C7FE15DCF9ED2725037,
        0xEBA714451FF69B0BB930B379E192E7CD5FA6E3C41C7FBD8303B799AB54A54621,
    ),
    (
        "B1139602C6ECC9E15E2F3F9C635A1AFE737058BC15387479C1EA0D0B3D90E9E5",
        0xE6E0414EBD3A656C35602AF14AB20287DBF30D57AF75C49A188ED4B42391F224,
        0x2F54F277C606F4605E1CE9514947FFDDF94C67A539804A4ED17F852288BDBE2E,
    ),
]
"""OpenSSL, test/recipes/30-test_evp_data/evppkey_sm2.txt, SM2_key1: digest, r, s."""


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
        (b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
    ],
)
def test_sm3_gives_the_digests_of_the_standard(message: bytes, digest: str) -> None:
    assert sm2.sm3(message).hex() == digest


@pytest.mark.parametrize(("digest", "r", "s"), SIGNED)
def test_sm2_accepts_openssls_signatures_and_nothing_near_them(digest: str, r: int, s: int) -> None:
    message = bytes.fromhex(digest)
    assert sm2.verify_digest(KEY, message, (r, s))
    assert not sm2.verify_digest(KEY, message[:-1] + b"\0", (r, s))
    assert not sm2.verify_digest(KEY, message, (r, s ^ 1))
    assert not sm2.verify_digest((KEY[0], KEY[1] + 1), message, (r, s))
    assert not sm2.verify_digest((KEY[0] + sm2.P, KEY[1]), message, (r, s))
    assert not sm2.verify_digest(KEY, message, (0, s))
    assert KEY in (sm2.lift_x(KEY[0], odd=False), sm2.lift_x(KEY[0], odd=True))


def sign(secret: int, message: bytes, nonce: int) -> tuple[int, int]:
    """GB/T 32918.2 §6, with a fixed nonce: for tests only."""
    key = sm2._multiply(secret, sm2.G)
    assert key is not None
    curve = b"".join(v.to_bytes(32, "big") for v in (sm2.A, sm2.B, *sm2.G, *key))
    identity = sm2.sm3((128).to_bytes(2, "big") + sm2.DEFAULT_USER + curve)
    point = sm2._multiply(nonce, sm2.G)
    assert point is not None
    r = (int.from_bytes(sm2.sm3(identity + message), "big") + point[0]) % sm2.N
    return r, pow(1 + secret, -1, sm2.N) * (nonce - r * secret) % sm2.N


SECRET = 0x1234567


def signed_label(spelling: str = "uncompressed") -> dict[str, Any]:
    key = sm2._multiply(SECRET, sm2.G)
    assert key is not None
    x, y = (value.to_bytes(32, "big") for value in key)
    spelled = {
        "uncompressed": b"\4" + x + y,
        "bare": x + y,
        "compressed": bytes([2 + key[1] % 2]) + x,
        "x alone": b"\0" + x,
        "DER": bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
        + b"\4"
        + x
        + y,
    }[spelling]
    text = '"Label":"1","ContentProducer":"MiniMax","ProduceID":"7"'
    r, s = sign(SECRET, text.encode(), 0x7654321)
    algorithm = "1.2.156.10197.1.501"
    security = {
        "Type": "TC260PG",
        "Version": 1,
        "PubSD": [
            {
                "Type": "DS",
                "AlgID": algorithm,
                "TBSData": {"Type": "LabelMataData"},
                "Signature": (r.to_bytes(32, "big") + s.to_bytes(32, "big")).hex(),
            },
            {"Type": "PubKey", "AlgID": algorithm, "KeyValue": spelled.hex()},
        ],
    }
    return {
        "Label": "1",
        "ContentProducer": "MiniMax",
        "ProduceID": "7",
        "ReservedCode1": json.dumps({"SecurityData": security}),
    }


@pytest.mark.parametrize("spelling", ["uncompressed", "bare", "compressed", "x alone", "DER"])
def test_a_right_signature_is_right_in_every_spelling_of_its_key(spelling: str) -> None:
    assert check_label(signed_label(spelling)) is LabelSignature.RIGHT


@pytest.mark.parametrize("field", ["Label", "ContentProducer", "ProduceID"])
def test_a_changed_field_makes_it_wrong(field: str) -> None:
    assert check_label({**signed_label(), field: "8"}) is LabelSignature.WRONG


@pytest.mark.parametrize(
    ("old", "new"), [("1.2.156.10197.1.501", "1.2.840"), ("LabelMataData", "Bnd"), ('"04', '"zz')]
)
def test_other_kinds_are_not_checked(old: str, new: str) -> None:
    label = signed_label()
    label["ReservedCode1"] = label["ReservedCode1"].replace(old, new)
    assert check_label(label) is LabelSignature.NOT_CHECKED


@pytest.mark.parametrize(
    "reserved", ["", "S7Wr/Evf", "[1]", 7, None, {"SecurityData": []}, '{"SecurityData":{}}']
)
def test_reserved_codes_of_other_content_are_no_signature(reserved: object) -> None:
    assert check_label({"Label": "1", "ReservedCode1": reserved}) is None
