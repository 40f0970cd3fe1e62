"""ComfyUI graphs: what is made from noise, and what is made from another picture."""

from __future__ import annotations

import time
from typing import Any

import pytest

from detector.evidence.node_graph import claim_of_prompt, claim_of_workflow, settings_of_prompt
from provenance.types import SourceClaim

FULLY, PARTLY, POSSIBLY = SourceClaim.FULLY_AI, SourceClaim.PARTLY_AI, SourceClaim.POSSIBLY_AI

Node = dict[str, Any]
LOADER: Node = {"class_type": "LoadImage", "inputs": {"image": "x.png"}}
EMPTY: Node = {"class_type": "EmptyLatentImage", "inputs": {"width": 512}}


def node(kind: str, **inputs: Any) -> Node:
    return {"class_type": kind, "inputs": inputs}


def encode(kind: str = "VAEEncode", **inputs: Any) -> Node:
    return node(kind, pixels=["load", 0], mask=["load", 1], **inputs)


def graph(start: Node, sampler: Node, **more: Node) -> dict[str, Node]:
    sampler["inputs"] |= {"latent_image": ["start", 0]}
    return {"load": LOADER, "start": start, "sample": sampler, **more}


CASES: dict[str, tuple[dict[str, Node], SourceClaim]] = {
    "from noise": (graph(EMPTY, node("KSampler", denoise=1)), FULLY),
    "from noise at less strength": (graph(EMPTY, node("KSampler", denoise=0.5)), FULLY),
    "from a picture": (graph(encode(), node("KSampler", denoise=0.5)), PARTLY),
    "from a picture at full strength": (graph(encode(), node("KSampler", denoise=1.0)), FULLY),
    "masked while encoding": (
        graph(encode("VAEEncodeForInpaint"), node("KSampler", denoise=1.0)),
        PARTLY,
    ),
    "masked by conditioning": (
        graph(encode("InpaintModelConditioning"), node("KSampler", denoise=1.0)),
        PARTLY,
    ),
    "masked latent": (
        graph(
            node("SetLatentNoiseMask", samples=["encoded", 0]),
            node("KSampler", denoise=1.0),
            encoded=encode(),
        ),
        PARTLY,
    ),
    "masked noise": (
        graph(
            node("SetLatentNoiseMask", samples=["empty", 0], mask=["load", 1]),
            node("KSampler", denoise=1.0),
            empty=EMPTY,
        ),
        FULLY,
    ),
    "later steps only": (graph(encode(), node("KSamplerAdvanced", start_at_step=5)), PARTLY),
    "all steps": (graph(encode(), node("KSamplerAdvanced", start_at_step=0)), FULLY),
    "strength in the scheduler": (
        graph(
            encode(),
            node("SamplerCustomAdvanced", sigmas=["plan", 0]),
            plan=node("BasicScheduler", denoise=0.6),
        ),
        PARTLY,
    ),
    "full strength in the scheduler": (
        graph(
            encode(),
            node("SamplerCustomAdvanced", sigmas=["plan", 0]),
            plan=node("BasicScheduler", denoise=1.0),
        ),
        FULLY,
    ),
    "a part of the schedule": (
        graph(
            encode(),
            node("SamplerCustom", sigmas=["part", 1]),
            part=node("SplitSigmas", sigmas=["plan", 0]),
            plan=node("KarrasScheduler", steps=20),
        ),
        PARTLY,
    ),
    "schedules in a circle": (
        graph(
            encode(),
            node("SamplerCustom", sigmas=["plan", 0]),
            plan=node("FlipSigmas", sigmas=["plan", 0]),
        ),
        FULLY,
    ),
    "strength from another node": (
        graph(
            encode(),
            node("KSampler", denoise=["number", 0]),
            number=node("PrimitiveFloat", value=0.5),
        ),
        PARTLY,
    ),
    "full strength from another node": (
        graph(
            encode(),
            node("KSampler", denoise=["number", 0]),
            number=node("PrimitiveFloat", value=1.0),
        ),
        FULLY,
    ),
    "strength that cannot be followed": (
        graph(encode(), node("KSampler", denoise=["nowhere", 0])),
        PARTLY,
    ),
    "second pass over a first from noise": (
        graph(
            EMPTY,
            node("KSampler", denoise=1.0),
            bigger=node("LatentUpscale", samples=["sample", 0]),
            again=node("KSampler", denoise=0.5, latent_image=["bigger", 0]),
        ),
        FULLY,
    ),
    "second pass over a first that replaced the picture": (
        graph(
            encode(),
            node("KSampler", denoise=1.0),
            again=node("KSampler", denoise=0.5, latent_image=["sample", 0]),
        ),
        FULLY,
    ),
    "one of several samplers": (
        graph(
            encode(),
            node("KSampler", denoise=0.5),
            other=node("KSampler", denoise=1.0, latent_image=["empty", 0]),
            empty=EMPTY,
        ),
        PARTLY,
    ),
    "picture as control only": (
        graph(
            EMPTY,
            node("KSampler", denoise=0.7, positive=["control", 0]),
            control=node("ControlNetApply", image=["load", 0]),
        ),
        FULLY,
    ),
    "faces of a photograph": (
        {"load": LOADER, "faces": node("FaceDetailer", image=["load", 0], denoise=1.0)},
        PARTLY,
    ),
    "upscaled only": (
        {"load": LOADER, "up": node("ImageUpscaleWithModel", image=["load", 0])},
        POSSIBLY,
    ),
    "a circle": ({"a": node("KSampler", latent_image=["a", 0], denoise=0.3)}, FULLY),
    "inputs that are none": ({"a": {"class_type": "KSampler", "inputs": 5}}, FULLY),
}


