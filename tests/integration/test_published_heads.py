"""Signed heads in a folder and at witnesses: brought once, again after a failure, and checked."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from provenance.config import load_settings
from provenance.errors import ConfigError, DeliveryError, FetchError
from provenance.testing.stores import build_record
from registry.api import build_router
from registry.checkpoint import (
    COSIGNATURE,
    NoteSignature,
    VerifierKey,
    cosigned_message,
    read_checkpoint,
    read_verifier_key,
    verified_by,
)
from registry.log_cli import app
from registry.merkle import verify_consistency
from registry.wiring import open_head_publisher, open_registry, open_signed_log


class Witness:
    """A witness as C2SP tlog-witness asks for: checks signature and proof, then cosigns."""

    def __init__(self, name, log_key=None):
        self.secret = Ed25519PrivateKey.generate()
        self.key = VerifierKey(name, COSIGNATURE, self.secret.public_key().public_bytes_raw())
        self.log_key = log_key
        self.seen = (0, b"")
        self.asked = []
        self.failing = 0
        witness = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, kind, answer = witness.answer(self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_words):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def entry(self):
        return f"http://127.0.0.1:{self.server.server_port}/w {self.key.text()}"

    def answer(self, path, body):
        assert path == "/w/add-checkpoint"
        proof, _, note = body.partition(b"\n\n")
        old, *hashes = proof.decode().split("\n")
        old_size = int(old.removeprefix("old "))
        checkpoint = read_checkpoint(note, name="sent")
        self.asked.append((old_size, checkpoint.size))
        if self.failing:
            self.failing -= 1
            return 500, "text/plain", b"out of order"
        if checkpoint.origin != self.log_key.name:
            return 404, "text/plain", b""
        if verified_by(checkpoint, self.log_key) is None:
            return 403, "text/plain", b""
        if old_size != self.seen[0]:
            return 409, "text/x.tlog.size", b"%d\n" % self.seen[0]
        path = tuple(base64.b64decode(one) for one in hashes)
        if old_size and not verify_consistency(
            old_size, checkpoint.size, path, self.seen[1], checkpoint.root
        ):
            return 422, "text/plain", b""
        self.seen = (checkpoint.size, checkpoint.root)
        now = int(time.time())
        signature = self.secret.sign(cosigned_message(checkpoint.body, now))
        line = NoteSignature(self.key.name, self.key.key_id, now.to_bytes(8, "big") + signature)
        return 200, "text/plain", line.line().encode()


@pytest.fixture
def witnesses():
    made = [Witness(f"example.org/w{number}") for number in (1, 2)]
    yield made
    for one in made:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "heads"


@pytest.fixture
def configure(tmp_path, folder, monkeypatch):
    """Settings of one home, and the environment that commands read them from."""
    for name in [name for name in os.environ if name.startswith("COUNTERMARK_")]:
        monkeypatch.delenv(name)

    def make(*witnesses, **more):
        environ = {
            "COUNTERMARK_HOME": str(tmp_path / "home"),
            "COUNTERMARK_REGISTRY_LOG_HEADS_FOLDER": str(folder),
            "COUNTERMARK_REGISTRY_LOG_ORIGIN": "example.org/log",
            "COUNTERMARK_REGISTRY_LOG_WITNESSES": ",".join(one.entry for one in witnesses),
            **more,
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        settings = load_settings()
        for one in witnesses:
            word = command("key", "--verifier").stdout
            one.log_key = read_verifier_key(word.strip(), name="printed")
        return settings

    return make


def command(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def grow(settings, count=3):
    store = open_registry(settings)
    for _ in range(count):
        store.commit(build_record(store.reserve().record_id))
    store.close()


def publish(settings):
    store = open_registry(settings)
    try:
        return open_head_publisher(settings)(open_signed_log(settings, store))
    finally:
        store.close()


def names(folder, ending):
    return sorted(path.name for path in folder.glob(f"*{ending}"))


def test_without_the_setting_nothing_is_brought(tmp_path):
    assert open_head_publisher(load_settings(environ={}, home=tmp_path)) is None


def test_each_head_lies_in_the_folder_once_and_the_log_is_checked_against_it(configure, folder):
    settings = configure()
    for _ in range(2):
        grow(settings)
        answer = command("head", "--sign", "--json")
        assert answer.exit_code == 0
    heads = names(folder, ".json")
    assert [name.split("-")[1] for name in heads] == ["3.json", "6.json"]
    assert json.loads((folder / heads[1]).read_text()) == json.loads(answer.stdout)
    assert (folder / "checkpoint").read_bytes() == (
        folder / names(folder, ".checkpoint")[1]
    ).read_bytes()
    for kept in (*heads, *names(folder, ".checkpoint"), "checkpoint"):
        done = command("check", "--head", folder / kept)
        assert (done.exit_code, "are those of the head" in done.stdout) == (0, True)
    for kept in folder.glob("*.json"):  # another system collects them
        kept.unlink()
    assert publish(settings) == 0
    assert names(folder, ".json") == []


def test_heads_that_could_not_be_written_come_with_the_next_call(configure, folder):
    settings = configure()
    grow(settings)
    folder.write_bytes(b"no folder")
    answer = command("head", "--sign")
    assert isinstance(answer.exception, DeliveryError)
    assert str(folder) in str(answer.exception)
    folder.unlink()
    grow(settings)
    command("head", "--sign")
    assert [name.split("-")[1] for name in names(folder, ".json")] == ["3.json", "6.json"]


def test_a_kept_checkpoint_tells_a_log_that_was_rewritten(configure, folder):
    settings = configure()
    grow(settings)
    command("head", "--sign")
    with sqlite3.connect(settings.home / "registry.sqlite3") as raw:
        raw.execute('UPDATE log_leaves SET leaf_hash = zeroblob(32) WHERE "index" = 2')
    raw.close()
    done = command("check", "--head", folder / "checkpoint")
    assert (done.exit_code, "was rewritten" in done.stderr) == (1, True)


def test_a_proof_is_checked_against_a_checkpoint_without_a_registry(
    configure, folder, tmp_path, monkeypatch
):
    settings = configure()
    grow(settings)
    command("head", "--sign")
    for name, words in {"proof": ("prove", "--leaf", 1), "key": ("key",)}.items():
        (tmp_path / name).write_text(command(*words).stdout)
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path / "away"))
    words = ("--head", folder / "checkpoint", "--key", tmp_path / "key")
    done = command("check", tmp_path / "proof", *words)
    assert (done.exit_code, "leaf 1 stands in the log of 3 leaves" in done.stdout) == (0, True)
    assert not (tmp_path / "away").exists()
    text = (folder / "checkpoint").read_bytes().replace(b"\n3\n", b"\n4\n")
    (folder / "checkpoint").write_bytes(text)
    assert command("check", tmp_path / "proof", *words).exit_code == 1


def test_witnesses_cosign_each_head_and_follow_the_log(configure, folder, witnesses):
    settings = configure(*witnesses)
    for size in (3, 6, 9):
        grow(settings)
        assert command("head", "--sign").exit_code == 0
        kept = read_checkpoint((folder / "checkpoint").read_bytes(), name="kept")
        assert kept.size == size
        assert all(verified_by(kept, one.key) for one in witnesses)
        assert [one.seen for one in witnesses] == [(size, kept.root)] * 2
    assert witnesses[0].asked == [(0, 3), (0, 6), (3, 6), (0, 9), (6, 9)]
    publish(settings)
    assert len(witnesses[0].asked) == 5  # who has cosigned is not asked again
    command("head", "--sign")  # the same leaves, signed again
    assert witnesses[0].asked[5:] == [(0, 9), (9, 9)]


def test_a_witness_that_was_out_of_order_is_asked_again_and_stops_no_other(
    configure, folder, witnesses
):
    settings = configure(*witnesses)
    grow(settings)
    witnesses[0].failing = 1
    answer = command("head", "--sign")
    assert isinstance(answer.exception, FetchError)
    assert "example.org/w1: http://127.0.0.1" in str(answer.exception)
    assert "answers 500" in str(answer.exception)
    kept = read_checkpoint((folder / "checkpoint").read_bytes(), name="kept")
    assert [bool(verified_by(kept, one.key)) for one in witnesses] == [False, True]
    assert publish(settings) == 0
    kept = read_checkpoint((folder / "checkpoint").read_bytes(), name="kept")
    assert all(verified_by(kept, one.key) for one in witnesses)
    assert len(witnesses[1].asked) == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda one: setattr(one, "log_key", VerifierKey("other", 1, bytes(32))), "answers 404"),
        (
            lambda one: setattr(one, "log_key", VerifierKey("example.org/log", 1, bytes(32))),
            "answers 403; it knows this log under another key",
        ),
        (lambda one: setattr(one, "seen", (2, bytes(32))), "answers 422; it holds another history"),
        (lambda one: setattr(one, "seen", (77, bytes(32))), "77 leaves of this log, which has 3"),
        (lambda one: setattr(one, "secret", Ed25519PrivateKey.generate()), "without a signature"),
        (lambda one: setattr(one, "answer", lambda *_: (200, "text/plain", b"?\n")), "signature"),
        (
            lambda one: setattr(one, "answer", lambda *_: (409, "text/x.tlog.size", b"many\n")),
            "no number of leaves",
        ),
        (lambda one: one.server.server_close(), "127.0.0.1"),
    ],
)
def test_what_a_witness_refuses_is_told_with_its_remedy(configure, witnesses, spoil, said):
    witness = witnesses[0]
    settings = configure(witness)
    grow(settings)
    if said == "127.0.0.1":
        witness.server.shutdown()
    spoil(witness)
    answer = command("head", "--sign")
    assert isinstance(answer.exception, FetchError)
    assert said in str(answer.exception)
    assert "\n" not in str(answer.exception)


def is_cosigned(folder, witness):
    path = folder / "checkpoint"
    if not path.exists():
        return False
    return bool(verified_by(read_checkpoint(path.read_bytes(), name="kept"), witness.key))


def test_the_service_brings_heads_on_its_schedule(configure, folder, witnesses):
    settings = configure(witnesses[0])
    grow(settings)
    service = FastAPI()
    service.include_router(build_router(settings))
    with TestClient(service):
        deadline = time.monotonic() + 30
        while not is_cosigned(folder, witnesses[0]) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert is_cosigned(folder, witnesses[0])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LOG_WITNESSES", "https://witness.example.org", "must be a URL, a space"),
        ("LOG_WITNESSES", "https://w.example.org w+00000000+AAAA", "is no key"),
        (
            "LOG_WITNESSES",
            f"https://w.example.org {VerifierKey('w', 1, bytes(32)).text()}",
            "is a log's, not a witness's",
        ),
        ("LOG_ORIGIN", "two words", "log_origin: 'two words' must be a name"),
        ("LOG_HEADS_FOLDER", "~nobody-of-this-name/heads", "no such user's home folder"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(configure, name, value, said):
    settings = configure(**{f"COUNTERMARK_REGISTRY_{name}": value})
    with pytest.raises(ConfigError, match=said):
        open_head_publisher(settings)


def test_the_key_is_not_printed_under_a_name_that_no_log_can_have(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path))
    monkeypatch.setenv("COUNTERMARK_REGISTRY_LOG_ORIGIN", "a+b")
    refused = command("key", "--verifier")
    assert isinstance(refused.exception, ConfigError)
    assert refused.stdout == ""


def test_witnesses_without_a_folder_are_refused(configure, witnesses):
    settings = configure(witnesses[0])
    environ = {
        "COUNTERMARK_HOME": str(settings.home),
        "COUNTERMARK_REGISTRY_LOG_WITNESSES": witnesses[0].entry,
    }
    with pytest.raises(ConfigError, match="log_heads_folder too"):
        open_head_publisher(load_settings(environ=environ))
