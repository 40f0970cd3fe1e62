"""What sources found: a closed union."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

from provenance.types.base import Parameters, RecordId, frozen_parameters
from provenance.types.credentials import (
    BindingState,
    ManifestReport,
    SourceClaim,
    Substitution,
)

if TYPE_CHECKING:
    from provenance.types.records import RecordKind

__all__ = [
    "Evidence",
    "Finding",
    "GenerationSettings",
    "KnownMarkEvidence",
    "Making",
    "ManifestEvidence",
    "MarkGeometry",
    "MarkRegion",
    "MatchBasis",
    "MatchTier",
    "MetadataEvidence",
    "RegistryEvidence",
    "SignpostEvidence",
    "SourceFailure",
    "VisibleMarkEvidence",
    "WatermarkEvidence",
]


class Finding(StrEnum):
    """What a source found. Unknown is never folded into absent.

    PRESENT: the mark is there and readable. ABSENT: looked properly, nothing there. INVALID: it
    is there but broken, so it says nothing about these pixels. UNREADABLE: the source could not
    look (undecodable, too small, crashed, timed out).
    """

    PRESENT = "present"
    ABSENT = "absent"
    INVALID = "invalid"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class ManifestEvidence:
    """What C2PA says, embedded, recovered from the registry, or beside the file.

    Attributes:
        finding: PRESENT only for a manifest that is bound to these bytes.
        reason: One sentence.
        report: The layers that the manifest itself shows.
        source: Whether it stood in the file, came from the registry, or in a file beside it.
        binding_states: Of each of the report's soft bindings, in order; empty before R3.
        substitution: Against the registry, by R3.
    """

    finding: Finding
    reason: str
    report: ManifestReport
    source: Literal["c2pa", "c2pa_recovered", "c2pa_sidecar"] = "c2pa"
    binding_states: tuple[BindingState, ...] = ()
    substitution: Substitution = Substitution.NOT_EVALUATED


@dataclass(frozen=True, slots=True)
class MarkRegion:
    """Part of a picture that carries a mark, pixels from its top left corner."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class MarkGeometry:
    """What was done to a picture since it was marked, as far as its mark tells.

    Attributes:
        mirrored: Left and right were exchanged, before anything else.
        rotation_deg: Degrees, clockwise.
        scale: Magnification against the size at which the whole picture would fit.
        stretch: Width grew by this factor more than height.
        shear: Pixels to the right per pixel down.
    """

    mirrored: bool
    rotation_deg: float
    scale: float
    stretch: float
    shear: float


@dataclass(frozen=True, slots=True)
class WatermarkEvidence:
    """What our own keyed mark says, before the registry is asked.

    Attributes:
        finding: PRESENT only with a verified tag (or a presence statistic beyond its threshold,
            for codecs that carry no record id).
        reason: One sentence.
        codec: Codec that answered.
        record_id: Payload; None when absent or for presence marks.
        p_value: Upper bound of the probability that an unmarked picture answers so.
        key_id: Key that matched; None when absent.
        bit_accuracy: Share of raw bits that agree with what was found, 0..1; None when absent.
        margin: How far the payload is from being lost, 0..1; None where the codec doesn't say.
        geometry: What was done to the picture; None where the codec doesn't say.
        region: Where the mark was found; None where the codec doesn't say.
    """

    finding: Finding
    reason: str
    codec: str = ""
    record_id: RecordId | None = None
    p_value: float | None = None
    key_id: str | None = None
    bit_accuracy: float | None = None
    margin: float | None = None
    geometry: MarkGeometry | None = None
    region: MarkRegion | None = None
    source: Literal["watermark"] = "watermark"


@dataclass(frozen=True, slots=True)
class SignpostEvidence:
    """What a public mark says of where to ask; anyone can write one, so it proves nothing.

    Attributes:
        finding: PRESENT with a name, UNREADABLE where a signpost says none; never ABSENT.
        reason: One sentence.
        registry: Host name and path, e.g. ``acme.io/cm``; None when it cannot be read.
        p_value: Upper bound of the probability that an unmarked picture answers so.
    """

    finding: Finding
    reason: str
    registry: str | None = None
    p_value: float | None = None
    source: Literal["signpost"] = "signpost"


