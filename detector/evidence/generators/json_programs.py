"""Programs and services that write their settings as one JSON object: a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from detector.evidence.generators.automatic1111 import read_settings_text
from detector.evidence.generators.finding import FULLY, PARTLY, found
from detector.evidence.settings import read_settings
from detector.evidence.signals import parse_json_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from detector.evidence.signals import Signals
    from provenance.types import MetadataEvidence

__all__ = ["draw_things", "easy_diffusion_fields", "json_programs"]

Object: TypeAlias = "Mapping[str, Any]"

_SHARED_KEYS = frozenset({"parameters", "UserComment", "Model", "Comment", ""})
"""PNG keyword and EXIF tags that most programs use; EXIF ``Model`` is SwarmUI's older place."""


def _never(_: Object) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class _JsonProgram:
    """A program by the form of its JSON object.

    Attributes:
        tool: What to call it.
        recognises: Whether an object is this program's.
        keys: PNG keywords and EXIF tags under which it writes.
        inside: Member that holds the settings; empty when they stand at the top.
        version: Member of the settings that holds the program's version.
        from_picture: Whether settings say that it started from another picture.
    """

    tool: str
    recognises: Callable[[Object], bool]
    keys: frozenset[str] = _SHARED_KEYS
    inside: str = ""
    version: str = "version"
    from_picture: Callable[[Object], bool] = _never


def _has(*members: str) -> Callable[[Object], bool]:
    return lambda data: all(member in data for member in members)


def _has_any(*members: str) -> Callable[[Object], bool]:
    return lambda data: any(data.get(member) not in (None, "") for member in members)


def _is_fooocus(data: Object) -> bool:
    named = str(data.get("version", "")).startswith("Fooocus")
    return named or {"adm_guidance", "base_model"} <= data.keys()


def _below_full_strength(member: str) -> Callable[[Object], bool]:
    def test(data: Object) -> bool:
        strength = data.get(member)
        return isinstance(strength, int | float) and 0 <= strength < 1

    return test


_EASY_DIFFUSION = (
    ("use_stable_diffusion_model",),
    ("Stable Diffusion model", "Negative Prompt"),
)
"""Names of its requests' fields, and the names that it shows to people."""

_PROGRAMS = (
    _JsonProgram(
        "SwarmUI",
        lambda data: isinstance(data.get("sui_image_params"), dict),
        inside="sui_image_params",
        version="swarm_version",
        from_picture=_has_any("initimage", "initimagecreativity"),
    ),
    _JsonProgram(
        "RuinedFooocus",
        lambda data: data.get("software") == "RuinedFooocus",
        from_picture=_below_full_strength("denoise"),
    ),
    _JsonProgram("Fooocus", _is_fooocus),
    _JsonProgram(
        "Easy Diffusion",
        lambda data: any(all(key in data for key in keys) for keys in _EASY_DIFFUSION),
        from_picture=_has_any("init_image", "prompt_strength", "Prompt Strength"),
    ),
    _JsonProgram("Tensor.Art", _has("prompt"), frozenset({"generation_data"})),
    _JsonProgram("Stability Matrix", _has("PositivePrompt"), frozenset({"parameters-json"})),
    _JsonProgram(
        "Stability Matrix",
        _has("ProjectType"),
        frozenset({"smproj"}),
        inside="State",
        from_picture=_has_any("InputImage"),
    ),
    _JsonProgram("Hugging Face Space", _has("num_inference_steps", "resolution")),
)


def json_programs(signals: Signals) -> Iterator[MetadataEvidence]:
    """The programs of the table."""
    for text in signals.texts:
        if text.json is None:
            continue
        for program in _PROGRAMS:
            if text.key in program.keys and program.recognises(text.json):
                data = text.json.get(program.inside, {}) if program.inside else text.json
                data = data if isinstance(data, dict) else {}
                yield found(
                    program.tool,
                    text.place,
                    PARTLY if program.from_picture(data) else FULLY,
                    version=data.get(program.version),
                    settings=read_settings(data),
                )
                break


def easy_diffusion_fields(signals: Signals) -> Iterator[MetadataEvidence]:
    """Easy Diffusion's PNG form: one text chunk for each field."""
    fields = {text.key: text for text in signals.texts}
    for keys in _EASY_DIFFUSION:
        if all(key in fields for key in keys):
            started = {"prompt_strength", "Prompt Strength"} & fields.keys()
            yield found(
                "Easy Diffusion",
                fields[keys[0]].place,
                PARTLY if started else FULLY,
                settings=read_settings({key: text.text for key, text in fields.items()}),
            )
            return


def draw_things(signals: Signals) -> Iterator[MetadataEvidence]:
    """Draw Things: its name as creator tool beside a JSON comment or settings as text."""
    if not any(i.name == "CreatorTool" and i.value == "Draw Things" for _, i in signals.xmp):
        return
    for place, item in signals.xmp:
        where = f"{place} {item.name}"
        data = parse_json_object(item.value) if item.name == "UserComment" else None
        if data is not None and {"c", "model", "steps"} <= data.keys():
            started = _below_full_strength("strength")(data)
            settings = read_settings(data)
            yield found("Draw Things", where, PARTLY if started else FULLY, settings=settings)
            return
    for place, item in signals.xmp:
        settings = read_settings_text(item.value) if item.name == "description" else None
        if settings is not None:
            started = settings.strength is not None and settings.strength < 1
            yield found(
                "Draw Things",
                f"{place} {item.name}",
                PARTLY if started else FULLY,
                settings=settings,
            )
            return
