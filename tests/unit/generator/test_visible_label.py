"""The label that people see: where it is, that it can be read, that it leaves the rest alone."""

from __future__ import annotations

import numpy as np
import pytest

from generator.visible_label import LABEL_CREATED, LABEL_EDITED, draw_label
from generator.wiring import _label_text
from provenance.errors import ConfigError
from provenance.testing.pictures import natural_picture
from provenance.types import RasterImage


def flat(value: int, *, width: int = 512, height: int = 512) -> RasterImage:
    return RasterImage(np.full((height, width, 3), value, np.uint8))


def changed_box(before: RasterImage, after: RasterImage) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of all that changed."""
    rows, columns = np.nonzero((before.pixels != after.pixels).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def luminance(pixels: np.ndarray) -> np.ndarray:
    """Source: WCAG 2.2, "relative luminance"."""
    share = pixels.astype(np.float64) / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_label_sits_in_the_lower_right_corner_and_grows_with_the_picture(side: int) -> None:
    before = natural_picture(side, side, seed=1)
    left, top, right, bottom = changed_box(before, draw_label(before, LABEL_CREATED))
    assert left > side // 2
    assert top > side * 0.85
    assert side * 0.9 < right < side
    assert side * 0.9 < bottom < side
    assert bottom - top >= max(15, side * 0.03)


@pytest.mark.parametrize("ground", [0, 60, 109, 110, 128, 200, 255])
def test_letters_stand_out_from_their_plate_on_any_ground(ground: int) -> None:
    before = flat(ground)
    after = draw_label(before, LABEL_EDITED)
    left, top, right, bottom = changed_box(before, after)
    inside = luminance(after.pixels[top:bottom, left:right])
    plate = np.median(inside)
    ink = inside.max() if plate < 0.3 else inside.min()
    light, dark = max(ink, plate), min(ink, plate)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_label_on_a_small_picture_stays_inside_it() -> None:
    before = flat(128, width=64, height=24)
    after = draw_label(before, "A label that is far too long for this picture")
    assert after.pixels.shape == before.pixels.shape


def test_long_label_is_set_smaller() -> None:
    before = flat(128)
    left, _, _, _ = changed_box(before, draw_label(before, "M" * 30))
    assert left > 512 * 0.3


def test_drawing_twice_gives_the_same_pixels() -> None:
    picture = natural_picture(256, 256, seed=2)
    first, second = (draw_label(picture, LABEL_CREATED) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels)


@pytest.mark.parametrize("text", ["x" * 61, "two\nlines", "bell\x07"])
def test_label_text_that_is_no_short_line_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"generator\.label_text"):
        _label_text(text)


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("AI 生成", "生成"),
        ("Généré par IA", "é"),
        ("Сделано ИИ", "Сделано"),
        ("نص آلي", "نص"),
        ("AI 🤖", "🤖"),
    ],
)
def test_label_text_that_the_font_cannot_draw_is_refused(text: str, lacking: str) -> None:
    assert _label_text("KI-generiert (c) 2026") == "KI-generiert (c) 2026"
    with pytest.raises(ConfigError, match=rf"generator\.label_text.* no {lacking}.*spell it"):
        _label_text(text)
