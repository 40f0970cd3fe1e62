"""What an import adds to an entry that the registry has already.

Vectors of a space that was filled later, soft bindings that were added beside a manifest, small
pictures: the log does not say when they came, so an export that is read in again may hold more of
them than the registry. What is missing is added; nothing is replaced, and what differs is an error.

Kept inputs are never added to a known entry: that they are missing is the only trace of their
having been erased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from provenance.errors import InputError
from registry.serialise import VECTOR_DTYPE
from registry.tables import (
    Base,
    EmbeddingRow,
    KeptInputsRow,
    KeypointWordsRow,
    StoredBindingRow,
    StoredManifestRow,
)
from registry.transfer_rows import insert_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Table
    from sqlalchemy.orm import Session

__all__ = ["complete_entry"]

PLACES = frozenset({"log_index", "entry_index"})
"""Other ones in each registry."""
DERIVED = frozenset({KeypointWordsRow.__tablename__})
"""Made of another row here, by whatever version of its library there is: not compared."""
OWN = {StoredManifestRow.__tablename__: frozenset({"owner_key_id", "created_at"})}
"""Who gave a manifest to this registry, and when: its own matter, and not under the log."""
MIN_SAME_COSINE = 0.9999
"""Two machines, or two sizes of batch, round the same vector of the same picture otherwise in its
last bits (float32 matrix products: 1e-6; half precision: 1e-4)."""

_EMBEDDINGS = EmbeddingRow.__tablename__
_BINDINGS = Base.metadata.tables[StoredBindingRow.__tablename__]


def complete_entry(
    session: Session,
    rows: Sequence[tuple[Table, dict[str, Any]]],
    index: int,
    indexes: set[str],
) -> int:
    """Adds the rows that are missing here; answers how many.

    Args:
        session: In a transaction that writes and holds the log's lock.
        rows: The exported rows with their tables: the one that the entry's leaf speaks of, then
            those that hang on it.
        index: Place of the leaf here.
        indexes: Names of indexes that have to begin anew are added to it.

    Raises:
        InputError: A row is here, and says something else; names the entry and the field.
        ValueError: A row is none that an export holds.
    """
    if not rows or not _stands(session, rows[0][0], index):
        return 0
    added = 0
    _require_same_bindings(session, [values for table, values in rows if table is _BINDINGS])
    for table, values in rows:
        if table.name == KeptInputsRow.__tablename__:
            continue
        here = _find(session, table, values)
        if here is not None:
            if table.name not in DERIVED:
                _require_same(table, here, values)
            continue
        insert_row(session, table, values, index, {})
        added += 1
        # Its place in the log is an earlier one than caches have read up to.
        indexes |= {values[name] for name in ("space_id", "algorithm") if name in values}
    return added


def _stands(session: Session, parent: Table, index: int) -> bool:
    """Whether the entry's row is here: it may have been erased since."""
    column = parent.c.log_index
    return session.scalar(select(column).where(column == index)) is not None


def _find(session: Session, table: Table, values: Mapping[str, Any]) -> Mapping[Any, Any] | None:
    """The row with the same primary key."""
    same = [column == values[column.name] for column in table.primary_key.columns]
    return session.execute(select(table).where(*same)).mappings().one_or_none()


def _require_same(table: Table, here: Mapping[Any, Any], values: Mapping[str, Any]) -> None:
    left_out = PLACES | OWN.get(table.name, frozenset())
    if table.name == _EMBEDDINGS and not (here["of_record"] and values["of_record"]):
        _require_near(here, values)
        left_out |= {"vector", "of_record"}
    for column in table.columns:
        if column.name not in left_out and here[column.name] != values[column.name]:
            raise _contradiction(table, values, column.name)


def _require_near(here: Mapping[Any, Any], values: Mapping[str, Any]) -> None:
    """A vector that was computed here and there: the same, but for how it was rounded."""
    one, other = (np.frombuffer(row["vector"], dtype=VECTOR_DTYPE) for row in (here, values))
    same_length = len(one) == len(other) == here["dim"]
    # Written so that a vector of which a component is no number is not the same either.
    if not same_length or not float(one @ other) >= MIN_SAME_COSINE:
        table = Base.metadata.tables[_EMBEDDINGS]
        raise _contradiction(table, values, f"vector (space {values['space_id']})")


def _require_same_bindings(session: Session, exported: Sequence[Mapping[str, Any]]) -> None:
    """Soft bindings that were added to a manifest: of each algorithm one side has all the other's.

    Where each has some of its own, one of them may have replaced what the other still holds, and
    all of them must fit a picture.
    """
    added: dict[tuple[str, str], set[str]] = {}
    for row in exported:
        if not row["signed"]:
            added.setdefault((row["manifest_id"], row["alg"]), set()).add(row["value_sha256"])
    for (manifest_id, alg), values in added.items():
        statement = select(_BINDINGS.c.value_sha256).where(
            _BINDINGS.c.manifest_id == manifest_id,
            _BINDINGS.c.alg == alg,
            _BINDINGS.c.signed.is_(False),
        )
        here = set(session.scalars(statement))
        if not (here <= values or values <= here):
            row = {"manifest_id": manifest_id}
            raise _contradiction(_BINDINGS, row, f"value (of {alg})")


def _contradiction(table: Table, values: Mapping[str, Any], field: str) -> InputError:
    kind, name = ("record", "record_id") if "record_id" in values else ("manifest", "manifest_id")
    entry = f"{kind} {values[name]}" if name in values else f"an event of {values.get('target')}"
    return InputError(
        f"{entry} stands here with another {field} in {table.name} than in the export, so the "
        "two cannot become one; countermark audit, here and where the export was made, says "
        "which of the two was changed"
    )
