"""Looks on while the lattice reader reads: every reading's pilot statistic, none of its rules."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from provenance.watermark.codecs import lattice

if TYPE_CHECKING:
    from collections.abc import Iterator


class Observation:
    """What was read since the block began.

    Attributes:
        statistics: By key id, the pilot statistic of each geometry that was read.
        words: Price of the words that were compared with their tag, in words of full price.
        ids: Record ids whose tag fitted.
    """

    def __init__(self) -> None:
        self.statistics: dict[str, list[float]] = defaultdict(list)
        self.words = 0.0
        self.ids: list[str] = []

    def best(self, key_id: str) -> float:
        """The highest statistic of a key; 0 when it was not looked for."""
        return max(self.statistics[key_id], default=0.0)


@contextmanager
def observe_readings() -> Iterator[Observation]:
    """Records what the production reader does within the block, one picture's reading."""
    original, seen = lattice.read_lines, Observation()

    def read_lines(lines: Any, carrier: Any, key: Any, attempts: Any) -> Any:
        reading = original(lines, carrier, key, attempts)
        seen.statistics[key.key_id].append(reading.sync.statistic)
        seen.words = attempts.words
        if reading.record_id is not None:
            seen.ids.append(reading.record_id)
        return reading

    lattice.read_lines = read_lines
    try:
        yield seen
    finally:
        lattice.read_lines = original
