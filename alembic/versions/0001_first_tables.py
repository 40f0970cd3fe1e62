"""Reservations, records with fingerprints, refusals, and the log.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LOG_INDEX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "log_leaves",
        sa.Column("index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("index", name="pk_log_leaves"),
    )
    op.create_table(
        "reservations",
        sa.Column("record_id", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.CheckConstraint(
            "state IN ('reserved', 'committed', 'refused', 'released')",
            name="ck_reservations_state",
        ),
        sa.PrimaryKeyConstraint("record_id", name="pk_reservations"),
    )
    op.create_table(
        "records",
        sa.Column("record_id", sa.String(length=16), nullable=False),
        sa.Column("log_index", LOG_INDEX, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("pixel_sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=64), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("shell_head", sa.LargeBinary(), nullable=False),
        sa.Column("shell_tail", sa.LargeBinary(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=True),
        sa.Column("model_revision", sa.String(length=80), nullable=True),
        sa.Column("model_weights_sha256", sa.String(length=64), nullable=True),
        sa.Column("model_licence", sa.Text(), nullable=True),
        sa.Column("model_family", sa.Text(), nullable=True),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("safety", sa.JSON(), nullable=True),
        sa.Column("watermark_codec", sa.Text(), nullable=True),
        sa.Column("watermark_alg", sa.Text(), nullable=True),
        sa.Column("watermark_key_id", sa.Text(), nullable=True),
        sa.Column("watermark_strength", sa.Double(), nullable=True),
        sa.Column("watermark_carries_record_id", sa.Boolean(), nullable=True),
        sa.Column("watermark_psnr_db", sa.Double(), nullable=True),
        sa.Column("watermark_bit_accuracy", sa.Double(), nullable=True),
        sa.Column("manifest_label", sa.Text(), nullable=False),
        sa.Column("manifest_store", sa.LargeBinary(), nullable=False),
        sa.Column("claim_generator", sa.Text(), nullable=False),
        sa.Column("time_stamped", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["log_index"], ["log_leaves.index"], name="fk_records_log_index"),
        sa.ForeignKeyConstraint(
            ["record_id"], ["reservations.record_id"], name="fk_records_record_id"
        ),
        sa.PrimaryKeyConstraint("record_id", name="pk_records"),
        sa.UniqueConstraint("log_index", name="uq_records_log_index"),
    )
    op.create_index("ix_records_created_at", "records", ["created_at"], unique=False)
    op.create_index("ix_records_manifest_label", "records", ["manifest_label"], unique=False)
    op.create_index("ix_records_pixel_sha256", "records", ["pixel_sha256"], unique=False)
    op.create_index("ix_records_sha256", "records", ["sha256"], unique=False)
    op.create_table(
        "refusals",
        sa.Column("record_id", sa.String(length=16), nullable=False),
        sa.Column("log_index", LOG_INDEX, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_revision", sa.String(length=80), nullable=False),
        sa.Column("model_weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("model_licence", sa.Text(), nullable=True),
        sa.Column("model_family", sa.Text(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("safety", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["log_index"], ["log_leaves.index"], name="fk_refusals_log_index"),
        sa.ForeignKeyConstraint(
            ["record_id"], ["reservations.record_id"], name="fk_refusals_record_id"
        ),
        sa.PrimaryKeyConstraint("record_id", name="pk_refusals"),
        sa.UniqueConstraint("log_index", name="uq_refusals_log_index"),
    )
    op.create_index("ix_refusals_created_at", "refusals", ["created_at"], unique=False)
    op.create_table(
        "embeddings",
        sa.Column("record_id", sa.String(length=16), nullable=False),
        sa.Column("log_index", LOG_INDEX, nullable=False),
        sa.Column("space_id", sa.Text(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["log_index"], ["log_leaves.index"], name="fk_embeddings_log_index"
        ),
        sa.ForeignKeyConstraint(
            ["record_id"], ["records.record_id"], name="fk_embeddings_record_id"
        ),
        sa.PrimaryKeyConstraint("record_id", name="pk_embeddings"),
    )
    op.create_index("ix_embeddings_space_id", "embeddings", ["space_id", "log_index"], unique=False)
    op.create_table(
        "perceptual_hashes",
        sa.Column("record_id", sa.String(length=16), nullable=False),
        sa.Column("log_index", LOG_INDEX, nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("quality", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["log_index"], ["log_leaves.index"], name="fk_perceptual_hashes_log_index"
        ),
        sa.ForeignKeyConstraint(
            ["record_id"], ["records.record_id"], name="fk_perceptual_hashes_record_id"
        ),
        sa.PrimaryKeyConstraint("record_id", name="pk_perceptual_hashes"),
    )
    op.create_index(
        "ix_perceptual_hashes_algorithm",
        "perceptual_hashes",
        ["algorithm", "log_index"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_table("perceptual_hashes")
    op.drop_table("embeddings")
    op.drop_table("refusals")
    op.drop_table("records")
    op.drop_table("reservations")
    op.drop_table("log_leaves")
