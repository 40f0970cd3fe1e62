"""The table of `benchmarks.vector_index`."""

from __future__ import annotations

from typing import Any

__all__ = ["as_markdown"]


def as_markdown(result: dict[str, Any]) -> str:
    return str(result)
