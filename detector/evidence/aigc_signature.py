"""The optional signature in a Chinese AIGC label: SM2 over the label's own fields.

It covers the label, not the pixels, and its key comes in the same file: a right signature shows
that the label was not changed since, and nobody's name. So it never raises the label's rung.

Source: TC260-PG-202511A, appendix A.1 (the signed text) and A.2 (``SecurityData``).
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from detector.evidence.signals import parse_json_object
from detector.evidence.sm2 import Point, lift_x, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LabelSignature", "check_label"]

SM3_WITH_SM2 = "1.2.156.10197.1.501"
MAX_ENTRIES = 8
"""Keys and signatures looked at; each check takes 20 ms. Real labels hold two of each."""
_LABEL_TYPES = frozenset({"Md", "LabelMataData", "LabelMetaData"})
"""The guide's word for "over the label", and the spellings that producers use."""
_SIGNED_FIELDS = ("Label", "ContentProducer", "ProduceID")


class LabelSignature(StrEnum):
    """What a check shows.

    RIGHT: by a key that the same file brings, whoever's that is. WRONG: the label was changed, or
    its producer signs another text than the guide says; some do.
    """

    RIGHT = "right, under a key from the same file"
    WRONG = "does not fit the label"
    NOT_CHECKED = "of a kind that is not checked"


def check_label(label: Mapping[str, Any]) -> LabelSignature | None:
    """Checks the producer's signature; None when the label holds none."""
    reserved = label.get("ReservedCode1")
    outer = parse_json_object(reserved) if isinstance(reserved, str) else reserved
    security = outer.get("SecurityData") if isinstance(outer, dict) else None
    if not isinstance(security, dict) or security.get("Type") != "TC260PG":
        return None
    entries = security.get("PubSD", security.get("PubSd"))
    entries = entries[:MAX_ENTRIES] if isinstance(entries, list) else []
    usable = [e for e in entries if isinstance(e, dict) and e.get("AlgID") == SM3_WITH_SM2]
    keys = [key for e in usable if e.get("Type") == "PubKey" for key in _keys(e.get("KeyValue"))]
    signatures = [
        signature
        for entry in usable
        if entry.get("Type") == "DS" and _is_over_label(entry)
        for signature in _signature(entry.get("Signature"))
    ]
    if not keys or not signatures:
        return LabelSignature.NOT_CHECKED
    message = ",".join(
        f"{json.dumps(name)}:{json.dumps(str(label.get(name, '')), ensure_ascii=False)}"
        for name in _SIGNED_FIELDS
    ).encode("utf-8", "surrogatepass")
    is_right = any(verify(key, message, one) for one in signatures[:2] for key in keys[:2])
    return LabelSignature.RIGHT if is_right else LabelSignature.WRONG


def _is_over_label(entry: Mapping[str, Any]) -> bool:
    covered = entry.get("TBSData")
    kind = covered.get("Type") if isinstance(covered, dict) else None
    return isinstance(kind, str) and kind in _LABEL_TYPES


def _bytes(value: object) -> bytes:
    try:
        return bytes.fromhex(value) if isinstance(value, str) and len(value) < 1000 else b""
    except ValueError:
        return b""


_SPKI_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
"""DER of a SubjectPublicKeyInfo for SM2, up to the point."""


def _keys(value: object) -> Iterator[Point]:
    """The points that a key in one of its spellings can mean."""
    raw = _bytes(value).removeprefix(_SPKI_HEAD)
    if len(raw) == 65 and raw[0] == 4:
        raw = raw[1:]
    if len(raw) == 64:
        yield int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        return
    if len(raw) == 33 and raw[0] in (2, 3):
        parities = [raw[0] == 3]
    elif len(raw) == 32 or (len(raw) == 33 and raw[0] == 0):
        parities = [False, True]  # An x alone: either point may be meant.
    else:
        return
    for odd in parities:
        point = lift_x(int.from_bytes(raw[-32:], "big"), odd=odd)
        if point is not None:
            yield point


def _signature(value: object) -> Iterator[tuple[int, int]]:
    raw = _bytes(value)
    try:
        yield decode_dss_signature(raw)
    except ValueError:
        if len(raw) == 64:
            yield int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
