"""ComfyUI, and the services and programs that run its graphs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from detector.evidence.generators.finding import found, making_of
from detector.evidence.node_graph import (
    claim_of_prompt,
    claim_of_workflow,
    enlarges_only,
    settings_of_prompt,
)
from detector.evidence.settings import read_settings
from detector.evidence.signals import parse_json_object
from provenance.types import Making, SourceClaim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detector.evidence.signals import Signals, Text
    from provenance.types import MetadataEvidence

__all__ = ["comfyui", "graph_host", "is_civitai"]

_KINDS = {"prompt": "prompt", "workflow": "workflow", "Prompt": "prompt", "Workflow": "workflow"}
_EXIF_GRAPH = re.compile(r"(prompt|workflow)\s*:\s*(?=\{)", re.IGNORECASE)
_EXIF_KEYS = frozenset({"Make", "Model", "ImageDescription", "UserComment"})
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def comfyui(signals: Signals) -> Iterator[MetadataEvidence]:
    """The node graph, as ``prompt`` (what ran) or ``workflow`` (what was on screen).

    PNG keeps them under these keywords, node packs in EXIF as ``Prompt:{...}`` and
    ``Workflow:{...}`` or as one JSON object in ``UserComment``.
    """
    workflows: list[MetadataEvidence] = []
    ran = False
    graphs = [(text, *_graph_of(text)) for text in signals.texts]
    tool = _host_of([graph for _, _, graph in graphs], signals)
    if tool is None:
        return
    for text, kind, graph in graphs:
        if kind == "prompt" and (nodes := _prompt_nodes(graph)):
            ran = True
            yield _of_prompt(tool, text.place, nodes, graph)
        elif kind == "workflow" and (drawn := _workflow_nodes(graph)):
            claim = claim_of_workflow(drawn, graph.get("links"))
            workflows.append(found(tool, text.place, claim))
    if not ran:
        yield from workflows


def _of_prompt(
    tool: str, place: str, nodes: Mapping[str, Mapping[str, Any]], graph: Mapping[str, Any]
) -> MetadataEvidence:
    claim, settings = claim_of_prompt(nodes), settings_of_prompt(nodes)
    before = graph.get("extraMetadata")
    original = parse_json_object(before) if isinstance(before, str) else None
    if original is not None and {"prompt", "steps"} <= original.keys():
        # Civitai enlarges a picture that it generated: these are its settings then.
        return found(
            tool, place, making=making_of(SourceClaim.FULLY_AI), settings=read_settings(original)
        )
    making = Making.ENHANCED if enlarges_only(nodes) else None
    return found(tool, place, claim, making=making, settings=settings)


def graph_host(signals: Signals) -> str | None:
    """The program or service that ran the file's graph; None when there is no graph."""
    return _host_of([_graph_of(text)[1] for text in signals.texts], signals)


def _host_of(graphs: Sequence[Mapping[str, Any]], signals: Signals) -> str | None:
    if not any(_prompt_nodes(graph) or _workflow_nodes(graph) for graph in graphs):
        return None
    keys = {text.key: text.text for text in signals.texts}
    if any(text.json is not None and "sui_image_params" in text.json for text in signals.texts):
        return "SwarmUI"
    if "generation_data" in keys:
        return "Tensor.Art"
    if keys.keys() & {"smproj", "parameters-json"}:
        return "Stability Matrix"
    if any("extraMetadata" in graph for graph in graphs) or is_civitai(signals):
        return "Civitai"
    return "ComfyUI"


def is_civitai(signals: Signals) -> bool:
    """Whether EXIF is as Civitai's generator writes it: artist ``ai``, a UUID as software."""
    keys = {text.key: text.text for text in signals.texts}
    return keys.get("Artist") == "ai" and bool(_UUID.fullmatch(keys.get("Software", "")))


def _graph_of(text: Text) -> tuple[str, Mapping[str, Any]]:
    if text.key in _KINDS:
        return _KINDS[text.key], text.json or {}
    if text.key in _EXIF_KEYS:
        prefix = _EXIF_GRAPH.match(text.text)
        if prefix:
            return prefix[1].lower(), text.json_at(prefix.end()) or {}
    if text.key in ("UserComment", "ImageDescription", ""):
        return "prompt", text.json or {}
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
