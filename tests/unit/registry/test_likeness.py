"""Planted copies are found again, siblings are not joined, and each tier has its ground."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from generator.embedded.training.captions import Split, sample_spec
from generator.embedded.training.scenes import draw_scene
from provenance.fingerprint.embedders.crops import CROPS, crop_embedders
from provenance.fingerprint.hashes.pdq import PdqHasher
from provenance.fingerprint.verification import load_verifier, make_thumbnail, read_thumbnail
from provenance.fingerprint.views import cut_view
from provenance.fingerprint.words.making import load_word_maker
from provenance.imaging import encode_image
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.testing.stores import build_record
from provenance.testing.twins_marks import MeanHasher
from provenance.testing.twins_registry import MemoryRecordStore
from provenance.types import (
    Embedding,
    EmbeddingSpace,
    Fingerprints,
    MatchTier,
    MediaType,
    RasterImage,
    SpaceKind,
)
from registry.likeness import LikenessSearch, SearchOptions, space_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.types import RecordId

COPIES = (MatchTier.EXACT, MatchTier.COPY_STRONG, MatchTier.COPY_VERIFIED)
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def picture(seed: int, side_px: int = 320) -> RasterImage:
    return natural_picture(side_px, side_px, seed=seed)


@dataclass
class PlantedEmbedder:
    """Answers the vectors that a test has planted, and otherwise one that is far from all."""

    kind: SpaceKind = SpaceKind.COPY
    space_id: str = "planted/1"
    planted: dict[bytes, Sequence[float]] = field(default_factory=dict)

    @property
    def space(self) -> EmbeddingSpace:
        copies = self.kind is SpaceKind.COPY
        return EmbeddingSpace(
            space_id=self.space_id,
            kind=self.kind,
            similar_min_cosine=0.35,
            verify_min_cosine=0.25 if copies else None,
            likely_min_cosine=0.60 if copies else None,
            strong_min_cosine=0.90 if copies else None,
        )

    def plant(self, image: RasterImage, cosine: float) -> None:
        """The picture's vector has this cosine to (1, 0, 0)."""
        self.planted[image.pixels.tobytes()] = (cosine, np.sqrt(1 - cosine**2), 0.0)

    def encode(self, image: RasterImage) -> Embedding | None:
        vector = self.planted.get(image.pixels.tobytes(), (0.0, 0.0, 1.0))
        return Embedding(self.space_id, np.array(vector, dtype=np.float32))


def register(
    store: MemoryRecordStore,
    image: RasterImage,
    *,
    embedding: Embedding | None = None,
    keeps_thumbnail: bool = True,
) -> RecordId:
    prints = Fingerprints(
        PdqHasher().hash(image), embedding, make_thumbnail(image) if keeps_thumbnail else None
    )
    record = build_record(store.reserve().record_id, created_at=NOW)
    store.commit(replace(record, fingerprints=prints))
    return record.record_id


@pytest.fixture
def store() -> MemoryRecordStore:
    """A dozen unlike pictures, so that nothing is found for want of others."""
    store = MemoryRecordStore()
    for seed in range(100, 112):
        register(store, picture(seed, 256))
    return store


@lru_cache(maxsize=1)
def verifier():
    found = load_verifier()
    if found is None or not found.is_quick:
        pytest.skip("OpenCV is not installed")
    return found


def search(store: MemoryRecordStore, **parts: object) -> LikenessSearch:
    return LikenessSearch(store, PdqHasher(), **parts)


def cut(image: RasterImage, rows: slice, columns: slice) -> RasterImage:
    return RasterImage(np.ascontiguousarray(image.pixels[rows, columns]))


def pasted(image: RasterImage, *, left: int, top: int) -> RasterImage:
    sheet = natural_picture(640, 480, seed=999).pixels.copy()
    sheet[top : top + image.height_px, left : left + image.width_px] = image.pixels
    return RasterImage(sheet)


def framed(image: RasterImage) -> RasterImage:
    sheet = np.full((image.height_px + 160, image.width_px + 90, 3), 240, dtype=np.uint8)
    sheet[90 : 90 + image.height_px, 45 : 45 + image.width_px] = image.pixels
    return RasterImage(sheet)