@dataclass(frozen=True, slots=True)
class KnownMarkEvidence:
    """A watermark that some other program writes under no key; anyone can write one.

    Attributes:
        finding: UNREADABLE where such a mark would not show (grey, flat, too small).
        reason: One sentence.
        tool: Whose mark it is, e.g. ``FLUX``; None when absent.
        claim: What such a mark says of the making; NO_CLAIM for marks of any kind of picture.
        method: How the mark is embedded, e.g. ``dwtDct``; None when absent.
        path: Number type and channel order at embedding, e.g. ``float32 BGR``; None when absent.
        geometry: What had to be undone to find it, e.g. ``cropped``; None when absent.
        statistic: The matched filter's answer, 0 or higher; higher speaks for the mark.
        p_value: Upper bound, measured, of the share of unmarked pictures that answer so.
    """

    finding: Finding
    reason: str
    tool: str | None = None
    claim: SourceClaim = SourceClaim.NO_CLAIM
    method: str | None = None
    path: str | None = None
    geometry: str | None = None
    statistic: float | None = None
    p_value: float | None = None
    source: Literal["known_watermark"] = "known_watermark"


@dataclass(frozen=True, slots=True)
class VisibleMarkEvidence:
    """What people see on a picture: a stock agency's name, or translucent text repeated over it.

    Attributes:
        finding: UNREADABLE where an overlay would not show (too small, a repeating pattern).
        reason: One sentence.
        agency: Whose name it is, or resembles; None when no name was read.
        read: The letters that were read, a stranger's: small letters and digits, 24 at most.
        legibility: 1 minus edit distance over the name's letters, 0..1; 1 is the name itself.
        claim: FULLY_AI for a garbled name, else NO_CLAIM.
        overlay: Whether something is repeated over the whole picture.
        statistic: The weakest peak of its lattice, in robust standard deviations; None without.
    """

    finding: Finding
    reason: str
    agency: str | None = None
    read: str | None = None
    legibility: float | None = None
    claim: SourceClaim = SourceClaim.NO_CLAIM
    overlay: bool = False
    statistic: float | None = None
    source: Literal["visible_mark"] = "visible_mark"


class MatchBasis(StrEnum):
    """By what a registered picture was found."""

    FILE_HASH = "file_hash"
    PIXEL_HASH = "pixel_hash"
    WATERMARK = "watermark"
    PERCEPTUAL_HASH = "perceptual_hash"
    EMBEDDING = "embedding"
    GEOMETRY = "geometry"


class MatchTier(StrEnum):
    """How sure it is that picture and record are the same; strongest first.

    EXACT: same bytes or pixels. COPY_STRONG, COPY_VERIFIED: a copy. COPY_LIKELY: not verified.
    SIMILAR: looks alike, never proof. TRANSPLANT: the mark is the record's, the picture is not.
    NO_RECORD: a valid mark whose record is not in this registry. UNCONFIRMED: the mark's record
    is here, but the picture is too flat to compare.
    """

    EXACT = "exact"
    COPY_STRONG = "copy_strong"
    COPY_VERIFIED = "copy_verified"
    COPY_LIKELY = "copy_likely"
    SIMILAR = "similar"
    TRANSPLANT = "transplant"
    NO_RECORD = "no_record"
    UNCONFIRMED = "unconfirmed"


