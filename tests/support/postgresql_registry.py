"""Registries on one throwaway PostgreSQL server, quickly."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from registry import migrate
from registry.tables import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.testing.postgresql import PostgresqlServer


class PostgresqlRegistries:
    """Hands out databases of a server."""

    def __init__(self, server: PostgresqlServer) -> None:
        self._server = server
        # At the newest migration, and emptied after each test: making one takes half a second.
        self._migrated: str | None = None

    @contextmanager
    def empty_database(self) -> Iterator[str]:
        """URL of a new database without tables."""
        name = self._server.create_database()
        try:
            yield self._server.url(name)
        finally:
            self._server.drop_database(name)

    @contextmanager
    def registry(self) -> Iterator[str]:
        """URL of a registry at the newest migration, without rows."""
        if self._migrated is None:
            self._migrated = self._server.create_database()
            migrate.upgrade(self._server.url(self._migrated))
        try:
            yield self._server.url(self._migrated)
        finally:
            if not self._clear(self._migrated):
                self._server.drop_database(self._migrated)
                self._migrated = None

    def _clear(self, name: str) -> bool:
        """Ends what is still connected and deletes all rows; whether that left a whole registry."""
        with self._server.connect(name) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            if not migrate.is_at_head(self._server.url(name)):
                return False
            connection.execute("DROP SCHEMA IF EXISTS countermark_index CASCADE")  # pgvector's
            with connection.transaction():
                for table in reversed(Base.metadata.sorted_tables):
                    connection.execute(f"DELETE FROM {table.name}")
        return True
