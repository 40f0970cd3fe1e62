"""See the package."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import TYPE_CHECKING, Any

from benchmarks.near_duplicates.material import ask, fill_registry, list_queries
from benchmarks.near_duplicates.pairs import compare_hashes, compare_points
from benchmarks.near_duplicates.report import write_report
from benchmarks.watermark.pictures import SCRATCH
from provenance.fingerprint.hashes.pdq import PdqHasher
from provenance.fingerprint.keypoints import find_library
from provenance.fingerprint.verification import load_verifier
from provenance.plugins import load_backend
from registry.likeness import LikenessSearch

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.interfaces import Embedder

FOLDER = SCRATCH / "near_duplicates"
POINT_PAIRS = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=10_000, help="in the large registry")
    parser.add_argument("--queries", type=int, default=None, help="of each registry, at most")
    parser.add_argument("--embedder", default="", help="entry point; none by default")
    parser.add_argument("--report", action="store_true", help="only write down what is there")
    arguments = parser.parse_args()
    folder = FOLDER / (arguments.embedder or "no-embedder")
    folder.mkdir(parents=True, exist_ok=True)
    if not arguments.report:
        embedder: Embedder | None = None
        if arguments.embedder:
            embedder = load_backend("countermark.embedders", arguments.embedder)()
        for name in ("small", "large"):
            _run(name, folder, arguments.scenes, arguments.queries, embedder)
        _keep(folder / "hashes.json", lambda: compare_hashes(arguments.scenes))
        _keep(folder / "points.json", lambda: compare_points(arguments.scenes, most=POINT_PAIRS))
    write_report(folder, embedder=arguments.embedder, library=find_library() or "none")


def _keep(file: Path, measure: Any) -> None:
    if not file.exists():
        file.write_text(json.dumps(measure()))


def _run(
    name: str, folder: Path, scenes: int, queries: int | None, embedder: Embedder | None
) -> None:
    """Asks all queries of one registry that have not been asked yet."""
    journal = folder / f"{name}.jsonl"
    asked = {json.loads(line)["name"] for line in _lines(journal)}
    is_small = name == "small"
    chosen = list_queries(is_small=is_small, scenes=scenes)[:queries]
    waiting = [one for one in chosen if one.name not in asked]
    if not waiting:
        return
    file = folder / f"{name}-{os.getpid()}.sqlite3"
    store, names = fill_registry(file, is_small=is_small, scenes=scenes, embedder=embedder)
    search = LikenessSearch(store, PdqHasher(), embedder=embedder, verifier=load_verifier())
    with journal.open("a") as out:
        for query in waiting:
            image = ask(query)
            started = time.process_time()
            matches = search.look(image)
            quick = time.process_time() - started
            if not matches:
                matches = search.search(image)
            row = {
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
            out.write(json.dumps(row) + "\n")
            out.flush()
    store.close()
    file.unlink(missing_ok=True)


def _lines(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


if __name__ == "__main__":
    main()
