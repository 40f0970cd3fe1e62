"""Chunks of perceptual hashes, and the generation of each index.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

CHUNKS = 16
BATCH_ROWS = 4096


def upgrade() -> None:
    log_index = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    chunks = op.create_table(
        "hash_chunks",
        sa.Column("key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("log_index", log_index, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("key", "log_index", name="pk_hash_chunks"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "index_generations",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_index_generations"),
    )
    if op.get_context().dialect.name == "postgresql":
        # Vectors of up to 1,000 components stay in their row, and none is tried to be compressed:
        # they are read by the hundred at each search, and all of them when an index is rebuilt.
        op.execute("ALTER TABLE embeddings ALTER COLUMN vector SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE embeddings SET (toast_tuple_target = 4080)")
    if not context.is_offline_mode():
        fill(op.get_bind(), chunks)


def fill(connection: sa.Connection, chunks: sa.Table) -> None:
    """Writes the chunks of all hashes there are, in the order of the primary key."""
    hashes = sa.table("perceptual_hashes", sa.column("log_index"), sa.column("hash"))
    stored = connection.execute(sa.select(hashes.c.log_index, hashes.c.hash)).all()
    for number in range(CHUNKS):
        part = slice(2 * number, 2 * number + 2)
        rows = sorted(
            (number << 16 | int.from_bytes(value[part], "big"), log_index)
            for log_index, value in stored
        )
        for start in range(0, len(rows), BATCH_ROWS):
            connection.execute(
                chunks.insert(),
                [
                    {"key": key, "log_index": log_index}
                    for key, log_index in rows[start : start + BATCH_ROWS]
                ],
            )


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE embeddings RESET (toast_tuple_target)")
        op.execute("ALTER TABLE embeddings ALTER COLUMN vector SET STORAGE EXTENDED")
    op.drop_table("index_generations")
    op.drop_table("hash_chunks")
