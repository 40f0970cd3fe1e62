"""Which pictures are measured: photographs, drawings, and what the bundled model makes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.photographs import SUFFIXES, open_photograph, read_square
from provenance.types import GenerationRequest, RasterImage

if TYPE_CHECKING:
    from collections.abc import Iterable

PHOTOS = Path("../shared/data/photos")
SCRATCH = Path(tempfile.gettempdir()) / "countermark-benchmark"
"""Rendered pictures and unfinished runs; nothing here is lost that a run can't make again."""

_MIN_SIDE_PX = 256
_MAX_NATIVE_PX = 2048

_SUBJECTS = ("a red house", "a yellow tent", "a white balloon", "a blue lighthouse", "a green tree")
_PLACES = (
    "on a snowy hill by moonlight",
    "on a sandy beach at sunset under a clear sky",
    "near a lake with mountains in the distance",
    "on a green meadow in fog",
)
PROMPTS = tuple(f"{subject} {place}" for subject in _SUBJECTS for place in _PLACES)


@dataclass(frozen=True, slots=True)
class Picture:
    """One file.

    Attributes:
        path: Where it lies.
        source: What the reports call its set: the folder's name.
    """

    path: Path
    source: str

    @property
    def name(self) -> str:
        return f"{self.source}/{self.path.stem}"

    def square(self, side_px: int) -> RasterImage:
        """Its central square, scaled."""
        return read_square(self.path, side_px)

    def native(self) -> RasterImage:
        """As it is, but at most 2048 pixels long."""
        picture = open_photograph(self.path)
        picture.thumbnail((_MAX_NATIVE_PX, _MAX_NATIVE_PX), Image.Resampling.LANCZOS)
        return RasterImage(np.array(picture))

    def window(self, side_px: int, draw: np.random.Generator) -> RasterImage:
        """A square from anywhere in it, three quarters to all of its short side, scaled."""
        picture = open_photograph(self.path)
        side = int(min(picture.size) * draw.uniform(0.75, 1.0))
        left, top = (int(draw.integers(0, length - side + 1)) for length in picture.size)
        part = picture.crop((left, top, left + side, top + side))
        scaled = part.resize((side_px, side_px), Image.Resampling.LANCZOS)
        return RasterImage(np.array(scaled))


def _files(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in SUFFIXES and _is_usable(path):
            yield path


def _is_usable(path: Path) -> bool:
    """Whether it is large enough and decodes: some files are broken on purpose, for tests."""
    try:
        with Image.open(path) as opened:
            if min(opened.size) < _MIN_SIDE_PX:
                return False
            opened.load()
    except OSError:
        return False
    return True


def every_file(folder: Path, source: str) -> list[Picture]:
    """All pictures of a folder that are large enough to be marked."""
    return [Picture(path, source) for path in _files(folder)]


def photographs(extra: Iterable[Path] = (), folder: Path = PHOTOS) -> list[Picture]:
    """One picture of each photograph: the whole one where there is a cut-out too."""
    found = every_file(folder, "photos")
    whole = {one.path.stem.removesuffix("-full") for one in found if "-full" in one.path.stem}
    chosen = [
        one
        for one in found
        if not (one.path.stem.endswith("-crop") and one.path.stem.removesuffix("-crop") in whole)
    ]
    for more in extra:
        chosen += every_file(more, more.resolve().name)
    return chosen


def generated() -> list[Picture]:
    """Twenty pictures of the bundled model, rendered once and kept in the scratch folder."""
    paths = [SCRATCH / "generated" / f"{number:02}.png" for number in range(len(PROMPTS))]
    if not all(path.exists() for path in paths):
        _render(paths)
    return [Picture(path, "generated") for path in paths]


def _render(paths: list[Path]) -> None:
    from generator.pipelines.diffusers import load_pipeline

    pipeline = load_pipeline()
    for number, path in enumerate(paths):
        if path.exists():
            continue
        request = GenerationRequest(prompt=PROMPTS[number], seed=1000 + number)
        raster = pipeline.render(request, lambda _: None)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        Image.fromarray(raster.pixels).save(unfinished, "PNG")
        unfinished.replace(path)
        print(f"rendered {number + 1} of {len(paths)}", flush=True)
