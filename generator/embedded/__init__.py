"""The bundled model: a small latent diffusion model of ours, and how it was trained."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["model_folder"]


def model_folder() -> Path:
    """Answers the diffusers folder of the bundled model, as installed.

    Countermark is installed unpacked (wheels are), so the resource is a real folder.

    Returns:
        A folder with ``model_index.json`` and safetensors weights in half precision.
    """
    return Path(str(files("generator.embedded") / "model"))
