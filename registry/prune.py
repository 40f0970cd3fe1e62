"""What has had its time: files and inputs past their retention, and leftovers of dead processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from provenance.types import EventKind, EventTarget, RecordId
from registry.engine import overwrite_deleted, reading, writing
from registry.events import EventLog
from registry.tables import (
    KeptInputsRow,
    RecordRow,
    RegistryEventRow,
    ReservationRow,
    ReservationState,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Engine

    from registry.assets import ManagedAssets

__all__ = ["Pruned", "prune"]

BATCH_ROWS = 256


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went.

    Attributes:
        files: Delivered files past their retention; an event in the log speaks of each.
        inputs: Kept inputs past theirs.
        reservations: Expired ids, released: they stay used.
        staged: Files of dead processes, published or cleared away.
    """

    files: int
    inputs: int
    reservations: int
    staged: int


def prune(
    engine: Engine,
    assets: ManagedAssets,
    *,
    now: datetime,
    retain_assets_days: int,
    retain_inputs_days: int,
    abandoned_after_s: float,
) -> Pruned:
    """Deletes what has had its time; a run that was broken off is simply run again.

    Args:
        engine: Of a registry at the newest migration.
        assets: The delivered files.
        now: Current time, UTC.
        retain_assets_days: Files of older records go; 0 keeps all.
        retain_inputs_days: Inputs of older records go; 0 keeps all.
        abandoned_after_s: Age from which no living process still works on a staged file, seconds.

    Raises:
        RegistryUnavailableError: The database cannot be reached.
        DeliveryError: The asset store cannot be reached, or refuses.
    """
    files = 0
    if retain_assets_days:
        events = EventLog(engine, clock=lambda: now)
        reason = f"files are kept for {retain_assets_days} days"
        for record_id, digest in _old_files(engine, now - timedelta(days=retain_assets_days)):
            # The file first: a run that dies in between finds the record again.
            assets.remove(digest)
            events.note_deletion(record_id, reason)
            files += 1
    inputs = 0
    if retain_inputs_days:
        inputs = _erase_inputs(engine, now - timedelta(days=retain_inputs_days))
    return Pruned(
        files=files,
        inputs=inputs,
        reservations=_release_expired(engine, now),
        staged=assets.recover(
            lambda sha256: _is_registered(engine, sha256), abandoned_after_s=abandoned_after_s
        ),
    )


def _old_files(engine: Engine, before: datetime) -> Iterator[tuple[RecordId, str]]:
    """Records of before then whose file was not deleted yet."""
    deleted = select(RegistryEventRow.target).where(
        RegistryEventRow.kind == EventKind.DELETION.value,
        RegistryEventRow.target_kind == EventTarget.RECORD.value,
    )
    statement = (
        select(RecordRow.record_id, RecordRow.sha256, RecordRow.log_index)
        .where(RecordRow.created_at < before, RecordRow.record_id.not_in(deleted))
        .order_by(RecordRow.log_index)
        .limit(BATCH_ROWS)
    )
    last = -1
    while True:
        with reading(engine) as session:
            rows = session.execute(statement.where(RecordRow.log_index > last)).all()
        if not rows:
            return
        for record_id, digest, last in rows:  # noqa: B007  the last one goes on
            yield RecordId(record_id), digest


def _erase_inputs(engine: Engine, before: datetime) -> int:
    old = select(RecordRow.record_id).where(RecordRow.created_at < before)
    with writing(engine) as session:
        erased = session.scalar(
            select(func.count()).select_from(KeptInputsRow).where(KeptInputsRow.record_id.in_(old))
        )
        session.execute(delete(KeptInputsRow).where(KeptInputsRow.record_id.in_(old)))
    if erased:
        overwrite_deleted(engine)
    return erased or 0


def _release_expired(engine: Engine, now: datetime) -> int:
    with writing(engine) as session:
        released = session.scalars(
            update(ReservationRow)
            .where(
                ReservationRow.state == ReservationState.RESERVED.value,
                ReservationRow.expires_at <= now,
            )
            .values(state=ReservationState.RELEASED.value)
            .returning(ReservationRow.record_id)
        )
        return len(released.all())


def _is_registered(engine: Engine, sha256: str) -> bool:
    with reading(engine) as session:
        return bool(
            session.scalar(
                select(func.count()).select_from(RecordRow).where(RecordRow.sha256 == sha256)
            )
        )
