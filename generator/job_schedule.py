"""Which waiting jobs are rendered next: pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from registry.jobs import WaitingJob

__all__ = ["PATIENCE", "choose_jobs"]

PATIENCE = timedelta(seconds=60)
"""How long the oldest job lets others pass that need no change of model. Loading a model takes
seconds to a minute, so at most about half of the time goes into changing between two models."""


def choose_jobs(
    waiting: Sequence[WaitingJob],
    *,
    loaded_model: str | None,
    batch_size: int,
    now: datetime,
    patience: timedelta = PATIENCE,
) -> tuple[WaitingJob, ...]:
    """The next jobs to run together, the leading one first.

    The oldest job for the model in memory leads, unless the oldest job of all has lost patience.
    Jobs that can be rendered with it fill the batch up, oldest first.

    Args:
        waiting: Oldest first.
        loaded_model: Of the last job that ran.
        batch_size: Most pictures rendered together.
        now: Current time, UTC.
        patience: As `PATIENCE`.
    """
    if not waiting:
        return ()
    oldest = waiting[0]
    leader = next((job for job in waiting if job.model == loaded_model), oldest)
    if now - oldest.created_at > patience:
        leader = oldest
    chosen, pictures = [leader], leader.pictures
    for job in waiting:
        fits = pictures + job.pictures <= batch_size
        if job is not leader and job.batch_key == leader.batch_key and fits:
            chosen.append(job)
            pictures += job.pictures
    return tuple(chosen)
