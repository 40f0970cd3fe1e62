"""The tables of pgvector against the rows: ``countermark audit`` names what was planted."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from provenance.testing.stores import build_embedding, build_record
from registry.audit_cli import audit_app
from registry.cli import app
from registry.engine import writing
from registry.events import EventLog
from registry.index.generations import count_up
from registry.index.maintenance import check_indexes, rebuild_indexes
from registry.index.pgvector import PgVectorIndex, tables_of_space
from registry.store import open_store

SPACE = build_embedding(1).space_id
CODES, VECTORS = tables_of_space(SPACE)


@pytest.fixture
def home(postgresql_url, tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path))
    monkeypatch.setenv("COUNTERMARK_REGISTRY_URL", postgresql_url)
    monkeypatch.setenv("COUNTERMARK_REGISTRY_VECTOR_INDEX", "pgvector")
    monkeypatch.setenv("COUNTERMARK_REGISTRY_KEEP_ASSETS", "false")
    return tmp_path


@pytest.fixture
def store(home, postgresql_url):
    """Four records whose space was searched, so that its tables stand."""
    opened = open_store(postgresql_url, open_index=PgVectorIndex)
    for number in range(4):
        embedding = build_embedding(1, number)
        opened.commit(build_record(opened.reserve().record_id, embedding=embedding))
    search(opened, 1)
    yield opened
    opened.close()


def search(store, *components):
    query = build_embedding(*components)
    return [one.record_id for one in store.nearest_embeddings(query, min_cosine=0.99, limit=1)]


def sql(store, *statements):
    with writing(store.engine) as session:
        for statement in statements:
            session.execute(text(statement))


def of_tables(store, **options):
    return [one for one in check_indexes(store.engine, None, **options) if "pgvector" in one.name]


def test_tables_that_were_filled_by_a_search_agree(store):
    (state,) = of_tables(store, whole_tables=True)
    assert (state.name, state.rows, state.indexed, state.problem) == (f"pgvector {SPACE}", 4, 4, "")
    store.commit(build_record(store.reserve().record_id, embedding=build_embedding(3)))
    (state,) = of_tables(store)
    assert (state.rows, state.indexed, state.problem) == (5, 4, "")  # taken in by the next search


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (f"DELETE FROM {CODES} WHERE log_index = 2", "1 embeddings are missing in"),
        (f"DELETE FROM {VECTORS} WHERE log_index = 0", "1 embeddings are missing in"),
        (f"UPDATE {CODES} SET code = ~code WHERE log_index = 2", "does not hold the embedding of"),
        (
            f"UPDATE {VECTORS} SET vector = (SELECT vector FROM {VECTORS} WHERE log_index = 0) "
            "WHERE log_index = 3",
            "does not hold the embedding of",
        ),
        (
            f"INSERT INTO {VECTORS} SELECT 77, vector FROM {VECTORS} WHERE log_index = 0",
            "1 rows of",
        ),
        (f"DROP TABLE {CODES}", "is missing, so that searches of the space fail"),
        ("DELETE FROM countermark_index.spaces", "is missing, so that searches of the space fail"),
        (
            f"CREATE TABLE countermark_index.codes_{'a' * 16} AS SELECT * FROM {CODES}",
            "belongs to no space",
        ),
    ],
)
def test_the_audit_names_what_does_not_belong_together_and_a_rebuild_mends_it(
    store, statement, said
):
    found_before = [search(store, 1, number) for number in range(4)]
    sql(store, statement)
    answer = CliRunner().invoke(audit_app, ["--json"])
    assert answer.stdout, answer.output
    found = [one for one in json.loads(answer.stdout)["problems"] if "pgvector" in one["what"]]
    assert answer.exit_code == 1
    assert [one["code"] for one in found] == ["index_disagrees"]
    assert said in found[0]["what"]
    assert "registry index --rebuild" in found[0]["remedy"]
    assert CliRunner().invoke(app, ["index", "--rebuild"]).exit_code == 0
    assert [one.problem for one in of_tables(store, whole_tables=True)] == [""]
    assert [search(store, 1, number) for number in range(4)] == found_before


def test_tables_that_the_next_search_begins_anew_are_no_problem(store):
    with writing(store.engine) as session:
        count_up(session, SPACE)
    (state,) = of_tables(store)
    assert (state.indexed, state.problem) == (0, "")


def test_an_erased_vector_that_is_there_again_is_named(store):
    sql(store, f"CREATE TABLE kept AS SELECT * FROM {VECTORS}")
    (first,) = search(store, 1)
    EventLog(store.engine).erase(first, "on request")
    assert of_tables(store)[0].problem == ""
    sql(store, f"INSERT INTO {VECTORS} SELECT * FROM kept WHERE log_index = 0")
    sql(store, "DROP TABLE kept")  # tests share the database
    assert "it was erased, or never was" in of_tables(store)[0].problem
    rebuild_indexes(store.engine, None)
    assert of_tables(store)[0].problem == ""


def test_nothing_is_said_where_pgvector_was_never_used(postgresql_url):
    opened = open_store(postgresql_url)
    opened.commit(build_record(opened.reserve().record_id, embedding=build_embedding(1)))
    assert of_tables(opened) == []
    rebuild_indexes(opened.engine, None)
    assert of_tables(opened) == []
    opened.close()
