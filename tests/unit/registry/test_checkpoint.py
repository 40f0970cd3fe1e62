"""C2SP checkpoints: written, read, and checked as other logs' tools do."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from provenance.errors import InputError
from registry.checkpoint import (
    COSIGNATURE,
    NoteSignature,
    VerifierKey,
    build_checkpoint,
    build_submission,
    check_origin,
    cosigned_message,
    is_checkpoint,
    log_verifier_key,
    read_checkpoint,
    read_signatures,
    read_verifier_key,
    verified_by,
)
from registry.log_proofs import NotProvenError

GO_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
"""The key of the Go checksum database, as every Go tool has it built in."""
ORIGIN, ROOT = "example.org/log", hashlib.sha256(b"root").digest()
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
WITNESS_KEY = VerifierKey("example.org/w1", COSIGNATURE, WITNESS.public_key().public_bytes_raw())


@pytest.fixture
def checkpoint():
    return build_checkpoint(ORIGIN, 13, ROOT, PUBLIC, KEY.sign)


def cosign(checkpoint, time_s=1_700_000_000, key=WITNESS):
    signature = key.sign(cosigned_message(checkpoint.body, time_s))
    return NoteSignature(
        WITNESS_KEY.name, WITNESS_KEY.key_id, time_s.to_bytes(8, "big") + signature
    )


def test_the_key_of_another_log_has_the_id_that_it_says():
    key = read_verifier_key(GO_KEY, name="key")
    assert (key.name, key.key_id.hex()) == ("sum.golang.org", "033de0ae")
    assert key.text() == GO_KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sum.golang.org",
        GO_KEY.replace("033de0ae", "033de0af"),
        GO_KEY[:-4],
        "a b" + GO_KEY,
        "w+00000000+" + base64.b64encode(b"\x02" + bytes(32)).decode(),
    ],
)
def test_what_is_no_key_is_named(text):
    with pytest.raises(InputError, match="key"):
        read_verifier_key(text, name="key")


def test_a_checkpoint_is_three_lines_and_a_signature_over_them(checkpoint):
    lines = checkpoint.encode().decode().split("\n")
    assert lines[:4] == [ORIGIN, "13", base64.b64encode(ROOT).decode(), ""]
    dash, name, encoded = lines[4].split(" ")
    raw = base64.b64decode(encoded)
    assert (dash, name, raw[:4]) == ("—", ORIGIN, log_verifier_key(ORIGIN, PUBLIC).key_id)
    KEY.public_key().verify(raw[4:], "\n".join(lines[:3]).encode() + b"\n")
    assert lines[5:] == [""]
    assert is_checkpoint(checkpoint.encode())
    assert read_checkpoint(checkpoint.encode(), name="file") == checkpoint
    checkpoint.require_signed(PUBLIC)


def test_another_key_or_a_changed_line_is_not_proven(checkpoint):
    with pytest.raises(NotProvenError, match="no signature of this key"):
        checkpoint.require_signed(WITNESS_KEY.public_key)
    changed = checkpoint.encode().replace(b"\n13\n", b"\n14\n")
    with pytest.raises(NotProvenError):
        read_checkpoint(changed, name="file").require_signed(PUBLIC)


def test_a_cosignature_counts_with_its_time_and_only_under_its_own_key(checkpoint):
    assert verified_by(checkpoint, WITNESS_KEY) is None
    cosigned = checkpoint.with_signatures([cosign(checkpoint)])
    again = read_checkpoint(cosigned.encode(), name="file")
    assert verified_by(again, WITNESS_KEY) == 1_700_000_000
    again.require_signed(PUBLIC)
    newer = again.with_signatures([cosign(checkpoint, 1_800_000_000)])
    assert verified_by(newer, WITNESS_KEY) == 1_800_000_000
    assert len(newer.signatures) == 2
    forged = checkpoint.with_signatures([cosign(checkpoint, key=KEY)])
    assert verified_by(forged, WITNESS_KEY) is None
    short = checkpoint.with_signatures([NoteSignature("example.org/w1", WITNESS_KEY.key_id, b"x")])
    assert verified_by(short, WITNESS_KEY) is None


def test_a_submission_holds_old_size_proof_and_checkpoint(checkpoint):
    sent = build_submission(checkpoint, 5, [bytes(32), ROOT])
    proof, _, note = sent.partition(b"\n\n")
    assert proof.decode().split("\n") == [
        "old 5",
        base64.b64encode(bytes(32)).decode(),
        base64.b64encode(ROOT).decode(),
    ]
    assert read_checkpoint(note, name="sent") == checkpoint
    assert build_submission(checkpoint, 0, []).startswith(b"old 0\n\nexample.org/log\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data.replace(b"\n13\n", b"\n013\n"),
        lambda data: data.replace(b"\n13\n", b"\n-1\n"),
        lambda data: data.replace(b"\n13\n", b"\n\n"),
        lambda data: data.replace(b"\n13\n", b"\n13\r\n"),
        lambda data: data.replace(b"13\n", b"13\nAAAA\n"),
        lambda data: data.replace(b"\n\n", b"\n"),
        lambda data: data.replace("—".encode(), b"-"),
        lambda data: data.replace(b" example", b" exam+ple"),
        lambda data: b"\xff" + data,
        lambda data: data + b"another line\n",
        lambda data: data + data.split(b"\n\n")[1] * 64,
    ],
)
def test_what_is_no_checkpoint_is_named(checkpoint, change):
    with pytest.raises(InputError, match="file"):
        read_checkpoint(change(checkpoint.encode()), name="file")


def test_lines_of_signatures_are_read_alone(checkpoint):
    line = cosign(checkpoint).line().encode()
    assert read_signatures(line + line, name="answer") == (cosign(checkpoint),) * 2
    for wrong in (b"", b"\n", b"no signature\n", line[:-1]):
        with pytest.raises(InputError, match="answer"):
            read_signatures(wrong, name="answer")


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "a\nb", "x" * 201, "a\x7fb"])
def test_an_origin_that_no_note_can_hold_is_refused(origin):
    with pytest.raises(InputError, match="must be a name"):
        check_origin(origin)
