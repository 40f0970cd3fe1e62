"""The log in its table: appending a leaf, and the proofs that its rows give.

Appending and proving read a few dozen rows however long the log is: a complete subtree's hash
stands in the row of its last leaf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select, text

from provenance.errors import RegistryError
from provenance.types import LogHead
from registry.log_proofs import SignedHead
from registry.merkle import (
    HASH_BYTES,
    Node,
    completed_nodes,
    fold,
    hash_leaf,
    plan_consistency,
    plan_inclusion,
    plan_root,
    solve,
)
from registry.tables import LogLeafRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.orm import Session

    from registry.log import LeafKind
    from registry.tables import TreeHeadRow

__all__ = [
    "append_leaf",
    "lock_log",
    "log_size",
    "prove_consistency",
    "prove_inclusion",
    "read_head",
    "read_root",
    "signed_head_of",
]


def lock_log(session: Session | Connection) -> None:
    """Lets one transaction at a time append, as SQLite does anyway; readers are not stopped.

    Whoever writes or deletes what stands behind leaves (records, fingerprints) holds it too.
    """
    dialect = session.dialect if isinstance(session, Connection) else session.get_bind().dialect
    if dialect.name == "postgresql":
        session.execute(text("LOCK TABLE log_leaves IN EXCLUSIVE MODE"))


def append_leaf(session: Session, kind: LeafKind, data: bytes) -> tuple[int, LogHead]:
    """Appends one leaf within the caller's transaction; answers its index and the new head."""
    lock_log(session)
    index = log_size(session)
    own = hash_leaf(data)
    peaks = _hashes_in_order(session, plan_root(index))
    made = completed_nodes(index, own, peaks)
    session.add(
        LogLeafRow(index=index, kind=kind.value, data=data, leaf_hash=own, subtrees=b"".join(made))
    )
    session.flush()
    kept = peaks[: len(peaks) - len(made)]
    root = fold([*kept, made[-1] if made else own])
    return index, LogHead(size=index + 1, digest=root.hex())


def log_size(session: Session) -> int:
    """Number of leaves."""
    last = session.scalar(select(func.max(LogLeafRow.index)))
    return 0 if last is None else last + 1


def read_head(session: Session) -> LogHead:
    """Size and root of the whole log."""
    size = log_size(session)
    return LogHead(size=size, digest=read_root(session, size).hex())


def read_root(session: Session, size: int) -> bytes:
    """Root of the tree over the first `size` leaves.

    Raises:
        RegistryError: The rows do not hold them.
    """
    return fold(_hashes_in_order(session, plan_root(size)))


def prove_inclusion(session: Session, index: int, size: int) -> tuple[bytes, ...]:
    """The path from leaf `index` to the root of the first `size` leaves.

    Raises:
        InputError: There is no such leaf in a tree of that size.
        RegistryError: The rows do not hold it.
    """
    plan = plan_inclusion(index, size)
    return solve(plan, _hashes(session, (node for nodes in plan for node in nodes)).__getitem__)


def prove_consistency(session: Session, first: int, second: int) -> tuple[bytes, ...]:
    """The path that shows the first `second` leaves to begin with the first `first`.

    Raises:
        InputError: The sizes are no two states of one log.
        RegistryError: The rows do not hold them.
    """
    plan = plan_consistency(first, second)
    return solve(plan, _hashes(session, (node for nodes in plan for node in nodes)).__getitem__)


def signed_head_of(row: TreeHeadRow) -> SignedHead:
    """A stored signed head."""
    return SignedHead(row.size, row.timestamp_ms, row.root, row.log_id, row.signature)


def _hashes_in_order(session: Session, nodes: tuple[Node, ...]) -> list[bytes]:
    found = _hashes(session, nodes)
    return [found[node] for node in nodes]


def _hashes(session: Session, nodes: Iterable[Node]) -> Mapping[Node, bytes]:
    """Stored hashes of complete subtrees, in one query."""
    wanted = {node: node.last_leaf for node in nodes}
    if not wanted:
        return {}
    rows = {
        index: (leaf_hash, subtrees)
        for index, leaf_hash, subtrees in session.execute(
            select(LogLeafRow.index, LogLeafRow.leaf_hash, LogLeafRow.subtrees).where(
                LogLeafRow.index.in_(sorted(set(wanted.values())))
            )
        )
    }
    return {node: _hash_of(node, rows.get(index)) for node, index in wanted.items()}


def _hash_of(node: Node, row: tuple[bytes, bytes] | None) -> bytes:
    if row is not None:
        leaf_hash, subtrees = row
        end = node.level * HASH_BYTES
        found = leaf_hash if node.level == 0 else subtrees[end - HASH_BYTES : end]
        if len(found) == HASH_BYTES:
            return found
    raise RegistryError(
        f"log leaf {node.last_leaf} is missing or was changed, so nothing can be proven with it; "
        "run: countermark audit"
    )
