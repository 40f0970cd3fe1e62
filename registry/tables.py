"""The registry's tables, as SQLAlchemy 2 typed mappings.

Every type here means the same on SQLite and on PostgreSQL. What the log vouches for (records,
refusals and their parts) is added, never changed, and neither secret nor personal; erasing takes it
out whole, with an event in the log that says so (docs/adr/0022). Of a reservation only the state
changes. Jobs are work in progress: they change, they hold what a person
asked for until they end, and they are forgotten (docs/adr/0012). Kept inputs are encrypted, and
deleted when somebody asks for it (docs/adr/0011). API
keys change too, and hold no secret: only its digest.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from provenance.errors import RegistryError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

__all__ = [
    "HEAD_REVISION",
    "ApiKeyRow",
    "ApiKeyUsageRow",
    "Base",
    "EmbeddingRow",
    "HashChunkRow",
    "IndexGenerationRow",
    "JobInputRow",
    "JobPictureRow",
    "JobRow",
    "JobState",
    "KeptInputsRow",
    "KeypointWordsRow",
    "LogLeafRow",
    "PerceptualHashRow",
    "PictureState",
    "RecordRow",
    "RefusalRow",
    "RegistryEventRow",
    "ReservationRow",
    "ReservationState",
    "StoredBindingRow",
    "StoredManifestRow",
    "ThumbnailRow",
    "TreeHeadRow",
    "UtcDateTime",
]

HEAD_REVISION = "0011"
"""The migration that these mappings describe. Kept here so that opening a store needs no Alembic;
a test compares it with the head of the migration folder."""

RECORD_ID_CHARACTERS = 16
SHA256_HEX_CHARACTERS = 64
JOB_ID_CHARACTERS = 24

LogIndex = BigInteger().with_variant(Integer, "sqlite")
"""SQLite stores any integer in up to 8 bytes; only PostgreSQL tells the two sizes apart."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC, to the microsecond.

    SQLite has no time zones: it stores the naive UTC time as text, which sorts as the times do.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turns a time with a zone into what the database stores.

        Raises:
            RegistryError: The time has no zone, so which moment it means is unknown.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise RegistryError(f"time {value.isoformat()} has no zone; give it in UTC")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turns what the database stored into a time in UTC."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return value.replace(tzinfo=UTC)
        return value.astimezone(UTC)


class ReservationState(StrEnum):
    """What became of a record id. An id in any of these states is never given out again."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    REFUSED = "refused"
    RELEASED = "released"


class Base(DeclarativeBase):
    """Common metadata, with named constraints: migrations can only drop what has a name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class ReservationRow(Base):
    """An id that was given out, and what became of it."""

    __tablename__ = "reservations"
    __table_args__ = (
        CheckConstraint("state IN ('reserved', 'committed', 'refused', 'released')", name="state"),
    )

    record_id: Mapped[str] = mapped_column(String(RECORD_ID_CHARACTERS), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[str] = mapped_column(String(16))


class LogLeafRow(Base):
    """One leaf of the append-only log; see `registry.log` and `registry.merkle`.

    Attributes:
        index: 0, 1, 2 ... without a gap.
        kind: A `registry.log.LeafKind`.
        data: The canonical leaf, digests only: it may be published, and outlives its record.
        leaf_hash: SHA-256(0x00 || data), 32 bytes.
        subtrees: Hashes of the subtrees above level 0 that this leaf completes, lowest first, 32
            bytes each. So a proof reads a few rows, not all.
    """

    __tablename__ = "log_leaves"

    index: Mapped[int] = mapped_column(LogIndex, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(32))
    data: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary)
    subtrees: Mapped[bytes] = mapped_column(LargeBinary)


