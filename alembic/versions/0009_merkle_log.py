"""A Merkle tree over the log, signed heads of it, and what operators do later.

The leaves and their hashes stay as they are. The chain of heads gives way to the hashes of the
tree's complete subtrees (RFC 9162), each stored with the leaf that completes it.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from collections.abc import Callable

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

LOG_INDEX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BATCH_ROWS = 1000


def upgrade() -> None:
    op.add_column("log_leaves", sa.Column("subtrees", sa.LargeBinary(), nullable=True))
    fill("subtrees", grow_tree())
    with op.batch_alter_table("log_leaves") as table:
        table.drop_column("head")
        table.alter_column("subtrees", existing_type=sa.LargeBinary(), nullable=False)
    op.create_table(
        "tree_heads",
        sa.Column("timestamp_ms", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("size", LOG_INDEX, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("log_id", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("timestamp_ms", name="pk_tree_heads"),
    )
    op.create_table(
        "registry_events",
        sa.Column("log_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target_kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("entry_index", LOG_INDEX, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_index"], ["log_leaves.index"], name="fk_registry_events_entry_index"
        ),
        sa.ForeignKeyConstraint(
            ["log_index"], ["log_leaves.index"], name="fk_registry_events_log_index"
        ),
        sa.PrimaryKeyConstraint("log_index", name="pk_registry_events"),
    )
    op.create_index("ix_registry_events_kind", "registry_events", ["kind"], unique=False)
    op.create_index(
        "ix_registry_events_target", "registry_events", ["target_kind", "target"], unique=False
    )


def downgrade() -> None:
    op.drop_table("registry_events")
    op.drop_table("tree_heads")
    op.add_column("log_leaves", sa.Column("head", sa.LargeBinary(), nullable=True))
    fill("head", grow_chain())
    with op.batch_alter_table("log_leaves") as table:
        table.drop_column("subtrees")
        table.alter_column("head", existing_type=sa.LargeBinary(), nullable=False)


def fill(column: str, grow: Callable[[bytes], bytes]) -> None:
    """Sets the column of every leaf to what `grow` answers for its hash, in log order."""
    table = sa.table(
        "log_leaves",
        sa.column("index", LOG_INDEX),
        sa.column("leaf_hash", sa.LargeBinary()),
        sa.column(column, sa.LargeBinary()),
    )
    change = (
        sa.update(table)
        .where(table.c.index == sa.bindparam("number"))
        .values({column: sa.bindparam("value")})
    )
    connection, last = op.get_bind(), -1
    while True:
        rows = connection.execute(
            sa.select(table.c.index, table.c.leaf_hash)
            .where(table.c.index > last)
            .order_by(table.c.index)
            .limit(BATCH_ROWS)
        ).all()
        if not rows:
            return
        connection.execute(
            change, [{"number": index, "value": grow(leaf_hash)} for index, leaf_hash in rows]
        )
        last = rows[-1][0]


def grow_tree() -> Callable[[bytes], bytes]:
    """Answers the subtrees that each further leaf completes (RFC 9162 section 2.1)."""
    peaks: list[tuple[int, bytes]] = []  # level and hash of the complete subtrees so far

    def grow(leaf_hash: bytes) -> bytes:
        level, current, made = 0, leaf_hash, b""
        while peaks and peaks[-1][0] == level:
            current = hashlib.sha256(b"\x01" + peaks.pop()[1] + current).digest()
            level += 1
            made += current
        peaks.append((level, current))
        return made

    return grow


def grow_chain() -> Callable[[bytes], bytes]:
    """Answers the head of the chain of earlier versions after each further leaf."""
    head = hashlib.sha256(b"").digest()

    def grow(leaf_hash: bytes) -> bytes:
        nonlocal head
        head = hashlib.sha256(b"\x02" + head + leaf_hash).digest()
        return head

    return grow
