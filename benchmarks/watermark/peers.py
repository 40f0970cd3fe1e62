"""The codecs that run against each other, each as it would be used.

Marks that carry a record id are written by `embed_mark`, read-back loop included, and read by
`MarkReader` in thorough mode. The others carry raw bits as their package writes them: random ones,
whose exact return is counted, and presence is judged from how many agree.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from provenance.errors import ReadBackError
from provenance.imaging import decode_image, encode_image
from provenance.plugins import load_backend
from provenance.types import (
    BitArray,
    EncodedImage,
    Finding,
    MediaType,
    RasterImage,
    RecordId,
    WatermarkPayload,
)
from provenance.watermark.marking import MarkReader, embed_mark
from provenance.watermark.payload import WatermarkKey
from provenance.watermark.statistics import PRESENCE_P_VALUE, match_p_value

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = WatermarkKey(b"benchmark key, public, for nothing else")
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one reading said.

    Attributes:
        exact: All that was written came back.
        present: A mark is there, at a false positive rate of 1e-6.
        wrong: Another id came back, and its tag fitted.
        searched: Found, but not where it had been written: by a search of geometries.
    """

    exact: bool = False
    present: bool = False
    wrong: bool = False
    searched: bool = False


class Peer(Protocol):
    """A codec in the benchmark."""

    def embed(self, image: RasterImage, number: int) -> RasterImage | None:
        """The marked picture; None when the codec cannot mark it."""

    def read(self, image: RasterImage, number: int, *, thorough: bool = True) -> Outcome:
        """Judges a picture that `embed` marked with the same number."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How a codec takes part.

    Attributes:
        make: Opens it.
        carries: What is counted as recovered.
        every: It marks every so many-th picture.
        all_waves: Whether it meets all strengths of WAVES or the middle ones only.
        everywhere: Whether it takes part in the sections beside photographs at 512 pixels.
    """

    make: Callable[[], Peer]
    carries: str
    every: int = 1
    all_waves: bool = True
    everywhere: bool = False


def record_id(number: int) -> RecordId:
    return RecordId(f"{(number + 1) * _GOLDEN % 2**64:016x}")


def random_bits(number: int, count: int) -> BitArray:
    return np.random.default_rng([20, number]).random(count) < 0.5


def mark(
    image: RasterImage, payload_id: RecordId, *, codec: Any, key: WatermarkKey = KEY
) -> RasterImage:
    """Marks as the generator does it, delivered as PNG.

    Raises:
        ReadBackError: The mark could not be read back.
    """
    marked = embed_mark(
        image,
        WatermarkPayload(payload_id),
        key=key,
        codec=codec,
        encode=_encode_png,
        decode=_decode,
    )
    return marked.raster


def _encode_png(image: RasterImage) -> EncodedImage:
    return encode_image(image, MediaType.PNG, xmp=b"")


def _decode(encoded: EncodedImage) -> RasterImage:
    return decode_image(encoded.data)


class RecordPeer:
    """A codec of ours, or one in our frame: 64-bit record id and keyed 32-bit tag."""

    def __init__(self, name: str) -> None:
        self._codec = load_backend("countermark.codecs", name)()
        self._reader = MarkReader((self._codec,), (KEY,))

    def embed(self, image: RasterImage, number: int) -> RasterImage | None:
        try:
            return mark(image, record_id(number), codec=self._codec)
        except ReadBackError:
            return None

    def read(self, image: RasterImage, number: int, *, thorough: bool = True) -> Outcome:
        answer = self._reader.read(image, thorough=thorough)
        sure = answer.p_value is not None and answer.p_value <= PRESENCE_P_VALUE
        found, place = answer.record_id, answer.geometry
        return Outcome(
            exact=found == record_id(number),
            present=answer.finding is Finding.PRESENT
            or (answer.finding is Finding.UNREADABLE and sure),
            wrong=found not in (None, record_id(number)),
            searched=found is not None
            and place is not None
            and (place.mirrored, place.rotation_deg, place.scale, place.stretch, place.shear)
            != (False, 0.0, 1.0, 1.0, 0.0),
        )


