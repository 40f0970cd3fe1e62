"""What programs and services that generate pictures leave in their files.

One rule a program: it looks at a file's signals and yields what it recognises. A rule matches the
form that the program writes, not a word that happens to occur in a prompt. Nothing of a prompt
enters the evidence; `detail` holds a few plain settings only.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detector.evidence.node_graph import claim_of_prompt, claim_of_workflow
from detector.evidence.signals import as_plain, parse_json_object
from provenance.types import Finding, MetadataEvidence, SourceClaim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from detector.evidence.signals import Signals, Text
    from provenance.types import Scalar

__all__ = ["GENERATOR_RULES"]

FULLY, PARTLY = SourceClaim.FULLY_AI, SourceClaim.PARTLY_AI


def _evidence(
    tool: str,
    place: str,
    claim: SourceClaim = FULLY,
    *,
    version: object = None,
    detail: Mapping[str, object] | None = None,
) -> MetadataEvidence:
    plain: dict[str, Scalar] = {
        key: shown
        for key, value in (detail or {}).items()
        if (shown := as_plain(value)) is not None
    }
    shown_version = as_plain(version)
    doing = {
        FULLY: "generating the picture",
        PARTLY: "generating it from another picture",
    }.get(claim, "processing the picture")
    return MetadataEvidence(
        Finding.PRESENT,
        f"{place} holds what {tool} writes when {doing}; anyone can write or remove it.",
        tool=tool,
        version=None if shown_version is None else str(shown_version),
        place=place,
        claim=claim,
        detail=plain,
    )


# -- AUTOMATIC1111 and its family --------------------------------------------------------------

_SETTINGS_LINE = re.compile(r"(?:^|\n)[ \t]{0,8}(Steps: \d{1,6}, [^\n]{0,20000})")
_SETTING = re.compile(r'(?:^|, )([A-Z][\w \-/+]{0,40}): ("(?:[^"\\]|\\.)*"|[^,]*)')
_FAMILY = (
    # Order matters: Forge's and reForge's versions embed AUTOMATIC1111's.
    (re.compile(r"f1\.\d+\.\d+v2"), "Stable Diffusion WebUI reForge"),
    (re.compile(r"f\d+\.\d+"), "Stable Diffusion WebUI Forge"),
    (re.compile(r"neo"), "Stable Diffusion WebUI Forge Neo"),
    (re.compile(r"classic"), "Stable Diffusion WebUI Forge Classic"),
    (re.compile(r"v\d"), "AUTOMATIC1111"),
    (re.compile(r"ComfyUI"), "ComfyUI"),
)


def automatic1111(signals: Signals) -> Iterator[MetadataEvidence]:
    """The settings line ``Steps: 20, Sampler: ...`` of AUTOMATIC1111 and programs like it.

    Image-to-image runs write ``Denoising strength``; the two-pass text-to-image of "Hires" (once
    "First pass size") does so too, and names itself.
    """
    for text in signals.texts:
        if text.key not in ("parameters", "UserComment", ""):
            continue
        line = _SETTINGS_LINE.search(text.text)
        if line is None:
            continue
        settings = dict(_SETTING.findall(line[1]))
        if not settings.keys() & {"Sampler", "Seed", "CFG scale"}:
            continue
        from_picture = "Denoising strength" in settings and not any(
            key.startswith(("Hires", "First pass size")) for key in settings
        )
        yield _evidence(
            _family_member(settings, text.text),
            text.place,
            PARTLY if from_picture else FULLY,
            version=settings.get("Version"),
            detail={
                "steps": settings.get("Steps"),
                "sampler": settings.get("Sampler"),
                "size": settings.get("Size"),
            },
        )


def _family_member(settings: Mapping[str, str], text: str) -> str:
    if settings.get("App") == "SD.Next":
        return "SD.Next"
    if "Civitai resources: " in text:
        return "Civitai"
    version = settings.get("Version", "")
    for pattern, name in _FAMILY:
        if pattern.match(version):
            return name
    return "AUTOMATIC1111"


# -- ComfyUI -----------------------------------------------------------------------------------


def comfyui(signals: Signals) -> Iterator[MetadataEvidence]:
    """The node graph, as ``prompt`` (what ran) or ``workflow`` (what was on screen).

    Node packs write the same into EXIF as ``Prompt:{...}`` and ``Workflow:{...}``.
    """
    workflows: list[MetadataEvidence] = []
    found = False
    for text in signals.texts:
        kind, graph = _graph_of(text)
        if kind == "prompt" and (nodes := _prompt_nodes(graph)):
            found = True
            yield _evidence("ComfyUI", text.place, claim_of_prompt(nodes))
        elif kind == "workflow" and (drawn := _workflow_nodes(graph)):
            claim = claim_of_workflow(drawn, graph.get("links"))
            workflows.append(_evidence("ComfyUI", text.place, claim))
    if not found:
        yield from workflows


_EXIF_GRAPH = re.compile(r"(prompt|workflow)\s*:\s*(?=\{)", re.IGNORECASE)


def _graph_of(text: Text) -> tuple[str, dict[str, Any]]:
    if text.key in ("prompt", "workflow"):
        return text.key, parse_json_object(text.text) or {}
    if text.key in ("Make", "Model", "ImageDescription", "UserComment"):
        prefix = _EXIF_GRAPH.match(text.text)
        if prefix:
            return prefix[1].lower(), parse_json_object(text.text[prefix.end() :]) or {}
    return "", {}


def _prompt_nodes(graph: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        str(key): node
        for key, node in graph.items()
        if isinstance(node, dict) and isinstance(node.get("class_type"), str)
    }


def _workflow_nodes(graph: Mapping[str, Any]) -> list[dict[str, Any]]:
    nodes = graph.get("nodes")
    if not isinstance(nodes, list):
        return []
    return [node for node in nodes if isinstance(node, dict) and isinstance(node.get("type"), str)]


# -- programs that write JSON ------------------------------------------------------------------


_DREAM_FLAGS = (r" -s ?\d", r" -S ?\d", r" -W ?\d")
"""Steps, seed and width as command-line flags after the quoted prompt."""


def invokeai(signals: Signals) -> Iterator[MetadataEvidence]:
    """InvokeAI's three generations of metadata."""
    for text in signals.texts:
        if text.key == "invokeai_metadata":
            data = parse_json_object(text.text)
            if data is not None:
                mode = str(data.get("generation_mode", "txt2img"))
                yield _evidence(
                    "InvokeAI",
                    text.place,
                    FULLY if "txt2img" in mode else PARTLY,
                    version=data.get("app_version"),
                    detail={"steps": data.get("steps"), "scheduler": data.get("scheduler")},
                )
        elif text.key == "sd-metadata":
            data = parse_json_object(text.text)
            if data is not None and "invoke" in str(data.get("app_id", "")).lower():
                image = data.get("image")
                kind = image.get("type") if isinstance(image, dict) else None
                claim = PARTLY if kind == "img2img" else FULLY
                yield _evidence("InvokeAI", text.place, claim, version=data.get("app_version"))
        elif text.key == "Dream" and all(re.search(flag, text.text) for flag in _DREAM_FLAGS):
            started = re.search(r" (?:-I|--init_img)\b", text.text)
            yield _evidence("InvokeAI", text.place, PARTLY if started else FULLY)


