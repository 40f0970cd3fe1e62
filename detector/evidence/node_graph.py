"""What a ComfyUI graph says of the picture's making: from noise, or from another picture. Pure.

Pixels and latents are followed forwards from the nodes that load a picture. A sampler that starts
from them at full strength replaces them all; at less, or under a mask, something of them stays.
Every node is looked at once or twice, so that no graph takes more than linear time.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeGuard

from detector.evidence.settings import read_settings
from provenance.types import SourceClaim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provenance.types import GenerationSettings

__all__ = ["claim_of_prompt", "claim_of_workflow", "enlarges_only", "settings_of_prompt"]

_PICTURE_INPUTS = frozenset({"latent_image", "latent", "samples", "pixels", "image", "images"})
"""Inputs along which pixels and latents flow to a sampler; conditioning comes by others."""
_PICTURE_LINKS = frozenset({"IMAGE", "LATENT"})
"""Types of the same links in a workflow, which names no inputs."""
_MASKING = ("inpaint", "noisemask", "detailer")
"""Nodes that keep the picture outside of a mask, whatever the sampler's strength."""
_SWITCHED_OFF = (2, 4)
"""Workflow ``mode`` of a muted and of a bypassed node."""
_MAX_SIGMA_STEPS = 16
"""Nodes between a sampler and the scheduler that holds its strength; one or two in real graphs."""


def claim_of_prompt(nodes: Mapping[str, Mapping[str, Any]]) -> SourceClaim:
    """What the graph that ran (`prompt`) says.

    Args:
        nodes: Node by key; each with a ``class_type``.
    """
    users: defaultdict[str, list[str]] = defaultdict(list)
    for key, node in nodes.items():
        for name, source in _links(node):
            if name in _PICTURE_INPUTS:
                users[source].append(key)
    loaded = [key for key, node in nodes.items() if _loads(node["class_type"])]
    waiting = [(user, False) for key in loaded for user in users[key]]
    seen = set(waiting)
    while waiting:
        key, is_masked = waiting.pop()
        node = nodes.get(key, {})
        kind = str(node.get("class_type")).lower()
        is_masked = is_masked or any(word in kind for word in _MASKING)
        if _samples(kind, _inputs(node)):
            if is_masked or _keeps_some(node, nodes):
                return SourceClaim.PARTLY_AI
            continue  # Nothing of the loaded picture is left behind this node.
        for step in ((user, is_masked) for user in users[key]):
            if step not in seen:
                seen.add(step)
                waiting.append(step)
    return _claim_of_types([str(node["class_type"]) for node in nodes.values()])


def claim_of_workflow(nodes: Sequence[Mapping[str, Any]], links: object) -> SourceClaim:
    """What the graph on screen (`workflow`) says; it need not be what ran.

    Its settings are values without names, so that a sampler fed from a picture counts as one that
    keeps something of it, unless it is a plain sampler whose last value, the strength, is 1.

    Args:
        nodes: Nodes with ``id`` and ``type``.
        links: Lists of id, from node, from slot, to node, to slot, type; as they come.
    """
    nodes = [node for node in nodes if node.get("mode") not in _SWITCHED_OFF]
    by_id = {str(node.get("id")): node for node in nodes}
    users: defaultdict[str, list[str]] = defaultdict(list)
    for link in links if isinstance(links, list) else ():
        if isinstance(link, list) and len(link) >= 6 and link[5] in _PICTURE_LINKS:
            users[str(link[1])].append(str(link[3]))
    waiting = [key for key, node in by_id.items() if _loads(node["type"])]
    seen = set(waiting)
    while waiting:
        for user in users[waiting.pop()]:
            node = by_id.get(user, {})
            if user in seen:
                continue
            seen.add(user)
            if "sampler" not in str(node.get("type")).lower():
                waiting.append(user)
            elif not _has_full_strength(node):
                return SourceClaim.PARTLY_AI
    return _claim_of_types([node["type"] for node in nodes])


def _has_full_strength(node: Mapping[str, Any]) -> bool:
    values = node.get("widgets_values")
    last = values[-1] if isinstance(values, list) and values else None
    return node.get("type") == "KSampler" and _number(last) == 1


def _claim_of_types(types: Sequence[str]) -> SourceClaim:
    # A graph without a sampler may only crop or scale a photograph.
    sampled = any("sampler" in name.lower() for name in types)
    return SourceClaim.FULLY_AI if sampled else SourceClaim.POSSIBLY_AI


