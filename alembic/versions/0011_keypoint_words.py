"""Keypoint words of the kept thumbnails.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

LogIndex = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "keypoint_words",
        sa.Column("record_id", sa.String(length=16), nullable=False),
        sa.Column("space_id", sa.Text(), nullable=False),
        sa.Column("log_index", LogIndex, nullable=False),
        sa.Column("corners", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["record_id"],
            ["records.record_id"],
            name="fk_keypoint_words_record_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["log_index"], ["log_leaves.index"], name="fk_keypoint_words_log_index"
        ),
        sa.PrimaryKeyConstraint("record_id", "space_id", name="pk_keypoint_words"),
    )
    op.create_index("ix_keypoint_words_space_id", "keypoint_words", ["space_id", "log_index"])
    if op.get_context().dialect.name == "postgresql":
        # Bits without order: trying to compress them costs time and saves nothing.
        op.execute("ALTER TABLE keypoint_words ALTER COLUMN corners SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_index("ix_keypoint_words_space_id", table_name="keypoint_words")
    op.drop_table("keypoint_words")
