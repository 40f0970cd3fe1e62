"""Every seam of Countermark on one page.

A backend is one file that implements one of these Protocols and is found by an entry point (the
group stands in each docstring) or by ``module:attribute``; see `provenance.plugins`. The built-in
backends use the same door. Each seam has a conformance suite in `provenance.testing`.

Backends raise only `provenance.errors`. Negative findings are values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime
    from pathlib import Path

    from provenance.types import (
        ApiKey,
        BitArray,
        Candidate,
        Checkpoint,
        Embedding,
        EmbeddingNeighbour,
        EmbeddingSpace,
        EncodedImage,
        Evidence,
        FilterDecision,
        Float32Array,
        GenerationRequest,
        HashNeighbour,
        HealthCheck,
        KeypointWords,
        LogHead,
        ModelRef,
        Parameters,
        PerceptualHash,
        RasterImage,
        RecordId,
        Refusal,
        RegistryEvent,
        RegistryRecord,
        RenderDefaults,
        Resave,
        Reservation,
        SealedInputs,
        WatermarkEvidence,
        WatermarkPayload,
        WordNeighbour,
    )
    from provenance.watermark.payload import WatermarkKey


class StepReport(Protocol):
    """What a pipeline tells after each step; good only until the callback returns."""

    @property
    def done(self) -> int:
        """Steps done, 1..total; a resumed render begins above 1."""

    @property
    def total(self) -> int:
        """Steps in all. Some schedulers take a step or two more than asked for."""

    def preview(self, index: int = 0) -> RasterImage:
        """The picture as the model sees it now; costs a pass of the image decoder.

        Args:
            index: Which picture of a batch.

        Raises:
            InputError: The model's pictures cannot be shown before they are done.
        """

    def checkpoint(self, index: int = 0) -> Checkpoint:
        """All that `Pipeline.render` needs to go on from here.

        Args:
            index: Which picture of a batch.

        Raises:
            InputError: The scheduler's state cannot be kept, or several pictures share it.
        """


OnStep: TypeAlias = "Callable[[StepReport], None]"
"""Called after each step. What it raises ends the render and comes out as it is: this is how a
render is cancelled (`provenance.errors.CancelledError`)."""


@runtime_checkable
class Pipeline(Protocol):
    """Renders pictures. Group: ``countermark.pipelines``."""

    @property
    def model(self) -> ModelRef:
        """The pinned model that this object holds in memory."""

    @property
    def version(self) -> str:
        """Version of the program that runs the model, e.g. that of diffusers."""

    @property
    def defaults(self) -> RenderDefaults:
        """What suits this model when a request leaves the choice open."""

    def describe(self, request: GenerationRequest) -> Parameters:
        """What the request alone does not say of its render, e.g. the digest of each LoRA.

        Raises:
            InputError: The request names something that isn't there.
        """

    def render(
        self, request: GenerationRequest, on_step: OnStep, *, resume: Checkpoint | None = None
    ) -> RasterImage:
        """Renders one picture; deterministic for request, model and hardware.

        Args:
            request: What to draw.
            on_step: Called after each step that is computed.
            resume: Goes on from here instead of from the start, to the very same picture.

        Raises:
            InputError: The model cannot do what the request asks; names the field. Or `resume`
                is of another model or request.
            GenerationError: Out of memory, or the model folder is defective.
        """

    def render_batch(
        self, requests: Sequence[GenerationRequest], on_step: OnStep
    ) -> Sequence[RasterImage]:
        """Renders several pictures in one go, each with the seed of its own request.

        A picture equals that of `render` up to the rounding of floats.

        Args:
            requests: At least one; `provenance.types.can_batch` holds for all of them.
            on_step: Called after each step of all pictures.

        Raises:
            InputError: As `render`, or the requests don't go together.
            GenerationError: As `render`.
        """


@runtime_checkable
class SafetyChecker(Protocol):
    """Scores a rendered picture; decides nothing. Group: ``countermark.safety_checkers``."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Version of the backend with a digest of its weights."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Threshold for each concept that `score` answers."""

    def score(self, image: RasterImage) -> Mapping[str, float]:
        """Score per concept; at or above its threshold flags the picture.

        Raises:
            BackendUnavailableError: Weights or library are missing.
        """


class WatermarkTraits(Protocol):
    """What every kind of watermark says of itself."""

    @property
    def name(self) -> str: ...

    @property
    def alg(self) -> str:
        """Soft-binding algorithm name without the reverse-domain prefix, e.g. ``dwtdctsvd.1``."""

    @property
    def min_side_px(self) -> int: ...

    @property
    def strengths(self) -> tuple[float, ...]:
        """Strengths from gentle to strong; the reader tries each one that changes the reading."""

    @property
    def endures(self) -> tuple[Resave, ...]:
        """What a mark is made strong enough for, where the picture allows, the mildest first."""


@runtime_checkable
class WatermarkCodec(WatermarkTraits, Protocol):
    """Hides raw carrier bits in pixels and reads them back softly. Group: ``countermark.codecs``.

    A codec knows nothing of records, keys' tags or error correction: `provenance.watermark.payload`
    frames the payload into carrier bits, and presence is judged by
    `provenance.watermark.statistics`, never by the codec.
    """

    def capacity_bits(self, width_px: int, height_px: int) -> int:
        """Number of carrier bits in a picture of this size; 0 when it is too small."""

    def embed(self, image: RasterImage, bits: BitArray, *, strength: float) -> RasterImage:
        """Returns a copy that carries `bits`.

        Args:
            image: At least `min_side_px` on its short side.
            bits: (capacity_bits(width, height),) bool.
            strength: One of `strengths`.

        Raises:
            CapacityError: The picture is too small, or `bits` has another length.
            BackendUnavailableError: The library for embedding is not installed.
        """

    def extract(self, image: RasterImage, *, strength: float) -> Float32Array:
        """Reads soft carrier bits.

        Returns:
            (capacity_bits(width, height),) float32 in -1..1: sign is the bit (positive: 1),
            magnitude is how sure; ±1 where the library yields hard bits only. Empty when the
            picture is too small.
        """


@runtime_checkable
class OneLookCodec(Protocol):
    """A `WatermarkCodec` whose strengths read the same measurements, taken once for all."""

    def extract_each(self, image: RasterImage) -> Float32Array:
        """`WatermarkCodec.extract` at each of `strengths`: (strengths, capacity_bits) float32."""


@runtime_checkable
class WatermarkScheme(WatermarkTraits, Protocol):
    """Marks pictures with a payload under a key, and reads marks. Group: ``countermark.codecs``.

    For marks whose carrier itself depends on the key. A codec of raw bits becomes a scheme by
    `provenance.watermark.framed.as_scheme`.
    """

    def fits(self, width_px: int, height_px: int) -> bool:
        """Whether a picture of this size can carry any mark."""

    def holds_record_id(self, width_px: int, height_px: int) -> bool:
        """Whether it can carry a record id, not only a presence mark."""

    def readings(self, keys: int) -> int:
        """Words of one picture that could fit their tag by chance, for so many keys."""

    def embed(
        self,
        image: RasterImage,
        payload: WatermarkPayload | None,
        *,
        key: WatermarkKey,
        strength: float,
    ) -> RasterImage:
        """Returns a copy that carries the payload; the same one for the same arguments.

        Args:
            image: Any picture that `fits`.
            payload: None for a presence mark.
            key: Under which to mark.
            strength: One of `strengths`.

        Raises:
            CapacityError: The picture or the payload doesn't fit.
            BackendUnavailableError: The library for embedding is not installed.
        """

    def read(
        self,
        image: RasterImage,
        keys: Sequence[WatermarkKey],
        *,
        thorough: bool = False,
        rivals: int = 0,
    ) -> WatermarkEvidence:
        """What the picture says under any of the keys.

        Args:
            image: Any picture.
            keys: Current key first.
            thorough: Takes time to undo what was done to the picture's geometry.
            rivals: Words that other schemes compare for the same picture; the p-value counts them.

        Raises:
            BackendUnavailableError: The library for reading is not installed.
        """


@runtime_checkable
class KeyGroupScheme(WatermarkScheme, Protocol):
    """Reads marks of several parties from one look at a picture; signposts need it."""

    def read_groups(
        self,
        image: RasterImage,
        groups: Sequence[Sequence[WatermarkKey]],
        *,
        thorough: bool = False,
        rivals: int = 0,
    ) -> tuple[WatermarkEvidence, ...]:
        """What the picture says under each group of keys, as `read` does under one.

        Args:
            image: Any picture.
            groups: The most important first: where one's mark is found, the others' are looked
                for as well, but nowhere else.
            thorough: As for `read`.
            rivals: As for `read`.
        """


@runtime_checkable
class Signer(Protocol):
    """Signs C2PA claims. Group: ``countermark.signers``."""

    @property
    def alg(self) -> str:
        """``es256``, ``es384``, ``es512``, ``ps256`` or ``ed25519``."""

    @property
    def certificate_chain_pem(self) -> bytes:
        """Leaf first, then intermediates; without the root."""

    @property
    def is_development(self) -> bool:
        """True for a chain that `countermark keys init` made: nobody else trusts it."""

    def sign(self, data: bytes) -> bytes:
        """Signature over `data`: raw r||s for ECDSA, 64 bytes for Ed25519, PSS for RSA.

        Raises:
            SigningError: The key is unusable or the service behind it is down.
        """


@runtime_checkable
class Hasher(Protocol):
    """Computes a 256-bit perceptual hash. Group: ``countermark.hashers``."""

    @property
    def name(self) -> str:
        """Name with version; hashes of two names are never compared."""

    def hash(self, image: RasterImage) -> PerceptualHash | None:
        """The hash, or None when the picture is too flat or too small to have one."""


@runtime_checkable
class TurningHasher(Hasher, Protocol):
    """A hasher that knows the hashes of a picture's eight turns from one look at it."""

    def hash_variants(self, image: RasterImage) -> tuple[PerceptualHash, ...]:
        """Hashes of all rotations and reflections, itself first; none where `hash` has none."""


