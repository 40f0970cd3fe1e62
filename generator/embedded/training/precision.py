"""Half precision where the processor computes in it."""

# mypy: disable-error-code="no-untyped-call"
# NOTE: torch annotates only some of its functions.
from __future__ import annotations

import torch

__all__ = ["half_precision"]


def half_precision() -> torch.autocast:
    """Answers a context that computes in bfloat16, or in single precision.

    Without instructions for bfloat16 a processor emulates it, ten times slower than float32.
    """
    return torch.autocast(
        "cpu",
        torch.bfloat16,
        enabled=torch.ops.mkldnn._is_mkldnn_bf16_supported(),  # noqa: SLF001
    )
