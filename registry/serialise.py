"""Records and refusals to rows and back. No IO."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.errors import InputError
from provenance.types import (
    AssetInfo,
    Embedding,
    EventKind,
    EventTarget,
    Fingerprints,
    MediaType,
    ModelRef,
    PerceptualHash,
    RecordId,
    RecordKind,
    Refusal,
    RegistryEvent,
    RegistryRecord,
    SafetyPolicy,
    SafetyReport,
    WatermarkInfo,
)
from registry.tables import (
    EmbeddingRow,
    PerceptualHashRow,
    RecordRow,
    RefusalRow,
    RegistryEventRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.types import Parameters

__all__ = [
    "event_to_row",
    "further_rows",
    "record_to_row",
    "refusal_to_row",
    "row_to_event",
    "row_to_record",
    "row_to_refusal",
]

VECTOR_DTYPE = np.dtype("<f4")
"""As the embedder answered it: the log's digest of a record can be computed again from the row."""


# -- to rows -----------------------------------------------------------------------------------


def record_to_row(record: RegistryRecord, *, log_index: int) -> RecordRow:
    """The row of a record, with its fingerprints.

    Raises:
        InputError: A parameter is no finite number; names it.
    """
    asset = record.asset
    return RecordRow(
        record_id=record.record_id,
        log_index=log_index,
        kind=record.kind.value,
        created_at=record.created_at,
        sha256=asset.sha256,
        pixel_sha256=asset.pixel_sha256,
        media_type=asset.media_type.value,
        width_px=asset.width_px,
        height_px=asset.height_px,
        size_bytes=asset.size_bytes,
        shell_head=asset.shell_head,
        shell_tail=asset.shell_tail,
        **_model_columns(record.model),
        parameters=_parameters_to_json(record.parameters),
        safety=_safety_to_json(record.safety),
        **_watermark_columns(record.watermark),
        manifest_label=record.manifest_label,
        manifest_store=record.manifest_store,
        claim_generator=record.claim_generator,
        time_stamped=record.time_stamped,
        perceptual_hash=_hash_row(record.fingerprints.perceptual_hash, log_index),
        embedding=_embedding_row(record.fingerprints.embedding, log_index),
    )


def refusal_to_row(refusal: Refusal, *, log_index: int) -> RefusalRow:
    """The row of a refusal.

    Raises:
        InputError: As for `record_to_row`.
    """
    return RefusalRow(
        record_id=refusal.record_id,
        log_index=log_index,
        created_at=refusal.created_at,
        **_model_columns(refusal.model),
        parameters=_parameters_to_json(refusal.parameters),
        safety=_safety_to_json(refusal.safety),
        reason=refusal.reason,
    )


def _model_columns(model: ModelRef | None) -> dict[str, str | None]:
    return {
        "model_name": model.name if model else None,
        "model_revision": model.revision if model else None,
        "model_weights_sha256": model.weights_sha256 if model else None,
        "model_licence": model.licence if model else None,
        "model_family": model.family if model else None,
    }


def _watermark_columns(mark: WatermarkInfo | None) -> dict[str, Any]:
    return {
        "watermark_codec": mark.codec if mark else None,
        "watermark_alg": mark.alg if mark else None,
        "watermark_key_id": mark.key_id if mark else None,
        "watermark_strength": mark.strength if mark else None,
        "watermark_carries_record_id": mark.carries_record_id if mark else None,
        "watermark_psnr_db": mark.psnr_db if mark else None,
        "watermark_bit_accuracy": mark.bit_accuracy if mark else None,
        "watermark_ssim": mark.ssim if mark else None,
        "watermark_margin": mark.margin if mark else None,
    }


def _parameters_to_json(parameters: Parameters) -> dict[str, Any]:
    for name, value in parameters.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"parameter {name} is {value}; a record takes finite numbers only")
    return dict(parameters)


def _safety_to_json(safety: SafetyReport | None) -> dict[str, Any] | None:
    if safety is None:
        return None
    return {
        "checker": safety.checker,
        "version": safety.version,
        "scores": _numbers_to_json(safety.scores),
        "thresholds": _numbers_to_json(safety.thresholds),
        "policy": safety.policy.value,
    }


def _numbers_to_json(values: Mapping[str, float]) -> dict[str, float | str]:
    # JSON has no infinity, and a threshold of infinity is how a checker says "never".
    return {
        name: float(value) if math.isfinite(value) else str(float(value))
        for name, value in values.items()
    }


def _hash_row(value: PerceptualHash | None, log_index: int) -> PerceptualHashRow | None:
    if value is None:
        return None
    return PerceptualHashRow(
        log_index=log_index,
        algorithm=value.algorithm,
        hash=bytes.fromhex(value.hex),
        quality=value.quality,
    )