@pytest.mark.parametrize("case", CASES)
def test_prompt(case: str) -> None:
    nodes, claim = CASES[case]
    assert claim_of_prompt(nodes) is claim


@pytest.mark.parametrize("feed", ["latent_image", "samples", "pixels"])
def test_a_hostile_graph_takes_linear_time(feed: str) -> None:
    """40 000 samplers in a row once took longer than the source's half minute."""
    nodes = {
        str(i): node("KSampler", denoise=0.3, **{feed: [str(i + 1), 0]}) for i in range(40_000)
    }
    crossed = {
        str(i): node("ImageBlend", image=[str(i - 1), 0], images=[str(i - 2), 0])
        for i in range(20_000)
    } | {"-1": LOADER, "-2": LOADER}
    start = time.process_time()
    assert claim_of_prompt(nodes) is FULLY
    assert claim_of_prompt(crossed) is POSSIBLY
    hub = {"hub": node("A", **{f"in{i}": ["hub", 0] for i in range(50_000)})}
    around = {str(i): node("KSampler", positive=["hub", 0]) for i in range(20_000)}
    assert settings_of_prompt(hub | around) is None
    assert time.process_time() - start < 2.0


def workflow(*, kind: str = "KSampler", strength: Any = 0.5, mode: int = 0) -> SourceClaim:
    nodes = [
        {"id": 1, "type": "LoadImage", "mode": mode},
        {"id": 2, "type": "VAEEncode"},
        {"id": 3, "type": kind, "widgets_values": [7, "fixed", 20, 8, "euler", "x", strength]},
    ]
    return claim_of_workflow(nodes, [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 3, "LATENT"]])


def test_workflow_from_a_picture() -> None:
    assert workflow() is PARTLY
    assert workflow(strength=1) is FULLY
    assert workflow(strength="?") is PARTLY
    assert workflow(kind="SamplerCustomAdvanced", strength=1) is PARTLY


def test_workflow_with_a_switched_off_loader_starts_from_noise() -> None:
    assert workflow(mode=4) is FULLY


def test_workflow_whose_picture_is_control_only() -> None:
    nodes = [{"id": 1, "type": "LoadImage"}, {"id": 2, "type": "ControlNetApply"}]
    nodes += [{"id": 3, "type": "KSampler"}]
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 1, "CONDITIONING"]]
    assert claim_of_workflow(nodes, links) is FULLY


@pytest.mark.parametrize("links", [None, {}, [5], [[1]], [[1, 1, 0, 1, 0, "IMAGE"]]])
def test_workflow_links_may_be_anything(links: object) -> None:
    nodes: list[Node] = [{"id": 1, "type": "LoadImage"}, {"type": "KSampler", "id": []}]
    assert claim_of_workflow(nodes, links) is FULLY
