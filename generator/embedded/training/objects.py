"""Outlines and shading of the subjects: each function answers layers in a box.

Coordinates: ``u`` runs from -1 (left) to 1 (right), ``v`` from -1 (top) to 1 (bottom) of the
subject's box. A layer is a soft mask and a colour; layers are painted in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from generator.embedded.training.captions import Thing
from generator.embedded.training.noise import FINE, PINK, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from generator.embedded.training.palette import Rgb

    Plane = NDArray[np.floating]

__all__ = ["ASPECTS", "Box", "Layer", "Shade", "draw_thing", "outline"]

# Width over height of each subject's box.
ASPECTS: Mapping[Thing, float] = {
    Thing.HOUSE: 1.15,
    Thing.TREE: 0.85,
    Thing.TOWER: 0.42,
    Thing.BOAT: 1.15,
    Thing.BALLOON: 0.78,
    Thing.FLOWER: 0.8,
    Thing.TENT: 1.5,
}
_TRUNK: Rgb = (0.36, 0.22, 0.12)
_STEM: Rgb = (0.22, 0.42, 0.12)
_DARK: Rgb = (0.16, 0.12, 0.12)


@dataclass(frozen=True, kw_only=True)
class Box:
    """The pixels of a subject: coordinates and the width of one pixel in them."""

    u: Plane
    v: Plane
    pixel: float


@dataclass(frozen=True, kw_only=True)
class Shade:
    """What shading needs: main colour, light from -1 (left) to 1 (right), glow of windows."""

    colour: Rgb
    light: float
    window: Rgb


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A soft mask (H, W) in 0..1 and the colour (H, W, 3) to paint there."""

    mask: Plane
    colour: NDArray[np.floating]


def _soft(distance: Plane, box: Box) -> Plane:
    """Turns a distance (negative inside) into coverage, one pixel of blur."""
    covered: Plane = np.clip(0.5 - distance / box.pixel, 0, 1)
    return covered


def _rectangle(box: Box, left: float, right: float, top: float, bottom: float) -> Plane:
    distance = np.maximum(
        np.maximum(left - box.u, box.u - right), np.maximum(top - box.v, box.v - bottom)
    )
    return _soft(distance, box)


def _taper(box: Box, *, top: float, bottom: float, half_top: float, half_bottom: float) -> Plane:
    """A trapezoid on the axis; a half width of 0 at the top makes it a triangle."""
    share = np.clip((box.v - top) / (bottom - top), 0, 1)
    half = half_top + (half_bottom - half_top) * share
    distance = np.maximum(np.abs(box.u) - half, np.maximum(top - box.v, box.v - bottom))
    return _soft(distance, box)


def _disc(box: Box, *, centre: tuple[float, float], radii: tuple[float, float]) -> Plane:
    reach = np.hypot((box.u - centre[0]) / radii[0], (box.v - centre[1]) / radii[1])
    return _soft((reach - 1) * min(radii), box)


def _tint(colour: Rgb, shade: Plane) -> NDArray[np.floating]:
    tinted: NDArray[np.floating] = np.asarray(colour, dtype=np.float32) * shade[..., None]
    return tinted


def _plain(colour: Rgb, box: Box, strength: float = 1.0) -> NDArray[np.floating]:
    return _tint(colour, np.full(box.u.shape, strength, dtype=np.float32))


def _relief(box: Box, shade: Shade, rng: np.random.Generator, *, amount: float) -> Plane:
    """Brightness about 1: lit from one side, with texture."""
    texture = field(rng, shape=box.u.shape, slope=PINK)
    side: Plane = 1 + 0.16 * shade.light * box.u + amount * texture
    clipped: Plane = np.clip(side, 0.45, 1.3)
    return clipped


def _boards(box: Box, *, rows: int) -> Plane:
    """Darker seams between boards, tiles or cloth panels: 1 between, 0.8 on seams."""
    phase = np.abs((box.v * rows) % 1 - 0.5)
    seams: Plane = 1 - 0.22 * (phase > 0.42)
    return seams


