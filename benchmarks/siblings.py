"""Siblings: pictures of one prompt from other seeds. Alike, and not copies: the hard negatives.

Two kinds. *Drawn*: one specification of the scene generator with several seeds, cheap by the
thousand. *Rendered*: the bundled model's pictures, kept in a scratch folder between runs.

    python -m benchmarks.siblings [--prompts N] [--seeds N] [--scenes N]     makes and keeps them
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.photographs import open_photograph
from benchmarks.watermark.pictures import SCRATCH
from generator.embedded.training.captions import Split, sample_spec, write_caption
from generator.embedded.training.scenes import draw_scene
from provenance.fingerprint.hashes.pdq import PdqHasher
from provenance.fingerprint.verification import make_thumbnail
from provenance.types import GenerationRequest, PerceptualHash, RasterImage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RENDERED = SCRATCH / "siblings"
DRAWN = SCRATCH / "scenes"
FAMILY = 4
SIDE_PX = 512
STEPS = 8
"""Few: a sibling must be alike, not beautiful, and a hundred of them must not take an hour."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a registry would keep of a drawn scene.

    Attributes:
        number: Of the scene.
        perceptual_hash: None where it is too flat.
        thumbnail: See `provenance.fingerprint.verification`.
    """

    number: int
    perceptual_hash: PerceptualHash | None
    thumbnail: bytes


def drawn_scene(number: int) -> RasterImage:
    """Scene `number`: `FAMILY` in a row share one specification, each with a seed of its own."""
    random = np.random.default_rng((6, number // FAMILY))
    spec = sample_spec(random, Split.TEST)
    seeds = random.integers(0, 2**31, FAMILY)
    seed = int(seeds[number % FAMILY])
    return RasterImage(draw_scene(replace(spec, seed=seed), side_px=SIDE_PX))


def keep_drawn(count: int) -> Iterator[Kept]:
    """Fingerprints of the first `count` scenes, drawn once and kept in the scratch folder."""
    DRAWN.mkdir(parents=True, exist_ok=True)
    index = DRAWN / "hashes.jsonl"
    known = _read_index(index)
    hasher = PdqHasher()
    with index.open("a") as journal:
        for number in range(count):
            path = DRAWN / f"{number:05}.webp"
            if number not in known or not path.exists():
                image = drawn_scene(number)
                path.write_bytes(make_thumbnail(image))
                known[number] = hasher.hash(image)
                found = known[number]
                row = None if found is None else [found.hex, found.quality]
                journal.write(json.dumps([number, row]) + "\n")
                journal.flush()
            yield Kept(number, known[number], path.read_bytes())


def _read_index(index: Path) -> dict[int, PerceptualHash | None]:
    if not index.exists():
        return {}
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    name = PdqHasher().name
    return {n: None if one is None else PerceptualHash(name, *one) for n, one in rows}


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
    parser.add_argument("--scenes", type=int, default=10_000)
    arguments = parser.parse_args()
    render_families(arguments.prompts, arguments.seeds)
    for _ in keep_drawn(arguments.scenes):
        pass


if __name__ == "__main__":
    main()
