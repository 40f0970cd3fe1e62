"""Embeddings of several spaces stand side by side.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


COLUMNS = "record_id, space_id, log_index, dim, vector"
LOG_INDEX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        # SQLite cannot change a primary key: the table is copied. Every row was made with its
        # record.
        copy_table(key=["record_id", "space_id"], further=["of_record"], values=["1"])
        return
    op.add_column(
        "embeddings",
        sa.Column("of_record", sa.Boolean(), nullable=False, server_default=sa.true()),
    )
    op.alter_column("embeddings", "of_record", server_default=None)
    op.drop_constraint("pk_embeddings", "embeddings", type_="primary")
    op.create_primary_key("pk_embeddings", "embeddings", ["record_id", "space_id"])


def downgrade() -> None:
    op.execute("DELETE FROM embeddings WHERE NOT of_record")
    if op.get_context().dialect.name == "sqlite":
        copy_table(key=["record_id"], further=[], values=[])
        return
    op.drop_constraint("pk_embeddings", "embeddings", type_="primary")
    op.create_primary_key("pk_embeddings", "embeddings", ["record_id"])
    op.drop_column("embeddings", "of_record")


def copy_table(*, key: list[str], further: list[str], values: list[str]) -> None:
    """Makes the table again with another primary key, and boolean columns of these SQL values."""
    op.create_table(
        "embeddings_new",
        sa.Column("record_id", sa.String(length=16), nullable=False),
        sa.Column("space_id", sa.Text(), nullable=False),
        sa.Column("log_index", LOG_INDEX, nullable=False),
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in further),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["log_index"], ["log_leaves.index"], name="fk_embeddings_log_index"
        ),
        sa.ForeignKeyConstraint(
            ["record_id"], ["records.record_id"], name="fk_embeddings_record_id"
        ),
        sa.PrimaryKeyConstraint(*key, name="pk_embeddings"),
    )
    names, taken = ", ".join([COLUMNS, *further]), ", ".join([COLUMNS, *values])
    # Names and values are this file's own.
    op.execute(f"INSERT INTO embeddings_new ({names}) SELECT {taken} FROM embeddings")  # noqa: S608
    op.drop_table("embeddings")
    op.rename_table("embeddings_new", "embeddings")
    op.create_index("ix_embeddings_space_id", "embeddings", ["space_id", "log_index"], unique=False)
