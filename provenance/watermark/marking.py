"""Marks a picture so that the mark is in the bytes that leave (W5), and reads marks (R2).

A codec moves raw bits, `payload` gives them meaning, `statistics` says how sure that is; this file
puts the three together and holds the two promises that follow: nothing is delivered whose mark was
not read back from its encoded bytes by the detector's own code, and an unmarked picture is answered
*absent* with a stated probability of error.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from provenance.errors import ConfigError, ReadBackError
from provenance.imaging import LONGEST_SIDE_PX
from provenance.interfaces import KeyGroupScheme
from provenance.types import (
    EncodedImage,
    Finding,
    MediaType,
    RasterImage,
    WatermarkEvidence,
    WatermarkInfo,
)
from provenance.watermark.framed import as_scheme
from provenance.watermark.quality import measure_psnr_db, measure_ssim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.interfaces import WatermarkCodec, WatermarkScheme
    from provenance.types import Resave, WatermarkPayload
    from provenance.watermark.payload import WatermarkKey

__all__ = [
    "MIN_BIT_ACCURACY",
    "MarkLimits",
    "MarkReader",
    "MarkedImage",
    "embed_mark",
    "resave",
]

_log = logging.getLogger(__name__)

MIN_BIT_ACCURACY = 0.80
"""Share of raw bits that must come back from the delivered bytes.

