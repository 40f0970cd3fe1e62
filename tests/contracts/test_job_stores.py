"""Jobs on SQLite; on PostgreSQL see `test_record_stores_postgresql`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from job_store_suite import JobStoreTests

from registry import migrate
from registry.store import SqlRecordStore, open_store


class TestSqliteJobStore(JobStoreTests):
    @pytest.fixture
    def records(self, tmp_path: Path) -> Iterator[SqlRecordStore]:
        url = f"sqlite:///{tmp_path}/registry.sqlite3"
        migrate.upgrade(url)
        store = open_store(url)
        yield store
        store.close()
