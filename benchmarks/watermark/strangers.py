"""Pictures that do not carry a mark of the keys that are looked for, kind by kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.foreign_marks import write_foreign_mark
from benchmarks.watermark.peers import mark, open_peer, record_id
from benchmarks.watermark.pictures import (
    PHOTOS,
    Picture,
    every_file,
    generated,
)
from detector.evidence.known_marks.table import KNOWN_MARKS
from provenance.errors import ReadBackError
from provenance.plugins import load_backend
from provenance.watermark.codecs.dwt_reading import FrequencyMethod
from provenance.watermark.codecs.haar_planes import PixelPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provenance.types import RasterImage

SIDE_PX = 512
SDXL = next(one for one in KNOWN_MARKS if one.tool == "Stable Diffusion XL")
DATA = Path("../shared/data")


@dataclass(frozen=True, slots=True)
class Stranger:
    """One picture and what is done to it first.

    Attributes:
        kind: What the report calls it.
        picture: The file.
        foreign: The mark that it carries, if any: ``sdxl``, ``rivaGan``, ``dwtDctSvd`` or
            ``lattice``, the last two under a key that nobody looks for.
    """

    kind: str
    picture: Picture
    foreign: str = ""

    def load(self, number: int) -> RasterImage:
        image = self.picture.square(SIDE_PX)
        if self.foreign == "sdxl":
            return write_foreign_mark(
                image, SDXL.bits, path=PixelPath.UINT8_BGR, method=FrequencyMethod.DWT_DCT
            )
        if self.foreign == "rivaGan":
            return open_peer("rivaGan").embed(image, number) or image
        if self.foreign:
            codec = load_backend("countermark.codecs", self.foreign)()
            try:
                return mark(image, record_id(number), codec=codec)
            except ReadBackError:
                return image
        return image


def strangers(extra: Iterable[Path] = (), *, limit: int | None = None) -> Sequence[Stranger]:
    """Everything at hand, at most `limit` of a kind."""
    photos = every_file(PHOTOS, "photos")
    kinds: dict[str, tuple[Sequence[Picture], str]] = {
        "photographs": (photos, ""),
        "graphics": (every_file(PHOTOS / "graphics", "graphics"), ""),
        "other generators' and cameras' files": (
            every_file(DATA / "generators", "generators") + every_file(DATA / "camera", "camera"),
            "",
        ),
        "bundled model, unmarked": (generated(), ""),
        "marked as SDXL does (dwtDct)": (photos, "sdxl"),
        "marked by dwtDctSvd": (photos, "dwtDctSvd"),
        "marked by rivaGan": (photos[::4], "rivaGan"),
        "marked by lattice, another key": (photos, "lattice"),
    }
    for folder in extra:
        name = folder.resolve().name
        kinds[f"photographs of {name}"] = (every_file(folder, name), "")
    return [
        Stranger(kind, picture, foreign)
        for kind, (pictures, foreign) in kinds.items()
        for picture in pictures[:limit]
    ]
