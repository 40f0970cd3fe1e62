"""What other programs write: messages of invisible-watermark, and how each program embeds them.

Pure data. The path matters: number type and channel order at embedding decide how a mark reads
(`provenance.watermark.codecs.haar_planes.PixelPath`), and tell one version of a program from
another. A message that is not a text is written out as its author's source has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from provenance.watermark.codecs.haar_planes import PixelPath

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KNOWN_MARKS", "KnownMark"]


@dataclass(frozen=True, slots=True, eq=False)
class KnownMark:
    """One message.

    Attributes:
        tool: Whose mark it is, in a few words.
        bits: The message, in the order in which blocks carry it.
        writers: Programs that write it, by the path on which they do.
    """

    tool: str
    bits: tuple[bool, ...] = field(repr=False)
    writers: Mapping[PixelPath, str]

    def writer(self, path: PixelPath) -> str | None:
        """Programs that write on this path; None where none is known to."""
        return self.writers.get(path)


def _text(message: str) -> tuple[bool, ...]:
    """Bits of ASCII, the highest of each letter first, as ``set_by_bytes`` takes them."""
    return tuple(bit == "1" for letter in message.encode("ascii") for bit in f"{letter:08b}")


def _literal(digits: str) -> tuple[bool, ...]:
    return tuple(digit == "1" for digit in digits)


def _mark(tool: str, bits: tuple[bool, ...], writers: dict[PixelPath, str]) -> KnownMark:
    return KnownMark(tool, bits, MappingProxyType(writers))


KNOWN_MARKS = (
    # CompVis/stable-diffusion, scripts/txt2img.py, 2022.
    _mark(
        "Stable Diffusion 1",
        _text("StableDiffusionV1"),
        {PixelPath.UINT8_BGR: "the scripts of Stable Diffusion 1"},
    ),
    # An inpainting demonstration of Stable Diffusion 1.
    _mark(
        "Stable Diffusion 1 inpainting",
        _text("StableDiffusionV1-Inpainting"),
        {PixelPath.UINT8_BGR: "an inpainting script of Stable Diffusion 1"},
    ),
    # Stability-AI/stablediffusion, scripts/txt2img.py, 2022.
    _mark(
        "Stable Diffusion 2",
        _text("SDV2"),
        {PixelPath.UINT8_BGR: "the scripts of Stable Diffusion 2"},
    ),
    # Stability-AI/generative-models, sgm/inference/helpers.py (BGR since 5df4d98, 2023-07-05), and
    # huggingface/diffusers, stable_diffusion_xl/watermark.py (BGR since 0.28, PR #7013).
    _mark(
        "Stable Diffusion XL",
        _literal("101100111110110010010000011110111011000110011110"),
        {
            PixelPath.FLOAT32_BGR: "SDXL pipelines of diffusers 0.28 and later, or Stability AI's",
            PixelPath.FLOAT32_RGB: "SDXL pipelines of diffusers 0.18 to 0.27, or Stability AI's "
            "first ones",
        },
    ),
    # black-forest-labs/flux, src/flux/util.py: bin(0b0010...)[2:] drops the two leading zeros.
    _mark(
        "FLUX",
        _literal("1010101111111010000111100111001111010100101110"),
        {PixelPath.FLOAT32_BGR: "Black Forest Labs' own FLUX programs"},
    ),
    # invoke-ai/InvokeAI, invocations/image.py; off unless switched on, any text may be set.
    _mark("InvokeAI", _text("InvokeAI"), {PixelPath.UINT8_BGR: "InvokeAI"}),
    # Their demonstrations; the path was not read there.
    _mark("HumanSD", _text("HumanSD"), {PixelPath.UINT8_BGR: "HumanSD's demonstration"}),
    _mark("Cremage", _text("Cremage"), {PixelPath.UINT8_BGR: "Cremage"}),
)
