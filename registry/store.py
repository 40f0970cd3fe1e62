"""The registry on SQLite or PostgreSQL.

Several processes may use one database at once. Whatever belongs together is written in one
transaction: a process that dies on the way leaves nothing of it.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from provenance.errors import (
    InputError,
    PayloadConflictError,
    RecordGoneError,
    RecordNotFoundError,
    RegistryError,
    RegistryUnavailableError,
)
from provenance.types import RecordId, Reservation, SealedInputs
from registry.engine import (
    DEFAULT_BUSY_TIMEOUT_S,
    describe_url,
    make_engine,
    overwrite_deleted,
    reading,
    stored_revision,
    translated_errors,
    writer,
    writing,
)
from registry.events import find_erasure, find_notices, find_take_down
from registry.index.cache import HashCache
from registry.index.exact import best_distances
from registry.index.hash_chunks import MAX_DISTANCE_BITS, add_chunks, find_candidates
from registry.index.vectors import SqlVectorIndex
from registry.index.words import WordIndex, encode_words
from registry.log import LeafKind, commit_leaf, refusal_leaf
from registry.log_rows import append_leaf, read_head
from registry.retry import retried
from registry.serialise import (
    further_rows,
    record_to_row,
    refusal_to_row,
    row_to_record,
    row_to_refusal,
)
from registry.tables import (
    HEAD_REVISION,
    KeptInputsRow,
    KeypointWordsRow,
    RecordRow,
    RefusalRow,
    ReservationRow,
    ReservationState,
    ThumbnailRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Engine, Select

    from provenance.interfaces import VectorIndex
    from provenance.types import (
        Embedding,
        EmbeddingNeighbour,
        HashNeighbour,
        KeypointWords,
        LogHead,
        PerceptualHash,
        Refusal,
        RegistryEvent,
        RegistryRecord,
        WordNeighbour,
    )

__all__ = ["SqlRecordStore", "open_store"]

RECORD_ID_BYTES = 8
MAX_RESERVATION_TRIES = 16
"""Two random 64-bit ids meet once in 2**32 registries of 2**32 records; sixteen meetings in a row
mean a broken random source."""
DEFAULT_RESERVATION_LIFETIME = timedelta(hours=1)
"""Longer than any rendering; an id that expires is merely never used."""
DEFAULT_MAX_CACHED_BYTES = 512 * 2**20
"""Per algorithm: eleven million hashes, kept only where searches are wider than 31 bits. Per space
of keypoint words: those of 90,000 records."""


def _now() -> datetime:
    return datetime.now(UTC)


def open_store(
    url: str,
    *,
    clock: Callable[[], datetime] = _now,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    reservation_lifetime: timedelta = DEFAULT_RESERVATION_LIFETIME,
    busy_timeout_s: float = DEFAULT_BUSY_TIMEOUT_S,
    open_index: Callable[[Engine, str], VectorIndex] | None = None,
) -> SqlRecordStore:
    """Opens a registry that exists and is at the right migration; changes nothing.

    Args:
        url: ``sqlite:////absolute/path`` or ``postgresql://user@host/database``.
        clock: Answers the time in UTC.
        random_bytes: Answers that many unguessable bytes.
        reservation_lifetime: How long a reserved id waits for its picture.
        busy_timeout_s: How long to wait for another writer, seconds.
        open_index: As in `SqlRecordStore`.

    Raises:
        ConfigError: The URL is unusable.
        BackendUnavailableError: The database driver is not installed.
        RegistryUnavailableError: The database is missing, unreachable or at another migration.
    """
    store = SqlRecordStore(
        make_engine(url, busy_timeout_s=busy_timeout_s),
        clock=clock,
        random_bytes=random_bytes,
        reservation_lifetime=reservation_lifetime,
        open_index=open_index,
    )
    try:
        store.require_head_revision()
    except RegistryUnavailableError:
        store.close()
        raise
    return store


class SqlRecordStore:
    """Implements `provenance.interfaces.RecordStore`.

    Args:
        engine: From `registry.engine.make_engine`; belongs to one process.
        clock: As in `open_store`.
        random_bytes: As in `open_store`.
        reservation_lifetime: As in `open_store`.
        max_cached_bytes: Bound of the hashes kept in memory for wide searches, per algorithm, and
            of the keypoint words, per space.
        open_index: Answers the index of a space id; None is `SqlVectorIndex` without a file.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], datetime] = _now,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        reservation_lifetime: timedelta = DEFAULT_RESERVATION_LIFETIME,
        max_cached_bytes: int = DEFAULT_MAX_CACHED_BYTES,
        open_index: Callable[[Engine, str], VectorIndex] | None = None,
    ) -> None:
        self._engine = engine
        self._url = str(engine.url)
        self._clock = clock
        self._random_bytes = random_bytes
        self._lifetime = reservation_lifetime
        self._max_cached_bytes = max_cached_bytes
        self._open_index = open_index or SqlVectorIndex
        self._hash_caches: dict[str, HashCache] = {}
        self._vector_indexes: dict[str, VectorIndex] = {}
        self._word_indexes: dict[str, WordIndex] = {}

    @property
    def engine(self) -> Engine:
        """The engine, for migrations and checks."""
        return self._engine

    def close(self) -> None:
        """Closes all idle connections."""
        self._engine.dispose()

    def require_head_revision(self) -> None:
        """Makes sure that the tables are the ones that this code knows.

        Raises:
            RegistryUnavailableError: They are not, or the database cannot be reached.
        """
        found = stored_revision(self._engine)
        if found != HEAD_REVISION:
            raise RegistryUnavailableError(
                f"registry {describe_url(self._url)} is at migration {found or 'none'}, but this "
                f"version needs {HEAD_REVISION}; run: countermark registry upgrade"
            )

    # -- reservations --------------------------------------------------------------------------

    def reserve(self) -> Reservation:
        """Sets a fresh record id aside (W2); never one that was ever given out.

        Raises:
            RegistryUnavailableError: The database cannot be reached.
            RegistryError: The random source keeps answering ids that were used.
        """
        for _ in range(MAX_RESERVATION_TRIES):
            now = self._clock()
            row = ReservationRow(
                record_id=self._random_bytes(RECORD_ID_BYTES).hex(),
                created_at=now,
                expires_at=now + self._lifetime,
                state=ReservationState.RESERVED.value,
            )
            reservation = Reservation(RecordId(row.record_id), row.expires_at)
            if self._insert_reservation(row):
                return reservation
        raise RegistryError(
            f"{MAX_RESERVATION_TRIES} random record ids in a row were already used; "
            "the random source of this machine is broken"
        )

    @retried
    def _insert_reservation(self, row: ReservationRow) -> bool:
        with translated_errors(self._url), Session(writer(self._engine)) as session:
            try:
                session.add(row)
                session.commit()
            except IntegrityError:
                return False
        return True

    @retried
    def release(self, record_id: RecordId) -> None:
        """Ends a reservation without a record; the id stays used. Unknown ids are ignored."""
        with writing(self._engine) as session:
            session.execute(
                update(ReservationRow)
                .where(
                    ReservationRow.record_id == record_id,
                    ReservationRow.state == ReservationState.RESERVED.value,
                )
                .values(state=ReservationState.RELEASED.value)
            )

    def _use_reservation(
        self, session: Session, record_id: RecordId, state: ReservationState
    ) -> None:
        """Turns a live reservation into `state`, or says why it cannot."""
        now = self._clock()
        used = session.scalar(
            update(ReservationRow)
            .where(
                ReservationRow.record_id == record_id,
                ReservationRow.state == ReservationState.RESERVED.value,
                ReservationRow.expires_at > now,
            )
            .values(state=state.value)
            .returning(ReservationRow.record_id)
        )
        if used is not None:
            return
        row = session.get(ReservationRow, record_id)
        if row is None:
            raise PayloadConflictError(
                f"record id {record_id} was never reserved; reserve an id before rendering"
            )
        if row.state != ReservationState.RESERVED:
            raise PayloadConflictError(
                f"record id {record_id} is already {row.state}; reserve a new one"
            )
        raise PayloadConflictError(
            f"the reservation of record id {record_id} expired at {row.expires_at.isoformat()}; "
            "reserve a new one, or raise registry.reservation_lifetime_s"
        )

    # -- writing -------------------------------------------------------------------------------

    @retried
    def commit(self, record: RegistryRecord, inputs: SealedInputs | None = None) -> LogHead:
        """Writes record, kept inputs and log leaf in one transaction (W8).

        Raises:
            PayloadConflictError: The id is not reserved, has expired, or has a record.
            InputError: A parameter is no finite number, or `inputs` belong to another record.
            RegistryUnavailableError: The database cannot be reached.
        """
        if inputs is not None and inputs.record_id != record.record_id:
            raise InputError(f"the inputs are those of record {inputs.record_id}, not of this one")
        row = record_to_row(record, log_index=0)
        data = commit_leaf(record)
        with writing(self._engine) as session:
            self._use_reservation(session, record.record_id, ReservationState.COMMITTED)
            index, head = append_leaf(session, LeafKind.COMMIT, data)
            for part in (row, row.perceptual_hash, row.embedding):
                if part is not None:
                    part.log_index = index
            session.add(row)
            thumbnail = record.fingerprints.thumbnail
            if row.perceptual_hash is not None:
                add_chunks(session, index, row.perceptual_hash.hash)
            words = record.fingerprints.keypoint_words
            further = further_rows(record, log_index=index)
            if inputs is not None or thumbnail is not None or words is not None or further:
                session.flush()  # no relationship tells the session which row comes first
            if thumbnail is not None:
                session.add(ThumbnailRow(record_id=record.record_id, data=thumbnail))
            session.add_all(further)
            if words is not None:
                session.add(
                    KeypointWordsRow(
                        record_id=record.record_id,
                        space_id=words.space_id,
                        log_index=index,
                        corners=encode_words(words),
                    )
                )
            if inputs is not None:
                session.add(
                    KeptInputsRow(
                        record_id=inputs.record_id,
                        key_id=inputs.key_id,
                        wrapped_key=inputs.wrapped_key,
                        sealed=inputs.sealed,
                    )
                )
        return head

    @retried
    def erase_inputs(self, record_id: RecordId) -> bool:
        """Forgets what the record's picture was made from; answers whether anything was kept.

        Raises:
            RegistryUnavailableError: The database cannot be reached.
        """
        with writing(self._engine) as session:
            erased = session.scalar(
                delete(KeptInputsRow)
                .where(KeptInputsRow.record_id == record_id)
                .returning(KeptInputsRow.record_id)
            )
        if erased is not None:
            overwrite_deleted(self._engine)
        return erased is not None

    @retried
    def refuse(self, refusal: Refusal) -> LogHead:
        """Writes a refusal and its log leaf in one transaction; ends the reservation.

        Raises:
            PayloadConflictError: As for `commit`.
            InputError: As for `commit`.
            RegistryUnavailableError: The database cannot be reached.
        """
        row = refusal_to_row(refusal, log_index=0)
        data = refusal_leaf(refusal)
        with writing(self._engine) as session:
            self._use_reservation(session, refusal.record_id, ReservationState.REFUSED)
            row.log_index, head = append_leaf(session, LeafKind.REFUSAL, data)
            session.add(row)
        return head

    # -- reading -------------------------------------------------------------------------------

    def get(self, record_id: RecordId) -> RegistryRecord:
        """The record.

        Raises:
            RecordGoneError: It was erased.
            RecordNotFoundError: There is none.
            RegistryUnavailableError: The database cannot be reached.
        """
        found = self._first(select(RecordRow).where(RecordRow.record_id == record_id))
        if found is None:
            with reading(self._engine) as session:
                erasure = find_erasure(session, record_id)
            if erasure is not None:
                raise RecordGoneError(erasure.describe())
            raise RecordNotFoundError(
                f"no record {record_id} in this registry: the picture may be another service's, "
                "or was not delivered; check the id"
            )
        return found

    def notices(self, record: RegistryRecord) -> Sequence[RegistryEvent]:
        """What the operator said later of the record, its watermark key or its model, in order."""
        with reading(self._engine) as session:
            return find_notices(session, record)

    def find_take_down(self, sha256: str) -> RegistryEvent | None:
        """Why the file with this SHA-256 is no longer handed out; None when it is."""
        with reading(self._engine) as session:
            return find_take_down(session, sha256)

    def kept_inputs(self, record_id: RecordId) -> SealedInputs | None:
        """What the record's picture was made from; None when it is not kept, or was erased.

        Raises:
            RegistryUnavailableError: The database cannot be reached.
        """
        with reading(self._engine) as session:
            row = session.get(KeptInputsRow, record_id)
            if row is None:
                return None
            return SealedInputs(RecordId(row.record_id), row.key_id, row.wrapped_key, row.sealed)

    def thumbnail(self, record_id: RecordId) -> bytes | None:
        """The small grey picture of a record; None when none was kept, or it was erased.

        Raises:
            RegistryUnavailableError: The database cannot be reached.
        """
        with reading(self._engine) as session:
            row = session.get(ThumbnailRow, record_id)
            return None if row is None else row.data

    def find_refusal(self, record_id: RecordId) -> Refusal | None:
        """The refusal with this id."""
        with reading(self._engine) as session:
            row = session.get(RefusalRow, record_id)
            return None if row is None else row_to_refusal(row)

    def find_by_file_hash(self, sha256: str) -> RegistryRecord | None:
        """The oldest record of exactly these bytes."""
        return self._oldest(select(RecordRow).where(RecordRow.sha256 == sha256))

    def find_by_pixel_hash(self, pixel_sha256: str) -> RegistryRecord | None:
        """The oldest record with these pixels."""
        return self._oldest(select(RecordRow).where(RecordRow.pixel_sha256 == pixel_sha256))

    def find_by_manifest(self, manifest_label: str) -> RegistryRecord | None:
        """The oldest record whose active manifest has this label."""
        return self._oldest(select(RecordRow).where(RecordRow.manifest_label == manifest_label))

    def nearest_hashes(
        self, query: PerceptualHash, *, max_distance_bits: int, limit: int
    ) -> Sequence[HashNeighbour]:
        """Records within a Hamming distance, nearest first, then oldest first."""
        _require_limit(limit)
        with reading(self._engine) as session:
            if max_distance_bits <= MAX_DISTANCE_BITS:
                near = find_candidates(session, query, max_distance_bits=max_distance_bits)
                blocks = iter([near])
            else:
                blocks = self._hash_cache(query.algorithm).blocks(session)
            return best_distances(blocks, query, max_distance_bits=max_distance_bits, limit=limit)

    def _hash_cache(self, algorithm: str) -> HashCache:
        cache = HashCache(algorithm, max_bytes=self._max_cached_bytes)
        return self._hash_caches.setdefault(algorithm, cache)

    def nearest_embeddings(
        self, query: Embedding, *, min_cosine: float, limit: int
    ) -> Sequence[EmbeddingNeighbour]:
        """Records of the query's own space, highest cosine first, then oldest first."""
        _require_limit(limit)
        return self.vector_index(query.space_id).search(query, limit=limit, min_cosine=min_cosine)

    def nearest_words(
        self, queries: Sequence[KeypointWords], *, limit: int
    ) -> Sequence[WordNeighbour]:
        """Records that share most keypoint words with a picture, most first, then oldest first."""
        _require_limit(limit)
        if not queries:
            return []
        space_id = queries[0].space_id
        if any(query.space_id != space_id for query in queries):
            raise InputError("words of two spaces are never compared; ask for each by itself")
        index = self._word_indexes.setdefault(
            space_id, WordIndex(space_id, max_bytes=self._max_cached_bytes)
        )
        with reading(self._engine) as session:
            return index.nearest(session, queries, limit=limit)

    def vector_index(self, space_id: str) -> VectorIndex:
        """The index of a space, kept for as long as the store; looks into no row yet."""
        index = self._vector_indexes.get(space_id)
        if index is None:
            opened = self._open_index(self._engine, space_id)
            index = self._vector_indexes.setdefault(space_id, opened)
        return index

    def list_records(
        self, *, limit: int, before: datetime | None = None
    ) -> Sequence[RegistryRecord]:
        """Newest first; with `before`, only records made strictly earlier."""
        _require_limit(limit)
        if before is not None and before.tzinfo is None:
            raise InputError(f"before {before.isoformat()} has no zone; give it in UTC")
        statement = select(RecordRow).order_by(
            RecordRow.created_at.desc(), RecordRow.log_index.desc()
        )
        if before is not None:
            statement = statement.where(RecordRow.created_at < before)
        with reading(self._engine) as session:
            return [row_to_record(row) for row in session.scalars(statement.limit(limit))]

    def count(self) -> int:
        """Number of records."""
        with reading(self._engine) as session:
            return session.scalar(select(func.count()).select_from(RecordRow)) or 0

    def log_head(self) -> LogHead:
        """State of the log."""
        with reading(self._engine) as session:
            return read_head(session)

    def _oldest(self, statement: Select[RecordRow]) -> RegistryRecord | None:
        return self._first(statement.order_by(RecordRow.log_index).limit(1))

    def _first(self, statement: Select[RecordRow]) -> RegistryRecord | None:
        with reading(self._engine) as session:
            row = session.scalar(statement)
            return None if row is None else row_to_record(row)


def _require_limit(limit: int) -> None:
    if limit < 1:
        raise InputError(f"limit {limit} must be at least 1")
