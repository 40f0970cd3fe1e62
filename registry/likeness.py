"""Which records does a picture come from? The near-duplicate search, cheapest steps first.

`look`: the perceptual hash of the whole picture in its eight turns. `search`: hashes and embeddings
of its parts too, the words of its corners, and geometric verification of the best candidates. How
sure an answer is decides `provenance.fingerprint.similarity` alone; here things are only measured.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING

from provenance.errors import ProvenanceError, RecordNotFoundError, RegistryError
from provenance.fingerprint.embedders.crops import CROPS, crop_space
from provenance.fingerprint.similarity import (
    CLEAR_INLIERS,
    SEARCH_MAX_BITS,
    SEARCH_MIN_COSINE,
    Likeness,
    can_search,
    cosine_standing,
    is_verified,
    judge_likeness,
)
from provenance.fingerprint.verification import bound_size, make_thumbnail, read_thumbnail
from provenance.fingerprint.views import View, list_views
from provenance.imaging import decode_image
from provenance.interfaces import TurningHasher
from provenance.types import Embedding, EmbeddingSpace, MatchTier, SpaceKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from provenance.fingerprint.verification import GeometryVerifier, Look, PreparedQuery
    from provenance.fingerprint.words.making import WordMaker
    from provenance.interfaces import Embedder, Hasher, RecordStore
    from provenance.types import (
        EmbeddingNeighbour,
        PerceptualHash,
        RasterImage,
        RecordId,
        RegistryRecord,
    )

__all__ = ["WHOLE", "LikenessSearch", "RecordMatch", "SearchOptions", "space_of", "turned_hashes"]

log = logging.getLogger(__name__)

WHOLE = "whole"

MAX_LOOKS = 128
"""Thumbnails kept in memory with their keypoints: 340 KB each at most."""

MAX_SEARCHED_SIDE_PX = 2048
"""Larger pictures are searched at this size: their ten parts would fill the memory else."""

SLOW_CANDIDATES = 3
"""Records that are compared at most where finding keypoints takes a second a picture."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How widely to search.

    Attributes:
        max_distance_bits: Hamming distance up to which hashes are called near, 0..256.
        candidates: Records that geometry looks at, at most, in a large registry.
        try_all_up_to: In a registry of so many records geometry looks at each of them.
        min_cosine: From which a semantic space without thresholds of its own says similar.
        limit: Matches to answer.
        crop_codes: Whether to ask for vectors of the registered pictures' parts too; see
            `provenance.fingerprint.embedders.crops`.
    """

    max_distance_bits: int = SEARCH_MAX_BITS
    candidates: int = 20
    try_all_up_to: int = 100
    min_cosine: float = SEARCH_MIN_COSINE
    limit: int = 3
    crop_codes: bool = False


@dataclass(frozen=True, slots=True)
class RecordMatch:
    """A record that a picture was compared with.

    Attributes:
        record: The record.
        tier: How sure it is that the picture is a copy of it.
        likeness: What was measured.
        view: The part of the picture that came nearest, ``whole`` or one of
            `provenance.fingerprint.views`.
        is_mirrored: Whether geometry found it mirrored.
    """

    record: RegistryRecord
    tier: MatchTier
    likeness: Likeness
    view: str = WHOLE
    is_mirrored: bool = False


@dataclass(slots=True)
class _Candidate:
    """What is known of one record so far."""

    record_id: RecordId
    likeness: Likeness = field(default_factory=Likeness)
    votes: float = 0.0
    view: str = WHOLE
    is_mirrored: bool = False


class LikenessSearch:
    """Finds the records that a picture may be a copy of; safe to use from several threads.

    Args:
        store: The registry.
        hasher: That of the records.
        embedder: That of the records; None does without.
        verifier: None where no library finds keypoints: copies are then not verified.
        further: Embedders of other spaces, asked too.
        words: Makes the words that the records' corners were registered by; None does without.
        get_asset: Answers the delivered file of a SHA-256 or None; for records without a thumbnail.
        options: How widely to search.
    """

    def __init__(
        self,
        store: RecordStore,
        hasher: Hasher | None,
        *,
        embedder: Embedder | None = None,
        verifier: GeometryVerifier | None = None,
        words: WordMaker | None = None,
        further: Sequence[Embedder] = (),
        get_asset: Callable[[str], bytes | None] | None = None,
        options: SearchOptions | None = None,
    ) -> None:
        self._store = store
        self._hasher = hasher
        own = () if embedder is None else (embedder,)
        self._embedders = (*own, *further)
        self._verifier = verifier
        self._words = words
        self._get_asset = get_asset
        self._options = options or SearchOptions()
        self._looks: OrderedDict[RecordId, Look] = OrderedDict()
        self._lock = Lock()

    def look(self, image: RasterImage) -> tuple[RecordMatch, ...]:
        """Records whose hash is near that of the whole picture, turned or mirrored or not."""
        return self.look_up(turned_hashes(self._hasher, image))

    def look_up(self, hashes: Sequence[PerceptualHash]) -> tuple[RecordMatch, ...]:
        """As `look`, for who has the picture's `turned_hashes` already."""
        found: dict[RecordId, _Candidate] = {}
        self._ask_hashes(hashes, WHOLE, found)
        return self._answer(found.values())

    def search(self, image: RasterImage) -> tuple[RecordMatch, ...]:
        """Records that the picture or a part of it is a copy of, the surest first."""
        found: dict[RecordId, _Candidate] = {}
        image = bound_size(image, MAX_SEARCHED_SIDE_PX)
        whole, *parts = views = list(list_views(image))
        hashes = turned_hashes(self._hasher, whole.image)
        self._ask_hashes(hashes, whole.name, found)
        for part in parts:
            self._ask_hashes(turned_hashes(self._hasher, part.image), part.name, found)
        self._ask_embeddings(views, found)
        if self._verifier is not None:
            limit = self._most_compared(self._verifier)
            query = self._verifier.prepare_query(whole.image)
            self._ask_words(query, found)
            self._add_nearest(hashes, found, limit)
            self._verify(views, query, found, self._verifier, limit)
        return self._answer(found.values())

    # -- candidates ----------------------------------------------------------------------------

    def _ask_hashes(
        self, hashes: Sequence[PerceptualHash], view: str, found: dict[RecordId, _Candidate]
    ) -> None:
        options = self._options
        for query in hashes:
            if not can_search(query):
                return
            for near in self._store.nearest_hashes(
                query, max_distance_bits=options.max_distance_bits, limit=options.candidates
            ):
                candidate = found.setdefault(near.record_id, _Candidate(near.record_id))
                _note_distance(candidate, near.distance_bits, query, view)

    def _ask_embeddings(self, views: Sequence[View], found: dict[RecordId, _Candidate]) -> None:
        for embedder in self._embedders:
            self._ask_space(embedder, views, found)

    def _ask_space(
        self, embedder: Embedder, views: Sequence[View], found: dict[RecordId, _Candidate]
    ) -> None:
        space = space_of(embedder, similar_min_cosine=self._options.min_cosine)
        lowest = min(space.similar_min_cosine, space.verify_min_cosine or 1.0)
        # A part shows other subjects than the whole; of a semantic space that says nothing.
        asked = views if space.kind is SpaceKind.COPY else views[:1]
        for view, query in zip(asked, _encode(embedder, asked), strict=True):
            if query is None:
                continue
            for near in self._nearest(query, space, lowest):
                candidate = found.setdefault(near.record_id, _Candidate(near.record_id))
                likeness = replace(candidate.likeness, cosine=near.cosine, space=space)
                # Cosines of two spaces are no more alike than metres and seconds.
                if cosine_standing(likeness) > cosine_standing(candidate.likeness):
                    candidate.likeness = likeness
                    candidate.view = view.name

    def _nearest(
        self, query: Embedding, space: EmbeddingSpace, min_cosine: float
    ) -> Iterator[EmbeddingNeighbour]:
        """Neighbours in the space of whole pictures, and in those of their parts."""
        queries = [query]
        if self._options.crop_codes and space.kind is SpaceKind.COPY:
            queries += [Embedding(crop_space(query.space_id, crop), query.vector) for crop in CROPS]
        for one in queries:
            yield from self._store.nearest_embeddings(
                one, min_cosine=min_cosine, limit=self._options.candidates
            )

    def _ask_words(self, query: PreparedQuery, found: dict[RecordId, _Candidate]) -> None:
        if self._words is None:
            return
        for near in self._store.nearest_words(
            self._words.ask(query), limit=self._options.candidates
        ):
            found.setdefault(near.record_id, _Candidate(near.record_id)).votes = near.votes

    def _add_nearest(
        self, hashes: Sequence[PerceptualHash], found: dict[RecordId, _Candidate], limit: int
    ) -> None:
        """Fills up with the nearest hashes at any distance: geometry tells them apart."""
        if len(found) >= limit:
            return
        distances: dict[RecordId, int] = {}
        for query in hashes:
            for near in self._store.nearest_hashes(query, max_distance_bits=256, limit=limit):
                known = distances.get(near.record_id, 256)
                distances[near.record_id] = min(known, near.distance_bits)
        for record_id in sorted(distances, key=lambda one: distances[one])[: limit - len(found)]:
            found.setdefault(record_id, _Candidate(record_id))

    # -- geometry ------------------------------------------------------------------------------

    def _verify(
        self,
        views: Sequence[View],
        query: PreparedQuery,
        found: dict[RecordId, _Candidate],
        verifier: GeometryVerifier,
        limit: int,
    ) -> None:
        pictures = {view.name: view.image for view in views}
        prepared: dict[str, PreparedQuery] = {WHOLE: query}
        for candidate in _most_promising(found.values())[:limit]:
            reference = self._reference(candidate.record_id, verifier)
            if reference is None:
                continue
            for name in dict.fromkeys((WHOLE, candidate.view)):
                if name not in prepared:
                    prepared[name] = verifier.prepare_query(pictures[name])
                result = verifier.verify(reference, prepared[name])
                if (result.inliers or -1) > (candidate.likeness.inliers or -1):
                    candidate.is_mirrored = result.is_mirrored
                    candidate.likeness = replace(
                        candidate.likeness, inliers=result.inliers, agreement=result.agreement
                    )
                elif candidate.likeness.inliers is None:
                    candidate.likeness = replace(candidate.likeness, inliers=result.inliers)
                if is_verified(candidate.likeness):
                    break
            if is_verified(candidate.likeness) and (
                (candidate.likeness.inliers or 0) >= CLEAR_INLIERS
            ):
                return  # so clear that no further candidate need be compared

    def _most_compared(self, verifier: GeometryVerifier) -> int:
        """How many records geometry looks at."""
        options = self._options
        if not verifier.is_quick:
            return min(options.candidates, SLOW_CANDIDATES)
        is_small = self._store.count() <= options.try_all_up_to
        return max(options.candidates, options.try_all_up_to) if is_small else options.candidates

    def _reference(self, record_id: RecordId, verifier: GeometryVerifier) -> Look | None:
        """The record's small picture with its keypoints; None where none is kept, or it is bad."""
        with self._lock:
            if record_id in self._looks:
                self._looks.move_to_end(record_id)
                return self._looks[record_id]
        data = self._thumbnail(record_id)
        if data is None:
            return None
        try:
            look = verifier.look(read_thumbnail(data))
        except RegistryError as error:
            log.warning("record %s: %s; it is not compared", record_id, error)
            return None
        with self._lock:
            self._looks[record_id] = look
            while len(self._looks) > MAX_LOOKS:
                self._looks.popitem(last=False)
        return look

    def _thumbnail(self, record_id: RecordId) -> bytes | None:
        kept = self._store.thumbnail(record_id)
        if kept is not None or self._get_asset is None:
            return kept
        try:
            data = self._get_asset(self._store.get(record_id).asset.sha256)
            return None if data is None else make_thumbnail(decode_image(data))
        except ProvenanceError:
            return None

    # -- answers -------------------------------------------------------------------------------

    def _answer(self, candidates: Iterable[_Candidate]) -> tuple[RecordMatch, ...]:
        matches = [match for one in candidates if (match := self._judge(one)) is not None]
        matches.sort(key=_surest_first)
        if matches and matches[0].tier is not MatchTier.SIMILAR:
            # Beside a copy, what merely looks alike would only distract.
            matches = [match for match in matches if match.tier is not MatchTier.SIMILAR]
        return tuple(matches[: self._options.limit])

    def _judge(self, candidate: _Candidate) -> RecordMatch | None:
        likeness = candidate.likeness
        bits = self._options.max_distance_bits
        if judge_likeness(likeness, similar_max_bits=bits) is None:
            return None
        try:
            record = self._store.get(candidate.record_id)
        except RecordNotFoundError:  # taken down since
            return None
        recorded = record.fingerprints.perceptual_hash
        if recorded is not None:
            likeness = replace(likeness, quality=min(likeness.quality, recorded.quality))
        tier = judge_likeness(likeness, similar_max_bits=bits)
        if tier is None:
            return None
        return RecordMatch(record, tier, likeness, candidate.view, candidate.is_mirrored)


