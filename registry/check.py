"""Whether reservations, records, refusals, events and log leaves still belong together.

Everything is recomputed: each leaf's hash and the tree over all of them, and each leaf again from
the row that it stands for. So a row that was changed, added or taken away by hand is found, as long
as the log was not rewritten with it. A rewritten log disagrees with every head that was signed
before, those of its own table and those that somebody kept elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import aliased

from provenance.errors import ProvenanceError
from provenance.types import EventKind, LogHead
from registry.audit import Code, Problem
from registry.check_manifests import find_manifest_problems
from registry.engine import snapshot
from registry.log import LeafKind, commit_leaf, event_leaf, refusal_leaf
from registry.log_proofs import verify_head
from registry.log_rows import signed_head_of
from registry.merkle import fold, hash_children, hash_leaf
from registry.serialise import row_to_event, row_to_record, row_to_refusal
from registry.tables import (
    EmbeddingRow,
    LogLeafRow,
    PerceptualHashRow,
    RecordRow,
    RefusalRow,
    RegistryEventRow,
    ReservationRow,
    ReservationState,
    TreeHeadRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Engine, Select
    from sqlalchemy.orm import Session

__all__ = ["ConsistencyReport", "Problem", "check_consistency"]

BATCH_ROWS = 256
"""Rows in memory at once; a record can hold a megabyte of manifest."""


@dataclass(frozen=True, slots=True)
class ConsistencyReport:
    """What `check_consistency` counted and found.

    Attributes:
        records: Delivered pictures.
        refusals: Pictures that were not delivered.
        events: What the operator did later.
        signed_heads: Signed heads of the log.
        open_reservations: Ids that wait for their picture.
        expired_reservations: Ids whose picture never came, e.g. of a process that was killed;
            they are harmless.
        head: Recomputed from the leaves; worth keeping elsewhere.
        problems: Empty when all is in order.
    """

    records: int
    refusals: int
    events: int
    signed_heads: int
    open_reservations: int
    expired_reservations: int
    head: LogHead
    problems: tuple[Problem, ...]


def check_consistency(
    engine: Engine, *, now: datetime, log_keys: Mapping[str, bytes] | None = None
) -> ConsistencyReport:
    """Checks every row and every leaf; reads only.

    Args:
        engine: Of a registry at the newest migration.
        now: Current time, UTC: tells open reservations from expired ones.
        log_keys: Public keys of the log by log id, raw Ed25519; None checks no signature.

    Raises:
        RegistryUnavailableError: The database cannot be reached.
    """
    with snapshot(engine) as session:
        problems: list[Problem] = []
        head = _check_log(session, problems, log_keys)
        problems += _check_records(session)
        problems += _check_refusals(session)
        problems += _check_events(session)
        problems += _check_leaves_without_row(session)
        problems += _check_reservations(session)
        problems += _check_fingerprints(session)
        problems += find_manifest_problems(session)
        open_ones = ReservationRow.state == ReservationState.RESERVED.value
        return ConsistencyReport(
            records=_count(session, RecordRow),
            refusals=_count(session, RefusalRow),
            events=_count(session, RegistryEventRow),
            signed_heads=_count(session, TreeHeadRow),
            open_reservations=_count(
                session, ReservationRow, open_ones & (ReservationRow.expires_at > now)
            ),
            expired_reservations=_count(
                session, ReservationRow, open_ones & (ReservationRow.expires_at <= now)
            ),
            head=head,
            problems=tuple(problems),
        )


def _count(
    session: Session,
    row: type[RecordRow | RefusalRow | ReservationRow | RegistryEventRow | TreeHeadRow],
    *where: ColumnElement[bool],
) -> int:
    return session.scalar(select(func.count()).select_from(row).where(*where)) or 0


def _check_log(
    session: Session, problems: list[Problem], log_keys: Mapping[str, bytes] | None
) -> LogHead:
    heads = _SignedHeads(session, log_keys)
    tree, size = _GrowingTree(), 0
    statement = select(
        LogLeafRow.index, LogLeafRow.data, LogLeafRow.leaf_hash, LogLeafRow.subtrees
    ).order_by(LogLeafRow.index)
    problems += heads.at(0, tree.root)
    for index, data, leaf_hash, subtrees in session.execute(
        statement.execution_options(yield_per=BATCH_ROWS)
    ):
        if index != size:
            problems.append(
                Problem(Code.LEAF_MISSING, f"log leaves {size} to {index - 1} are missing")
            )
            return LogHead(size=size, digest=tree.root.hex())  # no tree stands over a gap
        if hash_leaf(data) != leaf_hash:
            problems.append(
                Problem(Code.LEAF_CHANGED, f"log leaf {index} does not have its stored hash")
            )
        # Of the stored hash: then a changed leaf is told once, not at every subtree above it too.
        if tree.grow(leaf_hash) != subtrees:
            problems.append(Problem(Code.TREE_CHANGED, f"the log's tree breaks at leaf {index}"))
        size += 1
        problems += heads.at(size, tree.root)
    problems += heads.beyond(size)
    return LogHead(size=size, digest=tree.root.hex())


class _GrowingTree:
    """The complete subtrees of the leaves so far, computed anew."""

    def __init__(self) -> None:
        self._peaks: list[tuple[int, bytes]] = []

    @property
    def root(self) -> bytes:
        return fold([one for _, one in self._peaks])

    def grow(self, leaf_hash: bytes) -> bytes:
        """Answers the subtrees that this leaf completes."""
        level, current, made = 0, leaf_hash, b""
        while self._peaks and self._peaks[-1][0] == level:
            current = hash_children(self._peaks.pop()[1], current)
            level += 1
            made += current
        self._peaks.append((level, current))
        return made


class _SignedHeads:
    """The signed heads, to be held against the tree as it is computed anew."""

    def __init__(self, session: Session, log_keys: Mapping[str, bytes] | None) -> None:
        self._rows: dict[int, list[TreeHeadRow]] = {}
        self._log_keys = log_keys
        for row in session.scalars(select(TreeHeadRow).order_by(TreeHeadRow.timestamp_ms)):
            self._rows.setdefault(row.size, []).append(row)

    def at(self, size: int, root: bytes) -> Iterator[Problem]:
        for row in self._rows.pop(size, ()):
            name = f"the signed head of {row.size} leaves (timestamp {row.timestamp_ms})"
            if row.root != root:
                yield Problem(
                    Code.HEAD_DISAGREES, f"{name} has another root than the log: it was rewritten"
                )
            if self._log_keys is None:
                continue
            key = self._log_keys.get(row.log_id)
            if key is None:
                yield Problem(
                    Code.HEAD_FORGED, f"{name} is of log key {row.log_id}, which is none of ours"
                )
            elif not verify_head(signed_head_of(row), key):
                yield Problem(Code.HEAD_FORGED, f"{name} has a false signature")

    def beyond(self, size: int) -> Iterator[Problem]:
        """Heads of more leaves than there are: the log was cut."""
        for signed in sorted(self._rows):
            yield Problem(
                Code.HEAD_DISAGREES,
                f"a head of {signed} leaves was signed, but the log has {size}: it was cut",
            )


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
            yield Problem(Code.ROW_CHANGED, f"{name} cannot be read: {error}")
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
            yield Problem(Code.ROW_CHANGED, f"{name} cannot be read: {error}")
            continue
        yield from _compare(name, LeafKind.REFUSAL, leaf, expected)


def _compare(
    name: str, kind: LeafKind, leaf: LogLeafRow | None, expected: bytes
) -> Iterator[Problem]:
    if leaf is None:
        yield Problem(Code.LEAF_MISSING, f"{name} has no leaf in the log")
    elif leaf.kind != kind:
        yield Problem(
            Code.ROW_CHANGED,
            f"{name} points to log leaf {leaf.index}, which is of kind {leaf.kind}",
        )
    elif leaf.data != expected:
        yield Problem(
            Code.ROW_CHANGED, f"{name} does not say what log leaf {leaf.index} says it said"
        )


def _check_events(session: Session) -> Iterator[Problem]:
    entry_leaf = aliased(LogLeafRow)
    statement = (
        select(RegistryEventRow, LogLeafRow, entry_leaf.leaf_hash)
        .outerjoin(LogLeafRow, LogLeafRow.index == RegistryEventRow.log_index)
        .outerjoin(entry_leaf, entry_leaf.index == RegistryEventRow.entry_index)
        .order_by(RegistryEventRow.log_index)
        .execution_options(yield_per=BATCH_ROWS)
    )
    for row, leaf, entry_hash in session.execute(statement):
        name = f"event {row.log_index} ({row.kind} of {row.target_kind} {row.target})"
        try:
            event = row_to_event(row)
        except ValueError as error:
            yield Problem(Code.ROW_CHANGED, f"{name} cannot be read: {error}")
            continue
        expected = event_leaf(event, entry_hash=entry_hash)
        yield from _compare(name, LeafKind(row.kind), leaf, expected)


def _erased_entries() -> Select[int | None]:
    """The leaves whose rows were erased, as the log says."""
    return select(RegistryEventRow.entry_index).where(
        RegistryEventRow.kind == EventKind.ERASURE.value,
        RegistryEventRow.entry_index.is_not(None),
    )


def _check_leaves_without_row(session: Session) -> Iterator[Problem]:
    rows: Sequence[tuple[tuple[LeafKind, ...], type[RecordRow | RefusalRow | RegistryEventRow]]]
    rows = (
        ((LeafKind.COMMIT,), RecordRow),
        ((LeafKind.REFUSAL,), RefusalRow),
        (tuple(LeafKind(kind) for kind in EventKind), RegistryEventRow),
    )
    for kinds, row in rows:
        statement = (
            select(LogLeafRow.index, LogLeafRow.kind)
            .outerjoin(row, row.log_index == LogLeafRow.index)
            .where(
                LogLeafRow.kind.in_([kind.value for kind in kinds]),
                row.log_index.is_(None),
                LogLeafRow.index.not_in(_erased_entries()),
            )
            .order_by(LogLeafRow.index)
        )
        for index, kind in session.execute(statement):
            yield Problem(Code.ROW_MISSING, f"log leaf {index} says {kind}, but its row is gone")
    for row in (RecordRow, RefusalRow):
        back = select(row.record_id).where(row.log_index.in_(_erased_entries()))
        for record_id in session.scalars(back):
            yield Problem(
                Code.ERASED_STANDS,
                f"{record_id} was erased, but its row stands again",
                "a backup from before was restored over it; run: countermark registry erase "
                f"{record_id}",
            )


def _check_reservations(session: Session) -> Iterator[Problem]:
    erased = select(RegistryEventRow.target).where(RegistryEventRow.kind == EventKind.ERASURE.value)
    pairs = (
        (ReservationState.COMMITTED, RecordRow, "record"),
        (ReservationState.REFUSED, RefusalRow, "refusal"),
    )
    for state, row, what in pairs:
        missing = row.record_id.is_(None)
        disagreeing = (
            select(ReservationRow.record_id, ReservationRow.state, missing)
            .outerjoin(row, row.record_id == ReservationRow.record_id)
            .where(
                (ReservationRow.state == state.value) == missing,
                ReservationRow.record_id.not_in(erased),
            )
        )
        for record_id, found, is_missing in session.execute(disagreeing):
            if is_missing:
                yield Problem(Code.ROW_MISSING, f"id {record_id} is {found}, but has no {what}")
            else:
                yield Problem(
                    Code.RESERVATION_CHANGED, f"{what} {record_id} stands, but its id is {found}"
                )


def _check_fingerprints(session: Session) -> Iterator[Problem]:
    for row, what in ((PerceptualHashRow, "perceptual hash"), (EmbeddingRow, "embedding")):
        statement = (
            select(row.record_id)
            .outerjoin(RecordRow, RecordRow.record_id == row.record_id)
            .where(RecordRow.record_id.is_(None) | (RecordRow.log_index != row.log_index))
        )
        for record_id in session.scalars(statement):
            yield Problem(
                Code.ROW_CHANGED,
                f"the {what} of record {record_id} stands at another place of the log",
            )
