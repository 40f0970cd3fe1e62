"""The public view of a record: what ``GET /v1/records/{id}`` and ``registry show`` answer.

It names no person and gives no secret away. Of the parameters only the listed ones are shown: a
keyed hash of a prompt, or a prompt that an operator chose to keep, stays in the registry.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic.config import JsonDict

    from provenance.types import (
        AssetInfo,
        Fingerprints,
        ModelRef,
        Refusal,
        RegistryEvent,
        RegistryRecord,
        SafetyReport,
        WatermarkInfo,
    )

__all__ = ["RecordView", "RefusalView", "record_view", "refusal_view"]

PUBLIC_PARAMETERS = (
    "seed",
    "steps",
    "effective_steps",
    "guidance",
    "width",
    "height",
    "scheduler",
    "loras",
    "strength",
    "input_role",
    "input_hmac",
    "mask_hmac",
    "parent_state",
    "parent_manifest",
    "parent_record",
    "parent_restored",
    "visible_label",
    "preview_of",
    "preview_step",
    "resumed_from",
    "resumed_step",
)
"""None of them describes what a person asked for in words."""

ParameterValue = str | int | float | bool | None


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AssetView(_View):
    """The delivered file."""

    sha256: str
    pixel_sha256: str
    media_type: str
    width_px: int
    height_px: int
    size_bytes: int


class ModelView(_View):
    """The pinned model."""

    name: str
    revision: str
    weights_sha256: str
    licence: str | None
    family: str


class SafetyView(_View):
    """What the checker measured; null where a number is infinite."""

    checker: str
    version: str
    policy: str
    scores: dict[str, float | None]
    thresholds: dict[str, float | None]
    flagged: list[str]


class WatermarkView(_View):
    """The invisible mark as measured on the delivered bytes."""

    codec: str
    alg: str
    key_id: str
    carries_record_id: bool
    psnr_db: float | None
    bit_accuracy: float


class HashView(_View):
    """The perceptual hash of the delivered pixels."""

    algorithm: str
    hex: str
    quality: int


class EmbeddingView(_View):
    """That there is an embedding, and of which space; not the vector."""

    space_id: str
    components: int


class ManifestView(_View):
    """The C2PA manifest store, by size and digest."""

    label: str
    store_sha256: str
    store_bytes: int
    time_stamped: bool


class NoticeView(_View):
    """What the operator said later of the record, its watermark key or its model."""

    kind: str
    target_kind: str
    target: str
    created_at: datetime
    reason: str


RECORD_EXAMPLE: JsonDict = {
    "record_id": "3f2a9c0d11e87b46",
    "kind": "generated",
    "created_at": "2026-11-24T20:00:09Z",
    "claim_generator": "countermark 0.1.0",
    "asset": {
        "sha256": "6f1d3c" + 58 * "0",
        "pixel_sha256": "a07be1" + 58 * "0",
        "media_type": "image/png",
        "width_px": 512,
        "height_px": 512,
        "size_bytes": 412806,
    },
    "model": {
        "name": "bundled",
        "revision": "sha256:" + 64 * "4",
        "weights_sha256": 64 * "4",
        "licence": "Apache-2.0",
        "family": "StableDiffusionPipeline",
    },
    "parameters": {"seed": 7, "steps": 20, "guidance": 7.5},
    "safety": None,
    "watermark": None,
    "perceptual_hash": None,
    "embedding": None,
    "manifest": {
        "label": "urn:c2pa:0c1f9a52-7d5e-4a33-9c50-b6a0e7c1d2f4",
        "store_sha256": "d94c02" + 58 * "0",
        "store_bytes": 18234,
        "time_stamped": False,
    },
    "notices": [],
}


class RecordView(_View):
    """One delivered picture."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [RECORD_EXAMPLE]}
    )

    record_id: str
    kind: str
    created_at: datetime
    claim_generator: str
    asset: AssetView
    model: ModelView | None
    parameters: dict[str, ParameterValue]
    safety: SafetyView | None
    watermark: WatermarkView | None
    perceptual_hash: HashView | None
    embedding: EmbeddingView | None
    manifest: ManifestView
    notices: list[NoticeView]


