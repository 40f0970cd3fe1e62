"""``countermark audit`` on a real registry: clean, and each planted corruption found and named."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from deliveries import make_home

from provenance.cli import main
from registry.events import EventLog
from registry.wiring import open_registry, open_signed_log

SIDE_PX = 256


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two delivered pictures with all four marks, a refusal's worth of log, and a signed head."""
    folder = tmp_path_factory.mktemp("made") / "home"
    home = make_home(folder)
    records = [home.deliver(prompt, side_px=SIDE_PX).record for prompt in ("a house", "a tree")]
    store = open_registry(home.settings)
    open_signed_log(home.settings, store).sign()
    store.close()
    home.service.store.close()
    return folder, records


@dataclass
class Planted:
    """A copy of the registry, to be corrupted, and the command that audits it."""

    folder: object
    records: list
    run: object

    def sql(self, *statements):
        with sqlite3.connect(self.folder / "registry.sqlite3") as raw:
            for statement in statements:
                assert raw.execute(statement).rowcount >= 1, statement
        raw.close()

    def file_of(self, number):
        digest = self.records[number].asset.sha256
        return self.folder / "assets" / digest[:2] / digest

    def codes(self, *words):
        code, report = self.run(*words)
        assert code == 1, report
        assert all(one["remedy"] and one["what"] for one in report["problems"])
        return {one["code"] for one in report["problems"]}


