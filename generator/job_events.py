"""What happens to jobs, for those who follow them: one bounded log a job, in memory."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["EventHub", "EventKind", "JobEvent"]

KEPT_EVENTS = 256
"""Events a job that can be read again; a follower that is further behind goes on at the oldest."""
KEPT_LOGS = 256
"""Logs in memory; those of jobs that ended go first. What is gone is told from the row."""


class EventKind(StrEnum):
    """What happened; the last four are final."""

    QUEUED = "queued"
    STEP = "step"
    PREVIEW = "preview"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self not in {EventKind.QUEUED, EventKind.STEP, EventKind.PREVIEW}


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One event; `id` says where a follower that lost its connection goes on."""

    id: str
    kind: EventKind
    data: Mapping[str, Any]


@dataclass(slots=True)
class _Log:
    events: deque[JobEvent] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    ended: bool = False


class EventHub:
    """Takes events from the worker and gives them to any number of followers.

    Args:
        epoch: Sets this process's event ids apart from those of an earlier one.
    """

    def __init__(self, *, epoch: str | None = None) -> None:
        self._epoch = secrets.token_hex(4) if epoch is None else epoch
        self._count = 0
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        self._lock = threading.Lock()

    def push(self, job_id: str, kind: EventKind, data: Mapping[str, Any]) -> None:
        """Adds an event, unless it says what the last one said or the job has ended."""
        with self._lock:
            log = self._logs.setdefault(job_id, _Log())
            last = log.events[-1] if log.events else None
            if log.ended or (last and last.kind is kind and last.data == data):
                return
            self._count += 1
            log.events.append(JobEvent(f"{self._epoch}-{self._count}", kind, data))
            log.ended = kind.is_final
            self._logs.move_to_end(job_id)
            self._forget()

    def after(self, job_id: str, event_id: str | None) -> Sequence[JobEvent]:
        """Events that came after the one with this id; all that are kept when it is unknown."""
        with self._lock:
            log = self._logs.get(job_id)
            if log is None:
                return ()
            seen = self._number_of(event_id)
            return [event for event in log.events if self._number_of(event.id) > seen]

    def _number_of(self, event_id: str | None) -> int:
        epoch, _, number = (event_id or "").partition("-")
        known = epoch == self._epoch and number.isascii() and number.isdigit() and len(number) < 10
        return int(number) if known else 0

    def _forget(self) -> None:
        if len(self._logs) <= KEPT_LOGS:
            return
        ended = (job_id for job_id, log in self._logs.items() if log.ended)
        del self._logs[next(ended, next(iter(self._logs)))]
