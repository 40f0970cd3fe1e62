"""What the leaves of the append-only log say. Pure.

A leaf is canonical JSON of digests only. It may be published without giving away a record, and it
stays when a record must go. The tree over all leaves is `registry.merkle`'s.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from provenance.types import (
        Embedding,
        ModelRef,
        Refusal,
        RegistryEvent,
        RegistryRecord,
        SafetyReport,
        WatermarkInfo,
    )

__all__ = [
    "LeafKind",
    "commit_leaf",
    "event_leaf",
    "manifest_leaf",
    "read_asset_digest",
    "refusal_leaf",
]

JsonValue: TypeAlias = "str | int | float | bool | dict[str, JsonValue] | None"

LEAF_VERSION = 1


class LeafKind(StrEnum):
    """What a leaf says happened; the later ones are those of `provenance.types.EventKind`."""

    COMMIT = "commit"
    REFUSAL = "refusal"
    MANIFEST_STORED = "manifest_stored"
    MANIFEST_DELETED = "manifest_deleted"
    REVOCATION = "revocation"
    TAKE_DOWN = "take_down"
    ERASURE = "erasure"
    DELETION = "deletion"


def commit_leaf(record: RegistryRecord) -> bytes:
    """The canonical leaf of a record.

    Raises:
        ValueError: A parameter is no finite number, which JSON cannot say.
    """
    return _canonical(
        {
            "asset_sha256": record.asset.sha256,
            "kind": LeafKind.COMMIT,
            "manifest_store_sha256": _sha256(record.manifest_store),
            "pixel_sha256": record.asset.pixel_sha256,
            "record_sha256": _sha256(_canonical(_describe_record(record))),
            "version": LEAF_VERSION,
        }
    )


def refusal_leaf(refusal: Refusal) -> bytes:
    """The canonical leaf of a refusal.

    Raises:
        ValueError: As for `commit_leaf`.
    """
    return _canonical(
        {
            "kind": LeafKind.REFUSAL,
            "record_sha256": _sha256(_canonical(_describe_refusal(refusal))),
            "version": LEAF_VERSION,
        }
    )


def manifest_leaf(kind: LeafKind, *, manifest_id: str, store_sha256: str) -> bytes:
    """The canonical leaf of another maker's manifest that was stored, or deleted."""
    return _canonical(
        {
            "kind": kind,
            "manifest_id_sha256": _sha256(manifest_id.encode("utf-8")),
            "manifest_store_sha256": store_sha256,
            "version": LEAF_VERSION,
        }
    )


def event_leaf(event: RegistryEvent, *, entry_hash: bytes | None) -> bytes:
    """The canonical leaf of what the operator did later.

    Args:
        event: What happened.
        entry_hash: Hash of the leaf that it speaks of; None for keys and models. Not its place,
            which is another one in a registry that imported it.
    """
    described: dict[str, JsonValue] = {
        "created_at": _time(event.created_at),
        "entry_hash": None if entry_hash is None else entry_hash.hex(),
        "kind": event.kind,
        "reason": event.reason,
        "target": event.target,
        "target_kind": event.target_kind,
    }
    return _canonical(
        {
            "event_sha256": _sha256(_canonical(described)),
            "kind": LeafKind(event.kind),
            "version": LEAF_VERSION,
        }
    )


def read_asset_digest(data: bytes) -> str | None:
    """The delivered file that a commit leaf names, by SHA-256; None of any other leaf."""
    try:
        leaf = json.loads(data)
    except ValueError:
        return None
    digest = leaf.get("asset_sha256") if isinstance(leaf, dict) else None
    return digest if isinstance(digest, str) else None


def _canonical(document: JsonValue) -> bytes:
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _describe_record(record: RegistryRecord) -> dict[str, JsonValue]:
    asset, prints = record.asset, record.fingerprints
    return {
        "record_id": record.record_id,
        "kind": record.kind,
        "created_at": _time(record.created_at),
        "asset": {
            "sha256": asset.sha256,
            "pixel_sha256": asset.pixel_sha256,
            "media_type": asset.media_type,
            "width_px": asset.width_px,
            "height_px": asset.height_px,
            "size_bytes": asset.size_bytes,
            "shell_head_sha256": _sha256(asset.shell_head),
            "shell_tail_sha256": _sha256(asset.shell_tail),
        },
        "model": _describe_model(record.model),
        "parameters": dict(record.parameters),
        "safety": _describe_safety(record.safety),
        "watermark": _describe_watermark(record.watermark),
        "perceptual_hash": None
        if prints.perceptual_hash is None
        else {
            "algorithm": prints.perceptual_hash.algorithm,
            "hex": prints.perceptual_hash.hex,
            "quality": prints.perceptual_hash.quality,
        },
        "embedding": _describe_embedding(prints.embedding),
        "manifest_label": record.manifest_label,
        "manifest_store_sha256": _sha256(record.manifest_store),
        "claim_generator": record.claim_generator,
        "time_stamped": record.time_stamped,
    }


def _describe_refusal(refusal: Refusal) -> dict[str, JsonValue]:
    return {
        "record_id": refusal.record_id,
        "created_at": _time(refusal.created_at),
        "model": _describe_model(refusal.model),
        "parameters": dict(refusal.parameters),
        "safety": _describe_safety(refusal.safety),
        "reason": refusal.reason,
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _describe_model(model: ModelRef | None) -> JsonValue:
    if model is None:
        return None
    return {
        "name": model.name,
        "revision": model.revision,
        "weights_sha256": model.weights_sha256,
        "licence": model.licence,
        "family": model.family,
    }


def _describe_safety(safety: SafetyReport | None) -> JsonValue:
    if safety is None:
        return None
    return {
        "checker": safety.checker,
        "version": safety.version,
        "scores": _numbers(safety.scores),
        "thresholds": _numbers(safety.thresholds),
        "policy": safety.policy,
    }


def _describe_watermark(mark: WatermarkInfo | None) -> JsonValue:
    if mark is None:
        return None
    described: dict[str, JsonValue] = {
        "codec": mark.codec,
        "alg": mark.alg,
        "key_id": mark.key_id,
        "strength": _number(mark.strength),
        "carries_record_id": mark.carries_record_id,
        "psnr_db": _number(mark.psnr_db),
        "bit_accuracy": _number(mark.bit_accuracy),
    }
    # Entries of records from before these were measured must stay what they were.
    later = {"ssim": mark.ssim, "margin": mark.margin}
    measured = {name: _number(value) for name, value in later.items() if value is not None}
    return described | measured


def _describe_embedding(embedding: Embedding | None) -> JsonValue:
    if embedding is None:
        return None
    return {
        "space_id": embedding.space_id,
        "vector_sha256": _sha256(embedding.vector.astype("<f4").tobytes()),
    }


def _numbers(values: Mapping[str, float]) -> JsonValue:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | str:
    """A float; infinities as words, for identical pictures have an infinite PSNR."""
    return float(value) if math.isfinite(value) else str(float(value))
