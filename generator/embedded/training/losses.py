"""What the autoencoder is trained for: right values, right edges, right amount of texture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as nnf

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["picture_loss", "psnr_db"]

# For each band of the pyramid, finest first. Where the finest grains lie cannot be known from
# the latents, so there the amount counts and the place hardly does.
_EDGE_WEIGHTS = (0.1, 0.3, 1.0, 1.0)
_TEXTURE_WEIGHTS = (3.0, 2.5, 1.0, 0.0)
_PATTERN_WEIGHT = 0.03
# Texture is compared in cells of half a latent's side (16 pixels), patterns in cells of 32.
_CELL_PX = 8
_PATTERN_CELL_PX = 32
# Neighbours, and the decoder's own grid: it would repeat one tile every 16 or 8 pixels.
_SHIFTS_PX = ((0, 2), (2, 0), (2, 2), (0, 8), (8, 0), (0, 16), (16, 0), (16, 16))
# The square of half a grey level, below which a surface counts as without texture.
_FLOOR = 1.6e-5


def _bands(pictures: torch.Tensor) -> Sequence[torch.Tensor]:
    """Splits (N, 3, H, W) into a Laplacian pyramid's band-pass pictures, finest first.

    Source: Burt and Adelson, "The Laplacian Pyramid as a Compact Image Code" (1983), with a
    box filter, which is enough to compare two pictures.
    """
    bands = []
    for _ in _EDGE_WEIGHTS:
        smaller = nnf.avg_pool2d(pictures, 2)
        bands.append(pictures - nnf.interpolate(smaller, scale_factor=2.0, mode="nearest"))
        pictures = smaller
    return bands


def _pattern(own: torch.Tensor, wanted: torch.Tensor, level: int) -> torch.Tensor:
    """Compares how bands repeat themselves at a few shifts, in units of the true strength.

    Source: Portilla and Simoncelli, "A Parametric Texture Model Based on Joint Statistics of
    Complex Wavelet Coefficients" (2000), its autocorrelation constraint.
    """
    cell = _PATTERN_CELL_PX >> level
    strength = nnf.avg_pool2d(wanted.square(), cell) + _FLOOR
    total = own.new_zeros(())
    for down, across in _SHIFTS_PX:
        shift = (-(-down >> level), -(-across >> level))
        alike = own * own.roll(shift, dims=(2, 3)) - wanted * wanted.roll(shift, dims=(2, 3))
        total = total + (nnf.avg_pool2d(alike, cell) / strength).abs().clamp(max=4).mean()
    return total / len(_SHIFTS_PX)


def picture_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Answers how far pictures (N, 3, H, W) in [-1, 1] are from the true ones; 0 is equal.

    Absolute error alone is smallest for a blur. So the strength of fine texture in each cell is
    compared too, wherever its peaks lie: a blurred surface costs, a shifted grain does not.
    """
    loss = (made - true).abs().mean()
    for level, (own, wanted) in enumerate(zip(_bands(made), _bands(true), strict=True)):
        loss = loss + _EDGE_WEIGHTS[level] * (own - wanted).abs().mean()
        if _TEXTURE_WEIGHTS[level]:
            cell = _CELL_PX >> level
            strength = nnf.avg_pool2d(own.abs(), cell) - nnf.avg_pool2d(wanted.abs(), cell)
            loss = loss + _TEXTURE_WEIGHTS[level] * strength.abs().mean()
            loss = loss + _PATTERN_WEIGHT * _pattern(own, wanted, level)
    return loss


def psnr_db(made: torch.Tensor, true: torch.Tensor) -> float:
    """Answers the mean peak signal-to-noise ratio, in dB, of pictures in [-1, 1]."""
    error = (made.clamp(-1, 1) - true).square().mean(dim=(1, 2, 3))
    return float((10 * torch.log10(4 / error)).mean())