class RefusalView(_View):
    """One picture that was not delivered, and why."""

    record_id: str
    kind: str = "refused"
    created_at: datetime
    model: ModelView | None
    parameters: dict[str, ParameterValue]
    safety: SafetyView | None
    reason: str


def record_view(record: RegistryRecord, notices: Sequence[RegistryEvent] = ()) -> RecordView:
    """The public view of a record, with what was said of it later."""
    prints = record.fingerprints
    return RecordView(
        record_id=record.record_id,
        kind=record.kind.value,
        created_at=record.created_at,
        claim_generator=record.claim_generator,
        asset=_asset_view(record.asset),
        model=_model_view(record.model),
        parameters=_public_parameters(record.parameters),
        safety=_safety_view(record.safety),
        watermark=_watermark_view(record.watermark),
        perceptual_hash=_hash_view(prints),
        embedding=_embedding_view(prints),
        manifest=ManifestView(
            label=record.manifest_label,
            store_sha256=hashlib.sha256(record.manifest_store).hexdigest(),
            store_bytes=len(record.manifest_store),
            time_stamped=record.time_stamped,
        ),
        notices=[
            NoticeView(
                kind=one.kind.value,
                target_kind=one.target_kind.value,
                target=one.target,
                created_at=one.created_at,
                reason=one.reason,
            )
            for one in notices
        ],
    )


def refusal_view(refusal: Refusal) -> RefusalView:
    """The view of a refusal."""
    return RefusalView(
        record_id=refusal.record_id,
        created_at=refusal.created_at,
        model=_model_view(refusal.model),
        parameters=_public_parameters(refusal.parameters),
        safety=_safety_view(refusal.safety),
        reason=refusal.reason,
    )


def _public_parameters(parameters: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    return {name: parameters[name] for name in PUBLIC_PARAMETERS if name in parameters}


def _asset_view(asset: AssetInfo) -> AssetView:
    return AssetView(
        sha256=asset.sha256,
        pixel_sha256=asset.pixel_sha256,
        media_type=asset.media_type.value,
        width_px=asset.width_px,
        height_px=asset.height_px,
        size_bytes=asset.size_bytes,
    )


def _model_view(model: ModelRef | None) -> ModelView | None:
    if model is None:
        return None
    return ModelView(
        name=model.name,
        revision=model.revision,
        weights_sha256=model.weights_sha256,
        licence=model.licence,
        family=model.family,
    )


def _safety_view(safety: SafetyReport | None) -> SafetyView | None:
    if safety is None:
        return None
    return SafetyView(
        checker=safety.checker,
        version=safety.version,
        policy=safety.policy.value,
        scores={name: _finite(value) for name, value in safety.scores.items()},
        thresholds={name: _finite(value) for name, value in safety.thresholds.items()},
        flagged=list(safety.flagged),
    )


def _watermark_view(mark: WatermarkInfo | None) -> WatermarkView | None:
    if mark is None:
        return None
    return WatermarkView(
        codec=mark.codec,
        alg=mark.alg,
        key_id=mark.key_id,
        carries_record_id=mark.carries_record_id,
        psnr_db=_finite(mark.psnr_db),
        bit_accuracy=mark.bit_accuracy,
    )


def _hash_view(prints: Fingerprints) -> HashView | None:
    found = prints.perceptual_hash
    if found is None:
        return None
    return HashView(algorithm=found.algorithm, hex=found.hex, quality=found.quality)


def _embedding_view(prints: Fingerprints) -> EmbeddingView | None:
    found = prints.embedding
    if found is None:
        return None
    return EmbeddingView(space_id=found.space_id, components=int(found.vector.shape[0]))


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None
