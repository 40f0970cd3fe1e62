"""In-memory registry and asset store, for tests and for trying things without a database.

They answer as the real ones do: both pass the suites of `provenance.testing.stores`. Nothing
outlives the process. The log's digests bind every entry, but are not those of the SQL registry.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING

from provenance.errors import (
    InputError,
    PayloadConflictError,
    RecordNotFoundError,
    RegistryError,
)
from provenance.types import (
    EmbeddingNeighbour,
    HashNeighbour,
    LogHead,
    RecordId,
    Reservation,
    WordNeighbour,
    notice_targets,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from provenance.types import (
        Embedding,
        EncodedImage,
        KeypointWords,
        Parameters,
        PerceptualHash,
        Refusal,
        RegistryEvent,
        RegistryRecord,
        SealedInputs,
    )

__all__ = ["MemoryAssetStore", "MemoryRecordStore"]

MAX_RESERVATION_TRIES = 16
"""As the SQL registry: sixteen used ids in a row mean a broken random source."""


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryRecordStore:
    """Implements `provenance.interfaces.RecordStore` in memory.

    Args:
        clock: Answers the time in UTC.
        random_bytes: Answers that many unguessable bytes.
        reservation_lifetime: How long a reserved id waits for its picture.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = _now,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        reservation_lifetime: timedelta = timedelta(hours=1),
    ) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._lifetime = reservation_lifetime
        self._lock = Lock()
        self._live: dict[RecordId, datetime] = {}
        self._used: dict[RecordId, str] = {}
        self.records: dict[RecordId, RegistryRecord] = {}
        self.refusals: dict[RecordId, Refusal] = {}
        self.inputs: dict[RecordId, SealedInputs] = {}
        self.events: list[RegistryEvent] = []
        self._head = LogHead(size=0, digest=hashlib.sha256(b"").hexdigest())

    def reserve(self) -> Reservation:
        """Sets a fresh record id aside."""
        with self._lock:
            for _ in range(MAX_RESERVATION_TRIES):
                record_id = RecordId(self._random_bytes(8).hex())
                if record_id not in self._live and record_id not in self._used:
                    self._live[record_id] = self._clock() + self._lifetime
                    return Reservation(record_id, self._live[record_id])
        raise RegistryError("the random source keeps answering ids that were used")

    def release(self, record_id: RecordId) -> None:
        """Ends a reservation without a record."""
        with self._lock:
            if self._live.pop(record_id, None) is not None:
                self._used[record_id] = "released"

    def commit(self, record: RegistryRecord, inputs: SealedInputs | None = None) -> LogHead:
        """Keeps record, inputs and log entry."""
        _require_finite(record.parameters)
        if inputs is not None and inputs.record_id != record.record_id:
            raise InputError(f"the inputs are those of record {inputs.record_id}")
        with self._lock:
            self._use(record.record_id, "committed")
            self.records[record.record_id] = record
            if inputs is not None:
                self.inputs[record.record_id] = inputs
            return self._append(record.record_id, record.asset.sha256)

    def kept_inputs(self, record_id: RecordId) -> SealedInputs | None:
        """What the record's picture was made from."""
        return self.inputs.get(record_id)

    def erase_inputs(self, record_id: RecordId) -> bool:
        """Forgets what the record's picture was made from."""
        with self._lock:
            return self.inputs.pop(record_id, None) is not None

    def thumbnail(self, record_id: RecordId) -> bytes | None:
        """The small grey picture of a record."""
        record = self.records.get(record_id)
        return None if record is None else record.fingerprints.thumbnail

    def refuse(self, refusal: Refusal) -> LogHead:
        """Keeps refusal and log entry."""
        _require_finite(refusal.parameters)
        with self._lock:
            self._use(refusal.record_id, "refused")
            self.refusals[refusal.record_id] = refusal
            return self._append(refusal.record_id, refusal.reason)

    def get(self, record_id: RecordId) -> RegistryRecord:
        """The record."""
        try:
            return self.records[record_id]
        except KeyError as error:
            raise RecordNotFoundError(f"no record {record_id} in this registry") from error

    def notices(self, record: RegistryRecord) -> Sequence[RegistryEvent]:
        """What was put into `events` of the record, its watermark key or its model."""
        targets = set(notice_targets(record))
        return [event for event in self.events if (event.target_kind, event.target) in targets]

    def find_by_file_hash(self, sha256: str) -> RegistryRecord | None:
        """The oldest record of exactly these bytes."""
        return self._first(lambda record: record.asset.sha256 == sha256)

    def find_by_pixel_hash(self, pixel_sha256: str) -> RegistryRecord | None:
        """The oldest record with these pixels."""
        return self._first(lambda record: record.asset.pixel_sha256 == pixel_sha256)

    def find_by_manifest(self, manifest_label: str) -> RegistryRecord | None:
        """The oldest record whose active manifest has this label."""
        return self._first(lambda record: record.manifest_label == manifest_label)

    def nearest_hashes(
        self, query: PerceptualHash, *, max_distance_bits: int, limit: int
    ) -> Sequence[HashNeighbour]:
        """Records within a Hamming distance, nearest first, then oldest first."""
        _require_limit(limit)
        bits = int(query.hex, 16)
        found = [
            HashNeighbour(record_id, (int(value.hex, 16) ^ bits).bit_count())
            for record_id, value in self._hashes()
            if value.algorithm == query.algorithm
        ]
        near = [neighbour for neighbour in found if neighbour.distance_bits <= max_distance_bits]
        return sorted(near, key=lambda neighbour: neighbour.distance_bits)[:limit]

    def nearest_embeddings(
        self, query: Embedding, *, min_cosine: float, limit: int
    ) -> Sequence[EmbeddingNeighbour]:
        """Records of the query's own space, highest cosine first, then oldest first."""
        _require_limit(limit)
        found = [
            EmbeddingNeighbour(record_id, _cosine(value, query))
            for record_id, value in self._embeddings()
            if value.space_id == query.space_id
        ]
        near = [neighbour for neighbour in found if neighbour.cosine >= min_cosine]
        return sorted(near, key=lambda neighbour: -neighbour.cosine)[:limit]

    def nearest_words(
        self, queries: Sequence[KeypointWords], *, limit: int
    ) -> Sequence[WordNeighbour]:
        """Records that share most keypoint words with a picture, most first, then oldest first."""
        _require_limit(limit)
        if len({query.space_id for query in queries}) > 1:
            raise InputError("words of two spaces are never compared; ask for each by itself")
        of_space = {
            record_id: words
            for record_id, words in self._keypoint_words()
            if queries and words.space_id == queries[0].space_id
        }
        counted = [_count_votes(of_space, query) for query in queries]
        found = [
            WordNeighbour(record_id, max(votes[record_id] for votes in counted))
            for record_id in of_space
        ]
        return sorted((one for one in found if one.votes), key=lambda one: -one.votes)[:limit]

    def list_records(
        self, *, limit: int, before: datetime | None = None
    ) -> Sequence[RegistryRecord]:
        """Newest first; with `before`, only records made strictly earlier."""
        _require_limit(limit)
        if before is not None and before.tzinfo is None:
            raise InputError("before has no zone; give it in UTC")
        oldest_first = sorted(self.records.values(), key=lambda record: record.created_at)
        newest_first = reversed(oldest_first)
        return [r for r in newest_first if before is None or r.created_at < before][:limit]

    def count(self) -> int:
        """Number of records."""
        return len(self.records)

    def log_head(self) -> LogHead:
        """State of the log."""
        return self._head

    def _use(self, record_id: RecordId, state: str) -> None:
        expires_at = self._live.get(record_id)
        if expires_at is None:
            reason = f"is already {self._used.get(record_id, 'unknown: it was never reserved')}"
            raise PayloadConflictError(f"record id {record_id} {reason}")
        if expires_at <= self._clock():
            raise PayloadConflictError(f"the reservation of record id {record_id} has expired")
        del self._live[record_id]
        self._used[record_id] = state

    def _append(self, *parts: str) -> LogHead:
        entry = "\n".join((self._head.digest, *parts)).encode()
        self._head = LogHead(self._head.size + 1, hashlib.sha256(entry).hexdigest())
        return self._head

    def _first(self, matches: Callable[[RegistryRecord], bool]) -> RegistryRecord | None:
        return next((record for record in self.records.values() if matches(record)), None)

    def _hashes(self) -> Iterator[tuple[RecordId, PerceptualHash]]:
        for record_id, record in self.records.items():
            if record.fingerprints.perceptual_hash is not None:
                yield record_id, record.fingerprints.perceptual_hash

    def _embeddings(self) -> Iterator[tuple[RecordId, Embedding]]:
        for record_id, record in self.records.items():
            if record.fingerprints.embedding is not None:
                yield record_id, record.fingerprints.embedding
            for value in record.fingerprints.further:
                yield record_id, value

    def _keypoint_words(self) -> Iterator[tuple[RecordId, KeypointWords]]:
        for record_id, record in self.records.items():
            if record.fingerprints.keypoint_words is not None:
                yield record_id, record.fingerprints.keypoint_words


