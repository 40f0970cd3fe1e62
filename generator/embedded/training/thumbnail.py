"""Starts the autoencoder as a thumbnail: latents are cell means and slopes, pictures are blurs.

A random start needs thousands of steps to find out that colour must pass the bottleneck at all;
this one begins with it, and training only has to add detail. Every residual branch starts at
zero, and the layers between carry features along a linear path.
"""

# mypy: disable-error-code="no-untyped-call,attr-defined,operator,union-attr,index"
# NOTE: torch and diffusers annotate only some of their functions.
from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from torch import nn

__all__ = ["start_as_thumbnail"]

_COLOURS = 3
# Four halvings, three details for each colour and halving, and the three means.
_FEATURES = _COLOURS + 4 * 3 * _COLOURS
# Constant channels this large keep group normalisation from erasing a picture's own contrast.
_ANCHOR = 10.0
# Standard deviations near 1 for the latents of scenes: means, colour differences, slopes.
_MEAN_GAIN, _COLOUR_GAIN, _SLOPE_GAIN = 3.0, 3.0, 35.0
# A deviation of 0.05: hardly any noise, but enough to make neighbouring latents mean the same.
_LOG_VARIANCE = -6.0
_LUMA = (1 / 3, 1 / 3, 1 / 3)
_BLUE_RED = (-1.0, 0.0, 1.0)
_GREEN_REST = (-0.5, 1.0, -0.5)
# Haar's three details of a 2x2 cell: across, down, diagonal.
_DETAILS = (((1, -1), (1, -1)), ((1, 1), (-1, -1)), ((1, -1), (-1, 1)))


def _clear(conv: nn.Conv2d, rows: slice) -> None:
    conv.weight[rows] = 0
    conv.bias[rows] = 0


def _silence_residuals(autoencoder: AutoencoderKL) -> None:
    """Source: Goyal et al., "Accurate, Large Minibatch SGD" (2017), section 5.1."""
    for name, weight in autoencoder.named_parameters():
        if ".conv2." in name:
            weight.zero_()


def _carry(conv: nn.Conv2d, channels: int) -> None:
    """Makes a 1x1 convolution hand the first channels on unchanged."""
    _clear(conv, slice(channels))
    for channel in range(channels):
        conv.weight[channel, channel, 0, 0] = 1


def _halve(conv: nn.Conv2d, channels: int) -> int:
    """Makes a stride-2 convolution average 2x2 cells and add details of the three colours.

    NOTE: diffusers pads right and below only, so the cell is the kernel's upper left.
    """
    _clear(conv, slice(channels + 3 * _COLOURS))
    for channel in range(channels):
        conv.weight[channel, channel, :2, :2] = 0.25
    for colour in range(_COLOURS):
        for index, detail in enumerate(_DETAILS):
            row = channels + 3 * colour + index
            conv.weight[row, colour, :2, :2] = torch.tensor(detail) / 4
    return channels + 3 * _COLOURS


def _start_encoder(autoencoder: AutoencoderKL) -> None:
    encoder = autoencoder.encoder
    _clear(encoder.conv_in, slice(_COLOURS))
    for colour in range(_COLOURS):
        encoder.conv_in.weight[colour, colour, 1, 1] = 1
    channels = _COLOURS
    for block in encoder.down_blocks[:-1]:
        if block.resnets[0].conv_shortcut is not None:
            _carry(block.resnets[0].conv_shortcut, channels)
        channels = _halve(block.downsamplers[0].conv, channels)
    # silu(x) - silu(-x) = x: pairs of opposite sign pass the last non-linearity unharmed.
    pairs = encoder.down_blocks[-1].resnets[0].conv_shortcut
    _clear(pairs, slice(2 * channels + 2))
    for channel in range(channels):
        pairs.weight[2 * channel, channel, 0, 0] = 1
        pairs.weight[2 * channel + 1, channel, 0, 0] = -1
    pairs.bias[2 * channels] = _ANCHOR
    pairs.bias[2 * channels + 1] = -_ANCHOR
    _start_latents(autoencoder, channels)


