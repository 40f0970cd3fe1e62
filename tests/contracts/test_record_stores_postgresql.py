"""The registry on a real PostgreSQL server: the suites that it passes on SQLite, too."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from job_store_suite import JobStoreTests
from manifest_repository_suite import ManifestRepositoryTests

from provenance.errors import RegistryUnavailableError
from provenance.testing.stores import RecordStoreTests, build_record
from registry import migrate
from registry.check import check_consistency
from registry.store import open_store
from registry.tables import HEAD_REVISION


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


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path):
    with pytest.raises(RegistryUnavailableError, match="cannot be reached") as caught:
        open_store(f"postgresql://me:hunter2@/none?host={tmp_path}")
    assert "hunter2" not in str(caught.value)