def json_programs(signals: Signals) -> Iterator[MetadataEvidence]:
    """Fooocus, RuinedFooocus, SwarmUI, Easy Diffusion, Tensor.Art: JSON under a shared key."""
    keys = {"parameters", "UserComment", "Model", "generation_data", "parameters-json", ""}
    for text in signals.texts:
        if text.key not in keys:
            continue
        data = parse_json_object(text.text)
        if data is None:
            continue
        swarm = data.get("sui_image_params")
        if isinstance(swarm, dict):
            yield _evidence(
                "SwarmUI",
                text.place,
                PARTLY if "initimage" in swarm else FULLY,
                version=swarm.get("swarm_version"),
                detail={"steps": swarm.get("steps"), "sampler": swarm.get("sampler")},
            )
        elif data.get("software") == "RuinedFooocus":
            yield _evidence("RuinedFooocus", text.place)
        elif {"adm_guidance", "base_model"} <= data.keys():
            yield _evidence(
                "Fooocus",
                text.place,
                version=data.get("version"),
                detail={"steps": data.get("steps"), "sampler": data.get("sampler")},
            )
        elif "use_stable_diffusion_model" in data:
            started = data.get("init_image") or data.get("prompt_strength")
            yield _evidence("Easy Diffusion", text.place, PARTLY if started else FULLY)
        elif text.key == "generation_data" and "prompt" in data:
            yield _evidence("Tensor.Art", text.place)
        elif {"num_inference_steps", "resolution"} <= data.keys():
            yield _evidence("a diffusers demo", text.place)


