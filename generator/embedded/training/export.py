# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type"
# NOTE: torch, diffusers and transformers annotate only some of their functions.
"""Puts the trained parts together as the folder that ships.

Usage: ``python -m generator.embedded.training.export VAE_RUN LATENTS RUN MODEL``
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from generator.embedded.training.architecture import make_tokenizer, save_pipeline
from generator.embedded.training.checkpoints import load_checkpoint
from generator.embedded.training.encode import load_average, normalise, read_statistics
from generator.embedded.training.train_denoiser import make_denoiser

__all__ = ["digest_weights", "export"]


def digest_weights(folder: Path) -> str:
    """Answers the SHA-256 over all weight files of a model folder, in order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def export(*, autoencoder_run: Path, latents: Path, run: Path, target: Path) -> None:
    """Saves averaged denoiser, averaged text encoder and normalised autoencoder to ``target``."""
    state = load_checkpoint(run / "checkpoint.pt")
    if state is None:
        raise SystemExit(f"No checkpoint in {run}: run train_denoiser first.")
    model = make_denoiser(make_tokenizer(target / "tokenizer"))
    model.load_state_dict(state["average"])
    autoencoder = load_average(autoencoder_run)
    normalise(autoencoder, *read_statistics(latents))
    save_pipeline(
        target,
        autoencoder=autoencoder.eval(),
        text_encoder=model["text_encoder"].eval(),
        unet=model["unet"].eval(),
    )
    print(f"step {state['step']}, weights {digest_weights(target)}")


def main() -> None:
    """Reads the command line and exports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("autoencoder", type=Path)
    parser.add_argument("latents", type=Path)
    parser.add_argument("denoiser", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    export(
        autoencoder_run=options.autoencoder,
        latents=options.latents,
        run=options.denoiser,
        target=options.target,
    )


if __name__ == "__main__":
    main()