def _house(box: Box, shade: Shade, rng: np.random.Generator) -> Sequence[Layer]:
    walls = _rectangle(box, -0.8, 0.8, 0.0, 1.0)
    roof = _taper(box, top=-1.0, bottom=0.08, half_top=0.0, half_bottom=1.0)
    face = _relief(box, shade, rng, amount=0.07)
    layers = [
        Layer(mask=_rectangle(box, 0.35, 0.55, -0.95, -0.3), colour=_plain(_TRUNK, box)),
        Layer(mask=walls, colour=_tint(shade.colour, face * _boards(box, rows=7))),
        Layer(mask=roof, colour=_tint(shade.colour, 0.68 * face * _boards(box, rows=9))),
        Layer(mask=_rectangle(box, -0.13, 0.13, 0.45, 1.0), colour=_plain(_DARK, box, 1.4)),
    ]
    for left in (-0.6, 0.34):
        frame = _rectangle(box, left - 0.03, left + 0.29, 0.27, 0.65)
        glass = _rectangle(box, left, left + 0.26, 0.3, 0.62)
        bars = np.maximum(
            _rectangle(box, left + 0.115, left + 0.145, 0.3, 0.62),
            _rectangle(box, left, left + 0.26, 0.445, 0.475),
        )
        layers += [
            Layer(mask=frame, colour=_plain(_DARK, box)),
            Layer(mask=glass, colour=_plain(shade.window, box)),
            Layer(mask=bars, colour=_plain(_DARK, box)),
        ]
    return layers


def _tree(box: Box, shade: Shade, rng: np.random.Generator) -> Sequence[Layer]:
    ragged = 0.1 * field(rng, shape=box.u.shape, slope=PINK)
    reach = np.hypot(box.u / 0.88, (box.v + 0.28) / 0.66) + ragged
    crown = _soft(((reach - 1) * 0.6).astype(np.float32), box)
    trunk = _taper(box, top=0.1, bottom=1.0, half_top=0.07, half_bottom=0.15)
    leaves = field(rng, shape=box.u.shape, slope=FINE)
    round_light = 1.02 - 0.28 * (box.v + 0.28) + 0.24 * shade.light * box.u
    lit = np.clip(round_light + 0.11 * leaves - 0.9 * ragged, 0.4, 1.3)
    bark = _relief(box, shade, rng, amount=0.15)
    return [
        Layer(mask=trunk, colour=_tint(_TRUNK, bark)),
        Layer(mask=crown, colour=_tint(shade.colour, lit.astype(np.float32))),
    ]


def _tower(box: Box, shade: Shade, rng: np.random.Generator) -> Sequence[Layer]:
    body = _taper(box, top=-0.7, bottom=1.0, half_top=0.55, half_bottom=0.9)
    cap = _taper(box, top=-1.0, bottom=-0.78, half_top=0.0, half_bottom=0.7)
    lamp = _rectangle(box, -0.42, 0.42, -0.82, -0.68)
    round_light = 1.0 - 0.35 * box.u**2 + 0.2 * shade.light * box.u
    face = _relief(box, shade, rng, amount=0.07) * round_light.astype(np.float32)
    layers = [
        Layer(mask=body, colour=_tint(shade.colour, face * _boards(box, rows=11))),
        Layer(mask=lamp, colour=_plain(shade.window, box)),
        Layer(mask=cap, colour=_plain(_DARK, box, 1.5)),
    ]
    for top in (-0.4, 0.1):
        window = _rectangle(box, -0.14, 0.14, top, top + 0.16)
        layers.append(Layer(mask=window, colour=_plain(shade.window, box)))
    layers.append(Layer(mask=_rectangle(box, -0.2, 0.2, 0.72, 1.0), colour=_plain(_DARK, box)))
    return layers


def _boat(box: Box, shade: Shade, rng: np.random.Generator) -> Sequence[Layer]:
    hull = _taper(box, top=0.55, bottom=1.0, half_top=1.0, half_bottom=0.62)
    mast = _rectangle(box, -0.03, 0.03, -1.0, 0.6)
    share = np.clip((box.v + 0.92) / 1.32, 0, 1)
    main = np.maximum(
        np.maximum(0.05 - box.u, box.u - 0.85 * share), np.maximum(-0.92 - box.v, box.v - 0.4)
    )
    jib = np.maximum(
        np.maximum(-0.6 * share - box.u, box.u + 0.06), np.maximum(-0.8 - box.v, box.v - 0.4)
    )
    face = _relief(box, shade, rng, amount=0.06)
    return [
        Layer(mask=mast, colour=_plain(_TRUNK, box)),
        Layer(mask=_soft(main, box), colour=_tint(shade.colour, face * _boards(box, rows=4))),
        Layer(mask=_soft(jib, box), colour=_tint(shade.colour, 0.86 * face)),
        Layer(mask=hull, colour=_tint(shade.colour, 0.72 * face * _boards(box, rows=8))),
    ]


