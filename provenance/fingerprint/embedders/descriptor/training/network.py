"""The descriptor's network: a small residual network with generalised-mean pooling.

He et al., "Deep Residual Learning" (2016); Radenovic et al., "Fine-tuning CNN Image Retrieval with
No Human Annotation" (2018) for the pooling. 2.5 million weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DIMENSIONS", "DescriptorNetwork"]

DIMENSIONS = 512
WIDTHS = (32, 64, 128, 256)
BLOCKS = (1, 1, 2, 1)


def _convolution(inside: int, outside: int, side: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, side, stride, side // 2, bias=False), nn.BatchNorm2d(outside)
    )


class _Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width, 3, 1)
        self.second = _convolution(width, width, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class _GeneralisedMean(nn.Module):
    """(mean of x**p)**(1/p) over the positions: between the mean (1) and the maximum."""

    def __init__(self, power: float = 3.0) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raised = x.float().clamp(min=1e-4) ** self.power
        return raised.mean(dim=(2, 3)) ** (1 / self.power)


class DescriptorNetwork(nn.Module):
    """(N, 3, side, side) of -1..1 to (N, 512) of unit length; the side is a multiple of 32."""

    def __init__(self, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] = BLOCKS) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, widths[0], 7, 4), nn.ReLU()]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            if stage:
                layers += [_convolution(widths[stage - 1], width, 3, 2), nn.ReLU()]
            layers += [_Residual(width) for _ in range(count)]
        layers += [_convolution(widths[-1], DIMENSIONS, 1, 1), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.pool = _GeneralisedMean()
        self.head = nn.Linear(DIMENSIONS, DIMENSIONS, bias=False)
        # Centres the answers: without it all of them share a direction, and learning crawls.
        self.centre = nn.BatchNorm1d(DIMENSIONS, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.centre(self.head(self.pool(self.body(x))).float())
        return nn.functional.normalize(vectors.float(), dim=1)
