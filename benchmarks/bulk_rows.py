"""Fills a registry with many records at once: rows as a commit writes them, in few statements.

Parameters, manifests and pictures are as small as can be; the log has its leaves, and proves
nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import JSON, Connection, func, insert, select, text

from provenance.testing.stores import START, build_embedding, build_hash, build_record
from provenance.types import RecordId
from registry.engine import writer
from registry.index.hash_chunks import chunk_keys
from registry.serialise import record_to_row
from registry.tables import (
    Base,
    EmbeddingRow,
    HashChunkRow,
    LogLeafRow,
    PerceptualHashRow,
    RecordRow,
    ReservationRow,
    ReservationState,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from provenance.types import Float32Array

__all__ = ["add_records", "analyse", "record_id_of"]


def record_id_of(number: int) -> str:
    """Id of the record at a place of the log: its number, mixed as random ids are."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=8).hexdigest()


def add_records(
    engine: Engine,
    vectors: Float32Array | None = None,
    *,
    space_id: str = "space/1",
    hashes: Sequence[bytes] | None = None,
    ids: Sequence[str] | None = None,
    chunks: bool = True,
) -> None:
    """Appends one record for each vector, or each hash; all of them in one transaction.

    Args:
        engine: Of a registry at the newest migration.
        vectors: (N, D) float32 of norm 1.
        space_id: Of the vectors.
        hashes: 32 bytes each.
        ids: Record ids; None makes them.
        chunks: Whether to write those of the hashes; else `registry.index.hash_chunks.rebuild`
            must.
    """
    count = len(vectors if vectors is not None else hashes or ())
    if not count:
        return
    with writer(engine).begin() as connection:
        start = connection.scalar(select(func.count()).select_from(LogLeafRow)) or 0
        numbers = range(start, start + count)
        names = ids or [record_id_of(number) for number in numbers]
        _add_records(connection, numbers, names)
        if vectors is not None:
            raw = np.ascontiguousarray(vectors, dtype="<f4")
            columns = _columns(EmbeddingRow, _template().embedding)
            rows = [
                columns
                | {"record_id": i, "log_index": n, "space_id": space_id, "dim": raw.shape[1]}
                | {"vector": raw[place].tobytes()}
                for place, (n, i) in enumerate(zip(numbers, names, strict=True))
            ]
            _insert(connection, EmbeddingRow, rows)
        if hashes is not None:
            _add_hashes(connection, numbers, names, hashes, chunks=chunks)


def _add_records(connection: Connection, numbers: range, names: Sequence[str]) -> None:
    columns = _columns(RecordRow, _template())
    columns |= {"shell_head": b"", "shell_tail": b"", "manifest_store": b"", "parameters": {}}
    leaves = []
    for number, name in zip(numbers, names, strict=True):
        data = f'{{"bulk":"{name}"}}'.encode()
        leaf = {"index": number, "kind": "commit", "data": data}
        leaves.append(_unproven() | leaf | {"leaf_hash": hashlib.sha256(b"\0" + data).digest()})
    used = {"created_at": START, "expires_at": START, "state": ReservationState.COMMITTED.value}
    _insert(connection, ReservationRow, [{"record_id": name} | used for name in names])
    _insert(connection, LogLeafRow, leaves)
    _insert(
        connection,
        RecordRow,
        [
            columns | {"record_id": name, "log_index": number, "sha256": name * 4}
            for number, name in zip(numbers, names, strict=True)
        ],
    )


def _template() -> RecordRow:
    """A row as the store would write it; what is told apart is set for each."""
    vector = build_embedding(1)
    record = build_record(RecordId("0" * 16), perceptual_hash=build_hash(0), embedding=vector)
    return record_to_row(record, log_index=0)


def _columns(kind: type[Base], row: Any) -> dict[str, Any]:
    # A column is named as its attribute. What the row leaves out takes its default.
    return {column.key: getattr(row, column.key) for column in kind.__table__.columns}


def _unproven() -> dict[str, Any]:
    """What a leaf says of those before it: left empty, since nothing is proven here."""
    return {
        column.key: b""
        for column in LogLeafRow.__table__.columns
        if column.key not in {"index", "kind", "data", "leaf_hash"}
    }


def _add_hashes(
    connection: Connection,
    numbers: range,
    names: Sequence[str],
    hashes: Sequence[bytes],
    *,
    chunks: bool,
) -> None:
    columns = _columns(PerceptualHashRow, _template().perceptual_hash)
    rows = [
        columns | {"record_id": name, "log_index": n, "hash": value}
        for n, name, value in zip(numbers, names, hashes, strict=True)
    ]
    _insert(connection, PerceptualHashRow, rows)
    if not chunks:
        return
    keys = sorted(
        (key, n) for n, of_hash in zip(numbers, chunk_keys(hashes), strict=True) for key in of_hash
    )
    _insert(connection, HashChunkRow, [{"key": key, "log_index": n} for key, n in keys])


def _insert(connection: Connection, row: Any, rows: list[dict[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(insert(row), rows)
        return
    # PostgreSQL takes a copy ten times as fast as rows one by one.
    table = row.__table__
    names = list(rows[0])
    kinds = [table.c[name].type for name in names]
    bind = [
        json.dumps if isinstance(kind, JSON) else kind.bind_processor(connection.dialect)
        for kind in kinds
    ]
    raw = connection.connection.driver_connection
    listed = ", ".join(f'"{name}"' for name in names)
    with raw.cursor().copy(f"COPY {table.name} ({listed}) FROM STDIN") as copy:
        for one in rows:
            values = [one[name] for name in names]
            copy.write_row(
                [p(v) if p and v is not None else v for p, v in zip(bind, values, strict=True)]
            )


def analyse(engine: Engine) -> None:
    """Lets PostgreSQL count its rows, as its autovacuum does within a minute."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
