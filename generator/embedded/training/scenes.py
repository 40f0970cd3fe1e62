"""Draws a scene: sky, relief, water, land, subject, weather, grain; all from one seed.

Every surface carries texture with a natural spectrum and a slight drift of hue, so that
pictures are neither flat nor grey: a model that learns them leaves room for invisible marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from generator.embedded.training.captions import Ground, Side, Thing, Time, Water, Weather
from generator.embedded.training.noise import FINE, PINK, SOFT, field, ridge_line
from generator.embedded.training.objects import ASPECTS, Shade, draw_thing, unit_box
from generator.embedded.training.palette import GROUNDS, LIGHTS, SUBJECTS, Light, Rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.embedded.training.captions import SceneSpec, Subject

    Plane = NDArray[np.floating]
    Picture = NDArray[np.floating]

__all__ = ["SIDE_PX", "Area", "draw_scene", "locate_subject"]

# The model's own size; each random field is made for it.
SIDE_PX = 512


@dataclass(frozen=True, kw_only=True)
class Area:
    """A rectangle as shares of the picture's side."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """What the painters share."""

    spec: SceneSpec
    light: Light
    rng: np.random.Generator
    rows: Plane
    columns: Plane
    horizon: float
    sun_side: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.shape[0], self.columns.shape[1]

    def noise(self, slope: float, stretch: float = 1.0) -> Plane:
        return field(self.rng, shape=self.shape, slope=slope, stretch=stretch)


def _mix(below: Picture, colour: Picture | Rgb, share: Plane | float) -> Picture:
    """Paints ``colour`` over ``below`` with an opacity for each pixel."""
    if isinstance(share, np.ndarray):
        share = share[..., None]
    mixed: Picture = below + (np.asarray(colour, dtype=np.float32) - below) * share
    return mixed


def _times(colour: Rgb, other: Rgb) -> Rgb:
    return colour[0] * other[0], colour[1] * other[1], colour[2] * other[2]


def _surface(stage: _Stage, colour: Rgb, brightness: Plane, *, hue: float) -> Picture:
    """A lit surface: brightness about 1, and each channel drifting on its own by ``hue``."""
    drift = stage.noise(SOFT)
    tint = np.stack([hue * drift, -0.5 * hue * drift, -hue * stage.noise(SOFT)], axis=-1)
    lit: Picture = np.asarray(colour, dtype=np.float32) * brightness[..., None] * (1 + tint)
    return lit


def _stage(spec: SceneSpec, side_px: int) -> _Stage:
    rng = np.random.default_rng(spec.seed)
    grid = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px
    low = spec.subject is not None and spec.subject.thing is Thing.BALLOON
    return _Stage(
        spec=spec,
        light=LIGHTS[spec.time],
        rng=rng,
        rows=grid[:, None],
        columns=grid[None, :],
        horizon=float(rng.uniform(0.62, 0.74) if low else rng.uniform(0.42, 0.6)),
        sun_side=float(rng.choice([-1.0, 1.0])),
    )


def _paint_sky(stage: _Stage) -> Picture:
    height = np.clip(stage.rows / stage.horizon, 0, 1.2)
    height = np.clip(height + 0.05 * stage.noise(SOFT), 0, 1)
    stops = [0.0, 0.55, 1.0]
    bands = zip(stage.light.zenith, stage.light.middle, stage.light.horizon, strict=True)
    sky = np.stack([np.interp(height, stops, band) for band in bands], axis=-1)
    warm = stage.noise(SOFT) * 0.035
    warmed: Picture = sky * (1 + np.stack([warm, 0 * warm, -warm], axis=-1))
    return warmed.astype(np.float32)


def _paint_stars(stage: _Stage, sky: Picture) -> Picture:
    stars = np.clip(stage.noise(FINE) - 3.1, 0, 0.5) * 2
    glow = np.maximum(stars, 0.5 * np.roll(stars, 1, axis=1))
    return _mix(sky, (0.95, 0.95, 1.0), glow)


def _paint_luminary(stage: _Stage, sky: Picture) -> Picture:
    across = 0.5 + stage.sun_side * float(stage.rng.uniform(0.2, 0.38))
    low = stage.spec.time in (Time.SUNSET, Time.DAWN)
    share = stage.rng.uniform(0.62, 0.86) if low else stage.rng.uniform(0.16, 0.4)
    reach = np.hypot(stage.columns - across, stage.rows - stage.horizon * share)
    radius = float(stage.rng.uniform(0.05, 0.075))
    sky = _mix(sky, stage.light.luminary, 0.55 * np.exp(-((reach / 0.2) ** 2)))
    disc = np.clip((radius - reach) * stage.shape[0] / 2, 0, 1)
    if stage.spec.time is not Time.NIGHT:
        return _mix(sky, stage.light.luminary, disc)
    seas = np.clip(1 - 0.1 * np.maximum(stage.noise(PINK), 0), 0.7, 1)
    return _mix(sky, np.asarray(stage.light.luminary, np.float32) * seas[..., None], disc)


