# mypy: disable-error-code="no-untyped-call,attr-defined,operator,no-any-return,arg-type"
# NOTE: torch, diffusers and transformers annotate only some of their functions.
"""Trains the denoiser on encoded scenes, with the text encoder of `train_text`; resumable.

First on scenes of half the side, where a step costs a quarter and words, colours and places are
learnt; then on scenes of the delivered size, starting with the weights of the first run.

Usage: ``python -m generator.embedded.training.train_denoiser SCENES LATENTS RUN [--start RUN...]``
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from generator.embedded.training.architecture import make_scheduler, make_tokenizer, make_unet
from generator.embedded.training.captions import Thing, add_filler, find_thing
from generator.embedded.training.checkpoints import (
    Average,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
)
from generator.embedded.training.encode import read_gains, read_statistics
from generator.embedded.training.pool import list_shards, read_told
from generator.embedded.training.precision import half_precision
from generator.embedded.training.train_text import load_text_encoder
from generator.embedded.training.workers import average_gradients, run_workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn
    from transformers import CLIPTextModel, CLIPTokenizer

    from generator.embedded.training.pool import Told

__all__ = ["Plan", "load_denoiser", "train"]

_DECAY = 0.999
_GRADIENT_LIMIT = 1.0
_SAVE_EVERY = 250
# Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022), found 0.1 to 0.2 best.
_EMPTY_SHARE = 0.1
# Below 1, noisy steps come more often: there layout and subject are settled, which are harder to
# learn than texture.
_STEP_POWER = 0.6
_FILLER_SHARE = 0.1
# What is asked for covers a tenth of a picture, and grass and cloud would outvote it.
_SUBJECT_WEIGHT = 6.0
# Subjects of many parts, or of thin ones, are drawn ragged long after a tent looks like a tent:
# they come up more often than others.
_HARD_SUBJECTS = {Thing.HOUSE: 3.0, Thing.FLOWER: 2.0, Thing.BOAT: 2.0}


def load_denoiser(*runs: Path) -> UNet2DConditionModel:
    """Loads the averaged weights of `train`'s checkpoints, or of diffusers folders.

    Weights of several runs, each of which began where another ended, are averaged with each other:
    what each run learnt by chance cancels out.

    Source: Wortsman et al., "Model soups", ICML 2022.
    """
    first, *others = (_load_one(run) for run in runs)
    weights = [one.state_dict() for one in (first, *others)]
    if others:
        first.load_state_dict(
            {name: torch.stack([some[name] for some in weights]).mean(0) for name in weights[0]}
        )
    return first


def _load_one(run: Path) -> UNet2DConditionModel:
    if (run / "config.json").exists():
        exported: UNet2DConditionModel = UNet2DConditionModel.from_pretrained(
            run, local_files_only=True
        )
        return exported.eval()
    state = load_checkpoint(run / "checkpoint.pt")
    if state is None:
        raise SystemExit(f"No checkpoint in {run}: run train_denoiser first.")
    unet = make_unet()
    unet.load_state_dict(state["average"])
    return unet.eval()


@dataclass(frozen=True, kw_only=True)
class _Schedule:
    """Signal power left at each step, (1000,), and what each channel's error weighs, (8,).

    Half of the channels hold fine detail that nothing predicts. Weighed alike, their noise would
    drown what the others have to learn: each weighs as much as it shows in pictures.
    """

    signal: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Clean latents (N, 8, h, w), token ids (N, 77), weight of each cell (N, h, w)."""

    latents: torch.Tensor
    ids: torch.Tensor
    cells: torch.Tensor


