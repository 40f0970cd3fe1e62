"""W5 to W7: the watermark, the unsigned label, the fingerprints, the signature, as one bench."""

from __future__ import annotations

import hashlib
import hmac
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from generator.visible_label import LABEL_CREATED, LABEL_EDITED, draw_label
from provenance.errors import CapacityError, ReadBackError
from provenance.fingerprint.taking import take_fingerprints
from provenance.imaging import decode_image, encode_image, hash_pixels
from provenance.manifest.claims import (
    Claim,
    ClaimShape,
    SoftwareAgent,
    TrainingUse,
    bind_fingerprint,
    describe_parent,
)
from provenance.manifest.label import build_xmp
from provenance.types import (
    Fingerprints,
    InputRole,
    RasterImage,
    RecordKind,
    SoftBinding,
)
from provenance.watermark.marking import MarkLimits, embed_mark
from provenance.watermark.signpost import put_signpost

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from generator.inputs import InputFacts
    from provenance.fingerprint.words.making import WordMaker
    from provenance.interfaces import Embedder, Hasher, WatermarkScheme
    from provenance.manifest.signing import ManifestSigner
    from provenance.types import (
        EncodedImage,
        GenerationRequest,
        ModelRef,
        Parameters,
        SafetyReport,
        Scalar,
        SignedAsset,
        WatermarkInfo,
        WatermarkPayload,
    )
    from provenance.watermark.payload import WatermarkKey

__all__ = ["ClaimTerms", "Finished", "Marks", "kind_of", "shape_of"]

_log = logging.getLogger(__name__)

WATERMARK_BINDING_VERSION = "1"
"""First part of a watermark binding's value, ``version*payload``, as the field writes it."""


@dataclass(frozen=True, slots=True)
class ClaimTerms:
    """What every manifest of this service says alike.

    Attributes:
        generator: Name and version of the service.
        namespace: Reverse domain of our own keys.
        training_use: What the owner allows training sets to do.
        include_prompt: Whether the operator opted in to writing prompts.
        label_text: Of the visible label; empty means our own words.
    """

    generator: SoftwareAgent
    namespace: str
    training_use: TrainingUse
    include_prompt: bool
    label_text: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """A picture as it leaves, before it is signed.

    Attributes:
        encoded: The bytes.
        raster: `encoded`, decoded.
        info: How it was marked; None where it could not be, and policy lets it go all the same.
    """

    encoded: EncodedImage
    raster: RasterImage
    info: WatermarkInfo | None


