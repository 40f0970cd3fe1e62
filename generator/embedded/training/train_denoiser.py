# mypy: disable-error-code="no-untyped-call,attr-defined,dict-item,operator"
# NOTE: torch, diffusers and transformers annotate only some of their functions.
"""Trains denoiser and text encoder together on encoded scenes; resumable.

Usage: ``python -m generator.embedded.training.train_denoiser SCENES LATENTS RUN``
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from generator.embedded.training.architecture import (
    make_scheduler,
    make_text_encoder,
    make_tokenizer,
    make_unet,
)
from generator.embedded.training.checkpoints import (
    Average,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
)
from generator.embedded.training.encode import read_gains, read_statistics
from generator.embedded.training.pool import list_shards, read_captions
from generator.embedded.training.workers import average_gradients, run_workers

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

__all__ = ["Plan", "make_denoiser", "train"]

_PEAK_RATE = 8e-4
_DECAY = 0.999
_GRADIENT_LIMIT = 1.0
_SAVE_EVERY = 250
# Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022), found 0.1 to 0.2 best.
_EMPTY_SHARE = 0.1
# Below 1, noisy steps come more often: there layout and subject are settled, which are harder to
# learn than texture.
_STEP_POWER = 0.6
# People ask with words the model doesn't know; it must learn to read past them.
_FILLER_SHARE = 0.1
_FILLERS = ("8k", "detailed", "realistic", "masterpiece", "trending", "hd", "nice", "my", "please")


def make_denoiser(tokenizer: CLIPTokenizer) -> nn.ModuleDict:
    """Makes the untrained parts that train together: ``unet`` and ``text_encoder``."""
    return nn.ModuleDict({"unet": make_unet(), "text_encoder": make_text_encoder(tokenizer)})


@dataclass(frozen=True, kw_only=True)
class _Schedule:
    """Signal power left at each step, (1000,), and what each channel's error weighs, (8,).

    Half of the channels hold fine detail that nothing predicts. Weighed alike, their noise would
    drown what the others have to learn: each weighs as much as it shows in pictures.
    """

    signal: torch.Tensor
    weights: torch.Tensor


class _Examples:
    """Latents with token ids of one of their captions, drawn at random."""

    def __init__(
        self, pool: Path, latents: Path, tokenizer: CLIPTokenizer, rng: np.random.Generator
    ) -> None:
        self._pool, self._folder = pool, latents
        self._rng, self._tokenizer = rng, tokenizer
        self._captions: list[list[str]] = []
        self.refresh()

    def refresh(self) -> None:
        """Takes in shards that were encoded since."""
        coded = {
            shard: self._folder / shard.name.replace("scenes", "latents")
            for shard in list_shards(self._pool)
        }
        coded = {shard: path for shard, path in coded.items() if path.exists()}
        pictures = [np.load(path) for path in coded.values()]
        self._captions = [words for shard in coded for words in read_captions(shard)]
        mean, deviation = (part[:, None, None] for part in read_statistics(self._folder))
        self._latents = (torch.from_numpy(np.concatenate(pictures)).float() - mean) / deviation

    def __len__(self) -> int:
        return len(self._captions)

    def _caption(self, index: int) -> str:
        if self._rng.random() < _EMPTY_SHARE:
            return ""
        captions = self._captions[index]
        caption = captions[self._rng.integers(len(captions))]
        if self._rng.random() >= _FILLER_SHARE:
            return caption
        words = caption.split()
        words.insert(int(self._rng.integers(len(words) + 1)), str(self._rng.choice(_FILLERS)))
        return " ".join(words)

    def take(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Answers latents (count, 8, 32, 32) float32 and token ids (count, 77)."""
        chosen = self._rng.integers(len(self), size=count)
        ids = self._tokenizer(
            [self._caption(index) for index in chosen],
            padding="max_length",
            truncation=True,
            max_length=self._tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        return self._latents[torch.from_numpy(chosen)], ids


def _loss(
    model: nn.ModuleDict,
    schedule: _Schedule,
    latents: torch.Tensor,
    ids: torch.Tensor,
) -> torch.Tensor:
    """Answers the velocity's squared error at random steps, noisy ones more often.

    Args:
        model: Parts of `make_denoiser`.
        schedule: Noise and weights.
        latents: Clean latents, (N, 8, 32, 32).
        ids: Token ids, (N, 77).
    """
    signal = schedule.signal
    steps = (torch.rand(len(latents)) ** _STEP_POWER * len(signal)).long()
    kept = signal[steps].sqrt()[:, None, None, None]
    lost = (1 - signal[steps]).sqrt()[:, None, None, None]
    noise = torch.randn_like(latents)
    velocity = kept * noise - lost * latents
    with torch.autocast("cpu", torch.bfloat16):
        words = model["text_encoder"](ids).last_hidden_state
        made = model["unet"](kept * latents + lost * noise, steps, words).sample
    error = (made.float() - velocity).square().mean(dim=(0, 2, 3))
    loss: torch.Tensor = (schedule.weights * error).mean()
    return loss


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to train on, where to keep it, and for how long."""

    pool: Path
    latents: Path
    run: Path
    steps: int
    batch: int
    seed: int
    workers: int


class _Trainee:
    """The parts in training with everything a checkpoint holds."""

    def __init__(self, run: Path, tokenizer: CLIPTokenizer) -> None:
        self._path = run / "checkpoint.pt"
        self.model = make_denoiser(tokenizer)
        # On a processor plain attention trains a fifth faster than the fused kernels.
        self.model["unet"].set_attn_processor(AttnProcessor())
        self.average = Average(self.model, decay=_DECAY)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=(0.9, 0.99), weight_decay=1e-2
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
    trainee = _Trainee(plan.run, tokenizer)
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
        rate = learning_rate(trainee.step, steps=plan.steps, peak=_PEAK_RATE)
        loss = _loss(trainee.model, schedule, *examples.take(plan.batch // plan.workers))
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
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    run_workers(train, Plan(**vars(options)), workers=options.workers)


if __name__ == "__main__":
    main()