class _Examples:
    """Latents with token ids of one of their captions, drawn at random."""

    def __init__(
        self, pool: Path, latents: Path, tokenizer: CLIPTokenizer, rng: np.random.Generator
    ) -> None:
        self._pool, self._folder = pool, latents
        self._rng, self._tokenizer = rng, tokenizer
        self._told: list[Told] = []
        self.refresh()

    def refresh(self) -> None:
        """Takes in shards that were encoded since."""
        coded = {
            shard: self._folder / shard.name.replace("scenes", "latents")
            for shard in list_shards(self._pool)
        }
        coded = {shard: path for shard, path in coded.items() if path.exists()}
        pictures = [np.load(path) for path in coded.values()]
        self._told = [told for shard in coded for told in read_told(shard)]
        mean, deviation = (part[:, None, None] for part in read_statistics(self._folder))
        self._latents = (torch.from_numpy(np.concatenate(pictures)).float() - mean) / deviation
        shares = np.array([_share(told) for told in self._told])
        self._shares = shares / shares.sum()

    def __len__(self) -> int:
        return len(self._told)

    def _caption(self, index: int) -> str:
        if self._rng.random() < _EMPTY_SHARE:
            return ""
        captions = self._told[index].captions
        caption = captions[int(self._rng.integers(len(captions)))]
        return caption if self._rng.random() >= _FILLER_SHARE else add_filler(self._rng, caption)

    def take(self, count: int) -> _Batch:
        """Draws ``count`` examples."""
        chosen = self._rng.choice(len(self), size=count, p=self._shares)
        ids = self._tokenizer(
            [self._caption(index) for index in chosen],
            padding="max_length",
            truncation=True,
            max_length=self._tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        latents = self._latents[torch.from_numpy(chosen)]
        cells = _weigh_cells([self._told[index] for index in chosen], latents.shape[-1])
        return _Batch(latents=latents, ids=ids, cells=cells)


def _share(told: Told) -> float:
    """How often a scene comes up, against one with an easy subject."""
    thing = find_thing(told.captions[0])
    return 1.0 if thing is None else _HARD_SUBJECTS.get(thing, 1.0)


def _weigh_cells(told: Sequence[Told], side: int) -> torch.Tensor:
    """Answers weights of latent cells, (N, side, side), 1 on average in each picture."""
    cells = torch.ones(len(told), side, side)
    for weights, one in zip(cells, told, strict=True):
        if one.area is not None:
            top, left = int(one.area.top * side), int(one.area.left * side)
            bottom = round((one.area.top + one.area.height) * side) + 1
            right = round((one.area.left + one.area.width) * side) + 1
            weights[top:bottom, left:right] = _SUBJECT_WEIGHT
            weights /= weights.mean()
    return cells


def _loss(
    unet: nn.Module, encoder: CLIPTextModel, schedule: _Schedule, batch: _Batch
) -> torch.Tensor:
    """Answers the velocity's squared error at random steps, noisy ones more often."""
    signal, latents = schedule.signal, batch.latents
    steps = (torch.rand(len(latents)) ** _STEP_POWER * len(signal)).long()
    kept = signal[steps].sqrt()[:, None, None, None]
    lost = (1 - signal[steps]).sqrt()[:, None, None, None]
    noise = torch.randn_like(latents)
    velocity = kept * noise - lost * latents
    with torch.no_grad():
        words = encoder(batch.ids).last_hidden_state
    with half_precision():
        made = unet(kept * latents + lost * noise, steps, words).sample
    squares = (made.float() - velocity).square() * batch.cells[:, None]
    error = squares.mean(dim=(0, 2, 3))
    loss: torch.Tensor = (schedule.weights * error).mean()
    return loss


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to train on, where to keep it, and for how long."""

    pool: Path
    latents: Path
    run: Path
    start: tuple[Path, ...]
    text: Path | None
    steps: int
    rate: float
    batch: int
    seed: int
    workers: int


class _Trainee:
    """The denoiser in training with everything a checkpoint holds."""

    def __init__(self, run: Path, start: Sequence[Path]) -> None:
        self._path = run / "checkpoint.pt"
        self.model = load_denoiser(*start) if start else make_unet()
        self.model.train().requires_grad_(requires_grad=True)
        # On a processor plain attention trains a fifth faster than the fused kernels.
        self.model.set_attn_processor(AttnProcessor())
        self.average = Average(self.model, decay=_DECAY)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=(0.9, 0.99), weight_decay=1e-2, fused=True
        )
        self.step = 0
        state = load_checkpoint(self._path)
        if state is not None:
            self.step = state["step"]
            self.model.load_state_dict(state["model"])
            self.average.module.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])

    def learn(self, loss: torch.Tensor, rate: float) -> None:
        """Makes one step; every worker makes the same one."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _GRADIENT_LIMIT)
        self.optimizer.step()
        self.average.update(self.model, self.step)
        self.step += 1

    def save(self) -> None:
        """Writes the checkpoint."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_checkpoint(self._path, state)


def train(rank: int, plan: Plan) -> None:
    """Trains up to ``plan.steps``, going on from the run's checkpoint if there is one.

    Args:
        rank: Number of this worker; 0 reports and saves.
        plan: What to train on.
    """
    torch.manual_seed(plan.seed)
    tokenizer = make_tokenizer(plan.run / f"tokenizer-{rank}")
    encoder = load_text_encoder(plan.text or plan.run, tokenizer)
    trainee = _Trainee(plan.run, plan.start)
    # All workers start with the same weights and then see different examples and noise.
    torch.manual_seed(plan.seed + trainee.step + 1_000_003 * (1 + rank))
    rng = np.random.default_rng([plan.seed, trainee.step, rank])
    examples = _Examples(plan.pool, plan.latents, tokenizer, rng)
    if rank == 0:
        print(f"{len(examples)} scenes, from step {trainee.step}", flush=True)
    schedule = _Schedule(
        signal=make_scheduler().alphas_cumprod.clone(), weights=read_gains(plan.latents)
    )
    losses: list[float] = []
    began = time.monotonic()
    while trainee.step < plan.steps:
        rate = learning_rate(trainee.step, steps=plan.steps, peak=plan.rate)
        batch = examples.take(plan.batch // plan.workers)
        loss = _loss(trainee.model, encoder, schedule, batch)
        trainee.learn(loss, rate)
        losses.append(loss.item())
        if trainee.step % _SAVE_EVERY == 0 or trainee.step == plan.steps:
            examples.refresh()
            if rank == 0:
                took = time.monotonic() - began
                print(f"{trainee.step} loss {np.mean(losses):.4f} {took:.0f} s", flush=True)
                trainee.save()
            losses.clear()


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("latents", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--start",
        type=Path,
        nargs="+",
        default=[],
        help="runs whose averaged weights to begin with",
    )
    parser.add_argument("--text", type=Path, help="run of train_text, if it is another")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=8e-4, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    options.start = tuple(options.start)
    run_workers(train, Plan(**vars(options)), workers=options.workers)


if __name__ == "__main__":
    main()
