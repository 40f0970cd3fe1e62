"""What all embedders share: of which pictures they abstain, and how a vector is an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from provenance.types import Embedding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from provenance.interfaces import Embedder
    from provenance.types import RasterImage

__all__ = [
    "MIN_SIDE_PX",
    "encode_all_but_plain",
    "encode_further",
    "is_too_plain",
    "to_embedding",
]

MIN_SIDE_PX = 16
"""Below it a picture is an icon's corner: all embedders blow it up, and see the same blur."""

MIN_DEVIATION = 2.0
"""Smallest standard deviation, in grey levels, of a channel that still is a picture. Flat pictures
with grain (JPEG 10 of one colour, noise of 12 levels averaged over a cell) stay below."""

_CELLS = 32


def is_too_plain(image: RasterImage) -> bool:
    """Whether every embedder abstains: under 16 pixels, or one colour from edge to edge."""
    if image.min_side_px < MIN_SIDE_PX:
        return True
    cells = Image.fromarray(image.pixels).resize((_CELLS, _CELLS), Image.Resampling.BOX)
    deviation = np.asarray(cells, dtype=np.float32).std(axis=(0, 1))
    return bool(deviation.max() < MIN_DEVIATION)


def to_embedding(space_id: str, row: npt.NDArray[np.floating]) -> Embedding | None:
    """A model's answer as a unit vector; None where it has no direction.

    Args:
        space_id: Of the model.
        row: (D,) real.
    """
    norm = float(np.linalg.norm(row))
    if not np.isfinite(norm) or norm == 0.0:
        return None
    return Embedding(space_id, (row / norm).astype(np.float32))


def encode_all_but_plain(
    images: Sequence[RasterImage],
    space_id: str,
    run: Callable[[Sequence[RasterImage]], Iterable[npt.NDArray[np.floating]]],
) -> Sequence[Embedding | None]:
    """One answer a picture, in order, from one pass of a model over those that are not too plain.

    Args:
        images: Any pictures.
        space_id: Of the model.
        run: Answers a (D,) vector for each picture that it is given; not called for none.
    """
    answers: list[Embedding | None] = [None] * len(images)
    chosen = [place for place, image in enumerate(images) if not is_too_plain(image)]
    if chosen:
        rows = run([images[place] for place in chosen])
        for place, row in zip(chosen, rows, strict=True):
            answers[place] = to_embedding(space_id, row)
    return answers


def encode_further(embedders: Iterable[Embedder], image: RasterImage) -> tuple[Embedding, ...]:
    """A picture's vectors in several spaces, without those of embedders that abstain."""
    answers = (embedder.encode(image) for embedder in embedders)
    return tuple(answer for answer in answers if answer is not None)
