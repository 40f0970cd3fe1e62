"""What the autoencoder is trained for: right values, right edges, right amount of texture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as nnf

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["picture_loss", "psnr_db"]

_BANDS = 4
# Edges count as much as values, and texture's strength about half.
_EDGE_WEIGHT = 1.0
_TEXTURE_WEIGHT = 0.5
# Texture is compared in cells of half a latent's side (16 pixels).
_CELL_PX = 8


def _bands(pictures: torch.Tensor) -> Sequence[torch.Tensor]:
    """Splits (N, 3, H, W) into a Laplacian pyramid's band-pass pictures, finest first.

    Source: Burt and Adelson, "The Laplacian Pyramid as a Compact Image Code" (1983), with a
    box filter, which is enough to compare two pictures.
    """
    bands = []
    for _ in range(_BANDS):
        smaller = nnf.avg_pool2d(pictures, 2)
        bands.append(pictures - nnf.interpolate(smaller, scale_factor=2.0, mode="nearest"))
        pictures = smaller
    return bands


def picture_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Answers how far pictures (N, 3, H, W) in [-1, 1] are from the true ones; 0 is equal.

    Absolute error alone is smallest for a blur. So the strength of fine texture in each cell is
    compared too, wherever its peaks lie: a blurred surface costs, a shifted grain does not.
    """
    loss = (made - true).abs().mean()
    for level, (own, wanted) in enumerate(zip(_bands(made), _bands(true), strict=True)):
        loss = loss + _EDGE_WEIGHT * (own - wanted).abs().mean()
        if level < 3:
            cell = _CELL_PX >> level
            strength = nnf.avg_pool2d(own.abs(), cell) - nnf.avg_pool2d(wanted.abs(), cell)
            loss = loss + _TEXTURE_WEIGHT * strength.abs().mean()
    return loss


def psnr_db(made: torch.Tensor, true: torch.Tensor) -> float:
    """Answers the mean peak signal-to-noise ratio, in dB, of pictures in [-1, 1]."""
    error = (made.clamp(-1, 1) - true).square().mean(dim=(1, 2, 3))
    return float((10 * torch.log10(4 / error)).mean())
