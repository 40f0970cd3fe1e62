"""Reads Photoshop's image resources and the IPTC-IIM datasets in them.

Source: Adobe Photoshop File Formats Specification, "Image Resource Blocks"; IPTC-IIM 4.2 §1.5 and
§6 (record 2).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DATASETS", "PHOTOSHOP_HEADER", "read_iim", "read_resources"]

PHOTOSHOP_HEADER = b"Photoshop 3.0\0"
MAX_RESOURCES = 1024
"""Photoshop writes fewer than 60."""
MAX_DATASETS = 4096
"""Keywords come one a dataset; real files have fewer than 200."""

DATASETS = {
    65: "OriginatingProgram",
    70: "ProgramVersion",
    110: "Credit",
    115: "Source",
    120: "Caption-Abstract",
}
"""Of record 2, what can say how a picture was made; names of persons and places are left out."""


def read_resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    """(resource id, content) of each resource; ends where the block is damaged."""
    position = 0
    for _ in range(MAX_RESOURCES):
        if block[position : position + 4] != b"8BIM" or position + 12 > len(block):
            return
        (kind,) = struct.unpack_from(">H", block, position + 4)
        # A Pascal string, its length byte included, is padded to an even length.
        name_bytes = (block[position + 6] + 2) & ~1
        start = position + 6 + name_bytes + 4
        if start > len(block):
            return
        (size,) = struct.unpack_from(">I", block, start - 4)
        if start + size > len(block):
            return
        yield kind, block[start : start + size]
        position = start + size + (size & 1)


def read_iim(block: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, value) of the datasets in `DATASETS`; ends where the block is damaged."""
    position = 0
    for _ in range(MAX_DATASETS):
        if position + 5 > len(block) or block[position] != 0x1C:
            return
        record, dataset, size = struct.unpack_from(">BBH", block, position + 1)
        if size & 0x8000:
            return  # An extended dataset holds more than 32 KiB: a picture, not a credit line.
        value = block[position + 5 : position + 5 + size]
        if record == 2 and dataset in DATASETS:
            yield DATASETS[dataset], value
        position += 5 + size
