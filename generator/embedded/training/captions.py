"""What a scene shows, and the sentences that say so; free of pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Colour",
    "Ground",
    "SceneSpec",
    "Side",
    "Split",
    "Subject",
    "Thing",
    "Time",
    "Water",
    "Weather",
    "add_filler",
    "find_thing",
    "sample_spec",
    "split_of",
    "write_caption",
]


class Thing(StrEnum):
    """Objects the model can draw as the main subject."""

    HOUSE = "house"
    TREE = "tree"
    TOWER = "tower"
    BOAT = "boat"
    BALLOON = "balloon"
    FLOWER = "flower"
    TENT = "tent"


class Colour(StrEnum):
    """Main colours of a subject."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"
    PINK = "pink"
    WHITE = "white"


class Side(StrEnum):
    """Where the subject stands."""

    LEFT = "left"
    CENTRE = "centre"
    RIGHT = "right"


class Time(StrEnum):
    """Light of the scene."""

    DAY = "day"
    DAWN = "dawn"
    SUNSET = "sunset"
    NIGHT = "night"


class Weather(StrEnum):
    """State of the air."""

    CLEAR = "clear"
    CLOUDY = "cloudy"
    FOG = "fog"
    RAIN = "rain"
    SNOW = "snow"


class Ground(StrEnum):
    """What the land is made of."""

    GRASS = "grass"
    WHEAT = "wheat"
    SAND = "sand"
    SNOW = "snow"
    HEATHER = "heather"


class Water(StrEnum):
    """Water in the middle distance."""

    NONE = "none"
    LAKE = "lake"
    SEA = "sea"


class Split(StrEnum):
    """Which half of the data a scene belongs to."""

    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The main object; ``size`` is its height as a share of the picture's."""

    thing: Thing
    colour: Colour
    side: Side
    size: float


@dataclass(frozen=True, kw_only=True)
class SceneSpec:
    """Everything a caption may tell; ``seed`` settles what it doesn't."""

    seed: int
    subject: Subject | None
    time: Time
    weather: Weather
    ground: Ground
    water: Water
    has_mountains: bool
    has_trees: bool
    shows_luminary: bool


# Shares are judgements, not measurements: plain weather and daylight more often, as people ask.
_TIMES = {Time.DAY: 0.4, Time.DAWN: 0.15, Time.SUNSET: 0.2, Time.NIGHT: 0.25}
_WEATHERS = {
    Weather.CLEAR: 0.5,
    Weather.CLOUDY: 0.2,
    Weather.FOG: 0.1,
    Weather.RAIN: 0.1,
    Weather.SNOW: 0.1,
}
_GROUNDS = {
    Ground.GRASS: 0.4,
    Ground.WHEAT: 0.15,
    Ground.SAND: 0.15,
    Ground.SNOW: 0.15,
    Ground.HEATHER: 0.15,
}
_WATERS = {Water.NONE: 0.6, Water.LAKE: 0.25, Water.SEA: 0.15}
# One scene in eight is a landscape without a subject.
_SUBJECT_SHARE = 0.88
_SIZES: Mapping[Thing, tuple[float, float]] = {
    Thing.HOUSE: (0.34, 0.5),
    Thing.TREE: (0.42, 0.6),
    Thing.TOWER: (0.48, 0.68),
    Thing.BOAT: (0.36, 0.5),
    Thing.BALLOON: (0.38, 0.52),
    Thing.FLOWER: (0.52, 0.7),
    Thing.TENT: (0.3, 0.42),
}

# A subject of the same colour as what is behind it could not be seen.
_GROUND_CLASH = {
    Ground.GRASS: {Colour.GREEN},
    Ground.WHEAT: {Colour.YELLOW, Colour.ORANGE},
    Ground.SAND: {Colour.YELLOW, Colour.ORANGE},
    Ground.SNOW: {Colour.WHITE},
    Ground.HEATHER: {Colour.PURPLE, Colour.PINK},
}
# Half of a tall subject stands before the sky.
_SKY_CLASH = {
    Time.DAY: {Colour.BLUE},
    Time.DAWN: {Colour.PINK},
    Time.SUNSET: {Colour.ORANGE, Colour.PINK},
    Time.NIGHT: set[Colour](),
}
# White vanishes in what is white itself.
_WHITE_WEATHERS = {Weather.FOG, Weather.SNOW, Weather.CLOUDY}

_T = TypeVar("_T")


def _pick(rng: np.random.Generator, shares: Mapping[_T, float]) -> _T:
    index = int(rng.choice(len(shares), p=np.fromiter(shares.values(), dtype=np.float64)))
    return list(shares)[index]


