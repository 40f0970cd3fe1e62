"""Image models in TorchScript files, run by torch on the CPU."""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from provenance.errors import BackendUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.types import Float32Array, Uint8Array

__all__ = ["TorchScriptModel"]

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
"""Of ImageNet, 0..1, as SSCD's own instructions say."""


class TorchScriptModel:
    """A file that maps float32 (N, 3, H, W), normalised as ImageNet, to (N, D).

    Args:
        path: The file. A TorchScript file is a program: load only what you trust.
        default_side_px: Side of the square that pictures are brought to.

    Raises:
        BackendUnavailableError: The file is missing or no TorchScript.
    """

    def __init__(self, path: Path, *, default_side_px: int) -> None:
        self.side_px = default_side_px
        try:
            self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            with warnings.catch_warnings():
                # Newer torch prefers another format; the published file is in this one.
                for kind in (DeprecationWarning, FutureWarning):
                    warnings.simplefilter("ignore", kind)
                self._model: Any = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError, ValueError) as error:
            raise BackendUnavailableError(
                f"{path} cannot be loaded as a TorchScript model: {_first_line(error)}"
            ) from error

    def run(self, pictures: Uint8Array) -> Float32Array:
        """(N, side, side, 3) uint8 RGB to (N, D) float32, not normed.

        Raises:
            BackendUnavailableError: The model fails, or its answer is no vector a picture.
        """
        scaled = torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float() / 255
        try:
            with torch.inference_mode():
                answer = self._model((scaled - _MEAN) / _DEVIATION)
        except RuntimeError as error:
            raise BackendUnavailableError(
                f"the TorchScript model fails on a picture of {self.side_px} pixels: "
                f"{_first_line(error)}"
            ) from error
        if not isinstance(answer, torch.Tensor) or answer.ndim != 2 or len(answer) != len(pictures):
            raise BackendUnavailableError("the TorchScript model answers no vector a picture")
        vectors: Float32Array = answer.float().numpy().astype(np.float32)
        return vectors


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
