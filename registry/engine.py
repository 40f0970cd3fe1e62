"""Database engines, and the translation of database errors into ours.

SQLite runs in WAL mode: readers never wait for the writer, and the one writer at a time takes the
write lock with its first statement (``BEGIN IMMEDIATE``). A transaction that reads first and asks
for the lock later can fail at once, whatever the time-out, when another one wrote in between.

Source: SQLite documentation, "Isolation In SQLite" and "Write-Ahead Logging"; SQLAlchemy 2.1,
SQLite dialect, "Using SQLAlchemy to emit BEGIN in lieu of SQLite's transaction control".
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from provenance.errors import BackendUnavailableError, ConfigError, RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

__all__ = [
    "DEFAULT_BUSY_TIMEOUT_S",
    "REWRITTEN_UP_TO_BYTES",
    "describe_url",
    "make_engine",
    "make_migration_engine",
    "overwrite_deleted",
    "parse_url",
    "reading",
    "snapshot",
    "sqlite_file",
    "stored_revision",
    "translated_errors",
    "writer",
    "writing",
]

DEFAULT_BUSY_TIMEOUT_S = 10.0
"""A commit takes milliseconds; ten seconds outlast a long queue of writers and a slow disk."""
REWRITTEN_UP_TO_BYTES = 64 * 2**20
"""Writing a file anew takes a few milliseconds a megabyte, in which nobody else can write."""


class _SqliteMode(StrEnum):
    """The ``mode`` of a SQLite URI."""

    SERVING = "rw"
    MIGRATING = "rwc"


_WRITER_OPTION = "countermark_writer"

_UPGRADE = "run: countermark registry upgrade"


def parse_url(url: str) -> URL:
    """Returns `url` parsed.

    Raises:
        ConfigError: It is no database URL, names no SQLite file, or another kind of database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            # Not repeated here: what cannot be parsed may hold a password.
            "registry.url is no database URL; "
            "write sqlite:////absolute/path.sqlite3 or postgresql://user@host/database"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "postgresql" and parsed.drivername == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend not in {"sqlite", "postgresql"}:
        raise ConfigError(
            f"registry url names {backend!r}; the registry runs on sqlite and on postgresql"
        )
    if backend == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigError(
            f"registry url {url!r} names no file, so each connection would see a database of its "
            "own; write sqlite:////absolute/path.sqlite3"
        )
    return parsed


def describe_url(url: str) -> str:
    """Names the database for people, without a password."""
    parsed = parse_url(url)
    file = sqlite_file(url)
    return str(file) if file else parsed.render_as_string(hide_password=True)


