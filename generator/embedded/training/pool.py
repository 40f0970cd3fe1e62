"""Draws a pool of scenes with captions to disk, in shards, so that a stopped run goes on.

python -m generator.embedded.training.pool training-runs/pool --count 6000 --seed 1
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from generator.embedded.training.captions import Split, sample_spec, write_caption
from generator.embedded.training.scenes import draw_scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["CAPTIONS_PER_SCENE", "SHARD_SCENES", "build_pool", "list_shards", "read_captions"]

# 200 MB a shard: a minute of drawing is lost at most.
SHARD_SCENES = 250
# Several sentences for one picture teach which words mean the same.
CAPTIONS_PER_SCENE = 6


def _draw_shard(
    index: int, *, seed: int, split: Split
) -> tuple[NDArray[np.uint8], Sequence[Sequence[str]]]:
    rng = np.random.default_rng([seed, index])
    specs = [sample_spec(rng, split) for _ in range(SHARD_SCENES)]
    captions = [[write_caption(rng, spec) for _ in range(CAPTIONS_PER_SCENE)] for spec in specs]
    return np.stack([draw_scene(spec) for spec in specs]), captions


def build_pool(folder: Path, *, count: int, seed: int, split: Split) -> None:
    """Draws ``count`` scenes into ``folder``; shards that are there already are kept.

    Args:
        folder: Gets scenes-0000.npy, (250, 512, 512, 3) uint8, and captions-0000.json.
        count: Scenes in all, rounded up to whole shards.
        seed: Settles every scene and caption.
        split: Which half of the combinations to draw from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(-(-count // SHARD_SCENES)):
        target = folder / f"scenes-{index:04d}.npy"
        if target.exists():
            continue
        pictures, captions = _draw_shard(index, seed=seed, split=split)
        words = json.dumps(captions, indent=0)
        target.with_name(f"captions-{index:04d}.json").write_text(words, encoding="utf-8")
        partial = target.with_name("partial.npy")
        np.save(partial, pictures)
        # Renamed last: a shard that exists is whole.
        partial.replace(target)
        print(f"shard {index}: {len(pictures)} scenes", flush=True)


def list_shards(folder: Path) -> list[Path]:
    """Answers the shards' picture files in order."""
    return sorted(folder.glob("scenes-*.npy"))


def read_captions(shard: Path) -> list[list[str]]:
    """Answers the captions of each scene of a shard."""
    words = shard.with_name(shard.name.replace("scenes", "captions")).with_suffix(".json")
    captions: list[list[str]] = json.loads(words.read_text(encoding="utf-8"))
    return captions


def main() -> None:
    """Reads the command line and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", type=Split, choices=list(Split), default=Split.TRAIN)
    options = parser.parse_args()
    build_pool(options.folder, count=options.count, seed=options.seed, split=options.split)


if __name__ == "__main__":
    main()
