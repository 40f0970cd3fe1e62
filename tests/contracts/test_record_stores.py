"""Every record and asset store passes the shipped suites; SQL and memory answer alike."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from provenance.errors import PayloadConflictError, RecordNotFoundError
from provenance.testing.stores import (
    LIFETIME,
    START,
    AssetStoreTests,
    ManualClock,
    RecordStoreTests,
    assert_same_record,
    build_embedding,
    build_hash,
    build_record,
    build_refusal,
    counting_bytes,
)
from provenance.testing.twins_registry import MemoryAssetStore, MemoryRecordStore
from registry.assets import DeliveringAssets, LocalAssetStore
from registry.assets_remote import open_remote_assets
from registry.engine import make_engine
from registry.migrate import upgrade
from registry.store import SqlRecordStore, open_store


class TestMemoryRecordStore(RecordStoreTests):
    @pytest.fixture
    def build_store(self):
        return MemoryRecordStore


class TestSqliteRecordStore(RecordStoreTests):
    @pytest.fixture
    def build_store(self, tmp_path):
        url = f"sqlite:///{tmp_path}/registry.sqlite3"
        upgrade(url)
        opened = []

        def build(**arguments):
            opened.append(open_store(url, **arguments))
            return opened[-1]

        yield build
        for store in opened:
            store.close()


class TestSqliteRecordStoreWithoutMemory(RecordStoreTests):
    """The same answers when no fingerprint fits into memory: all are read from the rows."""

    @pytest.fixture
    def build_store(self, tmp_path):
        url = f"sqlite:///{tmp_path}/registry.sqlite3"
        upgrade(url)
        engine = make_engine(url)
        yield lambda **arguments: SqlRecordStore(engine, max_cached_bytes=100, **arguments)
        engine.dispose()


class TestMemoryAssetStore(AssetStoreTests):
    @pytest.fixture
    def asset_store(self):
        return MemoryAssetStore()


class TestLocalAssetStore(AssetStoreTests):
    @pytest.fixture
    def asset_store(self, tmp_path):
        return LocalAssetStore(tmp_path / "assets")


class TestDeliveringAssets(AssetStoreTests):
    @pytest.fixture
    def asset_store(self, tmp_path):
        return DeliveringAssets(LocalAssetStore(tmp_path / "assets"), lambda _sha256: None)


class TestMemoryUrlAssetStore(AssetStoreTests):
    @pytest.fixture
    def asset_store(self, tmp_path):
        pytest.importorskip("fsspec", reason="the extra countermark[storage] is not installed")
        return open_remote_assets(f"memory://{tmp_path}")


class TestFileUrlAssetStore(AssetStoreTests):
    @pytest.fixture
    def asset_store(self, tmp_path):
        pytest.importorskip("fsspec", reason="the extra countermark[storage] is not installed")
        return open_remote_assets((tmp_path / "assets").as_uri())


directions = st.tuples(*[st.integers(-3, 3)] * 3).filter(any)


class SameAnswers(RuleBasedStateMachine):
    """Whatever is done to both stores, both answer the same."""

    ids = Bundle("ids")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{Path(self.folder.name) / 'registry.sqlite3'}"
        upgrade(url)
        self.clock = ManualClock()
        self.sql = open_store(
            url, clock=self.clock, random_bytes=counting_bytes(), reservation_lifetime=LIFETIME
        )
        self.memory = MemoryRecordStore(
            clock=self.clock, random_bytes=counting_bytes(), reservation_lifetime=LIFETIME
        )

    def teardown(self):
        self.sql.close()
        self.folder.cleanup()

    def both(self, act):
        answers = []
        for store in (self.sql, self.memory):
            try:
                answers.append(act(store))
            except (PayloadConflictError, RecordNotFoundError) as error:
                answers.append(type(error))
        return answers

    @rule(target=ids)
    def reserve(self):
        first, second = self.both(lambda store: store.reserve())
        assert first == second
        return first.record_id

    @rule(record_id=ids)
    def release(self, record_id):
        self.both(lambda store: store.release(record_id))

    @rule(
        record_id=ids,
        bits=st.none() | st.integers(0, 2**12 - 1),
        direction=st.none() | directions,
        second=st.integers(0, 5),
    )
    def commit(self, record_id, bits, direction, second):
        record = build_record(
            record_id,
            created_at=START + timedelta(seconds=second),
            perceptual_hash=None if bits is None else build_hash(bits),
            embedding=None if direction is None else build_embedding(*direction),
        )
        first, second = self.both(lambda store: store.commit(record))
        assert getattr(first, "size", first) == getattr(second, "size", second)

    @rule(record_id=ids)
    def refuse(self, record_id):
        first, second = self.both(lambda store: store.refuse(build_refusal(record_id)))
        assert getattr(first, "size", first) == getattr(second, "size", second)

    @rule(seconds=st.sampled_from([1, 240, 600]))
    def wait(self, seconds):
        self.clock.advance(timedelta(seconds=seconds))

    @rule(record_id=ids)
    def get(self, record_id):
        first, second = self.both(lambda store: store.get(record_id))
        if isinstance(first, type):
            assert first is second
        else:
            assert_same_record(first, second)

    @rule(bits=st.integers(0, 2**12 - 1), distance=st.integers(0, 12), limit=st.integers(1, 5))
    def search_hashes(self, bits, distance, limit):
        first, second = self.both(
            lambda store: list(
                store.nearest_hashes(build_hash(bits), max_distance_bits=distance, limit=limit)
            )
        )
        assert first == second

    @rule(direction=directions)
    def search_embeddings(self, direction):
        first, second = self.both(
            lambda store: store.nearest_embeddings(
                build_embedding(*direction), min_cosine=-1.0, limit=100
            )
        )
        assert {n.record_id for n in first} == {n.record_id for n in second}
        np.testing.assert_allclose([n.cosine for n in first], [n.cosine for n in second], atol=1e-6)

    @rule(second=st.none() | st.integers(0, 6), limit=st.integers(1, 4))
    def list_records(self, second, limit):
        before = None if second is None else START + timedelta(seconds=second)
        first, second_answer = self.both(
            lambda store: [r.record_id for r in store.list_records(limit=limit, before=before)]
        )
        assert first == second_answer

    @invariant()
    def same_size(self):
        assert self.sql.count() == self.memory.count()
        assert self.sql.log_head().size == self.memory.log_head().size


SameAnswers.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSameAnswers = SameAnswers.TestCase
