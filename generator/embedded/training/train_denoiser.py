# mypy: disable-error-code="no-untyped-call,attr-defined,dict-item,operator"
# NOTE: torch, diffusers and transformers annotate only some of their functions.
"""Trains denoiser and text encoder together on encoded scenes; resumable.

Usage: ``python -m generator.embedded.training.train_denoiser SCENES LATENTS RUN``
"""

from __future__ import annotations

import argparse
import time
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
from generator.embedded.training.encode import read_statistics
from generator.embedded.training.pool import list_shards, read_captions

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

__all__ = ["make_denoiser", "train"]

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
    model: nn.ModuleDict, signal: torch.Tensor, latents: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    """Answers the velocity's squared error at random steps of the noise schedule, noisy ones more often.

    Args:
        model: Parts of `make_denoiser`.
        signal: Share of signal power left at each step of the schedule, (1000,).
        latents: Clean latents, (N, 8, 32, 32).
        ids: Token ids, (N, 77).
    """
    steps = (torch.rand(len(latents)) ** _STEP_POWER * len(signal)).long()
    kept = signal[steps].sqrt()[:, None, None, None]
    lost = (1 - signal[steps]).sqrt()[:, None, None, None]
    noise = torch.randn_like(latents)
    velocity = kept * noise - lost * latents
    with torch.autocast("cpu", torch.bfloat16):
        words = model["text_encoder"](ids).last_hidden_state
        made = model["unet"](kept * latents + lost * noise, steps, words).sample
    loss: torch.Tensor = (made.float() - velocity).square().mean()
    return loss


def train(pool: Path, latents: Path, run: Path, *, steps: int, batch: int, seed: int) -> None:
    """Trains for ``steps`` in all, going on from ``run``'s checkpoint if there is one."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(run / "tokenizer")
    model = make_denoiser(tokenizer)
    # On a processor plain attention trains a fifth faster than the fused kernels.
    model["unet"].set_attn_processor(AttnProcessor())
    average = Average(model, decay=_DECAY)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=1e-2)
    first = 0
    state = load_checkpoint(run / "checkpoint.pt")
    if state is not None:
        first = state["step"]
        model.load_state_dict(state["model"])
        average.module.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    torch.manual_seed(seed + first)
    examples = _Examples(pool, latents, tokenizer, np.random.default_rng([seed, first]))
    print(f"{len(examples)} scenes, from step {first}", flush=True)
    signal = make_scheduler().alphas_cumprod.clone()
    losses: list[float] = []
    began = time.monotonic()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps=steps, peak=_PEAK_RATE)
        loss = _loss(model, signal, *examples.take(batch))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _GRADIENT_LIMIT)
        optimizer.step()
        average.update(model, step)
        losses.append(loss.item())
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == steps:
            took = time.monotonic() - began
            print(f"{step + 1} loss {np.mean(losses):.4f} {took:.0f} s", flush=True)
            losses.clear()
            examples.refresh()
            save_checkpoint(
                run / "checkpoint.pt",
                {
                    "step": step + 1,
                    "model": model.state_dict(),
                    "average": average.module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                },
            )


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("latents", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(
        options.pool,
        options.latents,
        options.run,
        steps=options.steps,
        batch=options.batch,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
