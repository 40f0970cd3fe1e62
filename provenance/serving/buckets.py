"""Token buckets: how often a caller may ask.

In process: each server process counts for itself, so n processes together let through up to n
times the rate. That is enough against overload, which is what rates are for; what must be exact,
pictures a day, is counted in the database.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Buckets", "Turn"]

MAX_BUCKETS = 20_000
"""Callers remembered at once, a few megabytes. The one who asked longest ago is forgotten first:
its bucket is the likeliest to be full again, and a full bucket holds no information."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a caller may ask now.

    Attributes:
        allowed: Whether.
        limit: Requests a minute.
        remaining: Requests that it could make at once now.
        wait_s: Seconds until the next one; 0 while there are some.
    """

    allowed: bool
    limit: int
    remaining: int
    wait_s: float


class Buckets:
    """Buckets by caller; every method is safe from any thread.

    A bucket holds one minute's requests, and fills evenly.

    Args:
        clock: Seconds that only grow.
        max_buckets: Bound of memory.
    """

    def __init__(self, clock: Callable[[], float], *, max_buckets: int = MAX_BUCKETS) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, caller: str, per_minute: int) -> Turn:
        """Takes one request from the caller's bucket, if it holds one."""
        return self._ask(caller, per_minute, cost=1)

    def peek(self, caller: str, per_minute: int) -> Turn:
        """What `take` would answer; takes nothing."""
        return self._ask(caller, per_minute, cost=0)

    def _ask(self, caller: str, per_minute: int, *, cost: int) -> Turn:
        # NOTE: one number a bucket: the moment at which it will be full ("generic cell rate
        # algorithm", ITU-T I.371). The level follows from it, whatever the rate is by then.
        every_s = 60.0 / per_minute
        with self._lock:
            now = self._clock()
            full_at = max(now, self._full_at.get(caller, now))
            level = per_minute - (full_at - now) / every_s
            allowed = level >= 1 - _ROUNDING
            if allowed and cost:
                full_at += every_s
                level -= 1
                self._full_at[caller] = full_at
                self._full_at.move_to_end(caller)
                if len(self._full_at) > self._max_buckets:
                    self._full_at.popitem(last=False)
        wait_s = 0.0 if level >= 1 - _ROUNDING else (1 - level) * every_s
        return Turn(allowed, per_minute, max(0, int(level + _ROUNDING)), wait_s)


_ROUNDING = 1e-6
"""A clock's seconds and a rate's fractions do not add up to whole requests exactly."""
