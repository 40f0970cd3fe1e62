"""See the package."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.near_duplicates.material import (
    ask,
    fill_registry,
    list_queries,
    use_photographs,
)
from benchmarks.near_duplicates.pairs import compare_hashes, compare_points
from benchmarks.near_duplicates.report import write_report
from benchmarks.watermark.pictures import SCRATCH
from provenance.fingerprint.hashes.pdq import PdqHasher
from provenance.fingerprint.keypoints import find_library
from provenance.fingerprint.verification import load_verifier
from provenance.fingerprint.words.making import load_word_maker
from provenance.plugins import load_backend
from registry.likeness import LikenessSearch
from registry.store import open_store

if TYPE_CHECKING:
    from benchmarks.near_duplicates.material import Query
    from provenance.fingerprint.words.making import WordMaker
    from provenance.interfaces import Embedder

FOLDER = SCRATCH / "near_duplicates"
POINT_PAIRS = 600
REGISTRIES = ("small", "large")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=10_000, help="in the large registry")
    parser.add_argument("--queries", type=int, default=None, help="of each registry, at most")
    parser.add_argument("--registries", nargs="*", choices=REGISTRIES, default=REGISTRIES)
    parser.add_argument(
        "--skip", type=int, default=0, help="queries that were seen while thresholds were set"
    )
    parser.add_argument("--embedder", default="", help="entry point; none by default")
    parser.add_argument("--without-words", action="store_true", help="as before there were any")
    parser.add_argument(
        "--photographs", type=Path, nargs="*", default=[], help="further folders of pictures"
    )
    parser.add_argument("--processes", type=int, default=1, help="that ask at once")
    parser.add_argument("--share", type=int, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--report", action="store_true", help="only write down what is there")
    arguments = parser.parse_args()
    use_photographs(arguments.photographs)
    variant = _variant(arguments)
    folder = FOLDER / (variant or "default")
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.share is not None:
        for name in arguments.registries:
            _ask_share(name, folder, arguments)
        return
    if not arguments.report:
        _ask_in_processes(folder, arguments)
        _keep(folder / "hashes.json", lambda: compare_hashes(arguments.scenes))
        _keep(folder / "points.json", lambda: compare_points(arguments.scenes, most=POINT_PAIRS))
    write_report(
        folder,
        variant=variant,
        further=[one.name for one in arguments.photographs],
        skipped=arguments.skip,
        library=find_library() or "none",
    )


def _variant(arguments: argparse.Namespace) -> str:
    parts = [arguments.embedder, "without-words" if arguments.without_words else ""]
    return "_".join(part for part in parts if part)


def _keep(file: Path, measure: Any) -> None:
    if not file.exists():
        file.write_text(json.dumps(measure()))


def _ask_in_processes(folder: Path, arguments: argparse.Namespace) -> None:
    """Fills the registries once; each process asks a share of the queries."""
    for name in arguments.registries:
        if not _registry_file(folder, name, arguments).exists():
            _fill(name, folder, arguments)
    command = [sys.executable, "-m", "benchmarks.near_duplicates", *sys.argv[1:], "--share"]
    running = [subprocess.Popen([*command, str(share)]) for share in range(arguments.processes)]
    codes = [one.wait() for one in running]  # all of them, before anything is said
    if any(codes):
        raise SystemExit("a process failed; start again: what was asked is kept")
    for name in arguments.registries:
        for file in folder.glob(f"{name}-*.sqlite3*"):
            file.unlink()


def _registry_file(folder: Path, name: str, arguments: argparse.Namespace) -> Path:
    return folder / f"{name}-{arguments.scenes}-{len(arguments.photographs)}.sqlite3"


def _fill(name: str, folder: Path, arguments: argparse.Namespace) -> None:
    file = _registry_file(folder, name, arguments)
    partial = file.with_suffix(".part")
    store, names = fill_registry(
        partial,
        is_small=name == "small",
        scenes=arguments.scenes,
        embedder=_embedder(arguments),
        words=_words(arguments),
    )
    store.close()
    file.with_suffix(".names").write_text(json.dumps(names))
    partial.replace(file)
    print(f"{name}: {len(names)} records", flush=True)


def _embedder(arguments: argparse.Namespace) -> Embedder | None:
    if not arguments.embedder:
        return None
    embedder: Embedder = load_backend("countermark.embedders", arguments.embedder)()
    return embedder


def _words(arguments: argparse.Namespace) -> WordMaker | None:
    return None if arguments.without_words else load_word_maker()


def _ask_share(name: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Asks the queries of this process's share that have not been asked yet."""
    journals = folder.glob(f"{name}-*.jsonl")
    asked = {json.loads(line)["name"] for one in journals for line in one.read_text().splitlines()}
    queries = list_queries(is_small=name == "small", scenes=arguments.scenes)
    chosen = queries[arguments.skip :][: arguments.queries]
    mine = chosen[arguments.share :: arguments.processes]
    file = _registry_file(folder, name, arguments)
    names = json.loads(file.with_suffix(".names").read_text())
    store = open_store(f"sqlite:///{file}")
    search = LikenessSearch(
        store,
        PdqHasher(),
        embedder=_embedder(arguments),
        verifier=load_verifier(),
        words=_words(arguments),
    )
    with (folder / f"{name}-{arguments.share}.jsonl").open("a") as out:
        for query in mine:
            if query.name not in asked:
                out.write(json.dumps(_ask(search, query, names)) + "\n")
                out.flush()
    store.close()


def _ask(search: LikenessSearch, query: Query, names: dict[str, str]) -> dict[str, Any]:
    image = ask(query)
    started = time.process_time()
    matches = search.look(image)
    quick = time.process_time() - started
    if not matches:
        matches = search.search(image)
    return {
        "name": query.name,
        "kind": query.kind,
        "source": query.source,
        "edit": query.edit,
        "records": len(names),
        "quick_s": round(quick, 4),
        "cpu_s": round(time.process_time() - started, 4),
        "answers": [
            {
                "source": names[one.record.record_id],
                "tier": one.tier.value,
                "view": one.view,
                "distance_bits": one.likeness.distance_bits,
                "inliers": one.likeness.inliers,
                "agreement": one.likeness.agreement,
                "cosine": one.likeness.cosine,
            }
            for one in matches
        ],
    }


if __name__ == "__main__":
    main()
