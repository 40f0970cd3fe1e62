"""The nouns of Countermark: frozen, validated on construction, free of IO.

An object that exists is well formed. Arrays are read-only. Every module speaks in these types and
imports them from here; a plain ``dict`` crosses a border only as a mapping of named scalars
(`Parameters`).
"""

from provenance.types.base import (
    BitArray,
    Float32Array,
    Parameters,
    RecordId,
    Scalar,
    Uint8Array,
    parse_record_id,
)
from provenance.types.credentials import (
    Credential,
    History,
    Integrity,
    ManifestReport,
    SignerTrust,
    SigningTime,
    SourceClaim,
)
from provenance.types.evidence import (
    Evidence,
    Finding,
    ManifestEvidence,
    MatchBasis,
    MatchTier,
    MetadataEvidence,
    RegistryEvidence,
    SourceFailure,
    WatermarkEvidence,
)
from provenance.types.filtering import FilterAction, FilterDecision
from provenance.types.generation import (
    MAX_LORA_SCALE,
    MAX_LORAS,
    MAX_PROMPT_CHARACTERS,
    MAX_SIDE_PX,
    MAX_STEPS,
    GenerationRequest,
    InputImage,
    InputRole,
    LoraRef,
    ModelRef,
)
from provenance.types.health import HealthCheck
from provenance.types.images import (
    WRITABLE_MEDIA_TYPES,
    Candidate,
    EncodedImage,
    MediaType,
    RasterImage,
)
from provenance.types.marks import (
    Embedding,
    Fingerprints,
    PerceptualHash,
    Reservation,
    SignedAsset,
    SoftBinding,
    WatermarkInfo,
    WatermarkPayload,
)
from provenance.types.records import (
    AssetInfo,
    Delivery,
    EmbeddingNeighbour,
    HashNeighbour,
    LogHead,
    RecordKind,
    Refusal,
    RegistryRecord,
)
from provenance.types.safety import SafetyPolicy, SafetyReport
from provenance.types.verdicts import Assurance, Origin, Verdict

__all__ = [
    "MAX_LORAS",
    "MAX_LORA_SCALE",
    "MAX_PROMPT_CHARACTERS",
    "MAX_SIDE_PX",
    "MAX_STEPS",
    "WRITABLE_MEDIA_TYPES",
    "AssetInfo",
    "Assurance",
    "BitArray",
    "Candidate",
    "Credential",
    "Delivery",
    "Embedding",
    "EmbeddingNeighbour",
    "EncodedImage",
    "Evidence",
    "FilterAction",
    "FilterDecision",
    "Finding",
    "Fingerprints",
    "Float32Array",
    "GenerationRequest",
    "HashNeighbour",
    "HealthCheck",
    "History",
    "InputImage",
    "InputRole",
    "Integrity",
    "LogHead",
    "LoraRef",
    "ManifestEvidence",
    "ManifestReport",
    "MatchBasis",
    "MatchTier",
    "MediaType",
    "MetadataEvidence",
    "ModelRef",
    "Origin",
    "Parameters",
    "PerceptualHash",
    "RasterImage",
    "RecordId",
    "RecordKind",
    "Refusal",
    "RegistryEvidence",
    "RegistryRecord",
    "Reservation",
    "SafetyPolicy",
    "SafetyReport",
    "Scalar",
    "SignedAsset",
    "SignerTrust",
    "SigningTime",
    "SoftBinding",
    "SourceClaim",
    "SourceFailure",
    "Uint8Array",
    "Verdict",
    "WatermarkEvidence",
    "WatermarkInfo",
    "WatermarkPayload",
    "parse_record_id",
]
