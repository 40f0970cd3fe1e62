"""Brings the settings that each generator spells its own way into one shape. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from detector.evidence.signals import as_plain
from provenance.types import GenerationSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_settings"]

MAX_PROMPT_CHARACTERS = 20_000

_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "model": (
        "model",
        "modelname",
        "basemodel",
        "basemodelname",
        "usestablediffusionmodel",
        "stablediffusionmodel",
        "modelweights",
        "ckptname",
        "unetname",
    ),
    "model_hash": ("modelhash", "basemodelhash"),
    "sampler": ("sampler", "samplername"),
    "scheduler": ("scheduler", "scheduletype", "noiseschedule"),
    "steps": ("steps", "numinferencesteps"),
    "guidance": ("cfgscale", "cfg", "guidancescale", "scale"),
    "seed": ("seed", "noiseseed"),
    "width": ("width",),
    "height": ("height",),
    "size": ("size", "resolution"),
    "strength": (
        "denoisingstrength",
        "denoise",
        "strength",
        "promptstrength",
        "initimagecreativity",
    ),
    "clip_skip": ("clipskip",),
    "prompt": ("prompt", "positiveprompt", "c"),
    "negative_prompt": ("negativeprompt", "negative", "uc"),
}
"""Field to the keys under which programs write it, lower case, without blanks and joints."""

_SIZE = re.compile(r"\(?\s*(\d{1,6})\s*[x×,]\s*(\d{1,6})\s*\)?")


def read_settings(values: Mapping[str, object]) -> GenerationSettings | None:
    """The settings among `values`, spelled in any program's way; None when there are none.

    Args:
        values: Keys and values as a program wrote them: numbers, or texts that hold numbers.
    """
    by_key = {re.sub(r"[ _-]", "", key).lower(): value for key, value in values.items()}
    raw = {
        field: next((by_key[key] for key in keys if by_key.get(key) is not None), None)
        for field, keys in _SPELLINGS.items()
    }
    width, height = _size(raw)
    model, model_hash = _model(raw)
    settings = GenerationSettings(
        model=model,
        model_hash=model_hash,
        sampler=_word(raw["sampler"]),
        scheduler=_word(raw["scheduler"]),
        steps=_whole(raw["steps"]),
        guidance=_number(raw["guidance"]),
        seed=_whole(raw["seed"]),
        width_px=width,
        height_px=height,
        strength=_number(raw["strength"]),
        clip_skip=_whole(raw["clip_skip"]),
        prompt=_prompt(raw["prompt"]),
        negative_prompt=_prompt(raw["negative_prompt"]),
    )
    return None if settings == GenerationSettings() else settings


def _number(value: object) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    shown = as_plain(value)
    return shown if isinstance(shown, int | float) else None


def _whole(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,20}", value.strip()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if abs(value) < 2**64 else None  # Seeds have up to 64 bits.


def _word(value: object) -> str | None:
    shown = as_plain(value)
    return shown if isinstance(shown, str) else None


def _size(raw: Mapping[str, object]) -> tuple[int | None, int | None]:
    width, height = _whole(raw["width"]), _whole(raw["height"])
    size = raw["size"]
    if width is None and height is None and isinstance(size, str):
        match = _SIZE.fullmatch(size.strip()[:40])
        if match:
            return int(match[1]), int(match[2])
    return width, height


def _model(raw: Mapping[str, object]) -> tuple[str | None, str | None]:
    """(name without folders, hash); both may stand in one object."""
    name, digest = raw["model"], raw["model_hash"]
    if isinstance(name, dict):
        digest = digest or name.get("hash")
        keys = ("name", "model_name", "modelFileName", "label")
        name = next((name[key] for key in keys if isinstance(name.get(key), str)), None)
    if isinstance(name, str):
        # A path would tell where somebody keeps files, and often under which name.
        name = re.split(r"[\\/]", name.strip())[-1]
    return _word(name), _word(digest)


def _prompt(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    return value.strip()[:MAX_PROMPT_CHARACTERS]