@dataclass(frozen=True, slots=True)
class RegistryEvidence:
    """What this registry says of the picture.

    Attributes:
        finding: PRESENT when a record was found.
        reason: One sentence.
        basis: By what it was found; None when nothing was.
        tier: How sure the match is; None when nothing was found.
        record_id: The record; None when nothing was found.
        kind: The record's kind, which decides the origin.
        claim: What an attested record says that the picture is; None of any other record.
        claimant: Name in the certificate of whoever attested it.
        distance_bits: Hamming distance of the perceptual hashes, 0..256.
        cosine: Cosine similarity of the embeddings, -1..1.
        inliers: Keypoints that one movement carries from the record's picture onto this one.
        agreement: Share of blocks that show the same once laid over each other, 0..1.
        view: Part of the picture that was compared, ``whole`` or e.g. ``top left``.
        revoked: Whether the record was revoked, or the key of the mark that named it.
        notice: What the operator said of the record later, and why: revoked, taken down, its model
            withdrawn; None when nothing.
    """

    finding: Finding
    reason: str
    basis: MatchBasis | None = None
    tier: MatchTier | None = None
    record_id: RecordId | None = None
    kind: RecordKind | None = None
    claim: SourceClaim | None = None
    claimant: str | None = None
    distance_bits: int | None = None
    cosine: float | None = None
    inliers: int | None = None
    agreement: float | None = None
    view: str | None = None
    revoked: bool = False
    notice: str | None = None
    source: Literal["registry"] = "registry"


class Making(StrEnum):
    """What a label says that a machine did to the picture.

    GENERATED: made it. EDITED: made it from another picture, or changed a part of one. ENHANCED:
    enlarged or restored it, without a new subject.
    """

    GENERATED = "generated"
    EDITED = "edited"
    ENHANCED = "enhanced"


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """The settings that a generator wrote, in one shape for all of them; as the file says.

    Attributes:
        model: File or product name, without folders.
        model_hash: As the program shortens it.
        sampler: The program's word for it.
        scheduler: The program's word for the noise schedule.
        steps: Steps asked for.
        guidance: Classifier-free guidance.
        seed: Seed of the noise.
        width_px: Width asked for; the file may have been scaled since.
        height_px: Height asked for.
        strength: Of the noise over a picture to start from, 0..1; 1 leaves nothing of it.
        clip_skip: Layers of the text encoder left out.
        prompt: Private: a person's words.
        negative_prompt: Private.
    """

    model: str | None = None
    model_hash: str | None = None
    sampler: str | None = None
    scheduler: str | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    strength: float | None = None
    clip_skip: int | None = None
    prompt: str | None = field(default=None, repr=False)
    negative_prompt: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class MetadataEvidence:
    """An unsigned label or a generator's own parameters: anyone can write or remove it.

    Attributes:
        finding: PRESENT when a label was read.
        reason: One sentence.
        tool: Program that the label names, e.g. ``AUTOMATIC1111``; None for standards' labels.
        version: The program's version.
        place: Container, key: e.g. ``PNG tEXt parameters``.
        claim: What the label says.
        making: What it says that a machine did; None when it names no machine's work.
        settings: How the picture was generated; None where the label holds no settings.
        detail: A few more fields, none of them personal: never prompt, names, GPS, serials.
        private: What may point at a person (names, positions, serials), and is shown only to
            somebody who asks for it.
        signed_by: Maker whose published key verified a signature over these very pixels (NovelAI
            signs so, outside C2PA); None for the usual label that anyone can write.
    """

    finding: Finding
    reason: str
    tool: str | None = None
    version: str | None = None
    place: str | None = None
    claim: SourceClaim = SourceClaim.NO_CLAIM
    making: Making | None = None
    settings: GenerationSettings | None = None
    detail: Parameters = field(default_factory=dict)
    private: Parameters = field(default_factory=dict, repr=False)
    signed_by: str | None = None
    source: Literal["metadata"] = "metadata"

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", frozen_parameters(self.detail))
        object.__setattr__(self, "private", frozen_parameters(self.private))


@dataclass(frozen=True, slots=True)
class SourceFailure:
    """A source that could not look: one UNREADABLE finding, the others still answer."""

    source: str
    reason: str
    finding: Literal[Finding.UNREADABLE] = Finding.UNREADABLE


Evidence: TypeAlias = (
    ManifestEvidence
    | WatermarkEvidence
    | SignpostEvidence
    | KnownMarkEvidence
    | RegistryEvidence
    | MetadataEvidence
    | VisibleMarkEvidence
    | SourceFailure
)
"""Closed union: a new kind of evidence fails type checking until `decide` handles it."""
