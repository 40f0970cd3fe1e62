"""How an index stands to the rows that it was made from. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REBUILD", "IndexState"]

REBUILD = "run: countermark registry index --rebuild"


@dataclass(frozen=True, slots=True)
class IndexState:
    """How an index stands to its rows.

    Attributes:
        name: ``hash_chunks``, the space id, ``pgvector`` and the space id, or ``keypoint words``
            where there are none yet.
        rows: Fingerprints it is about.
        indexed: How many of them it holds; the rest is taken in by the next search. Of keypoint
            words: thumbnails that have theirs; the rest gets them from ``countermark registry
            reindex --keypoints``.
        problem: What is wrong and, after the last semicolon, what to do; empty when nothing is.
            Only chunks and pgvector's tables can answer wrongly: a file that does not fit is never
            used, and keypoint words that are cut end the search with an error.
    """

    name: str
    rows: int
    indexed: int
    problem: str = ""
