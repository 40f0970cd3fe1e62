"""What the operator did later: revoking, taking down, erasing. Each is an entry of the log.

Nothing is changed in place. A revocation or a take-down stands beside what it speaks of; an erasure
takes the row out whole and leaves the id, which is never given out again, and the leaf, which holds
digests only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, or_, select, tuple_

from provenance.errors import InputError, RecordNotFoundError
from provenance.types import EventKind, EventTarget, RegistryEvent, notice_targets
from registry.engine import overwrite_deleted, reading, writing
from registry.index.maintenance import forget_fingerprints
from registry.log import LeafKind, event_leaf, read_asset_digest
from registry.log_rows import append_leaf, lock_log
from registry.serialise import event_to_row, row_to_event
from registry.tables import Base, LogLeafRow, RecordRow, RefusalRow, RegistryEventRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import ColumnElement, Engine, Select, Table
    from sqlalchemy.orm import Session

    from provenance.types import RecordId, RegistryRecord

__all__ = [
    "Erasure",
    "EventLog",
    "append_event",
    "delete_whole",
    "find_erasure",
    "find_notices",
    "find_revocation",
    "find_take_down",
    "tables_of",
]

MAX_REASON_CHARACTERS = 500
SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure leaves to do.

    Attributes:
        event: What the log says.
        asset_sha256: The file that must go too; None when there is none, or another record needs
            it.
    """

    event: RegistryEvent
    asset_sha256: str | None