def _clashes(spec: SceneSpec) -> bool:
    if spec.subject is None:
        return False
    colour, thing = spec.subject.colour, spec.subject.thing
    if colour is Colour.WHITE and spec.weather in _WHITE_WEATHERS:
        return True
    if thing is Thing.BALLOON or colour is not Colour.BLUE:
        sky = colour in _SKY_CLASH[spec.time]
    else:
        sky = False
    water = thing is Thing.BOAT and colour is Colour.BLUE
    return sky or water or colour in _GROUND_CLASH[spec.ground]


def _sample_subject(rng: np.random.Generator) -> Subject | None:
    if rng.random() > _SUBJECT_SHARE:
        return None
    thing = list(Thing)[rng.integers(len(Thing))]
    return Subject(
        thing=thing,
        colour=list(Colour)[rng.integers(len(Colour))],
        side=_pick(rng, {Side.LEFT: 0.25, Side.CENTRE: 0.5, Side.RIGHT: 0.25}),
        size=float(rng.uniform(*_SIZES[thing])),
    )


def _sample_any(rng: np.random.Generator) -> SceneSpec:
    subject = _sample_subject(rng)
    water = _pick(rng, _WATERS)
    if subject is not None and subject.thing is Thing.BOAT:
        water = Water.LAKE if rng.random() < 0.5 else Water.SEA
    if subject is not None and subject.thing is Thing.FLOWER:
        water = Water.NONE
    weather = _pick(rng, _WEATHERS)
    return SceneSpec(
        seed=int(rng.integers(2**31)),
        subject=subject,
        time=_pick(rng, _TIMES),
        weather=weather,
        ground=_pick(rng, _GROUNDS),
        water=water,
        has_mountains=bool(rng.random() < (0.6 if subject is None else 0.35)),
        has_trees=bool(rng.random() < (0.5 if subject is None else 0.3)),
        shows_luminary=bool(weather is Weather.CLEAR and rng.random() < 0.6),
    )


def sample_spec(rng: np.random.Generator, split: Split) -> SceneSpec:
    """Draws one scene of a split, subject never hidden in its own colour."""
    while True:
        spec = _sample_any(rng)
        if not _clashes(spec) and split_of(spec) is split:
            return spec


def split_of(spec: SceneSpec) -> Split:
    """Answers the split of a scene: one combination of ten is kept from training.

    The key is what is asked for (subject, colour, time, ground, water), not the seed, so a test
    prompt's combination was never seen, whatever its pixels and words.
    """
    subject = "none" if spec.subject is None else f"{spec.subject.colour} {spec.subject.thing}"
    relief = spec.has_mountains if spec.subject is None else False
    key = "|".join((subject, spec.time, spec.ground, spec.water, str(relief)))
    digest = hashlib.sha256(key.encode()).digest()
    return Split.TEST if digest[0] % 10 == 0 else Split.TRAIN


# Synonyms; the first one is the common word and used half of the time.
_THING_WORDS: Mapping[Thing, Sequence[str]] = {
    Thing.HOUSE: ("house", "cottage", "home", "cabin"),
    Thing.TREE: ("tree",),
    Thing.TOWER: ("tower", "lighthouse"),
    Thing.BOAT: ("boat", "sailboat", "ship"),
    Thing.BALLOON: ("balloon", "hot air balloon"),
    Thing.FLOWER: ("flower", "blossom"),
    Thing.TENT: ("tent",),
}
_COLOUR_WORDS: Mapping[Colour, Sequence[str]] = {
    Colour.RED: ("red", "bright red", "crimson"),
    Colour.ORANGE: ("orange",),
    Colour.YELLOW: ("yellow", "bright yellow"),
    Colour.GREEN: ("green", "emerald"),
    Colour.BLUE: ("blue", "deep blue"),
    Colour.PURPLE: ("purple", "violet"),
    Colour.PINK: ("pink",),
    Colour.WHITE: ("white",),
}
_GROUND_WORDS: Mapping[Ground, Sequence[str]] = {
    Ground.GRASS: ("a green hill", "a grassy hill", "a green meadow", "a hill", "a green field"),
    Ground.WHEAT: ("a wheat field", "a golden field", "golden hills"),
    Ground.SAND: ("a sandy beach", "sand dunes", "the desert", "a beach"),
    Ground.SNOW: ("a snowy field", "a snowy hill", "snow"),
    Ground.HEATHER: ("a lavender field", "purple heather", "a purple field"),
}
_TIME_WORDS: Mapping[Time, Sequence[str]] = {
    Time.DAY: ("by day", "at noon", "in the afternoon", "in sunlight"),
    Time.DAWN: ("at dawn", "in the morning", "at sunrise"),
    Time.SUNSET: ("at sunset", "in the evening", "at dusk"),
    Time.NIGHT: ("at night", "at night", "by moonlight", "at midnight"),
}
_WEATHER_WORDS: Mapping[Weather, Sequence[str]] = {
    Weather.CLEAR: ("under a clear sky",),
    Weather.CLOUDY: ("under a cloudy sky", "with clouds", "under an overcast sky"),
    Weather.FOG: ("in fog", "in mist", "on a foggy day"),
    Weather.RAIN: ("in the rain", "in rainy weather", "raining"),
    Weather.SNOW: ("in falling snow", "in snowfall", "snowing"),
}
_WATER_WORDS: Mapping[Water, Sequence[str]] = {
    Water.NONE: ("",),
    Water.LAKE: ("a lake", "a calm lake", "water"),
    Water.SEA: ("the sea", "the ocean"),
}
_OPENINGS = ("", "", "", "a photo of ", "a picture of ", "a painting of ", "a beautiful view of ")


