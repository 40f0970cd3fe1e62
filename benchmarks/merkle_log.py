"""What the Merkle log costs: a leaf, a proof, a check, by the length of the log.

    python -m benchmarks.merkle_log [--leaves N ...] [--calls N]

In a SQLite registry of its own, filled to each of `--leaves` (default 1000, 100000, 1000000):

1. Appending a leaf in a transaction of its own, over `--calls` (default 200), and as a ratio the
   same with a bare INSERT of a row of the same size, turn by turn.
2. An inclusion and a consistency proof with their signed head, over as many, and checking them.
3. Recomputing the whole tree (what `countermark audit` does first), leaves a second.

Then an audit of `--pictures` delivered pictures (default 24, 512x512 PNG, all four marks): records
a second of `countermark audit`.

Writes ``docs/benchmarks/merkle_log.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from benchmarks.delivery import PROMPTS
from benchmarks.machine import describe_machine
from generator.wiring import build_generator
from provenance.config import load_settings
from provenance.types import GenerationRequest
from registry.audit_cli import audit_app
from registry.check import check_consistency
from registry.engine import writing
from registry.log import LeafKind
from registry.log_proofs import check_consistency_proof, check_inclusion_proof
from registry.log_rows import append_leaf, log_size
from registry.merkle import completed_nodes, hash_leaf, plan_root
from registry.migrate import upgrade
from registry.signed_log import SignedLog, open_log_keys
from registry.store import open_store
from registry.tables import LogLeafRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"
LEAVES = (1_000, 100_000, 1_000_000)
BATCH = 10_000
PLAIN = sa.table(
    "plain", sa.column("number"), sa.column("kind"), sa.column("data"), sa.column("hash")
)


def make_leaf(number: int) -> bytes:
    """As long as a commit leaf."""
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    return json.dumps({"asset_sha256": digest, "kind": "commit", "pad": digest * 3}).encode()


def fill(engine: Engine, size: int) -> None:
    """Appends leaves in bulk; the tree is the one that appending one by one makes."""
    with writing(engine) as session:
        start = log_size(session)
    nodes: dict[tuple[int, int], bytes] = {}
    with engine.connect() as connection:
        for index, own, subtrees in connection.execute(
            sa.select(LogLeafRow.index, LogLeafRow.leaf_hash, LogLeafRow.subtrees)
        ):
            keep_nodes(
                nodes, index, own, [subtrees[i : i + 32] for i in range(0, len(subtrees), 32)]
            )
    for first in range(start, size, BATCH):
        rows = []
        for index in range(first, min(first + BATCH, size)):
            data = make_leaf(index)
            own = hash_leaf(data)
            completed = completed_nodes(index, own, [nodes[node] for node in plan_root(index)])
            keep_nodes(nodes, index, own, completed)
            rows.append(
                {
                    "index": index,
                    "kind": "filler",  # no row stands behind it, and none is missed
                    "data": data,
                    "leaf_hash": own,
                    "subtrees": b"".join(completed),
                }
            )
        with writing(engine) as session:
            session.execute(sa.insert(LogLeafRow), rows)


def keep_nodes(
    nodes: dict[tuple[int, int], bytes],
    index: int,
    own: bytes,
    made: list[bytes] | tuple[bytes, ...],
) -> None:
    """Keeps the right edge only."""
    nodes[0, index] = own
    for level, one in enumerate(made, 1):
        number = index >> level
        nodes[level, number] = one
        nodes.pop((level - 1, 2 * number), None)
        nodes.pop((level - 1, 2 * number + 1), None)


def timed(calls: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Milliseconds of each call, turn by turn, so that a busy moment hits all of them."""
    spent: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for place, call in enumerate(calls):
            start = time.perf_counter()
            call()
            spent[place].append((time.perf_counter() - start) * 1000)
    return spent


def measure(engine: Engine, log: SignedLog, size: int, calls: int) -> dict[str, Any]:
    fill(engine, size)
    chance = random.Random(size)
    number = count(size * 10**6)
    key = next(iter(log.keys.public.values()))
    older = log.head() if size > LEAVES[0] else None

    def append() -> None:
        with writing(engine) as session:
            append_leaf(session, LeafKind.COMMIT, make_leaf(next(number)))

    def plain() -> None:
        data = make_leaf(next(number))
        with writing(engine) as session:
            session.execute(
                sa.insert(PLAIN).values(
                    number=next(number), kind="commit", data=data, hash=hash_leaf(data)
                )
            )

    appended, inserted = timed([append, plain], calls)
    head = log.sign()
    proofs, growth = [], []

    def prove() -> None:
        proofs.append(log.prove_leaf(chance.randrange(size)))

    def prove_growth() -> None:
        growth.append(log.prove_growth(chance.randrange(1, size)))

    def verify() -> None:
        check_inclusion_proof(proofs[-1], head, key)

    proven, grown, verified = timed([prove, prove_growth, verify], calls)
    if older is not None:
        check_consistency_proof(log.prove_growth(older.size), older, head, key)
    start = time.perf_counter()
    report = check_consistency(engine, now=datetime.now(UTC), log_keys=log.keys.public)
    seconds = time.perf_counter() - start
    found = [one for one in report.problems if one.code != "row_missing"]  # leaves alone, no rows
    if found or report.head.digest != head.root.hex():
        raise SystemExit(f"the tree does not hold: {found[:3]}")
    return {
        "leaves": size,
        "append_ms": summarise(appended),
        "plain_insert_ms": summarise(inserted),
        "append_to_insert": round(statistics.median(appended) / statistics.median(inserted), 2),
        "inclusion_ms": summarise(proven),
        "consistency_ms": summarise(grown),
        "verify_ms": summarise(verified),
        "longest_path": max(len(one.path) for one in proofs),
        "check_leaves_per_s": round(report.head.size / seconds),
        "calls": calls,
    }


