"""The ``embedding`` source: records that look alike to an image model. Shown, never proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.evidence.registry import MAX_SIMILAR
from provenance.types import Finding, MatchBasis, MatchTier, RegistryEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector.evidence.context import SourceContext
    from provenance.interfaces import Embedder, RecordStore
    from provenance.types import Candidate, Evidence

__all__ = ["EmbeddingSource", "build_source"]


class EmbeddingSource:
    """Encodes the picture and asks for near records; thorough, because a model has to run.

    Args:
        store: Answers the registry, or None while this installation has none.
        embedder: Answers the embedder, or None when none is configured.
        min_cosine: Cosine similarity from which a record is called similar; higher is nearer.
    """

    name = "embedding"
    thorough = True

    def __init__(
        self,
        store: Callable[[], RecordStore | None],
        embedder: Callable[[], Embedder | None],
        *,
        min_cosine: float,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._min_cosine = min_cosine

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """Up to `MAX_SIMILAR` similar records, or why it cannot tell; nothing without a model."""
        store, embedder = self._store(), self._embedder()
        if store is None or embedder is None:
            return []
        query = None if candidate.raster is None else embedder.encode(candidate.raster)
        if query is None:
            why = (
                "The pixels do not decode, so no image model could look at them."
                if candidate.raster is None
                else "The picture is too plain or too small for an image model."
            )
            return [RegistryEvidence(Finding.UNREADABLE, why, MatchBasis.EMBEDDING)]
        near = store.nearest_embeddings(query, min_cosine=self._min_cosine, limit=MAX_SIMILAR)
        return [
            RegistryEvidence(
                Finding.PRESENT,
                f"It resembles record {one.record_id} (cosine {one.cosine:.2f} of embeddings).",
                MatchBasis.EMBEDDING,
                MatchTier.SIMILAR,
                one.record_id,
                store.get(one.record_id).kind,
                cosine=one.cosine,
            )
            for one in near
        ]


def build_source(context: SourceContext) -> EmbeddingSource:
    """Entry point."""
    return EmbeddingSource(context.store, context.embedder, min_cosine=context.similar_min_cosine)
