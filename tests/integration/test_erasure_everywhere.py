"""What one part of the registry forgets, no other part keeps or brings back."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace

import pytest
from console import run
from sqlalchemy import text

from provenance.config import load_settings
from provenance.errors import InputError
from provenance.testing.stores import (
    START,
    build_embedding,
    build_hash,
    build_record,
    build_sealed_inputs,
    keep_asset,
)
from provenance.types import EncodedImage, MediaType, SoftBinding
from registry.assets import LocalAssetStore
from registry.check import check_consistency
from registry.engine import reading, writing
from registry.events import EventLog, delete_whole
from registry.index.maintenance import check_indexes, rebuild_indexes, remove_stale_files
from registry.index.pgvector import PgVectorIndex
from registry.log_rows import lock_log
from registry.migrate import upgrade
from registry.repository import ManifestRepository
from registry.store import open_store
from registry.tables import Base
from registry.transfer import export_registry, import_registry
from registry.wiring import open_asset_store, open_registry


def commit(store, assets, number):
    digest = keep_asset(assets, EncodedImage(b"file %d" % number, MediaType.PNG))
    record = build_record(
        store.reserve().record_id,
        perceptual_hash=build_hash(number),
        embedding=build_embedding(1, number),
    )
    record = replace(record, asset=replace(record.asset, sha256=digest))
    store.commit(record, build_sealed_inputs(record.record_id))
    return record


@pytest.fixture
def store(registry_url):
    opened = open_store(registry_url)
    yield opened
    opened.close()


@pytest.fixture
def assets(tmp_path):
    return LocalAssetStore(tmp_path / "assets")


@pytest.fixture
def target(tmp_path):
    url = f"sqlite:///{tmp_path}/target.sqlite3"
    upgrade(url)
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.fixture
def target_assets(tmp_path):
    return LocalAssetStore(tmp_path / "target-assets")


# -- indexes ---------------------------------------------------------------------------------------


def test_files_of_codes_go_with_what_was_erased(store, assets, tmp_path):
    folder = tmp_path / "indexes"
    records = [commit(store, assets, number) for number in (1, 2)]
    rebuild_indexes(store.engine, folder)
    (file,) = folder.iterdir()
    assert remove_stale_files(store.engine, folder) == 0
    for record in records:  # the second one leaves a space without rows
        rebuild_indexes(store.engine, folder)
        EventLog(store.engine).erase(record.record_id, "on request")
        assert any(state.problem for state in check_indexes(store.engine, folder))
        assert remove_stale_files(store.engine, folder) == 1
        assert not file.exists()
        assert not any(state.problem for state in check_indexes(store.engine, folder))


def test_a_rebuild_meanwhile_brings_no_erased_chunks_back(store, assets):
    erased, kept = (commit(store, assets, number) for number in (1, 2))
    rebuilding = threading.Thread(target=rebuild_indexes, args=(store.engine, None))
    with writing(store.engine) as session:
        lock_log(session)
        delete_whole(session, Base.metadata.tables["records"], erased.record_id)
        rebuilding.start()
        rebuilding.join(0.5)  # it has begun, and waits
        assert rebuilding.is_alive()
    rebuilding.join()
    assert [state.problem for state in check_indexes(store.engine, None)] == [""]
    near = store.nearest_hashes(build_hash(2), max_distance_bits=0, limit=9)
    assert [one.record_id for one in near] == [kept.record_id]


def test_tables_of_pgvector_forget_with_the_record(postgresql_url, assets):
    store = open_store(postgresql_url)
    erased, kept = (commit(store, assets, number) for number in (1, 2))
    query = build_embedding(1, 1)
    index = PgVectorIndex(store.engine, query.space_id)
    assert len(index.search(query, limit=9)) == 2
    EventLog(store.engine).erase(erased.record_id, "on request")
    with reading(store.engine) as session:  # before anybody searches again
        for table in (index._vectors, index._codes):
            assert session.scalar(text(f"SELECT count(*) FROM {table}")) == 1
    assert [one.record_id for one in index.search(query, limit=9)] == [kept.record_id]
    store.close()


def test_the_audit_agrees_right_after_an_erasure(tmp_path):
    """The commands, as an operator runs them."""
    settings = load_settings(environ={}, home=tmp_path)
    store, assets = open_registry(settings), open_asset_store(settings)
    first, _second = (commit(store, assets, number) for number in (1, 2))
    assert run(tmp_path, "registry", "index", "--rebuild").code == 0
    assert len(list(settings.index_folder.glob("*.codes"))) == 1
    done = run(tmp_path, "registry", "erase", first.record_id)
    assert done.code == 0, done.err
    assert list(settings.index_folder.glob("*")) == []
    found = run(tmp_path, "audit", "--sample", "0", "--json").json
    assert [one for one in found["problems"] if one["code"] == "index_disagrees"] == []
    store.close()


# -- export and import -----------------------------------------------------------------------------


def test_a_manifest_that_was_stored_again_comes_along(
    store, assets, target, target_assets, tmp_path
):
    repository, bindings = ManifestRepository(store), [SoftBinding("org.x.y", "1")]
    for _ in range(2):
        repository.add("urn:one", b"store", bindings, owner="k")
        repository.delete("urn:one")
    repository.add("urn:one", b"store", bindings, owner="k")
    export_registry(store.engine, assets, tmp_path / "out")
    done = import_registry(target.engine, target_assets, tmp_path / "out")
    assert (done.entries, done.known, done.log_is_same) == (5, 0, True)
    assert ManifestRepository(target).find("urn:one") == repository.find("urn:one")
    assert check_consistency(target.engine, now=START).problems == ()
    again = import_registry(target.engine, target_assets, tmp_path / "out")
    assert (again.entries, again.known) == (0, 5)
    assert ManifestRepository(target).find("urn:one") is not None


def test_an_older_export_brings_no_deleted_file_back(
    store, assets, target, target_assets, tmp_path
):
    record = commit(store, assets, 1)
    digest = record.asset.sha256
    export_registry(store.engine, assets, tmp_path / "out")
    import_registry(target.engine, target_assets, tmp_path / "out")
    target_assets.remove(digest)
    EventLog(target.engine).note_deletion(record.record_id, "past its retention")
    done = import_registry(target.engine, target_assets, tmp_path / "out")
    assert (done.files, done.missing) == (0, 0)
    assert not target_assets.contains(digest)


def test_a_deletion_is_taken_over_with_its_file(store, assets, target, target_assets, tmp_path):
    record = commit(store, assets, 1)
    export_registry(store.engine, assets, tmp_path / "out")
    import_registry(target.engine, target_assets, tmp_path / "out")
    assets.remove(record.asset.sha256)
    EventLog(store.engine).note_deletion(record.record_id, "past its retention")
    done = export_registry(store.engine, assets, tmp_path / "out")
    assert (done.files, done.missing) == (0, 0)
    import_registry(target.engine, target_assets, tmp_path / "out")
    assert not target_assets.contains(record.asset.sha256)


def test_files_that_went_are_not_called_missing(store, assets, target, target_assets, tmp_path):
    """The entry that says so comes long after the record: in another transaction."""
    records = [commit(store, assets, number) for number in range(66)]
    deleted, lost = records[0], records[1]
    for record in (deleted, lost):
        assets.remove(record.asset.sha256)
    EventLog(store.engine).note_deletion(deleted.record_id, "past its retention")
    export_registry(store.engine, assets, tmp_path / "out")
    done = import_registry(target.engine, target_assets, tmp_path / "out")
    assert (done.files, done.missing) == (64, 1)


def test_an_export_over_an_older_one_keeps_no_file_that_went(store, assets, tmp_path):
    records = [commit(store, assets, number) for number in range(3)]
    out = LocalAssetStore(tmp_path / "out" / "assets")
    foreign = keep_asset(out, EncodedImage(b"somebody else's", MediaType.PNG))
    export_registry(store.engine, assets, tmp_path / "out")
    EventLog(store.engine).erase(records[0].record_id, "on request")
    EventLog(store.engine).note_deletion(records[1].record_id, "past its retention")
    for record in records[:2]:
        assets.remove(record.asset.sha256)
    export_registry(store.engine, assets, tmp_path / "out")
    assert set(out.digests()) == {records[2].asset.sha256, foreign}


def rewrite(path, change):
    """Changes the lines as a forger would: with a last line that binds them."""
    lines = [change(json.loads(line)) for line in path.read_bytes().splitlines()[:-1]]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    end = {"end": {"lines": len(lines), "sha256": hashlib.sha256(data).hexdigest()}}
    path.write_bytes(data + json.dumps(end).encode() + b"\n")


def smuggled(other_id):
    """Lets the first record's kept inputs say that they are another record's."""

    def change(line):
        rows = line.get("rows", ())
        if rows and rows[0]["table"] == "records" and rows[0]["values"]["record_id"] != other_id:
            for row in rows[1:]:
                if row["table"] == "kept_inputs":
                    row["values"]["record_id"] = other_id
        return line

    return change


def wrong_kind(line):
    for row in line.get("rows", ()):
        row["table"] = "api_keys" if row["table"] == "embeddings" else row["table"]
    return line


def cut_vector(line):
    for row in line.get("rows", ()):
        if row["table"] == "embeddings":
            row["values"]["dim"] += 1
    return line


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("smuggled", "does not belong to"),
        ("wrong_kind", "api_keys"),
        ("cut_vector", "another length"),
    ],
)
def test_rows_that_hang_on_something_else_are_not_read_in(
    store, assets, target, target_assets, tmp_path, how, message
):
    first, _second = (commit(store, assets, number) for number in (1, 2))
    export_registry(store.engine, assets, tmp_path / "out", with_inputs=True)
    changes = {
        "smuggled": smuggled(first.record_id),
        "wrong_kind": wrong_kind,
        "cut_vector": cut_vector,
    }
    rewrite(tmp_path / "out" / "registry.jsonl", changes[how])
    with pytest.raises(InputError, match=message):
        import_registry(target.engine, target_assets, tmp_path / "out")
    assert target.count() == 0
