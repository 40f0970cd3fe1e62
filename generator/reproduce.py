"""Renders a registered picture again, and says whether the registry told the truth about it.

An audit: it writes no record, reserves no id, and gives out no pixels but those of the registered
file itself, restored byte for byte. In steps:

1. the kept inputs open with their key, and are those that the record speaks of;
2. the model, its scheduler and the adaptations here are those of the record, to their digests;
3. the picture is rendered and marked again, with the same payload;
4. its pixels are compared with the delivered ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from generator.kept import unpack_inputs
from generator.marks import kind_of
from provenance.errors import ConfigError, InputError, RegistryError, RegistryUnavailableError
from provenance.fingerprint.similarity import match_marked_picture
from provenance.imaging import decode_image, hash_pixels
from provenance.manifest.heal import heal
from provenance.types import EncodedImage, MatchTier, WatermarkPayload
from provenance.watermark.quality import measure_psnr_db
from provenance.watermark.signpost import put_signpost

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.marks import Marks
    from provenance.interfaces import AssetStore, Pipeline, RecordStore
    from provenance.types import (
        Fingerprints,
        GenerationRequest,
        ModelRef,
        Parameters,
        RasterImage,
        RecordId,
        RegistryRecord,
        WatermarkInfo,
    )
    from registry.kept_inputs import InputVault

__all__ = ["MIN_CLOSE_DB", "Outcome", "Reproducer", "Reproduction"]

MIN_CLOSE_DB = 30.0
"""From here on two renderings count as the same picture on other hardware, decibels; higher is
closer. Other kernels and batch sizes round differently, which shows as noise; another seed, prompt
or step gives another picture, some 10 to 15 dB away."""


class Outcome(StrEnum):
    """What came of it.

    Members:
        EXACT: Every pixel is the delivered one.
        CLOSE: The same picture but for rounding, as on other hardware.
        DIFFERS: Another picture came out, or the record does not tell the truth.
        IMPOSSIBLE: It cannot be rendered again here; that says nothing against the record.
    """

    EXACT = "exact"
    CLOSE = "close"
    DIFFERS = "differs"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The answer.

    Attributes:
        record_id: Which record.
        outcome: What came of it.
        reason: In one sentence.
        psnr_db: Of the new pixels against the delivered ones; 100 for equal ones; None where they
            were not compared.
        image: The registered file, restored byte for byte; only for EXACT, and only where the
            encoder of today wrote the same bytes.
    """

    record_id: RecordId
    outcome: Outcome
    reason: str
    psnr_db: float | None = None
    image: EncodedImage | None = field(default=None, repr=False)


