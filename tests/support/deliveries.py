"""Pictures that went through the real write path: real watermark, real C2PA, real SQLite.

Only the model is a twin that draws in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from generator.service import Studio
from generator.wiring import build_generator
from provenance.config import Settings, load_settings
from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker
from provenance.types import GenerationRequest, MediaType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from generator.service import GenerationService
    from provenance.types import Delivery

__all__ = ["DeliveringHome", "make_home"]


@dataclass(frozen=True)
class DeliveringHome:
    """An installation that has keys, a registry, and can generate."""

    settings: Settings
    service: GenerationService

    def deliver(
        self, prompt: str, *, media_type: MediaType = MediaType.PNG, side_px: int = 512
    ) -> Delivery:
        """One picture, marked, signed and registered."""
        request = GenerationRequest(
            prompt=prompt,
            seed=7,
            steps=1,
            media_type=media_type,
            width_px=side_px,
            height_px=side_px,
        )
        return self.service.generate(request, lambda _report: None)


def make_home(folder: Path, environ: Mapping[str, str] | None = None) -> DeliveringHome:
    """A fresh installation in `folder`, with settings from `environ` alone."""
    settings = load_settings(environ=environ or {}, home=folder)
    studio = Studio(GradientPipeline(), LuminanceChecker())
    service = replace(build_generator(settings).service, open_studio=lambda _name: studio)
    return DeliveringHome(settings, service)
