"""W5 to W7 as one step: from a rendered picture to a signed one and the record of it.

Nothing here writes: what comes out is delivered by `generator.service` alone. So the step can be
done in the service's own process (`LocalMarker`), or in another one whose end costs nothing but
the work (`generator.marking_pool`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from generator.marks import kind_of
from provenance.manifest.asset_info import describe_asset
from provenance.serving.metrics import timed
from provenance.types import Delivery, RegistryRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from generator.marks import Marks
    from generator.service import Rendered

__all__ = ["LocalMarker", "Marker"]


class Marker(Protocol):
    """Marks pictures, somewhere; safe from any thread."""

    def __call__(self, rendered: Rendered) -> Delivery:
        """The signed picture with the record that is to be committed before it leaves.

        Raises:
            WatermarkError: The picture cannot carry the mark.
            ManifestError: Signing or its read-back failed.
            GenerationError: The process that marked it ended.
        """


@dataclass(frozen=True, slots=True)
class LocalMarker:
    """Marks in this process.

    Attributes:
        marks: What the steps are done with.
        clock: The time now, UTC.
        claim_generator: Name and version of this service, for the record.
    """

    marks: Marks
    clock: Callable[[], datetime]
    claim_generator: str

    def __call__(self, rendered: Rendered) -> Delivery:
        """As `Marker`."""
        request, model, payload = rendered.request, rendered.model, rendered.reservation.payload
        # W5
        with timed("watermark"):
            marked = self.marks.mark(rendered.raster, payload, request=request, model=model)
        # W6
        fingerprints = self.marks.fingerprint(marked.raster)
        # W7
        with timed("sign"):
            asset = self.marks.sign(
                marked,
                payload=payload,
                fingerprints=fingerprints,
                request=request,
                inputs=rendered.inputs,
                facts=rendered.says,
                model=model,
                pipeline=rendered.pipeline,
                safety=rendered.safety,
                when=self.clock(),
            )
        record = RegistryRecord(
            record_id=payload.record_id,
            kind=kind_of(request),
            created_at=self.clock(),
            asset=describe_asset(asset),
            model=model,
            parameters={
                **self.marks.describe_request(request, rendered.inputs),
                **rendered.says,
            },
            safety=rendered.safety,
            watermark=marked.info,
            fingerprints=fingerprints,
            manifest_label=asset.manifest_label,
            manifest_store=asset.manifest_store,
            claim_generator=self.claim_generator,
            time_stamped=asset.time_stamped,
        )
        return Delivery(record, asset)