def easy_diffusion_fields(signals: Signals) -> Iterator[MetadataEvidence]:
    """Easy Diffusion's PNG form: one text chunk for each field."""
    for text in signals.texts:
        if text.key == "use_stable_diffusion_model":
            started = any(t.key == "prompt_strength" for t in signals.texts)
            yield _evidence("Easy Diffusion", text.place, PARTLY if started else FULLY)


def draw_things(signals: Signals) -> Iterator[MetadataEvidence]:
    """Draw Things: its name as creator tool beside a JSON comment."""
    named = any(i.name == "CreatorTool" and i.value == "Draw Things" for _, i in signals.xmp)
    if not named:
        return
    for place, item in signals.xmp:
        data = parse_json_object(item.value) if item.name == "UserComment" else None
        if data is not None and {"c", "model", "steps"} <= data.keys():
            strength = data.get("strength")
            started = isinstance(strength, int | float) and strength < 1
            yield _evidence("Draw Things", place, PARTLY if started else FULLY)


# -- services ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Trace:
    """A service's name or habit in one field.

    Attributes:
        tool: What to call the service.
        keys: PNG keywords, EXIF tag names, or XMP local names.
        pattern: Matches the whole value.
    """

    tool: str
    keys: frozenset[str]
    pattern: re.Pattern[str]


def _trace(tool: str, keys: str, pattern: str) -> _Trace:
    return _Trace(tool, frozenset(keys.split()), re.compile(pattern, re.DOTALL))


_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_TRACES = (
    _trace("Midjourney", "Software CreatorTool", r"Midjourney\b.{0,40}"),
    # The flags are what tells it from a print shop's order: Midjourney always names its version.
    _trace("Midjourney", "Description description", rf".* --[a-z].*Job ID: {_UUID}\s*"),
    _trace("Higgsfield", "hf-job-id", r".{8,80}"),
    _trace("Luma AI", "Source", r"Luma AI"),
    _trace("Reve", "Software CreatorTool", r"(?:https?://)?(?:www\.)?reve\.com.{0,40}"),
    _trace("Ideogram", "Make", r"Ideogram AI"),
    _trace("Mochi Diffusion", "Software CreatorTool", r"Mochi Diffusion.{0,40}"),
)


def services(signals: Signals) -> Iterator[MetadataEvidence]:
    """Services that give themselves away by one field."""
    fields = [(text.place, text.key, text.text) for text in signals.texts]
    fields += [(f"{place} {item.name}", item.name, item.value) for place, item in signals.xmp]
    for place, key, value in fields:
        for trace in _TRACES:
            if key in trace.keys and trace.pattern.fullmatch(value):
                yield _evidence(trace.tool, place)


def grok(signals: Signals) -> Iterator[MetadataEvidence]:
    """The form of xAI's Aurora: a UUID as artist and a signature by a key that nobody published.

    Unverifiable, so it counts as a label like any other.
    """
    artists = [t for t in signals.texts if t.key == "Artist" and re.fullmatch(_UUID, t.text)]
    if not artists:
        return
    for text in signals.texts:
        if text.key == "ImageDescription" and text.text.startswith("Signature: "):
            try:
                base64.b64decode(text.text.removeprefix("Signature: ").strip(), validate=True)
            except (binascii.Error, ValueError):
                continue
            yield _evidence("Grok (Aurora)", text.place)


GENERATOR_RULES = (
    automatic1111,
    comfyui,
    invokeai,
    json_programs,
    easy_diffusion_fields,
    draw_things,
    services,
    grok,
)