def summarise(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(values), 3),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
    }


def measure_audit(folder: Path, pictures: int) -> dict[str, Any]:
    """`countermark audit --json` over delivered pictures, whole."""
    import io
    import os
    from contextlib import redirect_stdout

    import typer

    settings = load_settings(environ={}, home=folder / "home")
    service = build_generator(settings).service
    for number in range(pictures):
        request = GenerationRequest(
            prompt=PROMPTS[number % len(PROMPTS)], seed=100 + number, steps=1
        )
        service.generate(request, lambda _: None)
    os.environ["COUNTERMARK_HOME"] = str(settings.home)
    out = io.StringIO()
    start = time.perf_counter()
    with redirect_stdout(out):
        code = typer.main.get_command(audit_app).main(["--json"], standalone_mode=False)
    seconds = time.perf_counter() - start
    report = json.loads(out.getvalue())
    if report["problems"]:
        raise SystemExit(f"the audit of untouched pictures found {report['problems'][:3]} ({code})")
    return {
        "pictures": pictures,
        "seconds": round(seconds, 2),
        "records_per_s": report["records_per_s"],
    }


def write(result: dict[str, Any]) -> None:
    (RESULTS / "merkle_log.json").write_text(json.dumps(result, indent=2) + "\n")
    rows = "\n".join(
        f"| {one['leaves']:,} | {one['append_ms']['median']} ({one['append_ms']['p95']}) | "
        f"{one['plain_insert_ms']['median']} | {one['append_to_insert']} | "
        f"{one['inclusion_ms']['median']} ({one['inclusion_ms']['p95']}) | "
        f"{one['consistency_ms']['median']} ({one['consistency_ms']['p95']}) | "
        f"{one['verify_ms']['median']} | {one['longest_path']} | {one['check_leaves_per_s']:,} |"
        for one in result["log"]
    )
    machine, audit = result["machine"], result["audit"]
    calls = result["log"][0]["calls"]
    text = f"""# What the log costs

`{result["command"]}`: {machine["date"]}, {machine["cpu"]}, {machine["cores"]} cores, Python
{machine["python"]}, SQLite on a local disk, with `synchronous = FULL`. Milliseconds, median (95th
percentile) of {calls} calls; appending and the bare INSERT of as long a row take turns. The machine
did other work meanwhile: read the ratio and the growth, not the times.

| leaves | append a leaf | bare INSERT | ratio | inclusion proof | consistency proof \
| check a proof | hashes in the longest path | whole tree, leaves a second |
|---|---|---|---|---|---|---|---|---|
{rows}

`countermark audit` of {audit["pictures"]} delivered pictures (512x512 PNG; row, leaf, digest,
pixels, manifest, watermark, hash and index each): {audit["records_per_s"]} records a second,
{audit["seconds"]} s with start-up. `--sample N` where that is too long; rows and log are checked
whole in any case.
"""
    (RESULTS / "merkle_log.md").write_text(text.replace("\\\n", ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, nargs="+", default=list(LEAVES))
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=24)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/registry.sqlite3"
        upgrade(url)
        engine = open_store(url).engine
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE plain (number INTEGER PRIMARY KEY, kind VARCHAR(32), data BLOB, "
                "hash BLOB)"
            )
        log = SignedLog(engine, open_log_keys(folder / "log.key"))
        measured = []
        for size in chosen.leaves:
            measured.append(measure(engine, log, size, chosen.calls))
            print(measured[-1], file=sys.stderr, flush=True)
        audit = measure_audit(folder, chosen.pictures)
    words = " ".join(str(one) for one in chosen.leaves)
    write(
        {
            "command": f"python -m benchmarks.merkle_log --leaves {words} --calls {chosen.calls} "
            f"--pictures {chosen.pictures}",
            "machine": describe_machine(),
            "log": measured,
            "audit": audit,
        }
    )


if __name__ == "__main__":
    main()
