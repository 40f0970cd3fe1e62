"""Crop codes: vectors of a registered picture's parts, so that a crop of it is found.

Parts of a *query* find what somebody pasted into a page; only parts of what is *registered* find
what somebody cut out of it. Each part is a space of its own beside that of the whole picture
(``SPACE#top left``), filled as any other space is, and searched by every part of a query.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provenance.fingerprint.views import cut_view
from provenance.types import Embedding, EmbeddingSpace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.interfaces import Embedder
    from provenance.types import RasterImage

__all__ = ["CROPS", "CropEmbedder", "crop_embedders", "crop_space"]

CROPS = ("top left", "top right", "bottom left", "bottom right", "centre")


def crop_space(space_id: str, crop: str) -> str:
    """Name of the space that holds the vectors of one part."""
    return f"{space_id}#{crop}"


def crop_embedders(embedder: Embedder) -> tuple[CropEmbedder, ...]:
    """One embedder for each part of `CROPS`."""
    return tuple(CropEmbedder(embedder, crop) for crop in CROPS)


class CropEmbedder:
    """Encodes one part of each picture; see `interfaces.Embedder`.

    Args:
        inner: Encodes the part.
        crop: One of `CROPS`.
    """

    def __init__(self, inner: Embedder, crop: str) -> None:
        self._inner = inner
        self._crop = crop

    @property
    def space_id(self) -> str:
        """That of the whole pictures, and the part."""
        return crop_space(self._inner.space_id, self._crop)

    @property
    def space(self) -> EmbeddingSpace:
        """As that of whole pictures."""
        return replace(self._inner.space, space_id=self.space_id)

    def encode(self, image: RasterImage) -> Embedding | None:
        """The embedding of the part; None where it is too small, or the embedder abstains."""
        return self.encode_batch([image])[0]

    def encode_batch(self, images: Sequence[RasterImage]) -> Sequence[Embedding | None]:
        """As `encode`, one answer a picture, in order."""
        answers: list[Embedding | None] = []
        for image in images:
            part = cut_view(image, self._crop)
            found = None if part is None else self._inner.encode(part)
            answers.append(None if found is None else Embedding(self.space_id, found.vector))
        return answers