_TIERS = list(MatchTier)


def _surest_first(match: RecordMatch) -> tuple[int, int, float, int]:
    likeness = match.likeness
    distance = 256 if likeness.distance_bits is None else likeness.distance_bits
    return (
        _TIERS.index(match.tier),
        -(likeness.inliers or 0),
        -(likeness.cosine or 0.0),
        distance,
    )


def _most_promising(found: Iterable[_Candidate]) -> list[_Candidate]:
    """Those that come first by any measure first: each sees copies that the others miss."""
    candidates = list(found)
    hashed = [one for one in candidates if one.likeness.distance_bits is not None]
    embedded = [one for one in candidates if one.likeness.cosine is not None]
    voted = [one for one in candidates if one.votes]
    hashed.sort(key=lambda one: one.likeness.distance_bits or 0)
    embedded.sort(key=lambda one: cosine_standing(one.likeness), reverse=True)
    voted.sort(key=lambda one: -one.votes)
    places: dict[RecordId, int] = {}
    for order in (hashed, voted, embedded):
        for place, one in enumerate(order):
            places[one.record_id] = min(place, places.get(one.record_id, place))
    return sorted(candidates, key=lambda one: places.get(one.record_id, len(candidates)))


def _note_distance(
    candidate: _Candidate, distance_bits: int, query: PerceptualHash, view: str
) -> None:
    """Keeps the nearest hash; that of the whole picture counts before any part's."""
    known = candidate.likeness
    is_whole = view == WHOLE
    if known.distance_bits is not None and (
        (known.is_whole and not is_whole) or known.distance_bits <= distance_bits
    ):
        return
    candidate.view = view
    candidate.likeness = replace(
        known, distance_bits=distance_bits, quality=query.quality, is_whole=is_whole
    )


def _encode(embedder: Embedder, views: Sequence[View]) -> Sequence[Embedding | None]:
    batch = getattr(embedder, "encode_batch", None)
    images = [view.image for view in views]
    if batch is not None:
        answers: Sequence[Embedding | None] = batch(images)
        return answers
    return [embedder.encode(one) for one in images]


def turned_hashes(hasher: Hasher | None, image: RasterImage) -> tuple[PerceptualHash, ...]:
    """Hashes of a picture, itself first, then turned and mirrored where the hasher knows how.

    None of them without a hasher, or where the picture has no hash.
    """
    if isinstance(hasher, TurningHasher):
        return hasher.hash_variants(image)
    one = None if hasher is None else hasher.hash(image)
    return () if one is None else (one,)


def space_of(
    embedder: Embedder, *, similar_min_cosine: float = SEARCH_MIN_COSINE
) -> EmbeddingSpace:
    """What nearness means in an embedder's space; semantic where it does not say."""
    space = getattr(embedder, "space", None)
    if isinstance(space, EmbeddingSpace):
        return space
    return EmbeddingSpace(
        space_id=embedder.space_id,
        kind=SpaceKind.SEMANTIC,
        similar_min_cosine=similar_min_cosine,
    )
