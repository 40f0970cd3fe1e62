"""Exporting a registry and reading it in again: whole, once, and nothing that was changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from provenance.errors import InputError, RecordGoneError
from provenance.testing.stores import (
    START,
    assert_same_record,
    build_embedding,
    build_hash,
    build_record,
    build_refusal,
    build_sealed_inputs,
    counting_bytes,
    keep_asset,
)
from provenance.types import EncodedImage, EventTarget, MediaType
from registry.assets import LocalAssetStore
from registry.check import check_consistency
from registry.events import EventLog
from registry.migrate import upgrade
from registry.signed_log import SignedLog, open_log_keys
from registry.store import open_store
from registry.transfer import export_registry, import_registry


class Place:
    """A registry with its files."""

    def __init__(self, folder, **arguments):
        url = f"sqlite:///{folder}/registry.sqlite3"
        folder.mkdir()
        upgrade(url)
        self.store = open_store(url, **arguments)
        self.assets = LocalAssetStore(folder / "assets")

    @property
    def engine(self):
        return self.store.engine

    def commit(self, number):
        data = b"file %d" % number
        digest = keep_asset(self.assets, EncodedImage(data, MediaType.PNG))
        record_id = self.store.reserve().record_id
        record = build_record(
            record_id, perceptual_hash=build_hash(number), embedding=build_embedding(1, number)
        )
        record = replace(record, asset=replace(record.asset, sha256=digest))
        self.store.commit(record, build_sealed_inputs(record_id))
        return record

    def in_order(self):
        return check_consistency(self.engine, now=START).problems == ()


@pytest.fixture
def source(tmp_path):
    place = Place(tmp_path / "source", random_bytes=counting_bytes())
    yield place
    place.store.close()


@pytest.fixture
def target(tmp_path):
    place = Place(tmp_path / "target")
    yield place
    place.store.close()


@pytest.fixture
def records(source):
    """Three records, a refusal, events of each kind, an id that was given up."""
    made = [source.commit(number) for number in range(3)]
    source.store.refuse(build_refusal(source.store.reserve().record_id))
    source.store.release(source.store.reserve().record_id)
    events = EventLog(source.engine)
    events.revoke(EventTarget.RECORD, made[0].record_id, "made by mistake")
    events.erase(made[2].record_id, "on request")
    source.assets.remove(made[2].asset.sha256)
    return made


def test_an_empty_registry_becomes_the_same_one(source, target, records, tmp_path):
    log = SignedLog(source.engine, open_log_keys(tmp_path / "log.key"))
    head = log.sign()
    done = export_registry(source.engine, source.assets, tmp_path / "out")
    assert (done.entries, done.files, done.missing) == (6, 2, 0)
    read = import_registry(target.engine, target.assets, tmp_path / "out", log_ids=[head.log_id])
    assert (read.entries, read.known, read.files, read.missing) == (6, 0, 2, 0)
    assert read.log_is_same
    assert target.store.log_head() == source.store.log_head()
    for record in records[:2]:
        assert_same_record(target.store.get(record.record_id), record)
        assert target.store.notices(record) == source.store.notices(record)
        assert target.assets.get(record.asset.sha256) == source.assets.get(record.asset.sha256)
        assert target.store.kept_inputs(record.record_id) is None
    with pytest.raises(RecordGoneError):
        target.store.get(records[2].record_id)
    assert SignedLog(target.engine, log.keys).head() == head
    assert target.in_order()


def test_inputs_go_along_when_asked_for(source, target, records, tmp_path):
    export_registry(source.engine, source.assets, tmp_path / "out", with_inputs=True)
    import_registry(target.engine, target.assets, tmp_path / "out")
    for record in records[:2]:
        kept = target.store.kept_inputs(record.record_id)
        assert kept == source.store.kept_inputs(record.record_id)


def test_reading_in_twice_changes_nothing(source, target, records, tmp_path):
    export_registry(source.engine, source.assets, tmp_path / "out")
    import_registry(target.engine, target.assets, tmp_path / "out")
    head = target.store.log_head()
    again = import_registry(target.engine, target.assets, tmp_path / "out")
    assert (again.entries, again.known, again.files) == (0, 6, 0)
    assert target.store.log_head() == head


def test_a_later_export_brings_what_is_new_and_erases_what_was_erased(
    source, target, records, tmp_path
):
    export_registry(source.engine, source.assets, tmp_path / "out")
    import_registry(target.engine, target.assets, tmp_path / "out")
    new = source.commit(7)
    EventLog(source.engine).erase(records[1].record_id, "on request")
    export_registry(source.engine, source.assets, tmp_path / "out")
    read = import_registry(target.engine, target.assets, tmp_path / "out")
    assert (read.entries, read.known, read.files) == (2, 6, 1)
    assert read.log_is_same
    assert_same_record(target.store.get(new.record_id), new)
    with pytest.raises(RecordGoneError):
        target.store.get(records[1].record_id)
    assert target.assets.get(records[1].asset.sha256) is None
    assert target.in_order()


def test_another_registry_takes_the_entries_into_its_own_log(source, target, records, tmp_path):
    own = target.commit(9)
    export_registry(source.engine, source.assets, tmp_path / "out")
    read = import_registry(target.engine, target.assets, tmp_path / "out")
    assert not read.log_is_same
    assert target.store.log_head().size == 7
    assert target.store.count() == 3
    assert_same_record(target.store.get(own.record_id), own)
    near = target.store.nearest_hashes(build_hash(1), max_distance_bits=0, limit=1)
    assert near[0].record_id == records[1].record_id
    assert target.in_order()


def test_an_id_that_means_something_else_is_refused(source, target, records, tmp_path):
    target.store._random_bytes = counting_bytes()
    target.commit(9)
    export_registry(source.engine, source.assets, tmp_path / "out")
    head = target.store.log_head()
    with pytest.raises(InputError, match="used for something else"):
        import_registry(target.engine, target.assets, tmp_path / "out")
    assert target.store.log_head() == head
    assert target.in_order()


def rewrite(path, change):
    """Changes the lines as a forger would: with a last line that binds them."""
    lines = path.read_bytes().splitlines(keepends=True)[:-1]
    lines = [change(json.loads(line)) for line in lines]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    end = {"end": {"lines": len(lines), "sha256": hashlib.sha256(data).hexdigest()}}
    path.write_bytes(data + json.dumps(end).encode() + b"\n")


def with_other_seed(line):
    for row in line.get("rows", ()):
        if row["table"] == "records":
            row["values"]["parameters"]["seed"] = 8
    return line


def with_other_reason(line):
    for row in line.get("rows", ()):
        if row["table"] == "registry_events":
            row["values"]["reason"] = "none"
    return line


def without_vectors(line):
    if "rows" in line:
        line["rows"] = [row for row in line["rows"] if row["table"] != "embeddings"]
    return line


@pytest.mark.parametrize("change", [with_other_seed, with_other_reason, without_vectors])
def test_an_entry_that_was_changed_is_not_read_in(source, target, records, tmp_path, change):
    export_registry(source.engine, source.assets, tmp_path / "out")
    rewrite(tmp_path / "out" / "registry.jsonl", change)
    with pytest.raises(InputError, match="does not say what its leaf says"):
        import_registry(target.engine, target.assets, tmp_path / "out")
    assert target.store.count() == 0


@pytest.mark.parametrize("how", ["cut", "changed", "missing", "empty"])
def test_a_damaged_export_is_refused_before_anything_is_read_in(
    source, target, records, tmp_path, how
):
    export_registry(source.engine, source.assets, tmp_path / "out")
    path = tmp_path / "out" / "registry.jsonl"
    data = path.read_bytes()
    match how:
        case "cut":
            path.write_bytes(data[:-200])
        case "changed":
            path.write_bytes(data.replace(b'"seed":7', b'"seed":8'))
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
    with pytest.raises(InputError, match=r"registry\.jsonl"):
        import_registry(target.engine, target.assets, tmp_path / "out")
    assert (target.store.count(), target.store.log_head().size) == (0, 0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("format", "poem", "no export"), ("version", 9, "no export"), ("migration", "0001", "0001")],
)
def test_an_export_of_another_version_is_named(
    source, target, records, tmp_path, name, value, message
):
    export_registry(source.engine, source.assets, tmp_path / "out")
    path = tmp_path / "out" / "registry.jsonl"
    rewrite(path, lambda line: {**line, name: value} if "format" in line else line)
    with pytest.raises(InputError, match=message):
        import_registry(target.engine, target.assets, tmp_path / "out")


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b"no json",
        b'{"leaf": 1}',
        b'{"leaf": {"index": 0, "kind": "poem", "data": "x"}, "rows": []}',
        b'{"leaf": {"index": 9, "kind": "commit", "data": "x"}, "rows": [{"table": "api_keys"}]}',
        b'{"reservation": {"record_id": "0"}}',
    ],
)
def test_a_line_that_is_no_entry_is_named(source, target, records, tmp_path, line):
    export_registry(source.engine, source.assets, tmp_path / "out")
    path = tmp_path / "out" / "registry.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)[:-1]
    data = b"".join((*lines[:1], line + b"\n", *lines[1:]))
    end = {"end": {"lines": len(lines) + 1, "sha256": hashlib.sha256(data).hexdigest()}}
    path.write_bytes(data + json.dumps(end).encode() + b"\n")
    with pytest.raises(InputError, match=r"registry\.jsonl"):
        import_registry(target.engine, target.assets, tmp_path / "out")
    assert target.store.count() == 0


def test_a_file_that_is_missing_or_damaged_is_counted_not_delivered(
    source, target, records, tmp_path
):
    export_registry(source.engine, source.assets, tmp_path / "out")
    digest = records[0].asset.sha256
    (tmp_path / "out" / "assets" / digest[:2] / digest).write_bytes(b"another picture")
    read = import_registry(target.engine, target.assets, tmp_path / "out")
    assert (read.files, read.missing) == (1, 1)
    assert target.assets.get(digest) is None
