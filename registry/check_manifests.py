"""Whether manifests of other makers and the log still belong together; part of `registry.check`."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import undefer

from registry.audit import Code, Problem
from registry.log import LeafKind, manifest_leaf
from registry.tables import LogLeafRow, StoredManifestRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

__all__ = ["find_manifest_problems"]

_BATCH_ROWS = 64
"""In memory at once; a manifest can have megabytes."""


def find_manifest_problems(session: Session) -> Iterator[Problem]:
    """One for each stored manifest, or leaf about one, that does not fit."""
    standing: set[int] = set()
    statement = (
        select(StoredManifestRow, LogLeafRow)
        .outerjoin(LogLeafRow, LogLeafRow.index == StoredManifestRow.log_index)
        .options(undefer(StoredManifestRow.store))
        .order_by(StoredManifestRow.log_index)
        .execution_options(yield_per=_BATCH_ROWS)
    )
    for row, leaf in session.execute(statement):
        standing.add(row.log_index)
        digest = hashlib.sha256(row.store).hexdigest()
        expected = manifest_leaf(
            LeafKind.MANIFEST_STORED, manifest_id=row.manifest_id, store_sha256=digest
        )
        if digest != row.store_sha256:
            yield Problem(
                Code.ROW_CHANGED,
                f"stored manifest {row.manifest_id} does not have its stored digest",
            )
        elif not _says(leaf, expected):
            yield Problem(
                Code.ROW_CHANGED, f"stored manifest {row.manifest_id} is not what its log leaf says"
            )
    yield from _find_missing_rows(session, standing)


def _says(leaf: LogLeafRow | None, expected: bytes) -> bool:
    return leaf is not None and leaf.data == expected


def _find_missing_rows(session: Session, standing: set[int]) -> Iterator[Problem]:
    kinds = (LeafKind.MANIFEST_STORED, LeafKind.MANIFEST_DELETED)
    open_leaves: dict[str, int] = {}
    for leaf in session.scalars(
        select(LogLeafRow)
        .where(LogLeafRow.kind.in_(kinds))
        .order_by(LogLeafRow.index)
        .execution_options(yield_per=_BATCH_ROWS)
    ):
        manifest = str(json.loads(leaf.data)["manifest_id_sha256"])
        if leaf.kind == LeafKind.MANIFEST_STORED:
            open_leaves[manifest] = leaf.index
        else:
            open_leaves.pop(manifest, None)
    for index in open_leaves.values():
        if index not in standing:
            yield Problem(
                Code.ROW_MISSING,
                f"log leaf {index} says that a manifest was stored, but its row is gone",
            )
