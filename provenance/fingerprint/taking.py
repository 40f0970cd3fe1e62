"""W6: all fingerprints of a picture that is registered, whoever registers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.fingerprint.plain import encode_further
from provenance.fingerprint.words.making import keep_small
from provenance.types import Fingerprints

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provenance.fingerprint.words.making import WordMaker
    from provenance.interfaces import Embedder, Hasher
    from provenance.types import RasterImage

__all__ = ["take_fingerprints"]


def take_fingerprints(
    image: RasterImage,
    *,
    hasher: Hasher,
    embedder: Embedder | None,
    further_embedders: Iterable[Embedder],
    keeps_thumbnail: bool,
    words: WordMaker | None,
) -> Fingerprints:
    """The fingerprints of the pixels that will be delivered.

    Args:
        image: Those pixels.
        hasher: Makes the perceptual hash.
        embedder: Makes the embedding that the record's log entry covers; None makes none.
        further_embedders: Make embeddings beside it.
        keeps_thumbnail: Whether the small grey picture is kept, without which there are no words.
        words: Makes the keypoint words of that picture; None makes none.
    """
    embedding = None if embedder is None else embedder.encode(image)
    thumbnail, corners = keep_small(image, words) if keeps_thumbnail else (None, None)
    further = encode_further(further_embedders, image)
    return Fingerprints(hasher.hash(image), embedding, thumbnail, corners, further)
