"""Siblings: pictures of one prompt from other seeds. Alike, and not copies: the hard negatives.

Two kinds. *Drawn*: one specification of the scene generator with several seeds, cheap by the
thousand. *Rendered*: the bundled model's pictures, kept in a scratch folder between runs.

    python -m benchmarks.siblings [--prompts N] [--seeds N]     renders and keeps them
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.photographs import open_photograph
from benchmarks.watermark.pictures import SCRATCH
from generator.embedded.training.captions import Split, sample_spec, write_caption
from generator.embedded.training.scenes import draw_scene
from provenance.types import GenerationRequest, RasterImage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RENDERED = SCRATCH / "siblings"
SIDE_PX = 512
STEPS = 8
"""Few: a sibling must be alike, not beautiful, and a hundred of them must not take an hour."""


def drawn_families(count: int, members: int, *, seed: int) -> Iterator[list[RasterImage]]:
    """`count` families of scenes; one specification each, `members` seeds of it, 512x512."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        spec = sample_spec(random, Split.TEST)
        seeds = random.integers(0, 2**31, members)
        yield [
            RasterImage(draw_scene(replace(spec, seed=int(one)), side_px=SIDE_PX)) for one in seeds
        ]


def rendered_families() -> list[list[RasterImage]]:
    """What has been rendered so far, by prompt; prompts with a single picture are left out."""
    families: dict[str, list[Path]] = {}
    for path in sorted(RENDERED.glob("*.png")):
        families.setdefault(path.stem.partition("-")[0], []).append(path)
    return [
        [RasterImage(np.array(open_photograph(path))) for path in paths]
        for paths in families.values()
        if len(paths) > 1
    ]


def render_families(prompts: int, seeds: int) -> None:
    """Renders what is not there yet, seed by seed, so that a broken-off run is of use."""
    from generator.pipelines.diffusers import load_pipeline

    random = np.random.default_rng(6)
    texts = [write_caption(random, sample_spec(random, Split.TEST)) for _ in range(prompts)]
    RENDERED.mkdir(parents=True, exist_ok=True)
    pipeline = load_pipeline()
    for seed in range(seeds):
        for number, text in enumerate(texts):
            path = RENDERED / f"{number:03}-{seed:02}.png"
            if path.exists():
                continue
            request = GenerationRequest(
                prompt=text, seed=seed, steps=STEPS, width_px=SIDE_PX, height_px=SIDE_PX
            )
            raster = pipeline.render(request, lambda _: None)
            unfinished = path.with_suffix(".part")
            Image.fromarray(raster.pixels).save(unfinished, "PNG")
            unfinished.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    render_families(arguments.prompts, arguments.seeds)


if __name__ == "__main__":
    main()
