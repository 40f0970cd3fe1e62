"""The distortions of WAVES at three strengths each: weak, middle, strong.

Source: An et al., "WAVES: Benchmarking the Robustness of Image Watermarks", ICML 2024, section 3.1
(eight single distortions with their ranges; combinations of the geometric ones, of the photometric
ones, of the degradations, and of all). Regeneration and adversarial attacks need models that are
not part of this project; the VAE round trip of `attacks` stands for the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.watermark.edits import (
    Edit,
    Scene,
    brightness,
    chain,
    contrast,
    crop,
    erase,
    from_pillow,
    jpeg,
    kernel_blur,
    noise,
    rotate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.types import RasterImage

_FULL_SCALE = 255


def resized_crop(kept: float) -> Edit:
    """Keeps a share of the area and scales it back to the size before."""
    cut = crop(1.0 - kept)

    def run(image: RasterImage, scene: Scene) -> RasterImage:
        from PIL import Image

        part = Image.fromarray(cut(image, scene).pixels)
        size = (image.width_px, image.height_px)
        return from_pillow(part.resize(size, Image.Resampling.BICUBIC))

    return run


_SINGLE: dict[str, tuple[Callable[[float], Edit], tuple[float, float, float]]] = {
    "rotation {:g}°": (rotate, (9, 27, 45)),
    "resized crop {:g}": (resized_crop, (0.9, 0.7, 0.5)),
    "erasing {:g}": (erase, (0.05, 0.15, 0.25)),
    "brightness {:g}": (brightness, (1.2, 1.6, 2.0)),
    "contrast {:g}": (contrast, (1.2, 1.6, 2.0)),
    "blur {:g} px": (lambda side: kernel_blur(int(side)), (4, 12, 20)),
    "noise {:g}": (lambda share: noise(share * _FULL_SCALE), (0.02, 0.06, 0.10)),
    "JPEG {:g}": (lambda quality: jpeg(int(quality)), (90, 50, 10)),
}
_FAMILIES = {
    "geometric": ("rotation {:g}°", "resized crop {:g}", "erasing {:g}"),
    "photometric": ("brightness {:g}", "contrast {:g}"),
    "degradation": ("blur {:g} px", "noise {:g}", "JPEG {:g}"),
    "all": tuple(_SINGLE),
}
_STRENGTHS = ("weak", "middle", "strong")


def _edit(name: str, step: int) -> Edit:
    make, strengths = _SINGLE[name]
    return make(strengths[step])


def _waves() -> dict[str, tuple[Edit, bool]]:
    edits = {}
    for name, (_, strengths) in _SINGLE.items():
        for step, strength in enumerate(strengths):
            edits[f"WAVES {name.format(strength)}"] = (_edit(name, step), step == 1)
    for family, names in _FAMILIES.items():
        for step, word in enumerate(_STRENGTHS):
            combined = chain(*(_edit(name, step) for name in names))
            edits[f"WAVES {family}, {word}"] = (combined, step == 1)
    return edits


WAVES: dict[str, tuple[Edit, bool]] = _waves()
"""By name: the edit, and whether slow peers are asked too."""
