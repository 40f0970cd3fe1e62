"""A process that marks: it writes nothing, and ends when its standard input does.

`generator.marking_pool` starts it as a fresh interpreter, so that it shares nothing with the
service: C2PA contexts do not survive a fork, and torch and the accelerator stay out of it.

What goes in, pickled one after the other: `sys.path` (read by `BOOT`), what builds the marker,
rendered pictures. What comes out: a `Reply` to each but the first. Both ends are ours.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
from dataclasses import dataclass
from logging.handlers import QueueHandler
from typing import IO, TYPE_CHECKING

from provenance.errors import GenerationError, ProvenanceError
from provenance.serving.safe_log import SafeFormatter

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.marking import Marker
    from provenance.types import Delivery

__all__ = ["BOOT", "Reply", "main"]

BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from generator.marking_process import main; main()"
)
"""What the interpreter runs: it finds the same modules as the service, and not its main module,
which may import anything."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one message.

    Attributes:
        delivery: The signed picture; None for an error, and for the message that built the marker.
        error: Why there is none.
        logs: What was logged meanwhile, for the service's own log.
    """

    delivery: Delivery | None
    error: ProvenanceError | None
    logs: tuple[logging.LogRecord, ...]


class _LogKeeper(QueueHandler):
    """Keeps log records in a form that can be sent."""

    def __init__(self) -> None:
        self.kept: list[logging.LogRecord] = []
        super().__init__(self.kept)  # type: ignore[arg-type]  # `enqueue` knows it is a list
        # Traces become a part of the message here, before the service's own format sees them.
        self.setFormatter(SafeFormatter())

    def enqueue(self, record: logging.LogRecord) -> None:
        self.kept.append(record)

    def take(self) -> tuple[logging.LogRecord, ...]:
        """The records since the last call."""
        taken = tuple(self.kept)
        self.kept.clear()
        return taken


def main() -> None:
    """Answers until there are no more pictures."""
    pictures, replies = sys.stdin.buffer, _take_standard_output()
    # A Ctrl-C in the terminal, or a service manager, means the service: it ends us when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    keeper = _LogKeeper()
    # Not basicConfig: it would give the keeper a format, and words are put together over there.
    logging.getLogger().addHandler(keeper)
    logging.getLogger().setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    try:
        _serve(pictures, replies, keeper)
    except (EOFError, OSError, pickle.UnpicklingError):
        return  # the service has ended, perhaps in the middle of a message


def _serve(pictures: IO[bytes], replies: IO[bytes], keeper: _LogKeeper) -> None:
    built: list[Marker] = []

    def build() -> None:
        make: Callable[[], Marker] = pickle.load(pictures)  # noqa: S301  of our own service
        built.append(make())

    _send(replies, _reply(build, keeper))
    while built:
        rendered = pickle.load(pictures)  # noqa: S301  of our own service
        _send(replies, _reply(lambda: built[0](rendered), keeper))  # noqa: B023  called at once


def _reply(act: Callable[[], Delivery | None], keeper: _LogKeeper) -> Reply:
    try:
        delivery, error = act(), None
    except EOFError:
        raise
    except ProvenanceError as ours:
        delivery, error = None, _sendable(ours)
    except Exception as foreign:
        log.exception("marking broke")
        what = type(foreign).__name__
        delivery, error = (
            None,
            GenerationError(f"not delivered: marking broke ({what}); see the log"),
        )
    return Reply(delivery, error, keeper.take())


def _sendable(error: ProvenanceError) -> ProvenanceError:
    """The error without its causes, which may be of any kind; the same class wherever it can be."""
    try:
        copy: ProvenanceError = pickle.loads(pickle.dumps(error))  # noqa: S301  made in this line
    except Exception:  # noqa: BLE001  constructors of plug-ins' errors may take anything
        return GenerationError(str(error))
    return copy


def _send(replies: IO[bytes], reply: Reply) -> None:
    pickle.dump(reply, replies, pickle.HIGHEST_PROTOCOL)
    replies.flush()


def _take_standard_output() -> IO[bytes]:
    """The pipe for replies; what libraries print goes to standard error from now on."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return replies
