"""The codec ``rivaGan`` of invisible-watermark: 32 bits spread over the picture by a small network.

32 bits are too few for a record id with its tag, so this codec carries a presence mark only. It
outlives crops and small rotations, which the block codecs do not, at some two CPU seconds per
512x512 picture. The networks are the package's own ONNX files, run directly: that gives soft bits,
and needs neither torch nor cv2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.errors import BackendUnavailableError, CapacityError
from provenance.types import RasterImage, Resave
from provenance.watermark.codecs import imwatermark_adapter

if TYPE_CHECKING:
    from provenance.types import BitArray, Float32Array

__all__ = ["RivaGanCodec"]

_BITS = 32

_MIN_SIDE_PX = 256
"""As the package's own check demands: 256 x 256 pixels."""

_MAX_PIXELS = 1 << 22
"""The networks keep about 1 kB per pixel in memory: four megapixels are some 4 GB."""

_THRESHOLD = 0.52
"""Where the package draws the line between 0 and 1, on the decoder's raw output."""

_SOFT_SCALE = 10.0
"""Raw outputs stay within about 5 of the threshold on unmarked photographs and lie 10 to 50 from it
on marked ones; beyond that scale a single loud bit should not outvote the others."""


@dataclass(frozen=True, slots=True)
class RivaGanCodec:
    """Reads and writes 32 bits; see `interfaces.WatermarkCodec`."""

    name: str = "rivaGan"
    alg: str = "rivagan.1"
    min_side_px: int = _MIN_SIDE_PX
    strengths: tuple[float, ...] = (1.0,)  # the network knows no other
    endures: tuple[Resave, ...] = (Resave(quality=75),)

    def capacity_bits(self, width_px: int, height_px: int) -> int:
        """32, or 0 for a picture under the minimum or over four megapixels."""
        fits = min(width_px, height_px) >= _MIN_SIDE_PX and width_px * height_px <= _MAX_PIXELS
        return _BITS if fits else 0

    def embed(
        self,
        image: RasterImage,
        bits: BitArray,
        *,
        strength: float,  # noqa: ARG002
    ) -> RasterImage:
        """Returns a copy that carries 32 bits.

        Raises:
            CapacityError: The picture is too small or too large, or `bits` is not 32 long.
            BackendUnavailableError: invisible-watermark or onnxruntime is not installed.
        """
        if not self.capacity_bits(image.width_px, image.height_px):
            raise CapacityError(
                f"rivaGan marks pictures from {_MIN_SIDE_PX} pixels on the short side to "
                f"{_MAX_PIXELS} pixels in all, not {image.width_px}x{image.height_px}"
            )
        if bits.shape != (_BITS,):
            raise CapacityError(f"rivaGan carries exactly {_BITS} bits, not {bits.size}")
        data = bits.astype(np.float32)[None]
        frame = _session("rivagan_encoder.onnx").run(
            None, {"frame": _to_frame(image), "data": data}
        )
        return _to_image(frame[0])

    def extract(self, image: RasterImage, *, strength: float) -> Float32Array:  # noqa: ARG002
        """Soft bits: hyperbolic tangent of the decoder's output against its threshold."""
        if not self.capacity_bits(image.width_px, image.height_px):
            return np.empty(0, dtype=np.float32)
        outputs = _session("rivagan_decoder.onnx").run(None, {"frame": _to_frame(image)})[0][0]
        soft: Float32Array = np.tanh((outputs - _THRESHOLD) / _SOFT_SCALE).astype(np.float32)
        return soft


def _to_frame(image: RasterImage) -> Float32Array:
    """(1, 3, 1, H, W) float32 in -1..1: one video frame in OpenCV's order blue, green, red."""
    blue_first = image.pixels[..., ::-1].astype(np.float32) / 127.5 - 1.0
    return np.ascontiguousarray(blue_first.transpose(2, 0, 1)[None, :, None])


def _to_image(frame: Float32Array) -> RasterImage:
    """The way back; rounded, where the package cuts off and darkens by half a level."""
    levels = np.rint((np.clip(frame[0, :, 0], -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
    return RasterImage(np.ascontiguousarray(levels.transpose(1, 2, 0)[..., ::-1]))


@lru_cache(maxsize=2)
def _session(file: str) -> Any:
    """An inference session on the CPU; made once, safe to share between threads."""
    path = imwatermark_adapter.find_model(file)
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailableError(
            "rivaGan needs onnxruntime, which is not installed; install it with: "
            "pip install 'countermark[generate]'"
        ) from error
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
