"""What an evidence source may be built from; plain objects, never settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.interfaces import Embedder, Hasher, RecordStore
    from provenance.manifest.trust import TrustSettings
    from provenance.watermark.marking import MarkReader

__all__ = ["SourceContext"]


@dataclass(frozen=True, slots=True)
class SourceContext:
    """The one argument of every ``build_source`` (group ``countermark.evidence_sources``).

    Attributes:
        trust: Anchor lists in force.
        store: The registry; None where none exists yet.
        hasher: For near-duplicates; None when it cannot be loaded.
        embedder: Opens the embedder when first needed; None when none is configured.
        mark_reader: Opens the reader of our own marks when first needed; None without a key.
        similar_max_distance_bits: Hamming distance up to which hashes are called similar.
        similar_min_cosine: Cosine from which embeddings are called similar.
    """

    trust: TrustSettings
    store: RecordStore | None = None
    hasher: Hasher | None = None
    embedder: Callable[[], Embedder] | None = None
    mark_reader: Callable[[], MarkReader] | None = None
    similar_max_distance_bits: int = 31
    similar_min_cosine: float = 0.9
