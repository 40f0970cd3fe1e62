"""Training on several cores: one process each, gradients averaged after every step.

Threads within one process gain little on layers as small as the bundled model's; processes that
take a share of the batch each use every core.
"""

# mypy: disable-error-code="no-untyped-call,attr-defined"
# NOTE: torch annotates only some of its functions.
from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, multiprocessing

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ["average_gradients", "run_workers"]


def _start(
    rank: int, meeting_place: str, workers: int, work: Callable[..., None], arguments: Any
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting_place}", rank=rank, world_size=workers
    )
    work(rank, *arguments)
    distributed.destroy_process_group()


def run_workers(work: Callable[..., None], *arguments: Any, workers: int) -> None:
    """Runs ``work(rank, *arguments)`` in ``workers`` processes of one thread each.

    Args:
        work: A function at the top of a module; rank 0 is the one to report and save.
        arguments: Passed on after the rank.
        workers: Number of processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        shared = (str(Path(folder) / "meeting"), workers, work, arguments)
        multiprocessing.spawn(_start, args=shared, nprocs=workers)


def average_gradients(model: nn.Module) -> None:
    """Replaces every gradient by its mean over all workers."""
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    joined = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(joined)
    joined /= distributed.get_world_size()
    for gradient, mean in zip(
        gradients, joined.split([gradient.numel() for gradient in gradients]), strict=True
    ):
        gradient.copy_(mean.view_as(gradient))
