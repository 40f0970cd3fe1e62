"""The log as its readers ask for it: signed heads, proofs, leaves.

A head is signed on a schedule and on demand, and kept. Before signing, the last signed head is held
against the log: a log that was rewritten since gets no signature, so that it never vouches for two
histories.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select, text

from provenance.errors import InputError, RecordNotFoundError, RegistryError
from provenance.keylines import make_key_lines
from provenance.types import EventKind, EventTarget
from registry.checkpoint import build_checkpoint
from registry.engine import reading, writing
from registry.log_proofs import (
    ConsistencyProof,
    InclusionProof,
    SignedHead,
    encode_head,
    log_id_of,
)
from registry.log_rows import (
    log_size,
    prove_consistency,
    prove_inclusion,
    read_root,
    signed_head_of,
)
from registry.tables import LogLeafRow, RecordRow, RefusalRow, RegistryEventRow, TreeHeadRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Engine, Select
    from sqlalchemy.orm import Session

    from provenance.types import RecordId
    from registry.checkpoint import Checkpoint

__all__ = ["Leaf", "LogKeys", "SignedLog", "open_log_keys"]

MAX_INDEX = 2**63 - 1
"""Of what databases hold; no log has so many leaves."""
MAX_LEAVES = 1000
"""Leaves in one answer: 400 kB."""

CHANGED = (
    "the log does not agree with the head of {size} leaves that was signed at {timestamp_ms}: it "
    "was rewritten, and no new head is signed; run: countermark audit"
)


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The keys that sign heads: current one first; older ones still verify."""

    keys: tuple[Ed25519PrivateKey, ...]

    @property
    def public(self) -> Mapping[str, bytes]:
        """Raw public keys by log id, the current one first."""
        raw = (key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) for key in self.keys)
        return {log_id_of(one): one for one in raw}

    @property
    def origin(self) -> str:
        """The log's name in checkpoints where the operator gave it none."""
        return f"countermark-log/{next(iter(self.public))[:16]}"

    def sign(self, size: int, timestamp_ms: int, root: bytes) -> SignedHead:
        """A head under the current key."""
        signature = self.keys[0].sign(encode_head(size, timestamp_ms, root))
        return SignedHead(size, timestamp_ms, root, next(iter(self.public)), signature)

    def sign_checkpoint(self, origin: str, size: int, root: bytes) -> Checkpoint:
        """The same state as a C2SP checkpoint under the current key.

        What is signed begins with a name there and with a zero byte here, so that neither
        signature can be taken for the other.
        """
        public = next(iter(self.public.values()))
        return build_checkpoint(origin, size, root, public, self.keys[0].sign)