class _AnsweredError(Exception):
    """Ends a reproduction early, with its answer."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Reproducer:
    """Renders registered pictures again.

    Attributes:
        store: The registry; only read.
        vault: Opens kept inputs.
        open_pipeline: Loads the model that a request named.
        marks_for: The bench with the codec and the key of a mark; None when the key is gone.
        assets: Delivered bytes, where they are kept.
    """

    store: RecordStore
    vault: InputVault
    open_pipeline: Callable[[str | None], Pipeline]
    marks_for: Callable[[WatermarkInfo], Marks | None]
    assets: AssetStore | None

    def __call__(self, record_id: RecordId) -> Reproduction:
        """Renders the picture of one record again and compares.

        Raises:
            RecordNotFoundError: There is no such record.
            ProvenanceError: The registry, the model or the codec is unusable.
        """
        record = self.store.get(record_id)
        try:
            return self._reproduce(record)
        except _AnsweredError as answer:
            return Reproduction(record_id, answer.outcome, str(answer))

    def _reproduce(self, record: RegistryRecord) -> Reproduction:
        # 1
        marks = self._marks_of(record)
        request = self._open_inputs(record)
        _compare_request(record, request, marks)
        # 2
        pipeline = self.open_pipeline(request.model)
        _compare_model(record.model, pipeline.model)
        _compare_surroundings(record, pipeline, request)
        # 3
        raster = pipeline.render(request, lambda *_: None)
        payload = WatermarkPayload(record.record_id)
        # What came out may be a picture that cannot carry the mark: then it is another one.
        lenient = replace(marks, deliver_unmarkable=True)
        marked = lenient.mark(raster, payload, request=request, model=pipeline.model)
        # 4
        return self._compare(record, marked.raster, marked.encoded, marks)

    def _marks_of(self, record: RegistryRecord) -> Marks:
        if record.model is None or record.watermark is None:
            raise _AnsweredError(
                Outcome.IMPOSSIBLE, "this record is not of a picture that was rendered here"
            )
        if "preview_of" in record.parameters:
            raise _AnsweredError(
                Outcome.IMPOSSIBLE,
                f"this record is of a preview; reproduce {record.parameters['preview_of']} instead",
            )
        marks = self.marks_for(record.watermark)
        if marks is None:
            raise _AnsweredError(
                Outcome.IMPOSSIBLE,
                f"the watermark key {record.watermark.key_id} of this record is not here; restore "
                "keys/watermark.key from a backup",
            )
        label = record.parameters.get("visible_label")
        if isinstance(label, str):
            marks = replace(marks, terms=replace(marks.terms, label_text=label))
        # As it was then, whatever the settings say now.
        signpost = str(record.parameters.get("signpost", ""))
        try:
            put_signpost(marks.codec, signpost)
        except ConfigError as error:
            reason = f"the record was altered: {error}"
            raise _AnsweredError(Outcome.DIFFERS, reason) from error
        return replace(marks, signpost=signpost)

    def _open_inputs(self, record: RegistryRecord) -> GenerationRequest:
        sealed = self.store.kept_inputs(record.record_id)
        if sealed is None:
            raise _AnsweredError(
                Outcome.IMPOSSIBLE,
                "the inputs of this picture are not kept, or were erased; without them it cannot "
                "be rendered again",
            )
        try:
            return unpack_inputs(self.vault.open(sealed))
        except (ConfigError, InputError) as error:
            raise _AnsweredError(Outcome.IMPOSSIBLE, str(error)) from error
        except RegistryUnavailableError:
            raise
        except RegistryError as error:
            raise _AnsweredError(Outcome.DIFFERS, str(error)) from error

    def _compare(
        self, record: RegistryRecord, raster: RasterImage, encoded: EncodedImage, marks: Marks
    ) -> Reproduction:
        same = hash_pixels(raster) == record.asset.pixel_sha256
        delivered = self._delivered(record)
        record_id = record.record_id
        if delivered is not None and hash_pixels(delivered) != record.asset.pixel_sha256:
            reason = "the digest of the pixels in the record is not that of the delivered file"
            return Reproduction(record_id, Outcome.DIFFERS, reason, _psnr_db(raster, delivered))
        if same:
            image = _restore(record, encoded)
            return Reproduction(record_id, Outcome.EXACT, "every pixel is the same", 100.0, image)
        if delivered is None:
            return _compare_fingerprint(record, marks.fingerprint(raster))
        psnr_db = _psnr_db(raster, delivered)
        if psnr_db is not None and psnr_db >= MIN_CLOSE_DB:
            reason = (
                f"the same picture but for rounding ({psnr_db:.1f} dB; other hardware and other "
                f"library versions stay above {MIN_CLOSE_DB:g} dB)"
            )
            return Reproduction(record_id, Outcome.CLOSE, reason, psnr_db)
        shown = "of another size" if psnr_db is None else f"{psnr_db:.1f} dB"
        reason = f"another picture came out ({shown}; the limit is {MIN_CLOSE_DB:g} dB)"
        return Reproduction(record_id, Outcome.DIFFERS, reason, psnr_db)

    def _delivered(self, record: RegistryRecord) -> RasterImage | None:
        data = None if self.assets is None else self.assets.get(record.asset.sha256)
        return None if data is None else decode_image(data)


def _compare_fingerprint(record: RegistryRecord, found: Fingerprints) -> Reproduction:
    """What can be said without the delivered pixels: whether it is quite another picture."""
    match = match_marked_picture(record.fingerprints.perceptual_hash, found.perceptual_hash)
    if match.tier is MatchTier.TRANSPLANT:
        reason = (
            f"another picture came out: {match.distance_bits} bits of its fingerprint differ from "
            "the record's"
        )
        return Reproduction(record.record_id, Outcome.DIFFERS, reason)
    reason = (
        "the pixels are others, and the delivered file is not kept, so whether by rounding alone "
        "cannot be measured; reproduce it on the hardware that rendered it"
    )
    return Reproduction(record.record_id, Outcome.IMPOSSIBLE, reason)


def _psnr_db(raster: RasterImage, delivered: RasterImage) -> float | None:
    if raster.pixels.shape != delivered.pixels.shape:
        return None
    return measure_psnr_db(raster, delivered)


def _compare_request(record: RegistryRecord, request: GenerationRequest, marks: Marks) -> None:
    """The kept inputs and the record tell of the same request, or one of them was altered."""
    expected: Parameters = marks.describe_request(request)
    wrong = [name for name, value in expected.items() if record.parameters.get(name) != value]
    # Operators opt in to prompts in records, and out again.
    wrong = [name for name in wrong if name != "prompt"]
    if record.kind is not kind_of(request):
        wrong.append("kind")
    if record.asset.media_type is not request.media_type:
        wrong.append("media_type")
    if wrong:
        raise _AnsweredError(
            Outcome.DIFFERS,
            f"the record and the kept inputs disagree in {', '.join(wrong)}: one was altered",
        )


def _compare_model(recorded: ModelRef | None, found: ModelRef) -> None:
    if recorded is None or recorded.weights_sha256 != found.weights_sha256:
        name = recorded.name if recorded else "none"
        digest = recorded.weights_sha256[:12] if recorded else "-"
        raise _AnsweredError(
            Outcome.IMPOSSIBLE,
            f"the record names the model {name} with weights {digest}..., but the model here is "
            f"{found.name} with weights {found.weights_sha256[:12]}...; name the right one with "
            "--model",
        )


def _compare_surroundings(
    record: RegistryRecord, pipeline: Pipeline, request: GenerationRequest
) -> None:
    """What shapes a render besides its request and the weights: scheduler and adaptations."""
    try:
        here = pipeline.describe(request)
    except InputError as error:
        raise _AnsweredError(Outcome.IMPOSSIBLE, str(error)) from error
    said = record.parameters
    if here.get("lora_files") != said.get("lora_files"):
        raise _AnsweredError(
            Outcome.IMPOSSIBLE,
            f"the record names the LoRA files {said.get('lora_files')}, but here are "
            f"{here.get('lora_files')}; put back those that it was rendered with",
        )
    for name in ("scheduler_class", "scheduler_sha256"):
        if name in said and said[name] != here.get(name):
            raise _AnsweredError(
                Outcome.IMPOSSIBLE,
                f"the record names the scheduler {said.get('scheduler_class')} with settings that "
                f"the {here.get('scheduler_class')} here does not have ({name}); put back the "
                "scheduler folder of the model that it was rendered with",
            )


def _restore(record: RegistryRecord, encoded: EncodedImage) -> EncodedImage | None:
    """The registered file: today's compressed picture in the shell that the registry keeps."""
    asset = record.asset
    try:
        data = heal(encoded.data, asset.media_type, head=asset.shell_head, tail=asset.shell_tail)
    except InputError:
        return None
    same = hashlib.sha256(data).hexdigest() == asset.sha256
    return EncodedImage(data, asset.media_type) if same else None
