"""Runs the descriptor's network in plain NumPy: a convolution is one matrix product.

The network is `training.network.DescriptorNetwork` with every batch normalisation folded into the
convolution before it. Pictures are laid out (N, H, W, C), so that the windows of a convolution are
copied in long pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

from provenance.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.types import Float32Array

__all__ = ["NumpyNetwork"]

_POOL_FLOOR = 1e-4
"""As in training: keeps the power's logarithm finite."""


@dataclass(frozen=True, slots=True, eq=False)
class _Convolution:
    """A convolution with "same" padding.

    Attributes:
        matrix: (side * side * inside, outside) float32, rows in the order (y, x, channel).
        bias: (outside,) float32.
    """

    matrix: Float32Array = field(repr=False)
    bias: Float32Array = field(repr=False)
    side: int
    stride: int

    def __call__(self, x: Float32Array) -> Float32Array:
        """(N, H, W, inside) to (N, H / stride, W / stride, outside)."""
        count, height, width, inside = x.shape
        rows, columns = -(-height // self.stride), -(-width // self.stride)
        if self.side == 1:
            windows = x[:, :: self.stride, :: self.stride].reshape(-1, inside)
        else:
            pad = self.side // 2
            padded = np.zeros((count, height + 2 * pad, width + 2 * pad, inside), np.float32)
            padded[:, pad : pad + height, pad : pad + width] = x
            each, down, across, deep = padded.strides
            windows = as_strided(
                padded,
                (count, rows, columns, self.side, self.side, inside),
                (each, down * self.stride, across * self.stride, down, across, deep),
                writeable=False,
            ).reshape(-1, self.side * self.side * inside)
        out: Float32Array = windows @ self.matrix
        out += self.bias
        return out.reshape(count, rows, columns, -1)


class NumpyNetwork:
    """The network of a file of weights.

    Args:
        tensors: ``NAME.weight`` (outside, side, side, inside) and ``NAME.bias`` of each
            convolution, ``head.weight``, ``head.bias`` and ``pool.power``.
        metadata: ``blocks``: number of residual blocks of each stage, as "1,1,2,1".

    Raises:
        BackendUnavailableError: A tensor is missing or has another shape.
    """

    def __init__(self, tensors: Mapping[str, Float32Array], metadata: Mapping[str, str]) -> None:
        try:
            self._blocks = [int(part) for part in metadata["blocks"].split(",")]
            self._stem = _convolution(tensors, "stem", stride=4)
            self._downs = [
                _convolution(tensors, f"down{stage}", stride=2)
                for stage in range(1, len(self._blocks))
            ]
            self._residuals = [
                [
                    (
                        _convolution(tensors, f"block{stage}.{n}.first", stride=1),
                        _convolution(tensors, f"block{stage}.{n}.second", stride=1),
                    )
                    for n in range(count)
                ]
                for stage, count in enumerate(self._blocks)
            ]
            self._widen = _convolution(tensors, "widen", stride=1)
            self._power = float(tensors["pool.power"][0])
            self._head = np.ascontiguousarray(tensors["head.weight"].T)
            self._head_bias = tensors["head.bias"]
        except (KeyError, ValueError, IndexError) as error:
            raise BackendUnavailableError(
                f"the descriptor's weights lack or misshape {error}; install Countermark again"
            ) from error

    @property
    def dimensions(self) -> int:
        """Components of an answer."""
        return len(self._head_bias)

    def __call__(self, pictures: Float32Array) -> Float32Array:
        """(N, side, side, 3) float32 of -1..1 to (N, dimensions) float32 of unit length."""
        x = _positive(self._stem(pictures))
        for stage, blocks in enumerate(self._residuals):
            if stage:
                x = _positive(self._downs[stage - 1](x))
            for first, second in blocks:
                inner = second(_positive(first(x)))
                inner += x
                x = _positive(inner)
        x = _positive(self._widen(x))
        pooled = np.mean(np.maximum(x, _POOL_FLOOR) ** self._power, axis=(1, 2))
        answer: Float32Array = pooled ** (1 / self._power) @ self._head + self._head_bias
        length = np.linalg.norm(answer, axis=1, keepdims=True)
        unit: Float32Array = (answer / np.maximum(length, 1e-9)).astype(np.float32, copy=False)
        return unit


def _positive(x: Float32Array) -> Float32Array:
    return np.maximum(x, 0, out=x)


def _convolution(tensors: Mapping[str, Float32Array], name: str, *, stride: int) -> _Convolution:
    weight = tensors[f"{name}.weight"]
    outside, side, _, inside = weight.shape
    matrix = np.ascontiguousarray(weight.reshape(outside, side * side * inside).T)
    return _Convolution(matrix, tensors[f"{name}.bias"], side, stride)
