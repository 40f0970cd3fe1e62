"""The write path, W1 to W9, on one screen.

Fail closed: no byte leaves that is not marked, signed and registered. Everything that can fail
happens before the record is committed; what follows is one rename.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol

from generator.kept import pack_inputs
from generator.marking import LocalMarker
from generator.safety import check_image
from provenance.errors import CancelledError, ContentBlockedError
from provenance.manifest.claims import SoftwareAgent
from provenance.serving.metrics import PICTURES, timed
from provenance.types import Refusal
from registry.committing import commit_and_deliver, release_reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from generator.inputs import InputFacts
    from generator.marking import Marker
    from generator.marks import Marks
    from provenance.interfaces import OnStep, Pipeline, RecordStore, SafetyChecker, Staged
    from provenance.types import (
        Checkpoint,
        Delivery,
        GenerationRequest,
        ModelRef,
        Parameters,
        RasterImage,
        RecordId,
        Reservation,
        SafetyPolicy,
        SafetyReport,
        Scalar,
        SealedInputs,
        SignedAsset,
    )

__all__ = ["GenerationService", "PreviewOf", "Rendered", "Sink", "Studio"]

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
class PreviewOf:
    """What makes a picture a preview of another one.

    Attributes:
        record_id: Under which that one is rendered; it may never be delivered.
        step: After which step the preview was taken.
    """

    record_id: RecordId
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A picture between W4 and W5: plain data, so that another process can mark it.

    Attributes:
        request: What was asked for.
        inputs: What its init image is.
        reservation: The id that the picture will carry.
        raster: The pixels, unmarked: they leave the service through `finish` alone.
        model: The model that rendered it.
        pipeline: The program that ran the model.
        safety: What the checker measured; it blocks nothing.
        facts: What record and manifest say besides what the request says.
        preview: Set for a picture that shows another one before it is done.
    """

    request: GenerationRequest
    inputs: InputFacts | None
    reservation: Reservation
    raster: RasterImage = field(repr=False)
    model: ModelRef
    pipeline: SoftwareAgent
    safety: SafetyReport
    facts: Parameters = field(default_factory=dict)
    preview: PreviewOf | None = None

    @property
    def says(self) -> dict[str, Scalar]:
        """What record and manifest say besides what the request says."""
        said = dict(self.facts)
        if self.preview is not None:
            said["preview_of"] = self.preview.record_id
            said["preview_step"] = self.preview.step
        return said


@dataclass(frozen=True, slots=True)
class Rendering:
    """A picture between W2 and W4."""

    request: GenerationRequest
    inputs: InputFacts | None
    reservation: Reservation
    studio: Studio
    facts: Parameters


