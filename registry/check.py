"""Whether reservations, records, refusals and log leaves still belong together.

Everything is recomputed: each leaf's hash and the chain over all of them, and each leaf again from
the row that it stands for. So a row that was changed, added or taken away by hand is found, as long
as the log was not rewritten with it; whoever kept an older head finds that too.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session

from provenance.errors import ProvenanceError
from provenance.types import LogHead
from registry.check_manifests import find_manifest_problems
from registry.engine import translated_errors
from registry.log import EMPTY_HEAD, LeafKind, commit_leaf, extend_head, hash_leaf, refusal_leaf
from registry.serialise import row_to_record, row_to_refusal
from registry.tables import (
    EmbeddingRow,
    LogLeafRow,
    PerceptualHashRow,
    RecordRow,
    RefusalRow,
    ReservationRow,
    ReservationState,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Engine

__all__ = ["ConsistencyReport", "Problem", "check_consistency"]

BATCH_ROWS = 256
"""Rows in memory at once; a record can hold a megabyte of manifest."""

RESTORE = "restore the registry from a backup, and find out who can write to its database"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not belong together.

    Attributes:
        what: Names the row or the leaf, and says what is wrong with it.
        remedy: What to do.
    """

    what: str
    remedy: str = RESTORE


@dataclass(frozen=True, slots=True)
class ConsistencyReport:
    """What `check_consistency` counted and found.

    Attributes:
        records: Delivered pictures.
        refusals: Pictures that were not delivered.
        open_reservations: Ids that wait for their picture.
        expired_reservations: Ids whose picture never came, e.g. of a process that was killed;
            they are harmless.
        head: Recomputed from the leaves; worth keeping elsewhere.
        problems: Empty when all is in order.
    """

    records: int
    refusals: int
    open_reservations: int
    expired_reservations: int
    head: LogHead
    problems: tuple[Problem, ...]


def check_consistency(engine: Engine, *, now: datetime) -> ConsistencyReport:
    """Checks every row and every leaf; reads only.

    Args:
        engine: Of a registry at the newest migration.
        now: Current time, UTC: tells open reservations from expired ones.

    Raises:
        RegistryUnavailableError: The database cannot be reached.
    """
    with _snapshot(engine) as session:
        problems: list[Problem] = []
        head = _check_log(session, problems)
        problems += _check_records(session)
        problems += _check_refusals(session)
        problems += _check_leaves_without_row(session)
        problems += _check_reservations(session)
        problems += _check_fingerprints(session)
        problems += [Problem(what) for what in find_manifest_problems(session)]
        open_ones = ReservationRow.state == ReservationState.RESERVED.value
        return ConsistencyReport(
            records=_count(session, RecordRow),
            refusals=_count(session, RefusalRow),
            open_reservations=_count(
                session, ReservationRow, open_ones & (ReservationRow.expires_at > now)
            ),
            expired_reservations=_count(
                session, ReservationRow, open_ones & (ReservationRow.expires_at <= now)
            ),
            head=head,
            problems=tuple(problems),
        )


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Session]:
    """One transaction that sees one state, however much is written meanwhile."""
    with translated_errors(str(engine.url)), Session(engine) as session:
        if engine.dialect.name == "postgresql":
            session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        yield session


def _count(
    session: Session,
    row: type[RecordRow | RefusalRow | ReservationRow],
    *where: ColumnElement[bool],
) -> int:
    return session.scalar(select(func.count()).select_from(row).where(*where)) or 0


def _check_log(session: Session, problems: list[Problem]) -> LogHead:
    head, size = EMPTY_HEAD, 0
    statement = select(
        LogLeafRow.index, LogLeafRow.data, LogLeafRow.leaf_hash, LogLeafRow.head
    ).order_by(LogLeafRow.index)
    for index, data, leaf_hash, stored in session.execute(
        statement.execution_options(yield_per=BATCH_ROWS)
    ):
        if index != size:
            problems.append(Problem(f"log leaves {size} to {index - 1} are missing"))
            size = index
        if hash_leaf(data) != leaf_hash:
            problems.append(Problem(f"log leaf {index} does not have its stored hash"))
        head = extend_head(head, hash_leaf(data))
        if head != stored:
            problems.append(Problem(f"the log's chain breaks at leaf {index}"))
            head = stored  # so that one break is told once, not at every leaf after it
        size += 1
    return LogHead(size=size, digest=head.hex())


