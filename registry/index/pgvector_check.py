"""Holds the tables of `registry.index.pgvector` against the rows that they were made from.

The tables are derived, but a search believes them: a code that is missing or was changed loses a
picture without a word. What the next search would begin anew anyway (the generation was counted up,
the log is another one) is no problem, except for vectors of what is no longer registered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, inspect, select, text

from provenance.errors import RegistryError
from registry.engine import writing
from registry.index.pgvector import (
    BATCH_ROWS,
    SCHEMA,
    Held,
    PgVectorIndex,
    is_valid,
    read_held,
    stored_forms,
    tables_of_space,
)
from registry.index.state import REBUILD, IndexState
from registry.index.vectors import decode_vectors
from registry.tables import EmbeddingRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

__all__ = ["check_tables", "rebuild_tables"]

_TABLE = re.compile(r"(codes|vectors)_[0-9a-f]{16}")
SENDS = ("bit_send(code)", "halfvec_send(vector)")
"""The values as COPY takes them, so that what was written can be compared byte by byte."""


def check_tables(session: Session, *, sample: int | None) -> Iterator[IndexState]:
    """How each space's tables stand to its rows; nothing where pgvector was never used.

    Args:
        session: Reading, of one state of the registry.
        sample: How many rows of each space are compared whole; None compares all. Missing rows and
            rows too many are always found.
    """
    known = _spaces(session)
    tables = _tables(session)
    for space_id in known:
        own = set(tables_of_space(space_id))
        yield _check_space(session, space_id, own, own & tables, sample)
        tables -= own
    for name in sorted(tables):
        problem = f"table {name} belongs to no space; it may hold vectors of what was erased"
        yield IndexState(f"pgvector {name}", 0, 0, f"{problem}; {REBUILD}")


def rebuild_tables(engine: Engine) -> None:
    """Fills all tables that there are anew, and drops those that belong to nothing.

    Raises:
        RegistryUnavailableError: The database cannot be reached or written.
    """
    with writing(engine) as session:
        spaces = _spaces(session)
        wanted = {name for space_id in spaces for name in tables_of_space(space_id)}
        for name in sorted(_tables(session) - wanted):
            session.execute(text(f"DROP TABLE {name}"))
    for space_id in spaces:
        PgVectorIndex(engine, space_id).rebuild()


def _spaces(session: Session) -> list[str]:
    """Spaces of which there are tables, or should be."""
    if session.get_bind().dialect.name != "postgresql":
        return []
    if session.scalar(text("SELECT to_regclass(:name)"), {"name": f"{SCHEMA}.spaces"}) is None:
        return []
    named = set(session.scalars(text(f"SELECT space_id FROM {SCHEMA}.spaces")))  # noqa: S608
    tables = _tables(session)
    row = EmbeddingRow
    for space_id in session.scalars(select(row.space_id).distinct()):
        if tables & set(tables_of_space(space_id)):
            named.add(space_id)
    return sorted(named)


def _tables(session: Session) -> set[str]:
    """All tables of codes and vectors, with the schema's name."""
    if session.get_bind().dialect.name != "postgresql":
        return set()
    names = inspect(session.connection()).get_table_names(schema=SCHEMA)
    return {f"{SCHEMA}.{one}" for one in names if _TABLE.fullmatch(one)}


def _check_space(
    session: Session, space_id: str, own: set[str], there: set[str], sample: int | None
) -> IndexState:
    name, row = f"pgvector {space_id}", EmbeddingRow
    rows = (
        session.scalar(select(func.count()).select_from(row).where(row.space_id == space_id)) or 0
    )
    held = read_held(session, space_id)
    if held is None or own != there:
        lost = ", ".join(sorted(own - there)) or f"the line of the space in {SCHEMA}.spaces"
        problem = f"{lost} is missing, so that searches of the space fail; {REBUILD}"
        return IndexState(name, rows, 0, problem)
    problem = _find_stray(session, space_id)
    if not problem and not is_valid(session, space_id, held):
        return IndexState(name, rows, 0)  # begun anew by the next search
    problem = problem or _find_missing(session, space_id, held)
    problem = problem or _find_changed(session, space_id, held, sample)
    indexed = session.scalar(text(f"SELECT count(*) FROM {tables_of_space(space_id)[0]}")) or 0  # noqa: S608
    return IndexState(name, rows, indexed, f"{problem}; {REBUILD}" if problem else "")


def _find_stray(session: Session, space_id: str) -> str:
    for table in tables_of_space(space_id):
        statement = text(
            f"SELECT count(*) FROM {table} AS t WHERE NOT EXISTS (SELECT 1 FROM embeddings AS e "  # noqa: S608
            "WHERE e.space_id = :space_id AND e.log_index = t.log_index)"
        )
        stray = session.scalar(statement, {"space_id": space_id}) or 0
        if stray:
            return f"{stray} rows of {table} are of no embedding: it was erased, or never was"
    return ""


def _find_missing(session: Session, space_id: str, held: Held) -> str:
    for table in tables_of_space(space_id):
        statement = text(
            "SELECT count(*) FROM embeddings AS e WHERE e.space_id = :space_id "  # noqa: S608
            f"AND e.log_index <= :last AND NOT EXISTS (SELECT 1 FROM {table} AS t "
            "WHERE t.log_index = e.log_index)"
        )
        values = {"space_id": space_id, "last": held.last_log_index}
        missing = session.scalar(statement, values) or 0
        if missing:
            return f"{missing} embeddings are missing in {table}, so that searches miss copies"
    return ""


def _find_changed(session: Session, space_id: str, held: Held, sample: int | None) -> str:
    try:
        for rows in _batches(session, space_id, held, sample):
            vectors = decode_vectors(space_id, [one[2] for one in rows], dim=held.dim)
            for table, send, (head, body) in zip(
                tables_of_space(space_id), SENDS, stored_forms(vectors), strict=True
            ):
                stored = _read_table(session, table, send, [one[0] for one in rows])
                for (index, record_id, _), value in zip(rows, body, strict=True):
                    if stored[index] != head.tobytes() + value.tobytes():
                        return (
                            f"{table} does not hold the embedding of record {record_id}, so that "
                            "searches miss its copies"
                        )
    except RegistryError as error:
        return str(error)
    return ""


def _read_table(
    session: Session, table: str, send: str, indexes: Sequence[int]
) -> dict[int, bytes]:
    statement = text(f"SELECT log_index, {send} FROM {table} WHERE log_index = ANY(:wanted)")  # noqa: S608
    rows = session.execute(statement, {"wanted": list(indexes)})
    return {index: bytes(value) for index, value in rows}


def _batches(
    session: Session, space_id: str, held: Held, sample: int | None
) -> Iterator[Sequence[Any]]:
    """(log index, record id, vector) of rows that the tables hold."""
    row = EmbeddingRow
    there = select(row.log_index).where(
        row.space_id == space_id, row.log_index <= held.last_log_index
    )
    if sample is None:
        there = there.order_by(row.log_index)
    else:
        there = there.order_by(func.random()).limit(sample)
    indexes = session.scalars(there).all()
    for start in range(0, len(indexes), BATCH_ROWS):
        some = indexes[start : start + BATCH_ROWS]
        yield session.execute(
            select(row.log_index, row.record_id, row.vector).where(
                row.space_id == space_id, row.log_index.in_(some)
            )
        ).all()
