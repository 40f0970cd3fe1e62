"""Fixtures of all tests."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgresql_registry import PostgresqlRegistries


@pytest.fixture(scope="session")
def postgresql_registries() -> Iterator[PostgresqlRegistries]:
    """One server for each process that tests."""
    from postgresql_registry import PostgresqlRegistries

    from provenance.errors import BackendUnavailableError
    from provenance.testing.postgresql import running_server

    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_server())
        except BackendUnavailableError as error:
            pytest.skip(str(error))
        yield PostgresqlRegistries(server)


@pytest.fixture
def postgresql_url(postgresql_registries: PostgresqlRegistries) -> Iterator[str]:
    """A PostgreSQL database with new, empty tables."""
    with postgresql_registries.registry() as url:
        yield url


@pytest.fixture
def empty_postgresql_url(postgresql_registries: PostgresqlRegistries) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    with postgresql_registries.empty_database() as url:
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
