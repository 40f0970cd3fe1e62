"""What programs and services that generate pictures leave in their files.

One rule a program: it looks at a file's signals and yields what it recognises. A rule matches the
form that the program writes, not a word that happens to occur in a prompt. What a person wrote
stands only in fields that are shown to somebody who asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.evidence.generators.automatic1111 import automatic1111, automatic1111_extras
from detector.evidence.generators.comfyui import comfyui
from detector.evidence.generators.invokeai import invokeai
from detector.evidence.generators.json_programs import (
    draw_things,
    easy_diffusion_fields,
    json_programs,
)
from detector.evidence.generators.novelai import novelai_evidence
from detector.evidence.generators.services import (
    bytedance_export,
    grok,
    midjourney_job,
    named_programs,
    samsung_editor,
    services,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.evidence.signals import Signals
    from provenance.types import MetadataEvidence, RasterImage

__all__ = ["find_generators"]

_RULES = (
    automatic1111,
    automatic1111_extras,
    comfyui,
    invokeai,
    json_programs,
    easy_diffusion_fields,
    draw_things,
    services,
    grok,
    samsung_editor,
    bytedance_export,
)
_BY_NAME = (midjourney_job, named_programs)
"""Rules that say no more than a name: silent on a program whose own form was found."""


def find_generators(
    signals: Signals, raster: RasterImage | None = None
) -> Iterator[MetadataEvidence]:
    """Every generator's trace among `signals`.

    Args:
        signals: The file's texts.
        raster: The decoded picture, which NovelAI's signature covers.
    """
    tools = set()
    for evidence in _by_form(signals, raster):
        tools.add(evidence.tool)
        yield evidence
    for rule in _BY_NAME:
        yield from (evidence for evidence in rule(signals) if evidence.tool not in tools)


def _by_form(signals: Signals, raster: RasterImage | None) -> Iterator[MetadataEvidence]:
    yield from novelai_evidence(signals, raster)
    for rule in _RULES:
        yield from rule(signals)
