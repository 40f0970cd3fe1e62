"""Words of thumbnails, for the registry, and of queries, for its search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provenance.fingerprint.keypoints import find_library, load_finder
from provenance.fingerprint.verification import make_thumbnail, read_thumbnail
from provenance.fingerprint.words.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.fingerprint.keypoints import KeypointFinder
    from provenance.fingerprint.verification import PreparedQuery
    from provenance.fingerprint.words.vocabulary import Vocabulary
    from provenance.types import KeypointWords, RasterImage

__all__ = ["KEPT_CORNERS", "WordMaker", "keep_small", "load_word_maker"]

KEPT_CORNERS = 512
"""Of a registered picture; with half of them a quarter more copies were missed."""
_FINDER = "orb-opencv-1"
"""Changes with any change of how corners are found."""


@dataclass(frozen=True, slots=True, eq=False)
class WordMaker:
    """Finds corners and names their words.

    Attributes:
        vocabulary: Of these corners.
    """

    vocabulary: Vocabulary
    _find: KeypointFinder = field(repr=False)

    @property
    def space_id(self) -> str:
        """Names finder and vocabulary."""
        return self.vocabulary.space_id

    def describe(self, thumbnail: bytes) -> KeypointWords:
        """What a registry keeps of a thumbnail.

        Raises:
            RegistryError: The bytes are no thumbnail.
        """
        return self.vocabulary.describe(self._find(read_thumbnail(thumbnail), at_most=KEPT_CORNERS))

    def ask(self, query: PreparedQuery) -> Sequence[KeypointWords]:
        """What to look for: the picture, and its mirror image."""
        return [self.vocabulary.ask(look.keypoints) for look in (query.upright, query.mirrored)]


def keep_small(image: RasterImage, words: WordMaker | None) -> tuple[bytes, KeypointWords | None]:
    """The thumbnail of a picture, and its words where something makes them: what W6 keeps."""
    thumbnail = make_thumbnail(image)
    return thumbnail, None if words is None else words.describe(thumbnail)


def load_word_maker() -> WordMaker | None:
    """The maker of this installation; None without OpenCV: scikit-image takes a second a picture.

    Raises:
        BackendUnavailableError: The vocabulary is missing from the installation.
    """
    if find_library() != "opencv":
        return None
    return WordMaker(load_vocabulary(_FINDER), load_finder())
