"""Runs the registry's migrations.

`registry.migrate` hands over a connection that is already in a transaction. From the ``alembic``
command line there is none: then the database is ``-x url=...``, or the one of the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from alembic import context

from provenance.config import load_settings
from registry.engine import make_migration_engine, writer
from registry.tables import Base, UtcDateTime

if TYPE_CHECKING:
    from sqlalchemy import Connection


def render_item(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Writes our own column type as what it is in the database: migrations import none of us."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def run_on(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite cannot change a column in place: Alembic then copies the table.
        render_as_batch=connection.dialect.name == "sqlite",
        # SQLite and PostgreSQL both roll table changes back; Alembic knows it of PostgreSQL only.
        transactional_ddl=True,
        compare_server_default=True,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


def chosen_url() -> str:
    given = context.get_x_argument(as_dictionary=True).get("url")
    return given if isinstance(given, str) else load_settings().registry_url


def run() -> None:
    if context.is_offline_mode():
        context.configure(url=chosen_url(), target_metadata=Base.metadata, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    connection = context.config.attributes.get("connection")
    if connection is not None:
        run_on(connection)
        return
    engine = make_migration_engine(chosen_url())
    with writer(engine).begin() as own_connection:
        run_on(own_connection)
    engine.dispose()


run()
