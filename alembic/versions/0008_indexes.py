"""Chunks of perceptual hashes, and the generation of each index.

Revision ID: 0008
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0008"
down_revision = "0005"
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
    """Writes the chunks of all hashes there are."""
    hashes = sa.table("perceptual_hashes", *map(sa.column, ("record_id", "log_index", "hash")))
    last = ""
    while True:
        rows = connection.execute(
            sa.select(hashes.c.record_id, hashes.c.log_index, hashes.c.hash)
            .where(hashes.c.record_id > last)  # the primary key: each batch starts where one ended
            .order_by(hashes.c.record_id)
            .limit(BATCH_ROWS)
        ).all()
        if not rows:
            return
        connection.execute(
            chunks.insert(),
            [
                {
                    "key": number << 16 | int.from_bytes(value[2 * number : 2 * number + 2], "big"),
                    "log_index": log_index,
                }
                for _, log_index, value in rows
                for number in range(CHUNKS)
            ],
        )
        last = rows[-1][0]


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE embeddings RESET (toast_tuple_target)")
        op.execute("ALTER TABLE embeddings ALTER COLUMN vector SET STORAGE EXTENDED")
    op.drop_table("index_generations")
    op.drop_table("hash_chunks")
