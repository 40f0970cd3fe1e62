"""The registry on a real PostgreSQL server: the suites that it passes on SQLite, too."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from job_store_suite import JobStoreTests
from manifest_repository_suite import ManifestRepositoryTests

from provenance.errors import RegistryUnavailableError
from provenance.testing.stores import (
    RecordStoreTests,
    build_hash,
    build_record,
    build_refusal,
)
from provenance.types import EventTarget
from registry import migrate
from registry.check import check_consistency
from registry.events import EventLog
from registry.log_proofs import check_consistency_proof, check_inclusion_proof
from registry.signed_log import SignedLog, open_log_keys
from registry.store import open_store
from registry.tables import HEAD_REVISION
from registry.transfer import export_registry, import_registry


@pytest.fixture
def url(postgresql_url):
    return postgresql_url


class TestPostgresqlRecordStore(RecordStoreTests):
    @pytest.fixture
    def build_store(self, url):
        opened = []

        def build(**arguments):
            opened.append(open_store(url, **arguments))
            return opened[-1]

        yield build
        for store in opened:
            store.close()


class TestPostgresqlJobStore(JobStoreTests):
    @pytest.fixture
    def records(self, url):
        store = open_store(url)
        yield store
        store.close()


class TestPostgresqlManifestRepository(ManifestRepositoryTests):
    @pytest.fixture
    def records(self, url):
        store = open_store(url)
        yield store
        store.close()


def test_migrations_go_up_and_down_and_agree_with_the_mappings(url):
    assert migrate.current(url) == HEAD_REVISION
    assert migrate.check(url) == ()
    migrate.downgrade(url, "base")
    assert migrate.current(url) is None
    with pytest.raises(RegistryUnavailableError, match=r"migration none.*registry upgrade"):
        open_store(url)
    assert migrate.upgrade(url) == HEAD_REVISION


def test_writers_at_once_lose_and_double_nothing(url):
    stores = [open_store(url) for _ in range(4)]

    def write(store):
        for _ in range(15):
            store.commit(build_record(store.reserve().record_id))

    threads = [threading.Thread(target=write, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = check_consistency(stores[0].engine, now=datetime.now(UTC))
    assert report.problems == ()
    assert report.records == report.head.size == 60
    for store in stores:
        store.close()


def test_log_events_and_transfer_work_as_on_sqlite(url, tmp_path):
    store = open_store(url)
    ids = [store.reserve().record_id for _ in range(5)]
    for record_id in ids[:4]:
        store.commit(build_record(record_id, perceptual_hash=build_hash(int(record_id, 16))))
    store.refuse(build_refusal(ids[4]))
    log = SignedLog(store.engine, open_log_keys(tmp_path / "log.key"))
    first, key = log.sign(), next(iter(log.keys.public.values()))
    events = EventLog(store.engine)
    events.revoke(EventTarget.RECORD, ids[0], "made by mistake")
    events.take_down(ids[1], "it shows a person")
    assert events.erase(ids[2], "on request") == events.erase(ids[2], "again")
    proof = log.prove_growth(first.size, log.sign().size)
    check_consistency_proof(proof, first, proof.head, key)
    check_inclusion_proof(log.prove_record(ids[2], size=first.size), first, key)
    assert store.find_take_down(store.get(ids[1]).asset.sha256) is not None
    assert len(store.notices(store.get(ids[0]))) == 1
    report = check_consistency(store.engine, now=datetime.now(UTC), log_keys=log.keys.public)
    assert report.problems == ()
    assert (report.events, report.signed_heads) == (3, 2)

    export_registry(store.engine, None, tmp_path / "out")
    other = f"sqlite:///{tmp_path}/registry.sqlite3"
    migrate.upgrade(other)
    copy = open_store(other)
    done = import_registry(copy.engine, None, tmp_path / "out", log_ids=[first.log_id])
    assert done.log_is_same
    assert copy.log_head() == store.log_head()
    again = import_registry(store.engine, None, tmp_path / "out")
    assert (again.entries, again.known) == (0, 8)
    copy.close()
    store.close()


def test_a_log_goes_back_to_a_chain_and_comes_again_as_the_same_tree(url):
    store = open_store(url)
    for _ in range(6):
        store.commit(build_record(store.reserve().record_id))
    head = store.log_head()
    store.close()
    migrate.downgrade(url, "0005")
    migrate.upgrade(url)
    assert migrate.check(url) == ()
    store = open_store(url)
    assert store.log_head() == head
    assert check_consistency(store.engine, now=datetime.now(UTC)).problems == ()
    store.close()


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path):
    with pytest.raises(RegistryUnavailableError, match="cannot be reached") as caught:
        open_store(f"postgresql://me:hunter2@/none?host={tmp_path}")
    assert "hunter2" not in str(caught.value)
