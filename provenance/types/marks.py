"""What a picture carries: payload, watermark, fingerprints, signature."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from provenance.types.base import (
    BitArray,
    Float32Array,
    RecordId,
    parse_record_id,
    require,
    require_sha256,
    require_utc,
)

if TYPE_CHECKING:
    from datetime import datetime

    import numpy.typing as npt

    from provenance.types.images import EncodedImage

__all__ = [
    "Embedding",
    "Fingerprints",
    "KeypointWords",
    "PerceptualHash",
    "Reservation",
    "SignedAsset",
    "SoftBinding",
    "WatermarkInfo",
    "WatermarkPayload",
]


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
        require_utc("reservation expires_at", self.expires_at)

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
        ssim: Structural similarity of marked to unmarked luma, at most 1; None in records of old.
        margin: How clearly the payload read back, 0..1 in the codec's own measure; None where the
            codec has none.
    """

    codec: str
    alg: str
    key_id: str
    strength: float
    carries_record_id: bool
    psnr_db: float
    bit_accuracy: float
    ssim: float | None = None
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Resave:
    """What happens to a picture that is passed on: made smaller, and saved as JPEG.

    Attributes:
        quality: JPEG quality, 1..95.
        scale: New sides over old ones, above 0.
    """

    quality: int
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class SoftBinding:
    """A C2PA soft binding: algorithm name and value as text.

    Source: C2PA 2.5, `c2pa.soft-binding` assertion.
    """

    alg: str
    value: str

    def __post_init__(self) -> None:
        require(bool(self.alg) and bool(self.value), "a soft binding needs alg and value")


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
        require_sha256("perceptual hash", self.hex)
        require(0 <= self.quality <= 100, f"hash quality {self.quality} is outside 0..100")


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
        require(bool(self.space_id), "an embedding needs its space_id")
        vector = np.array(self.vector, dtype=np.float32)
        require(vector.ndim == 1, f"embedding must be a vector, not {vector.shape}")
        norm = float(np.linalg.norm(vector))
        require(abs(norm - 1.0) < 1e-3, f"embedding must have norm 1, not {norm:.4f}")
        vector.flags.writeable = False
        object.__setattr__(self, "vector", vector)

    def __reduce__(self) -> tuple[type[Embedding], tuple[str, Float32Array]]:
        """Comes out of another process checked and read-only too."""
        return Embedding, (self.space_id, self.vector)


@dataclass(frozen=True, slots=True, eq=False)
class KeypointWords:
    """Corners of a picture, each by the words of a fixed vocabulary that it is nearest to.

    Attributes:
        space_id: Of `provenance.fingerprint.words.vocabulary.Vocabulary`.
        words: (N, M) uint16, the M nearest words; M is 1 for what is registered.
        angles: (N,) uint8, the direction of each corner in 256ths of a turn.
        check_bits: (N,) uint64 of each descriptor; lower Hamming distance is more alike.
    """

    space_id: str
    words: npt.NDArray[np.uint16] = field(repr=False)
    angles: npt.NDArray[np.uint8] = field(repr=False)
    check_bits: npt.NDArray[np.uint64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprints:
    """What finds a picture again when manifest and watermark are gone (W6).

    Attributes:
        perceptual_hash: None when the picture is too flat or too small to have one.
        embedding: None when no embedder is configured or it abstains.
        thumbnail: A small grey picture (`provenance.fingerprint.verification`), kept beside the
            record, under no log; None where none is kept, and in records that were read back.
        keypoint_words: Of the thumbnail, kept and left out as it is.
        further: Embeddings in other spaces, kept beside the record as those of a later re-embedding
            are, under no log; left out of records that were read back.
    """

    perceptual_hash: PerceptualHash | None
    embedding: Embedding | None = None
    thumbnail: bytes | None = field(default=None, repr=False)
    keypoint_words: KeypointWords | None = field(default=None, repr=False)
    further: tuple[Embedding, ...] = ()

    def __post_init__(self) -> None:
        own = () if self.embedding is None else (self.embedding,)
        spaces = [one.space_id for one in (*own, *self.further)]
        require(
            len(set(spaces)) == len(spaces),
            f"two embeddings of one picture are of one space: {', '.join(spaces)}",
        )


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
        require_sha256("signed asset sha256", self.sha256)
        require(bool(self.manifest_store), "a signed asset needs its manifest store")
