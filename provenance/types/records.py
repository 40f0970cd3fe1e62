"""What the registry keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from provenance.types.base import (
    Parameters,
    RecordId,
    frozen_parameters,
    parse_record_id,
    require,
    require_sha256,
    require_utc,
)

if TYPE_CHECKING:
    from datetime import datetime

    from provenance.types.generation import ModelRef
    from provenance.types.images import MediaType
    from provenance.types.marks import Fingerprints, SignedAsset, WatermarkInfo
    from provenance.types.safety import SafetyReport

__all__ = [
    "AssetInfo",
    "Delivery",
    "EmbeddingNeighbour",
    "EventKind",
    "EventTarget",
    "HashNeighbour",
    "LogHead",
    "RecordKind",
    "Refusal",
    "RegistryEvent",
    "RegistryRecord",
    "SealedInputs",
    "WordNeighbour",
    "notice_targets",
]


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
        require_sha256("asset sha256", self.sha256)
        require_sha256("asset pixel_sha256", self.pixel_sha256)


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
        require_utc("record created_at", self.created_at)
        object.__setattr__(self, "parameters", frozen_parameters(self.parameters))


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
        require_utc("refusal created_at", self.created_at)
        object.__setattr__(self, "parameters", frozen_parameters(self.parameters))


class EventKind(StrEnum):
    """What the operator did to something registered, later.

    REVOCATION: takes back what the registry said of it. TAKE_DOWN: its file is no longer handed
    out. ERASURE: record or refusal is gone, its id stays used. DELETION: its file's time was up.
    """

    REVOCATION = "revocation"
    TAKE_DOWN = "take_down"
    ERASURE = "erasure"
    DELETION = "deletion"


class EventTarget(StrEnum):
    """What an event speaks of: one record (or refusal), a watermark key, a model."""

    RECORD = "record"
    KEY = "key"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class RegistryEvent:
    """An entry about another one; never changed, and never taken back.

    Attributes:
        kind: What was done.
        target_kind: What `target` is.
        target: A record id; a watermark's key id; a model's weights digest, or its name.
        created_at: UTC.
        reason: One sentence, shown to whoever asks; nothing that names a person.
    """

    kind: EventKind
    target_kind: EventTarget
    target: str
    created_at: datetime
    reason: str

    def __post_init__(self) -> None:
        require(bool(self.target), "an event needs a target")
        require_utc("event created_at", self.created_at)

    def describe(self) -> str:
        """One sentence for the answer to whoever asks of the picture."""
        done = {
            EventKind.REVOCATION: "revoked",
            EventKind.TAKE_DOWN: "took down the file of",
            EventKind.ERASURE: "erased",
            EventKind.DELETION: "no longer keeps the file of",
        }[self.kind]
        what = {
            EventTarget.RECORD: f"record {self.target}",
            EventTarget.KEY: f"watermark key {self.target}",
            EventTarget.MODEL: f"model {self.target}",
        }[self.target_kind]
        return f"The operator {done} {what} on {self.created_at:%Y-%m-%d}: {self.reason}"


def notice_targets(record: RegistryRecord) -> tuple[tuple[EventTarget, str], ...]:
    """What an event may name so that it speaks of this record.

    A model goes by its weights' digest, by its name, or by ``name@revision``.
    """
    found = [(EventTarget.RECORD, str(record.record_id))]
    if record.watermark is not None:
        found.append((EventTarget.KEY, record.watermark.key_id))
    if record.model is not None:
        model = record.model
        names = (model.weights_sha256, model.name, f"{model.name}@{model.revision}")
        found += [(EventTarget.MODEL, one) for one in names]
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """What the write path answers (W9): signed bytes and the record that stands behind them."""

    record: RegistryRecord
    asset: SignedAsset


@dataclass(frozen=True, slots=True)
class LogHead:
    """State of the append-only log: number of leaves, and the root of the tree over them."""

    size: int
    digest: str

    def __post_init__(self) -> None:
        require(self.size >= 0, "a log has at least 0 leaves")
        require_sha256("log head digest", self.digest)


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


@dataclass(frozen=True, slots=True)
class WordNeighbour:
    """A record that shares keypoint words with a query.

    Attributes:
        record_id: The record.
        votes: Weight of the corners that agree, 0 and more; higher is more similar. Good for an
            order only: what looks at the corners' places decides.
    """

    record_id: RecordId
    votes: float


@dataclass(frozen=True, slots=True)
class SealedInputs:
    """What a picture was rendered from, encrypted; see `registry.kept_inputs`.

    Attributes:
        record_id: Whose inputs they are; the encryption is bound to it.
        key_id: Public name of the master key that wraps the record's own key.
        wrapped_key: The record's own key, encrypted. Without it nothing can be read again.
        sealed: The inputs, encrypted under the record's own key.
    """

    record_id: RecordId
    key_id: str
    wrapped_key: bytes = field(repr=False)
    sealed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        parse_record_id(self.record_id)
        require(bool(self.wrapped_key) and bool(self.sealed), "sealed inputs must not be empty")