def _balloon(box: Box, shade: Shade, rng: np.random.Generator) -> Sequence[Layer]:
    ball = _disc(box, centre=(0, -0.32), radii=(0.98, 0.68))
    neck = _taper(box, top=0.0, bottom=0.55, half_top=0.86, half_bottom=0.18)
    envelope = np.maximum(ball, neck)
    around = np.clip(box.u / np.sqrt(np.clip(1 - ((box.v + 0.32) / 0.75) ** 2, 0.05, 1)), -1, 1)
    panels = (np.floor(np.arcsin(around) * 3.2) % 2).astype(np.float32)
    round_light = 1.02 - 0.22 * (box.v + 0.32) - 0.25 * box.u**2 + 0.22 * shade.light * box.u
    face = _relief(box, shade, rng, amount=0.04) * round_light.astype(np.float32)
    ropes = np.abs(np.abs(box.u) - 0.15) - 0.012
    rope = _soft(np.maximum(ropes, np.maximum(0.5 - box.v, box.v - 0.8)), box)
    return [
        Layer(mask=envelope, colour=_tint(shade.colour, face * (0.78 + 0.22 * panels))),
        Layer(mask=rope, colour=_plain(_DARK, box)),
        Layer(mask=_rectangle(box, -0.17, 0.17, 0.78, 1.0), colour=_plain(_TRUNK, box)),
    ]


def _flower(box: Box, shade: Shade, rng: np.random.Generator) -> Sequence[Layer]:
    down = (box.v + 0.36) / 0.66
    reach, angle = np.hypot(box.u, down), np.arctan2(box.u, down)
    petals = 0.6 + 0.36 * np.abs(np.cos(3 * angle))
    veins = 1 + 0.12 * np.cos(24 * angle) - 0.25 * (1 - reach)
    face = _relief(box, shade, rng, amount=0.05) * np.clip(veins, 0.6, 1.2).astype(np.float32)
    stem = _rectangle(box, -0.05, 0.05, -0.3, 1.0)
    leaf = np.maximum(
        _disc(box, centre=(0.3, 0.66), radii=(0.3, 0.09)),
        _disc(box, centre=(-0.3, 0.78), radii=(0.3, 0.09)),
    )
    heart = _disc(box, centre=(0, -0.36), radii=(0.24, 0.16))
    grain = _relief(box, shade, rng, amount=0.15)
    return [
        Layer(mask=np.maximum(stem, leaf), colour=_tint(_STEM, grain)),
        Layer(
            mask=_soft(((reach - petals) * 0.7).astype(np.float32), box),
            colour=_tint(shade.colour, face),
        ),
        Layer(mask=heart, colour=_tint((0.45, 0.28, 0.1), grain)),
    ]


def _tent(box: Box, shade: Shade, rng: np.random.Generator) -> Sequence[Layer]:
    cloth = _taper(box, top=-1.0, bottom=1.0, half_top=0.02, half_bottom=1.0)
    door = _taper(box, top=-0.25, bottom=1.0, half_top=0.0, half_bottom=0.3)
    folds = 1 + 0.1 * np.cos(box.u / np.clip(box.v + 1.05, 0.05, 2) * 22)
    side = np.where(box.u * shade.light > 0, 1.04, 0.82)
    face = _relief(box, shade, rng, amount=0.05) * (folds * side).astype(np.float32)
    return [
        Layer(mask=cloth, colour=_tint(shade.colour, face)),
        Layer(mask=door, colour=_plain(_DARK, box)),
    ]


_DRAWERS: Mapping[Thing, Callable[[Box, Shade, np.random.Generator], Sequence[Layer]]] = {
    Thing.HOUSE: _house,
    Thing.TREE: _tree,
    Thing.TOWER: _tower,
    Thing.BOAT: _boat,
    Thing.BALLOON: _balloon,
    Thing.FLOWER: _flower,
    Thing.TENT: _tent,
}


def draw_thing(
    thing: Thing, *, box: Box, shade: Shade, rng: np.random.Generator
) -> Sequence[Layer]:
    """Answers the layers of a subject, bottom first."""
    return _DRAWERS[thing](box, shade, rng)


def unit_box(*, height: int, width: int) -> Box:
    """Makes the coordinates of a box of ``height`` times ``width`` pixels."""
    v, u = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32),
        np.linspace(-1, 1, width, dtype=np.float32),
        indexing="ij",
    )
    return Box(u=u, v=v, pixel=2 / min(height, width))


def outline(thing: Thing, side_px: int) -> NDArray[np.bool_]:
    """Answers where a subject shows its main colour: (side_px, side_px), in its box."""
    box = unit_box(height=side_px, width=side_px)
    marker: Rgb = (1.0, 0.0, 0.0)
    shade = Shade(colour=marker, light=0.0, window=(0.0, 1.0, 1.0))
    picture: NDArray[np.floating] = np.zeros((side_px, side_px, 3), dtype=np.float32)
    picture[..., 2] = 1
    for layer in draw_thing(thing, box=box, shade=shade, rng=np.random.default_rng(0)):
        mask = layer.mask[..., None]
        picture = picture * (1 - mask) + layer.colour * mask
    found: NDArray[np.bool_] = (picture[..., 0] > 0.4) & (picture[..., 1] < 0.1)
    return found
