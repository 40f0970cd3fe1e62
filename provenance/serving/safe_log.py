"""What log lines leave out, here and in processes that know nothing of HTTP."""

from __future__ import annotations

import logging
import os
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["SafeFormatter"]


class SafeFormatter(logging.Formatter):
    """Leaves out of tracebacks what an exception says.

    A library's message may quote what it was given, a prompt for one. Our own errors' messages
    never do, and reach the log as messages.
    """

    def formatException(  # noqa: N802  the standard library's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        kind, _, trace = ei
        if os.environ.get("COUNTERMARK_DEBUG") or kind is None:
            return super().formatException(ei)
        frames = "".join(traceback.format_list(traceback.extract_tb(trace)))
        return f"{frames}{kind.__name__} (what it says is shown under COUNTERMARK_DEBUG=1)"