def _start_latents(autoencoder: AutoencoderKL, channels: int) -> None:
    """Chooses the latents: three colour means, three slopes of luma, two of blue less red."""
    out = autoencoder.encoder.conv_out
    latents = out.weight.shape[0] // 2
    _clear(out, slice(None))
    last = channels - 3 * _COLOURS
    means = ((_LUMA, _MEAN_GAIN), (_BLUE_RED, _COLOUR_GAIN), (_GREEN_REST, _COLOUR_GAIN))
    for row, (mixture, gain) in enumerate(means):
        for colour, share in enumerate(mixture):
            out.weight[row, 2 * colour, 1, 1] = gain * share
            out.weight[row, 2 * colour + 1, 1, 1] = -gain * share
    slopes = ((_LUMA, 0), (_LUMA, 1), (_LUMA, 2), (_BLUE_RED, 0), (_BLUE_RED, 1))
    for row, (mixture, detail) in enumerate(slopes, start=len(means)):
        for colour, share in enumerate(mixture):
            feature = last + 3 * colour + detail
            out.weight[row, 2 * feature, 1, 1] = _SLOPE_GAIN * share
            out.weight[row, 2 * feature + 1, 1, 1] = -_SLOPE_GAIN * share
    quant = autoencoder.quant_conv
    _clear(quant, slice(None))
    for row in range(latents):
        quant.weight[row, row, 0, 0] = 1
    quant.bias[latents:] = _LOG_VARIANCE


def _start_decoder(autoencoder: AutoencoderKL) -> None:
    decoder = autoencoder.decoder
    latents = decoder.conv_in.weight.shape[1]
    _clear(autoencoder.post_quant_conv, slice(None))
    _carry(autoencoder.post_quant_conv, latents)
    _clear(decoder.conv_in, slice(latents))
    for channel in range(latents):
        decoder.conv_in.weight[channel, channel, 1, 1] = 1
    # After nearest-neighbour doubling this kernel interpolates linearly.
    line = torch.tensor([0.25, 0.5, 0.25])
    for block in decoder.up_blocks:
        if block.resnets[0].conv_shortcut is not None:
            _carry(block.resnets[0].conv_shortcut, latents)
        if block.upsamplers is not None:
            _clear(block.upsamplers[0].conv, slice(latents))
            for channel in range(latents):
                block.upsamplers[0].conv.weight[channel, channel] = line[:, None] * line[None, :]
    last = decoder.up_blocks[-1].resnets[0].conv_shortcut
    _clear(last, slice(2 * _COLOURS + 2))
    last.bias[2 * _COLOURS] = _ANCHOR
    last.bias[2 * _COLOURS + 1] = -_ANCHOR
    _clear(decoder.conv_out, slice(None))
    for colour in range(_COLOURS):
        decoder.conv_out.weight[colour, 2 * colour, 1, 1] = 1
        decoder.conv_out.weight[colour, 2 * colour + 1, 1, 1] = -1


def _fit_colours(autoencoder: AutoencoderKL, pictures: torch.Tensor) -> None:
    """Solves for the colours of a cell's mean latents by least squares, gains included."""
    latents = autoencoder.encode(pictures).latent_dist.mode()
    cell = pictures.shape[-1] // latents.shape[-1]
    means = torch.nn.functional.avg_pool2d(pictures, cell)
    known = latents[:, :_COLOURS].permute(0, 2, 3, 1).reshape(-1, _COLOURS)
    wanted = means.permute(0, 2, 3, 1).reshape(-1, _COLOURS)
    offset = torch.cat([known, torch.ones_like(known[:, :1])], dim=1)
    mixture = torch.linalg.lstsq(offset, wanted).solution
    last = autoencoder.decoder.up_blocks[-1].resnets[0].conv_shortcut
    for colour in range(_COLOURS):
        for sign, row in ((1, 2 * colour), (-1, 2 * colour + 1)):
            last.weight[row, :_COLOURS, 0, 0] = sign * mixture[:_COLOURS, colour]
            last.bias[row] = sign * mixture[_COLOURS, colour]
    # Group normalisation divided by one more number, which the last convolution gives back.
    made = autoencoder.decode(latents).sample
    autoencoder.decoder.conv_out.weight *= (made * pictures).sum() / made.square().sum()


@torch.no_grad()
def start_as_thumbnail(autoencoder: AutoencoderKL, pictures: torch.Tensor) -> None:
    """Sets the weights of an untrained autoencoder.

    Args:
        autoencoder: One of `make_autoencoder`.
        pictures: Some scenes, (N, 3, H, W) in [-1, 1], to fit colours on.
    """
    _silence_residuals(autoencoder)
    _start_encoder(autoencoder)
    _start_decoder(autoencoder)
    _fit_colours(autoencoder, pictures)
