"""The log's leaves, against digests computed by hand."""

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
from provenance.types import (
    EventKind,
    EventTarget,
    Fingerprints,
    ModelRef,
    RecordId,
    RecordKind,
    RegistryEvent,
    SafetyPolicy,
)
from registry.log import commit_leaf, event_leaf, read_asset_digest, refusal_leaf

RECORD = build_record(
    RecordId("00000000000000ff"), perceptual_hash=build_hash(5), embedding=build_embedding(1, 2)
)
PINNED_COMMIT = "9144e91db3172d504ba89197c50600df7053210126f78a6bfa934c05a1f37788"
PINNED_REFUSAL = "29138810160e77a8f084807cf6b9cc20d8c7fbedc36c36bf5fe4200db9d8b947"


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


EVENT = RegistryEvent(
    EventKind.REVOCATION, EventTarget.RECORD, "00000000000000ff", START, "the key was stolen"
)


def test_event_leaf_changes_with_every_field_and_tells_none_of_them():
    changed = [
        replace(EVENT, kind=EventKind.TAKE_DOWN),
        replace(EVENT, target_kind=EventTarget.KEY),
        replace(EVENT, target="00000000000000fe"),
        replace(EVENT, created_at=START + timedelta(microseconds=1)),
        replace(EVENT, reason="another"),
    ]
    leaves = {event_leaf(one, entry_hash=b"\x03" * 32) for one in (EVENT, *changed)}
    leaves.add(event_leaf(EVENT, entry_hash=None))
    assert len(leaves) == 7
    leaf = json.loads(event_leaf(EVENT, entry_hash=b"\x03" * 32))
    assert set(leaf) == {"event_sha256", "kind", "version"}
    assert leaf["kind"] == "revocation"


def test_every_kind_of_event_has_a_leaf_of_its_kind():
    for kind in EventKind:
        leaf = event_leaf(replace(EVENT, kind=kind), entry_hash=bytes(32))
        assert json.loads(leaf)["kind"] == kind


def test_only_a_commit_leaf_names_a_file():
    assert read_asset_digest(commit_leaf(RECORD)) == RECORD.asset.sha256
    assert read_asset_digest(event_leaf(EVENT, entry_hash=bytes(32))) is None
    assert read_asset_digest(b"no json") is None
    assert read_asset_digest(b"[1]") is None
