"""Finished pieces of a run, a line each: an interruption loses at most what was under way.

A journal belongs to one state of the code: when a codec, an attack or the measuring changes, it
gets another name and the run begins anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.watermark.pictures import SCRATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ROOT = Path(__file__).parents[2]
_JUDGED = ("provenance/watermark", "benchmarks/watermark")
_SHOWN = {"report.py", "html.py", "run.py", "speed.py"}
"""Files that put figures on paper and change none."""


def code_digest() -> str:
    """Changes with every line of code that could change a figure."""
    digest = hashlib.sha256()
    for folder in _JUDGED:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            if path.name not in _SHOWN:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Journal:
    """What is done already, by key; a JSON document each."""

    def __init__(self, name: str) -> None:
        SCRATCH.mkdir(parents=True, exist_ok=True)
        self._path = SCRATCH / f"{name}-{code_digest()}.jsonl"
        self.done: dict[str, Any] = {}
        if self._path.exists():
            for line in self._path.read_text().splitlines():
                try:
                    key, value = json.loads(line)
                except ValueError:
                    continue  # the line that was being written when the run ended
                self.done[key] = value

    def add(self, key: str, value: Any) -> None:
        self.done[key] = value
        with self._path.open("a") as file:
            # A line that a killed run left unfinished must not swallow this one.
            file.write("\n" + json.dumps([key, value]) + "\n")


def run_all(
    journal: Journal,
    tasks: Mapping[str, tuple[Any, ...]],
    work: Callable[..., Any],
    *,
    workers: int,
    ready: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Works off what the journal lacks, in processes of one thread each.

    Args:
        journal: Where results go, as soon as they are there.
        tasks: Arguments of `work` by key.
        work: A function of a module.
        workers: Processes.
        ready: Told after each task how many are done, of how many.

    Returns:
        The results of all tasks.
    """
    missing = {key: task for key, task in tasks.items() if key not in journal.done}
    print(f"{len(tasks) - len(missing)} of {len(tasks)} pieces are done already", flush=True)
    with one_core_pool(workers) as pool:
        running = {pool.submit(work, *task): key for key, task in missing.items()}
        try:
            for number, future in enumerate(as_completed(running), len(tasks) - len(missing) + 1):
                journal.add(running[future], future.result())
                if ready is not None:
                    ready(number, len(tasks))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {key: journal.done[key] for key in tasks}


def one_core_pool(workers: int) -> ProcessPoolExecutor:
    """Processes of one core and one thread each."""
    context = get_context("spawn")
    # Read by the numeric libraries when they are loaded, so it must stand before a process starts.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    return ProcessPoolExecutor(workers, context, _stay_on_one_core, (context.Value("i", 0),))


def _stay_on_one_core(turn: Any) -> None:
    """One core, so one thread: libraries that count cores then start no more."""
    with turn.get_lock():
        number, turn.value = turn.value, turn.value + 1
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})