@runtime_checkable
class Embedder(Protocol):
    """Encodes pictures as unit vectors. Group: ``countermark.embedders``."""

    @property
    def space_id(self) -> str:
        """Model + weights digest + preprocessing version."""

    @property
    def space(self) -> EmbeddingSpace:
        """The space of this id, what nearness means there, and its thresholds."""

    def encode(self, image: RasterImage) -> Embedding | None:
        """The embedding, or None when the picture is too flat or too small.

        Raises:
            BackendUnavailableError: Weights or library are missing.
        """

    def encode_batch(self, images: Sequence[RasterImage]) -> Sequence[Embedding | None]:
        """As `encode`, one answer a picture, in order; not slower than one by one."""


@runtime_checkable
class VectorIndex(Protocol):
    """Finds vectors again; a cache that can always be rebuilt from rows."""

    def search(
        self, query: Embedding, *, limit: int, min_cosine: float = -1.0
    ) -> Sequence[EmbeddingNeighbour]:
        """Best `limit` neighbours of the query's own space, highest cosine first, then oldest.

        Raises:
            RegistryError: The query has another number of components than its space.
        """


@runtime_checkable
class RecordStore(Protocol):
    """The registry's rows and their log.

    Every method raises `RegistryUnavailableError` when the database cannot be reached.
    """

    def reserve(self) -> Reservation:
        """Sets a fresh record id aside (W2); never one that was ever given out."""

    def release(self, record_id: RecordId) -> None:
        """Ends a reservation without a record; the id stays used. Unknown ids are ignored."""

    def commit(self, record: RegistryRecord, inputs: SealedInputs | None = None) -> LogHead:
        """Writes record, kept inputs and log leaf in one transaction (W8).

        Args:
            record: What was made.
            inputs: What it was made from, encrypted; None keeps nothing.

        Raises:
            PayloadConflictError: The id is not reserved, has expired, or has a record.
            InputError: `inputs` belong to another record.
        """

    def kept_inputs(self, record_id: RecordId) -> SealedInputs | None:
        """What the record's picture was made from; None when it is not kept, or was erased."""

    def erase_inputs(self, record_id: RecordId) -> bool:
        """Forgets what the record's picture was made from; answers whether anything was kept."""

    def thumbnail(self, record_id: RecordId) -> bytes | None:
        """The small grey picture that was committed with the record; None when none is kept."""

    def refuse(self, refusal: Refusal) -> LogHead:
        """Writes a refusal and its log leaf in one transaction; ends the reservation.

        Raises:
            PayloadConflictError: As for `commit`.
        """

    def get(self, record_id: RecordId) -> RegistryRecord:
        """The record.

        Raises:
            RecordGoneError: It was erased.
            RecordNotFoundError: There is none.
        """

    def notices(self, record: RegistryRecord) -> Sequence[RegistryEvent]:
        """What the operator said later of the record, its watermark key or its model, in order."""

    def find_by_file_hash(self, sha256: str) -> RegistryRecord | None: ...

    def find_by_pixel_hash(self, pixel_sha256: str) -> RegistryRecord | None:
        """The oldest record with these pixels."""

    def find_by_manifest(self, manifest_label: str) -> RegistryRecord | None: ...

    def nearest_hashes(
        self, query: PerceptualHash, *, max_distance_bits: int, limit: int
    ) -> Sequence[HashNeighbour]:
        """Records within a Hamming distance, nearest first, then oldest first."""

    def nearest_embeddings(
        self, query: Embedding, *, min_cosine: float, limit: int
    ) -> Sequence[EmbeddingNeighbour]:
        """Records of the query's own space, highest cosine first."""

    def nearest_words(
        self, queries: Sequence[KeypointWords], *, limit: int
    ) -> Sequence[WordNeighbour]:
        """Records that share most keypoint words with a picture, most first, then oldest first.

        Args:
            queries: The picture's words and those of its mirror image, of one space; the better
                one counts.
            limit: Most to answer.

        Raises:
            InputError: The limit is below 1, or the words are of two spaces.
        """

    def list_records(
        self, *, limit: int, before: datetime | None = None
    ) -> Sequence[RegistryRecord]:
        """Newest first."""

    def count(self) -> int: ...

    def log_head(self) -> LogHead: ...


