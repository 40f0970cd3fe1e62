"""Marks pictures in processes of their own, so that the accelerator never waits for it.

Each thread that calls the pool takes one process, hands it a picture and waits; so there are never
more pictures here than callers. The processes write nothing (W8 and W9 stay with the caller): one
that dies costs the work on its picture, which another process does again.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from generator.marking_process import BOOT, Reply
from provenance.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from generator.marking import Marker
    from generator.service import Rendered
    from provenance.types import Delivery

__all__ = ["DEFAULT_TIMEOUT_S", "MarkingPool"]

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 600.0
"""The largest picture under the slowest codec takes about a minute on a busy core; a process that
takes ten times as long hangs."""
ATTEMPTS = 2
"""A process that was killed from outside costs nobody a picture; a picture that kills its process
is not tried for ever."""
STOP_S = 5.0
"""How long a process that was told to end may take before it is killed."""

ENVIRONMENT = {
    # One core a process: several are for several pictures, and the renderer has the others.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    # The accelerator and its memory are the renderer's.
    "CUDA_VISIBLE_DEVICES": "",
}


class _EndedError(Exception):
    """The process ended before it answered."""


class _Process:
    """One marking process; used by one thread at a time."""

    def __init__(self, build: Callable[[], Marker], timeout_s: float) -> None:
        self._build = build
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._built = False

    @property
    def pid(self) -> int | None:
        """Id of the running process."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts the process unless it runs; does not wait for it to be ready.

        Raises:
            GenerationError: The system gives no process.
        """
        if self._process is not None:
            return
        try:
            self._process = subprocess.Popen(  # noqa: S603  this interpreter, our own words
                # -P: what lies in the current folder is not ours to import.
                [sys.executable, "-P", "-c", BOOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **ENVIRONMENT},
            )
        except OSError as error:
            raise GenerationError(
                f"not delivered: no process to mark in could be started ({error.strerror}); free "
                "some memory, or set generator.marking_workers = 0"
            ) from error
        with suppress(OSError):  # one that died at once is noticed when it is asked
            self._send(sys.path)
            self._send(self._build)

    def ask(self, rendered: Rendered) -> Reply:
        """Has one picture marked.

        Raises:
            _EndedError: The process ended, or took too long and was ended.
            GenerationError: No process could be started.
        """
        self.start()
        watchdog = threading.Timer(self._timeout_s, self._kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            if not self._built:
                reply = self._receive()
                if reply.error is not None:
                    self.stop()
                    return reply
                self._built = True
            self._send(rendered)
            return self._receive()
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise _EndedError(self._how_it_ended()) from error
        finally:
            watchdog.cancel()

    def stop(self) -> None:
        """Lets the process end, or ends it."""
        process, self._process, self._built = self._process, None, False
        if process is None:
            return
        with suppress(OSError):  # what a dead process did not read cannot be flushed
            self._pipe(process.stdin).close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._pipe(process.stdout).close()

    def abandon(self) -> None:
        """Ends the process at once; its pipes may be in the middle of a message."""
        self._kill()
        self.stop()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _send(self, message: object) -> None:
        pipe = self._pipe(self._running.stdin)
        pickle.dump(message, pipe, pickle.HIGHEST_PROTOCOL)
        pipe.flush()

    def _receive(self) -> Reply:
        reply: Reply = pickle.load(self._pipe(self._running.stdout))  # noqa: S301  our own process
        for record in reply.logs:
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        return reply

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:  # the pool was closed in another thread
            raise EOFError
        return self._process

    @staticmethod
    def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None:
            raise EOFError
        return stream

    def _how_it_ended(self) -> str:
        try:
            code = self._running.wait(STOP_S)
        except (EOFError, subprocess.TimeoutExpired):
            return "closed its pipes"
        if code >= 0:
            return f"ended with exit code {code}"
        return f"was ended by {signal.Signals(-code).name}"


class MarkingPool:
    """A `Marker` whose processes live as long as it does.

    Used as a context manager, it starts them all at once and ends them; otherwise each starts with
    its first picture. They also end by themselves when this process does, however it does.

    Args:
        build: Makes the marker in each process; picklable, and so are errors it raises.
        workers: How many processes, at least 1.
        timeout_s: How long one picture may take.
    """

    def __init__(
        self,
        build: Callable[[], Marker],
        *,
        workers: int,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._processes = tuple(_Process(build, timeout_s) for _ in range(workers))
        # Last in, first out: with little to do, one process stays warm and the others sleep.
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        for process in self._processes:
            self._idle.put(process)
        self._closed = False

    @property
    def pids(self) -> tuple[int, ...]:
        """Ids of the processes that run."""
        return tuple(p.pid for p in self._processes if p.pid is not None)

    def __call__(self, rendered: Rendered) -> Delivery:
        """As `generator.marking.Marker`."""
        record_id = rendered.reservation.record_id
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._outcome(self._ask(rendered))
            except _EndedError as error:
                log.warning(
                    "the process that marked record %s %s (attempt %d)", record_id, error, attempt
                )
                how = str(error)
        raise GenerationError(
            f"not delivered: the process that marked it {how}, {ATTEMPTS} times; see whether the "
            "machine is out of memory, or mark in the service with generator.marking_workers = 0"
        )

    def start(self) -> None:
        """Starts all processes; they get ready while the first pictures are rendered.

        Raises:
            GenerationError: The system gives no process.
        """
        self._closed = False
        for process in self._processes:
            process.start()

    def close(self) -> None:
        """Ends all processes; pictures that are still being marked are not delivered."""
        self._closed = True
        for process in self._processes:
            process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, rendered: Rendered) -> Reply:
        if self._closed:
            raise GenerationError("not delivered: the service has stopped")
        process = self._idle.get()
        try:
            return process.ask(rendered)
        except BaseException:
            # Its pipes may be in the middle of a message: whatever it says now, it is not ours.
            process.abandon()
            with suppress(GenerationError):  # told when it is needed next
                if not self._closed:
                    process.start()
            raise
        finally:
            self._idle.put(process)

    @staticmethod
    def _outcome(reply: Reply) -> Delivery:
        if reply.error is not None:
            raise reply.error
        if reply.delivery is None:
            raise GenerationError("not delivered: the process that marked it answered nothing")
        return reply.delivery
