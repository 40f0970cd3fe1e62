# mypy: disable-error-code="no-untyped-call,attr-defined,no-any-return"
# NOTE: torch, diffusers and transformers annotate only some of their functions.
"""Encodes the pool with the settled encoder, and measures its latents; resumable.

Usage: ``python -m generator.embedded.training.encode SCENES RUN LATENTS``
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL

from generator.embedded.training.architecture import LATENT_CHANNELS, make_autoencoder
from generator.embedded.training.checkpoints import load_checkpoint
from generator.embedded.training.pool import list_shards
from generator.embedded.training.precision import half_precision
from generator.embedded.training.train_autoencoder import to_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "encode_pictures",
    "encode_pool",
    "load_average",
    "normalise",
    "read_gains",
    "read_statistics",
]


def load_average(run: Path) -> AutoencoderKL:
    """Loads the averaged weights of `train_autoencoder`'s checkpoint, or a diffusers folder."""
    if (run / "config.json").exists():
        exported: AutoencoderKL = AutoencoderKL.from_pretrained(run, local_files_only=True)
        return exported.eval()
    state = load_checkpoint(run / "checkpoint.pt")
    if state is None:
        raise SystemExit(f"No checkpoint in {run}: run train_autoencoder first.")
    autoencoder = make_autoencoder()
    autoencoder.load_state_dict(state["average"])
    return autoencoder.eval()


@torch.no_grad()
def encode_pictures(autoencoder: AutoencoderKL, pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Encodes (N, 16h, 16w, 3) uint8 one by one to (N, 8, h, w) float16, the mode of each."""
    latents = []
    for picture in pictures:
        with half_precision():
            coded = autoencoder.encode(to_tensor(picture[None])).latent_dist
        latents.append(coded.mode().float().numpy())
    return np.concatenate(latents).astype(np.float16)


@torch.no_grad()
def normalise(autoencoder: AutoencoderKL, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Moves latents of channel means ``mean`` and deviations ``deviation`` to 0 and 1.

    Changes the two 1x1 convolutions next to the latents, so that reconstructions stay as they
    were and the pipeline's single scaling factor can be 1.
    """
    inward, outward = autoencoder.quant_conv, autoencoder.post_quant_conv
    inward.weight[:LATENT_CHANNELS] /= deviation[:, None, None, None]
    inward.bias[:LATENT_CHANNELS] = (inward.bias[:LATENT_CHANNELS] - mean) / deviation
    # The second half are logarithms of variances.
    inward.bias[LATENT_CHANNELS:] -= 2 * deviation.log()
    outward.bias += outward.weight[..., 0, 0] @ mean
    outward.weight *= deviation[None, :, None, None]


def encode_pool(pool: Path, run: Path, target: Path, *, every: int = 1, offset: int = 0) -> None:
    """Writes latents-0000.npy, (250, 8, h, w) float16, for every shard of ``pool``.

    Mean and deviation of each channel over the first shard go to ``target/statistics.json``.
    Several processes share the work with one ``offset`` of ``every`` each.
    """
    target.mkdir(parents=True, exist_ok=True)
    autoencoder = load_average(run).to(memory_format=torch.channels_last)
    for shard in list_shards(pool)[offset::every]:
        path = target / shard.name.replace("scenes", "latents")
        if path.exists():
            continue
        latents = encode_pictures(autoencoder, np.load(shard, mmap_mode="r"))
        if not (target / "statistics.json").exists():
            _write_statistics(target, autoencoder, latents)
        partial = target / f"partial-{offset}.npy"
        np.save(partial, latents)
        partial.replace(path)
        print(f"{path.name} deviation {latents.astype(np.float32).std():.3f}", flush=True)


@torch.no_grad()
def _measure_gains(
    autoencoder: AutoencoderKL, latents: torch.Tensor, deviation: torch.Tensor
) -> list[float]:
    """Answers how much a tenth of each channel's deviation changes the decoded pictures."""
    before = autoencoder.decode(latents).sample
    gains = []
    for channel in range(LATENT_CHANNELS):
        moved = latents.clone()
        moved[:, channel] += 0.1 * deviation[channel] * torch.randn_like(moved[:, channel])
        change = autoencoder.decode(moved).sample - before
        gains.append(float(change.square().mean().sqrt()))
    return gains


def _write_statistics(
    target: Path, autoencoder: AutoencoderKL, latents: NDArray[np.float16]
) -> None:
    values = torch.from_numpy(latents.astype(np.float32))
    deviation = values.std(dim=(0, 2, 3))
    statistics = {
        "mean": values.mean(dim=(0, 2, 3)).tolist(),
        "deviation": deviation.tolist(),
        "gain": _measure_gains(autoencoder, values[:4], deviation),
    }
    (target / "statistics.json").write_text(json.dumps(statistics, indent=1), encoding="utf-8")


def read_gains(target: Path) -> torch.Tensor:
    """Answers how much each latent channel shows in pictures, (8,), 1 on average."""
    statistics = json.loads((target / "statistics.json").read_text(encoding="utf-8"))
    gains = torch.tensor(statistics["gain"])
    return gains / gains.mean()


def read_statistics(target: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Answers mean and deviation of each latent channel, (8,) each."""
    statistics = json.loads((target / "statistics.json").read_text(encoding="utf-8"))
    return torch.tensor(statistics["mean"]), torch.tensor(statistics["deviation"])


def main() -> None:
    """Reads the command line and encodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encode_pool(
        options.pool, options.run, options.target, every=options.every, offset=options.offset
    )


if __name__ == "__main__":
    main()
