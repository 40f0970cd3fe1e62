"""Embedding spaces: what nearness means in them, and from where it is believed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provenance.types.base import require

__all__ = ["EmbeddingSpace", "SpaceKind"]


class SpaceKind(StrEnum):
    """What a space was made to tell apart.

    COPY: the same picture, edited, from any other. SEMANTIC: what a picture shows; two photographs
    of one subject are neighbours there, so nearness alone never says copy.
    """

    COPY = "copy"
    SEMANTIC = "semantic"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpace:
    """A space and its thresholds: cosines, -1..1, higher is nearer.

    Attributes:
        space_id: Model + weights digest + preprocessing version; vectors of two spaces are never
            compared.
        kind: What nearness means.
        similar_min_cosine: From here on a record is told as similar.
        verify_min_cosine: From here on it is worth comparing the pictures themselves; None where
            the space is no use for that.
        likely_min_cosine: From here on a copy is likely without further proof; None in semantic
            spaces.
        strong_min_cosine: From here on it is a copy; None in semantic spaces, and where siblings
            (same prompt, other seed) come as near as copies.
    """

    space_id: str
    kind: SpaceKind
    similar_min_cosine: float
    verify_min_cosine: float | None = None
    likely_min_cosine: float | None = None
    strong_min_cosine: float | None = None

    def __post_init__(self) -> None:
        require(bool(self.space_id), "an embedding space needs its space_id")
        given = [
            ("similar_min_cosine", self.similar_min_cosine),
            ("verify_min_cosine", self.verify_min_cosine),
            ("likely_min_cosine", self.likely_min_cosine),
            ("strong_min_cosine", self.strong_min_cosine),
        ]
        for name, value in given:
            require(value is None or -1 <= value <= 1, f"{name} {value} must be -1 to 1")
        claims_copies = self.likely_min_cosine is not None or self.strong_min_cosine is not None
        require(
            self.kind is SpaceKind.COPY or not claims_copies,
            "a semantic space has no cosine from which a picture is a copy",
        )
        if self.likely_min_cosine is not None and self.strong_min_cosine is not None:
            require(
                self.likely_min_cosine <= self.strong_min_cosine,
                "likely_min_cosine must not be above strong_min_cosine",
            )
