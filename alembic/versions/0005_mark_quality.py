"""How visible each mark is, and how clearly it reads back.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("records", sa.Column("watermark_ssim", sa.Double(), nullable=True))
    op.add_column("records", sa.Column("watermark_margin", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("records", "watermark_margin")
    op.drop_column("records", "watermark_ssim")
