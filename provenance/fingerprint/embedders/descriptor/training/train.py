"""Trains the descriptor on pictures that `pictures` drew; stops by the clock, goes on where it was.

Self-supervised, as SSCD (Pizzi et al., "A Self-Supervised Descriptor for Image Copy Detection",
2022): the two edits of a picture are drawn together and all other pictures apart (InfoNCE), and
every vector is pushed off its nearest neighbour (differential entropy, Sablayrolles et al. 2019).

python -m provenance.fingerprint.embedders.descriptor.training.train POOL RUN --minutes 60 --seed 1
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from provenance.fingerprint.embedders.descriptor.training.edits import Editor, Levels, make_levels
from provenance.fingerprint.embedders.descriptor.training.network import (
    DescriptorNetwork,
)
from provenance.fingerprint.embedders.descriptor.training.pictures import GROUP, list_shards

__all__ = ["train"]

# Of each style so many pictures: colours alone do not tell them apart.
ALIKE = 2
GROUPS = 48
PEAK_RATE = 1.2e-3
WEIGHT_DECAY = 0.03
TEMPERATURE = 0.08
ENTROPY_WEIGHT = 2.0
SIDE_PX = 64
# The edits become as hard as they get over the first part.
EASIEST, HARD_FROM = 0.1, 0.5
CHECKPOINT_S = 180.0
LOG_STEPS = 25


@dataclass
class _State:
    step: int = 0
    pictures: int = 0
    elapsed_s: float = 0.0


class _Pool:
    """The drawn pictures in memory; shards that appear while training are taken up."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self._folder = folder
        self._names: set[str] = set()
        self._shards: list[Levels] = []
        self._random = np.random.default_rng(seed)
        self.refresh()

    def refresh(self) -> int:
        for path in list_shards(self._folder):
            if path.name not in self._names:
                self._names.add(path.name)
                pictures = torch.from_numpy(np.load(path)).permute(0, 3, 1, 2).contiguous()
                self._shards.append(make_levels(pictures))
        return len(self._shards)

    def batch(self) -> tuple[Levels, torch.Tensor]:
        """Pictures in groups of one style, and others from a shard of which none is taken."""
        order = self._random.permutation(len(self._shards))
        aside, sources = order[0], order[1:] if len(order) > 1 else order
        parts = []
        for _ in range(GROUPS):
            shard = self._shards[sources[self._random.integers(0, len(sources))]]
            first = int(self._random.integers(0, len(shard[0]) // GROUP)) * GROUP
            first += int(self._random.integers(0, GROUP - ALIKE + 1))
            parts.append([level[first : first + ALIKE] for level in shard])
        # Seen small: a half size is enough.
        return [torch.cat(level) for level in zip(*parts, strict=True)], self._shards[aside][1]


def _loss(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """InfoNCE over both edits of every picture, and the entropy term."""
    count = len(first)
    vectors = torch.cat([first, second])
    alike = vectors @ vectors.T
    self_mask = torch.eye(2 * count, dtype=torch.bool)
    scores = alike.masked_fill(self_mask, -math.inf) / TEMPERATURE
    partner = torch.arange(2 * count).roll(count)
    contrast = functional.cross_entropy(scores, partner)
    pair_mask = self_mask | self_mask.roll(count, 0)
    nearest = alike.detach().masked_fill(pair_mask, -2).argmax(1)
    distance = (vectors - vectors[nearest]).norm(dim=1)
    return contrast, -torch.log(distance + 1e-6).mean()


def _rate(progress: float) -> float:
    return (
        PEAK_RATE
        * min(1.0, progress / 0.02 + 0.01)
        * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))
    )


def _save(
    run: Path, network: torch.nn.Module, optimiser: torch.optim.Optimizer, state: _State
) -> None:
    partial = run / "partial.pt"
    torch.save(
        {
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "state": vars(state),
        },
        partial,
    )
    partial.replace(run / "checkpoint.pt")


def train(pool_folder: Path, run: Path, *, minutes: float, seed: int) -> None:
    """Trains for ``minutes`` of wall time in all, over however many starts.

    Args:
        pool_folder: Pictures of `pictures`.
        run: Gets checkpoint.pt, renewed every three minutes; a run that has one goes on.
        minutes: Of wall time.
        seed: Settles weights, batches and edits of one start.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = DescriptorNetwork().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98)
    )
    state = _State()
    if (run / "checkpoint.pt").exists():
        kept = torch.load(run / "checkpoint.pt", weights_only=True)
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        state = _State(**kept["state"])
    pool = _Pool(pool_folder, seed=seed + state.step)
    editor = Editor(seed=seed + state.step)
    started, saved = time.monotonic() - state.elapsed_s, time.monotonic()
    sums = np.zeros(3)
    while (progress := state.elapsed_s / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = _rate(progress)
        editor.difficulty = min(1.0, EASIEST + progress / HARD_FROM)
        pictures, others = pool.batch()
        if np.random.default_rng(state.step).random() < 0.3 * editor.difficulty:
            one = editor.heavily(pictures, others, SIDE_PX)
        else:
            one = editor.lightly(pictures, SIDE_PX)
        seen = torch.cat([one, editor.heavily(pictures, others, SIDE_PX)]) * 2 - 1
        with torch.autocast("cpu", torch.bfloat16):
            vectors = network(seen.contiguous(memory_format=torch.channels_last))
        first, second = vectors.float().chunk(2)
        contrast, entropy = _loss(first, second)
        optimiser.zero_grad()
        loss: torch.Tensor = contrast + ENTROPY_WEIGHT * entropy
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        state.step += 1
        state.pictures += len(first)
        state.elapsed_s = time.monotonic() - started
        found = ((first @ second.T).argmax(1) == torch.arange(len(first))).float().mean().item()
        sums += [contrast.item(), entropy.item(), found]
        if state.step % LOG_STEPS == 0:
            line = dict(
                zip(
                    ("contrast", "entropy", "found"),
                    (sums / LOG_STEPS).round(4).tolist(),
                    strict=True,
                )
            )
            line |= {
                "step": state.step,
                "minutes": round(state.elapsed_s / 60, 2),
                "shards": pool.refresh(),
                "paired": round((first * second).sum(1).mean().item(), 3),
            }
            print(json.dumps(line), flush=True)
            sums[:] = 0
        if time.monotonic() - saved > CHECKPOINT_S:
            _save(run, network, optimiser, state)
            saved = time.monotonic()
    _save(run, network, optimiser, state)


def main() -> None:
    parser = argparse.ArgumentParser(description="train the copy descriptor")
    parser.add_argument("pool", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    train(given.pool, given.run, minutes=given.minutes, seed=given.seed)


if __name__ == "__main__":
    main()
