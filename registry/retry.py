"""Tries a transaction again that lost a race against another one.

PostgreSQL ends one of two transactions that wait for each other, and under its stricter isolation
levels one of two that changed what the other read. Neither left anything behind, so the whole
method is called again. SQLite has one writer at a time and makes the others wait.

Source: PostgreSQL documentation, "Serialization Failure Handling".
"""

from __future__ import annotations

import functools
import random
import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from provenance.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_TRIES", "is_lost_race", "retried"]

P = ParamSpec("P")
T = TypeVar("T")

MAX_TRIES = 6
FIRST_PAUSE_S = 0.01
"""Doubled each time: 0.3 s in all."""
LOST_RACES = frozenset({"40001", "40P01"})
"""SQLSTATE serialization_failure and deadlock_detected."""


def is_lost_race(error: RegistryUnavailableError) -> bool:
    """Whether the same transaction would succeed, now that the other one is done."""
    driver_error = getattr(error.__cause__, "orig", None)
    return getattr(driver_error, "sqlstate", None) in LOST_RACES


def retried(method: Callable[P, T]) -> Callable[P, T]:
    """A method that is one transaction, called again at most five times when it lost a race.

    The pauses are random, so that two that met do not meet again.
    """

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for number in range(MAX_TRIES - 1):
            try:
                return method(*args, **kwargs)
            except RegistryUnavailableError as error:
                if not is_lost_race(error):
                    raise
            time.sleep(FIRST_PAUSE_S * 2**number * random.uniform(0.5, 1.5))  # noqa: S311
        return method(*args, **kwargs)

    return call