def find_thing(caption: str) -> Thing | None:
    """The subject that a caption names; None for a landscape without one."""
    words = caption.replace(",", " ").split()
    for thing, names in _THING_WORDS.items():
        if any(name.split()[-1] in words for name in names):
            return thing
    return None


def _choose(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[0] if rng.random() < 0.5 else words[int(rng.integers(len(words)))]


def _article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeio" else f"a {phrase}"


def _tell_subject(rng: np.random.Generator, spec: SceneSpec, subject: Subject) -> str:
    named = (
        f"{_choose(rng, _COLOUR_WORDS[subject.colour])} {_choose(rng, _THING_WORDS[subject.thing])}"
    )
    low, high = _SIZES[subject.thing]
    middle = (low + high) / 2
    if rng.random() < 0.25:
        named = ("big " if subject.size > middle else "small ") + named
    place = _choose(rng, _GROUND_WORDS[spec.ground])
    if subject.thing is Thing.BOAT:
        place = _choose(rng, _WATER_WORDS[spec.water])
    joint = {Thing.BALLOON: "over", Thing.FLOWER: "in"}.get(subject.thing, "on")
    sentence = _article(named)
    if rng.random() < 0.85:
        sentence += f" {joint} {place}"
    if subject.side is not Side.CENTRE and rng.random() < 0.5:
        sentence += f" on the {subject.side}"
    return sentence


def _tell_landscape(rng: np.random.Generator, spec: SceneSpec) -> str:
    ground = _choose(rng, _GROUND_WORDS[spec.ground])
    water = _choose(rng, _WATER_WORDS[spec.water])
    if spec.has_mountains:
        return f"mountains behind {water}" if water else f"mountains over {ground}"
    if water:
        return f"{ground} by {water}"
    return f"a landscape with {ground}" if rng.random() < 0.5 else ground


def _tell_details(rng: np.random.Generator, spec: SceneSpec) -> list[str]:
    details = []
    # Night and dusk are nearly always named by people who want them, daylight seldom is.
    if rng.random() < (0.5 if spec.time is Time.DAY else 0.97):
        details.append(_choose(rng, _TIME_WORDS[spec.time]))
    if rng.random() < (0.3 if spec.weather is Weather.CLEAR else 0.95):
        details.append(_choose(rng, _WEATHER_WORDS[spec.weather]))
    if spec.subject is not None and spec.has_mountains and rng.random() < 0.8:
        details.append("with mountains in the distance")
    if spec.has_trees and rng.random() < 0.8:
        details.append("with trees in the background")
    if spec.subject is not None and spec.subject.thing is not Thing.BOAT:
        water = _choose(rng, _WATER_WORDS[spec.water])
        if water and rng.random() < 0.9:
            details.append(f"near {water}")
    if spec.shows_luminary and rng.random() < 0.7:
        details.append("with a full moon" if spec.time is Time.NIGHT else "with the sun in the sky")
    return details


def write_caption(rng: np.random.Generator, spec: SceneSpec) -> str:
    """Says in one sentence what a scene shows; a subject's colour and name are always told."""
    if spec.subject is None:
        lead = _tell_landscape(rng, spec)
    else:
        lead = _tell_subject(rng, spec, spec.subject)
    details = _tell_details(rng, spec)
    rng.shuffle(details)
    joint = ", " if rng.random() < 0.4 else " "
    return _choose(rng, _OPENINGS) + joint.join([lead, *details])


# People ask with words the model doesn't know; it must learn to read past them.
_FILLERS = ("8k", "detailed", "realistic", "masterpiece", "trending", "hd", "nice", "my", "please")


def add_filler(rng: np.random.Generator, caption: str) -> str:
    """Puts a word that means nothing to the model somewhere into a caption."""
    words = caption.split()
    words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(_FILLERS)))
    return " ".join(words)