def sqlite_file(url: str) -> Path | None:
    """The file behind a SQLite URL; None for a server."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database is None:
        return None
    if parsed.database.startswith("file:"):
        return Path(unquote(parsed.database.removeprefix("file:")))
    return Path(parsed.database).absolute()


def make_engine(url: str, *, busy_timeout_s: float = DEFAULT_BUSY_TIMEOUT_S) -> Engine:
    """An engine on an existing database; a missing SQLite file stays missing.

    An engine belongs to one process: make a new one after a fork.

    Args:
        url: SQLAlchemy URL of SQLite (a file) or PostgreSQL (psycopg).
        busy_timeout_s: How long to wait for another writer, seconds.

    Raises:
        ConfigError: The URL is unusable.
        BackendUnavailableError: The database driver is not installed.
    """
    return _make_engine(url, sqlite_mode=_SqliteMode.SERVING, busy_timeout_s=busy_timeout_s)


def make_migration_engine(url: str, *, busy_timeout_s: float = DEFAULT_BUSY_TIMEOUT_S) -> Engine:
    """An engine for migrations: makes a missing SQLite file, and enforces no foreign keys there.

    Otherwise as `make_engine`.
    """
    return _make_engine(url, sqlite_mode=_SqliteMode.MIGRATING, busy_timeout_s=busy_timeout_s)


def _make_engine(url: str, *, sqlite_mode: _SqliteMode, busy_timeout_s: float) -> Engine:
    parsed = parse_url(url)
    file = sqlite_file(url)
    if file is not None:
        # As a URI, SQLite can be told not to make a missing file; a plain path always makes it.
        parsed = parsed.set(
            database=f"file:{quote(str(file))}", query={"mode": sqlite_mode.value, "uri": "true"}
        )
    try:
        # Parameters hold prompts, and an error's text may reach the log.
        engine = sa.create_engine(parsed, pool_pre_ping=file is None, hide_parameters=True)
    except (NoSuchModuleError, ImportError) as error:
        raise BackendUnavailableError(
            f"the driver of {parsed.drivername} is not installed; "
            "install it with: pip install 'countermark[postgres]'"
        ) from error
    if file is not None:
        _set_up_sqlite(engine, busy_timeout_s, sqlite_mode)
    else:
        _set_up_postgresql(engine, busy_timeout_s)
    return engine


def _set_up_sqlite(engine: Engine, busy_timeout_s: float, mode: _SqliteMode) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        raw: Any = connection
        # NOTE: sqlite3 itself begins no transaction before SELECT and DDL; we send every BEGIN.
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
        # A migration that copies a table drops the old one under its children, and checks at the
        # end. Like the journal mode, this cannot change within a transaction.
        serving = mode is _SqliteMode.SERVING
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if serving else 'OFF'}")
        # FULL, not NORMAL: a commit that power loss can undo would leave a delivered picture
        # without its record.
        cursor.execute("PRAGMA synchronous = FULL")
        # What is deleted, prompts of jobs or erased inputs, is overwritten and not merely unlinked.
        cursor.execute("PRAGMA secure_delete = ON")
        if not serving:
            # A property of the file from then on.
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITER_OPTION, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _set_up_postgresql(engine: Engine, busy_timeout_s: float) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        raw: Any = connection
        with raw.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {int(busy_timeout_s * 1000)}")
        raw.commit()


def writer(engine: Engine) -> Engine:
    """The same engine and pool, whose transactions take SQLite's write lock when they begin."""
    return engine.execution_options(**{_WRITER_OPTION: True})


def stored_revision(engine: Engine) -> str | None:
    """The migration that the tables are at; None for an empty database or a missing SQLite file.

    Raises:
        RegistryUnavailableError: The database cannot be reached or is none.
    """
    url = str(engine.url)
    file = sqlite_file(url)
    if file is not None and not _exists(file):
        return None
    with translated_errors(url), engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return found


@contextmanager
def translated_errors(url: str) -> Iterator[None]:
    """Lets no exception of SQLAlchemy or of a driver leave the block.

    Raises:
        RegistryUnavailableError: Instead of any of them; says what is wrong and what to do.
    """
    try:
        yield
    except DBAPIError as error:
        raise RegistryUnavailableError(_explain(url, error)) from error
    except PoolTimeoutError as error:
        raise RegistryUnavailableError(
            f"registry {describe_url(url)}: all database connections of this process are in use; "
            "send fewer requests at once"
        ) from error
    except SQLAlchemyError as error:
        raise RegistryUnavailableError(
            f"registry {describe_url(url)} cannot be used: {error}"
        ) from error


def _explain(url: str, error: DBAPIError) -> str:
    reason = str(error.orig).strip().partition("\n")[0]
    if isinstance(error.orig, sqlite3.Error):
        return f"registry {describe_url(url)} {_explain_sqlite(url, error.orig, reason)}"
    state = getattr(error.orig, "sqlstate", None)
    return f"registry {describe_url(url)} {_explain_postgresql(state, reason)}"


