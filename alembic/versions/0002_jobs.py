"""Jobs, their pictures and their inputs.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(length=24), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("batch_key", sa.String(length=64), nullable=False),
        sa.Column("body", sa.JSON(), nullable=True),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("api_key_id", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=True),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("steps_done", sa.Integer(), nullable=False),
        sa.Column("steps_total", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'refused', 'failed', 'cancelled')",
            name="ck_jobs_state",
        ),
        sa.PrimaryKeyConstraint("job_id", name="pk_jobs"),
        sa.UniqueConstraint("api_key_id", "idempotency_key", name="uq_jobs_idempotency_key"),
    )
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"], unique=False)
    op.create_index("ix_jobs_owner", "jobs", ["owner"], unique=False)
    op.create_index("ix_jobs_state", "jobs", ["state", "created_at"], unique=False)
    op.create_table(
        "job_pictures",
        sa.Column("job_id", sa.String(length=24), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("record_id", sa.String(length=16), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'done', 'refused', 'failed', 'cancelled')",
            name="ck_job_pictures_state",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_job_pictures_job_id"),
        sa.ForeignKeyConstraint(
            ["record_id"], ["reservations.record_id"], name="fk_job_pictures_record_id"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_pictures"),
        sa.UniqueConstraint("record_id", name="uq_job_pictures_record_id"),
    )
    op.create_table(
        "job_inputs",
        sa.Column("job_id", sa.String(length=24), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_job_inputs_job_id"),
        sa.PrimaryKeyConstraint("job_id", "sha256", name="pk_job_inputs"),
    )


def downgrade() -> None:
    op.drop_table("job_inputs")
    op.drop_table("job_pictures")
    op.drop_table("jobs")
