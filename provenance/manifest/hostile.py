"""Strings and numbers out of other people's manifests, made safe to show. Pure."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["clean_text", "items_of", "mapping_of", "text_of", "time_of", "values_of"]

MAX_TEXT_CHARACTERS = 200
"""Real names, labels and URIs are shorter; a page with a ten-thousand-letter signer is useless."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that hide or reorder text: controls, bidirectional marks, zero-width joiners,
surrogates, private use, unassigned, line separators.

Source: Unicode Technical Report 36 §2.10; CVE-2021-42574 for the bidirectional marks."""

_ISO_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?"
)


def clean_text(text: str, *, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """One visible line of at most `limit` characters; markup stays, for pages to escape."""
    # Cut before the loop: the string may be megabytes long.
    head = text[: limit * 4]
    visible = "".join(
        " " if unicodedata.category(c) in _INVISIBLE and c in "\t\r\n\u2028\u2029" else c
        for c in head
        if c in "\t\r\n\u2028\u2029" or unicodedata.category(c) not in _INVISIBLE
    )
    line = " ".join(visible.split())
    return line if len(line) <= limit and len(text) <= limit * 4 else line[: limit - 1] + "…"


def text_of(value: Any) -> str | None:
    """`value` as clean text, or None when it is no text or nothing visible is left."""
    return (clean_text(value) or None) if isinstance(value, str) else None


def time_of(value: Any) -> str | None:
    """`value` when it is an ISO 8601 time, else None."""
    return value if isinstance(value, str) and _ISO_TIME.fullmatch(value) else None


def mapping_of(value: Any) -> Mapping[str, Any]:
    """`value` when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items_of(value: Any) -> Sequence[Any]:
    """`value` when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def values_of(value: Any, *, limit: int) -> Iterator[Mapping[str, Any]]:
    """The first `limit` objects of a list."""
    for item in items_of(value)[:limit]:
        if isinstance(item, dict):
            yield item


def soft_binding_text(value: Any) -> str | None:
    """The canonical text of a soft binding's value.

    Files in circulation carry text, byte strings (crJSON: ``b64'...'``) and lists of integers.
    Bytes that are printable text become that text, others lower-case hex.
    """
    if isinstance(value, list):
        if not value or len(value) > 10_000 or not all(_is_byte(one) for one in value):
            return None
        return _bytes_text(bytes(value))
    if not isinstance(value, str) or not value:
        return None
    if value.startswith("b64'") and value.endswith("'"):
        try:
            return _bytes_text(base64.b64decode(value[4:-1], validate=True))
        except (binascii.Error, ValueError):
            return None
    return value[:10_000]


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _bytes_text(raw: bytes) -> str | None:
    if not raw:
        return None
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return raw.hex()
    return text if text.isprintable() else raw.hex()