class TreeHeadRow(Base):
    """A signed head of the log; see `registry.log_proofs`.

    Attributes:
        timestamp_ms: When it was signed, milliseconds since 1970 (UTC).
        size: Number of leaves.
        root: Root of the tree over them, 32 bytes.
        log_id: SHA-256 of the public key, 64 hex digits.
        signature: Ed25519, 64 bytes.
    """

    __tablename__ = "tree_heads"

    timestamp_ms: Mapped[int] = mapped_column(LogIndex, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(LogIndex)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    log_id: Mapped[str] = mapped_column(String(SHA256_HEX_CHARACTERS))
    signature: Mapped[bytes] = mapped_column(LargeBinary)


class RegistryEventRow(Base):
    """What the operator did later: all fields of `provenance.types.RegistryEvent`.

    Attributes:
        log_index: Its leaf.
        entry_index: The leaf of the record or refusal that it speaks of; it outlives its row.
    """

    __tablename__ = "registry_events"
    __table_args__ = (Index("ix_registry_events_target", "target_kind", "target"),)

    log_index: Mapped[int] = mapped_column(
        LogIndex, ForeignKey("log_leaves.index"), primary_key=True, autoincrement=False
    )
    kind: Mapped[str] = mapped_column(String(16), index=True)
    target_kind: Mapped[str] = mapped_column(String(16))
    target: Mapped[str] = mapped_column(Text)
    entry_index: Mapped[int | None] = mapped_column(LogIndex, ForeignKey("log_leaves.index"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(Text)


class RecordRow(Base):
    """One delivered picture: all fields of `provenance.types.RegistryRecord`."""

    __tablename__ = "records"

    record_id: Mapped[str] = mapped_column(
        String(RECORD_ID_CHARACTERS), ForeignKey("reservations.record_id"), primary_key=True
    )
    log_index: Mapped[int] = mapped_column(LogIndex, ForeignKey("log_leaves.index"), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)

    sha256: Mapped[str] = mapped_column(String(SHA256_HEX_CHARACTERS), index=True)
    pixel_sha256: Mapped[str] = mapped_column(String(SHA256_HEX_CHARACTERS), index=True)
    media_type: Mapped[str] = mapped_column(String(64))
    width_px: Mapped[int]
    height_px: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    shell_head: Mapped[bytes] = mapped_column(LargeBinary)
    shell_tail: Mapped[bytes] = mapped_column(LargeBinary)

    model_name: Mapped[str | None] = mapped_column(Text)
    model_revision: Mapped[str | None] = mapped_column(String(80))
    model_weights_sha256: Mapped[str | None] = mapped_column(String(SHA256_HEX_CHARACTERS))
    model_licence: Mapped[str | None] = mapped_column(Text)
    model_family: Mapped[str | None] = mapped_column(Text)

    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    safety: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    watermark_codec: Mapped[str | None] = mapped_column(Text)
    watermark_alg: Mapped[str | None] = mapped_column(Text)
    watermark_key_id: Mapped[str | None] = mapped_column(Text)
    watermark_strength: Mapped[float | None] = mapped_column(Double)
    watermark_carries_record_id: Mapped[bool | None]
    watermark_psnr_db: Mapped[float | None] = mapped_column(Double)
    watermark_bit_accuracy: Mapped[float | None] = mapped_column(Double)
    watermark_ssim: Mapped[float | None] = mapped_column(Double)
    watermark_margin: Mapped[float | None] = mapped_column(Double)

    manifest_label: Mapped[str] = mapped_column(Text, index=True)
    manifest_store: Mapped[bytes] = mapped_column(LargeBinary)
    claim_generator: Mapped[str] = mapped_column(Text)
    time_stamped: Mapped[bool]

    perceptual_hash: Mapped[PerceptualHashRow | None] = relationship(lazy="joined")
    embedding: Mapped[EmbeddingRow | None] = relationship(
        lazy="joined",
        primaryjoin="and_(RecordRow.record_id == EmbeddingRow.record_id, EmbeddingRow.of_record)",
    )


class PerceptualHashRow(Base):
    """The perceptual hash of a record's delivered pixels.

    Attributes:
        log_index: The record's place in the log, so that a cache can ask for what is new.
        hash: 32 bytes.
    """

    __tablename__ = "perceptual_hashes"
    __table_args__ = (Index("ix_perceptual_hashes_algorithm", "algorithm", "log_index"),)

    record_id: Mapped[str] = mapped_column(
        String(RECORD_ID_CHARACTERS), ForeignKey("records.record_id"), primary_key=True
    )
    log_index: Mapped[int] = mapped_column(LogIndex, ForeignKey("log_leaves.index"))
    algorithm: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    quality: Mapped[int]


class HashChunkRow(Base):
    """One of the sixteen 16-bit pieces of a perceptual hash; see `registry.index.hash_chunks`.

    Derived from `PerceptualHashRow`. Searches join it with the hashes, so a row too many is
    harmless; sixteen foreign keys checked for each hash would not be.

    Attributes:
        key: Number of the chunk (0..15) times 65,536, plus its value.
        log_index: Of the hash.
    """

    __tablename__ = "hash_chunks"
    __table_args__ = ({"sqlite_with_rowid": False},)

    key: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    log_index: Mapped[int] = mapped_column(LogIndex, primary_key=True, autoincrement=False)


class IndexGenerationRow(Base):
    """How often rows of an index changed in another way than by a later log index.

    Whoever deletes fingerprints, or adds some at an earlier place of the log, counts it up in the
    same transaction (`registry.index.generations`): each cache then starts again from the rows.

    Attributes:
        name: Space id of embeddings, or algorithm of hashes.
    """

    __tablename__ = "index_generations"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    generation: Mapped[int] = mapped_column(BigInteger)


class EmbeddingRow(Base):
    """An embedding of a record's delivered pixels: one in each space.

    Attributes:
        log_index: As in `PerceptualHashRow`.
        of_record: Made with the record, and covered by its entry in the log; False for those of
            `registry.reindex`.
        dim: Number of components.
        vector: ``dim`` little-endian float32, unit norm.
    """

    __tablename__ = "embeddings"
    __table_args__ = (Index("ix_embeddings_space_id", "space_id", "log_index"),)

    record_id: Mapped[str] = mapped_column(
        String(RECORD_ID_CHARACTERS), ForeignKey("records.record_id"), primary_key=True
    )
    space_id: Mapped[str] = mapped_column(Text, primary_key=True)
    log_index: Mapped[int] = mapped_column(LogIndex, ForeignKey("log_leaves.index"))
    of_record: Mapped[bool]
    dim: Mapped[int]
    vector: Mapped[bytes] = mapped_column(LargeBinary)


class RefusalRow(Base):
    """A picture that was rendered and not delivered: all fields of `provenance.types.Refusal`."""

    __tablename__ = "refusals"

    record_id: Mapped[str] = mapped_column(
        String(RECORD_ID_CHARACTERS), ForeignKey("reservations.record_id"), primary_key=True
    )
    log_index: Mapped[int] = mapped_column(LogIndex, ForeignKey("log_leaves.index"), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    model_name: Mapped[str] = mapped_column(Text)
    model_revision: Mapped[str] = mapped_column(String(80))
    model_weights_sha256: Mapped[str] = mapped_column(String(SHA256_HEX_CHARACTERS))
    model_licence: Mapped[str | None] = mapped_column(Text)
    model_family: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    safety: Mapped[dict[str, Any]] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(Text)


class JobState(StrEnum):
    """Where a job stands; the first two change, the others are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self not in {JobState.QUEUED, JobState.RUNNING}


class PictureState(StrEnum):
    """Where one picture of a job stands; all but the first are final."""

    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobRow(Base):
    """One request for one or more pictures.

    Attributes:
        model: What the requests name; None is the default model.
        batch_key: Jobs with the same one may be rendered together.
        body: The requests whole. Personal data: null from the moment the job ends.
        options: How the job is to be run; nothing personal.
        api_key_id: Who asked; empty when nobody had to say.
        idempotency_key: Digest of the client's key; unique per `api_key_id`.
        body_digest: Keyed digest of what the client sent, for comparison with a retry.
        steps_done: As of the last heartbeat.
        owner: The worker that runs it.
        lease_expires_at: When the worker counts as dead unless it reports before.
        attempts: How often a worker took it and did not give it back.
        cancel_requested: For a worker in another process.
        error: What ended it early: kind, message, reasons.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('queued', 'running', 'done', 'refused', 'failed', 'cancelled')", name="state"
        ),
        UniqueConstraint("api_key_id", "idempotency_key", name="uq_jobs_idempotency_key"),
        Index("ix_jobs_state", "state", "created_at"),
    )

    job_id: Mapped[str] = mapped_column(String(JOB_ID_CHARACTERS), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    state: Mapped[str] = mapped_column(String(16))
    model: Mapped[str | None] = mapped_column(Text)
    batch_key: Mapped[str] = mapped_column(String(SHA256_HEX_CHARACTERS))
    body: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    api_key_id: Mapped[str] = mapped_column(String(64))
    idempotency_key: Mapped[str | None] = mapped_column(String(SHA256_HEX_CHARACTERS))
    body_digest: Mapped[str] = mapped_column(String(SHA256_HEX_CHARACTERS))
    steps_done: Mapped[int]
    steps_total: Mapped[int]
    owner: Mapped[str | None] = mapped_column(String(32), index=True)
    lease_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int]
    cancel_requested: Mapped[bool]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    pictures: Mapped[list[JobPictureRow]] = relationship(
        lazy="selectin",
        order_by="JobPictureRow.number",
        cascade="all, delete-orphan",
    )


class JobPictureRow(Base):
    """One picture of a job.

    Attributes:
        number: 0, 1, ...: its place in the job.
        seed: Fixed when the job was taken.
        record_id: The id under which it is rendered, set before it is. The picture is delivered
            if and only if a record of this id stands.
    """

    __tablename__ = "job_pictures"
    __table_args__ = (
        CheckConstraint(
            "state IN ('waiting', 'done', 'refused', 'failed', 'cancelled')", name="state"
        ),
    )

    job_id: Mapped[str] = mapped_column(
        String(JOB_ID_CHARACTERS), ForeignKey("jobs.job_id"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    record_id: Mapped[str | None] = mapped_column(
        String(RECORD_ID_CHARACTERS), ForeignKey("reservations.record_id"), unique=True
    )


class JobInputRow(Base):
    """A picture that a job starts from. Personal data: gone from the moment the job ends."""

    __tablename__ = "job_inputs"

    job_id: Mapped[str] = mapped_column(
        String(JOB_ID_CHARACTERS), ForeignKey("jobs.job_id"), primary_key=True
    )
    sha256: Mapped[str] = mapped_column(String(SHA256_HEX_CHARACTERS), primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class KeptInputsRow(Base):
    """What a picture was made from: all fields of `provenance.types.SealedInputs`.

    Not under the log, so that it can be erased. Deleting the row erases the key with the inputs.
    """

    __tablename__ = "kept_inputs"

    record_id: Mapped[str] = mapped_column(
        String(RECORD_ID_CHARACTERS),
        ForeignKey("records.record_id", ondelete="CASCADE"),
        primary_key=True,
    )
    key_id: Mapped[str] = mapped_column(String(16))
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class ThumbnailRow(Base):
    """A small grey picture of a registered one; see `provenance.fingerprint.verification`.

    Not under the log, so that it can be erased: copies are then found, but not verified.
    """

    __tablename__ = "thumbnails"

    record_id: Mapped[str] = mapped_column(
        String(RECORD_ID_CHARACTERS),
        ForeignKey("records.record_id", ondelete="CASCADE"),
        primary_key=True,
    )
    data: Mapped[bytes] = mapped_column(LargeBinary)


class KeypointWordsRow(Base):
    """Corners of a record's thumbnail; see `provenance.fingerprint.words`.

    Derived from `ThumbnailRow`, and erased with the record as it is.

    Attributes:
        log_index: As in `PerceptualHashRow`.
        corners: As `registry.index.words.encode_words` writes them.
    """

    __tablename__ = "keypoint_words"
    __table_args__ = (Index("ix_keypoint_words_space_id", "space_id", "log_index"),)

    record_id: Mapped[str] = mapped_column(
        String(RECORD_ID_CHARACTERS),
        ForeignKey("records.record_id", ondelete="CASCADE"),
        primary_key=True,
    )
    space_id: Mapped[str] = mapped_column(Text, primary_key=True)
    log_index: Mapped[int] = mapped_column(LogIndex, ForeignKey("log_leaves.index"))
    corners: Mapped[bytes] = mapped_column(LargeBinary)


class ApiKeyRow(Base):
    """One API key: all fields of `provenance.types.ApiKey`, and a digest of its secret.

    Attributes:
        secret_sha256: 32 bytes; the secret itself is shown once and kept nowhere.
        scopes: Names, sorted, separated by spaces.
    """

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(String(RECORD_ID_CHARACTERS), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[str] = mapped_column(Text)
    rate_per_minute: Mapped[int | None]
    daily_pictures: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_on: Mapped[date | None] = mapped_column(Date)


class ApiKeyUsageRow(Base):
    """How many pictures a key has asked for on one day (UTC)."""

    __tablename__ = "api_key_usage"

    key_id: Mapped[str] = mapped_column(
        String(RECORD_ID_CHARACTERS), ForeignKey("api_keys.key_id"), primary_key=True
    )
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    pictures: Mapped[int]


class StoredManifestRow(Base):
    """A manifest store of another maker, kept for the C2PA Soft Binding Resolution API.

    Attributes:
        manifest_id: Label of the active manifest.
        store: The bytes as they came.
        store_sha256: Of `store`, hex.
        owner_key_id: The API key that stored it, and that alone may change or delete it.
        log_index: The leaf that says so; it outlives the row.
    """

    __tablename__ = "stored_manifests"

    manifest_id: Mapped[str] = mapped_column(Text, primary_key=True)
    store: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    store_sha256: Mapped[str] = mapped_column(String(SHA256_HEX_CHARACTERS))
    owner_key_id: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    log_index: Mapped[int] = mapped_column(LogIndex, ForeignKey("log_leaves.index"), unique=True)

    bindings: Mapped[list[StoredBindingRow]] = relationship(
        lazy="selectin", cascade="all, delete-orphan"
    )


class StoredBindingRow(Base):
    """One soft binding by which a stored manifest is found.

    Attributes:
        value: Canonical text.
        value_sha256: Of the value's UTF-8, hex: values may be longer than an index takes.
        signed: Whether it stands in the manifest itself; others were added beside it.
    """

    __tablename__ = "stored_bindings"
    __table_args__ = (Index("ix_stored_bindings_value", "alg", "value_sha256"),)

    manifest_id: Mapped[str] = mapped_column(
        Text, ForeignKey("stored_manifests.manifest_id", ondelete="CASCADE"), primary_key=True
    )
    alg: Mapped[str] = mapped_column(Text, primary_key=True)
    value_sha256: Mapped[str] = mapped_column(String(SHA256_HEX_CHARACTERS), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    signed: Mapped[bool]
