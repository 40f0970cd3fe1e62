"""Manifests of other makers: kept as they came, found by their soft bindings.

They stand beside the records, never among them: a record says what this service made, a stored
manifest says what somebody else signed. Storing and deleting each append a leaf to the log.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select
from sqlalchemy.orm import undefer

from provenance.errors import InputError, NotAllowedError, RecordNotFoundError
from provenance.types import SoftBinding
from registry.engine import reading, writing
from registry.log import LeafKind, manifest_leaf
from registry.log_rows import append_leaf, log_size, prove_inclusion, read_root
from registry.tables import LogLeafRow, RecordRow, StoredBindingRow, StoredManifestRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy.orm import Session

    from registry.store import SqlRecordStore

__all__ = ["Leaf", "ManifestRepository", "StoredManifest"]

MAX_PER_KEY = 100_000
"""Manifests of one API key: a bound on what a key that leaked can fill a disk with."""
MAX_BINDINGS = 64
"""Of one manifest; signed ones are at most 32."""
_BATCH_ROWS = 1000


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """What is kept of one, without its bytes.

    Attributes:
        manifest_id: Label of the active manifest.
        store_sha256: Digest of the bytes, hex.
        owner_key_id: Who stored it.
        created_at: When, UTC.
        bindings: By which it is found: all must fit a picture.
    """

    manifest_id: str
    store_sha256: str
    owner_key_id: str
    created_at: datetime
    bindings: tuple[SoftBinding, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf of the log, with what proves that it stands there.

    Attributes:
        index: Its place.
        data: What it says: digests only.
        size: Leaves of the log that the proof is about.
        path: Hashes from the leaf to the root, 32 bytes each (RFC 9162 section 2.1.3).
        root: Of the tree over these leaves, 32 bytes.
    """

    index: int
    data: bytes
    size: int
    path: tuple[bytes, ...]
    root: bytes


class _StoredMeanwhileError(Exception):
    """Another process was quicker; undoes the transaction."""


def _now() -> datetime:
    return datetime.now(UTC)


