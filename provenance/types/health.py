"""One line of doctor."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HealthCheck"]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One line of ``countermark doctor``.

    Attributes:
        name: What was checked.
        ok: Whether it is in order.
        detail: What was seen.
        remedy: What to do; empty when in order.
        optional: A failing optional check is shown, but does not fail the whole.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    optional: bool = False
