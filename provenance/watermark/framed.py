"""Makes of a codec that moves raw bits one that carries a record id under a key.

The codec moves raw bits, `payload` gives them meaning, `statistics` says how sure that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.interfaces import OneLookCodec, WatermarkCodec, WatermarkScheme
from provenance.types import Finding, WatermarkEvidence
from provenance.watermark import payload as framing
from provenance.watermark import statistics
from provenance.watermark.traits import SharedTraits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.types import BitArray, Float32Array, RasterImage, WatermarkPayload
    from provenance.watermark.payload import PayloadReading, WatermarkKey

__all__ = ["FramedCodec", "as_scheme"]


def as_scheme(codec: WatermarkCodec | WatermarkScheme) -> WatermarkScheme:
    """A scheme as it is; a codec with the payload's frame around it."""
    return FramedCodec(codec) if isinstance(codec, WatermarkCodec) else codec


@dataclass(frozen=True, slots=True)
class FramedCodec(SharedTraits):
    """A raw codec with payload, key and statistics; see `interfaces.WatermarkScheme`."""

    codec: WatermarkCodec

    @property
    def _wrapped(self) -> WatermarkCodec:
        return self.codec

    def fits(self, width_px: int, height_px: int) -> bool:
        """Whether any mark fits, a presence mark included."""
        return self.codec.capacity_bits(width_px, height_px) > 0

    def holds_record_id(self, width_px: int, height_px: int) -> bool:
        """Whether a record id fits; rivaGan's 32 bits hold a presence mark only."""
        return self.codec.capacity_bits(width_px, height_px) >= framing.CODED_BITS

    def embed(
        self,
        image: RasterImage,
        payload: WatermarkPayload | None,
        *,
        key: WatermarkKey,
        strength: float,
    ) -> RasterImage:
        """See `interfaces.WatermarkScheme`."""
        return self.codec.embed(image, self._bits(image, payload, key), strength=strength)

    def read(
        self,
        image: RasterImage,
        keys: Sequence[WatermarkKey],
        *,
        thorough: bool = False,
        rivals: int = 0,
    ) -> WatermarkEvidence:
        """See `interfaces.WatermarkScheme`; a raw codec has nothing more to try when `thorough`."""
        del thorough
        codec = self.codec
        tried = self.readings(len(keys)) + rivals
        capacity = codec.capacity_bits(image.width_px, image.height_px)
        if not capacity:
            return WatermarkEvidence(
                Finding.UNREADABLE,
                f"{codec.name} cannot read a picture of {image.width_px}x{image.height_px} "
                f"(it needs {codec.min_side_px} pixels on the short side)",
                codec.name,
            )
        soft = _extract_each(codec, image)
        if capacity < framing.CODED_BITS:
            return _judge_presence(soft, codec=codec.name, keys=tuple(keys), tried=tried)
        if _is_constant(soft):
            return WatermarkEvidence(
                Finding.UNREADABLE,
                f"nearly every block reads the same in {codec.name}: the picture is too flat or "
                "colourless to show a mark",
                codec.name,
            )
        readings = [(r, key.key_id) for key in keys for r in framing.unframe(soft, key)]
        return _judge_payload(readings, codec=codec.name, tried=tried)

    def readings(self, keys: int) -> int:
        """See `interfaces.WatermarkScheme`."""
        return keys * len(self.codec.strengths)

    def _bits(
        self, image: RasterImage, payload: WatermarkPayload | None, key: WatermarkKey
    ) -> BitArray:
        capacity = self.codec.capacity_bits(image.width_px, image.height_px)
        # Without capacity the codec itself says what is too small.
        if payload is None or not capacity:
            return framing.frame_presence(key, capacity)
        return framing.frame(payload, key, capacity)


def _extract_each(codec: WatermarkCodec, image: RasterImage) -> Float32Array:
    """(strengths, capacity) soft bits."""
    if isinstance(codec, OneLookCodec):
        return codec.extract_each(image)
    return np.stack([codec.extract(image, strength=s) for s in codec.strengths])


def _is_constant(soft: Float32Array) -> bool:
    """Whether at every strength fewer slots vary than one coded word needs.

    Live slots of a marked picture are fair coins, so the rarer value is half of them.
    """
    ones = (soft > 0).sum(axis=1)
    rarer = np.minimum(ones, soft.shape[1] - ones)
    return bool((rarer < framing.CODED_BITS // 2).all())


def _judge_payload(
    readings: Sequence[tuple[PayloadReading, str]], *, codec: str, tried: int
) -> WatermarkEvidence:
    verified = [(r, key_id) for r, key_id in readings if r.record_id is not None]
    if verified:
        reading, key_id = max(verified, key=lambda pair: pair[0].bit_accuracy or 0.0)
        return WatermarkEvidence(
            Finding.PRESENT,
            f"our mark with record id {reading.record_id}; its keyed tag fits, and "
            f"{reading.bit_accuracy:.0%} of the raw bits agree",
            codec,
            reading.record_id,
            statistics.tag_p_value(tried),
            key_id,
            bit_accuracy=reading.bit_accuracy,
        )
    p_value, key_id = min(
        (statistics.energy_p_value(r.energy, degrees=r.degrees, readings_tried=tried), key_id)
        for r, key_id in readings
    )
    if p_value <= statistics.PRESENCE_P_VALUE:
        return WatermarkEvidence(
            Finding.UNREADABLE,
            "a mark of this key seems to be there, but its record id cannot be read",
            codec,
            p_value=p_value,
            key_id=key_id,
        )
    return WatermarkEvidence(Finding.ABSENT, f"no mark of our keys in {codec}", codec)


def _judge_presence(
    soft: Float32Array, *, codec: str, keys: tuple[WatermarkKey, ...], tried: int
) -> WatermarkEvidence:
    candidates = [(row, framing.frame_presence(key, row.size), key) for key in keys for row in soft]
    p_values = [statistics.match_p_value(r, b, readings_tried=tried) for r, b, _ in candidates]
    best = int(np.argmin(p_values))
    if p_values[best] > statistics.PRESENCE_P_VALUE:
        return WatermarkEvidence(Finding.ABSENT, f"no presence mark of our keys in {codec}", codec)
    row, bits, key = candidates[best]
    accuracy = float(((row > 0) == bits).mean())
    return WatermarkEvidence(
        Finding.PRESENT,
        f"our presence mark: {accuracy:.0%} of {bits.size} bits agree; it names no record",
        codec,
        p_value=p_values[best],
        key_id=key.key_id,
        bit_accuracy=accuracy,
    )
