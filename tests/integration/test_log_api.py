"""The log over HTTP and on the command line, as a stranger with a key file uses it."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import sys
import time

import pytest
from fastapi.testclient import TestClient

from provenance.cli import main
from provenance.config import load_settings
from provenance.testing.stores import build_record, build_refusal
from provenance.web import create_app
from registry.log_proofs import (
    check_consistency_proof,
    check_inclusion_proof,
    read_document,
    read_public_key,
)
from registry.log_schemas import (
    CONSISTENCY_EXAMPLE,
    HEAD_EXAMPLE,
    INCLUSION_EXAMPLE,
    KEY_EXAMPLE,
    LEAVES_EXAMPLE,
)
from registry.merkle import hash_leaf, verify_consistency
from registry.wiring import open_registry


@pytest.fixture
def settings(tmp_path):
    return load_settings(environ={}, home=tmp_path / "home")


@pytest.fixture
def ids(settings):
    store = open_registry(settings)
    made = []
    for number in range(5):
        record_id = store.reserve().record_id
        if number == 2:
            store.refuse(build_refusal(record_id))
        else:
            store.commit(build_record(record_id))
        made.append(record_id)
    store.close()
    return made


# -- HTTP ------------------------------------------------------------------------------------------


@pytest.fixture
def client(settings, ids):
    from fastapi import FastAPI

    from registry.api import build_router

    app = FastAPI()
    app.include_router(build_router(settings))
    with TestClient(app) as client:
        yield client


def test_a_stranger_checks_what_the_service_answers(client, ids):
    key = read_public_key(client.get("/v1/log/key").content, name="key")
    head = read_document(client.get("/v1/log/head?fresh=true").content, name="head")
    assert head.size == 5
    for record_id in ids:
        answer = client.get(f"/v1/log/proof/{record_id}?size=5")
        check_inclusion_proof(read_document(answer.content, name="proof"), head, key)
    answer = client.get("/v1/log/leaves/1/proof")
    check_inclusion_proof(read_document(answer.content, name="proof"), head, key)


def test_growth_is_proven_over_http(client, settings, ids):
    key = read_public_key(client.get("/v1/log/key").content, name="key")
    first = read_document(client.get("/v1/log/head?fresh=true").content, name="head")
    store = open_registry(settings)
    store.commit(build_record(store.reserve().record_id))
    store.close()
    client.get("/v1/log/head?fresh=true")
    answer = client.get(f"/v1/log/consistency?first={first.size}")
    proof = read_document(answer.content, name="proof")
    check_consistency_proof(proof, first, proof.head, key)
    assert (first.size, proof.head.size) == (5, 6)


def test_leaves_come_in_order_and_hold_digests_only(client):
    leaves = client.get("/v1/log/leaves?start=1&limit=3").json()["leaves"]
    assert [one["index"] for one in leaves] == [1, 2, 3]
    assert [one["kind"] for one in leaves] == ["commit", "refusal", "commit"]
    for one in leaves:
        inner = json.loads(one["leaf"])
        assert {len(v) for k, v in inner.items() if k.endswith("sha256")} == {64}


@pytest.mark.parametrize(
    "path",
    [
        "leaves/0/proof?size={huge}",
        "leaves/{huge}/proof",
        "leaves/9/proof",
        "proof/{record}?size={huge}",
        "consistency?first=1&second={huge}",
        "consistency?first={huge}",
    ],
)
def test_numbers_beyond_any_log_are_refused_and_no_head_is_signed_for_them(ids, settings, path):
    with TestClient(create_app(settings)) as client:
        head = client.get("/v1/log/head").json()
        answer = client.get("/v1/log/" + path.format(huge=10**25, record=ids[0]))
        assert answer.status_code == 400
        assert "leaves" in answer.json()["detail"] or "sizes" in answer.json()["detail"]
        assert client.get("/v1/log/head").json() == head


def test_behind_the_last_leaf_there_are_none(client):
    assert client.get(f"/v1/log/leaves?start={10**25}").json() == {"leaves": []}


def test_a_head_is_signed_on_schedule(settings, ids):
    with TestClient(create_app(settings)) as client:
        deadline = time.monotonic() + 30
        database = settings.home / "registry.sqlite3"
        while time.monotonic() < deadline:
            with sqlite3.connect(database) as raw:
                found = raw.execute("SELECT size FROM tree_heads").fetchall()
            if found:
                break
            time.sleep(0.05)
        assert found == [(5,)]
        assert client.get("/v1/log/head").json()["tree_size"] == 5


def test_bad_questions_are_answered_with_what_is_wrong(settings, ids):
    with TestClient(create_app(settings)) as client:
        assert client.get(f"/v1/log/proof/{'f' * 16}").status_code == 404
        assert client.get("/v1/log/proof/hello").status_code == 400
        assert client.get("/v1/log/leaves/99/proof").status_code == 400
        answer = client.get("/v1/log/consistency?first=3&second=4")
        assert answer.status_code == 400
        assert "no head of 4 leaves" in answer.json()["detail"]


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def run(settings, monkeypatch, capsys):
    for name in [name for name in os.environ if name.startswith("COUNTERMARK_")]:
        monkeypatch.delenv(name)

    def run(*words, home=settings.home):
        monkeypatch.setenv("COUNTERMARK_HOME", str(home))
        monkeypatch.setattr(sys, "argv", ["countermark", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    yield run
    logging.captureWarnings(capture=False)


@pytest.fixture
def files(run, ids, tmp_path):
    """Head, key and proofs, as an operator hands them out."""
    made = {}
    for name, words in {
        "key.pem": ("key",),
        "head.json": ("head", "--sign", "--json"),
        "proof.json": ("prove", ids[1]),
        "leaf.json": ("prove", "--leaf", 4),
    }.items():
        code, out, err = run("log", *words)
        assert code == 0, err
        made[name] = tmp_path / name
        made[name].write_text(out)
    return made


def test_a_proof_is_checked_far_from_the_registry(run, files, tmp_path):
    away = tmp_path / "away"
    for name in ("proof.json", "leaf.json"):
        code, out, _ = run(
            "log",
            "check",
            files[name],
            "--head",
            files["head.json"],
            "--key",
            files["key.pem"],
            home=away,
        )
        assert code == 0
        assert "stands in the log of 5 leaves" in out
    assert not away.exists()


def test_what_is_not_proven_ends_with_1(run, files):
    document = json.loads(files["proof.json"].read_text())
    document["leaf_index"] = 0
    files["proof.json"].write_text(json.dumps(document))
    code, out, err = run("log", "check", files["proof.json"], "--key", files["key.pem"])
    assert (code, out) == (1, "")
    assert "not proven: the path does not lead" in err
    code, out, _ = run("log", "check", files["proof.json"], "--key", files["key.pem"], "--json")
    assert (code, json.loads(out)["proven"]) == (1, False)


def test_consistency_is_checked_against_two_heads(run, files, settings, tmp_path):
    store = open_registry(settings)
    store.commit(build_record(store.reserve().record_id))
    store.close()
    run("log", "head", "--sign")
    grown = tmp_path / "grown.json"
    grown.write_text(run("log", "consistency", "--first", 5)[1])
    words = ("log", "check", grown, "--older", files["head.json"], "--key", files["key.pem"])
    code, out, _ = run(*words)
    assert (code, out) == (0, "proven: nothing up to leaf 4 was changed since\n")
    code, _, err = run(*words[:3])
    assert (code, "give --older" in err) == (3, True)


def test_the_log_itself_is_checked_against_a_head_that_was_kept(run, files, settings):
    code, out, _ = run("log", "check", "--head", files["head.json"])
    assert (code, "are those of the head" in out) == (0, True)
    with sqlite3.connect(settings.home / "registry.sqlite3") as raw:
        raw.execute('UPDATE log_leaves SET leaf_hash = zeroblob(32) WHERE "index" = 4')
    code, _, err = run("log", "check", "--head", files["head.json"])
    assert (code, "was rewritten" in err) == (1, True)
    with sqlite3.connect(settings.home / "registry.sqlite3") as raw:
        raw.execute('DELETE FROM log_leaves WHERE "index" = 4')
    code, _, err = run("log", "check", "--head", files["head.json"])
    assert (code, "it was cut" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check",), "give a proof, or a head"),
        (("check", "nowhere.json"), "nowhere.json cannot be read"),
        (("prove",), "give the id of a record, or --leaf"),
        (("prove", "hello"), "not 16 hex digits"),
        (("prove", "f" * 16), "no record or refusal"),
    ],
)
def test_bad_words_are_answered_in_one_line(run, ids, words, message):
    code, out, err = run("log", *words)
    assert (code, out) == (3, "")
    assert message in err
    assert err.count("\n") == 1


def test_the_life_cycle_on_the_command_line(run, ids, tmp_path):
    code, out, err = run("registry", "revoke", "--record", ids[0], "--reason", "made by mistake")
    assert (code, err) == (0, "")
    assert out.startswith(f"The operator revoked record {ids[0]} on ")
    code, out, _ = run(
        "registry", "take-down", ids[1], "--reason", "a person", "--delete", "--json"
    )
    assert (code, json.loads(out)["kind"]) == (0, "take_down")
    assert run("registry", "erase", ids[2])[0] == 0
    assert run("registry", "show", ids[2])[0] == 3
    shown = run("registry", "show", ids[0])[1]
    assert "notices.1.reason" in shown
    assert "made by mistake" in shown
    code, out, _ = run("registry", "events", "--json")
    kinds = [one["kind"] for one in json.loads(out)]
    assert kinds == ["erasure", "deletion", "take_down", "revocation"]
    code, out, _ = run("registry", "prune")
    assert (code, out.startswith("0 files and the inputs of 0 records")) == (0, True)
    code, _, err = run("registry", "revoke", "--reason", "none", "--record", ids[0], "--key", "k")
    assert (code, "give one of --record" in err) == (3, True)
    code, out, _ = run("registry", "export", tmp_path / "out", "--json")
    assert (code, json.loads(out)) == (0, {"entries": 9, "files": 0, "missing": 3})


def test_an_export_is_read_in_on_the_command_line(run, ids, tmp_path):
    run("registry", "export", tmp_path / "out", "--no-files")
    code, out, err = run("registry", "import", tmp_path / "out", "--no-files", home=tmp_path / "b")
    assert (code, err) == (0, "")
    assert "5 entries and 0 files read in" in out
    assert "the log begins with the exported one" in out


def test_the_examples_are_those_of_a_real_log():
    key = read_public_key(KEY_EXAMPLE.encode(), name="key")
    head = read_document(json.dumps(HEAD_EXAMPLE).encode(), name="head")
    proof = read_document(json.dumps(INCLUSION_EXAMPLE).encode(), name="proof")
    check_inclusion_proof(proof, head, key)
    (leaf,) = LEAVES_EXAMPLE["leaves"]
    assert hash_leaf(leaf["leaf"].encode()).hex() == leaf["leaf_hash"]
    grown = read_document(json.dumps(CONSISTENCY_EXAMPLE).encode(), name="proof")
    first = hash_leaf(leaf["leaf"].encode())
    assert verify_consistency(1, 2, grown.path, first, head.root)
