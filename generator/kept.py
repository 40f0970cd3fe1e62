"""What is needed to render a picture again, as bytes: prompt, pictures, every choice.

A header in JSON, then the pictures that it names by their SHA-256, each with its length. The bytes
are encrypted before they are stored (`registry.kept_inputs`) and authenticated when they come back.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

from generator.job_documents import read_requests, write_requests
from provenance.errors import RegistryError

if TYPE_CHECKING:
    from provenance.types import GenerationRequest

__all__ = ["pack_inputs", "unpack_inputs"]

_LENGTH = struct.Struct(">Q")


def pack_inputs(request: GenerationRequest) -> bytes:
    """The whole request, init image and mask included, as bytes."""
    body, pictures = write_requests([request])
    header = {**body, "pictures": list(pictures)}
    blobs = [json.dumps(header, ensure_ascii=False).encode("utf-8"), *pictures.values()]
    return b"".join(part for one in blobs for part in (_LENGTH.pack(len(one)), one))


def unpack_inputs(packed: bytes) -> GenerationRequest:
    """The request again.

    Raises:
        InputError: This version no longer takes such a request.
        RegistryError: It was kept by a newer version.
    """
    try:
        header, *blobs = _split(packed)
        body = json.loads(header)
        pictures = dict(zip(body["pictures"], blobs, strict=True))
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise RegistryError(
            f"kept inputs of another version cannot be read here ({error}); use the version that "
            "rendered the picture"
        ) from error
    return read_requests(body, pictures)[0]


def _split(packed: bytes) -> list[bytes]:
    blobs, place = [], 0
    while place < len(packed):
        (length,) = _LENGTH.unpack_from(packed, place)
        blobs.append(packed[place + _LENGTH.size : place + _LENGTH.size + length])
        place += _LENGTH.size + length
    return blobs
