"""What an evidence source may be built from; plain objects, never settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.service import Depth
from provenance.fingerprint.similarity import SEARCH_MAX_BITS, SEARCH_MIN_COSINE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.fingerprint.verification import GeometryVerifier
    from provenance.fingerprint.words.making import WordMaker
    from provenance.interfaces import Embedder, Hasher, RecordStore
    from provenance.manifest.trust import TrustSettings
    from provenance.watermark.marking import MarkReader
    from provenance.watermark.signpost import SignpostReader

__all__ = ["SourceContext", "nothing"]


def nothing() -> None:
    """Stands for a part that this installation does not have."""


@dataclass(frozen=True, slots=True)
class SourceContext:
    """The one argument of every ``build_source`` (group ``countermark.evidence_sources``).

    The parts are opened when a source first needs them: a machine that only verifies has no
    registry and no key, and shall not make them; and a service that starts before the first
    picture is generated shall find them later.

    Attributes:
        trust: Anchor lists in force.
        store: Opens the registry; answers None while there is none.
        hasher: Opens the perceptual hasher.
        embedder: Opens the embedder; answers None when none is configured.
        further_embedders: Opens those that are configured beside it.
        verifier: Opens what verifies copies; answers None where no library finds keypoints.
        words: Opens what makes keypoint words; answers None where it is not wanted, or no library
            finds keypoints quickly.
        get_asset: Answers the delivered file of a SHA-256, or None when it isn't kept.
        mark_reader: Opens the reader of our own marks; answers None without a key.
        mark_search: How hard that reader looks.
        signpost_reader: Opens the reader of public marks; answers None where no codec has them.
        similar_max_distance_bits: Hamming distance up to which hashes are called similar.
        similar_min_cosine: Cosine from which embeddings are called similar.
        crop_codes: Whether vectors of the registered pictures' parts are searched too.
    """

    trust: TrustSettings
    store: Callable[[], RecordStore | None] = nothing
    hasher: Callable[[], Hasher | None] = nothing
    embedder: Callable[[], Embedder | None] = nothing
    further_embedders: Callable[[], Sequence[Embedder]] = tuple
    verifier: Callable[[], GeometryVerifier | None] = nothing
    words: Callable[[], WordMaker | None] = nothing
    get_asset: Callable[[str], bytes | None] | None = None
    mark_reader: Callable[[], MarkReader | None] = nothing
    mark_search: Depth = Depth.THOROUGH
    signpost_reader: Callable[[], SignpostReader | None] = nothing
    similar_max_distance_bits: int = SEARCH_MAX_BITS
    similar_min_cosine: float = SEARCH_MIN_COSINE
    crop_codes: bool = False
