"""The HTTP service as a process of its own, which tests may stop and kill."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import httpx
from console import command, environment

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["Served"]

READY_WITHIN_S = 240


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """``countermark serve`` on a free port; ready when entered."""

    def __init__(self, home: Path, **environ: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)
        self._log = home.with_suffix(".log").open("ab")
        self.process = subprocess.Popen(
            command("serve", "--port", str(port)),
            env={**environment(home), **environ},
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the server ended while it started"
            try:
                if self.client.get("/health/live").is_success:
                    return self
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("the server did not become ready")

    def kill(self) -> None:
        """As the kernel does it when memory runs out."""
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout_s: float = 60) -> int:
        """As an orchestrator does it; answers the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        self.client.close()
        self._log.close()