def enlarges_only(nodes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the graph that ran has no sampler, and a node that enlarges a picture by a model."""
    kinds = [str(node["class_type"]).lower() for node in nodes.values()]
    return not any("sampler" in kind for kind in kinds) and any("upscale" in kind for kind in kinds)


_SETTINGS = frozenset(
    {
        "steps",
        "cfg",
        "seed",
        "noise_seed",
        "sampler_name",
        "scheduler",
        "denoise",
        "ckpt_name",
        "unet_name",
    }
)
_MAX_PROMPTED_NODES = 256
"""Nodes whose prompt is looked for; real graphs have a few."""
_MAX_TEXT_STEPS = 8
"""Nodes between a sampler and the text of its prompt; a few in real graphs."""


def settings_of_prompt(nodes: Mapping[str, Mapping[str, Any]]) -> GenerationSettings | None:
    """The settings of the graph that ran; of several samplers, the first one's.

    Args:
        nodes: Node by key; each with a ``class_type``.
    """
    values: dict[str, object] = {}
    asked = 0
    for node in nodes.values():
        kind = str(node["class_type"]).lower()
        # Other nodes have widths and heights too, of crops and of conditioning.
        wanted = _SETTINGS | ({"width", "height"} if "latent" in kind else set())
        for name, value in _inputs(node).items():
            if name in wanted and isinstance(value, int | float | str):
                values.setdefault(name, value)
        for name, field in (("positive", "prompt"), ("negative", "negative_prompt")):
            if field in values or name not in _inputs(node) or asked >= _MAX_PROMPTED_NODES:
                continue
            asked += 1
            text = _text_behind(node, name, nodes)
            if text:
                values[field] = text
    return read_settings(values)


def _text_behind(
    node: Mapping[str, Any], name: str, nodes: Mapping[str, Mapping[str, Any]]
) -> str | None:
    """The text that a sampler's conditioning was made from, along the first link of each node."""
    for _ in range(_MAX_TEXT_STEPS):
        inputs = _inputs(node)
        source = next(
            (
                str(link[0])
                for key in (name, "conditioning", "text")
                if _is_link(link := inputs.get(key))
            ),
            None,
        )
        if source is None:
            break
        node, name = nodes.get(source, {}), "conditioning"
        text = _inputs(node).get("text")
        if isinstance(text, str):
            return text
    return None


# -- one node ----------------------------------------------------------------------------------


def _inputs(node: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _links(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(input name, key of the node it comes from)."""
    for name, link in _inputs(node).items():
        if isinstance(link, list) and link:
            yield name, str(link[0])


def _is_link(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list) and bool(value)


def _loads(kind: str) -> bool:
    return "loadimage" in kind.lower()


def _samples(kind: str, inputs: Mapping[str, Any]) -> bool:
    return "sampler" in kind or "denoise" in inputs or "start_at_step" in inputs


def _keeps_some(node: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a sampler leaves something of the picture that it starts from."""
    inputs = _inputs(node)
    if "start_at_step" in inputs:
        return _value(inputs["start_at_step"], nodes, unknown=1) > 0
    if "denoise" in inputs:
        return _value(inputs["denoise"], nodes, unknown=0) < 1
    return _schedule_strength(node, nodes) < 1


def _schedule_strength(node: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> float:
    """Strength in the scheduler behind a custom sampler; a schedule without one is whole."""
    for _ in range(_MAX_SIGMA_STEPS):
        source = dict(_links(node)).get("sigmas")
        if source is None:
            break
        node = nodes.get(source, {})
        if "denoise" in _inputs(node):
            return _value(_inputs(node)["denoise"], nodes, unknown=0)
        if str(node.get("class_type")).startswith("SplitSigmas"):
            return 0.0  # A part of a schedule: where it begins stands elsewhere.
    return 1.0


def _value(value: object, nodes: Mapping[str, Mapping[str, Any]], *, unknown: float) -> float:
    """A setting, or the only number of the node that it comes from."""
    if isinstance(value, list) and value:
        source = _inputs(nodes.get(str(value[0]), {}))
        numbers = [n for one in source.values() if (n := _number(one)) is not None]
        return numbers[0] if len(numbers) == 1 else unknown
    number = _number(value)
    return unknown if number is None else number


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None
