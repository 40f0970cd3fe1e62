"""What is deleted is gone from SQLite's files, also where rows had moved from page to page."""

import random
import sqlite3

import pytest

from registry import migrate
from registry.engine import REWRITTEN_UP_TO_BYTES, make_engine, overwrite_deleted, writer
from registry.store import open_store

WORD = b"PRIVATE-WORD"


@pytest.fixture
def database(tmp_path):
    file = tmp_path / "registry.sqlite3"
    migrate.upgrade(f"sqlite:///{file}")
    engine = make_engine(f"sqlite:///{file}")
    yield engine, file
    engine.dispose()


def leave_copies(engine):
    """Some rows grow while others stand beside them, which SQLite then moves to other pages."""
    chosen = random.Random(1)
    with writer(engine).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT, note TEXT)")
    bodies = [(f"{WORD.decode()} {number} " + "x" * 600, str(number)) for number in range(200)]
    with writer(engine).begin() as connection:
        for body, number in bodies:
            connection.exec_driver_sql("INSERT INTO notes VALUES (?, ?, '')", (number, body))
    with writer(engine).begin() as connection:
        for number in chosen.sample(range(200), 70):
            connection.exec_driver_sql(
                "UPDATE notes SET note = ? WHERE id = ?", ("y" * 300, str(number))
            )
    with writer(engine).begin() as connection:
        connection.exec_driver_sql("UPDATE notes SET body = NULL")


def bytes_of(file):
    return b"".join(one.read_bytes() for one in file.parent.glob(f"{file.name}*"))


def test_copies_in_unused_parts_of_pages_go_too(database):
    engine, file = database
    leave_copies(engine)
    with sqlite3.connect(file) as plain:
        plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert WORD in bytes_of(file), "nothing is left over that could be overwritten"
    overwrite_deleted(engine)
    assert WORD not in bytes_of(file)
    store = open_store(f"sqlite:///{file}")
    assert store.count() == 0
    store.close()


def test_a_reader_in_the_way_is_no_error_and_the_next_call_does_it(database):
    engine, file = database
    leave_copies(engine)
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM notes").fetchone()
    overwrite_deleted(engine)
    reader.execute("COMMIT")
    reader.close()
    overwrite_deleted(engine)
    assert WORD not in bytes_of(file)


def test_a_large_file_is_not_written_anew(database, monkeypatch):
    engine, file = database
    monkeypatch.setattr("registry.engine.REWRITTEN_UP_TO_BYTES", 4096)
    leave_copies(engine)
    overwrite_deleted(engine)
    assert WORD in bytes_of(file)
    assert REWRITTEN_UP_TO_BYTES == 64 * 2**20
