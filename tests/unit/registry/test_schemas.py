"""The public view of a record gives away neither words nor secrets."""

from __future__ import annotations

import json
from dataclasses import replace

from provenance.testing.stores import (
    build_attested_record,
    build_embedding,
    build_hash,
    build_record,
    build_refusal,
)
from provenance.types import RecordId
from registry.schemas import RECORD_EXAMPLE, RecordView, record_view, refusal_view

ID = RecordId("00000000000000ff")
WORDS = {
    "seed": 7,
    "prompt": "my neighbour Erika",
    "prompt_hmac": "5ec2e7",
    "negative_prompt_hmac": "5ec2e8",
    "requested_by": "erika@example.org",
}


def test_record_view_shows_harmless_parameters_only():
    text = record_view(build_record(ID, parameters=WORDS)).model_dump_json()
    assert json.loads(text)["parameters"] == {"seed": 7}
    for value in WORDS.values():
        assert value == 7 or value not in text


def test_refusal_view_shows_harmless_parameters_only():
    refusal = replace(build_refusal(ID), parameters=WORDS)
    view = refusal_view(refusal).model_dump(mode="json")
    assert view["parameters"] == {"seed": 7}
    assert view["reason"] == refusal.reason
    assert view["kind"] == "refused"


def test_record_view_shows_binary_parts_by_size_and_digest():
    record = build_record(ID, perceptual_hash=build_hash(3), embedding=build_embedding(1, 2))
    view = record_view(record).model_dump(mode="json")
    assert view["manifest"]["store_bytes"] == len(record.manifest_store)
    assert len(view["manifest"]["store_sha256"]) == 64
    assert view["embedding"] == {"space_id": "space/1", "components": 16}
    assert view["perceptual_hash"]["hex"] == f"{3:064x}"
    assert view["created_at"] == "2026-03-01T12:00:00.250000Z"


def test_record_view_shows_absent_parts_as_null():
    view = record_view(build_attested_record(ID)).model_dump(mode="json")
    for name in ("model", "safety", "watermark", "perceptual_hash", "embedding"):
        assert view[name] is None


def test_record_view_is_json_even_with_infinite_measures():
    record = build_record(ID)
    assert record.watermark is not None
    record = replace(record, watermark=replace(record.watermark, psnr_db=float("inf")))
    view = record_view(record).model_dump(mode="json")
    assert view["watermark"]["psnr_db"] is None
    json.dumps(view, allow_nan=False)


def test_the_example_of_a_record_is_one():
    assert RecordView.model_validate(RECORD_EXAMPLE).record_id == RECORD_EXAMPLE["record_id"]
