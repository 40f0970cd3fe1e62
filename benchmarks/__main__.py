"""Runs every benchmark: ``python -m benchmarks`` (what ``make bench`` does)."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "benchmarks.watermark",
    "benchmarks.watermark.null",
    "benchmarks.watermark.security",
    "benchmarks.watermark.speed",
    "benchmarks.bundled_model",
    "benchmarks.descriptor",
    "benchmarks.delivery",
    "benchmarks.marking_overhead",
    "benchmarks.known_watermarks",
    "benchmarks.visible_marks",
    "benchmarks.verify_fast",
    "benchmarks.vector_index",
    "benchmarks.vector_index_postgresql",
    "benchmarks.registry_writes",
    "benchmarks.near_duplicates",
    "benchmarks.word_index",
    "benchmarks.merkle_log",
    "benchmarks.fuzz",
)


def main() -> None:
    """Runs them one after the other, each in a process of its own."""
    for name in BENCHMARKS:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, "-m", name], check=True)


if __name__ == "__main__":
    main()