def _paint_clouds(stage: _Stage, sky: Picture) -> Picture:
    covers = {Weather.CLEAR: -1.1, Weather.CLOUDY: 0.5, Weather.FOG: 0.2}
    cover = covers.get(stage.spec.weather, 0.9)
    body = stage.noise(SOFT, stretch=2.5) + 0.3 * stage.noise(PINK, stretch=1.8)
    mask = np.clip((body + cover) * 0.7, 0, 1) * np.clip(1.25 - stage.rows / stage.horizon, 0.1, 1)
    storm = 0.72 if stage.spec.weather is Weather.RAIN else 1.0
    lift = 0.8 if stage.spec.time is Time.NIGHT else 0.55
    lit = np.asarray(stage.light.haze, np.float32) * lift + (1 - lift) * np.asarray(
        stage.light.luminary, np.float32
    )
    if stage.spec.time is Time.NIGHT:
        lit = np.asarray(stage.light.haze, np.float32) * 1.25
    above = body[np.maximum(np.arange(stage.shape[0]) - 9, 0)]
    relief = np.clip(1.0 + 0.14 * (above - body), 0.6, 1.25)
    return _mix(sky, storm * lit * relief[..., None], (mask * 0.92).astype(np.float32))


def _paint_mountains(stage: _Stage, picture: Picture) -> Picture:
    for distance in (1.0, 0.5):
        line = ridge_line(stage.rng, width=stage.shape[1], roughness=0.9)
        height = 0.1 + 0.07 * (1 - distance)
        top = stage.horizon - height - 0.09 * line[None, :]
        mask = np.clip((stage.rows - top) * stage.shape[0], 0, 1)
        rock = stage.noise(PINK)
        facet = rock - np.roll(rock, (5, 5 * int(stage.sun_side)), axis=(0, 1))
        bright = np.clip(0.85 + 0.3 * facet, 0.35, 1.5)
        stone = _surface(stage, _times((0.36, 0.38, 0.52), stage.light.land), bright, hue=0.08)
        white = np.clip((0.07 - (stage.rows - top)) * 30 + 0.9 * rock, 0, 1)
        snow = np.asarray(_times((0.95, 0.97, 1.0), stage.light.land), np.float32)
        stone = _mix(stone, snow * np.clip(bright, 0.7, 1.1)[..., None], white)
        stone = _mix(stone, stage.light.haze, 0.25 + 0.35 * distance)
        picture = _mix(picture, stone, mask)
    return picture


def _paint_water(stage: _Stage, picture: Picture, bottom: float) -> Picture:
    """Mirrors the sky below the horizon, broken by waves that grow towards the viewer."""
    near = np.clip((stage.rows - stage.horizon) / max(bottom - stage.horizon, 0.05), 0, 1)
    ripple = stage.noise(PINK, stretch=5.0)
    side = stage.shape[0]
    mirrored = 2 * stage.horizon * side - np.arange(side)
    wobble = (ripple * (2 + 10 * near)).astype(int)
    source = np.clip(mirrored[:, None] + wobble, 0, stage.horizon * side - 1).astype(int)
    mirror = np.take_along_axis(picture, source[..., None], axis=0)
    deep = _times((0.05, 0.30, 0.46), stage.light.land)
    rough = 0.42 if stage.spec.water is Water.LAKE else 0.62
    water = _mix(mirror, deep, rough)
    sparkle = 1 + (0.08 + 0.12 * near) * stage.noise(PINK, stretch=4.0)
    mask = np.clip((stage.rows - stage.horizon) * side, 0, 1) + 0 * stage.columns
    return _mix(picture, water * np.clip(sparkle, 0.5, 1.6)[..., None], mask)


def _land_texture(stage: _Stage, depth: Plane) -> Plane:
    """Brightness of land about 1; depth runs from 0 far away to 1 at the viewer."""
    smooth = stage.spec.ground in (Ground.SAND, Ground.SNOW)
    coarse, grain = (0.07, 0.025) if smooth else (0.1, 0.07)
    tufts = stage.noise(FINE, stretch=0.5 if stage.spec.ground is Ground.WHEAT else 1.0)
    rolls = stage.noise(SOFT, stretch=2.0)
    texture = 0.9 + 0.2 * depth + coarse * rolls + grain * tufts * (0.4 + depth)
    brightness: Plane = np.clip(texture + 0.5 * coarse * stage.noise(PINK), 0.35, 1.5)
    return brightness