class EventLog:
    """Writes events. Every method raises `RegistryUnavailableError` without a database.

    Args:
        engine: Of a registry at the newest migration.
        clock: Answers the time in UTC.
    """

    def __init__(
        self, engine: Engine, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._clock = clock

    def revoke(self, target_kind: EventTarget, target: str, reason: str) -> RegistryEvent:
        """Takes back what the registry says of a record, of a key's marks, of a model's pictures.

        A target that is revoked already stays as it is: the first reason counts.

        Raises:
            RecordNotFoundError: There is no such record.
            InputError: No record names this key or model, or the reason is missing or too long.
        """
        with writing(self._engine) as session:
            lock_log(session)
            if target_kind is EventTarget.RECORD:
                entry = _require_record(session, target).log_index
            else:
                _require_known(session, target_kind, target)
                entry = None
            return self._append_once(
                session, EventKind.REVOCATION, target_kind, target, reason, entry
            )

    def take_down(self, record_id: RecordId, reason: str) -> RegistryEvent:
        """Has the record's file no longer handed out; the record stands. Once is enough.

        Raises:
            RecordNotFoundError: There is no such record.
            InputError: The reason is missing or too long.
        """
        return self._of_record(EventKind.TAKE_DOWN, record_id, reason)

    def note_deletion(self, record_id: RecordId, reason: str) -> RegistryEvent:
        """Says that the record's file was deleted. Raises as `take_down`."""
        return self._of_record(EventKind.DELETION, record_id, reason)

    def erase(self, record_id: RecordId, reason: str) -> Erasure:
        """Deletes a record or refusal with all that hangs on it; id and leaf stay.

        Erasing again changes nothing, and answers what is left to do.

        Raises:
            RecordNotFoundError: There never was one.
            InputError: The reason is missing or too long.
        """
        with writing(self._engine) as session:
            lock_log(session)
            row = session.get(RecordRow, record_id) or session.get(RefusalRow, record_id)
            entry = _erased_entry(session, record_id) if row is None else row.log_index
            if entry is None:
                raise RecordNotFoundError(f"no record or refusal {record_id}; check the id")
            event = self._append_once(
                session, EventKind.ERASURE, EventTarget.RECORD, record_id, reason, entry
            )
            if row is not None:
                session.expunge(row)  # deleted below, with all that hangs on it
                delete_whole(session, Base.metadata.tables[row.__tablename__], record_id)
            asset = _file_to_delete(session, entry)
        overwrite_deleted(self._engine)
        return Erasure(event, asset)

    def list_events(self, *, limit: int) -> Sequence[RegistryEvent]:
        """The newest events first."""
        statement = (
            select(RegistryEventRow).order_by(RegistryEventRow.log_index.desc()).limit(limit)
        )
        with reading(self._engine) as session:
            return [row_to_event(row) for row in session.scalars(statement)]

    def _of_record(self, kind: EventKind, record_id: RecordId, reason: str) -> RegistryEvent:
        with writing(self._engine) as session:
            lock_log(session)
            entry = _require_record(session, record_id).log_index
            return self._append_once(session, kind, EventTarget.RECORD, record_id, reason, entry)

    def _append_once(
        self,
        session: Session,
        kind: EventKind,
        target_kind: EventTarget,
        target: str,
        reason: str,
        entry: int | None,
    ) -> RegistryEvent:
        before = _find(session, kind, target_kind, target)
        if before is not None:
            return before
        event = self._event(kind, target, reason, target_kind)
        return append_event(session, event, entry)

    def _event(
        self,
        kind: EventKind,
        target: str,
        reason: str,
        target_kind: EventTarget = EventTarget.RECORD,
    ) -> RegistryEvent:
        text = " ".join(reason.split())
        if not 0 < len(text) <= MAX_REASON_CHARACTERS:
            raise InputError(
                f"the reason has {len(text)} characters; give one sentence of at most "
                f"{MAX_REASON_CHARACTERS}: it is shown to whoever asks of the picture"
            )
        return RegistryEvent(kind, target_kind, target, self._clock(), text)


# -- reading -------------------------------------------------------------------------------------


def find_notices(session: Session, record: RegistryRecord) -> Sequence[RegistryEvent]:
    """What events say of the record, its watermark key or its model, in order."""
    targets = [(kind.value, target) for kind, target in notice_targets(record)]
    row = RegistryEventRow
    statement = (
        select(row).where(tuple_(row.target_kind, row.target).in_(targets)).order_by(row.log_index)
    )
    return [row_to_event(one) for one in session.scalars(statement)]


def find_revocation(notices: Iterable[RegistryEvent]) -> RegistryEvent | None:
    """The revocation of the record itself among its notices: it gives no credentials back."""
    wanted = (EventKind.REVOCATION, EventTarget.RECORD)
    return next((one for one in notices if (one.kind, one.target_kind) == wanted), None)


def find_take_down(session: Session, sha256: str) -> RegistryEvent | None:
    """Why a file is no longer handed out; None when it is."""
    row = RegistryEventRow
    found = session.scalar(
        select(row)
        .join(RecordRow, RecordRow.record_id == row.target)
        .where(
            RecordRow.sha256 == sha256,
            row.kind == EventKind.TAKE_DOWN.value,
            row.target_kind == EventTarget.RECORD.value,
        )
        .order_by(row.log_index)
        .limit(1)
    )
    return None if found is None else row_to_event(found)


def find_erasure(session: Session, record_id: str) -> RegistryEvent | None:
    """That and why a record or refusal was erased."""
    return _find(session, EventKind.ERASURE, EventTarget.RECORD, record_id)


def _find(
    session: Session, kind: EventKind, target_kind: EventTarget, target: str
) -> RegistryEvent | None:
    row = session.scalar(_of_target(kind, target_kind, target))
    return None if row is None else row_to_event(row)


def _erased_entry(session: Session, record_id: str) -> int | None:
    row = session.scalar(_of_target(EventKind.ERASURE, EventTarget.RECORD, record_id))
    return None if row is None else row.entry_index


def _of_target(kind: EventKind, target_kind: EventTarget, target: str) -> Select[RegistryEventRow]:
    row = RegistryEventRow
    return (
        select(row)
        .where(row.kind == kind.value, row.target_kind == target_kind.value, row.target == target)
        .order_by(row.log_index)
        .limit(1)
    )


# -- writing -------------------------------------------------------------------------------------


def append_event(session: Session, event: RegistryEvent, entry: int | None) -> RegistryEvent:
    """Writes leaf and row within the caller's transaction.

    Args:
        session: In a transaction that writes.
        event: What happened.
        entry: The leaf of the record or refusal that it speaks of.
    """
    entry_hash = None
    if entry is not None:
        entry_hash = session.scalar(select(LogLeafRow.leaf_hash).where(LogLeafRow.index == entry))
    data = event_leaf(event, entry_hash=entry_hash)
    index, _ = append_leaf(session, LeafKind(event.kind), data)
    session.add(event_to_row(event, log_index=index, entry_index=entry))
    session.flush()
    return event


def _require_record(session: Session, record_id: str) -> RecordRow:
    row = session.get(RecordRow, record_id)
    if row is None:
        raise RecordNotFoundError(f"no record {record_id} in this registry; check the id")
    return row


def _require_known(session: Session, target_kind: EventTarget, target: str) -> None:
    """A mistyped name would revoke nothing, unnoticed."""
    row = RecordRow
    if target_kind is EventTarget.KEY:
        column, matches = row.watermark_key_id, row.watermark_key_id == target
    else:
        name, _, revision = target.rpartition("@")
        column = row.model_name
        matches = or_(
            row.model_weights_sha256 == target,
            row.model_name == target,
            (row.model_name == name) & (row.model_revision == revision),
        )
    if session.scalar(select(func.count()).select_from(row).where(matches)):
        return
    known = [
        str(one)
        for one in session.scalars(
            select(column).where(column.is_not(None)).distinct().limit(SHOWN_NAMES)
        )
    ]
    raise InputError(
        f"no record names the {target_kind} {target!r}; known here: {', '.join(known) or 'none'}"
    )


def tables_of(parent: Table) -> Iterator[tuple[Table, ColumnElement[str]]]:
    """The tables whose rows hang on a row of `parent`, with the column that names it."""
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            if key.column.table is parent:
                yield table, key.parent


def delete_whole(session: Session, table: Table, record_id: str) -> None:
    """Deletes a record or refusal with all that hangs on it, within the caller's transaction."""
    forget_fingerprints(session, record_id)
    for child, column in tables_of(table):
        session.execute(delete(child).where(column == record_id))
    session.execute(delete(table).where(table.c.record_id == record_id))


def _file_to_delete(session: Session, entry: int | None) -> str | None:
    data = session.scalar(select(LogLeafRow.data).where(LogLeafRow.index == entry))
    digest = None if data is None else read_asset_digest(data)
    if digest is None:
        return None
    shared = session.scalar(
        select(func.count()).select_from(RecordRow).where(RecordRow.sha256 == digest)
    )
    return None if shared else digest
