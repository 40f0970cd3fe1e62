"""Rows of an export: as JSON and back, and into the registry that reads them in."""

from __future__ import annotations

import base64
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Date, LargeBinary, insert

from registry.index.hash_chunks import add_chunks
from registry.index.words import CORNER_BYTES
from registry.tables import EmbeddingRow, KeypointWordsRow, PerceptualHashRow, UtcDateTime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Column, Table
    from sqlalchemy.orm import Session

__all__ = ["from_json", "insert_row", "to_json"]


def insert_row(
    session: Session, table: Table, values: dict[str, Any], index: int, places: Mapping[int, int]
) -> None:
    """Writes one row, with what is derived from it.

    Args:
        session: In a transaction that writes.
        table: Whose row.
        values: As `from_json` answers them; places of the log are changed to those here.
        index: Place of its entry in the log here.
        places: Places of leaves here, by their exported place.

    Raises:
        ValueError: An embedding has another length than it says, or keypoint words are cut.
        KeyError: An event speaks of a leaf that did not come before it.
    """
    if "log_index" in values:
        values["log_index"] = index
    if values.get("entry_index") is not None:
        values["entry_index"] = places[values["entry_index"]]
    if table.name == EmbeddingRow.__tablename__ and len(values["vector"]) != 4 * values["dim"]:
        raise ValueError("the vector of an embedding has another length than it says")
    if table.name == KeypointWordsRow.__tablename__ and len(values["corners"]) % CORNER_BYTES:
        raise ValueError("the keypoint words of a record are cut")
    session.execute(insert(table).values(values))
    if table.name == PerceptualHashRow.__tablename__:
        add_chunks(session, index, values["hash"])


def to_json(table: Table, values: Mapping[Any, Any]) -> dict[str, Any]:
    """A row as JSON can hold it: bytes as base64, times as ISO 8601."""
    return {column.name: _value_to_json(values[column.name]) for column in table.columns}


def _value_to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value


def from_json(table: Table, document: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row.

    Raises:
        KeyError: A column is missing.
        ValueError: A value is of the wrong kind.
    """
    return {one.name: _value_from_json(one, document[one.name]) for one in table.columns}


def _value_from_json(column: Column[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, LargeBinary):
        return base64.b64decode(value, validate=True)
    if isinstance(column.type, UtcDateTime):
        return datetime.fromisoformat(value)
    if isinstance(column.type, Date):
        return date.fromisoformat(value)
    return value
