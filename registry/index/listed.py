"""A list of numbers as one bound value: the statement stays the same, however long the list."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

__all__ = ["is_listed", "list_value"]


def is_listed(session: Session, name: str) -> str:
    """SQL to stand behind a column: whether it is among the integers bound under `name`."""
    if _is_postgresql(session):
        return f"= ANY(CAST(:{name} AS bigint[]))"
    return f"IN (SELECT value FROM json_each(:{name}))"  # noqa: S608


def list_value(session: Session, numbers: Sequence[int]) -> Any:
    """What to bind for `numbers`."""
    return list(numbers) if _is_postgresql(session) else json.dumps(list(numbers))


def _is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