class ManifestRepository:
    """Stored manifests, in the registry's database.

    Args:
        records: The registry, whose log this writes to.
        clock: Answers the time in UTC.
    """

    def __init__(self, records: SqlRecordStore, *, clock: Callable[[], datetime] = _now) -> None:
        self._engine = records.engine
        self._clock = clock

    # -- writing -------------------------------------------------------------------------------

    def add(
        self, manifest_id: str, store: bytes, bindings: Iterable[SoftBinding], *, owner: str
    ) -> StoredManifest:
        """Stores a manifest; harmless when these very bytes are stored already.

        Raises:
            InputError: Other bytes are stored under this id, or there are too many bindings.
            NotAllowedError: The key has stored as many as it may.
            RegistryUnavailableError: The database cannot be reached.
        """
        digest = hashlib.sha256(store).hexdigest()
        found = self.find(manifest_id)
        if found is None:
            row = StoredManifestRow(
                manifest_id=manifest_id,
                store=store,
                store_sha256=digest,
                owner_key_id=owner,
                created_at=self._clock(),
                bindings=_binding_rows(bindings),
            )
            try:
                found = self._insert(row)
            except _StoredMeanwhileError:
                found = self.find(manifest_id)
        if found is None or found.store_sha256 != digest:
            raise InputError(f"{manifest_id} is already stored here, and its bytes are others")
        return found

    def _insert(self, row: StoredManifestRow) -> StoredManifest:
        data = manifest_leaf(
            LeafKind.MANIFEST_STORED, manifest_id=row.manifest_id, store_sha256=row.store_sha256
        )
        with writing(self._engine) as session:
            _require_room(session, row.owner_key_id)
            # The log's lock is held from here on, so that nobody else stores meanwhile.
            row.log_index, _ = append_leaf(session, LeafKind.MANIFEST_STORED, data)
            if session.get(StoredManifestRow, row.manifest_id) is not None:
                raise _StoredMeanwhileError
            session.add(row)
            session.flush()
            return _stored(row)

    def delete(self, manifest_id: str) -> None:
        """Forgets a manifest and its bindings; the log keeps that it was here.

        Raises:
            RecordNotFoundError: There is none.
            RegistryUnavailableError: The database cannot be reached.
        """
        with writing(self._engine) as session:
            row = _existing(session, manifest_id)
            data = manifest_leaf(
                LeafKind.MANIFEST_DELETED, manifest_id=manifest_id, store_sha256=row.store_sha256
            )
            append_leaf(session, LeafKind.MANIFEST_DELETED, data)
            session.delete(row)

    def bind(self, manifest_id: str, binding: SoftBinding, *, replace: bool = False) -> None:
        """Adds a soft binding beside those that the manifest itself holds.

        Args:
            manifest_id: Of a stored manifest.
            binding: What to find it by, and hold pictures against.
            replace: Forget those of the same algorithm that were added before.

        Raises:
            RecordNotFoundError: There is no such manifest.
            InputError: It has too many.
            RegistryUnavailableError: The database cannot be reached.
        """
        with writing(self._engine) as session:
            row = _existing(session, manifest_id)
            if replace:
                session.execute(
                    delete(StoredBindingRow).where(
                        StoredBindingRow.manifest_id == manifest_id,
                        StoredBindingRow.alg == binding.alg,
                        StoredBindingRow.signed.is_(False),
                    )
                )
                session.refresh(row, ["bindings"])
            if binding in _stored(row).bindings:
                return
            if len(row.bindings) >= MAX_BINDINGS:
                raise InputError(
                    f"{manifest_id} has {MAX_BINDINGS} soft bindings, the most there are"
                )
            row.bindings.append(_binding_row(binding, signed=False))

    # -- reading -------------------------------------------------------------------------------

    def find(self, manifest_id: str) -> StoredManifest | None:
        """What is known of a stored manifest."""
        with reading(self._engine) as session:
            row = session.get(StoredManifestRow, manifest_id)
            return None if row is None else _stored(row)

    def read_store(self, manifest_id: str) -> bytes | None:
        """Its bytes, as they came."""
        with reading(self._engine) as session:
            row = session.get(
                StoredManifestRow, manifest_id, options=[undefer(StoredManifestRow.store)]
            )
            return None if row is None else row.store

    def find_bound(self, binding: SoftBinding, *, limit: int) -> Sequence[StoredManifest]:
        """Manifests with exactly this soft binding, oldest first."""
        with reading(self._engine) as session:
            statement = (
                select(StoredManifestRow)
                .join(StoredBindingRow)
                .where(
                    StoredBindingRow.alg == binding.alg,
                    StoredBindingRow.value_sha256 == _digest(binding.value),
                )
                .order_by(StoredManifestRow.created_at, StoredManifestRow.log_index)
                .limit(limit)
            )
            return [_stored(row) for row in session.scalars(statement)]

    def find_near(
        self, alg: str, distance_to: Callable[[str], int | None], *, limit: int
    ) -> Sequence[tuple[StoredManifest, int]]:
        """Manifests whose value under `alg` is near something, nearest first, then oldest first.

        Reads every value of the algorithm.

        Args:
            alg: A fingerprint.
            distance_to: Distance of a value; None where it is too far or no fingerprint.
            limit: At most so many.
        """
        with reading(self._engine) as session:
            values = session.execute(
                select(StoredBindingRow.manifest_id, StoredBindingRow.value)
                .where(StoredBindingRow.alg == alg)
                .execution_options(yield_per=_BATCH_ROWS)
            )
            distances: dict[str, int] = {}
            for manifest_id, value in values:
                distance = distance_to(value)
                if distance is not None:
                    distances[manifest_id] = min(distance, distances.get(manifest_id, distance))
            nearest = sorted(distances, key=lambda one: (distances[one], one))[: limit * 2]
            rows = [_stored(session.get_one(StoredManifestRow, one)) for one in nearest]
        rows.sort(key=lambda one: (distances[one.manifest_id], one.created_at))
        return [(one, distances[one.manifest_id]) for one in rows[:limit]]

    def leaf_of(self, manifest_id: str) -> Leaf | None:
        """The log's leaf about a manifest that is here: a record's, or a stored one."""
        with reading(self._engine) as session:
            index = session.scalar(
                select(RecordRow.log_index)
                .where(RecordRow.manifest_label == manifest_id)
                .order_by(RecordRow.log_index)
                .limit(1)
            )
            if index is None:
                index = session.scalar(
                    select(StoredManifestRow.log_index).where(
                        StoredManifestRow.manifest_id == manifest_id
                    )
                )
            return None if index is None else _read_leaf(session, index)

    def root_of(self, size: int) -> bytes | None:
        """Root of the tree over the first leaves; None while there are not so many."""
        with reading(self._engine) as session:
            return read_root(session, size) if 0 < size <= log_size(session) else None

    def first_leaf_hash(self) -> bytes | None:
        """What tells this log from every other; None while it is empty."""
        with reading(self._engine) as session:
            return session.scalar(select(LogLeafRow.leaf_hash).where(LogLeafRow.index == 0))


def _read_leaf(session: Session, index: int) -> Leaf | None:
    row = session.get(LogLeafRow, index)
    if row is None:
        return None
    size = log_size(session)
    path, root = prove_inclusion(session, index, size), read_root(session, size)
    return Leaf(index, row.data, size, path, root)


def _require_room(session: Session, owner: str) -> None:
    count = session.scalar(
        select(func.count())
        .select_from(StoredManifestRow)
        .where(StoredManifestRow.owner_key_id == owner)
    )
    if (count or 0) >= MAX_PER_KEY:
        raise NotAllowedError(f"this API key has stored {MAX_PER_KEY} manifests, the most it may")


def _existing(session: Session, manifest_id: str) -> StoredManifestRow:
    row = session.get(StoredManifestRow, manifest_id)
    if row is None:
        raise RecordNotFoundError(f"there is no stored manifest {manifest_id}")
    return row


def _binding_rows(bindings: Iterable[SoftBinding]) -> list[StoredBindingRow]:
    unique = dict.fromkeys(bindings)
    if len(unique) > MAX_BINDINGS:
        raise InputError(f"the manifest has {len(unique)} soft bindings; at most {MAX_BINDINGS}")
    return [_binding_row(one, signed=True) for one in unique]


def _binding_row(binding: SoftBinding, *, signed: bool) -> StoredBindingRow:
    return StoredBindingRow(
        alg=binding.alg,
        value=binding.value,
        value_sha256=_digest(binding.value),
        signed=signed,
    )


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8")).hexdigest()


def _stored(row: StoredManifestRow) -> StoredManifest:
    # Sorted here: databases differ in how they order text.
    rows = sorted(row.bindings, key=lambda one: (one.alg, one.value_sha256))
    bindings = tuple(SoftBinding(one.alg, one.value) for one in rows)
    return StoredManifest(
        row.manifest_id, row.store_sha256, row.owner_key_id, row.created_at, bindings
    )
