"""Migrations up, down and checked on data; where they are found; many processes at once."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from provenance.config import load_settings
from provenance.errors import RegistryUnavailableError
from provenance.testing.stores import (
    assert_same_record,
    build_embedding,
    build_hash,
    build_record,
    build_refusal,
)
from registry import migrate
from registry.engine import make_engine
from registry.store import open_store
from registry.tables import HEAD_REVISION, Base
from registry.wiring import open_registry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/registry.sqlite3"


def fill(url):
    store = open_store(url)
    record = build_record(
        store.reserve().record_id, perceptual_hash=build_hash(3), embedding=build_embedding(1)
    )
    store.commit(record)
    store.refuse(build_refusal(store.reserve().record_id))
    store.close()
    return record


def tables_of(url):
    engine = make_engine(url)
    with engine.connect() as connection:
        names = set(sa.inspect(connection).get_table_names())
    engine.dispose()
    return names


def test_head_is_the_migration_that_the_mappings_describe():
    assert migrate.head() == HEAD_REVISION


def test_upgrade_makes_exactly_the_tables_of_the_mappings(url):
    assert migrate.upgrade(url) == HEAD_REVISION
    assert tables_of(url) == {*Base.metadata.tables, "alembic_version"}
    assert migrate.is_at_head(url)
    assert migrate.check(url) == ()


def test_upgrade_switches_sqlite_to_write_ahead_logging(url, tmp_path):
    migrate.upgrade(url)
    with sqlite3.connect(tmp_path / "registry.sqlite3") as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_upgrade_leaves_a_registry_at_head_as_it_is(url):
    migrate.upgrade(url)
    record = fill(url)
    assert migrate.upgrade(url) == HEAD_REVISION
    store = open_store(url)
    assert_same_record(store.get(record.record_id), record)
    store.close()


def test_downgrade_takes_everything_away_and_upgrade_brings_it_back_empty(url):
    migrate.upgrade(url)
    fill(url)
    migrate.downgrade(url, "base")
    assert tables_of(url) == {"alembic_version"}
    assert migrate.current(url) is None
    assert not migrate.is_at_head(url)
    migrate.upgrade(url)
    store = open_store(url)
    assert (store.count(), store.log_head().size) == (0, 0)
    store.close()


def test_downgrade_makes_no_database_where_there_is_none(url, tmp_path):
    with pytest.raises(RegistryUnavailableError, match="no tables yet"):
        migrate.downgrade(url, "base")
    assert not (tmp_path / "registry.sqlite3").exists()


def test_upgrade_ends_with_a_check_that_no_row_lost_its_parent(url, tmp_path):
    # Foreign keys are not enforced while a migration copies tables, so they are checked after it.
    migrate.upgrade(url)
    record = fill(url)
    with sqlite3.connect(tmp_path / "registry.sqlite3") as raw:
        raw.execute("DELETE FROM reservations WHERE record_id = ?", (record.record_id,))
    with pytest.raises(RegistryUnavailableError, match="row of records points to a row of reserv"):
        migrate.upgrade(url)


def test_alembic_writes_a_new_migration_that_needs_nothing_of_ours(url, tmp_path):
    folder = tmp_path / "alembic"
    shutil.copytree(ROOT / "alembic", folder)
    (tmp_path / "alembic.ini").write_text((ROOT / "alembic.ini").read_text())
    migrate.upgrade(url)
    with sqlite3.connect(tmp_path / "registry.sqlite3") as raw:
        raw.execute("ALTER TABLE reservations DROP COLUMN created_at")
    words = ["-x", f"url={url}", "revision", "--autogenerate", "-m", "try it", "--rev-id", "9000"]
    answer = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", tmp_path / "alembic.ini", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    (written,) = (folder / "versions").glob("9000*.py")
    text = written.read_text()
    assert "sa.DateTime(timezone=True)" in text
    assert "registry" not in text
    compile(text, written.name, "exec")


def test_downgrade_refuses_a_migration_that_there_is_not(url):
    migrate.upgrade(url)
    with pytest.raises(RegistryUnavailableError, match=r"cannot be migrated.*abcd"):
        migrate.downgrade(url, "abcd")
    assert migrate.is_at_head(url)


def test_check_names_a_column_that_the_mappings_do_not_know(url, tmp_path):
    migrate.upgrade(url)
    with sqlite3.connect(tmp_path / "registry.sqlite3") as raw:
        raw.execute("ALTER TABLE records ADD COLUMN surprise TEXT")
    (difference,) = migrate.check(url)
    assert "surprise" in difference


def test_check_names_an_index_that_is_missing(url, tmp_path):
    migrate.upgrade(url)
    with sqlite3.connect(tmp_path / "registry.sqlite3") as raw:
        raw.execute("DROP INDEX ix_records_pixel_sha256")
    (difference,) = migrate.check(url)
    assert "ix_records_pixel_sha256" in difference


def test_check_refuses_a_database_that_is_not_at_head(url):
    migrate.upgrade(url)
    migrate.downgrade(url, "base")
    with pytest.raises(RegistryUnavailableError, match="not up to date"):
        migrate.check(url)


def test_upgrade_refuses_a_database_of_a_newer_version(url, tmp_path):
    migrate.upgrade(url)
    with sqlite3.connect(tmp_path / "registry.sqlite3") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RegistryUnavailableError, match=r"9999.*newer version"):
        migrate.upgrade(url)
    with pytest.raises(RegistryUnavailableError, match=f"9999.*{HEAD_REVISION}"):
        open_store(url)


def test_upgrade_that_dies_half_way_leaves_the_database_as_it_was(url, tmp_path):
    script = (
        "import os, sys\n"
        "from sqlalchemy import Engine, event\n"
        "from registry.migrate import upgrade\n"
        "seen = []\n"
        "@event.listens_for(Engine, 'before_cursor_execute')\n"
        "def count(connection, cursor, statement, *rest):\n"
        "    seen.append(statement)\n"
        "    if statement.lstrip().startswith('CREATE TABLE records'):\n"
        "        os._exit(7)\n"
        "upgrade(sys.argv[1])\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, url], check=False)
    assert ended.returncode == 7
    assert tables_of(url) == set()
    migrate.upgrade(url)
    assert migrate.check(url) == ()


# -- where the migrations are found --------------------------------------------------------------


@pytest.mark.parametrize("start", [["-c"], ["-m"]])
def test_the_migration_folder_does_not_hide_the_alembic_library(start, tmp_path):
    # Both ways put the current folder, with its folder `alembic`, first on the import path.
    if start == ["-m"]:
        command = [sys.executable, "-m", "alembic", "--version"]
    else:
        command = [sys.executable, "-c", "import alembic.command; print(alembic.__file__)"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert str(ROOT / "alembic") not in answer.stdout


def test_no_init_file_makes_the_migration_folder_a_package():
    assert not list((ROOT / "alembic").rglob("__init__.py"))


def test_migrations_are_found_in_the_layout_of_an_installed_wheel(tmp_path):
    # As the wheel lays it out: the folder inside the package, the library beside it.
    site = tmp_path / "site"
    for package in ("provenance", "registry"):
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copytree(ROOT / "alembic", site / "registry" / "migrations")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import registry.migrate as m\n"
        "assert m.__file__.startswith(sys.argv[1]), m.__file__\n"
        "print(m.migrations_folder()); print(m.upgrade(sys.argv[2]), m.check(sys.argv[2]))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(site), f"sqlite:///{tmp_path}/r.sqlite3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split("\n")[:2] == [
        str(site / "registry" / "migrations"),
        f"{HEAD_REVISION} ()",
    ]


def test_alembic_command_line_works_on_a_given_database(url):
    migrate.upgrade(url)
    answer = subprocess.run(
        [sys.executable, "-m", "alembic", "-x", f"url={url}", "check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "No new upgrade operations" in answer.stdout


# -- first use -----------------------------------------------------------------------------------


def test_open_registry_makes_home_and_tables_on_first_use(tmp_path):
    settings = load_settings(
        environ={"COUNTERMARK_REGISTRY_RESERVATION_LIFETIME_S": "90"},
        home=tmp_path / "new" / "home",
    )
    store = open_registry(settings)
    before = datetime.now(UTC)
    reservation = store.reserve()
    assert 89 < (reservation.expires_at - before).total_seconds() < 120
    store.close()
    again = open_registry(settings)
    again.commit(build_record(reservation.record_id))
    assert again.count() == 1
    again.close()


def test_open_registry_takes_a_home_with_unusual_characters(tmp_path):
    settings = load_settings(environ={}, home=tmp_path / "my home%20 #1 & café?")
    store = open_registry(settings)
    store.reserve()
    store.close()
    assert (settings.home / "registry.sqlite3").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [settings.home.name]


def test_open_registry_migrates_a_database_that_is_behind(tmp_path):
    settings = load_settings(environ={}, home=tmp_path)
    open_registry(settings).close()
    migrate.downgrade(settings.registry_url, "base")
    store = open_registry(settings)
    assert store.count() == 0
    store.close()


def test_open_registry_works_when_several_processes_come_first(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from provenance.config import load_settings\n"
        "from registry.wiring import open_registry\n"
        "sys.stdin.read(1)\n"
        "open_registry(load_settings(environ={}, home=Path(sys.argv[1]))).reserve()\n"
    )
    home = tmp_path / "home"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(home)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()  # lets all of them go on
    errors = [process.stderr.read().decode() for process in processes if process.stderr]
    assert [process.wait() for process in processes] == [0] * 4, errors
    for process in processes:
        assert process.stderr is not None
        process.stderr.close()
    with sqlite3.connect(home / "registry.sqlite3") as raw:
        assert raw.execute("SELECT count(*) FROM reservations").fetchone() == (4,)
