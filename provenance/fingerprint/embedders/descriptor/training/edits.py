"""What people do to pictures, as tensor operations over a whole batch.

Crops, turns, borders, pasting on other pictures, screens and collages are one affine map
and a mask; then overlays, colour, blur, noise and JPEG. Pictures are (N, 3, side, side), 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional

__all__ = ["Editor", "Levels", "make_levels"]

# A batch at its full size, a half and a quarter: (N, 3, side, side) uint8 each.
Levels = Sequence[torch.Tensor]

_OVERLAYS = 400
_SCREENS = 300
_SPRITE_PX = 192
# ITU-T T.81, annex K, tables K.1 and K.2.
_LUMA = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113,
    92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
]  # fmt: skip
_CHROMA = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
] + [99] * 32  # fmt: skip
_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,!?:"


def _write(random: np.random.Generator, length: int) -> str:
    return "".join(_LETTERS[i] for i in random.integers(0, len(_LETTERS), length))


def _draw_overlay(random: np.random.Generator) -> Image.Image:
    """RGBA: caption, meme text with or without bars, logo or sticker."""
    layer = Image.new("RGBA", (_SPRITE_PX, _SPRITE_PX), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    kind = random.integers(0, 4)
    light = random.random() < 0.6
    ink, paper = ((255, 255, 255), (0, 0, 0)) if light else ((0, 0, 0), (255, 255, 255))
    if kind <= 1:  # lines at top and bottom
        size = float(random.uniform(14, 34))
        font = ImageFont.load_default(size)
        for top in [[4.0], [_SPRITE_PX - size - 8], [4.0, _SPRITE_PX - size - 8]][
            random.integers(0, 3)
        ]:
            if kind == 1:
                draw.rectangle((0, top - 4, _SPRITE_PX, top + size + 6), fill=(*paper, 255))
            words = _write(random, int(random.integers(5, 22)))
            draw.text(
                (_SPRITE_PX / 2, top),
                words,
                font=font,
                anchor="ma",
                fill=(*ink, 255),
                stroke_width=2,
                stroke_fill=(*paper, 255),
            )
    elif kind == 2:  # stickers
        for _ in range(int(random.integers(1, 4))):
            x, y, r = (float(v) for v in random.uniform([0, 0, 8], [_SPRITE_PX, _SPRITE_PX, 36]))
            colour = (*(int(v) for v in random.integers(0, 256, 3)), 255)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    else:  # a mark or words across
        font = ImageFont.load_default(float(random.uniform(12, 50)))
        alpha = int(random.integers(70, 256))
        for _ in range(int(random.integers(1, 6))):
            x, y = (float(v) for v in random.uniform(0, _SPRITE_PX * 0.7, 2))
            draw.text(
                (x, y), _write(random, int(random.integers(3, 14))), font=font, fill=(*ink, alpha)
            )
    return layer


def _draw_screen(random: np.random.Generator) -> Image.Image:
    """A made-up screen: bars, buttons, lines of text, on one colour."""
    dark = random.random() < 0.4
    ground = random.integers(0, 50, 3) if dark else random.integers(200, 256, 3)
    screen = Image.new("RGB", (_SPRITE_PX, _SPRITE_PX), tuple(int(v) for v in ground))
    draw = ImageDraw.Draw(screen)
    for _ in range(int(random.integers(2, 12))):
        x, y = (float(v) for v in random.uniform(-10, _SPRITE_PX, 2))
        w, h = (float(v) for v in np.exp(random.uniform(np.log(6), np.log(192), 2)))
        near = (
            ground + random.integers(-60, 60, 3)
            if random.random() < 0.7
            else random.integers(0, 256, 3)
        )
        draw.rounded_rectangle(
            (x, y, x + w, y + h),
            radius=min(w, h) / 5,
            fill=tuple(int(v) for v in np.clip(near, 0, 255)),
        )
    font = ImageFont.load_default(float(random.uniform(6, 12)))
    ink = (230, 230, 230) if dark else (30, 30, 30)
    for _ in range(int(random.integers(0, 18))):
        x, y = (float(v) for v in random.uniform(0, _SPRITE_PX, 2))
        draw.text((x, y), _write(random, int(random.integers(4, 40))), font=font, fill=ink)
    return screen


def _stack(images: list[Image.Image]) -> torch.Tensor:
    pixels = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _rotation(angle: torch.Tensor) -> torch.Tensor:
    """(N,) radians to (N, 2, 2)."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)


def _dct_matrix() -> torch.Tensor:
    """(64, 64): the two-dimensional DCT-II of a block of 8, read line by line."""
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)[None, :]
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= math.sqrt(2)
    return torch.kron(matrix, matrix)