At 512x512 the code reads 95 of 100 words from 0.62 on and nearly none at 0.58 (measured with random
errors). Delivered at 0.80, a mark may lose as much again as it lost in encoding.
"""


@dataclass(frozen=True, slots=True)
class MarkLimits:
    """No mark more visible than this is delivered.

    Attributes:
        min_psnr_db: Decibels. At 34 a mark shows more than JPEG at quality 75 does on most
            photographs (median 37 dB, lowest 31 dB on 32 of them at 512x512).
        min_ssim: Structural similarity, below which strength is not raised. Even skies, where a
            mark would be seen first, count most in it. The gentlest strength is not held to it:
            black pictures fall short of it at 52 dB.
    """

    min_psnr_db: float = 34.0
    min_ssim: float = 0.975


@dataclass(frozen=True, slots=True)
class MarkedImage:
    """A picture that provably carries its mark.

    Attributes:
        encoded: The bytes from which the mark was read back.
        raster: `encoded`, decoded.
        info: How it was marked.
        sturdy: Whether every margin held too: bit accuracy and each simulated re-save.
    """

    encoded: EncodedImage
    raster: RasterImage
    info: WatermarkInfo
    sturdy: bool


@dataclass(frozen=True, slots=True)
class MarkReader:
    """Looks for marks of some keys in some codecs, at every strength.

    Attributes:
        codecs: Cheapest first; a codec is asked only while none before it found a mark.
        keys: The service's keys, current one first.
    """

    codecs: tuple[WatermarkCodec | WatermarkScheme, ...]
    keys: tuple[WatermarkKey, ...]
    _schemes: tuple[WatermarkScheme, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.codecs or not self.keys:
            raise ConfigError("a mark reader needs at least one codec and one watermark key")
        object.__setattr__(self, "_schemes", tuple(as_scheme(codec) for codec in self.codecs))

    def read(self, raster: RasterImage, *, thorough: bool = False) -> WatermarkEvidence:
        """What the picture says under our keys.

        PRESENT: the tag fits (or, for presence marks, enough bits do). UNREADABLE: a mark seems
        to be there but its id is lost, or a codec could not look: too small, or too flat. ABSENT:
        every codec looked properly and found nothing.

        Args:
            raster: The picture.
            thorough: Also looks for marks of turned, scaled, mirrored or sheared pictures, where
                the codec can; takes up to a second for a picture without a mark.

        Raises:
            BackendUnavailableError: A codec needs a library for reading that is not installed.
        """
        return self._read(raster, (), thorough=thorough)[0]

    def read_beside(
        self, raster: RasterImage, other: Sequence[WatermarkKey], *, thorough: bool = False
    ) -> tuple[WatermarkEvidence, WatermarkEvidence | None]:
        """As `read`, and beside it what the picture says under other keys than ours.

        Args:
            raster: The picture.
            other: Keys; they cost their own lines only, not a second look at the picture.
            thorough: As for `read`.

        Returns:
            The second is None where no codec that was asked can look for both at once.

        Raises:
            BackendUnavailableError: A codec needs a library for reading that is not installed.
        """
        return self._read(raster, other, thorough=thorough)

    def _read(
        self, raster: RasterImage, other: Sequence[WatermarkKey], *, thorough: bool
    ) -> tuple[WatermarkEvidence, WatermarkEvidence | None]:
        answers: list[WatermarkEvidence] = []
        beside: WatermarkEvidence | None = None
        for scheme in self._schemes:
            rivals = self.readings - scheme.readings(len(self.keys))
            if other and isinstance(scheme, KeyGroupScheme):
                answer, beside = scheme.read_groups(
                    raster, (self.keys, other), thorough=thorough, rivals=rivals
                )
            else:
                answer = scheme.read(raster, self.keys, thorough=thorough, rivals=rivals)
            answers.append(answer)
            if answer.finding is Finding.PRESENT:
                return answer, beside
        return min(answers, key=_rank), beside

    @property
    def readings(self) -> int:
        """Readings of one picture that could turn out positive by chance."""
        return sum(scheme.readings(len(self.keys)) for scheme in self._schemes)


def embed_mark(
    raster: RasterImage,
    payload: WatermarkPayload | None,
    *,
    key: WatermarkKey,
    codec: WatermarkCodec | WatermarkScheme,
    encode: Callable[[RasterImage], EncodedImage],
    decode: Callable[[EncodedImage], RasterImage],
    stress: Sequence[Callable[[RasterImage], RasterImage]] | None = None,
    limits: MarkLimits | None = None,
) -> MarkedImage:
    """Embeds, encodes, and reads back, with the gentlest strength that holds every margin.

    Args:
        raster: The rendered picture.
        payload: What the mark says; None for a presence mark, which carries no id.
        key: The service's current key.
        codec: Where the bits go.
        encode: Makes the bytes that will be delivered.
        decode: Decodes them as the detector will.
        stress: Damage to the decoded picture that the mark should survive, the mildest first; by
            default what the codec `endures`.
        limits: No mark more visible than this is delivered.

    Returns:
        The first strength that holds every margin; otherwise the gentlest of those that hold the
        most, with `sturdy` False.

    Raises:
        CapacityError: The picture is too small for the codec, or the codec for the payload.
        ReadBackError: No strength within the limits could be read back.
        BackendUnavailableError: The library for embedding is not installed.
    """
    scheme = as_scheme(codec)
    if stress is None:
        stress = tuple(partial(resave, how=how) for how in scheme.endures)
    limits = limits or MarkLimits()
    reader = MarkReader((scheme,), (key,))
    best: MarkedImage | None = None
    most, reason = -1, ""
    for strength in scheme.strengths:
        marked = scheme.embed(raster, payload, key=key, strength=strength)
        psnr_db, ssim = measure_psnr_db(marked, raster), measure_ssim(marked, raster)
        raised = strength > scheme.strengths[0]
        if psnr_db < limits.min_psnr_db or (raised and ssim < limits.min_ssim):
            reason = f"strength {strength:g} would be visible ({psnr_db:.1f} dB, SSIM {ssim:.3f})"
            break
        encoded = encode(marked)
        delivered = decode(encoded)
        evidence = reader.read(delivered)
        if not _says(evidence, payload):
            reason = f"at strength {strength:g} the detector says: {evidence.reason}"
            continue
        info = WatermarkInfo(
            codec=scheme.name,
            alg=scheme.alg,
            key_id=key.key_id,
            strength=strength,
            carries_record_id=payload is not None,
            psnr_db=psnr_db,
            bit_accuracy=evidence.bit_accuracy or 0.0,
            ssim=ssim,
            margin=evidence.margin,
        )
        held = _margins_held(info, delivered, payload, reader=reader, stress=stress)
        if held > most:
            most = held
            best = MarkedImage(encoded, delivered, info, sturdy=held == 1 + len(stress))
            if best.sturdy:
                return best
    if best is None:
        raise ReadBackError(
            f"the {scheme.name} mark could not be read back from the encoded picture ({reason}); "
            "nothing is delivered: use PNG or a higher quality, or another prompt or seed"
        )
    _log.warning(
        "watermark of codec %s reads back at strength %s, but not with every margin",
        scheme.name,
        best.info.strength,
    )
    return best


def _margins_held(
    info: WatermarkInfo,
    delivered: RasterImage,
    payload: WatermarkPayload | None,
    *,
    reader: MarkReader,
    stress: Sequence[Callable[[RasterImage], RasterImage]],
) -> int:
    """How many margins hold before the first that doesn't: bit accuracy, then each stress."""
    if info.bit_accuracy < MIN_BIT_ACCURACY:
        return 0
    survived = takewhile(lambda damage: _says(reader.read(damage(delivered)), payload), stress)
    return 1 + sum(1 for _ in survived)


def resave(image: RasterImage, how: Resave) -> RasterImage:
    """Passes a picture on as most programs do: Pillow's bicubic filter and default chroma."""
    picture = Image.fromarray(image.pixels)
    if how.scale != 1.0:
        width, height = (max(1, round(side * how.scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    if max(picture.size) > LONGEST_SIDE_PX[MediaType.JPEG]:
        return RasterImage(np.asarray(picture))  # no JPEG file holds it, so nobody makes one of it
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=how.quality)
    with Image.open(out) as saved:
        return RasterImage(np.asarray(saved.convert("RGB")))


def _says(evidence: WatermarkEvidence, payload: WatermarkPayload | None) -> bool:
    wanted = None if payload is None else payload.record_id
    return evidence.finding is Finding.PRESENT and evidence.record_id == wanted


def _rank(answer: WatermarkEvidence) -> int:
    """Order of answers without a verified mark: a trace, then "could not look", then absence."""
    if answer.finding is Finding.UNREADABLE:
        return 0 if answer.p_value is not None else 1
    return 2
