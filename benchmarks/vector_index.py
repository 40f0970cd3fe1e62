"""Search in a large registry: copies found, time, memory, rebuild: docs/benchmarks/vector_index.

``python -m benchmarks.vector_index`` fills SQLite registries of 10 k, 100 k and 1 M records (4 GB
of disk, some minutes) and asks each for copies planted at cosine 0.8, 0.6 and 0.4. Vectors are
spread evenly over the sphere, as those of copy detectors nearly are. Every process that is timed
is a fresh one. Peers are compared where they are installed: ``pip install faiss-cpu``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from benchmarks.bulk_rows import add_records
from benchmarks.machine import describe_machine
from benchmarks.vector_index_report import as_markdown
from provenance.testing.indexes import copy_at, unit_vectors
from provenance.types import Embedding, PerceptualHash
from registry import migrate
from registry.engine import make_engine, reading, writer
from registry.index.hash_chunks import rebuild as rebuild_chunks
from registry.index.sign_codes import CodeBlock, code_words, nearest_codes
from registry.index.vectors import SqlVectorIndex, read_vectors
from registry.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks" / "vector_index.json"
SIZES = (10_000, 100_000, 1_000_000)
CODES_ONLY = 10_000_000
DIM = 512
SPACE = "benchmark/1"
COSINES = (0.8, 0.6, 0.4)
BATCH = 20_000
QUERIES = 200
PEER_ROWS = 100_000


# -- filling -----------------------------------------------------------------------------------


def make_hashes(count: int, *, seed: int) -> list[bytes]:
    raw = np.random.default_rng(seed).bytes(32 * count)
    return [raw[start : start + 32] for start in range(0, len(raw), 32)]


def fill(url: str, rows: int) -> dict[str, float]:
    """A registry of `rows` records; answers what took how long."""
    migrate.upgrade(url)
    engine = make_engine(url, busy_timeout_s=60)
    start = time.perf_counter()
    for first in range(0, rows, BATCH):
        count = min(BATCH, rows - first)
        vectors = unit_vectors(count, DIM, seed=first + 1)
        hashes = make_hashes(count, seed=first)
        add_records(engine, vectors, space_id=SPACE, hashes=hashes, chunks=False)
    filled_s = time.perf_counter() - start
    start = time.perf_counter()
    with writer(engine).begin() as connection:
        rebuild_chunks(connection)
    chunks_s = time.perf_counter() - start
    engine.dispose()
    return {"fill_s": round(filled_s, 1), "chunk_rebuild_s": round(chunks_s, 1)}


# -- measuring, each in a process of its own -----------------------------------------------------


def measure_rebuild(url: str, folder: str) -> dict[str, Any]:
    """A start without a file: every vector is read."""
    index = SqlVectorIndex(make_engine(url), SPACE, folder=Path(folder))
    before = psutil.Process().memory_info().rss
    watch = Stopwatch()
    with watch:
        index.rebuild()
    seconds = {f"rebuild_{name}_s": round(ms[0] / 1000, 2) for name, ms in watch.ms.items()}
    return seconds | {"rebuild_added_mb": added_mb(before)}


def measure_search(url: str, folder: str) -> dict[str, Any]:
    """A start with a file, then one query after the other."""
    store = open_store(
        url, open_index=lambda engine, space: SqlVectorIndex(engine, space, folder=Path(folder))
    )
    rows = store.count()
    random = np.random.default_rng(5)
    places = random.choice(rows, QUERIES, replace=False).tolist()
    sources = read_sources(store.engine, places)
    strangers = unit_vectors(1, DIM, seed=987_654_321)
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    store.nearest_embeddings(Embedding(SPACE, strangers[0]), min_cosine=0.25, limit=5)
    loaded_s = time.perf_counter() - start
    index = store.vector_index(SPACE)
    assert isinstance(index, SqlVectorIndex)
    codes = np.random.default_rng(1).integers(
        0, 2**63, (code_words(DIM), index.rows), dtype=np.uint64
    )
    # The first query has made the caches of SQLAlchemy, too; codes to compare with come on top.
    added = round(added_mb(before) - codes.nbytes / 1e6, 1)
    memory = {"added_mb": added, "codes_mb": index.size_bytes / 1e6}
    found: dict[str, Any] = {}
    for cosine in COSINES:
        searches, passes, hits = Stopwatch(), Stopwatch(), 0
        for number, (name, vector) in enumerate(sources):
            query = Embedding(SPACE, copy_at(vector, cosine, seed=10**9 + number))
            with searches:
                near = store.nearest_embeddings(query, min_cosine=0.25, limit=5)
            hits += bool(near) and near[0].record_id == name
            with passes:
                pass_over(codes)
        found[str(cosine)] = {
            "copy_at_1": hits,
            "n": len(sources),
            "search": searches.summary(),
            "numpy_pass": passes.summary(),
        }
    return {"load_s": round(loaded_s, 2), **memory, "by_cosine": found}


def pass_over(codes: np.ndarray[Any, Any]) -> None:
    """The plainest pass over all codes: no choice of the best, no rows."""
    query = codes[:, 0].copy()
    bits = np.bitwise_count(codes[0] ^ query[0]).astype(np.uint16)
    for word, asked in zip(codes[1:], query[1:], strict=True):
        bits += np.bitwise_count(word ^ asked)


def measure_hashes(url: str, _folder: str) -> dict[str, Any]:
    """Hashes at 31 bits and less, against comparing all of them."""
    store = open_store(url)
    with reading(store.engine) as session:
        stored = session.connection().exec_driver_sql(
            "SELECT hash FROM perceptual_hashes ORDER BY log_index"
        )
        packed = np.frombuffer(b"".join(row[0] for row in stored), np.uint64).reshape(-1, 4)
    random = np.random.default_rng(8)
    watch = Stopwatch()
    missed = compared = 0
    for number in range(QUERIES):
        for flips in (8, 15, 31):
            value = packed[random.integers(0, len(packed))].tobytes()
            number_of = int.from_bytes(value, "big")
            for bit in random.choice(256, flips, replace=False):
                number_of ^= 1 << int(bit)
            query = PerceptualHash("pdq-1", f"{number_of:064x}", 90)
            with watch:
                near = store.nearest_hashes(query, max_distance_bits=31, limit=100)
            if number < 40:
                asked = np.frombuffer(bytes.fromhex(query.hex), np.uint64)
                all_bits = np.bitwise_count(packed ^ asked).sum(axis=1)
                expected = np.sort(all_bits[all_bits <= 31])
                compared += 1
                missed += [one.distance_bits for one in near] != expected.tolist()
    return {
        "hash_search": watch.summary(),
        "hash_answers_that_differ": missed,
        "hash_answers_compared": compared,
    }


def read_sources(engine: Any, places: Sequence[int]) -> list[tuple[str, np.ndarray[Any, Any]]]:
    with reading(engine) as session:
        block = read_vectors(session, SPACE, sorted(set(places)))
    assert block is not None
    return [(name.decode(), vector) for name, vector in zip(block.ids, block.values, strict=True)]


def measure_codes_only(rows: int) -> dict[str, Any]:
    """Codes without rows: is the true source among the 200 nearest, and how long does it take?"""
    random = np.random.default_rng(3)
    words = random.integers(0, 2**64, (code_words(DIM), rows), dtype=np.uint64)
    step = 65_536
    blocks = [
        CodeBlock(
            np.arange(start, min(start + step, rows)),
            np.ascontiguousarray(words[:, start : start + step]),
        )
        for start in range(0, rows, step)
    ]
    found: dict[str, Any] = {}
    for cosine in COSINES:
        hits, searches, passes = 0, Stopwatch(), Stopwatch()
        for _ in range(30):
            source = int(random.integers(0, rows))
            flips = random.random((code_words(DIM), 64)) < np.arccos(cosine) / np.pi
            mask = np.packbits(flips, axis=1).view("<u8").ravel()
            with searches:
                near = nearest_codes(blocks, words[:, source] ^ mask, count=200)
            hits += source in {index for index, _ in near}
            with passes:
                pass_over(words)
        found[str(cosine)] = {
            "source_in_200": hits,
            "n": 30,
            "search": searches.summary(),
            "numpy_pass": passes.summary(),
        }
    return found


# -- peers -------------------------------------------------------------------------------------


def measure_peers(rows: int) -> dict[str, Any]:
    """faiss, where it is installed: its flat scan of the same codes, and its graph."""
    try:
        import faiss  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return {}
    faiss.omp_set_num_threads(1)
    vectors = unit_vectors(rows, DIM, seed=1)
    flat = faiss.IndexBinaryFlat(DIM)
    flat.add(np.packbits(vectors >= 0, axis=1))
    graph = faiss.IndexHNSWFlat(DIM, 16, faiss.METRIC_INNER_PRODUCT)
    start = time.perf_counter()
    graph.add(vectors)
    built_s = time.perf_counter() - start
    ways: dict[str, Callable[[Any], Any]] = {
        "faiss IndexBinaryFlat, 200 best": lambda query: flat.search(
            np.packbits(query >= 0, axis=1), 200
        )[1][0],
    }
    for ef in (16, 64, 256, 1024):
        ways[f"faiss IndexHNSWFlat M=16, efSearch {ef}"] = graph_search(graph, ef)
    found: dict[str, Any] = {"version": faiss.__version__, "graph_build_s": round(built_s, 1)}
    for name, way in ways.items():
        found[name] = {}
        for cosine in COSINES:
            hits, watch = 0, Stopwatch()
            for number in range(QUERIES):
                source = number * (rows // QUERIES)
                query = copy_at(vectors[source], cosine, seed=10**9 + number)[None, :]
                with watch:
                    answer = way(query)
                hits += source in answer
            found[name][str(cosine)] = {"found": hits, "n": QUERIES, **watch.summary()}
    return found


def graph_search(graph: Any, ef: int) -> Callable[[Any], Any]:
    def search(query: Any) -> Any:
        graph.hnsw.efSearch = ef
        return graph.search(query, 1)[1][0]

    return search


# -- putting it together -----------------------------------------------------------------------


class Stopwatch:
    """Wall and processor milliseconds of each block that runs under it.

    On a shared machine the wall tells of the others, too; the processor's time does not.
    """

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {"wall": [], "cpu": []}

    def __enter__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        for name, start, now in zip(
            self.ms, self._start, (time.perf_counter(), time.process_time()), strict=True
        ):
            self.ms[name].append((now - start) * 1000)

    def summary(self) -> dict[str, float]:
        return {
            f"{name}_p{percent}_ms": round(float(np.percentile(values, percent)), 2)
            for name, values in self.ms.items()
            for percent in (50, 95)
        }


def added_mb(before: int) -> float:
    return round((psutil.Process().memory_info().rss - before) / 1e6, 1)


MEASURES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "rebuild": measure_rebuild,
    "search": measure_search,
    "hashes": measure_hashes,
}


def in_process(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.vector_index", *words]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return measured


def measure_size(rows: int, folder: Path) -> dict[str, Any]:
    """All measures of one size; a registry that stands in `folder` already is used again."""
    file = folder / f"registry-{rows}.sqlite3"
    noted = file.with_suffix(".json")
    url = f"sqlite:///{file}"
    if not noted.exists():
        noted.write_text(json.dumps(fill(url, rows)))
    measured: dict[str, Any] = {"rows": rows, **json.loads(noted.read_text())}
    measured["database_mb"] = round(file.stat().st_size / 1e6)
    for name in MEASURES:
        index = str(folder / f"index-{rows}")
        measured |= in_process("--measure", name, "--url", url, "--folder", index)
        print(measured, flush=True)
    return measured


def write(result: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    RESULTS.with_suffix(".md").write_text(as_markdown(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--codes-only", type=int, default=CODES_ONLY)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for the registries, used again")
    parser.add_argument("--measure", choices=[*MEASURES, "codes", "peers"])
    parser.add_argument("--url", default="")
    parser.add_argument("--folder", default="")
    asked = parser.parse_args()
    if asked.measure == "codes":
        print(json.dumps(measure_codes_only(asked.codes_only)))
        return
    if asked.measure == "peers":
        print(json.dumps(measure_peers(PEER_ROWS)))
        return
    if asked.measure:
        print(json.dumps(MEASURES[asked.measure](asked.url, asked.folder)))
        return
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"sizes": {}}
    result["machine"] = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        for rows in asked.sizes:
            result["sizes"][str(rows)] = measure_size(rows, asked.keep or Path(folder))
            write(result)
    if asked.codes_only:
        words = ("--measure", "codes", "--codes-only", str(asked.codes_only))
        result["codes_only"] = {"rows": asked.codes_only} | in_process(*words)
        write(result)
    if not asked.no_peers:
        result["peers"] = {"rows": PEER_ROWS} | in_process("--measure", "peers")
        write(result)


if __name__ == "__main__":
    main()
