"""Markers for marking processes that do what a good one never does."""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from generator.wiring import build_marker
from provenance.errors import ConfigError, SigningError

if TYPE_CHECKING:
    from generator.marking import Marker
    from generator.service import Rendered
    from provenance.config import Settings
    from provenance.types import Delivery

WAIT_S = 120.0


def build_unusable() -> Marker:
    """Builds no marker."""
    raise ConfigError("manifest.key_file: no such key")


class OddError(SigningError):
    """An error whose constructor cannot be called with its own message."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


class TalkingMarker:
    """Answers the modules of its process as claim generator, after it logged or broke."""

    def __init__(self, settings: Settings, says: str = "") -> None:
        self._marker = build_marker(settings)
        self._says = says

    def __call__(self, rendered: Rendered) -> Delivery:
        if self._says == "break":
            raise RuntimeError(f"cannot mark {rendered.request.prompt}")
        if self._says == "odd":
            raise OddError("an odd", "plug-in")
        if self._says:
            logging.getLogger(__name__).warning("%s %d", self._says, rendered.request.seed)
            os.write(1, f"printed {self._says}\n".encode())
        delivery = self._marker(rendered)
        record = replace(delivery.record, claim_generator=" ".join(sys.modules))
        return replace(delivery, record=record)


class SlowMarker:
    """Says in a file that it has begun, and stops there for a while.

    Args:
        settings: Of the deployment.
        folder: Where each picture that was begun leaves a file with the process id in it.
        slow: How many pictures it stops at, counted over all processes.
        after: Name of the file in `folder` after whose appearance it goes on; empty: it never does.
    """

    def __init__(self, settings: Settings, folder: Path, *, slow: int, after: str = "") -> None:
        self._marker = build_marker(settings)
        self._folder = folder
        self._slow = slow
        self._after = after

    def __call__(self, rendered: Rendered) -> Delivery:
        if self._begin() < self._slow:
            deadline = time.monotonic() + WAIT_S
            while time.monotonic() < deadline:
                if self._after and (self._folder / self._after).exists():
                    break
                time.sleep(0.02)
        return self._marker(rendered)

    def _begin(self) -> int:
        number = 0
        while True:
            try:
                with (self._folder / f"begun-{number}").open("x") as file:
                    file.write(f"{os.getpid()}\n")
                return number
            except FileExistsError:
                number += 1

    @staticmethod
    def wait_until_marking(folder: Path, number: int) -> int:
        """The id of the process that has begun the picture of this number."""
        deadline = time.monotonic() + WAIT_S
        file = folder / f"begun-{number}"
        while time.monotonic() < deadline:
            if file.exists() and file.read_text().endswith("\n"):
                return int(file.read_text())
            time.sleep(0.02)
        raise TimeoutError(f"{file} did not appear")