@dataclass(frozen=True, slots=True)
class Marks:
    """Everything that turns a rendered picture into a signed asset.

    Of the attributes only four need words. `signpost`: the registry that a public mark in every
    picture names; empty where there is none. `keeps_thumbnail`: whether copies can be verified.
    `words`: makes the keypoint words by which copies of a part are found; None where none are kept.
    `further_embedders`: those whose vectors are written beside that of `embedder`.
    """

    codec: WatermarkScheme
    key: WatermarkKey
    hasher: Hasher
    embedder: Embedder | None
    signer: ManifestSigner
    terms: ClaimTerms
    limits: MarkLimits = field(default_factory=MarkLimits)
    deliver_unmarkable: bool = False
    signpost: str = ""
    keeps_thumbnail: bool = True
    words: WordMaker | None = None
    further_embedders: Sequence[Embedder] = ()

    def describe_request(
        self, request: GenerationRequest, inputs: InputFacts | None = None
    ) -> dict[str, Scalar]:
        """What of a request goes into record and manifest: prompts and inputs only as keyed hashes.

        Args:
            request: What was asked for.
            inputs: What its init image is; None without one.
        """
        facts: dict[str, Scalar] = {
            "seed": request.seed,
            "steps": request.steps,
            "effective_steps": request.effective_steps,
            "guidance": request.guidance,
            "width": request.width_px,
            "height": request.height_px,
            "prompt_hmac": self._hash_text(request.prompt),
        }
        if request.negative_prompt:
            facts["negative_prompt_hmac"] = self._hash_text(request.negative_prompt)
        if self.terms.include_prompt:
            facts["prompt"] = request.prompt
        if request.scheduler is not None:
            facts["scheduler"] = request.scheduler
        if request.loras:
            facts["loras"] = ", ".join(f"{one.name}:{one.scale:g}" for one in request.loras)
        if request.visible_label:
            facts["visible_label"] = self.label_text(request)
        if self.signpost:
            facts["signpost"] = self.signpost
        return facts | self._describe_inputs(request) | _describe_parent(inputs)

    def mark(
        self,
        image: RasterImage,
        payload: WatermarkPayload,
        *,
        request: GenerationRequest,
        model: ModelRef,
    ) -> Finished:
        """W5: visible label, watermark, unsigned second carrier, encoding, read-back.

        Raises:
            BackendUnavailableError: A visible label is asked for and cannot be drawn.
            CapacityError: The picture is too small for the codec.
            ReadBackError: No strength within the limits could be read back, and unmarked pictures
                are not delivered.
        """
        xmp = build_xmp(
            ai_system=model.name,
            ai_system_version=model.revision,
            creator_tool=f"{self.terms.generator.name} {self.terms.generator.version}",
            digital_source_type=shape_of(request).source_type,
        )
        if request.visible_label:
            image = draw_label(image, self.label_text(request))

        def encode(marked: RasterImage) -> EncodedImage:
            return encode_image(marked, request.media_type, quality=request.quality, xmp=xmp)

        try:
            marked = embed_mark(
                image,
                payload if self.carries_record_id(image) else None,
                key=self.key,
                codec=put_signpost(self.codec, self.signpost),
                encode=encode,
                decode=lambda encoded: decode_image(encoded.data),
                limits=self.limits,
            )
        except ReadBackError:
            if not self.deliver_unmarkable:
                raise
            _log.warning("record %s is delivered without a watermark", payload.record_id)
            encoded = encode(image)
            return Finished(encoded, decode_image(encoded.data), info=None)
        return Finished(marked.encoded, marked.raster, marked.info)

    def check_capacity(self, request: GenerationRequest) -> None:
        """W1: refuses a size that the codec cannot mark, before anything is rendered.

        Raises:
            CapacityError: The picture would be too small; names the least size.
        """
        if not self.codec.fits(request.width_px, request.height_px):
            least = self.codec.min_side_px
            raise CapacityError(
                f"width and height {request.width_px}x{request.height_px} are too small for the "
                f"watermark codec {self.codec.name}, which needs {least} pixels on the short side; "
                "ask for a larger picture"
            )

    def carries_record_id(self, image: RasterImage) -> bool:
        """Whether there is room for a record id; rivaGan's 32 bits hold a presence mark only."""
        return self.codec.holds_record_id(image.width_px, image.height_px)

    def label_text(self, request: GenerationRequest) -> str:
        """What the visible label says."""
        if self.terms.label_text:
            return self.terms.label_text
        return LABEL_EDITED if kind_of(request) is RecordKind.EDITED else LABEL_CREATED

    def fingerprint(self, image: RasterImage) -> Fingerprints:
        """W6: of the pixels that will be delivered."""
        return take_fingerprints(
            image,
            hasher=self.hasher,
            embedder=self.embedder,
            further_embedders=self.further_embedders,
            keeps_thumbnail=self.keeps_thumbnail,
            words=self.words,
        )

    def sign(
        self,
        marked: Finished,
        *,
        payload: WatermarkPayload,
        fingerprints: Fingerprints,
        request: GenerationRequest,
        inputs: InputFacts | None = None,
        facts: Parameters | None = None,
        model: ModelRef,
        pipeline: SoftwareAgent,
        safety: SafetyReport,
        when: datetime,
    ) -> SignedAsset:
        """W7: the claim with both soft bindings, signed and read back.

        Raises:
            SigningError: The signer refused, or the signed bytes did not validate.
        """
        claim = Claim(
            generator=self.terms.generator,
            when=when,
            model=model,
            pipeline=pipeline,
            watermark=self._watermark_binding(payload, marked.info),
            watermark_agent=None if marked.info is None else self._watermark_agent(),
            fingerprints=self._fingerprint_bindings(fingerprints),
            parameters=_public_parameters(
                {**self.describe_request(request, inputs), **(facts or {})}
            ),
            prompt_hash=self._hash_text(request.prompt),
            prompt=request.prompt if self.terms.include_prompt else None,
            safety=safety,
            training_use=self.terms.training_use,
            namespace=self.terms.namespace,
            shape=shape_of(request),
            ingredients=() if inputs is None else (inputs.ingredient,),
            visible_label=self.label_text(request) if request.visible_label else None,
        )
        return self.signer.sign(marked.encoded, claim)

    def _watermark_agent(self) -> SoftwareAgent:
        return SoftwareAgent(self.codec.name, self.codec.alg.rpartition(".")[2])

    def _watermark_binding(
        self, payload: WatermarkPayload, info: WatermarkInfo | None
    ) -> SoftBinding | None:
        if info is None:
            return None
        value = payload.record_id if info.carries_record_id else self.key.key_id
        return SoftBinding(
            f"{self.terms.namespace}.{self.codec.alg}", f"{WATERMARK_BINDING_VERSION}*{value}"
        )

    def _fingerprint_bindings(self, fingerprints: Fingerprints) -> tuple[SoftBinding, ...]:
        found = fingerprints.perceptual_hash
        if found is None:
            return ()
        return (bind_fingerprint(self.terms.namespace, found),)

    def _describe_inputs(self, request: GenerationRequest) -> dict[str, Scalar]:
        """Keyed, like the prompt: who has a picture that may be the input cannot confirm it."""
        if request.init_image is None:
            return {}
        facts: dict[str, Scalar] = {
            "strength": request.strength,
            "input_role": request.input_role.value,
            "input_hmac": self._hash_keyed("input", request.init_image.sha256),
        }
        if request.mask is not None:
            facts["mask_hmac"] = self._hash_keyed("mask", hash_pixels(request.mask))
        return facts

    def _hash_text(self, text: str) -> str:
        return self._hash_keyed("prompt", text)

    def _hash_keyed(self, purpose: str, text: str) -> str:
        secret = self.key.derive(purpose)
        return hmac.digest(secret, text.encode("utf-8"), hashlib.sha256).hex()


def kind_of(request: GenerationRequest) -> RecordKind:
    """What the record calls the picture: edited when it is a version of its init image."""
    is_edit = request.init_image is not None and request.input_role is InputRole.EDIT
    return RecordKind.EDITED if is_edit else RecordKind.GENERATED


def shape_of(request: GenerationRequest) -> ClaimShape:
    """How the manifest begins; the same question as `kind_of`."""
    is_edit = kind_of(request) is RecordKind.EDITED
    return ClaimShape.OPENED if is_edit else ClaimShape.CREATED


def _describe_parent(inputs: InputFacts | None) -> dict[str, Scalar]:
    if inputs is None:
        return {}
    facts: dict[str, Scalar] = {**describe_parent(inputs.ingredient)}
    if inputs.record_id is not None:
        facts["parent_record"] = inputs.record_id
    if inputs.restored:
        facts["parent_restored"] = True
    return facts


def _public_parameters(facts: Parameters) -> dict[str, Scalar]:
    """What the manifest says under our namespace; prompt, its hash and the label have their own."""
    own = ("prompt", "visible_label")
    return {name: value for name, value in facts.items() if not name.startswith(own)}
