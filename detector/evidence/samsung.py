"""Reads the directory that Samsung's cameras and editors append behind a picture's end.

Every entry of the directory points back at a block with a name; only the blocks that say how the
picture was edited are read.

Source: read from files; ExifTool, ``Samsung.pm``, "Samsung trailer".
"""

from __future__ import annotations

import struct

__all__ = ["read_trailer"]

MAX_ENTRIES = 256
MAX_VALUE_BYTES = 2**20
_WANTED = frozenset({"PEg_Info", "PhotoEditor_Re_Edit_Data"})


def read_trailer(data: bytes) -> list[tuple[str, bytes]]:
    """(name, value) of the wanted blocks; none where the file ends in no such directory."""
    if len(data) < 24 or data[-4:] != b"SEFT":
        return []
    (size,) = struct.unpack_from("<I", data, len(data) - 8)
    start = len(data) - 8 - size
    if size < 12 or start < 0 or data[start : start + 4] != b"SEFH":
        return []
    (count,) = struct.unpack_from("<I", data, start + 8)
    found = []
    for index in range(min(count, MAX_ENTRIES, (size - 12) // 12)):
        _, back, length = struct.unpack_from("<III", data, start + 12 + 12 * index)
        block = data[start - back : start - back + length] if length <= back <= start else b""
        # A type, the length of the name, the name, the value.
        name_bytes = int.from_bytes(block[4:8], "little")
        name = block[8 : 8 + name_bytes].decode("latin-1") if name_bytes <= 64 else ""
        if name in _WANTED and length <= MAX_VALUE_BYTES:
            found.append((name, block[8 + name_bytes :]))
    return found
