"""Image models in ONNX files, run by onnxruntime on the CPU."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from provenance.errors import BackendUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.types import Float32Array, Uint8Array

__all__ = ["OnnxModel"]

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""Of ImageNet, 0..1: what SSCD was trained with. Source: torchvision's model documentation."""


class OnnxModel:
    """A file that maps pictures to vectors.

    Two kinds of input are known: uint8 (N, H, W, 3), which normalises inside, and float32
    (N, 3, H, W), which gets ImageNet's mean and deviation.

    Args:
        path: The file.
        default_side_px: Side of the square where the file leaves it open.

    Raises:
        BackendUnavailableError: The file is missing, broken, or of another kind.
    """

    def __init__(self, path: Path, *, default_side_px: int) -> None:
        try:
            self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # onnxruntime raises classes of its own compiled module, all below Exception.
            raise BackendUnavailableError(
                f"{path} cannot be loaded as an ONNX model: {_first_line(error)}"
            ) from error
        (entry, *others) = self._session.get_inputs()
        shape = list(entry.shape)
        self._raw = entry.type == "tensor(uint8)" and len(shape) == 4 and shape[3] == 3
        normalised = entry.type == "tensor(float)" and len(shape) == 4 and shape[1] == 3
        if others or not (self._raw or normalised):
            raise BackendUnavailableError(
                f"{path} takes {entry.type} {shape}; an image descriptor takes one uint8 "
                "(N, H, W, 3) or one float32 (N, 3, H, W)"
            )
        self._input = entry.name
        side = shape[1] if self._raw else shape[2]
        self.side_px = side if isinstance(side, int) else default_side_px
        self._takes_many = not isinstance(shape[0], int)

    def run(self, pictures: Uint8Array) -> Float32Array:
        """(N, side, side, 3) uint8 RGB to (N, D) float32, not normed.

        Raises:
            BackendUnavailableError: The model fails, or its answer is no vector a picture.
        """
        fed = pictures if self._raw else _normalise(pictures)
        parts = [fed] if self._takes_many else [fed[n : n + 1] for n in range(len(fed))]
        try:
            answers: list[Any] = [self._session.run(None, {self._input: p})[0] for p in parts]
        except Exception as error:
            raise BackendUnavailableError(
                f"the ONNX model fails on a picture of {self.side_px} pixels: {_first_line(error)}"
            ) from error
        vectors = np.concatenate(answers).astype(np.float32)
        if vectors.ndim != 2 or len(vectors) != len(pictures):
            raise BackendUnavailableError(
                f"the ONNX model answers {vectors.shape} for {len(pictures)} pictures, "
                "no vector each"
            )
        return vectors


def _normalise(pictures: Uint8Array) -> Float32Array:
    scaled = (pictures.astype(np.float32) / 255 - _MEAN) / _DEVIATION
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
