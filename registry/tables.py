"""The registry's tables, as SQLAlchemy 2 typed mappings.

Every type here means the same on SQLite and on PostgreSQL. Rows are added, never changed, but for
one column: the state of a reservation. Nothing here is secret or personal.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from provenance.errors import RegistryError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

__all__ = [
    "HEAD_REVISION",
    "Base",
    "EmbeddingRow",
    "LogLeafRow",
    "PerceptualHashRow",
    "RecordRow",
    "RefusalRow",
    "ReservationRow",
    "ReservationState",
    "UtcDateTime",
]

HEAD_REVISION = "0001"
"""The migration that these mappings describe. Kept here so that opening a store needs no Alembic;
a test compares it with the head of the migration folder."""

RECORD_ID_CHARACTERS = 16
SHA256_HEX_CHARACTERS = 64

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
    """One leaf of the append-only log; see `registry.log` for what the digests bind.

    Attributes:
        index: 0, 1, 2 ... without a gap.
        kind: A `registry.log.LeafKind`.
        data: The canonical leaf, digests only: it may be published, and outlives its record.
        leaf_hash: SHA-256(0x00 || data), 32 bytes.
        head: Chain digest over all leaves so far, this one included, 32 bytes.
    """

    __tablename__ = "log_leaves"

    index: Mapped[int] = mapped_column(LogIndex, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(32))
    data: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary)
    head: Mapped[bytes] = mapped_column(LargeBinary)


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

    manifest_label: Mapped[str] = mapped_column(Text, index=True)
    manifest_store: Mapped[bytes] = mapped_column(LargeBinary)
    claim_generator: Mapped[str] = mapped_column(Text)
    time_stamped: Mapped[bool]

    perceptual_hash: Mapped[PerceptualHashRow | None] = relationship(lazy="joined")
    embedding: Mapped[EmbeddingRow | None] = relationship(lazy="joined")


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


class EmbeddingRow(Base):
    """The embedding of a record's delivered pixels.

    Attributes:
        log_index: As in `PerceptualHashRow`.
        dim: Number of components.
        vector: ``dim`` little-endian float32, unit norm.
    """

    __tablename__ = "embeddings"
    __table_args__ = (Index("ix_embeddings_space_id", "space_id", "log_index"),)

    record_id: Mapped[str] = mapped_column(
        String(RECORD_ID_CHARACTERS), ForeignKey("records.record_id"), primary_key=True
    )
    log_index: Mapped[int] = mapped_column(LogIndex, ForeignKey("log_leaves.index"))
    space_id: Mapped[str] = mapped_column(Text)
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
