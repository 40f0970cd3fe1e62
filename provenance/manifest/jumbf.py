"""A C2PA manifest store as boxes: which manifests it holds, and the active one alone. Pure.

Reads the two outer levels only. What the boxes inside say is the engine's business; nothing here
says that a manifest is valid.

Source: C2PA 2.5 "JUMBF use in C2PA"; ISO/IEC 19566-5 §4 (boxes, description boxes).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provenance.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["StoredManifestBox", "active_manifest_store", "split_store"]

_SUPERBOX, _DESCRIPTION = b"jumb", b"jumd"
_STORE_TYPE = b"c2pa" + bytes.fromhex("00110010800000aa00389b71")
_HEADER_BYTES = 8
_LONG_HEADER_BYTES = 16
_TYPE_BYTES = 16
_HAS_LABEL = 0x02
"""Toggle bit of a description box. Source: ISO/IEC 19566-5 §A.3."""
MAX_MANIFESTS = 1000
"""Thirty are in files of today; a store of empty ones must not cost minutes."""


@dataclass(frozen=True, slots=True)
class StoredManifestBox:
    """One manifest of a store.

    Attributes:
        label: As written, e.g. ``urn:c2pa:...``; untrusted text.
        data: The whole superbox.
    """

    label: str
    data: bytes = field(repr=False)


def split_store(store: bytes) -> tuple[StoredManifestBox, ...]:
    """The manifests of a store, in order: the last one is the active one.

    Raises:
        InputError: The bytes are not exactly one C2PA manifest store with a manifest in it.
    """
    _, manifests = _read_store(store)
    return manifests


def active_manifest_store(store: bytes) -> bytes:
    """A store that holds the active manifest and nothing else.

    Raises:
        InputError: As `split_store`.
    """
    description, manifests = _read_store(store)
    content = description + manifests[-1].data
    return struct.pack(">I4s", _HEADER_BYTES + len(content), _SUPERBOX) + content


def _read_store(store: bytes) -> tuple[bytes, tuple[StoredManifestBox, ...]]:
    """The store's own description box, and its manifests."""
    outer = list(_boxes(store, 0, len(store)))
    if len(outer) != 1 or outer[0][0] != _SUPERBOX:
        raise InputError("these bytes are not one C2PA manifest store (application/c2pa)")
    _, start, _, end = outer[0]
    inner = list(_boxes(store, start, end))
    if not inner or inner[0][0] != _DESCRIPTION:
        raise InputError("the manifest store does not begin with a description")
    _, place, _, stop = inner[0]
    if store[place : place + _TYPE_BYTES] != _STORE_TYPE:
        raise InputError("the bytes are boxes, but no C2PA manifest store")
    head = inner[0][2]
    manifests = tuple(
        StoredManifestBox(_label(store, inside, limit), store[begin:limit])
        for kind, inside, begin, limit in inner[1:]
        if kind == _SUPERBOX
    )
    if not manifests:
        raise InputError("the manifest store holds no manifest")
    return store[head:stop], manifests


def _label(store: bytes, start: int, end: int) -> str:
    first = next(_boxes(store, start, end), None)
    if first is None or first[0] != _DESCRIPTION:
        raise InputError("a manifest of the store has no description")
    _, place, _, stop = first
    toggles = store[place + _TYPE_BYTES : place + _TYPE_BYTES + 1]
    text, zero, _ = store[place + _TYPE_BYTES + 1 : stop].partition(b"\0")
    if not toggles or not toggles[0] & _HAS_LABEL or not zero:
        raise InputError("a manifest of the store has no label")
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("the label of a manifest of the store is no text") from error


def _boxes(data: bytes, place: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Type, begin of the content, begin of the box, end of the box."""
    count = 0
    while place < end:
        if place + _HEADER_BYTES > end or count > MAX_MANIFESTS:
            raise InputError("the manifest store is cut off, or has too many parts")
        size, kind = struct.unpack_from(">I4s", data, place)
        head = _HEADER_BYTES
        if size == 1 and place + _LONG_HEADER_BYTES <= end:
            (size,) = struct.unpack_from(">Q", data, place + _HEADER_BYTES)
            head = _LONG_HEADER_BYTES
        if size < head or place + size > end:
            raise InputError("the manifest store is cut off, or a length in it is wrong")
        yield kind, place + head, place, place + size
        place += size
        count += 1