def _mix(matrix: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Mixes the channels of (N, 3, H, W) by a (3, 3) or (N, 3, 3) matrix."""
    rows = []
    for i in range(3):
        row = matrix[..., i, :]
        parts = [row[..., j].reshape(-1, 1, 1) * seen[:, j] for j in range(3)]
        rows.append(parts[0] + parts[1] + parts[2])
    return torch.stack(rows, 1)


@dataclass(frozen=True, kw_only=True)
class _Placing:
    """Where the picture comes to lie: output coordinates to source coordinates, -1..1 each."""

    matrix: torch.Tensor  # (N, 2, 2)
    shift: torch.Tensor  # (N, 2)
    frame_scale: torch.Tensor  # (N, 2) half sides of the picture in the output
    frame_shift: torch.Tensor  # (N, 2)


def make_levels(pictures: torch.Tensor) -> Levels:
    """The pictures, (N, 3, side, side) uint8, with halves and quarters, averaged once."""
    halves = functional.avg_pool2d(pictures.float(), 2)
    quarters = functional.avg_pool2d(halves, 2)
    return [pictures, halves.round().to(torch.uint8), quarters.round().to(torch.uint8)]


class Editor:
    """Edits batches. Its sprites and every draw follow from the seed.

    Attributes:
        difficulty: 0..1; how often and how strongly `heavily` edits. A network that starts with
            the hardest edits learns colours, and nothing else for a long time.
    """

    def __init__(self, *, seed: int) -> None:
        random = np.random.default_rng(seed)
        self._overlays = _stack([_draw_overlay(random) for _ in range(_OVERLAYS)])
        self._screens = _stack([_draw_screen(random) for _ in range(_SCREENS)])
        self._generator = torch.Generator().manual_seed(seed)
        self._dct = _dct_matrix()
        self.difficulty = 1.0
        self._tables = torch.tensor([_LUMA, _CHROMA, _CHROMA], dtype=torch.float32).view(3, 64)

    def lightly(self, levels: Levels, side_px: int) -> torch.Tensor:
        """As a registry sees them: whole, nearly unchanged; (N, 3, side, side), 0..1."""
        count = len(levels[0])
        crop = self._uniform(count, 0.9, 1.0)
        crop = torch.where(self._chance(count, 0.5), crop, torch.ones_like(crop))
        placing = self._place(count, crop=crop, turn=torch.zeros(count))
        seen, _ = self._map(levels, placing, side_px)
        seen = self._recolour(seen, 0.25)
        return self._compress(seen, share=0.3, lowest=40)

    def heavily(self, levels: Levels, others: torch.Tensor, side_px: int) -> torch.Tensor:
        """As they come back. ``others``: pictures to paste upon, none of them in the batch."""
        count = len(levels[0])
        hard = self.difficulty
        # Below .5 the picture fills its frame; see `_place_heavily`.
        kind = torch.rand(count, generator=self._generator)
        kind = torch.where(self._chance(count, hard), kind, kind / 2)
        placing = self._place_heavily(count, kind)
        seen, inside = self._map(levels, placing, side_px)
        ground = self._grounds(count, others, kind, side_px)
        seen = seen * inside + ground * (1 - inside)
        seen = self._overlay(seen, 0.3 * hard)
        seen = self._recolour(seen, 0.2 + 0.4 * hard)
        seen = self._soften(seen, 0.25 * hard)
        noise = torch.randn(seen.shape, generator=self._generator)
        strength = self._uniform(count, 0, 0.12) * self._chance(count, 0.2 * hard)
        seen = (seen + noise * strength.view(-1, 1, 1, 1)).clamp(0, 1)
        return self._compress(seen, share=0.4, lowest=12)

    # -- where the picture lies

    def _place_heavily(self, count: int, kind: torch.Tensor) -> _Placing:
        """By `kind`: below .5 crop or nothing, border, screen (.62), collage (.72), paste (.82)."""
        crop = 1 - self._uniform(count, 0.0, 1.0) ** 1.2 * (0.2 + 0.48 * self.difficulty)
        whole = self._chance(count, 0.25) | ((kind >= 0.5) & self._chance(count, 0.7))
        crop = torch.where(whole, torch.ones_like(crop), crop)
        turn = self._uniform(count, -0.35, 0.35) * self._chance(count, 0.3 * self.difficulty)
        # Mirrors and quarter turns are not learnt: in use, the eight of them are averaged.
        placing = self._place(count, crop=crop, turn=turn)
        scale = torch.ones(count, 2)
        shift = torch.zeros(count, 2)
        border = (kind >= 0.5) & (kind < 0.62)
        width = self._uniform(count, 0.03, 0.4)
        scale[border] = 1 - width[border, None] * (
            0.4 + 0.6 * torch.rand(int(border.sum()), 2, generator=self._generator)
        )
        free = kind >= 0.62
        small = self._uniform(count, 0.42, 0.9)[:, None] * torch.exp(
            0.25 * torch.randn(count, 2, generator=self._generator)
        )
        scale[free] = small.clamp(0.35, 1.0)[free]
        place = 2 * torch.rand(count, 2, generator=self._generator) - 1
        shift[free] = (place * (1 - scale))[free]
        collage = (kind >= 0.72) & (kind < 0.82)
        corner = torch.randint(0, 2, (count, 2), generator=self._generator).float() * 2 - 1
        halves = self._chance(count, 0.5)[:, None] & torch.tensor([True, False])
        halves = torch.where(self._chance(count, 0.5)[:, None], halves, halves.flip(1))
        part = torch.where(halves, 1.0, 0.5)
        scale[collage] = part[collage]
        shift[collage] = (corner * (1 - part))[collage]
        return _Placing(
            matrix=placing.matrix, shift=placing.shift, frame_scale=scale, frame_shift=shift
        )

    def _place(self, count: int, *, crop: torch.Tensor, turn: torch.Tensor) -> _Placing:
        stretch = torch.exp(0.12 * torch.randn(count, generator=self._generator))
        sides = torch.stack([crop * stretch, crop / stretch], -1).clamp(max=1.0)
        sides = torch.where(crop[:, None] >= 1, torch.ones_like(sides), sides)
        matrix = _rotation(turn) * sides[:, None, :]
        shift = (2 * torch.rand(count, 2, generator=self._generator) - 1) * (1 - sides)
        ones = torch.ones(count, 2)
        return _Placing(
            matrix=matrix, shift=shift, frame_scale=ones, frame_shift=torch.zeros(count, 2)
        )

    def _map(
        self, levels: Levels, placing: _Placing, side_px: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels, and a mask of what the picture covers; what a turn uncovers there is black."""
        line = (torch.arange(side_px) + 0.5) * 2 / side_px - 1
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        frame = (grid[None] - placing.frame_shift[:, None, None]) / placing.frame_scale[
            :, None, None
        ]
        m, x, y = placing.matrix, frame[..., 0], frame[..., 1]
        source = torch.stack(
            [
                m[:, i, 0, None, None] * x
                + m[:, i, 1, None, None] * y
                + placing.shift[:, i, None, None]
                for i in (0, 1)
            ],
            -1,
        )
        inside = (frame.abs().amax(-1) <= 1).float()[:, None]
        # How many source pixels fall on one of the output: small pictures are averaged first.
        step = m.norm(dim=1).mean(1) / placing.frame_scale.amin(1) * levels[0].shape[-1] / side_px
        seen = torch.zeros(len(m), 3, side_px, side_px)
        for pictures, low, high in zip(levels, (0.0, 1.4, 3.0), (1.4, 3.0, 99.0), strict=True):
            chosen = ((step >= low) & (step < high)).nonzero()[:, 0]
            if len(chosen):
                seen[chosen] = functional.grid_sample(
                    pictures[chosen].float(), source[chosen], align_corners=False
                )
        seen /= 255
        return seen, inside

    def _grounds(
        self, count: int, others: torch.Tensor, kind: torch.Tensor, side_px: int
    ) -> torch.Tensor:
        """What is seen around the picture: a colour, a screen, three other pictures, or one."""
        plain = torch.rand(count, 3, 1, 1, generator=self._generator)
        grey = torch.randint(0, 2, (count, 1, 1, 1), generator=self._generator).float()
        plain = torch.where(self._chance(count, 0.6).view(-1, 1, 1, 1), grey, plain)
        ground = plain.expand(count, 3, side_px, side_px).clone()
        screen = (kind >= 0.62) & (kind < 0.72)
        self._lay(ground, screen, self._screens, side_px)
        self._lay(ground, kind >= 0.82, others, side_px)
        for row in (0, 1):
            for column in (0, 1):
                half = side_px // 2
                window = ground[
                    :, :, row * half : (row + 1) * half, column * half : (column + 1) * half
                ]
                self._lay(window, (kind >= 0.72) & (kind < 0.82), others, half)
        return ground

    def _lay(
        self, ground: torch.Tensor, chosen: torch.Tensor, pool: torch.Tensor, side_px: int
    ) -> None:
        count = int(chosen.sum())
        if count:
            drawn = (
                pool[torch.randint(0, len(pool), (count,), generator=self._generator)].float() / 255
            )
            ground[chosen] = functional.interpolate(
                drawn, (side_px, side_px), mode="bilinear", antialias=True
            )

    # -- what happens to its pixels

    def _overlay(self, seen: torch.Tensor, share: float) -> torch.Tensor:
        chosen = self._chance(len(seen), share)
        count = int(chosen.sum())
        if not count:
            return seen
        drawn = (
            self._overlays[torch.randint(0, _OVERLAYS, (count,), generator=self._generator)].float()
            / 255
        )
        drawn = functional.interpolate(drawn, seen.shape[-2:], mode="bilinear", antialias=True)
        seen = seen.clone()
        seen[chosen] = seen[chosen] * (1 - drawn[:, 3:]) + drawn[:, :3] * drawn[:, 3:]
        return seen

    def _recolour(self, seen: torch.Tensor, share: float) -> torch.Tensor:
        """Brightness, contrast, gamma, saturation, hue and grey."""
        count = len(seen)
        chosen = self._chance(count, share).float()
        luma = torch.tensor([0.299, 0.587, 0.114])
        grey_row = luma.expand(3, 3)
        saturation = torch.exp(self._uniform(count, -0.7, 0.6) * chosen)
        saturation = torch.where(self._chance(count, 0.15 * share), torch.zeros(count), saturation)
        # A turn about the grey axis is a turn of the hue.
        angle = self._uniform(count, -1.0, 1.0) * chosen * self._chance(count, 0.5)
        axis = torch.full((3,), 1 / math.sqrt(3))
        cross = torch.tensor(
            [[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]]
        )
        c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
        hue = c * torch.eye(3) + s * cross + (1 - c) * torch.outer(axis, axis)
        mix = saturation[:, None, None] * torch.eye(3) + (1 - saturation[:, None, None]) * grey_row
        contrast = torch.exp(self._uniform(count, -0.5, 0.5) * chosen)
        matrix = contrast[:, None, None] * (mix @ hue)
        bright = self._uniform(count, -0.25, 0.25) * chosen + 0.5 * (1 - contrast)
        out = _mix(matrix, seen) + bright.view(-1, 1, 1, 1)
        gamma = torch.exp(self._uniform(count, -0.5, 0.5) * chosen)
        return out.clamp(1e-4, 1) ** gamma.view(-1, 1, 1, 1)

    def _soften(self, seen: torch.Tensor, share: float) -> torch.Tensor:
        """Scaled down and up again, by 1.5 to 5: blur and small copies."""
        chosen = self._chance(len(seen), share).nonzero()[:, 0]
        if not len(chosen):
            return seen
        seen = seen.clone()
        side = seen.shape[-1]
        for part in chosen.chunk(3):
            small = max(8, int(side / float(self._uniform(1, 1.5, 5.0))))
            reduced = functional.interpolate(
                seen[part], (small, small), mode="bilinear", antialias=True
            )
            seen[part] = functional.interpolate(reduced, (side, side), mode="bicubic").clamp(0, 1)
        return seen

    def _compress(self, seen: torch.Tensor, *, share: float, lowest: float) -> torch.Tensor:
        """JPEG's loss at 4:4:4: blocks of 8, quantised by the standard's tables."""
        chosen = self._chance(len(seen), share)
        count = int(chosen.sum())
        if not count:
            return seen
        side = seen.shape[-1]
        quality = self._uniform(count, lowest, 95)
        scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
        tables = (self._tables[None] * scale.view(-1, 1, 1)).clamp(1, 255)[:, :, None]
        ycc = _mix(_TO_YCC, seen[chosen] * 255)
        ycc[:, 0] -= 128
        blocks = (
            ycc.view(count, 3, side // 8, 8, side // 8, 8).transpose(3, 4).reshape(count, 3, -1, 64)
        )
        rounded = torch.round((blocks @ self._dct.T) / tables) * tables
        back = (rounded @ self._dct).view(count, 3, side // 8, side // 8, 8, 8).transpose(3, 4)
        back = back.reshape(count, 3, side, side)
        back[:, 0] += 128
        seen = seen.clone()
        seen[chosen] = (_mix(torch.linalg.inv(_TO_YCC), back) / 255).clamp(0, 1)
        return seen

    def _uniform(self, count: int, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=self._generator)

    def _chance(self, count: int, share: float) -> torch.Tensor:
        return torch.rand(count, generator=self._generator) < share
