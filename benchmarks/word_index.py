"""Keypoint words in growing registries: does the right record come among the first, and how fast?

    python -m benchmarks.word_index [--photographs FOLDER ...] [--sizes N ...]

Registers the photographs, and fills up with records that are mixed from the corners of drawn
scenes and rendered pictures: each corner is a real one, with its word, angle and check bits, but
each record takes its corners from many pictures. Asks for edited copies of the photographs, by
words alone, as the search does before it compares points. Writes docs/benchmarks/word_index.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.edits import EDITS, Scene, edit_picture
from benchmarks.machine import describe_machine
from benchmarks.siblings import keep_drawn, rendered_families
from benchmarks.watermark.pictures import photographs
from provenance.fingerprint.verification import load_verifier
from provenance.fingerprint.words.making import KEPT_CORNERS, keep_small, load_word_maker
from provenance.types import KeypointWords, RasterImage
from registry import migrate
from registry.engine import make_engine
from registry.index.words import encode_words
from registry.store import SqlRecordStore

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"
SIZES = (1_000, 10_000, 50_000)
SCENES = 1_200
ASKED = ("crop70", "crop50", "crop30", "rotate15in", "memetext", "phone", "desktop", "onbg30")
PHOTOS = 60
CANDIDATES = 20
MEMORY = 1 << 33


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, nargs="*", default=[])
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.photographs)))
        return
    pool = corners()
    rows = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/registry.sqlite3"
            fill(url, size, pool, arguments.photographs)
            words = [sys.executable, "-m", "benchmarks.word_index", *sys.argv[1:], "--measure", url]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            rows.append({"records": size} | json.loads(done.stdout))
            print(json.dumps(rows[-1]), flush=True)
    answer = {"machine": describe_machine(), "rows": rows}
    (RESULTS / "word_index.json").write_text(json.dumps(answer, indent=1) + "\n")
    (RESULTS / "word_index.md").write_text("\n".join(page(answer)) + "\n")


def pictures(folders: list[Path]) -> list[RasterImage]:
    return [one.native() for one in photographs(folders)][:PHOTOS]


def corners() -> KeypointWords:
    """All corners of the scenes and of what the bundled model rendered."""
    maker = load_word_maker()
    if maker is None:
        raise SystemExit("keypoint words need OpenCV")
    found = [maker.describe(kept.thumbnail) for kept in keep_drawn(SCENES)]
    found += [
        words
        for family in rendered_families()
        for one in family[:2]
        if (words := keep_small(one, maker)[1]) is not None
    ]
    return KeypointWords(
        maker.space_id,
        np.concatenate([one.words for one in found]),
        np.concatenate([one.angles for one in found]),
        np.concatenate([one.check_bits for one in found]),
    )


def fill(url: str, size: int, pool: KeypointWords, folders: list[Path]) -> None:
    """Photographs first; rows only of the table that is measured."""
    migrate.upgrade(url)
    maker = load_word_maker()
    assert maker is not None
    random = np.random.default_rng(size)
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    photos = [keep_small(one, maker)[1] for one in pictures(folders)]
    for number in range(size):
        words = photos[number] if number < len(photos) else _mixed(pool, random)
        assert words is not None
        connection.execute(
            "INSERT INTO keypoint_words VALUES (?, ?, ?, ?)",
            (f"{number:016x}", words.space_id, number, encode_words(words)),
        )
    connection.commit()
    connection.close()


def _mixed(pool: KeypointWords, random: np.random.Generator) -> KeypointWords:
    chosen = random.integers(0, len(pool), KEPT_CORNERS)
    return KeypointWords(
        pool.space_id, pool.words[chosen], pool.angles[chosen], pool.check_bits[chosen]
    )


def measure(url: str, folders: list[Path]) -> dict[str, Any]:
    """A start, then one query after the other; in a process of its own."""
    maker, verifier = load_word_maker(), load_verifier()
    assert maker is not None
    assert verifier is not None
    photos = pictures(folders)
    store = SqlRecordStore(make_engine(url), max_cached_bytes=MEMORY)
    places: dict[str, list[int]] = defaultdict(list)
    times, load_s, added_mb = [], 0.0, 0.0
    for number, photo in enumerate(photos):
        for edit in ASKED:
            draw = np.random.default_rng([number, list(EDITS).index(edit)])
            others = tuple(photos[n] for n in draw.permutation(len(photos))[:4] if n != number)
            asked = maker.ask(
                verifier.prepare_query(edit_picture(edit, photo, Scene(draw, others)))
            )
            if not times:
                before, start = psutil.Process().memory_info().rss, time.perf_counter()
                store.nearest_words(asked, limit=CANDIDATES)
                load_s = time.perf_counter() - start
                added_mb = (psutil.Process().memory_info().rss - before) / 1e6
            start_cpu = time.process_time()
            near = store.nearest_words(asked, limit=CANDIDATES)
            times.append(1000 * (time.process_time() - start_cpu))
            names = [int(one.record_id, 16) for one in near]
            places[edit].append(names.index(number) if number in names else CANDIDATES)
    (index,) = store._word_indexes.values()  # noqa: SLF001 - its size is what is asked
    return {
        "first_search_s": round(load_s, 2),
        "index_mb": round(index.size_bytes / 1e6, 1),
        "added_mb": round(added_mb, 1),
        "search_ms": {"p50": _percentile(times, 50), "p95": _percentile(times, 95)},
        "by_edit": {
            edit: {
                "asked": len(found),
                "first": sum(place == 0 for place in found),
                "among": sum(place < CANDIDATES for place in found),
            }
            for edit, found in places.items()
        },
    }


def _percentile(values: list[float], share: int) -> float:
    return round(float(np.percentile(values, share)), 1)


def page(answer: dict[str, Any]) -> list[str]:
    machine = answer["machine"]
    lines = [
        "# Keypoint words in growing registries",
        "",
        f"`python -m benchmarks.word_index`, {machine['date']}, {machine['cpu']}, "
        f"{machine['cores']} cores, Python {machine['python']}. Edited copies of "
        f"{PHOTOS} photographs at most among records that are mixed from corners of the project's "
        "own pictures; words alone, before any comparison of points. *Among*: the right record is "
        f"one of the {CANDIDATES} that are compared then. A paste-in's background is registered, "
        "too, and often comes first.",
        "",
        "| records | first search | index | search p50 | p95 |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['records']:,} | {row['first_search_s']} s | {row['index_mb']} MB | "
        f"{row['search_ms']['p50']} ms | {row['search_ms']['p95']} ms |"
        for row in answer["rows"]
    ]
    lines += ["", "CPU time of one thread; the first search reads and sorts all rows.", ""]
    sizes = " | ".join(f"{row['records']:,}: first | among" for row in answer["rows"])
    lines += [f"| edit | {sizes} |", "| --- |" + " --- | --- |" * len(answer["rows"])]
    for edit in ASKED:
        cells = [row["by_edit"][edit] for row in answer["rows"]]
        shown = " | ".join(
            f"{one['first']} of {one['asked']} | {one['among']} of {one['asked']}" for one in cells
        )
        lines.append(f"| {edit} | {shown} |")
    return lines


if __name__ == "__main__":
    main()
