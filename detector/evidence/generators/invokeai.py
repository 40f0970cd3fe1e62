"""InvokeAI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from detector.evidence.generators.finding import FULLY, PARTLY, found
from detector.evidence.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.evidence.signals import Signals, Text
    from provenance.types import MetadataEvidence

__all__ = ["invokeai"]

_DREAM_FLAGS = {
    "steps": re.compile(r" -s ?(\d{1,6})\b"),
    "seed": re.compile(r" -S ?(\d{1,12})\b"),
    "width": re.compile(r" -W ?(\d{1,6})\b"),
}
"""What every command line of InvokeAI 1 holds after the quoted prompt."""
_DREAM_MORE = {
    "height": re.compile(r" -H ?(\d{1,6})\b"),
    "guidance_scale": re.compile(r" -C ?(\d{1,4}(?:\.\d{1,6})?)"),
    "sampler": re.compile(r" -A ?(\w{1,30})"),
    "strength": re.compile(r" -f ?(\d{1,4}(?:\.\d{1,6})?)"),
}
_DREAM_PICTURE = re.compile(r" (?:-I|--init_img)\b")


def invokeai(signals: Signals) -> Iterator[MetadataEvidence]:
    """InvokeAI's three generations of metadata; its graph alone where nothing else was kept."""
    graphs: list[MetadataEvidence] = []
    recognised = False
    for text in signals.texts:
        evidence = _RULES.get(text.key, _nothing)(text)
        if evidence is None:
            continue
        if text.key in ("invokeai_graph", "invokeai_workflow"):
            graphs.append(evidence)
        else:
            recognised = True
            yield evidence
    if not recognised:
        yield from graphs[:1]


def _nothing(_: Text) -> MetadataEvidence | None:
    return None


def _third(text: Text) -> MetadataEvidence | None:
    if text.json is None:
        return None
    return found(
        "InvokeAI",
        text.place,
        FULLY if "txt2img" in str(text.json.get("generation_mode", "txt2img")) else PARTLY,
        version=text.json.get("app_version"),
        settings=read_settings({"scheduler": None, **text.json}),
    )


def _second(text: Text) -> MetadataEvidence | None:
    data = text.json
    if data is None or "invoke" not in str(data.get("app_id", "")).lower():
        return None
    image: Any = data.get("image")
    image = image if isinstance(image, dict) else {}
    return found(
        "InvokeAI",
        text.place,
        PARTLY if image.get("type") == "img2img" else FULLY,
        version=data.get("app_version"),
        settings=read_settings(
            {**image, "model": data.get("model_weights"), "model_hash": data.get("model_hash")}
        ),
    )


def _first(text: Text) -> MetadataEvidence | None:
    values = {name: flag.search(text.text) for name, flag in _DREAM_FLAGS.items()}
    if not all(values.values()):
        return None
    values |= {name: flag.search(text.text) for name, flag in _DREAM_MORE.items()}
    plain: dict[str, object] = {name: match[1] for name, match in values.items() if match}
    if text.text.startswith('"'):
        plain["prompt"] = text.text[1:].partition('" -')[0]
    claim = PARTLY if _DREAM_PICTURE.search(text.text) else FULLY
    return found("InvokeAI", text.place, claim, settings=read_settings(plain))


def _graph(text: Text) -> MetadataEvidence | None:
    if text.json is None or "nodes" not in text.json:
        return None
    return found("InvokeAI", text.place)


_RULES = {
    "invokeai_metadata": _third,
    "sd-metadata": _second,
    "Dream": _first,
    "dream": _first,
    "invokeai_graph": _graph,
    "invokeai_workflow": _graph,
}