def _paint_land(stage: _Stage, picture: Picture, first: float) -> Picture:
    """Paints two or three ridges of ground from ``first`` (a row share) downwards."""
    base = _times(GROUNDS[stage.spec.ground], stage.light.land)
    tops = np.linspace(first, 0.9, 3)[:2]
    # On white the same drift of hue would look like mother-of-pearl.
    hue = 0.035 if stage.spec.ground is Ground.SNOW else 0.07
    for index, top in enumerate(tops):
        line = ridge_line(stage.rng, width=stage.shape[1], roughness=0.0)
        edge = top + 0.035 * line[None, :]
        mask = np.clip((stage.rows - edge) * stage.shape[0], 0, 1)
        depth = np.clip((stage.rows - edge) / 0.4, 0, 1)
        land = _surface(stage, base, _land_texture(stage, depth), hue=hue)
        fade = 0.28 * (1 - index) * np.exp(-((stage.rows - edge) / 0.08))
        picture = _mix(picture, _mix(land, stage.light.haze, np.clip(fade, 0, 0.4)), mask)
    return picture


def _paint_trees(stage: _Stage, picture: Picture, row: float) -> Picture:
    """A belt of dark woods along a row."""
    jag = np.abs(stage.noise(PINK)[:1]) * 0.02 + 0.012
    belt = ridge_line(stage.rng, width=stage.shape[1], roughness=0.6)[None, :]
    present = np.clip(belt * 4 + 1.2, 0, 1)
    top = row - (jag + 0.035) * present
    mask = np.clip((stage.rows - top) * stage.shape[0], 0, 1)
    mask = mask * np.clip((row + 0.015 - stage.rows) * stage.shape[0] / 3, 0, 1)
    bright = np.clip(0.9 + 0.25 * stage.noise(FINE), 0.3, 1.6)
    woods = _surface(stage, _times((0.13, 0.27, 0.16), stage.light.land), bright, hue=0.1)
    return _mix(picture, woods, mask * np.clip(present * 3, 0, 1))


def locate_subject(spec: SceneSpec) -> Area | None:
    """Answers where a scene's subject stands, its foot on land or water; None without one."""
    subject = spec.subject
    if subject is None:
        return None
    # A source of its own, so that the place can be asked for without drawing the scene.
    rng = np.random.default_rng([spec.seed, 1])
    width = subject.size * ASPECTS[subject.thing]
    centres = {Side.LEFT: 0.28, Side.CENTRE: 0.5, Side.RIGHT: 0.72}
    centre = centres[subject.side] + float(rng.uniform(-0.04, 0.04))
    foot = float(rng.uniform(0.8, 0.9))
    if subject.thing is Thing.BALLOON:
        foot = float(rng.uniform(0.06, 0.12)) + subject.size
    if subject.thing is Thing.FLOWER:
        foot = 0.97
    edge = 0.008
    return Area(
        top=float(np.clip(foot - subject.size, edge, 1 - subject.size - edge)),
        left=float(np.clip(centre - width / 2, edge, 1 - width - edge)),
        height=subject.size,
        width=width,
    )


def _subject_box(stage: _Stage, area: Area) -> tuple[int, int, int, int]:
    """Answers top, left, height, width in pixels."""
    side = stage.shape[0]
    return (
        int(area.top * side),
        int(area.left * side),
        int(area.height * side),
        int(area.width * side),
    )


