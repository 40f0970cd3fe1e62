"""The ``registry_search`` source: copies of registered pictures that no cheap comparison finds.

Asked only while no more than a hint decided. Parts of the picture are looked up too, embeddings
where an embedder is configured, and the best candidates are compared point by point.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from detector.evidence.context import nothing
from detector.evidence.registry import MAX_SIMILAR, describe_match, with_notices
from provenance.fingerprint.keypoints import INSTALL_HINT
from provenance.types import Finding, RegistryEvidence
from registry.likeness import LikenessSearch, SearchOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector.evidence.context import SourceContext
    from provenance.fingerprint.verification import GeometryVerifier
    from provenance.fingerprint.words.making import WordMaker
    from provenance.interfaces import Embedder, Hasher, RecordStore
    from provenance.types import Candidate, Evidence

__all__ = ["RegistrySearchSource", "build_source"]


class RegistrySearchSource:
    """Looks for the records that a picture, or a part of it, is a copy of.

    Args:
        store: Answers the registry, or None while this installation has none.
        hasher: Answers the perceptual hasher.
        embedder: Answers the embedder, or None when none is configured.
        verifier: Answers what compares pictures point by point, or None without such a library.
        words: Answers what makes keypoint words, or None without such a library.
        further: Answers the embedders that are configured beside it.
        get_asset: Answers a delivered file by its SHA-256, or None; None keeps no files.
        options: How widely to search.
    """

    name = "registry_search"
    thorough = True

    def __init__(
        self,
        store: Callable[[], RecordStore | None],
        hasher: Callable[[], Hasher | None],
        embedder: Callable[[], Embedder | None],
        verifier: Callable[[], GeometryVerifier | None],
        *,
        words: Callable[[], WordMaker | None] = nothing,
        further: Callable[[], Sequence[Embedder]] = tuple,
        get_asset: Callable[[str], bytes | None] | None = None,
        options: SearchOptions | None = None,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._embedder = embedder
        self._verifier = verifier
        self._words = words
        self._further = further
        self._get_asset = get_asset
        self._options = options or SearchOptions(limit=MAX_SIMILAR)
        self._search: LikenessSearch | None = None
        self._lock = Lock()

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        """Up to `MAX_SIMILAR` records, surest first; nothing without a registry or pixels."""
        store = self._store()
        if store is None or candidate.raster is None:
            return []  # the source "registry" has said so
        found = [
            with_notices(describe_match(one), one.record, store)
            for one in self._open(store).search(candidate.raster)
        ]
        if not found and self._verifier() is None and store.count():
            return [
                RegistryEvidence(
                    Finding.UNREADABLE,
                    "Cropped and pasted copies were not looked for: that needs OpenCV or "
                    f"scikit-image ({INSTALL_HINT}).",
                )
            ]
        return found

    def _open(self, store: RecordStore) -> LikenessSearch:
        """Kept, for the thumbnails that it has looked at."""
        with self._lock:
            if self._search is None:
                self._search = LikenessSearch(
                    store,
                    self._hasher(),
                    embedder=self._embedder(),
                    verifier=self._verifier(),
                    words=self._words(),
                    further=self._further(),
                    get_asset=self._get_asset,
                    options=self._options,
                )
            return self._search


def build_source(context: SourceContext) -> RegistrySearchSource:
    """Entry point."""
    return RegistrySearchSource(
        context.store,
        context.hasher,
        context.embedder,
        context.verifier,
        words=context.words,
        further=context.further_embedders,
        get_asset=context.get_asset,
        options=SearchOptions(
            max_distance_bits=context.similar_max_distance_bits,
            min_cosine=context.similar_min_cosine,
            limit=MAX_SIMILAR,
            crop_codes=context.crop_codes,
        ),
    )
