"""The append-only log: what a leaf says, and the digest that binds all leaves. Pure.

A leaf is canonical JSON of digests only. It may be published without giving away a record, and it
can stay when a record must go. Its hash is the leaf hash of a Merkle log, so that the same leaves
can stand under a tree head without being written again.

The head is a hash chain::

    head(0)     = SHA-256("")
    head(n + 1) = SHA-256(0x02 || head(n) || leaf_hash(n))

Whoever kept any head can tell later whether a leaf up to it was changed, removed or swapped.

Source: RFC 9162 section 2.1.1 (hash of an empty list; 0x00 before a leaf, 0x01 before a node).
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from provenance.types import (
        Embedding,
        ModelRef,
        Refusal,
        RegistryRecord,
        SafetyReport,
        WatermarkInfo,
    )

__all__ = [
    "EMPTY_HEAD",
    "LeafKind",
    "commit_leaf",
    "extend_head",
    "hash_leaf",
    "manifest_leaf",
    "refusal_leaf",
    "replay_heads",
]

JsonValue: TypeAlias = "str | int | float | bool | dict[str, JsonValue] | None"

LEAF_VERSION = 1
_LEAF_PREFIX = b"\x00"
_CHAIN_PREFIX = b"\x02"
"""Neither a leaf (0x00) nor a tree node (0x01): no chain digest can pass for one of them."""

EMPTY_HEAD = hashlib.sha256(b"").digest()
"""Head of a log without leaves."""


class LeafKind(StrEnum):
    """What a leaf says happened."""

    COMMIT = "commit"
    REFUSAL = "refusal"
    MANIFEST_STORED = "manifest_stored"
    MANIFEST_DELETED = "manifest_deleted"


def hash_leaf(data: bytes) -> bytes:
    """32-byte leaf hash. Source: RFC 9162 section 2.1.1."""
    return hashlib.sha256(_LEAF_PREFIX + data).digest()


def extend_head(head: bytes, leaf_hash: bytes) -> bytes:
    """32-byte head after one more leaf."""
    return hashlib.sha256(_CHAIN_PREFIX + head + leaf_hash).digest()


def replay_heads(leaves: Iterable[bytes]) -> Iterable[bytes]:
    """The head after each of `leaves`, in order; `leaves` are leaf data, not hashes."""
    head = EMPTY_HEAD
    for data in leaves:
        head = extend_head(head, hash_leaf(data))
        yield head


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