def _explain_sqlite(url: str, error: sqlite3.Error, reason: str) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    primary = code & 0xFF  # extended codes carry their primary code in the low byte
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return "is locked by another process; wait until that is done, or end it, and try again"
    if primary == sqlite3.SQLITE_FULL:
        return "could not grow: the disk is full; make room and try again (nothing was written)"
    if primary in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}:
        return "may only be read; give this user the right to write the file and its folder"
    if primary == sqlite3.SQLITE_CANTOPEN:
        return _explain_cannot_open(url)
    if primary == sqlite3.SQLITE_NOTADB:
        return "is no SQLite database; name another file, or restore it from a backup"
    if primary == sqlite3.SQLITE_CORRUPT:
        return f"is damaged ({reason}); restore it from a backup"
    if primary == sqlite3.SQLITE_IOERR:
        return f"could not be read or written ({reason}); check the disk, its room and its quota"
    if "no such table" in reason or "no such column" in reason:
        return f"is at another migration ({reason}); {_UPGRADE}"
    return f"cannot be used: {reason}"


def _explain_cannot_open(url: str) -> str:
    file = sqlite_file(url)
    if file is None or _exists(file):
        return "cannot be opened; check that this user may read and write the file and its folder"
    if not _may_write(file.parent):
        return (
            f"cannot be made: this user may not write {file.parent}; "
            "give it the right, or name another folder with COUNTERMARK_HOME"
        )
    return f"does not exist; {_UPGRADE}"


def _may_write(folder: Path) -> bool:
    by_effective_user = os.access in os.supports_effective_ids
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=by_effective_user)


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # a folder above it may not be entered: then it is a matter of rights
        return True


def _explain_postgresql(state: str | None, reason: str) -> str:
    if state in {"42P01", "42703"}:  # undefined_table, undefined_column
        return f"is at another migration ({reason}); {_UPGRADE}"
    if state == "55P03":  # lock_not_available
        return "is locked by another process; wait until that is done and try again"
    if state == "53100":  # disk_full
        return "could not grow: the server's disk is full; make room and try again"
    if state in {"25006", "42501"}:  # read_only_sql_transaction, insufficient_privilege
        return f"may only be read ({reason}); give this user the right to write"
    if state is None:
        return f"cannot be reached ({reason}); check the address and that the server runs"
    return f"cannot be used: {reason} (SQLSTATE {state})"


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session for reading; its errors are ours.

    Raises:
        RegistryUnavailableError: The database cannot be reached.
    """
    with translated_errors(str(engine.url)), Session(engine) as session:
        yield session


@contextmanager
def snapshot(engine: Engine) -> Iterator[Session]:
    """As `reading`, in one transaction that sees one state, however much is written meanwhile."""
    with reading(engine) as session:
        if engine.dialect.name == "postgresql":
            session.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        yield session


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A session in one transaction that writes: all of it, or nothing; its errors are ours.

    Raises:
        RegistryUnavailableError: The database cannot be reached.
    """
    with translated_errors(str(engine.url)), Session(writer(engine)) as session, session.begin():
        yield session


def overwrite_deleted(engine: Engine) -> None:
    """After erasing: makes sure that SQLite's files hold nothing of it any more.

    Its log still has the pages as they were. And where rows were moved from page to page, copies
    may stay in the unused part of pages, where ``secure_delete`` does not reach: a file of up to
    `REWRITTEN_UP_TO_BYTES` is therefore written anew. A reader or writer that is in the way only
    means that the next call does it.

    Raises:
        RegistryUnavailableError: The database cannot be reached.
    """
    if engine.dialect.name != "sqlite":
        return
    with translated_errors(str(engine.url)):
        raw = engine.raw_connection()
        try:
            cursor = raw.cursor()
            with suppress(sqlite3.OperationalError):
                if _file_bytes(cursor) <= REWRITTEN_UP_TO_BYTES:
                    cursor.execute("VACUUM")
            with suppress(sqlite3.OperationalError):
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.close()
        finally:
            raw.close()


def _file_bytes(cursor: Any) -> int:
    pages, size = (
        int(cursor.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size")
    )
    return pages * size
