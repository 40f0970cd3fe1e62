"""The whole application behind a real server, for clients that speak over a socket."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn

from provenance.config import Settings, load_settings
from provenance.web import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LiveServer", "serve"]

DRAWN = '[generator]\npipeline = "drawn_backend:load_pipeline"\nallowed_models = ["second"]\n'


@dataclass(frozen=True)
class LiveServer:
    port: int
    settings: Settings

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serve(home: Path, toml: str = "") -> Iterator[LiveServer]:
    """Serves on a free port until the block ends."""
    (home / "countermark.toml").write_text(DRAWN + toml)
    settings = load_settings(environ={}, home=home)
    config = uvicorn.Config(create_app(settings), port=0, log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield LiveServer(port, settings)
    finally:
        server.should_exit = True
        thread.join(60)