def _embedding_row(value: Embedding | None, log_index: int) -> EmbeddingRow | None:
    if value is None:
        return None
    return EmbeddingRow(
        of_record=True,
        log_index=log_index,
        space_id=value.space_id,
        dim=int(value.vector.shape[0]),
        vector=value.vector.astype(VECTOR_DTYPE).tobytes(),
    )


def further_rows(record: RegistryRecord, *, log_index: int) -> list[EmbeddingRow]:
    """Rows of the embeddings in further spaces, which the record's leaf does not cover."""
    rows = []
    for one in record.fingerprints.further:
        row = _embedding_row(one, log_index)
        if row is not None:
            row.record_id, row.of_record = record.record_id, False
            rows.append(row)
    return rows


# -- from rows ---------------------------------------------------------------------------------


def row_to_record(row: RecordRow) -> RegistryRecord:
    """The record of a row; equal in every field to the one that was written."""
    return RegistryRecord(
        record_id=RecordId(row.record_id),
        kind=RecordKind(row.kind),
        created_at=row.created_at,
        asset=AssetInfo(
            sha256=row.sha256,
            pixel_sha256=row.pixel_sha256,
            media_type=MediaType(row.media_type),
            width_px=row.width_px,
            height_px=row.height_px,
            size_bytes=row.size_bytes,
            shell_head=row.shell_head,
            shell_tail=row.shell_tail,
        ),
        model=_model_of(row),
        parameters=row.parameters,
        safety=None if row.safety is None else _safety_of(row.safety),
        watermark=_watermark_of(row),
        fingerprints=Fingerprints(
            perceptual_hash=_hash_of(row.perceptual_hash),
            embedding=_embedding_of(row.embedding),
        ),
        manifest_label=row.manifest_label,
        manifest_store=row.manifest_store,
        claim_generator=row.claim_generator,
        time_stamped=row.time_stamped,
    )


def row_to_refusal(row: RefusalRow) -> Refusal:
    """The refusal of a row; equal to the one that was written."""
    return Refusal(
        record_id=RecordId(row.record_id),
        created_at=row.created_at,
        model=ModelRef(
            name=row.model_name,
            revision=row.model_revision,
            weights_sha256=row.model_weights_sha256,
            licence=row.model_licence,
            family=row.model_family,
        ),
        parameters=row.parameters,
        safety=_safety_of(row.safety),
        reason=row.reason,
    )


def _model_of(row: RecordRow) -> ModelRef | None:
    if row.model_name is None or row.model_revision is None or row.model_weights_sha256 is None:
        return None
    return ModelRef(
        name=row.model_name,
        revision=row.model_revision,
        weights_sha256=row.model_weights_sha256,
        licence=row.model_licence,
        family=row.model_family or "",
    )


def _safety_of(document: Mapping[str, Any]) -> SafetyReport:
    return SafetyReport(
        checker=document["checker"],
        version=document["version"],
        scores={name: float(value) for name, value in document["scores"].items()},
        thresholds={name: float(value) for name, value in document["thresholds"].items()},
        policy=SafetyPolicy(document["policy"]),
    )


def _watermark_of(row: RecordRow) -> WatermarkInfo | None:
    if row.watermark_codec is None:
        return None
    return WatermarkInfo(
        codec=row.watermark_codec,
        alg=row.watermark_alg or "",
        key_id=row.watermark_key_id or "",
        strength=row.watermark_strength or 0.0,
        carries_record_id=bool(row.watermark_carries_record_id),
        psnr_db=row.watermark_psnr_db or 0.0,
        bit_accuracy=row.watermark_bit_accuracy or 0.0,
        ssim=row.watermark_ssim,
        margin=row.watermark_margin,
    )


def _hash_of(row: PerceptualHashRow | None) -> PerceptualHash | None:
    if row is None:
        return None
    return PerceptualHash(algorithm=row.algorithm, hex=row.hash.hex(), quality=row.quality)


def _embedding_of(row: EmbeddingRow | None) -> Embedding | None:
    if row is None:
        return None
    stored = np.frombuffer(row.vector, dtype=VECTOR_DTYPE)
    return Embedding(space_id=row.space_id, vector=stored.astype(np.float32))


# -- events ------------------------------------------------------------------------------------


def event_to_row(
    event: RegistryEvent, *, log_index: int, entry_index: int | None
) -> RegistryEventRow:
    """The row of an event."""
    return RegistryEventRow(
        log_index=log_index,
        kind=event.kind.value,
        target_kind=event.target_kind.value,
        target=event.target,
        entry_index=entry_index,
        created_at=event.created_at,
        reason=event.reason,
    )


def row_to_event(row: RegistryEventRow) -> RegistryEvent:
    """The event of a row.

    Raises:
        ValueError: The row names a kind that there is not.
    """
    return RegistryEvent(
        kind=EventKind(row.kind),
        target_kind=EventTarget(row.target_kind),
        target=row.target,
        created_at=row.created_at,
        reason=row.reason,
    )
