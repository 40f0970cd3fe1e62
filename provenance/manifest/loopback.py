"""Counts connections, so that the self-test and the tests can say that none was opened."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CountingListener", "listen_and_count"]


@dataclass(slots=True)
class CountingListener:
    """A listener on loopback.

    Attributes:
        port: Where it listens.
        connections: Source ports of those who connected, in order.
    """

    port: int
    connections: list[int] = field(default_factory=list)


@contextmanager
def listen_and_count() -> Iterator[CountingListener]:
    """Accepts and closes every connection until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        listener = CountingListener(server.getsockname()[1])
        is_done = threading.Event()

        def accept() -> None:
            while not is_done.is_set():
                try:
                    client, address = server.accept()
                except TimeoutError:
                    continue
                listener.connections.append(address[1])
                client.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener
        finally:
            is_done.set()
            thread.join()