class MemoryAssetStore:
    """Implements `provenance.interfaces.AssetStore` in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def stage(self, image: EncodedImage) -> _StagedBytes:
        """Lays the bytes ready."""
        return _StagedBytes(self.files, image.data)

    def get(self, sha256: str) -> bytes | None:
        """The bytes; None when they are not kept."""
        return self.files.get(sha256)


class _StagedBytes:
    def __init__(self, files: dict[str, bytes], data: bytes) -> None:
        self._files = files
        self._data: bytes | None = data

    def publish(self) -> None:
        if self._data is not None:
            self._files[hashlib.sha256(self._data).hexdigest()] = self._data

    def discard(self) -> None:
        self._data = None


def _cosine(stored: Embedding, query: Embedding) -> float:
    if stored.vector.shape != query.vector.shape:
        raise RegistryError(
            f"vectors of space {query.space_id} differ in length: "
            f"{stored.vector.shape[0]} and {query.vector.shape[0]}"
        )
    return max(-1.0, min(1.0, float(stored.vector @ query.vector)))


def _count_votes(
    records: Mapping[RecordId, KeypointWords], query: KeypointWords
) -> dict[RecordId, float]:
    """Corner by corner, as `registry.index.word_votes` says in words."""
    by_word: dict[int, list[tuple[RecordId, int, int]]] = {}
    for record_id, kept in records.items():
        corners = zip(
            kept.words[:, 0].tolist(), kept.angles.tolist(), kept.check_bits.tolist(), strict=True
        )
        for word, angle, check_bits in corners:
            by_word.setdefault(word, []).append((record_id, angle, check_bits))
    nearest: dict[tuple[int, RecordId], tuple[int, int]] = {}
    asked = zip(query.words.tolist(), query.angles.tolist(), query.check_bits.tolist(), strict=True)
    for corner, (words, own_angle, own_bits) in enumerate(asked):
        for record_id, angle, check_bits in chain(*(by_word.get(word, []) for word in words)):
            found = (own_bits ^ check_bits).bit_count(), (own_angle - angle) % 256 // 16
            if found[0] <= 16:
                pair = corner, record_id
                nearest[pair] = min(nearest.get(pair, found), found)
    met = Counter(corner for corner, _ in nearest)
    cells: dict[RecordId, list[float]] = {record_id: [0.0] * 16 for record_id in records}
    for (corner, record_id), (bits, turn) in nearest.items():
        rarity = math.log((1 + len(records)) / met[corner])
        cells[record_id][turn] += rarity * (1 - bits / 24)
    return {
        record_id: max(one + cell[place - 1] for place, one in enumerate(cell))
        for record_id, cell in cells.items()
    }


def _require_finite(parameters: Parameters) -> None:
    for name, value in parameters.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"parameter {name} is {value}; a record takes finite numbers only")


def _require_limit(limit: int) -> None:
    if limit < 1:
        raise InputError(f"limit {limit} must be at least 1")