@pytest.fixture
def planted(made, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "home"
    shutil.copytree(made[0], folder)
    for name in [name for name in os.environ if name.startswith("COUNTERMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COUNTERMARK_HOME", str(folder))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["countermark", "audit", "--json", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), json.loads(out) if out else err

    yield Planted(folder, made[1], run)
    logging.captureWarnings(capture=False)


def test_a_registry_that_nobody_touched_agrees(planted):
    code, report = planted.run()
    assert (code, report["problems"]) == (0, [])
    assert (report["records"], report["records_examined"], report["signed_heads"]) == (2, 2, 1)
    assert report["records_per_s"] > 0
    assert report["log"]["size"] == 2


def test_a_sample_reads_that_many_files(planted):
    planted.file_of(0).unlink()
    code, report = planted.run("--sample", "0")
    assert (code, report["records_examined"]) == (0, 0)
    code, report = planted.run("--sample", "2")
    assert (code, report["records_examined"]) == (1, 2)


def test_an_audit_that_cannot_run_ends_with_2(planted):
    (planted.folder / "registry.sqlite3").write_bytes(b"no database at all\n" * 9)
    code, said = planted.run()
    assert code == 2
    assert "the audit could not run" in said


# -- planted corruptions ---------------------------------------------------------------------------


def test_1_a_changed_row(planted):
    planted.sql("UPDATE records SET created_at = '2020-01-01 00:00:00.000000' WHERE log_index = 0")
    assert planted.codes() == {"row_changed"}


def test_2_a_deleted_row(planted):
    record_id = planted.records[0].record_id
    planted.sql(
        f"DELETE FROM perceptual_hashes WHERE record_id = '{record_id}'",
        f"DELETE FROM records WHERE record_id = '{record_id}'",
    )
    assert planted.codes() == {"row_missing", "file_orphan", "index_disagrees"}


def test_3_a_changed_leaf(planted):
    planted.sql("""UPDATE log_leaves SET data = x'7b7d' WHERE "index" = 0""")
    assert {"leaf_changed", "row_changed"} <= planted.codes()


def test_4_a_removed_leaf(planted):
    planted.sql("""DELETE FROM log_leaves WHERE "index" = 0""")
    assert "leaf_missing" in planted.codes()


def test_5_a_cut_log(planted):
    record_id = planted.records[1].record_id
    planted.sql(
        f"DELETE FROM perceptual_hashes WHERE record_id = '{record_id}'",
        f"DELETE FROM records WHERE record_id = '{record_id}'",
        f"DELETE FROM reservations WHERE record_id = '{record_id}'",
        """DELETE FROM log_leaves WHERE "index" = 1""",
    )
    planted.file_of(1).unlink()
    assert planted.codes() == {"head_disagrees", "index_disagrees"}


def test_6_a_log_rewritten_with_its_tree(planted):
    import hashlib

    def digest(prefix, *parts):
        return hashlib.sha256(prefix + b"".join(parts)).digest()

    with sqlite3.connect(planted.folder / "registry.sqlite3") as raw:
        (second,) = raw.execute('SELECT leaf_hash FROM log_leaves WHERE "index" = 1').fetchone()
    own = digest(b"\x00", b"{}")
    planted.sql(
        f"""UPDATE log_leaves SET data = x'7b7d', leaf_hash = x'{own.hex()}' WHERE "index" = 0""",
        f"""UPDATE log_leaves SET subtrees = x'{digest(bytes([1]), own, second).hex()}'
            WHERE "index" = 1""",
    )
    assert planted.codes() == {"head_disagrees", "row_changed"}


def test_7_a_forged_head(planted):
    planted.sql("UPDATE tree_heads SET signature = zeroblob(64)")
    assert planted.codes() == {"head_forged"}


def test_8_a_head_of_another_key(planted):
    planted.sql(f"UPDATE tree_heads SET log_id = '{'a' * 64}'")
    assert planted.codes() == {"head_forged"}


def test_9_changed_bytes(planted):
    file = planted.file_of(0)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert planted.codes() == {"file_changed"}


def test_10_missing_bytes(planted):
    planted.file_of(0).unlink()
    assert planted.codes() == {"file_missing"}


def test_11_an_orphan(planted):
    orphan = planted.folder / "assets" / "aa" / ("a" * 64)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"nobody's")
    assert planted.codes() == {"file_orphan"}


def test_12_a_changed_manifest_store(planted):
    planted.sql("UPDATE records SET manifest_store = x'00' WHERE log_index = 0")
    assert planted.codes() == {"row_changed", "manifest_disagrees"}


def test_13_a_changed_hash_row(planted):
    planted.sql("UPDATE perceptual_hashes SET hash = zeroblob(32) WHERE log_index = 0")
    assert planted.codes() == {"row_changed", "fingerprint_disagrees", "index_disagrees"}


def test_14_a_hash_row_out_of_the_index(planted):
    planted.sql("UPDATE perceptual_hashes SET log_index = -1 WHERE log_index = 0")
    assert planted.codes() == {"row_changed", "index_disagrees"}


def test_15_another_picture_in_a_records_place(planted):
    other = planted.records[1].asset.sha256
    first = planted.records[0].record_id
    planted.sql(f"UPDATE records SET sha256 = '{other}' WHERE record_id = '{first}'")
    assert planted.codes() == {
        "row_changed",
        "manifest_disagrees",
        "watermark_disagrees",
        "fingerprint_disagrees",
        "file_orphan",
    }


def test_16_a_lost_watermark_key(planted):
    (planted.folder / "keys" / "watermark.key").write_text("ab" * 32 + "\n")
    assert planted.codes() == {"watermark_disagrees"}


def test_17_a_leftover_of_a_dead_process(planted):
    record_id = "f" * 16
    planted.sql(
        f"INSERT INTO reservations VALUES ('{record_id}', '2020-01-01 00:00:00.000000', "
        "'2020-01-01 01:00:00.000000', 'reserved')"
    )
    assert planted.codes() == {"leftover"}


def test_18_an_erased_record_that_came_back(planted):
    from provenance.config import load_settings

    record_id = planted.records[0].record_id
    settings = load_settings(environ={}, home=planted.folder)
    backup = planted.folder.parent / "backup.sqlite3"
    shutil.copy(planted.folder / "registry.sqlite3", backup)
    store = open_registry(settings)
    EventLog(store.engine).erase(record_id, "on request")
    store.close()
    assert planted.codes() == {"file_orphan"}  # the file must go too
    planted.file_of(0).unlink()
    assert planted.run()[0] == 0
    with sqlite3.connect(planted.folder / "registry.sqlite3") as raw:
        raw.execute(f"ATTACH '{backup}' AS backup")
        for table in ("records", "perceptual_hashes"):
            raw.execute(
                f"INSERT INTO {table} SELECT * FROM backup.{table} WHERE record_id = '{record_id}'"
            )
    raw.close()
    assert {"erased_stands"} <= planted.codes()


def test_19_a_changed_event(planted):
    from provenance.config import load_settings

    settings = load_settings(environ={}, home=planted.folder)
    store = open_registry(settings)
    events = EventLog(store.engine, clock=lambda: datetime(2026, 5, 1, tzinfo=UTC))
    events.take_down(planted.records[0].record_id, "a person is shown")
    store.close()
    assert planted.run()[0] == 0
    planted.sql("UPDATE registry_events SET reason = 'none'")
    assert planted.codes() == {"row_changed"}
    planted.sql("DELETE FROM registry_events")
    assert planted.codes() == {"row_missing"}


def test_20_a_deleted_file_that_came_back(planted):
    from provenance.config import load_settings

    store = open_registry(load_settings(environ={}, home=planted.folder))
    EventLog(store.engine).note_deletion(planted.records[0].record_id, "kept for 30 days")
    store.close()
    assert planted.codes() == {"file_orphan"}
    planted.file_of(0).unlink()
    assert planted.run()[0] == 0
