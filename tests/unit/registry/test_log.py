"""The log's leaves and heads, against digests computed by hand."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from provenance.testing.stores import (
    START,
    build_attested_record,
    build_embedding,
    build_hash,
    build_record,
    build_refusal,
)
from provenance.types import Fingerprints, ModelRef, RecordId, RecordKind, SafetyPolicy
from registry.log import (
    EMPTY_HEAD,
    commit_leaf,
    extend_head,
    hash_leaf,
    refusal_leaf,
    replay_heads,
)

RECORD = build_record(
    RecordId("00000000000000ff"), perceptual_hash=build_hash(5), embedding=build_embedding(1, 2)
)
PINNED_COMMIT = "9144e91db3172d504ba89197c50600df7053210126f78a6bfa934c05a1f37788"
PINNED_REFUSAL = "29138810160e77a8f084807cf6b9cc20d8c7fbedc36c36bf5fe4200db9d8b947"


def test_empty_head_is_the_hash_of_nothing():
    # RFC 9162 section 2.1.1: the hash of an empty list is the hash of an empty string.
    assert EMPTY_HEAD.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_hash_leaf_agrees_with_the_published_test_vectors():
    # Leaves of the Certificate Transparency reference Merkle tree tests: "" and 00.
    assert hash_leaf(b"").hex() == (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    )
    assert hash_leaf(b"\x00").hex() == (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
    )


def test_extend_head_hashes_a_prefix_of_its_own_then_head_then_leaf():
    leaf = hash_leaf(b"leaf")
    assert extend_head(EMPTY_HEAD, leaf) == hashlib.sha256(b"\x02" + EMPTY_HEAD + leaf).digest()


def test_replay_heads_answers_the_head_after_each_leaf():
    first = extend_head(EMPTY_HEAD, hash_leaf(b"a"))
    assert list(replay_heads([b"a", b"b"])) == [first, extend_head(first, hash_leaf(b"b"))]


def test_replay_heads_tells_order_and_content_apart():
    ends = {
        list(replay_heads(leaves))[-1]
        for leaves in ([b"a", b"b"], [b"b", b"a"], [b"ab"], [b"a", b"b", b""], [b"a", b"c"])
    }
    assert len(ends) == 5


def test_commit_leaf_is_canonical_json_of_digests_only():
    data = commit_leaf(RECORD)
    leaf = json.loads(data)
    assert data == json.dumps(leaf, sort_keys=True, separators=(",", ":")).encode()
    assert leaf.pop("kind") == "commit"
    assert leaf.pop("version") == 1
    assert set(leaf) == {
        "asset_sha256",
        "manifest_store_sha256",
        "pixel_sha256",
        "record_sha256",
    }
    assert all(len(digest) == 64 and int(digest, 16) >= 0 for digest in leaf.values())


def test_leaves_stay_the_same_from_version_to_version():
    # A changed value here means that every registry in use would fail its own check.
    assert hashlib.sha256(commit_leaf(RECORD)).hexdigest() == PINNED_COMMIT
    refusal = build_refusal(RecordId("00000000000000fe"))
    assert hashlib.sha256(refusal_leaf(refusal)).hexdigest() == PINNED_REFUSAL


def changed_records():
    asset, mark, safety, model = RECORD.asset, RECORD.watermark, RECORD.safety, RECORD.model
    assert mark is not None
    assert safety is not None
    assert model is not None
    digest = "c" * 64
    yield "record_id", replace(RECORD, record_id=RecordId("00000000000000fe"))
    yield "kind", replace(RECORD, kind=RecordKind.EDITED)
    yield "created_at", replace(RECORD, created_at=START + timedelta(microseconds=1))
    yield "claim_generator", replace(RECORD, claim_generator="other/1")
    yield "manifest_label", replace(RECORD, manifest_label="urn:c2pa:other")
    yield "manifest_store", replace(RECORD, manifest_store=b"other")
    yield "time_stamped", replace(RECORD, time_stamped=False)
    yield "parameters", replace(RECORD, parameters={**RECORD.parameters, "seed": 8})
    yield "model gone", replace(RECORD, model=None)
    yield "safety gone", replace(RECORD, safety=None)
    yield "watermark gone", replace(RECORD, watermark=None)
    for name, value in {
        "sha256": digest,
        "pixel_sha256": digest,
        "width_px": 513,
        "height_px": 385,
        "size_bytes": 1,
        "shell_head": b"x",
        "shell_tail": b"x",
    }.items():
        yield f"asset.{name}", replace(RECORD, asset=replace(asset, **{name: value}))
    for name, value in {
        "codec": "dwtDct",
        "alg": "other",
        "key_id": "other",
        "strength": 1.5,
        "carries_record_id": False,
        "psnr_db": float("inf"),
        "bit_accuracy": 0.5,
    }.items():
        yield f"watermark.{name}", replace(RECORD, watermark=replace(mark, **{name: value}))
    for name, value in {
        "checker": "other",
        "version": "other",
        "scores": {"nsfw": 0.126},
        "thresholds": {"nsfw": 0.9},
        "policy": SafetyPolicy.FLAG,
    }.items():
        yield f"safety.{name}", replace(RECORD, safety=replace(safety, **{name: value}))
    for name, value in {
        "name": "other",
        "revision": "0" * 40,
        "weights_sha256": digest,
        "licence": None,
        "family": "Other",
    }.items():
        yield f"model.{name}", replace(RECORD, model=replace(model, **{name: value}))
    prints = RECORD.fingerprints
    yield "hash gone", replace(RECORD, fingerprints=replace(prints, perceptual_hash=None))
    yield "embedding gone", replace(RECORD, fingerprints=replace(prints, embedding=None))
    yield "hash", replace(RECORD, fingerprints=replace(prints, perceptual_hash=build_hash(4)))
    other_space = build_embedding(1, 2, space_id="space/2")
    yield "space", replace(RECORD, fingerprints=replace(prints, embedding=other_space))
    nearly = build_embedding(1, 2.001)
    yield "vector", replace(RECORD, fingerprints=replace(prints, embedding=nearly))


@pytest.mark.parametrize(
    ("name", "changed"), [pytest.param(n, r, id=n) for n, r in changed_records()]
)
def test_commit_leaf_changes_with_every_field(name, changed):
    assert commit_leaf(changed) != commit_leaf(RECORD), name


def test_commit_leaf_ignores_the_order_of_parameters():
    turned = replace(RECORD, parameters=dict(reversed(list(RECORD.parameters.items()))))
    assert commit_leaf(turned) == commit_leaf(RECORD)


def test_commit_leaf_takes_a_record_that_leaves_out_all_it_may():
    bare = replace(build_attested_record(RECORD.record_id), fingerprints=Fingerprints(None))
    assert json.loads(commit_leaf(bare))["kind"] == "commit"


def test_refusal_leaf_changes_with_every_field():
    refusal = build_refusal(RecordId("00000000000000ff"))
    changed = [
        replace(refusal, record_id=RecordId("00000000000000fe")),
        replace(refusal, created_at=START + timedelta(seconds=1)),
        replace(refusal, model=ModelRef(name="other", revision="0" * 40, weights_sha256="0" * 64)),
        replace(refusal, parameters={}),
        replace(refusal, safety=replace(refusal.safety, scores={"nsfw": 0.98})),
        replace(refusal, reason="other"),
    ]
    leaves = {refusal_leaf(refusal), *map(refusal_leaf, changed)}
    assert len(leaves) == 1 + len(changed)
    assert json.loads(refusal_leaf(refusal))["kind"] == "refusal"