class Staged(Protocol):
    """Bytes that lie ready under no name; publishing them cannot fail for lack of room."""

    def publish(self) -> object:
        """Gives the bytes their name."""

    def discard(self) -> None:
        """Forgets the bytes; harmless after `publish`."""


@runtime_checkable
class AssetStore(Protocol):
    """Keeps delivered bytes by their digest, for ``GET /v1/assets/{record_id}``."""

    def stage(self, image: EncodedImage) -> Staged:
        """Lays the bytes ready; `get` finds them by their SHA-256 once they are published.

        Raises:
            DeliveryError: No room, no right.
        """

    def get(self, sha256: str) -> bytes | None:
        """The bytes, verified against their digest; None when they are not kept."""


class ApiKeyStore(Protocol):
    """Knows the API keys of a deployment. Group: ``countermark.access``, ``f(settings)``."""

    def authenticate(self, text: str) -> ApiKey | None:
        """The live key that `text` is; None for anything else. Notes the day of use.

        Raises:
            RegistryUnavailableError: The database cannot be reached.
        """

    def spend_pictures(self, key: ApiKey, pictures: int) -> date:
        """Takes pictures from the key's allowance of today; exact under concurrency.

        Returns:
            The day (UTC) that they were taken from.

        Raises:
            QuotaExceededError: Fewer are left; nothing was taken.
            RegistryUnavailableError: The database cannot be reached.
        """

    def return_pictures(self, key: ApiKey, pictures: int, *, spent_on: date) -> None:
        """Gives back what was taken for a request that was never accepted."""


@runtime_checkable
class EvidenceSource(Protocol):
    """One kind of evidence (R2). Group: ``countermark.evidence_sources``.

    The service wraps every call: an exception becomes one `SourceFailure`, so that a defect in
    one source never silences the others.
    """

    @property
    def name(self) -> str: ...

    @property
    def thorough(self) -> bool:
        """True for a source that is asked only when the fast ones left it unsettled."""

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """What this source finds; empty only when it does not apply at all."""


@runtime_checkable
class SkimmingSource(EvidenceSource, Protocol):
    """A source that can also look in a hurry, for callers who want no thorough search."""

    def skim(self, candidate: Candidate) -> Sequence[Evidence]:
        """As `collect`, in a fraction of the time; may miss what takes a search to find."""


@runtime_checkable
class FilterEngine(Protocol):
    """Runs the decision over a whole folder. Group: ``countermark.filter_engines``."""

    def run(
        self, paths: Iterable[Path], decide: Callable[[Path], FilterDecision]
    ) -> Iterator[FilterDecision]:
        """One decision per path, in any order, each exactly once."""


class CheckProvider(Protocol):
    """A function that answers doctor's lines. Group: ``countermark.checks``."""

    def __call__(self) -> Sequence[HealthCheck]: ...
