"""A mark is a search key: the record speaks only for the picture that agrees with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import pytest

from detector.evidence.registry import RegistrySource, describe_match
from detector.evidence.registry_search import RegistrySearchSource
from detector.joining import RegistryJoin
from detector.policy import STANDARD, decide
from provenance.fingerprint.similarity import Likeness
from provenance.imaging import encode_image, open_candidate
from provenance.manifest.trust import no_trust
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.testing.twins_marks import MeanHasher, ThumbnailEmbedder
from provenance.testing.twins_registry import MemoryRecordStore
from provenance.types import (
    AssetInfo,
    Assurance,
    Credential,
    Finding,
    Fingerprints,
    ManifestEvidence,
    ManifestReport,
    MatchBasis,
    MatchTier,
    MediaType,
    Origin,
    RecordId,
    RecordKind,
    RegistryEvidence,
    RegistryRecord,
    Substitution,
    WatermarkEvidence,
)
from registry.likeness import RecordMatch

if TYPE_CHECKING:
    from provenance.interfaces import Embedder
    from provenance.types import Candidate, Evidence, RasterImage

HASHER = MeanHasher()
EMBEDDER = ThumbnailEmbedder()


def candidate_of(picture: RasterImage, media_type: MediaType = MediaType.PNG) -> Candidate:
    return open_candidate(encode_image(picture, media_type).data, name="candidate")


def register(
    store: MemoryRecordStore, candidate: Candidate, kind: RecordKind = RecordKind.GENERATED
) -> RecordId:
    """Records a picture as the generator would; its manifest store is not a real one."""
    assert candidate.raster is not None
    assert candidate.pixel_sha256 is not None
    record_id = store.reserve().record_id
    asset = AssetInfo(
        sha256=candidate.sha256,
        pixel_sha256=candidate.pixel_sha256,
        media_type=MediaType.PNG,
        width_px=candidate.raster.width_px,
        height_px=candidate.raster.height_px,
        size_bytes=len(candidate.data),
    )
    record = RegistryRecord(
        record_id=record_id,
        kind=kind,
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
        asset=asset,
        model=None,
        parameters={},
        safety=None,
        watermark=None,
        fingerprints=Fingerprints(HASHER.hash(candidate.raster), EMBEDDER.encode(candidate.raster)),
        manifest_label=f"urn:c2pa:{record_id}",
        manifest_store=b"no store",
        claim_generator="test",
    )
    store.commit(record)
    return record_id


@pytest.fixture
def store() -> MemoryRecordStore:
    return MemoryRecordStore()


def source(store: MemoryRecordStore | None, max_distance_bits: int = 31) -> RegistrySource:
    return RegistrySource(lambda: store, lambda: HASHER, max_distance_bits=max_distance_bits)


def join(store: MemoryRecordStore | None) -> RegistryJoin:
    return RegistryJoin(lambda: store, lambda: HASHER, no_trust())


def mark(record_id: RecordId | None) -> WatermarkEvidence:
    return WatermarkEvidence(Finding.PRESENT, "A mark.", "stripe", record_id, 1e-9, "k1")


def registry_hits(evidence: list[Evidence]) -> list[RegistryEvidence]:
    return [e for e in evidence if isinstance(e, RegistryEvidence)]


PICTURE = natural_picture(96, 96, seed=1)
OTHER = natural_picture(96, 96, seed=2)


def test_same_file_and_same_pixels_are_exact(store: MemoryRecordStore) -> None:
    original = candidate_of(PICTURE)
    record_id = register(store, original)
    (hit,) = source(store).collect(original)
    assert isinstance(hit, RegistryEvidence)
    assert (hit.basis, hit.tier, hit.record_id) == (
        MatchBasis.FILE_HASH,
        MatchTier.EXACT,
        record_id,
    )
    saved_again = open_candidate(original.data + b"trailing", name="same pixels")
    (hit,) = source(store).collect(saved_again)
    assert isinstance(hit, RegistryEvidence)
    assert (hit.basis, hit.tier) == (MatchBasis.PIXEL_HASH, MatchTier.EXACT)


def test_anybodys_black_picture_is_not_called_a_registered_one(store: MemoryRecordStore) -> None:
    black = candidate_of(flat_picture(64, 64, rgb=(0, 0, 0)))
    register(store, black)
    (hit,) = source(store).collect(open_candidate(black.data + b"x", name="another black"))
    assert isinstance(hit, RegistryEvidence)
    assert hit.tier is MatchTier.UNCONFIRMED
    assert decide([hit], STANDARD, {}).assurance is Assurance.HINT


def test_a_near_hash_is_a_copy_and_a_farther_one_decides_nothing(
    store: MemoryRecordStore,
) -> None:
    record_id = register(store, candidate_of(PICTURE))
    evidence = source(store).collect(candidate_of(PICTURE, MediaType.JPEG))
    (hit,) = registry_hits(list(evidence))
    assert (hit.tier, hit.basis, hit.record_id) == (
        MatchTier.COPY_STRONG,
        MatchBasis.PERCEPTUAL_HASH,
        record_id,
    )
    assert hit.distance_bits is not None
    verdict = decide(evidence, STANDARD, {})
    assert (verdict.origin, verdict.assurance, verdict.record_id) == (
        Origin.MACHINE_MADE,
        Assurance.REGISTERED,
        record_id,
    )
    (far,) = registry_hits(list(source(store, 256).collect(candidate_of(OTHER))))
    assert (far.tier, far.record_id) == (MatchTier.SIMILAR, record_id)
    assert decide([far], STANDARD, {}).origin is Origin.UNKNOWN


def test_a_copy_of_an_attested_picture_carries_its_claim_only_as_a_whole(
    store: MemoryRecordStore,
) -> None:
    record_id = register(store, candidate_of(PICTURE), RecordKind.ATTESTED)
    record = store.get(record_id)
    verified = RecordMatch(
        record, MatchTier.COPY_VERIFIED, Likeness(inliers=80, agreement=0.9), "whole"
    )
    # A copy space calls a picture with anything pasted on it a copy; and here it saw a part.
    embedded = RecordMatch(record, MatchTier.COPY_STRONG, Likeness(cosine=0.97), "whole")
    part = RecordMatch(
        record, MatchTier.COPY_STRONG, Likeness(distance_bits=3, quality=90, cosine=0.97), "content"
    )
    for match in (verified, embedded, part):
        hit = describe_match(match)
        assert hit.tier is MatchTier.SIMILAR
        assert decide([hit], STANDARD, {}).origin is Origin.UNKNOWN
    strong = RecordMatch(record, MatchTier.COPY_STRONG, Likeness(distance_bits=3, quality=90))
    verdict = decide([describe_match(strong)], STANDARD, {})
    assert (verdict.origin, verdict.assurance) == (Origin.HUMAN_CLAIMED, Assurance.REGISTERED)


def test_an_unknown_picture_is_absent_and_no_registry_unreadable(store: MemoryRecordStore) -> None:
    (answer,) = source(store).collect(candidate_of(PICTURE))
    assert answer.finding is Finding.ABSENT
    (answer,) = source(None).collect(candidate_of(PICTURE))
    assert answer.finding is Finding.UNREADABLE


class SubjectEmbedder(ThumbnailEmbedder):
    """As one of a semantic space: it does not say what nearness means in it."""

    space = None  # type: ignore[assignment]


def by_embedding(store: MemoryRecordStore, embedder: Embedder | None) -> RegistrySearchSource:
    """The search without hashes, and without comparing point by point."""
    return RegistrySearchSource(lambda: store, lambda: None, lambda: embedder, lambda: None)


def test_embedding_neighbours_are_similar_only(store: MemoryRecordStore) -> None:
    record_id = register(store, candidate_of(PICTURE))
    near = by_embedding(store, SubjectEmbedder())
    evidence = near.collect(candidate_of(PICTURE, MediaType.JPEG))
    (hit,) = registry_hits(list(evidence))
    assert (hit.tier, hit.basis, hit.record_id) == (
        MatchTier.SIMILAR,
        MatchBasis.EMBEDDING,
        record_id,
    )
    assert decide(evidence, STANDARD, {}).origin is Origin.UNKNOWN
    (answer,) = by_embedding(store, None).collect(candidate_of(PICTURE))
    assert answer.finding is Finding.UNREADABLE


def test_mark_and_agreeing_picture_are_registered(store: MemoryRecordStore) -> None:
    record_id = register(store, candidate_of(PICTURE))
    copy = candidate_of(PICTURE, MediaType.JPEG)
    evidence = join(store).join(copy, [mark(record_id)])
    hit = registry_hits(list(evidence))[0]
    assert (hit.basis, hit.record_id) == (MatchBasis.WATERMARK, record_id)
    verdict = decide(evidence, STANDARD, {})
    assert (verdict.origin, verdict.assurance, verdict.record_id) == (
        Origin.MACHINE_MADE,
        Assurance.REGISTERED,
        record_id,
    )


def test_a_mark_on_another_picture_is_a_transplant(store: MemoryRecordStore) -> None:
    record_id = register(store, candidate_of(PICTURE))
    evidence = join(store).join(candidate_of(OTHER), [mark(record_id)])
    (hit,) = registry_hits(list(evidence))
    assert hit.tier is MatchTier.TRANSPLANT
    verdict = decide(evidence, STANDARD, {})
    assert (verdict.origin, verdict.assurance) == (Origin.CONFLICTING, Assurance.REGISTERED)


def test_a_mark_on_a_plain_picture_is_unconfirmed(store: MemoryRecordStore) -> None:
    record_id = register(store, candidate_of(PICTURE))
    evidence = join(store).join(
        candidate_of(flat_picture(64, 64, rgb=(9, 9, 9))), [mark(record_id)]
    )
    (hit,) = registry_hits(list(evidence))
    assert hit.tier is MatchTier.UNCONFIRMED
    assert decide(evidence, STANDARD, {}).assurance is Assurance.HINT


def test_a_mark_whose_record_is_elsewhere_is_a_hint(store: MemoryRecordStore) -> None:
    evidence = join(store).join(candidate_of(PICTURE), [mark(RecordId("00000000000000aa"))])
    (hit,) = registry_hits(list(evidence))
    assert (hit.tier, hit.finding) == (MatchTier.NO_RECORD, Finding.ABSENT)
    verdict = decide(evidence, STANDARD, {})
    assert (verdict.origin, verdict.assurance, verdict.record_id) == (
        Origin.MACHINE_MADE,
        Assurance.HINT,
        None,
    )


def test_hashes_of_another_kind_are_never_compared(store: MemoryRecordStore) -> None:
    record_id = register(store, candidate_of(PICTURE))
    record = store.records[record_id]
    known = record.fingerprints.perceptual_hash
    assert known is not None
    store.records[record_id] = replace(
        record, fingerprints=Fingerprints(replace(known, algorithm="another-1"))
    )
    evidence = join(store).join(candidate_of(PICTURE), [mark(record_id)])
    assert registry_hits(list(evidence))[0].tier is MatchTier.UNCONFIRMED


def test_a_likeness_of_the_confirmed_record_is_left_out(store: MemoryRecordStore) -> None:
    record_id = register(store, candidate_of(PICTURE))
    copy = candidate_of(PICTURE, MediaType.JPEG)
    found = [*source(store, 60).collect(copy), mark(record_id)]
    assert registry_hits(found)[0].basis is MatchBasis.PERCEPTUAL_HASH
    joined = join(store).join(copy, found)
    assert {hit.basis for hit in registry_hits(list(joined))} == {MatchBasis.WATERMARK}


def test_what_two_sources_say_of_a_records_looks_is_said_once(store: MemoryRecordStore) -> None:
    record_id = register(store, candidate_of(PICTURE))
    copy = candidate_of(PICTURE, MediaType.JPEG)
    (near,) = source(store).collect(copy)
    assert isinstance(near, RegistryEvidence)
    measured = replace(near, inliers=80, agreement=0.9)
    similar = replace(near, tier=MatchTier.SIMILAR, record_id=RecordId("0" * 16))
    joined = list(join(store).join(copy, [near, similar, measured]))
    assert registry_hits(joined) == [similar, measured]
    # A revoked record confirms nothing, and stands in the answer once all the same.
    exact = replace(near, basis=MatchBasis.PIXEL_HASH, tier=MatchTier.EXACT, revoked=True)
    joined = list(join(store).join(copy, [exact, replace(near, revoked=True)]))
    assert registry_hits(joined) == [exact]
    assert record_id == exact.record_id


@pytest.mark.parametrize(
    ("place", "words"), [("c2pa", "It carries"), ("c2pa_sidecar", "A file beside the picture")]
)
def test_credentials_in_a_file_and_beside_it_are_held_against_the_records(
    store: MemoryRecordStore, place: Literal["c2pa", "c2pa_sidecar"], words: str
) -> None:
    register(store, candidate_of(PICTURE))
    report = ManifestReport(credential=Credential.SIDECAR, manifest_label="urn:c2pa:another")
    other = ManifestEvidence(Finding.INVALID, "Of other bytes.", report, place)
    candidate = candidate_of(PICTURE)
    joined = join(store).join(candidate, [*source(store).collect(candidate), other])
    (found,) = (e for e in joined if isinstance(e, ManifestEvidence) and e.source == place)
    assert found.substitution is Substitution.EMBEDDED_DIFFERS
    reasons = decide(joined, STANDARD, {}).reasons
    assert any(one.startswith(f"{words}") and "other credentials" in one for one in reasons)


def test_a_copy_without_a_mark_is_confirmed_by_its_looks(store: MemoryRecordStore) -> None:
    record_id = register(store, candidate_of(PICTURE))
    copy = candidate_of(PICTURE, MediaType.JPEG)
    joined = join(store).join(copy, source(store).collect(copy))
    assert [hit.record_id for hit in registry_hits(list(joined))] == [record_id]
    recovered = [e for e in joined if isinstance(e, ManifestEvidence)]
    assert [e.source for e in recovered] == ["c2pa_recovered"]


def test_join_without_registry_or_mark_leaves_evidence_alone(store: MemoryRecordStore) -> None:
    evidence = [mark(None)]
    assert list(join(store).join(candidate_of(PICTURE), evidence)) == evidence
    assert list(join(None).join(candidate_of(PICTURE), [mark(RecordId("0" * 16))])) == [
        mark(RecordId("0" * 16))
    ]


def test_a_candidate_that_does_not_decode_is_joined_too(store: MemoryRecordStore) -> None:
    original = candidate_of(PICTURE)
    register(store, original)
    broken = replace(original, raster=None, pixel_sha256=None)
    evidence = source(store).collect(broken)
    joined = join(store).join(broken, evidence)
    assert decide(joined, STANDARD, {}).assurance is Assurance.REGISTERED
