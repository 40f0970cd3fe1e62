# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type"
# NOTE: torch, diffusers and transformers annotate only some of their functions.
"""Trains the autoencoder on crops of the pool, ever larger ones; resumable.

The encoder is settled after a fifth of the steps. From then on latents can be encoded and the
denoiser trained, while the decoder goes on learning what to make of them.

python -m generator.embedded.training.train_autoencoder training-runs/pool training-runs/vae
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from generator.embedded.training.architecture import make_autoencoder
from generator.embedded.training.captions import Split, sample_spec
from generator.embedded.training.checkpoints import (
    Average,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
)
from generator.embedded.training.losses import picture_loss, psnr_db
from generator.embedded.training.pool import list_shards
from generator.embedded.training.precision import half_precision
from generator.embedded.training.scenes import draw_scene
from generator.embedded.training.thumbnail import start_as_thumbnail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import AutoencoderKL
    from numpy.typing import NDArray

__all__ = ["fresh_scenes", "measure_psnr", "to_tensor", "train"]

_PEAK_RATE = 5e-4
_DECAY = 0.998
# Keeps latents near a unit normal without costing detail: five orders below the pixels.
_KL_WEIGHT = 1e-5
_GRADIENT_LIMIT = 1.0
_SAVE_EVERY = 250
# Share of the steps after which the encoder stays as it is.
_ENCODER_SHARE = 0.2
# (share of training done, pictures, side in pixels): few pixels a step, many steps, is what a
# processor without an accelerator affords. Group normalisation takes its statistics from the
# whole picture, so training ends near the size that is delivered.
_STAGES = ((0.6, 2, 128), (0.93, 1, 192), (1.01, 1, 384))


def to_tensor(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Turns (N, H, W, 3) uint8 into (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1


def fresh_scenes(count: int, *, seed: int, split: Split) -> torch.Tensor:
    """Draws scenes of a split: (count, 3, 512, 512) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    specs = [sample_spec(rng, split) for _ in range(count)]
    return to_tensor(np.stack([draw_scene(spec) for spec in specs]))


class _Crops:
    """Random crops, mirrored half of the time, from all shards that are there."""

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self._folder, self._rng = folder, rng
        self._shards: list[NDArray[np.uint8]] = []
        self.refresh()

    def refresh(self) -> None:
        """Takes in shards that were drawn since."""
        self._shards = [np.load(path, mmap_mode="r") for path in list_shards(self._folder)]

    def take(self, count: int, side_px: int) -> torch.Tensor:
        crops = []
        for _ in range(count):
            shard = self._shards[self._rng.integers(len(self._shards))]
            whole = shard[self._rng.integers(len(shard))]
            top, left = self._rng.integers(0, whole.shape[0] - side_px + 1, size=2)
            crop = whole[top : top + side_px, left : left + side_px]
            crops.append(crop[:, ::-1] if self._rng.random() < 0.5 else crop)
        return to_tensor(np.stack(crops))


@torch.no_grad()
def measure_psnr(autoencoder: AutoencoderKL, scenes: torch.Tensor) -> float:
    """Answers the mean PSNR in dB of reconstructions of (N, 3, H, W) in [-1, 1]."""
    made = [
        autoencoder.decode(autoencoder.encode(scene[None]).latent_dist.mode()).sample
        for scene in scenes
    ]
    return psnr_db(torch.cat(made), scenes)


def _settle_encoder(autoencoder: AutoencoderKL, average: AutoencoderKL) -> None:
    """Gives the encoder its averaged weights, the ones that ship, and stops its training."""
    for part in ("encoder", "quant_conv"):
        settled = getattr(autoencoder, part)
        settled.load_state_dict(getattr(average, part).state_dict())
        settled.requires_grad_(requires_grad=False)


def _loss(autoencoder: AutoencoderKL, crops: torch.Tensor) -> torch.Tensor:
    with half_precision():
        latents = autoencoder.encode(crops).latent_dist
        made = autoencoder.decode(latents.sample()).sample
    divergence = latents.kl().mean() / latents.mean[0].numel()
    loss: torch.Tensor = picture_loss(made.float(), crops) + _KL_WEIGHT * divergence
    return loss


def _stage(step: int, steps: int) -> tuple[int, int]:
    return next((count, side) for end, count, side in _STAGES if step < end * steps)


def train(pool: Path, run: Path, *, steps: int, seed: int) -> None:
    """Trains for ``steps`` in all, going on from ``run``'s checkpoint if there is one."""
    torch.manual_seed(seed)
    model = make_autoencoder()
    start_as_thumbnail(model, fresh_scenes(8, seed=seed + 1, split=Split.TRAIN))
    model = model.to(memory_format=torch.channels_last)
    average = Average(model, decay=_DECAY)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
    first = 0
    state = load_checkpoint(run / "checkpoint.pt")
    if state is not None:
        first = state["step"]
        model.load_state_dict(state["model"])
        average.module.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    torch.manual_seed(seed + first)
    crops = _Crops(pool, np.random.default_rng([seed, first]))
    scenes = fresh_scenes(4, seed=seed, split=Split.TEST)
    losses: list[float] = []
    began = time.monotonic()
    settled_at = int(_ENCODER_SHARE * steps)
    for step in range(first, steps):
        if step == max(settled_at, first):
            _settle_encoder(model, average.module)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps=steps, peak=_PEAK_RATE)
        loss = _loss(model, crops.take(*_stage(step, steps)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _GRADIENT_LIMIT)
        optimizer.step()
        average.update(model, step)
        losses.append(loss.item())
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == steps:
            _report(
                step + 1, losses, time.monotonic() - began, measure_psnr(average.module, scenes)
            )
            losses.clear()
            crops.refresh()
            save_checkpoint(
                run / "checkpoint.pt",
                {
                    "step": step + 1,
                    "model": model.state_dict(),
                    "average": average.module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                },
            )


def _report(step: int, losses: Sequence[float], seconds: float, psnr: float) -> None:
    print(f"{step} loss {np.mean(losses):.4f} PSNR {psnr:.2f} dB {seconds:.0f} s", flush=True)


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options.pool, options.run, steps=options.steps, seed=options.seed)


if __name__ == "__main__":
    main()
