"""Draws a pool of scenes with captions to disk, in shards, so that a stopped run goes on.

python -m generator.embedded.training.pool training-runs/scenes --count 4000 --seed 1
"""

from __future__ import annotations

import argparse
import json
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from generator.embedded.training.captions import Split, sample_spec, write_caption
from generator.embedded.training.scenes import SIDE_PX, Area, draw_scene, locate_subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["CAPTIONS_PER_SCENE", "SHARD_SCENES", "Told", "build_pool", "list_shards", "read_told"]

# 200 MB a shard: a minute of drawing is lost at most.
SHARD_SCENES = 250
# Several sentences for one picture teach which words mean the same.
CAPTIONS_PER_SCENE = 6


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is known of a scene of the pool besides its pixels."""

    captions: Sequence[str]
    area: Area | None


def _draw_shard(
    index: int, *, seed: int, split: Split, side_px: int
) -> tuple[NDArray[np.uint8], Sequence[Told]]:
    rng = np.random.default_rng([seed, index])
    specs = [sample_spec(rng, split) for _ in range(SHARD_SCENES)]
    told = [
        Told(
            captions=[write_caption(rng, spec) for _ in range(CAPTIONS_PER_SCENE)],
            area=locate_subject(spec),
        )
        for spec in specs
    ]
    return np.stack([draw_scene(spec, side_px=side_px) for spec in specs]), told


def build_pool(
    folder: Path, *, count: int, seed: int, split: Split, side_px: int = SIDE_PX, first: int = 0
) -> None:
    """Draws ``count`` scenes into ``folder``; shards that are there already are kept.

    Args:
        folder: Gets scenes-0000.npy, (250, side, side, 3) uint8, and captions-0000.json.
        count: Scenes in all, rounded up to whole shards.
        seed: Settles every scene and caption.
        split: Which half of the combinations to draw from.
        side_px: Height and width.
        first: Number of the first shard, for several processes that share the work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, -(-count // SHARD_SCENES)):
        target = folder / f"scenes-{index:04d}.npy"
        if target.exists():
            continue
        pictures, told = _draw_shard(index, seed=seed, split=split, side_px=side_px)
        words = json.dumps([_to_json(one) for one in told], indent=0)
        target.with_name(f"captions-{index:04d}.json").write_text(words, encoding="utf-8")
        partial = target.with_name(f"partial-{index}.npy")
        np.save(partial, pictures)
        # Renamed last: a shard that exists is whole.
        partial.replace(target)
        print(f"shard {index}: {len(pictures)} scenes", flush=True)


def list_shards(folder: Path) -> list[Path]:
    """Answers the shards' picture files in order."""
    return sorted(folder.glob("scenes-*.npy"))


def _to_json(told: Told) -> dict[str, object]:
    area = None if told.area is None else astuple(told.area)
    return {"captions": list(told.captions), "area": area}


def read_told(shard: Path) -> list[Told]:
    """Answers captions and subject's place of each scene of a shard."""
    words = shard.with_name(shard.name.replace("scenes", "captions")).with_suffix(".json")
    told = []
    for one in json.loads(words.read_text(encoding="utf-8")):
        names = ("top", "left", "height", "width")
        area = one["area"] and Area(**dict(zip(names, one["area"], strict=True)))
        told.append(Told(captions=one["captions"], area=area))
    return told


def main() -> None:
    """Reads the command line and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", type=Split, choices=list(Split), default=Split.TRAIN)
    parser.add_argument("--side", type=int, default=SIDE_PX, help="pixels")
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    options = parser.parse_args()
    build_pool(
        options.folder,
        count=options.count,
        seed=options.seed,
        split=options.split,
        side_px=options.side,
        first=options.first,
    )


if __name__ == "__main__":
    main()
