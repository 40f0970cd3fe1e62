"""Database URLs and the words for what goes wrong."""

from __future__ import annotations

import sys

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, ProgrammingError

from provenance.errors import BackendUnavailableError, ConfigError, RegistryUnavailableError
from registry.engine import describe_url, make_engine, parse_url, sqlite_file, translated_errors


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "no database URL"),
        ("registry.sqlite3", "no database URL"),
        ("mysql://somewhere/db", "'mysql'"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_parse_url_says_what_is_wrong_with_it(url, message):
    with pytest.raises(ConfigError, match=message):
        parse_url(url)


def test_parse_url_takes_psycopg_for_plain_postgresql():
    assert parse_url("postgresql://me@db/registry").drivername == "postgresql+psycopg"
    assert parse_url("postgresql+psycopg://me@db/registry").drivername == "postgresql+psycopg"


def test_describe_url_hides_the_password():
    text = describe_url("postgresql://me:hunter2@db.example/registry")
    assert "hunter2" not in text
    assert "db.example/registry" in text


def test_sqlite_file_names_the_file(tmp_path):
    file = tmp_path / "a folder" / "r%20?.sqlite3"
    assert sqlite_file(f"sqlite:///{tmp_path}/x.sqlite3") == tmp_path / "x.sqlite3"
    assert sqlite_file(f"sqlite:///file:{tmp_path}/r%20x.sqlite3") == tmp_path / "r x.sqlite3"
    assert sqlite_file("postgresql://me@db/registry") is None
    assert file.parent.name == "a folder"


class ServerError(Exception):
    """As psycopg raises them: with an SQLSTATE, or without one when there is no server."""

    def __init__(self, message, sqlstate):
        super().__init__(message)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "remedy"),
    [
        ("42P01", "countermark registry upgrade"),
        ("42703", "countermark registry upgrade"),
        ("55P03", "try again"),
        ("53100", "make room"),
        ("25006", "right to write"),
        ("42501", "right to write"),
        ("57014", "SQLSTATE 57014"),
        (None, "check the address"),
    ],
)
def test_translated_errors_give_a_remedy_for_each_state_of_postgresql(sqlstate, remedy):
    kind = OperationalError if sqlstate is None else ProgrammingError
    with (
        pytest.raises(RegistryUnavailableError, match=remedy) as caught,
        translated_errors("postgresql://me:hunter2@db/registry"),
    ):
        raise kind("SELECT 1", {}, ServerError("it went wrong", sqlstate))
    assert "hunter2" not in str(caught.value)
    assert "SELECT" not in str(caught.value)


def test_make_engine_names_the_extra_when_the_driver_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'countermark\[postgres\]'"):
        make_engine("postgresql://me@db/registry")


def test_an_error_does_not_quote_what_was_asked_for(tmp_path):
    (tmp_path / "some.sqlite3").touch()
    engine = make_engine(f"sqlite:///{tmp_path}/some.sqlite3")
    unfit = {"prompt": {"a set, PRIVATE-WORD"}}  # no JSON
    with (
        pytest.raises(RegistryUnavailableError, match="cannot be used") as caught,
        translated_errors(str(engine.url)),
        engine.connect() as connection,
    ):
        connection.execute(sa.select(sa.bindparam("body", type_=sa.JSON())), {"body": unfit})
    assert "PRIVATE-WORD" not in str(caught.value)