EDITS = {
    "mirrored": lambda image: RasterImage(np.ascontiguousarray(image.pixels[:, ::-1])),
    "turned": lambda image: RasterImage(np.ascontiguousarray(np.rot90(image.pixels))),
    "turned and mirrored": lambda image: RasterImage(
        np.ascontiguousarray(np.rot90(image.pixels[:, ::-1], 3))
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_quick_look_finds_all_eight_turns(store: MemoryRecordStore, edit: str) -> None:
    record_id = register(store, picture(5))
    (match,) = search(store).look(EDITS[edit](picture(5)))
    assert (match.tier, match.record.record_id) == (MatchTier.COPY_STRONG, record_id)
    assert search(store).look(picture(6)) == ()


def test_a_hasher_that_knows_no_turns_is_asked_once(store: MemoryRecordStore) -> None:
    empty = MemoryRecordStore()
    record = build_record(empty.reserve().record_id, created_at=NOW)
    prints = Fingerprints(MeanHasher().hash(picture(5)))
    empty.commit(replace(record, fingerprints=prints))
    assert len(LikenessSearch(empty, MeanHasher()).look(picture(5))) == 1


PARTS = {
    "crop": lambda image: cut(image, slice(60, 250), slice(40, 240)),
    "pasted": lambda image: pasted(image, left=210, top=90),
    "framed": framed,
    "turned by 20 degrees": lambda image: _turned(image, 20),
}


def _turned(image: RasterImage, degrees: float) -> RasterImage:
    from PIL import Image

    return RasterImage(np.array(Image.fromarray(image.pixels).rotate(degrees, expand=True)))


@pytest.mark.parametrize("edit", PARTS)
def test_a_planted_part_is_verified(store: MemoryRecordStore, edit: str) -> None:
    record_id = register(store, picture(5))
    query = PARTS[edit](picture(5))
    assert search(store).look(query) == ()
    (match,) = search(store, verifier=verifier()).search(query)
    assert (match.tier, match.record.record_id) == (MatchTier.COPY_VERIFIED, record_id)
    assert match.likeness.inliers is not None
    assert match.likeness.inliers >= 12


def test_what_is_not_registered_is_not_found(store: MemoryRecordStore) -> None:
    for edit in PARTS.values():
        assert search(store, verifier=verifier()).search(edit(picture(6))) == ()


def test_without_a_verifier_a_framed_copy_is_likely_and_a_crop_is_missed(
    store: MemoryRecordStore,
) -> None:
    record_id = register(store, picture(5))
    (match,) = search(store).search(framed(picture(5)))
    assert (match.tier, match.record.record_id) == (MatchTier.COPY_LIKELY, record_id)
    assert match.view == "content"
    assert search(store).search(PARTS["crop"](picture(5))) == ()


def test_a_record_without_a_thumbnail_is_verified_from_its_file(store: MemoryRecordStore) -> None:
    record_id = register(store, picture(5), keeps_thumbnail=False)
    query = PARTS["crop"](picture(5))
    assert search(store, verifier=verifier()).search(query) == ()
    files = {store.get(record_id).asset.sha256: encode_image(picture(5), MediaType.PNG).data}
    (match,) = search(store, verifier=verifier(), get_asset=files.get).search(query)
    assert (match.tier, match.record.record_id) == (MatchTier.COPY_VERIFIED, record_id)
    damaged = dict.fromkeys(files, b"no picture")
    assert search(store, verifier=verifier(), get_asset=damaged.get).search(query) == ()


def test_a_thumbnail_that_does_not_decode_spoils_nothing(store: MemoryRecordStore) -> None:
    record_id = register(store, picture(5))
    damaged = register(store, picture(5))
    record = store.records[damaged]
    prints = replace(record.fingerprints, thumbnail=b"no picture")
    store.records[damaged] = replace(record, fingerprints=prints)
    found = search(store, verifier=verifier()).search(PARTS["crop"](picture(5)))
    assert [match.record.record_id for match in found] == [record_id]


def test_a_thumbnail_that_comes_later_is_used(store: MemoryRecordStore) -> None:
    record_id = register(store, picture(5), keeps_thumbnail=False)
    looking, query = search(store, verifier=verifier()), PARTS["crop"](picture(5))
    assert looking.search(query) == ()
    record = store.records[record_id]
    prints = replace(record.fingerprints, thumbnail=make_thumbnail(picture(5)))
    store.records[record_id] = replace(record, fingerprints=prints)
    assert [match.tier for match in looking.search(query)] == [MatchTier.COPY_VERIFIED]


def test_a_huge_picture_is_searched_smaller(store: MemoryRecordStore) -> None:
    record_id = register(store, picture(5))
    huge = np.full((2400, 3000, 3), 200, dtype=np.uint8)
    huge[1200:, 1500:] = 60
    shown = np.repeat(np.repeat(picture(5).pixels, 3, axis=0), 3, axis=1)
    huge[200:1160, 300:1260] = shown
    (match,) = search(store, verifier=verifier()).search(RasterImage(huge))
    assert (match.tier, match.record.record_id) == (MatchTier.COPY_VERIFIED, record_id)


def test_in_a_large_registry_an_embedding_brings_the_candidate(store: MemoryRecordStore) -> None:
    embedder = PlantedEmbedder()
    embedder.plant(picture(5), 1.0)
    record_id = register(store, picture(5), embedding=embedder.encode(picture(5)))
    query = PARTS["crop"](picture(5))
    few = SearchOptions(candidates=1, try_all_up_to=0)
    assert search(store, verifier=verifier(), options=few).search(query) == ()
    embedder.plant(query, 0.26)
    (match,) = search(store, verifier=verifier(), embedder=embedder, options=few).search(query)
    assert (match.tier, match.record.record_id) == (MatchTier.COPY_VERIFIED, record_id)


@lru_cache(maxsize=1)
def word_maker():
    found = load_word_maker()
    if found is None:
        pytest.skip("OpenCV is not installed")
    return found


@pytest.mark.parametrize("edit", PARTS)
def test_in_a_large_registry_words_bring_the_candidate(store: MemoryRecordStore, edit: str) -> None:
    image, words = picture(5), word_maker()
    record_id = register(store, image)
    for registered in (record_id, *list(store.records)[:3]):
        record = store.records[registered]
        thumbnail = record.fingerprints.thumbnail
        few_corners = words.vocabulary.describe(
            words._find(read_thumbnail(thumbnail), at_most=120)  # the twin counts one by one
        )
        prints = replace(record.fingerprints, keypoint_words=few_corners)
        store.records[registered] = replace(record, fingerprints=prints)
    query = PARTS[edit](image)
    few = SearchOptions(candidates=1, try_all_up_to=0)
    (match,) = search(store, verifier=verifier(), words=words, options=few).search(query)
    assert (match.tier, match.record.record_id) == (MatchTier.COPY_VERIFIED, record_id)


def test_crop_codes_bring_what_was_cut_out_of_a_registered_picture(
    store: MemoryRecordStore,
) -> None:
    """The embedder knows a quarter as it is registered, and again after a re-save."""
    image = picture(5)
    quarter = cut_view(image, "top left")
    assert quarter is not None
    embedder = PlantedEmbedder()
    embedder.plant(quarter, 1.0)
    (code, *others) = (one.encode(image) for one in crop_embedders(embedder))
    assert code is not None
    assert code.space_id == "planted/1#top left"
    assert [one.space_id for one in others if one] == [f"planted/1#{name}" for name in CROPS[1:]]
    record_id = register(store, image, embedding=code)
    query = RasterImage(np.clip(quarter.pixels.astype(int) + 3, 0, 255).astype(np.uint8))
    embedder.plant(query, 0.7)
    assert search(store, embedder=embedder).search(query) == ()
    codes = SearchOptions(crop_codes=True)
    (match,) = search(store, embedder=embedder, options=codes).search(query)
    assert (match.tier, match.record.record_id) == (MatchTier.COPY_LIKELY, record_id)


def test_a_part_too_small_to_say_anything_has_no_code() -> None:
    embedder = PlantedEmbedder()
    assert all(one.encode(picture(5, 100)) is None for one in crop_embedders(embedder))
    assert crop_embedders(embedder)[0].space == replace(
        embedder.space, space_id="planted/1#top left"
    )


@pytest.mark.parametrize(
    ("cosine", "tier"),
    [(0.95, MatchTier.COPY_STRONG), (0.7, MatchTier.COPY_LIKELY), (0.4, MatchTier.SIMILAR),
     (0.3, None)],
)  # fmt: skip
def test_a_copy_space_speaks_in_tiers_and_a_semantic_one_only_of_likeness(
    store: MemoryRecordStore, cosine: float, tier: MatchTier | None
) -> None:
    for kind in SpaceKind:
        embedder = PlantedEmbedder(kind, space_id=f"{kind}/1")
        embedder.plant(picture(5), 1.0)
        register(store, picture(5), embedding=embedder.encode(picture(5)))
        embedder.plant(picture(6), cosine)
        found = search(store, embedder=embedder).search(picture(6))
        allowed = tier if kind is SpaceKind.COPY or tier is None else MatchTier.SIMILAR
        assert [match.tier for match in found] == ([] if allowed is None else [allowed])


def two_spaces(store: MemoryRecordStore) -> tuple[PlantedEmbedder, PlantedEmbedder]:
    """A semantic space and a copy space, with one record in both."""
    subject = PlantedEmbedder(SpaceKind.SEMANTIC, space_id="subject/1")
    copy = PlantedEmbedder(space_id="copy/1")
    for one in (subject, copy):
        one.plant(picture(5), 1.0)
    prints = Fingerprints(
        None,
        subject.encode(picture(5)),
        further=(copy.encode(picture(5)),),  # type: ignore[arg-type]
    )
    record = build_record(store.reserve().record_id, created_at=NOW)
    store.commit(replace(record, fingerprints=prints))
    return subject, copy


@pytest.mark.parametrize("copy_is_further", [True, False])
def test_every_space_is_asked_and_the_one_that_says_most_decides(
    store: MemoryRecordStore, copy_is_further: bool
) -> None:
    subject, copy = two_spaces(store)
    subject.plant(picture(6), 0.99)  # higher, and yet no copy
    copy.plant(picture(6), 0.95)
    first, second = (subject, copy) if copy_is_further else (copy, subject)
    (match,) = search(store, embedder=first, further=[second]).search(picture(6))
    assert match.tier is MatchTier.COPY_STRONG
    assert (match.likeness.cosine, match.likeness.space) == (pytest.approx(0.95), copy.space)


def test_a_record_that_only_the_further_space_knows_is_found(store: MemoryRecordStore) -> None:
    subject, copy = two_spaces(store)
    copy.plant(picture(6), 0.95)
    assert search(store, embedder=subject).search(picture(6)) == ()
    (match,) = search(store, embedder=subject, further=[copy]).search(picture(6))
    assert match.tier is MatchTier.COPY_STRONG


def test_geometry_that_looked_takes_a_likely_copy_back(store: MemoryRecordStore) -> None:
    embedder = PlantedEmbedder()
    embedder.plant(picture(5), 1.0)
    register(store, picture(5), embedding=embedder.encode(picture(5)))
    embedder.plant(picture(6), 0.7)
    (match,) = search(store, embedder=embedder, verifier=verifier()).search(picture(6))
    assert match.tier is MatchTier.SIMILAR


def test_an_embedder_that_says_nothing_of_its_space_is_semantic() -> None:
    class Silent:
        space_id = "silent/1"

    assert space_of(Silent()).kind is SpaceKind.SEMANTIC


def test_siblings_are_not_joined() -> None:
    """One specification, other seeds: the same tower on the same hill, and another picture."""
    random = np.random.default_rng(12)
    store = MemoryRecordStore()
    strangers = []
    for _ in range(4):
        spec = sample_spec(random, Split.TEST)
        first, second = (
            RasterImage(draw_scene(replace(spec, seed=seed), side_px=256)) for seed in (1, 2)
        )
        register(store, first)
        strangers.append(second)
    looking = search(store, verifier=verifier())
    for sibling in strangers:
        found = looking.look(sibling) + looking.search(sibling)
        assert not [match for match in found if match.tier in COPIES]


def test_flat_pictures_are_nobody_s_copy(store: MemoryRecordStore) -> None:
    register(store, flat_picture(200, 200, rgb=(9, 9, 9)))
    assert search(store, verifier=verifier()).search(flat_picture(200, 200, rgb=(9, 9, 9))) == ()


def test_the_same_question_has_the_same_answer(store: MemoryRecordStore) -> None:
    register(store, picture(5))
    query = pasted(picture(5), left=30, top=20)
    answers = [
        [(match.record.record_id, match.likeness) for match in one.search(query)]
        for one in (search(store, verifier=verifier()), search(store, verifier=verifier()))
    ]
    assert answers[0] == answers[1] != []
