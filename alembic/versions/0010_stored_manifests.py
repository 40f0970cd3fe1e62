"""Manifests of other makers, and the soft bindings by which they are found.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

LogIndex = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "stored_manifests",
        sa.Column("manifest_id", sa.Text(), nullable=False),
        sa.Column("store", sa.LargeBinary(), nullable=False),
        sa.Column("store_sha256", sa.String(length=64), nullable=False),
        sa.Column("owner_key_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("log_index", LogIndex, nullable=False),
        sa.ForeignKeyConstraint(
            ["log_index"], ["log_leaves.index"], name="fk_stored_manifests_log_index"
        ),
        sa.PrimaryKeyConstraint("manifest_id", name="pk_stored_manifests"),
        sa.UniqueConstraint("log_index", name="uq_stored_manifests_log_index"),
    )
    op.create_index("ix_stored_manifests_owner_key_id", "stored_manifests", ["owner_key_id"])
    op.create_table(
        "stored_bindings",
        sa.Column("manifest_id", sa.Text(), nullable=False),
        sa.Column("alg", sa.Text(), nullable=False),
        sa.Column("value_sha256", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("signed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"],
            ["stored_manifests.manifest_id"],
            name="fk_stored_bindings_manifest_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("manifest_id", "alg", "value_sha256", name="pk_stored_bindings"),
    )
    op.create_index("ix_stored_bindings_value", "stored_bindings", ["alg", "value_sha256"])


def downgrade() -> None:
    op.drop_index("ix_stored_bindings_value", table_name="stored_bindings")
    op.drop_table("stored_bindings")
    op.drop_index("ix_stored_manifests_owner_key_id", table_name="stored_manifests")
    op.drop_table("stored_manifests")