@dataclass(frozen=True, slots=True)
class GenerationService:
    """Renders, marks, signs, registers, delivers.

    Attributes:
        open_studio: Answers the loaded model that a request names.
        examine: Says what the init image of a request is.
        safety_policy: What happens to flagged pictures.
        marks: W5 to W7.
        store: The registry.
        seal: Encrypts what a picture was made from, to be kept; None keeps nothing.
        sinks: Where every delivery goes, besides the caller's own.
        clock: The time now, UTC.
        claim_generator: Name and version of this service, for the record.
        marker: Where W5 to W7 happen; None: here, with `marks`.
    """

    open_studio: Callable[[str | None], Studio]
    examine: Callable[[GenerationRequest], InputFacts | None]
    safety_policy: SafetyPolicy
    marks: Marks
    store: RecordStore
    seal: Callable[[RecordId, bytes], SealedInputs] | None
    sinks: tuple[Sink, ...]
    clock: Callable[[], datetime]
    claim_generator: str
    marker: Marker | None = None

    def generate(
        self,
        request: GenerationRequest,
        on_step: OnStep,
        deliver_to: Sink | None = None,
    ) -> Delivery:
        """One picture, delivered whole or not at all: `render`, then `finish`.

        Args:
            request: What to draw; valid by construction.
            on_step: Called after each denoising step.
            deliver_to: The caller's own sink.

        Raises:
            ProvenanceError: As `render` and `finish`.
        """
        return self.finish(self.render(request, on_step), deliver_to)

    def render(
        self,
        request: GenerationRequest,
        on_step: OnStep,
        *,
        resume: Checkpoint | None = None,
        on_reserved: Callable[[RecordId], None] = lambda _: None,
    ) -> Rendered:
        """W1 to W4: a picture that passed the safety check and has an id, but no mark yet.

        What it answers must go to `finish`, in this process or another one, or to `discard`.

        Args:
            request: What to draw; valid by construction.
            on_step: As in `generate`.
            resume: Goes on from here, to the very same picture.
            on_reserved: Called with the id before anything is rendered. Who writes it down can
                ask the registry after a crash whether the picture was delivered.

        Raises:
            InputError: The model is unknown or cannot do what is asked, or the init image cannot
                be what it shall be.
            CapacityError: The size is too small for the watermark codec.
            GenerationError: The pipeline could not render.
            ContentBlockedError: The safety policy blocked the picture; a refusal is recorded.
            RegistryError: No id could be reserved, or the refusal could not be written.
        """
        # W1: the request is valid by construction, its inputs are examined, the model is pinned
        # by its digest.
        inputs = self.check(request)
        studio = self.open_studio(request.model)
        # W2: an id that nobody else has, before pixels exist.
        reservation = self.store.reserve()
        with self._released_on_error(reservation):
            on_reserved(reservation.record_id)
            facts = {**studio.pipeline.describe(request), **_describe_resumed(resume)}
            # W3
            with timed("render"):
                raster = studio.pipeline.render(request, on_step, resume=resume)
            # W4
            return self._judge(Rendering(request, inputs, reservation, studio, facts), raster)

    def render_batch(
        self,
        requests: Sequence[GenerationRequest],
        on_step: OnStep,
        *,
        on_reserved: Callable[[int, RecordId], None] = lambda _index, _id: None,
    ) -> Sequence[Rendered | ContentBlockedError]:
        """W1 to W4 of pictures that are rendered together; a blocked one stops no other.

        Args:
            requests: At least one; `provenance.types.can_batch` holds for all of them.
            on_step: As in `generate`.
            on_reserved: As in `render`, with the place in `requests` first.

        Returns:
            For each request the picture, or why it was blocked; its refusal is recorded.

        Raises:
            ProvenanceError: As `render`, but for blocked pictures; then none was rendered.
        """
        checked = [(request, self.check(request)) for request in requests]
        studio = self.open_studio(requests[0].model)
        outcomes: list[Rendered | ContentBlockedError] = []
        with ExitStack() as released_on_error:
            begun: list[Rendering] = []
            for index, (request, inputs) in enumerate(checked):
                reservation = self.store.reserve()
                released_on_error.enter_context(self._released_on_error(reservation))
                on_reserved(index, reservation.record_id)
                facts = studio.pipeline.describe(request)
                begun.append(Rendering(request, inputs, reservation, studio, facts))
            with timed("render"):
                if len(requests) == 1:
                    rasters = [studio.pipeline.render(requests[0], on_step)]
                else:
                    rasters = list(studio.pipeline.render_batch(requests, on_step))
            for one, raster in zip(begun, rasters, strict=True):
                try:
                    outcomes.append(self._judge(one, raster))
                except ContentBlockedError as error:
                    outcomes.append(error)
        return outcomes

    def _judge(self, begun: Rendering, raster: RasterImage) -> Rendered:
        """W4: the picture, unless the safety policy blocks it."""
        studio = begun.studio
        with timed("check"):
            safety = check_image(studio.checker, raster, self.safety_policy)
        model = studio.pipeline.model
        agent = SoftwareAgent(model.family or "pipeline", studio.pipeline.version)
        rendered = Rendered(
            begun.request,
            begun.inputs,
            begun.reservation,
            raster,
            model,
            agent,
            safety,
            begun.facts,
        )
        if safety.blocked:
            self._refuse(rendered)
        return rendered

    def check(self, request: GenerationRequest) -> InputFacts | None:
        """W1 without the model: what can be refused before a request waits in a queue.

        Returns:
            What the init image is; None without one.

        Raises:
            InputError: The init image cannot be what it shall be.
            CapacityError: The size is too small for the watermark codec.
            RegistryError: The registry could not be asked.
        """
        self.marks.check_capacity(request)
        return self.examine(request)

    def finish(self, rendered: Rendered, deliver_to: Sink | None = None) -> Delivery:
        """W5 to W9: marks, signs, registers and delivers; needs no model.

        Args:
            rendered: What `render` answered.
            deliver_to: The caller's own sink.

        Raises:
            WatermarkError: The picture cannot carry the mark; not delivered.
            ManifestError: Signing or its read-back failed; not delivered.
            RegistryError: The record could not be written; not delivered.
            DeliveryError: The bytes could not be staged; not delivered.
        """
        with self._released_on_error(rendered.reservation):
            delivery = self._finish(rendered, deliver_to)
        PICTURES.labels("delivered").inc()
        log.info("delivered record %s", delivery.record.record_id)
        return delivery

    def take_preview(
        self, request: GenerationRequest, raster: RasterImage, preview: PreviewOf
    ) -> Rendered | None:
        """W2 and W4 for a picture that is not done: it is an output like any other.

        What it answers must go to `finish`, or to `discard`, as with `render`.

        Args:
            request: What is being rendered.
            raster: What `StepReport.preview` shows.
            preview: Of which picture, after which step.

        Returns:
            None when the safety policy blocks it: a preview is left out without a refusal, since
            the picture itself is still to be judged.

        Raises:
            ProvenanceError: The picture could not be judged, or no id could be reserved.
        """
        inputs, studio = self.check(request), self.open_studio(request.model)
        safety = check_image(studio.checker, raster, self.safety_policy)
        if safety.blocked:
            return None
        model = studio.pipeline.model
        agent = SoftwareAgent(model.family or "pipeline", studio.pipeline.version)
        facts = studio.pipeline.describe(request)
        return Rendered(
            request, inputs, self.store.reserve(), raster, model, agent, safety, facts, preview
        )

    def discard(self, rendered: Rendered) -> None:
        """Ends a rendered picture that will not be finished; nothing of it remains."""
        release_reservation(self.store, rendered.reservation.record_id)

    def _finish(self, rendered: Rendered, deliver_to: Sink | None) -> Delivery:
        # W5 to W7
        with timed("mark"):
            delivery = self._mark(rendered)
        with timed("commit"):
            sinks = (*self.sinks, *(() if deliver_to is None else (deliver_to,)))
            commit_and_deliver(self.store, delivery, sinks, kept=self._keep(rendered))
        return delivery

    def _keep(self, rendered: Rendered) -> SealedInputs | None:
        if self.seal is None or rendered.preview is not None:
            return None  # a preview is reproduced with its picture
        return self.seal(rendered.reservation.record_id, pack_inputs(rendered.request))

    def _mark(self, rendered: Rendered) -> Delivery:
        if self.marker is not None:
            return self.marker(rendered)
        return LocalMarker(self.marks, self.clock, self.claim_generator)(rendered)

    def _refuse(self, rendered: Rendered) -> NoReturn:
        record_id, safety = rendered.reservation.record_id, rendered.safety
        reason = _explain_block(safety)
        self.store.refuse(
            Refusal(
                record_id=record_id,
                created_at=self.clock(),
                model=rendered.model,
                parameters=self.marks.describe_request(rendered.request, rendered.inputs),
                safety=safety,
                reason=reason,
            )
        )
        PICTURES.labels("refused").inc()
        raise ContentBlockedError(f"{reason}; refusal {record_id} is recorded", safety, record_id)

    @contextmanager
    def _released_on_error(self, reservation: Reservation) -> Iterator[None]:
        try:
            yield
        except ContentBlockedError:
            raise  # the refusal has ended the reservation
        except CancelledError:
            release_reservation(self.store, reservation.record_id)
            raise
        except BaseException:
            PICTURES.labels("failed").inc()
            release_reservation(self.store, reservation.record_id)
            raise


def _describe_resumed(checkpoint: Checkpoint | None) -> dict[str, Scalar]:
    """After which step a render went on, and of which picture, where the checkpoint says it."""
    if checkpoint is None:
        return {}
    facts: dict[str, Scalar] = {"resumed_step": checkpoint.done}
    if checkpoint.record_id is not None:
        facts["resumed_from"] = checkpoint.record_id
    return facts


def _explain_block(safety: SafetyReport) -> str:
    scores = ", ".join(
        f"{name} {safety.scores[name]:.2f} (threshold {safety.thresholds[name]:.2f})"
        for name in safety.flagged
    )
    return f"not delivered because the safety checker {safety.checker} flagged it: {scores}"
