import numpy as np
import pytest

from benchmarks.bulk_rows import add_records
from provenance.testing.indexes import SPACE, VectorIndexTests
from registry import migrate
from registry.engine import make_engine
from registry.index.exact import ExactVectorIndex, VectorBlock
from registry.index.pgvector import PgVectorIndex
from registry.index.vectors import SqlVectorIndex


class TestExactVectorIndex(VectorIndexTests):
    @pytest.fixture
    def build(self):
        def in_two_blocks(ids, vectors):
            names, half = np.array(ids, dtype="S16"), len(ids) // 2
            blocks = [
                VectorBlock(names[part], vectors[part])
                for part in (slice(0, half), slice(half, None))
                if len(names[part])
            ]
            return ExactVectorIndex(SPACE, blocks)

        return in_two_blocks


class TestSqlVectorIndex(VectorIndexTests):
    """Sign codes over the rows of a registry, on SQLite and PostgreSQL."""

    @pytest.fixture
    def build(self, registry_url):
        engine = make_engine(registry_url)

        def over_rows(ids, vectors):
            add_records(engine, vectors, space_id=SPACE, ids=ids)
            return SqlVectorIndex(engine, SPACE)

        yield over_rows
        engine.dispose()


class TestPgVectorIndex(VectorIndexTests):
    """The same inside PostgreSQL."""

    @pytest.fixture
    def build(self, empty_postgresql_url):
        migrate.upgrade(empty_postgresql_url)
        engine = make_engine(empty_postgresql_url)

        def over_rows(ids, vectors):
            add_records(engine, vectors, space_id=SPACE, ids=ids)
            return PgVectorIndex(engine, SPACE)

        yield over_rows
        engine.dispose()
