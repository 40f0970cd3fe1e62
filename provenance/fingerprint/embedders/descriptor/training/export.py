"""From a trained network to the tensors of a file: every normalisation is folded in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from provenance.fingerprint.embedders.descriptor.training.network import BLOCKS, WIDTHS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from provenance.fingerprint.embedders.descriptor.training.network import DescriptorNetwork
    from provenance.types import Float32Array

__all__ = ["describe", "fold"]


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Float32Array, Float32Array]:
    """One convolution that does what both did in use: (outside, side, side, inside), (outside,)."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("the network was built without running statistics")
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = convolution.weight * scale[:, None, None, None]
    bias = norm.bias - norm.running_mean * scale
    return (
        weight.permute(0, 2, 3, 1).contiguous().detach().numpy(),
        bias.detach().numpy(),
    )


def fold(network: DescriptorNetwork, blocks: Sequence[int] = BLOCKS) -> dict[str, Float32Array]:
    """The tensors of `inference.NumpyNetwork`."""
    layers: list[Any] = [layer for layer in network.body if not isinstance(layer, torch.nn.ReLU)]
    tensors: dict[str, Float32Array] = {}

    def put(name: str, pair: Any) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = _fold(pair[0], pair[1])

    put("stem", layers.pop(0))
    for stage, count in enumerate(blocks):
        if stage:
            put(f"down{stage}", layers.pop(0))
        for number in range(count):
            block = layers.pop(0)
            put(f"block{stage}.{number}.first", block.first)
            put(f"block{stage}.{number}.second", block.second)
    put("widen", layers.pop(0))
    tensors["pool.power"] = network.pool.power.detach().reshape(1).numpy()
    mean, variance = network.centre.running_mean, network.centre.running_var
    if mean is None or variance is None:
        raise ValueError("the network was built without running statistics")
    scale = 1 / torch.sqrt(variance + network.centre.eps)
    tensors["head.weight"] = (network.head.weight * scale[:, None]).detach().numpy()
    tensors["head.bias"] = (-mean * scale).detach().numpy()
    return tensors


def describe(blocks: Sequence[int] = BLOCKS, widths: Sequence[int] = WIDTHS) -> dict[str, str]:
    """How the tensors are to be used."""
    return {
        "blocks": ",".join(str(count) for count in blocks),
        "widths": ",".join(str(width) for width in widths),
        "license": "Apache-2.0",
    }
