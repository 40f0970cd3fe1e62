"""Manifests of other makers on SQLite; on PostgreSQL see `test_record_stores_postgresql`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from manifest_repository_suite import ManifestRepositoryTests

from registry import migrate
from registry.store import SqlRecordStore, open_store


class TestSqliteManifestRepository(ManifestRepositoryTests):
    @pytest.fixture
    def records(self, tmp_path: Path) -> Iterator[SqlRecordStore]:
        url = f"sqlite:///{tmp_path}/registry.sqlite3"
        migrate.upgrade(url)
        store = open_store(url)
        yield store
        store.close()
