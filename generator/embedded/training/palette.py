"""Colours of scenes, linear in nothing: display values in 0..1, red green blue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.embedded.training.captions import Colour, Ground, Time

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GROUNDS", "LIGHTS", "SUBJECTS", "Light", "Rgb"]

Rgb = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Light:
    """How a time of day colours sky, land and subject."""

    zenith: Rgb
    middle: Rgb
    horizon: Rgb
    land: Rgb
    luminary: Rgb
    haze: Rgb


LIGHTS: Mapping[Time, Light] = {
    Time.DAY: Light(
        zenith=(0.16, 0.42, 0.86),
        middle=(0.38, 0.66, 0.95),
        horizon=(0.72, 0.88, 0.98),
        land=(1.0, 1.0, 0.96),
        luminary=(1.0, 0.96, 0.72),
        haze=(0.70, 0.82, 0.95),
    ),
    Time.DAWN: Light(
        zenith=(0.36, 0.48, 0.82),
        middle=(0.72, 0.66, 0.84),
        horizon=(1.0, 0.80, 0.66),
        land=(0.98, 0.88, 0.84),
        luminary=(1.0, 0.88, 0.62),
        haze=(0.88, 0.76, 0.80),
    ),
    Time.SUNSET: Light(
        zenith=(0.28, 0.20, 0.46),
        middle=(0.78, 0.36, 0.40),
        horizon=(0.99, 0.68, 0.32),
        land=(0.92, 0.70, 0.58),
        luminary=(1.0, 0.74, 0.30),
        haze=(0.80, 0.50, 0.45),
    ),
    Time.NIGHT: Light(
        zenith=(0.03, 0.05, 0.20),
        middle=(0.07, 0.11, 0.34),
        horizon=(0.16, 0.25, 0.50),
        land=(0.38, 0.45, 0.68),
        luminary=(0.96, 0.95, 0.82),
        haze=(0.16, 0.22, 0.42),
    ),
}

GROUNDS: Mapping[Ground, Rgb] = {
    Ground.GRASS: (0.36, 0.54, 0.20),
    Ground.WHEAT: (0.80, 0.64, 0.26),
    Ground.SAND: (0.84, 0.72, 0.50),
    Ground.SNOW: (0.86, 0.91, 0.99),
    Ground.HEATHER: (0.52, 0.36, 0.62),
}

# Saturated beyond anything else in a scene, so that a rule on pixels can find them.
SUBJECTS: Mapping[Colour, Rgb] = {
    Colour.RED: (0.86, 0.09, 0.10),
    Colour.ORANGE: (0.98, 0.49, 0.04),
    Colour.YELLOW: (0.98, 0.87, 0.08),
    Colour.GREEN: (0.04, 0.58, 0.24),
    Colour.BLUE: (0.08, 0.18, 0.86),
    Colour.PURPLE: (0.52, 0.10, 0.76),
    Colour.PINK: (0.98, 0.38, 0.68),
    Colour.WHITE: (0.97, 0.97, 0.95),
}
