"""The attacks of the benchmark by name, in groups of equal demand; `waves` holds the WAVES set.

"crop n %" takes n percent of the *area* away. Scaling is bicubic, JPEG has chroma at half
resolution; both are Pillow's defaults. Rotations keep the frame: black corners come in.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.watermark.edits import (
    Edit,
    Scene,
    blur,
    brightness,
    caption_bar,
    chain,
    collage,
    contrast,
    crop,
    erase,
    grey,
    hue,
    jpeg,
    median,
    mirror,
    noise,
    non_local_means,
    nothing,
    perspective,
    quarter_turn,
    resize,
    rotate,
    saturation,
    screenshot,
    stretch,
    text,
    vae_round_trip,
    webp,
)
from benchmarks.watermark.waves import WAVES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provenance.types import RasterImage

TARGETS: dict[str, float | None] = {
    "99": 0.99,
    "97": 0.97,
    "93": 0.93,
    "80": 0.80,
    "open": None,
    "waves": None,
}
"""Groups and the share of exact recoveries that each must reach; None: as high as it goes."""

_EVERYDAY: dict[str, Edit] = {
    "none": nothing,
    "JPEG 75": jpeg(75),
    "JPEG 50": jpeg(50),
    "WebP 75": webp(75),
    "resize 0.5": resize(0.5),
    "resize 0.75": resize(0.75),
    "resize 2": resize(2.0),
    "blur 1": blur(1),
    "blur 2": blur(2),
    "noise 5": noise(5),
    "noise 15": noise(15),
    "brightness -30 %": brightness(0.7),
    "brightness +30 %": brightness(1.3),
    "contrast -30 %": contrast(0.7),
    "contrast +30 %": contrast(1.3),
    "saturation -50 %": saturation(0.5),
    "saturation +50 %": saturation(1.5),
    "hue 20°": hue(20),
    "grey": grey,
    "text": text,
    "occlusion 10 %": erase(0.10, level=128),
    "social": chain(resize(0.7), jpeg(70)),
}

_GEOMETRY: dict[str, Edit] = {
    "crop 10 %": crop(0.10),
    "crop 25 %": crop(0.25),
    "crop 50 %": crop(0.50),
    **{f"rotation {degrees}°": rotate(degrees) for degrees in (2, 5, 10, 30, 45)},
    "rotation 90°": quarter_turn,
    "mirror": mirror,
    "screenshot": screenshot,
    "aspect -10 %": stretch(0.90),
    "aspect -3 %": stretch(0.97),
    "aspect +3 %": stretch(1.03),
    "aspect +10 %": stretch(1.10),
}

_HARD: dict[str, Edit] = {
    "JPEG 30": jpeg(30),
    "crop 75 %": crop(0.75),
    "meme": chain(resize(0.75), crop(0.25), caption_bar, jpeg(75)),
    "rotation 5° + crop 25 % + JPEG 50": chain(rotate(5), crop(0.25), jpeg(50)),
    "crop 50 % + JPEG 50": chain(crop(0.50), jpeg(50)),
    "noise 30": noise(30),
    "median 5": median(5),
    "resize 0.35": resize(0.35),
}

_HARDER: dict[str, Edit] = {
    "resize 0.25": resize(0.25),
    "JPEG 20": jpeg(20),
    "crop 85 %": crop(0.85),
    "blur 3": blur(3),
    "resize 0.5 + JPEG 70": chain(resize(0.5), jpeg(70)),
}

_OPEN: dict[str, Edit] = {
    "resize 0.5 + JPEG 50": chain(resize(0.5), jpeg(50)),
    "crop 50 % + resize 0.5 + JPEG 70": chain(crop(0.50), resize(0.5), jpeg(70)),
    "non-local means 10": non_local_means(10),
    "VAE round trip": vae_round_trip,
    "JPEG 10": jpeg(10),
    "print-like": chain(rotate(3), perspective(0.02), blur(1), jpeg(60)),
    "perspective 3 %": perspective(0.03),
    "collage 2x2": collage,
}


@dataclass(frozen=True, slots=True)
class Attack:
    """One row of the table.

    Attributes:
        name: As the table says it.
        group: A key of `TARGETS`.
        edit: What is done.
        core: False for all but the middle strengths of WAVES, which slow peers leave out.
    """

    name: str
    group: str
    edit: Edit
    core: bool = True

    def apply(
        self, image: RasterImage, *, seed: int, others: tuple[RasterImage, ...] = ()
    ) -> RasterImage:
        """The picture afterwards; the same for the same seed."""
        draw = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        return self.edit(image, Scene(draw, others))


def _attacks() -> Iterable[Attack]:
    groups = {"99": _EVERYDAY, "97": _GEOMETRY, "93": _HARD, "80": _HARDER, "open": _OPEN}
    for group, edits in groups.items():
        for name, edit in edits.items():
            yield Attack(name, group, edit)
    for name, (edit, core) in WAVES.items():
        yield Attack(name, "waves", edit, core)


ATTACKS: dict[str, Attack] = {attack.name: attack for attack in _attacks()}
