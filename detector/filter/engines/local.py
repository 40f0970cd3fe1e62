"""Decides on this machine, in a few threads."""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from provenance.types import FilterDecision

__all__ = ["LocalEngine"]

MAX_WORKERS = 8
"""Decoding and transforms release the interpreter's lock; beyond eight threads it is the limit."""


class LocalEngine:
    """Runs decisions in threads; at most two samples a worker are in memory.

    Args:
        workers: Number of threads; None means one a core, at most `MAX_WORKERS`.
    """

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or min(MAX_WORKERS, os.cpu_count() or 1)

    def run(
        self, paths: Iterable[Path], decide: Callable[[Path], FilterDecision]
    ) -> Iterator[FilterDecision]:
        """One decision per path, as they become ready, each exactly once."""
        waiting: set[Future[FilterDecision]] = set()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="filter") as pool:
            try:
                for path in paths:
                    waiting.add(pool.submit(decide, path))
                    if len(waiting) >= 2 * self._workers:
                        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                        yield from (future.result() for future in done)
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            finally:
                for future in waiting:
                    future.cancel()
