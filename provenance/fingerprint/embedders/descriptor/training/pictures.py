"""Draws the pictures that the descriptor learns from: no photograph and nobody else's picture.

Dead leaves (occluding shapes whose sizes follow a power law) have the edges, the occlusions and the
1/f spectrum of photographs (Lee, Mumford and Huang 2001; Baradad et al., "Learning to See by
Looking at Noise", 2021). Four neighbours in a row share palette and textures, so that a batch holds
pictures that look alike and are not copies.

python -m provenance.fingerprint.embedders.descriptor.training.pictures FOLDER --seed 1
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["GROUP", "SIDE_PX", "draw_group", "list_shards", "write_shards"]

Plane = NDArray[np.float32]
Pixels = NDArray[np.uint8]

SIDE_PX = 192
# Pictures that share a style.
GROUP = 4
SHARD_PICTURES = 400
# Textures are larger than a picture, so that leaves show different parts of them.
_TEXTURE_PX = 256


@dataclass(frozen=True, kw_only=True)
class _Style:
    """What the pictures of a group share."""

    palette: NDArray[np.float32]  # (n, 3), 0..255
    textures: list[Image.Image]
    kinds: list[str]
    leaves: int
    smallest_px: float
    textured_share: float
    horizon: bool


def _spectral_noise(rng: np.random.Generator, side_px: int, slope: float) -> Plane:
    """Gaussian noise whose amplitude falls with frequency**slope, zero mean, unit deviation."""
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.rfftfreq(side_px)[None, :])
    # Below four waves a picture the spectrum is level: no picture is one slope from edge to edge.
    amplitude = np.maximum(frequency, 4 / side_px / 2) ** -slope
    amplitude[0, 0] = 0
    stretch = np.exp(rng.normal(0, 0.4))
    white = rng.standard_normal((side_px, side_px)).astype(np.float32)
    noise = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=(side_px, side_px))
    if stretch > 1.3:  # grass, water, wood: longer one way than the other
        noise = np.asarray(
            Image.fromarray(noise.astype(np.float32)).resize(
                (side_px, int(side_px * stretch)), Image.Resampling.BILINEAR
            )
        )[:side_px]
    unit: Plane = ((noise - noise.mean()) / (noise.std() + 1e-6)).astype(np.float32)
    return unit


def _palette(rng: np.random.Generator) -> NDArray[np.float32]:
    """Colours that go together: around one or two hues, light and dark, seldom pure."""
    count = int(rng.integers(3, 9))
    base = rng.uniform(50, 205) + rng.normal(0, rng.uniform(5, 45), 3)
    spread = rng.uniform(15, 75)
    light = rng.normal(0, rng.uniform(20, 70), (count, 1))
    colours = base + light + rng.normal(0, spread, (count, 3)) * rng.uniform(0.2, 1.0, (count, 1))
    if rng.random() < 0.25:
        colours[: count // 2] += 255 - 2 * base
    return np.clip(colours, 0, 255).astype(np.float32)


def _pattern(rng: np.random.Generator) -> Plane:
    """A regular pattern, -1..1: stripes, checks, bricks, dots or rings, at any angle."""
    angle, period = rng.uniform(0, math.pi), rng.uniform(3, 40)
    y, x = np.mgrid[0:_TEXTURE_PX, 0:_TEXTURE_PX].astype(np.float32)
    u = (x * math.cos(angle) + y * math.sin(angle)) / period
    v = (-x * math.sin(angle) + y * math.cos(angle)) / period * rng.uniform(0.3, 2)
    kind = rng.integers(0, 5)
    drawn: Plane
    if kind == 0:
        drawn = np.sin(2 * math.pi * u)
    elif kind == 1:
        drawn = np.sign(np.sin(2 * math.pi * u) * np.sin(2 * math.pi * v))
    elif kind == 2:
        joints = ((v % 1) < 0.12) | (((u + 0.5 * (np.floor(v) % 2)) % 1) < 0.08)
        drawn = np.where(joints, np.float32(-1), np.float32(0.4))
    elif kind == 3:
        inside = np.hypot(u % 1 - 0.5, v % 1 - 0.5) < rng.uniform(0.15, 0.45)
        drawn = np.where(inside, np.float32(1), np.float32(-1))
    else:
        centre = rng.uniform(0, _TEXTURE_PX, 2)
        drawn = np.sin(2 * math.pi * np.hypot(x - centre[0], y - centre[1]) / period)
    return drawn.astype(np.float32)


def _texture(rng: np.random.Generator, palette: NDArray[np.float32]) -> Image.Image:
    """(256, 256) RGB: noise or a pattern between colours of the palette."""
    slope = rng.uniform(0.5, 1.9)
    first = _spectral_noise(rng, _TEXTURE_PX, slope)
    drawn = _pattern(rng) if rng.random() < 0.35 else first
    if rng.random() < 0.2:  # ridges, as of bark or rock
        drawn = 1 - 2 * np.abs(drawn)
    low, high = palette[rng.integers(0, len(palette), 2)]
    share = np.clip(0.5 + rng.uniform(0.15, 0.5) * drawn, 0, 1)[..., None]
    second = _spectral_noise(rng, _TEXTURE_PX, rng.uniform(0.6, 1.6))[..., None]
    mixed = (
        low + (high - low) * share + second * rng.uniform(2, 22) * (1 + 0.3 * rng.normal(0, 1, 3))
    )
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def _style(rng: np.random.Generator) -> _Style:
    palette = _palette(rng)
    kinds = ["ellipse", "polygon", "box", "blob", "stroke"]
    chosen = [k for k in kinds if rng.random() < 0.55] or ["ellipse"]
    return _Style(
        palette=palette,
        textures=[_texture(rng, palette) for _ in range(int(rng.integers(3, 7)))],
        kinds=chosen,
        leaves=int(np.exp(rng.uniform(np.log(12), np.log(300)))),
        smallest_px=float(np.exp(rng.uniform(np.log(2.5), np.log(20)))),
        textured_share=float(rng.uniform(0, 1)),
        horizon=bool(rng.random() < 0.35),
    )


def _outline(
    rng: np.random.Generator, kind: str, centre: tuple[float, float], radius: float
) -> list[tuple[float, float]]:
    """Corners of a leaf."""
    x, y = centre
    turn, flat = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 1)
    if kind == "stroke":
        flat, kind = rng.uniform(0.03, 0.15), "box"
        radius *= 1.8
    if kind == "polygon":
        angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 9))))
        radii = radius * rng.uniform(0.6, 1.1, len(angles))
    elif kind == "box":
        # Upright as often as not: houses, doors and pages are.
        turn = turn if rng.random() < 0.5 else 0.0
        corner = math.atan(flat)
        angles = np.array([corner, math.pi - corner, math.pi + corner, -corner])
        radii, flat = np.full(4, radius), 1.0
    else:
        angles = np.linspace(0, 2 * math.pi, 24, endpoint=False)
        radii = np.full(24, radius)
        if kind == "blob":
            for wave in range(2, 6):
                size = rng.normal(0, 0.35 / wave)
                radii = radii * (1 + size * np.cos(wave * angles + rng.uniform(0, 2 * math.pi)))
    px, py = radii * np.cos(angles), radii * np.sin(angles) * flat
    return list(
        zip(
            (x + px * math.cos(turn) - py * math.sin(turn)).tolist(),
            (y + px * math.sin(turn) + py * math.cos(turn)).tolist(),
            strict=True,
        )
    )


def _fill(rng: np.random.Generator, style: _Style, size: tuple[int, int]) -> Image.Image:
    """What a leaf is covered with: texture, or colour with a shade from side to side."""
    width, height = size
    if rng.random() < style.textured_share:
        texture = style.textures[rng.integers(0, len(style.textures))]
        if width < _TEXTURE_PX and height < _TEXTURE_PX:
            left = int(rng.integers(0, _TEXTURE_PX - width + 1))
            top = int(rng.integers(0, _TEXTURE_PX - height + 1))
            part = texture.crop((left, top, left + width, top + height))
        else:
            part = texture.resize(size)
        return part.point(
            [
                int(v * light) if v * light < 255 else 255
                for light in [rng.uniform(0.5, 1.4)]
                for v in range(256)
            ]
            * 3
        )
    colour = style.palette[rng.integers(0, len(style.palette))] + rng.normal(0, 12, 3)
    slope = rng.normal(0, 30, 2)
    corners = [[-slope.sum(), slope[0] - slope[1]], [slope[1] - slope[0], slope.sum()]]
    pixels = np.clip(colour + np.array(corners)[..., None] / 2, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)


def _put_leaf(
    rng: np.random.Generator,
    picture: Image.Image,
    style: _Style,
    centre: tuple[float, float],
    radius: float,
) -> None:
    corners = _outline(rng, style.kinds[rng.integers(0, len(style.kinds))], centre, radius)
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    left, top = max(0, int(min(xs))), max(0, int(min(ys)))
    right, bottom = min(picture.width, int(max(xs)) + 2), min(picture.height, int(max(ys)) + 2)
    if right - left < 1 or bottom - top < 1:
        return
    mask = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in corners], fill=255)
    picture.paste(_fill(rng, style, mask.size), (left, top), mask)


def _ground(rng: np.random.Generator, style: _Style) -> Image.Image:
    if rng.random() < 0.4:
        light = _fill(rng, style, (SIDE_PX, SIDE_PX))
    else:
        light = style.textures[0].resize((SIDE_PX, SIDE_PX))
    return light.copy()


def _light(rng: np.random.Generator, pixels: Plane) -> Pixels:
    """Light that changes over the picture, grain, and the contrast of a camera."""
    shade = np.exp(rng.uniform(0, 0.25) ** 1.5 * _spectral_noise(rng, SIDE_PX, 1.7))[..., None]
    lit = pixels * shade + rng.normal(0, rng.uniform(0, 6), pixels.shape)
    if rng.random() < 0.3:
        distance = np.linspace(-1, 1, SIDE_PX) ** 2
        lit = lit * (
            1 - rng.uniform(0.1, 0.5) * (distance[:, None, None] + distance[None, :, None]) / 2
        )
    lit = 255 * np.clip(lit / 255, 0, 1) ** rng.uniform(0.6, 1.6)
    return np.asarray(np.clip(lit, 0, 255).astype(np.uint8))


def _draw(rng: np.random.Generator, style: _Style) -> Pixels:
    picture = _ground(rng, style)
    horizon = rng.uniform(0.2, 0.7) * SIDE_PX if style.horizon else 0.0
    count = max(3, int(style.leaves * rng.uniform(0.7, 1.4)))
    # P(radius) ~ radius**-3 between the smallest and half the picture: scale invariant.
    smallest, largest = style.smallest_px, SIDE_PX * 0.55
    u = rng.random(count)
    radii = (smallest**-2 + u * (largest**-2 - smallest**-2)) ** -0.5
    if count > 40:
        radii = np.sort(radii)[::-1] if rng.random() < 0.6 else radii
    places = rng.uniform(-0.05, 1.05, (count, 2)) * SIDE_PX
    if style.horizon:
        places[:, 1] = horizon + (SIDE_PX - horizon) * rng.random(count) ** rng.uniform(0.6, 2)
        radii = radii * (0.3 + 0.9 * (places[:, 1] - horizon) / (SIDE_PX - horizon))
    blur_at = int(rng.integers(0, count)) if rng.random() < 0.4 else -1
    for index in range(count):
        if index == blur_at:  # what is behind is out of focus
            picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.7, 5))))
        _put_leaf(rng, picture, style, (places[index, 0], places[index, 1]), max(1.0, radii[index]))
    for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.6 else 0):  # subjects, in front
        spot = rng.uniform(0.2, 0.8, 2) * SIDE_PX
        _put_leaf(rng, picture, style, (spot[0], spot[1]), float(rng.uniform(12, 70)))
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2))))
    return _light(rng, np.asarray(picture, dtype=np.float32))


def draw_group(seed: int, index: int) -> Pixels:
    """(4, 192, 192, 3): different pictures in one style."""
    rng = np.random.default_rng([seed, index])
    style = _style(rng)
    return np.stack([_draw(rng, style) for _ in range(GROUP)])


def list_shards(folder: Path) -> list[Path]:
    """Whole shards, in order."""
    return sorted(folder.glob("pictures-*.npy"))


def write_shards(folder: Path, *, count: int, seed: int, first: int = 0) -> None:
    """Draws ``count`` pictures in files of 400; files that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = SHARD_PICTURES // GROUP
    for shard in range(first, -(-count // SHARD_PICTURES)):
        target = folder / f"pictures-{shard:04d}.npy"
        if target.exists():
            continue
        drawn = np.concatenate([draw_group(seed, shard * groups + g) for g in range(groups)])
        partial = folder / f"partial-{shard:04d}.npy"
        np.save(partial, drawn)
        # Renamed last: a shard that exists is whole.
        partial.replace(target)
        print(f"shard {shard}: {len(drawn)} pictures", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="draw the pictures that the descriptor learns from"
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    given = parser.parse_args()
    write_shards(given.folder, count=given.count, seed=given.seed, first=given.first)


if __name__ == "__main__":
    main()
