"""Manifest stores taken apart and put together, and what is none."""

from __future__ import annotations

import struct

import pytest

from provenance.errors import InputError
from provenance.manifest.jumbf import active_manifest_store, split_store

SUFFIX = bytes.fromhex("00110010800000aa00389b71")


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def described(kind: bytes, label: bytes, toggles: int = 3) -> bytes:
    return box(b"jumd", kind + SUFFIX + bytes([toggles]) + label + b"\0")


def manifest(label: str, body: bytes = b"") -> bytes:
    return box(b"jumb", described(b"c2ma", label.encode()) + box(b"free", body))


def store(*manifests: bytes) -> bytes:
    return box(b"jumb", described(b"c2pa", b"c2pa") + b"".join(manifests))


def test_manifests_come_in_order_and_the_last_is_active() -> None:
    first, last = manifest("urn:c2pa:1", b"one"), manifest("urn:c2pa:2", b"two" * 99)
    whole = store(first, last)
    assert [(one.label, one.data) for one in split_store(whole)] == [
        ("urn:c2pa:1", first),
        ("urn:c2pa:2", last),
    ]
    assert active_manifest_store(whole) == store(last)
    assert active_manifest_store(store(last)) == store(last)


def test_long_headers_are_read() -> None:
    inner = manifest("urn:c2pa:1")[8:]
    long = struct.pack(">I4sQ", 1, b"jumb", 16 + len(inner)) + inner
    assert split_store(store(long))[0].label == "urn:c2pa:1"


GOOD = store(manifest("urn:c2pa:1", b"body"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"\0" * 64,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
        GOOD[:-1],
        GOOD + b"\0",
        GOOD * 2,
        store(),
        box(b"jumb", b""),
        box(b"jumb", described(b"c2ma", b"c2pa") + manifest("x")),
        box(b"jumb", manifest("x")),
        store(box(b"jumb", b"")),
        store(box(b"jumb", box(b"free", b""))),
        store(box(b"jumb", described(b"c2ma", b"label", toggles=1))),
        store(box(b"jumb", described(b"c2ma", b"\xff\xfe"))),
        store(box(b"jumb", box(b"jumd", b"c2ma" + SUFFIX + b"\3no end"))),
        store(struct.pack(">I4s", 0, b"jumb")),
        store(struct.pack(">I4sQ", 1, b"jumb", 2**63)),
        store(*[manifest("x")] * 1100),
    ],
)
def test_what_is_no_store_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError):
        split_store(data)
    with pytest.raises(InputError):
        active_manifest_store(data)


def test_no_cut_breaks_the_reader() -> None:
    for end in range(len(GOOD)):
        with pytest.raises(InputError):
            split_store(GOOD[:end])