def _paint_subject(stage: _Stage, picture: Picture, subject: Subject, area: Area) -> Picture:
    top, left, height, width = _subject_box(stage, area)
    glow: Rgb = (0.99, 0.86, 0.45) if stage.spec.time is Time.NIGHT else (0.25, 0.36, 0.46)
    # A subject keeps most of its own colour in any light, or nobody could name it.
    share = 0.45 if stage.spec.time is Time.NIGHT else 0.3
    red, green, blue = (1 - share + share * part for part in stage.light.land)
    shade = Shade(
        colour=_times(SUBJECTS[subject.colour], (red, green, blue)),
        light=stage.sun_side,
        window=glow,
    )
    box = unit_box(height=height, width=width)
    patch = picture[top : top + height, left : left + width]
    if subject.thing is not Thing.BALLOON:
        picture = _paint_contact(stage, picture, (top + height, left + width // 2, width))
        patch = picture[top : top + height, left : left + width]
    # Near the viewer, fog is thin.
    veil = 0.2 if stage.spec.weather is Weather.FOG else 0.0
    drift = 0.05 * field(stage.rng, shape=(height, width), slope=SOFT)
    hue = 1 + np.stack([drift, -drift, 0.5 * drift], axis=-1)
    for layer in draw_thing(subject.thing, box=box, shade=shade, rng=stage.rng):
        colour = _mix(layer.colour * hue, stage.light.haze, veil)
        patch = _mix(patch, colour, layer.mask)
    picture[top : top + height, left : left + width] = patch
    return picture


def _paint_contact(stage: _Stage, picture: Picture, foot: tuple[int, int, int]) -> Picture:
    """Darkens the ground or water below a subject, so that it stands instead of floating."""
    row, column, width = foot
    side = stage.shape[0]
    down = (stage.rows * side - row) / (0.05 * side)
    across = (stage.columns * side - column - 0.15 * stage.sun_side * width) / (0.6 * width)
    shadow = 0.5 * np.exp(-(down**2) - across**4)
    return _mix(picture, (0.04, 0.05, 0.1), shadow.astype(np.float32))


def _paint_fog(stage: _Stage, picture: Picture) -> Picture:
    """Veils everything, most at the horizon."""
    veil = np.clip(0.42 + 0.1 * stage.noise(SOFT, stretch=2.0), 0.15, 0.62)
    far = np.clip(1.35 - np.abs(stage.rows - stage.horizon) * 1.8, 0.5, 1.2)
    return _mix(picture, stage.light.haze, veil * far)


def _paint_rain(stage: _Stage, picture: Picture) -> Picture:
    """Draws slanting streaks: noise, smeared again and again along one direction."""
    streaks = stage.noise(FINE).copy()
    for shift in (1, 2, 4, 8):
        streaks = 0.5 * (streaks + np.roll(streaks, (2 * shift, shift // 4), axis=(0, 1)))
    strokes = np.clip(streaks / streaks.std() - 1.3, 0, 1) * 0.3
    return _mix(picture * 0.9, (0.75, 0.82, 0.92), strokes)


def _flakes(stage: _Stage) -> Plane:
    """Round snowflakes of two sizes: opacity for each pixel."""
    flakes = np.zeros(stage.shape, dtype=np.float32)
    for share, count, opacity in ((2, 420, 0.65), (4, 160, 0.9)):
        radius = max(1, share * stage.shape[0] // SIDE_PX)
        seeds = np.zeros(stage.shape, dtype=np.float32)
        rows = stage.rng.integers(stage.shape[0], size=count)
        columns = stage.rng.integers(stage.shape[1], size=count)
        seeds[rows, columns] = opacity
        for down in range(-radius, radius + 1):
            for across in range(-radius, radius + 1):
                if down**2 + across**2 <= radius**2:
                    moved = np.roll(seeds, (down, across), axis=(0, 1))
                    np.maximum(flakes, moved, out=flakes)
    return flakes


def _add_grain(stage: _Stage, picture: Picture) -> Picture:
    """Film grain: mostly brightness, partly colour, at all scales."""
    shared = 0.012 * stage.noise(FINE) + 0.008 * stage.noise(PINK)
    own = np.stack([stage.noise(PINK) for _ in range(3)], axis=-1)
    grained: Picture = picture + shared[..., None] + 0.012 * own
    return grained


def draw_scene(spec: SceneSpec, *, side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """Draws a scene; the same specification always gives the same pixels.

    Args:
        spec: What to draw, seed included.
        side_px: Height and width.

    Returns:
        (side_px, side_px, 3) uint8, red green blue.
    """
    stage = _stage(spec, side_px)
    picture = _paint_sky(stage)
    if spec.time is Time.NIGHT and spec.weather is Weather.CLEAR:
        picture = _paint_stars(stage, picture)
    if spec.shows_luminary:
        picture = _paint_luminary(stage, picture)
    picture = _paint_clouds(stage, picture)
    if spec.has_mountains:
        picture = _paint_mountains(stage, picture)
    first = stage.horizon + 0.01
    if spec.water is not Water.NONE:
        boat = spec.subject is not None and spec.subject.thing is Thing.BOAT
        first = 0.93 if boat else stage.horizon + 0.14
        picture = _paint_water(stage, picture, first)
    if spec.has_trees:
        picture = _paint_trees(stage, picture, stage.horizon + 0.01)
    picture = _paint_land(stage, picture, first)
    if spec.weather is Weather.FOG:
        picture = _paint_fog(stage, picture)
    area = locate_subject(spec)
    if spec.subject is not None and area is not None:
        picture = _paint_subject(stage, picture, spec.subject, area)
    if spec.weather is Weather.RAIN:
        picture = _paint_rain(stage, picture)
    if spec.weather is Weather.SNOW:
        picture = _mix(picture, (0.96, 0.97, 1.0), _flakes(stage))
    picture = _add_grain(stage, picture)
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