class RivaGanPeer:
    """32 raw bits: too few for a record id, so fewer bits must come back right than elsewhere."""

    def __init__(self) -> None:
        self._codec = load_backend("countermark.codecs", "rivaGan")()

    def embed(self, image: RasterImage, number: int) -> RasterImage | None:
        return RasterImage(self._codec.embed(image, random_bits(number, 32), strength=1.0).pixels)

    def read(self, image: RasterImage, number: int, *, thorough: bool = True) -> Outcome:
        del thorough
        soft, bits = self._codec.extract(image, strength=1.0), random_bits(number, 32)
        if not soft.size:
            return Outcome()
        return Outcome(
            exact=bool(((soft > 0) == bits).all()),
            present=match_p_value(soft, bits, readings_tried=1) <= PRESENCE_P_VALUE,
        )


class PackagePeer:
    """invisible-watermark through its own front door, 64 raw bits, no error correction."""

    BITS = 64
    PRESENT_FROM = 51
    """Bits of 64 that agree by chance once in a million times, were they fair (binomial)."""

    def __init__(self, method: str) -> None:
        from imwatermark import WatermarkDecoder, WatermarkEncoder

        self._method = method
        self._encoder, self._decoder = WatermarkEncoder(), WatermarkDecoder("bits", self.BITS)

    def embed(self, image: RasterImage, number: int) -> RasterImage | None:
        bits = random_bits(number, self.BITS).astype(int).tolist()
        self._encoder.set_watermark("bits", bits)
        blue_first = np.ascontiguousarray(image.pixels[..., ::-1])
        marked = self._encoder.encode(blue_first, self._method)
        return RasterImage(np.ascontiguousarray(marked[..., ::-1]))

    def read(self, image: RasterImage, number: int, *, thorough: bool = True) -> Outcome:
        del thorough
        if image.width_px * image.height_px < 256 * 256:
            return Outcome()  # the package refuses these
        blue_first = np.ascontiguousarray(image.pixels[..., ::-1])
        read = np.asarray(self._decoder.decode(blue_first, self._method)).astype(bool)
        agree = int((read == random_bits(number, self.BITS)).sum())
        return Outcome(exact=agree == self.BITS, present=agree >= self.PRESENT_FROM)


class TrustMarkPeer:
    """Adobe's TrustMark Q with BCH_5: 61 bits, error correction its own."""

    BITS = 61

    def __init__(self) -> None:
        from trustmark import TrustMark

        self._model = TrustMark(
            verbose=False, model_type="Q", encoding_type=TrustMark.Encoding.BCH_5
        )

    def embed(self, image: RasterImage, number: int) -> RasterImage | None:
        picture = Image.fromarray(image.pixels)
        marked = self._model.encode(picture, self._text(number), MODE="binary")
        return RasterImage(np.array(marked.convert("RGB")))

    def read(self, image: RasterImage, number: int, *, thorough: bool = True) -> Outcome:
        del thorough
        secret, present, _ = self._model.decode(Image.fromarray(image.pixels), MODE="binary")
        exact = bool(present) and secret[: self.BITS] == self._text(number)
        return Outcome(exact=exact, present=bool(present), wrong=bool(present) and not exact)

    def _text(self, number: int) -> str:
        return "".join("01"[bit] for bit in random_bits(number, self.BITS).astype(int))


def trustmark_is_here() -> bool:
    """Whether package and weights are installed; nothing is downloaded for a benchmark."""
    package = find_spec("trustmark")
    if package is None or package.origin is None:
        return False
    return any((Path(package.origin).parent / "models").glob("*Q*.ckpt"))


_RECORD = "64-bit id, tag verified"
_FRAMED = f"{_RECORD}, in our frame"
_RAW = "64 raw bits, the package's own"
PEERS: dict[str, Entry] = {
    "lattice": Entry(partial(RecordPeer, "lattice"), _RECORD, everywhere=True),
    "dwtDctSvd": Entry(partial(RecordPeer, "dwtDctSvd"), _FRAMED),
    "dwtDct": Entry(partial(RecordPeer, "dwtDct"), _FRAMED),
    "dwtDctSvd raw": Entry(partial(PackagePeer, "dwtDctSvd"), _RAW, every=4, all_waves=False),
    "dwtDct raw": Entry(partial(PackagePeer, "dwtDct"), _RAW, every=4, all_waves=False),
    "rivaGan": Entry(RivaGanPeer, "32 raw bits only", every=4, all_waves=False),
    "TrustMark": Entry(TrustMarkPeer, "61 bits, its own error correction"),
}


@lru_cache(maxsize=8)
def open_peer(name: str) -> Peer:
    return PEERS[name].make()


def cpu_ms(start: float) -> float:
    return (time.process_time() - start) * 1000
