"""The one shape in which the rules see a file: texts with a key and a place, XMP properties."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from detector.evidence.exif import NAMES
from detector.evidence.xmp import XmpProperty, parse_xmp

if TYPE_CHECKING:
    from detector.evidence.containers import FileMetadata

__all__ = ["Signals", "Text", "as_plain", "parse_json_object", "read_signals"]


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a file.

    Attributes:
        place: For people: ``PNG tEXt parameters``, ``JPEG EXIF UserComment``.
        key: PNG keyword or EXIF tag name; empty for comments.
        text: Its value, by a stranger; never shown.
    """

    place: str
    key: str
    text: str = field(repr=False)


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


def read_signals(found: FileMetadata) -> Signals:
    """Brings raw metadata into the shape that rules see."""
    texts = [Text(f"{t.container} {t.key}".strip(), t.key, t.text) for t in found.texts]
    texts += [Text(tag.place, NAMES[tag.tag], tag.text) for tag in found.exif]
    properties: list[tuple[str, XmpProperty]] = []
    problems = list(found.problems)
    for place, packet in found.xmp:
        parsed = parse_xmp(packet)
        if parsed is None:
            problems.append(f"{place} is not well-formed XML")
        else:
            properties += [(place, value) for value in parsed]
    return Signals(tuple(texts), tuple(properties), tuple(problems))


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
_PLAIN = re.compile(r"[\w .,+:()/x-]{1,48}", re.ASCII)


def as_plain(value: object) -> str | int | float | None:
    """`value` if it is a number or a short plain word fit to be shown, else None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        # JSON of strangers may hold NaN, infinities and integers of thousands of digits.
        return value if -_LARGEST < value < _LARGEST else None
    if isinstance(value, str) and _PLAIN.fullmatch(value.strip()):
        return value.strip()
    return None