def open_log_keys(path: Path) -> LogKeys:
    """The log's keys; made on first use, readable by their owner alone.

    Raises:
        ConfigError: The key file is unusable.
        DeliveryError: It cannot be written.
    """
    seeds = make_key_lines(path, what="log key", random_bytes=secrets.token_bytes)
    return LogKeys(tuple(Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf as it stands in the log."""

    index: int
    kind: str
    data: bytes
    leaf_hash: bytes


class SignedLog:
    """Answers heads, proofs and leaves of one registry.

    Every method raises `RegistryUnavailableError` when the database cannot be reached.

    Args:
        engine: Of a registry at the newest migration.
        keys: The log's keys.
        clock: Answers the time in UTC.
    """

    def __init__(
        self,
        engine: Engine,
        keys: LogKeys,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._clock = clock

    @property
    def keys(self) -> LogKeys:
        """The log's keys."""
        return self._keys

    def head(self) -> SignedHead:
        """The newest signed head; signs one when there is none yet."""
        return self.newest_head() or self.sign()

    def newest_head(self) -> SignedHead | None:
        """The newest signed head, if there is one."""
        with reading(self._engine) as session:
            row = session.scalar(_newest_head())
            return None if row is None else signed_head_of(row)

    def heads_after(self, timestamp_ms: int) -> Sequence[SignedHead]:
        """Heads that were signed later than that, oldest first."""
        statement = (
            select(TreeHeadRow)
            .where(TreeHeadRow.timestamp_ms > timestamp_ms)
            .order_by(TreeHeadRow.timestamp_ms)
        )
        with reading(self._engine) as session:
            return [signed_head_of(row) for row in session.scalars(statement)]

    def checkpoint(self, head: SignedHead, origin: str) -> Checkpoint:
        """A signed head as a C2SP checkpoint of the log `origin`."""
        return self._keys.sign_checkpoint(origin, head.size, head.root)

    def sign(self) -> SignedHead:
        """Signs the log as it stands now, and keeps the head.

        Raises:
            RegistryError: The log was rewritten since the last signed head.
        """
        return self._sign(older_than_s=None)

    def sign_if_due(self, every_s: float) -> SignedHead:
        """Signs when the newest head is older than that; answers the newest head.

        Of several processes that ask at once one signs.

        Raises:
            RegistryError: As for `sign`.
        """
        return self._sign(older_than_s=every_s)

    def prove_record(self, record_id: RecordId, *, size: int | None = None) -> InclusionProof:
        """That a record's leaf (or a refusal's) stands in the log, erased or not.

        Args:
            record_id: The record.
            size: Of a signed head that the asker holds; None takes the newest that covers it.

        Raises:
            RecordNotFoundError: There never was one.
            InputError: No head of that size was signed, or it does not reach the leaf.
        """
        with reading(self._engine) as session:
            index = _find_entry(session, record_id)
        return self.prove_leaf(index, size=size)

    def prove_leaf(self, index: int, *, size: int | None = None) -> InclusionProof:
        """As `prove_record`, for a leaf by its place."""
        head = self._head_over(index + 1, size)
        with reading(self._engine) as session:
            path = prove_inclusion(session, index, head.size)
            data = session.scalar(select(LogLeafRow.data).where(LogLeafRow.index == index))
        return InclusionProof(data or b"", index, path, head)

    def prove_growth(self, first: int, second: int | None = None) -> ConsistencyProof:
        """That the log at `second` leaves (None: the newest head) begins with that of `first`.

        Raises:
            InputError: No head of `second` leaves was signed, or the sizes do not follow.
        """
        head = self._head_over(first, second)
        with reading(self._engine) as session:
            path = prove_consistency(session, first, head.size)
        return ConsistencyProof(first, path, head)

    def root_at(self, size: int) -> bytes | None:
        """Root of the first `size` leaves as the log stands now; None when it has fewer."""
        with reading(self._engine) as session:
            return read_root(session, size) if size <= log_size(session) else None

    def leaves(self, start: int, limit: int) -> Sequence[Leaf]:
        """Leaves from `start` on, at most `limit` and `MAX_LEAVES`, in order."""
        if start < 0 or limit < 1:
            raise InputError(f"start {start} must be at least 0, and limit {limit} at least 1")
        if start > MAX_INDEX:
            return []
        statement = (
            select(LogLeafRow)
            .where(LogLeafRow.index >= start)
            .order_by(LogLeafRow.index)
            .limit(min(limit, MAX_LEAVES))
        )
        with reading(self._engine) as session:
            return [
                Leaf(row.index, row.kind, row.data, row.leaf_hash)
                for row in session.scalars(statement)
            ]

    def _head_over(self, leaves: int, size: int | None) -> SignedHead:
        """A signed head of `size` leaves, or the newest if it holds `leaves`, or a new one."""
        if size is None:
            head = self.head()
            if head.size >= leaves or not self._has(leaves):  # no head is signed for nonsense
                return head
            return self.sign()
        statement = (
            select(TreeHeadRow)
            .where(TreeHeadRow.size == size)
            .order_by(TreeHeadRow.timestamp_ms.desc())
            .limit(1)
        )
        if size <= MAX_INDEX:
            with reading(self._engine) as session:
                row = session.scalar(statement)
                if row is not None:
                    return signed_head_of(row)
        raise InputError(
            f"no head of {size} leaves was signed; leave the size out, or take that of a head "
            "that you hold"
        )

    def _has(self, leaves: int) -> bool:
        with reading(self._engine) as session:
            return leaves <= log_size(session)

    def _sign(self, *, older_than_s: float | None) -> SignedHead:
        with writing(self._engine) as session:
            if self._engine.dialect.name == "postgresql":
                session.execute(text("LOCK TABLE tree_heads IN EXCLUSIVE MODE"))
            newest = session.scalar(_newest_head())
            last = None if newest is None else signed_head_of(newest)
            now_ms = int(self._clock().timestamp() * 1000)
            if last is not None:
                if older_than_s is not None and now_ms - last.timestamp_ms < older_than_s * 1000:
                    return last
                _require_same_history(session, last)
                now_ms = max(now_ms, last.timestamp_ms + 1)  # clocks are set back; heads are not
            size = log_size(session)
            head = self._keys.sign(size, now_ms, read_root(session, size))
            session.add(
                TreeHeadRow(
                    timestamp_ms=head.timestamp_ms,
                    size=head.size,
                    root=head.root,
                    log_id=head.log_id,
                    signature=head.signature,
                )
            )
        return head


def _newest_head() -> Select[TreeHeadRow]:
    return select(TreeHeadRow).order_by(TreeHeadRow.timestamp_ms.desc()).limit(1)


def _require_same_history(session: Session, last: SignedHead) -> None:
    if last.size > log_size(session) or read_root(session, last.size) != last.root:
        raise RegistryError(CHANGED.format(size=last.size, timestamp_ms=last.timestamp_ms))


def _find_entry(session: Session, record_id: RecordId) -> int:
    """The leaf of a record or refusal."""
    statements = (
        select(RecordRow.log_index).where(RecordRow.record_id == record_id),
        select(RefusalRow.log_index).where(RefusalRow.record_id == record_id),
        select(RegistryEventRow.entry_index).where(
            RegistryEventRow.kind == EventKind.ERASURE.value,
            RegistryEventRow.target_kind == EventTarget.RECORD.value,
            RegistryEventRow.target == record_id,
        ),
    )
    for statement in statements:
        index = session.scalar(statement)
        if index is not None:
            return index
    raise RecordNotFoundError(f"no record or refusal {record_id} in this registry; check the id")
