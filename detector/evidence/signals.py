"""The one shape in which the rules see a file: texts with a key and a place, XMP properties."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from detector.evidence.exif import NAMES
from detector.evidence.xmp import XmpProperty, parse_xmp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.evidence.containers import FileMetadata
    from detector.evidence.stealth import HiddenText

__all__ = ["Signals", "Text", "as_plain", "parse_json_object", "read_signals"]


@dataclass(frozen=True)
class Text:
    """One text of a file.

    Attributes:
        place: For people: ``PNG tEXt parameters``, ``JPEG EXIF UserComment``.
        key: PNG keyword or EXIF tag name; empty for comments.
        text: Its value, by a stranger; never shown.
        parsed: The object itself, of a text that was an object within another.
    """

    place: str
    key: str
    text: str = field(repr=False)
    parsed: dict[str, Any] | None = field(default=None, repr=False)

    @cached_property
    def json(self) -> dict[str, Any] | None:
        """The text as a JSON object, or None; parsed once for all rules."""
        return self.parsed if self.parsed is not None else parse_json_object(self.text)

    def json_at(self, start: int) -> dict[str, Any] | None:
        """What begins at character `start` as a JSON object, or None."""
        return parse_json_object(self.text[start:])


@dataclass(frozen=True, slots=True)
class Signals:
    """What rules look at.

    Attributes:
        texts: PNG texts, EXIF tags, comments.
        xmp: Properties of all packets, each with the packet's place.
        problems: What could not be read, one sentence each.
    """

    texts: tuple[Text, ...]
    xmp: tuple[tuple[str, XmpProperty], ...]
    problems: tuple[str, ...]


def read_signals(found: FileMetadata, hidden: Sequence[HiddenText] = ()) -> Signals:
    """Brings raw metadata into the shape that rules see.

    Args:
        found: What the containers hold.
        hidden: What pixels hold; seen as if it stood in ``UserComment``, which has no form of its
            own either.
    """
    texts = [Text(f"{t.container} {t.key}".strip(), t.key, t.text) for t in found.texts]
    texts += [Text(tag.place, NAMES[tag.tag], tag.text) for tag in found.exif]
    texts += [Text(h.place, "UserComment", h.text) for h in hidden if h.text is not None]
    problems = list(found.problems)
    problems += [f"the text in the {h.place} does not unpack" for h in hidden if h.text is None]
    properties: list[tuple[str, XmpProperty]] = []
    for place, packet in found.xmp:
        parsed = parse_xmp(packet)
        if parsed is None:
            problems.append(f"{place} is not well-formed XML")
        else:
            properties += [(place, value) for value in parsed]
    texts += [
        Text(f"{place} {item.name}", item.name, item.value)
        for place, item in properties
        if item.namespace in _EXIF_NAMESPACES and item.name in ("UserComment", "ImageDescription")
    ]
    texts += [member for text in tuple(texts) for member in _members(text)]
    return Signals(tuple(texts), tuple(properties), tuple(problems))


_EXIF_NAMESPACES = ("http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/tiff/1.0/")
"""Editors copy EXIF texts into XMP under these, and may drop the EXIF block itself.

Source: XMP part 2 §3.2 and §3.3."""

_MEMBERS = (
    "parameters",
    "prompt",
    "workflow",
    "invokeai_metadata",
    "sd-metadata",
    "generation_data",
    "parameters-json",
    "smproj",
)
"""PNG keywords that tools put as members of one object when they save as JPEG or WebP."""


def _members(text: Text) -> Iterator[Text]:
    if text.key not in ("UserComment", "ImageDescription", "") or text.json is None:
        return
    for name in _MEMBERS:
        value = text.json.get(name)
        # What is not an object is a prompt in words, and no PNG text of its own.
        if isinstance(value, dict):
            yield Text(f"{text.place} {name}", name, "", value)
        elif isinstance(value, str) and (name == "parameters" or value.lstrip().startswith("{")):
            yield Text(f"{text.place} {name}", name, value)


def parse_json_object(text: str) -> dict[str, Any] | None:
    """`text` as a JSON object, or None. Trailing NULs, which some writers add, are dropped."""
    stripped = text.strip().strip("\0").strip()
    if not stripped.startswith("{"):
        return None
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


_LARGEST = 10**15
_PLAIN = re.compile(r"[\w .,+:()/x-]+", re.ASCII)


def as_plain(value: object, *, max_characters: int = 48) -> str | int | float | None:
    """`value` if it is a number or a short plain word fit to be shown, else None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        # JSON of strangers may hold NaN, infinities and integers of thousands of digits.
        return value if -_LARGEST < value < _LARGEST else None
    if isinstance(value, str):
        word = value.strip()
        return word if len(word) <= max_characters and _PLAIN.fullmatch(word) else None
    return None
