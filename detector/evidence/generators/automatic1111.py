"""AUTOMATIC1111 and the programs that write as it does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from detector.evidence.generators.comfyui import graph_host, is_civitai
from detector.evidence.generators.finding import FULLY, PARTLY, found
from detector.evidence.settings import read_settings
from provenance.types import Making, SourceClaim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from detector.evidence.signals import Signals
    from provenance.types import GenerationSettings, MetadataEvidence

__all__ = ["automatic1111", "automatic1111_extras", "read_settings_text"]

_KEYS = frozenset({"parameters", "UserComment", "ImageDescription", "Comment", "Description", ""})
_SETTINGS_LINE = re.compile(r"(?:^|\n)[ \t]{0,8}(Steps: \d{1,6}, [^\n]{0,20000})")
_SETTING = re.compile(r'(?:^|, )([A-Z][\w \-/+]{0,40}): ("(?:[^"\\]|\\.)*"|[^,]*)')
_FAMILY = (
    # Order matters: the versions of Forge and its kin embed AUTOMATIC1111's.
    (re.compile(r"f\d+\.\d+(?:\.\d+)?-v"), "EasyReforge"),
    (re.compile(r"f\d+\.\d+(?:\.\d+)?v\d+-v"), "Stable Diffusion WebUI reForge"),
    (re.compile(r"f\d+\.\d+"), "Stable Diffusion WebUI Forge"),
    (re.compile(r"neo"), "Stable Diffusion WebUI Forge Neo"),
    (re.compile(r"classic"), "Stable Diffusion WebUI Forge Classic"),
    (re.compile(r"v\d"), "AUTOMATIC1111"),
    (re.compile(r"Fooocus"), "Fooocus"),
    (re.compile(r"ComfyUI"), "ComfyUI"),
)

_COMFYUI_SAMPLER = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)+")
"""``euler_ancestral_karras``, where AUTOMATIC1111 writes ``Euler a``."""


def automatic1111(signals: Signals) -> Iterator[MetadataEvidence]:
    """The settings line ``Steps: 20, Sampler: ...`` of AUTOMATIC1111 and programs like it.

    Image-to-image runs write ``Denoising strength``; the two-pass text-to-image of "Hires" (once
    "First pass size") does so too, and names itself.
    """
    for text in signals.texts:
        line = _SETTINGS_LINE.search(text.text) if text.key in _KEYS else None
        if line is None:
            continue
        fields = _fields(line[1])
        if not fields.keys() & {"Sampler", "Seed", "CFG scale"}:
            continue
        from_picture = "Denoising strength" in fields and not any(
            key.startswith(("Hires", "First pass size")) for key in fields
        )
        yield found(
            _family_member(fields, text.text, signals),
            text.place,
            PARTLY if from_picture else FULLY,
            version=fields.get("Version"),
            settings=_settings(fields, text.text[: line.start()]),
        )


def read_settings_text(text: str) -> GenerationSettings | None:
    """The settings of a text in this form; None when it is none."""
    line = _SETTINGS_LINE.search(text)
    return None if line is None else _settings(_fields(line[1]), text[: line.start()])


def _fields(line: str) -> dict[str, str]:
    return dict(_SETTING.findall(line))


def _settings(fields: Mapping[str, str], before: str) -> GenerationSettings | None:
    prompt, _, negative = before.rpartition("Negative prompt:")
    if not prompt and not before.startswith("Negative prompt:"):
        prompt, negative = before, ""
    return read_settings({**fields, "prompt": prompt, "negative_prompt": negative})


def _family_member(fields: Mapping[str, str], text: str, signals: Signals) -> str:
    if fields.get("App") == "SD.Next":
        return "SD.Next"
    if "Civitai resources: " in text or is_civitai(signals):
        return "Civitai"
    version = fields.get("Version", "")
    for pattern, name in _FAMILY:
        if pattern.match(version):
            return name
    # Save nodes and Stability Matrix write this form without a version, beside their graph or
    # with ComfyUI's own words for samplers.
    host = graph_host(signals)
    if host is None and not version and _COMFYUI_SAMPLER.fullmatch(fields.get("Sampler", "")):
        return "ComfyUI"
    return host or "AUTOMATIC1111"


_EXTRAS = re.compile(r"(?:^|, )(?:Postprocess|Upscale|GFPGAN|CodeFormer)[\w ]{0,40}: ")


def automatic1111_extras(signals: Signals) -> Iterator[MetadataEvidence]:
    """The "Extras" tab, which enlarges or restores any picture, and says nothing of its origin."""
    for text in signals.texts:
        if text.key in ("postprocessing", "extras") and _EXTRAS.search(text.text[:2000]):
            claim = SourceClaim.POSSIBLY_AI
            yield found("AUTOMATIC1111", text.place, claim, making=Making.ENHANCED)
