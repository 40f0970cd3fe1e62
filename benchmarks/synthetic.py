"""Pictures that no camera took: gradients, stripes, tiles, drawn scenes. The hard case of a null.

Their structure repeats, often with the very periods of blocks and messages. All from a seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from generator.embedded.training.captions import Split, sample_spec
from generator.embedded.training.scenes import draw_scene
from provenance.types import RasterImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Shade = npt.NDArray[np.float64]

SIZES = ((512, 512), (512, 768), (768, 512), (480, 640), (768, 768), (1024, 1024))
"""Height and width: those at which generators draw."""

_TILE_PX = (8, 16, 24, 32, 48, 64, 96, 128)


def draw_scenes(count: int, *, seed: int) -> Iterator[RasterImage]:
    """Scenes of the bundled model's training, 512x512."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield RasterImage(draw_scene(sample_spec(random, Split.TEST), side_px=512))


def draw_patterns(count: int, *, seed: int) -> Iterator[tuple[str, RasterImage]]:
    """Name and picture; every kind in turn, every third with noise on it."""
    random = np.random.default_rng(seed)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        height, width = SIZES[random.integers(len(SIZES))]
        pixels = _draw(kind, height, width, random)
        if random.random() < 1 / 3:
            pixels = pixels + random.normal(0.0, random.uniform(0.3, 6.0), pixels.shape)
        yield kind, RasterImage(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _draw(kind: str, height: int, width: int, random: np.random.Generator) -> Shade:
    if kind in _CELLS:
        return _cells(kind, height, width, random)
    shade = _shade(kind, height, width, random)[..., None]
    low, high = random.integers(0, 256, (2, 3))
    return np.asarray(low * (1.0 - shade) + high * shade, dtype=np.float64)


def _shade(kind: str, height: int, width: int, random: np.random.Generator) -> Shade:
    """(height, width) in 0..1, for two colours to be mixed by."""
    down, across = np.mgrid[0:height, 0:width].astype(np.float64)
    angle = random.uniform(0.0, 2.0 * np.pi)
    along = np.cos(angle) * across + np.sin(angle) * down
    period = float(random.integers(3, 200))
    match kind:
        case "flat":
            return np.zeros((height, width))
        case "gradient across":
            return across / width
        case "gradient down":
            return down / height
        case "gradient":
            return np.asarray((along - along.min()) / np.ptp(along))
        case "gradient round":
            away = np.hypot(across - width * random.random(), down - height * random.random())
            return np.asarray(away / away.max())
        case "stripes":
            return np.asarray((across // period) % 2)
        case "checks":
            return np.asarray((across // period + down // period) % 2)
        case _:
            return np.asarray(0.5 + 0.5 * np.sin(2.0 * np.pi * along / period))


def _cells(kind: str, height: int, width: int, random: np.random.Generator) -> Shade:
    """Random colours, one a block of 8x8 pixels, or that repeat."""
    rows, columns = height // 8, width // 8
    tile = int(random.choice(_TILE_PX)) // 8
    shape = {"columns": (1, columns), "rows": (rows, 1), "tiles": (tile, tile)}
    cells = random.integers(0, 256, (*shape.get(kind, (rows, columns)), 3))
    repeat = (-(-rows // cells.shape[0]), -(-columns // cells.shape[1]), 1)
    blocks = np.tile(cells, repeat)[:rows, :columns]
    return blocks.repeat(8, axis=0).repeat(8, axis=1).astype(np.float64)


_CELLS = ("columns", "rows", "tiles", "blocks")
KINDS = (
    "flat",
    "gradient across",
    "gradient down",
    "gradient",
    "gradient round",
    "stripes",
    "checks",
    "waves",
    *_CELLS,
)
