# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type"
# NOTE: torch, diffusers and transformers annotate only some of their functions.
"""Puts the trained parts together as the folder that ships.

Usage: ``python -m generator.embedded.training.export VAE_RUN LATENTS TEXT_RUN RUN... MODEL``

Several runs are averaged with each other.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from generator.embedded.training.architecture import make_tokenizer, save_pipeline
from generator.embedded.training.encode import load_average, normalise, read_statistics
from generator.embedded.training.train_denoiser import load_denoiser
from generator.embedded.training.train_text import load_text_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["digest_weights", "export"]


def digest_weights(folder: Path) -> str:
    """Answers the SHA-256 over all weight files of a model folder, in order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def export(
    *, autoencoder_run: Path, latents: Path, text: Path, runs: Sequence[Path], target: Path
) -> None:
    """Saves averaged denoiser, text encoder and normalised autoencoder to ``target``."""
    tokenizer = make_tokenizer(target / "tokenizer")
    autoencoder = load_average(autoencoder_run)
    normalise(autoencoder, *read_statistics(latents))
    save_pipeline(
        target,
        autoencoder=autoencoder.eval(),
        text_encoder=load_text_encoder(text, tokenizer),
        unet=load_denoiser(*runs),
    )
    print(f"weights {digest_weights(target)}")


def main() -> None:
    """Reads the command line and exports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("autoencoder", type=Path)
    parser.add_argument("latents", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("denoisers", type=Path, nargs="+")
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    export(
        autoencoder_run=options.autoencoder,
        latents=options.latents,
        text=options.text,
        runs=options.denoisers,
        target=options.target,
    )


if __name__ == "__main__":
    main()
