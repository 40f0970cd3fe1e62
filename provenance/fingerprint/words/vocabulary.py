"""From keypoints to words: the entry of a fixed vocabulary that a descriptor is nearest to.

Two pictures of which one lies in the other share many corners, and a corner keeps its word through
most edits. So few words that agree tell which of a million records geometry should look at, however
small the part, where any fingerprint of the whole picture moves to chance. Besides its word each
corner keeps 64 bits of its descriptor, which tell true matches of a word from the many others, and
its direction, which all true matches of a copy turn by the same angle.

Sources: Sivic and Zisserman, "Video Google", ICCV 2003 (words); Jégou, Douze, Schmid, "Hamming
embedding and weak geometric consistency", ECCV 2008 (bits and angles).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.errors import BackendUnavailableError
from provenance.types import KeypointWords

if TYPE_CHECKING:
    from provenance.fingerprint.geometry import Keypoints
    from provenance.types import Float32Array

__all__ = ["VOCABULARY_FILE", "WORDS", "Vocabulary", "load_vocabulary", "to_signs"]

Descriptors: TypeAlias = npt.NDArray[np.uint8]

VOCABULARY_FILE = Path(__file__).with_name("vocabulary.bin")
"""`WORDS` descriptors of 32 bytes, one after the other; made by `training`."""

WORDS = 4096
"""A quarter of them found an eighth fewer copies among 1,900 records; more take longer to compare
with than the search that they save."""

DESCRIPTOR_BYTES = 32
WORDS_ASKED = 2
"""Of each corner of a query: an edit moves a descriptor over the border between two words."""
ANGLES = 256
_CHUNK = 4096
"""Descriptors compared with all words at once: 64 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The words, ready for comparison.

    Attributes:
        space_id: Names the words and the corners that they are for; words of two spaces are never
            compared.
    """

    space_id: str
    _signs: Float32Array = field(repr=False)

    def describe(self, keypoints: Keypoints) -> KeypointWords:
        """A registered picture's words: the nearest one of each corner."""
        return self._words(keypoints, 1)

    def ask(self, keypoints: Keypoints) -> KeypointWords:
        """A query's words: the `WORDS_ASKED` nearest ones of each corner."""
        return self._words(keypoints, WORDS_ASKED)

    def _words(self, keypoints: Keypoints, count: int) -> KeypointWords:
        nearest = [
            self._nearest(keypoints.descriptors[start : start + _CHUNK], count)
            for start in range(0, len(keypoints), _CHUNK)
        ]
        empty = np.empty((0, count), dtype=np.uint16)
        return KeypointWords(
            self.space_id,
            np.concatenate(nearest) if nearest else empty,
            np.floor(keypoints.angles / 360.0 * ANGLES).astype(np.int64).astype(np.uint8),
            _check_bits(keypoints.descriptors),
        )

    def _nearest(self, descriptors: Descriptors, count: int) -> npt.NDArray[np.uint16]:
        alike = to_signs(descriptors) @ self._signs.T
        if count == 1:
            best: npt.NDArray[np.intp] = alike.argmax(axis=1)[:, None]
            return best.astype(np.uint16)
        nearest: npt.NDArray[np.intp] = np.argpartition(-alike, count, axis=1)[:, :count]
        return nearest.astype(np.uint16)


def to_signs(descriptors: Descriptors) -> Float32Array:
    """(N, 256) float32 of ±1: a product of two rows is 256 less twice the bits that differ."""
    return np.unpackbits(descriptors, axis=1).astype(np.float32) * 2 - 1


def _check_bits(descriptors: Descriptors) -> npt.NDArray[np.uint64]:
    """(N,) uint64: every fourth byte of a descriptor."""
    chosen = np.ascontiguousarray(descriptors[:, ::4])
    return chosen.view("<u8")[:, 0].astype(np.uint64, copy=False)


@lru_cache(maxsize=4)
def load_vocabulary(finder: str, file: Path = VOCABULARY_FILE) -> Vocabulary:
    """The vocabulary for the corners of a finder.

    Args:
        finder: What finds the corners, with a version, as ``orb-opencv-1``.
        file: Holds the words.

    Raises:
        BackendUnavailableError: The file is missing or has another length.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise BackendUnavailableError(
            f"{file}: {error.strerror}; install Countermark again"
        ) from error
    if len(raw) != WORDS * DESCRIPTOR_BYTES:
        raise BackendUnavailableError(f"{file} is no vocabulary; install Countermark again")
    words = np.frombuffer(raw, dtype=np.uint8).reshape(WORDS, DESCRIPTOR_BYTES)
    return Vocabulary(f"{finder}@{hashlib.sha256(raw).hexdigest()[:16]}", to_signs(words))
