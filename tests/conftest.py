"""Fixtures of all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgresql_server import PostgresqlServer


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One server for each process that tests; see `tests/support/postgresql_server.py`."""
    from postgresql_server import running_server

    with running_server() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """A PostgreSQL database with new, empty tables."""
    with postgresql_server.registry() as url:
        yield url


@pytest.fixture
def empty_postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    with postgresql_server.empty_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request, tmp_path):
    """A registry with new, empty tables, on each database in turn."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql_url")
    from registry import migrate

    url = f"sqlite:///{tmp_path}/registry.sqlite3"
    migrate.upgrade(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_registry_url(request, tmp_path):
    """A database without tables, of each kind in turn."""
    if request.param == "postgresql":
        return request.getfixturevalue("empty_postgresql_url")
    return f"sqlite:///{tmp_path}/registry.sqlite3"