def _check_records(session: Session) -> Iterator[Problem]:
    statement = (
        select(RecordRow, LogLeafRow)
        .outerjoin(LogLeafRow, LogLeafRow.index == RecordRow.log_index)
        .order_by(RecordRow.log_index)
        .execution_options(yield_per=BATCH_ROWS)
    )
    for row, leaf in session.execute(statement):
        name = f"record {row.record_id}"
        try:
            expected = commit_leaf(row_to_record(row))
        except (ProvenanceError, ValueError, TypeError, KeyError) as error:
            yield Problem(f"{name} cannot be read: {error}")
            continue
        yield from _compare(name, LeafKind.COMMIT, leaf, expected)


def _check_refusals(session: Session) -> Iterator[Problem]:
    statement = (
        select(RefusalRow, LogLeafRow)
        .outerjoin(LogLeafRow, LogLeafRow.index == RefusalRow.log_index)
        .order_by(RefusalRow.log_index)
        .execution_options(yield_per=BATCH_ROWS)
    )
    for row, leaf in session.execute(statement):
        name = f"refusal {row.record_id}"
        try:
            expected = refusal_leaf(row_to_refusal(row))
        except (ProvenanceError, ValueError, TypeError, KeyError) as error:
            yield Problem(f"{name} cannot be read: {error}")
            continue
        yield from _compare(name, LeafKind.REFUSAL, leaf, expected)


def _compare(
    name: str, kind: LeafKind, leaf: LogLeafRow | None, expected: bytes
) -> Iterator[Problem]:
    if leaf is None:
        yield Problem(f"{name} has no leaf in the log")
    elif leaf.kind != kind:
        yield Problem(f"{name} points to log leaf {leaf.index}, which is of kind {leaf.kind}")
    elif leaf.data != expected:
        yield Problem(f"{name} does not say what log leaf {leaf.index} says it said")


def _check_leaves_without_row(session: Session) -> Iterator[Problem]:
    for kind, row in ((LeafKind.COMMIT, RecordRow), (LeafKind.REFUSAL, RefusalRow)):
        statement = (
            select(LogLeafRow.index)
            .outerjoin(row, row.log_index == LogLeafRow.index)
            .where(LogLeafRow.kind == kind.value, row.record_id.is_(None))
            .order_by(LogLeafRow.index)
        )
        for index in session.scalars(statement):
            yield Problem(f"log leaf {index} says {kind.value}, but its row is gone")


def _check_reservations(session: Session) -> Iterator[Problem]:
    pairs = (
        (ReservationState.COMMITTED, RecordRow, "record"),
        (ReservationState.REFUSED, RefusalRow, "refusal"),
    )
    for state, row, what in pairs:
        missing = row.record_id.is_(None)
        disagreeing = (
            select(ReservationRow.record_id, ReservationRow.state, missing)
            .outerjoin(row, row.record_id == ReservationRow.record_id)
            .where((ReservationRow.state == state.value) == missing)
        )
        for record_id, found, is_missing in session.execute(disagreeing):
            if is_missing:
                yield Problem(f"id {record_id} is {found}, but has no {what}")
            else:
                yield Problem(f"{what} {record_id} stands, but its id is {found}")


def _check_fingerprints(session: Session) -> Iterator[Problem]:
    for row, what in ((PerceptualHashRow, "perceptual hash"), (EmbeddingRow, "embedding")):
        statement = (
            select(row.record_id)
            .outerjoin(RecordRow, RecordRow.record_id == row.record_id)
            .where(RecordRow.record_id.is_(None) | (RecordRow.log_index != row.log_index))
        )
        for record_id in session.scalars(statement):
            yield Problem(f"the {what} of record {record_id} stands at another place of the log")
