"""The write path, W1 to W9, on one screen.

Fail closed: no byte leaves that is not marked, signed and registered. Everything that can fail
happens before the record is committed; what follows is one rename.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from generator.marks import describe_asset
from generator.safety import check_image
from provenance.errors import ContentBlockedError
from provenance.manifest.claims import SoftwareAgent
from provenance.types import Delivery, RecordKind, Refusal, RegistryRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from generator.marks import Marks
    from provenance.interfaces import Pipeline, RecordStore, SafetyChecker, Staged
    from provenance.types import (
        GenerationRequest,
        RecordId,
        Reservation,
        SafetyPolicy,
        SafetyReport,
        SignedAsset,
    )

__all__ = ["GenerationService", "Sink", "Studio"]

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where a delivery goes."""

    def __call__(self, asset: SignedAsset) -> Staged:
        """Stages the bytes.

        Raises:
            DeliveryError: No room, no right.
        """


@dataclass(frozen=True, slots=True)
class Studio:
    """A loaded model with the checker of its pictures."""

    pipeline: Pipeline
    checker: SafetyChecker


@dataclass(frozen=True, slots=True)
class GenerationService:
    """Renders, marks, signs, registers, delivers.

    Attributes:
        open_studio: Answers the loaded model that a request names.
        safety_policy: What happens to flagged pictures.
        marks: W5 to W7.
        store: The registry.
        sinks: Where every delivery goes, besides the caller's own.
        clock: The time now, UTC.
        claim_generator: Name and version of this service, for the record.
    """

    open_studio: Callable[[str | None], Studio]
    safety_policy: SafetyPolicy
    marks: Marks
    store: RecordStore
    sinks: tuple[Sink, ...]
    clock: Callable[[], datetime]
    claim_generator: str

    def generate(
        self,
        request: GenerationRequest,
        on_step: Callable[[int, int], None],
        deliver_to: Sink | None = None,
    ) -> Delivery:
        """One picture, delivered whole or not at all.

        Args:
            request: What to draw; valid by construction.
            on_step: Called after each denoising step with (done, in all).
            deliver_to: The caller's own sink.

        Raises:
            InputError: The model is unknown or cannot do what is asked.
            CapacityError: The size is too small for the watermark codec.
            GenerationError: The pipeline could not render.
            ContentBlockedError: The safety policy blocked the picture; a refusal is recorded.
            WatermarkError: The picture cannot carry the mark; not delivered.
            ManifestError: Signing or its read-back failed; not delivered.
            RegistryError: The record could not be written; not delivered.
            DeliveryError: The bytes could not be staged; not delivered.
        """
        # W1: the request is valid by construction; the model is pinned by its digest.
        self.marks.check_capacity(request)
        studio = self.open_studio(request.model)
        # W2: an id that nobody else has, before pixels exist.
        reservation = self.store.reserve()
        try:
            delivery = self._make(request, studio, reservation, on_step, deliver_to)
        except ContentBlockedError:
            raise  # the refusal has ended the reservation
        except BaseException:
            self._release(reservation.record_id)
            raise
        log.info("delivered record %s", delivery.record.record_id)
        return delivery

    def _make(
        self,
        request: GenerationRequest,
        studio: Studio,
        reservation: Reservation,
        on_step: Callable[[int, int], None],
        deliver_to: Sink | None,
    ) -> Delivery:
        model, payload = studio.pipeline.model, reservation.payload
        # W3
        rendered = studio.pipeline.render(request, on_step)
        # W4
        safety = check_image(studio.checker, rendered, self.safety_policy)
        if safety.blocked:
            self._refuse(request, studio, reservation, safety)
        # W5
        marked = self.marks.mark(rendered, payload, request=request, model=model)
        # W6
        fingerprints = self.marks.fingerprint(marked.raster)
        # W7
        asset = self.marks.sign(
            marked,
            payload=payload,
            fingerprints=fingerprints,
            request=request,
            model=model,
            pipeline=SoftwareAgent(model.family or "pipeline", studio.pipeline.version),
            safety=safety,
            when=self.clock(),
        )
        record = RegistryRecord(
            record_id=reservation.record_id,
            kind=RecordKind.GENERATED,
            created_at=self.clock(),
            asset=describe_asset(asset),
            model=model,
            parameters=self.marks.describe_request(request),
            safety=safety,
            watermark=marked.info,
            fingerprints=fingerprints,
            manifest_label=asset.manifest_label,
            manifest_store=asset.manifest_store,
            claim_generator=self.claim_generator,
            time_stamped=asset.time_stamped,
        )
        self._commit_and_deliver(record, asset, deliver_to)
        return Delivery(record, asset)

    def _commit_and_deliver(
        self, record: RegistryRecord, asset: SignedAsset, deliver_to: Sink | None
    ) -> None:
        staged: list[Staged] = []
        try:
            for sink in (*self.sinks, *(() if deliver_to is None else (deliver_to,))):
                staged.append(sink(asset))  # noqa: PERF401  what is staged must be discarded
            # W8: record and log leaf in one transaction.
            self.store.commit(record)
            # W9: only now bytes leave.
            for one in staged:
                one.publish()
        finally:
            for one in staged:
                one.discard()

    def _refuse(
        self,
        request: GenerationRequest,
        studio: Studio,
        reservation: Reservation,
        safety: SafetyReport,
    ) -> None:
        reason = _explain_block(safety)
        self.store.refuse(
            Refusal(
                record_id=reservation.record_id,
                created_at=self.clock(),
                model=studio.pipeline.model,
                parameters=self.marks.describe_request(request),
                safety=safety,
                reason=reason,
            )
        )
        raise ContentBlockedError(
            f"{reason}; refusal {reservation.record_id} is recorded", safety, reservation.record_id
        )

    def _release(self, record_id: RecordId) -> None:
        """Ends a reservation; if that fails too, it expires by itself."""
        try:
            self.store.release(record_id)
        except Exception:  # noqa: BLE001  the first error is the one that the caller must see
            log.warning("reservation %s was not released; it will expire", record_id)


def _explain_block(safety: SafetyReport) -> str:
    scores = ", ".join(
        f"{name} {safety.scores[name]:.2f} (threshold {safety.thresholds[name]:.2f})"
        for name in safety.flagged
    )
    return f"not delivered because the safety checker {safety.checker} flagged it: {scores}"
