"""Copies a whole registry to another database, as from SQLite to PostgreSQL.

One snapshot is read and one transaction is written, so the target ends with all of it or with
nothing, and a copy that was interrupted is simply started again. Before the transaction ends,
every row is read back and the digests of both sides are compared.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, select, text

from provenance.errors import RegistryError, RegistryUnavailableError
from registry import migrate
from registry.engine import (
    describe_url,
    make_engine,
    stored_revision,
    translated_errors,
    writer,
)
from registry.index.hash_chunks import rebuild
from registry.tables import HEAD_REVISION, Base, HashChunkRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Connection, Engine, Row, Table

__all__ = ["CopiedTable", "copy_registry"]

BATCH_ROWS = 512
"""Rows in memory at once; a record can hold a megabyte of manifest."""

DERIVED = frozenset({HashChunkRow.__tablename__})
"""Made again at the target instead of being copied."""


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """What was copied of one table.

    Attributes:
        name: Of the table.
        rows: How many there are.
        sha256: Sum, modulo 2**256, of the SHA-256 of every row: the same on any database, in
            whatever order that answers its rows. Hex.
    """

    name: str
    rows: int
    sha256: str


def copy_registry(
    source_url: str,
    target_url: str,
    *,
    report: Callable[[CopiedTable], None] | None = None,
) -> tuple[CopiedTable, ...]:
    """Copies all tables, the log as it is; delivered bytes lie in files and are not touched.

    What is written to the source meanwhile is not copied: stop the service first.

    Args:
        source_url: A registry at the newest migration.
        target_url: A database without tables, or a registry without rows.
        report: Called after each table.

    Raises:
        ConfigError: A URL is unusable.
        RegistryError: The target is not empty, or a row came out other than it went in.
        RegistryUnavailableError: A database cannot be reached or written, or is at another
            migration.
    """
    source, target = make_engine(source_url), None
    try:
        _require_head(source, source_url)
        _prepare(target_url)
        target = make_engine(target_url)
        with (
            _snapshot(source) as reading,
            translated_errors(target_url),
            writer(target).begin() as writing,
        ):
            return _copy_tables(reading, writing, target_url, report)
    finally:
        source.dispose()
        if target is not None:
            target.dispose()


def _copy_tables(
    reading: Connection,
    writing: Connection,
    target_url: str,
    report: Callable[[CopiedTable], None] | None,
) -> tuple[CopiedTable, ...]:
    tables = [table for table in Base.metadata.sorted_tables if table.name not in DERIVED]
    _lock(writing, tables)
    _require_empty(writing, tables, target_url)
    copied = []
    for table in tables:
        sent = _describe(table, _copied(table, reading, writing))
        written = _describe(table, _rows(table, writing))
        if sent != written:
            raise RegistryError(
                f"table {table.name} of {describe_url(target_url)} does not hold what was copied "
                f"({written.rows} of {sent.rows} rows, or other contents), so nothing was kept; "
                "check that both databases take UTF-8 and run the copy again"
            )
        _set_sequence(table, writing)
        copied.append(sent)
        if report is not None:
            report(sent)
    rebuild(writing)
    return tuple(copied)


def _copied(table: Table, reading: Connection, writing: Connection) -> Iterator[Row[Any]]:
    """The source's rows, each written to the target when it comes by."""
    names = [column.name for column in table.columns]
    statement = select(table).execution_options(yield_per=BATCH_ROWS)
    with reading.execute(statement) as result:
        for rows in result.partitions():
            writing.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])
            yield from rows


def _rows(table: Table, connection: Connection) -> Iterator[Row[Any]]:
    with connection.execute(select(table).execution_options(yield_per=BATCH_ROWS)) as result:
        yield from result


def _describe(table: Table, rows: Iterable[Row[Any]]) -> CopiedTable:
    count = total = 0
    for row in rows:
        count += 1
        total += int.from_bytes(_digest(row), "big")
    return CopiedTable(table.name, count, f"{total % 2**256:064x}")


def _digest(row: Row[Any]) -> bytes:
    digest = hashlib.sha256()
    for value in row:
        kind, data = _encode(value)
        digest.update(kind + len(data).to_bytes(8, "big") + data)
    return digest.digest()


def _encode(value: Any) -> tuple[bytes, bytes]:
    """Kind and content of a value, the same whichever database it came from."""
    if value is None:
        return b"n", b""
    if isinstance(value, bytes):
        return b"b", value
    if isinstance(value, str):
        return b"s", value.encode()
    if isinstance(value, datetime):  # before date, of which it is a kind
        return b"t", value.astimezone(UTC).isoformat(timespec="microseconds").encode()
    if isinstance(value, date):
        return b"d", value.isoformat().encode()
    # Numbers, truth values and JSON documents; the order of a document's names counts.
    return b"j", json.dumps(value).encode()


def _require_head(engine: Engine, url: str) -> None:
    found = stored_revision(engine)
    if found != HEAD_REVISION:
        remedy = "check the address" if found is None else "run: countermark registry upgrade"
        raise RegistryUnavailableError(
            f"registry {describe_url(url)} is at migration {found or 'none'}, and can be copied "
            f"from {HEAD_REVISION} only; {remedy}"
        )


def _prepare(url: str) -> None:
    """Makes the target's tables, unless it has some."""
    found = migrate.current(url)
    if found is None:
        migrate.upgrade(url)
    elif found != HEAD_REVISION:
        raise RegistryError(
            f"{describe_url(url)} holds a registry at migration {found} already; "
            "name an empty database"
        )


def _require_empty(connection: Connection, tables: Iterable[Table], url: str) -> None:
    for table in tables:
        if connection.execute(select(table).limit(1)).first() is not None:
            raise RegistryError(
                f"{describe_url(url)} holds a registry already (table {table.name} has rows); "
                "name an empty database"
            )


def _lock(connection: Connection, tables: Iterable[Table]) -> None:
    """Keeps other writers out; SQLite's write lock does already."""
    if connection.dialect.name == "postgresql":
        names = ", ".join(table.name for table in tables)
        connection.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))


def _set_sequence(table: Table, connection: Connection) -> None:
    """Lets PostgreSQL count on after the highest number that was copied."""
    if connection.dialect.name != "postgresql":
        return
    for column in table.primary_key.columns:
        if not isinstance(column.type, Integer):
            continue
        name = connection.scalar(
            text("SELECT pg_get_serial_sequence(:table, :column)"),
            {"table": table.name, "column": column.name},
        )
        if name is not None:
            highest = select(column).order_by(column.desc()).limit(1)
            value = connection.scalar(highest)
            if value is not None:
                connection.execute(
                    text("SELECT setval(CAST(:name AS regclass), :value)"),
                    {"name": name, "value": value},
                )


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state, however much is written meanwhile."""
    with translated_errors(str(engine.url)), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        yield connection
