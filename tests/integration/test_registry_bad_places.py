"""What a user sees when the database is locked, missing, full, damaged, or no database."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from privileges import open_folder, without_root

from provenance.config import load_settings
from provenance.errors import DeliveryError, RegistryUnavailableError
from provenance.testing.stores import build_hash, build_record, keep_asset
from provenance.types import EncodedImage, MediaType, RecordId
from registry.assets import LocalAssetStore
from registry.engine import make_engine
from registry.migrate import upgrade
from registry.store import SqlRecordStore, open_store
from registry.wiring import open_registry

IMAGE = EncodedImage(b"\x89PNG" + bytes(200_000), MediaType.PNG)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/registry.sqlite3"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "registry.sqlite3"


@pytest.fixture
def store(url):
    upgrade(url)
    store = open_store(url, busy_timeout_s=0.2)
    yield store
    store.close()


def test_a_missing_database_is_not_made_by_opening_it(url, file):
    with pytest.raises(RegistryUnavailableError, match=r"migration none.*registry upgrade"):
        open_store(url)
    assert not file.exists()


def test_a_database_that_vanishes_is_not_made_again_empty(store, file):
    store.close()
    file.unlink()
    with pytest.raises(RegistryUnavailableError, match=r"does not exist.*registry upgrade"):
        store.reserve()
    assert not file.exists()


def test_writing_fails_in_one_line_while_another_process_holds_the_lock(store, file):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()",
            str(file),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    try:
        with pytest.raises(RegistryUnavailableError, match=r"locked by another process.*try again"):
            store.reserve()
        assert store.count() == 0  # readers do not wait for the writer
    finally:
        holder.communicate()
    store.reserve()


def test_writing_waits_for_a_lock_that_is_given_back_in_time(url, file):
    upgrade(url)
    store = open_store(url, busy_timeout_s=10)
    raw = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    raw.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.4, raw.rollback)
    release.start()
    store.reserve()
    release.join()
    raw.close()
    store.close()


@pytest.mark.parametrize("content", [b"This is a text file.\n" * 50, b"\x89PNG\r\n\x1a\n" * 40])
def test_a_file_that_is_no_database_is_named_and_left_alone(url, file, content):
    file.write_bytes(content)
    for act in (lambda: open_store(url), lambda: upgrade(url)):
        with pytest.raises(RegistryUnavailableError, match="no SQLite database") as caught:
            act()
        assert str(file) in str(caught.value)
    assert file.read_bytes() == content


def test_a_damaged_database_is_called_damaged(store, file):
    store.commit(build_record(store.reserve().record_id))
    store.close()
    with sqlite3.connect(file) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    data = bytearray(file.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 64] = b"\xff" * 64
    file.write_bytes(data)
    with pytest.raises(RegistryUnavailableError, match=r"damaged.*backup"):
        store.list_records(limit=5)


def test_a_table_that_is_missing_is_called_another_migration(store, file):
    with sqlite3.connect(file) as raw:
        raw.execute("DROP TABLE refusals")
        raw.execute("DROP TABLE perceptual_hashes")
    with pytest.raises(RegistryUnavailableError, match=r"another migration.*registry upgrade"):
        store.nearest_hashes(build_hash(0), max_distance_bits=1, limit=1)


def test_a_folder_on_the_way_that_is_a_file_is_named(tmp_path):
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(RegistryUnavailableError, match=r"cannot be made.*COUNTERMARK_HOME"):
        upgrade(f"sqlite:///{tmp_path}/home/registry.sqlite3")


# -- rights --------------------------------------------------------------------------------------


def test_a_folder_that_may_not_be_written_is_named():
    with open_folder() as folder:
        folder.chmod(0o555)
        with without_root():
            with pytest.raises(RegistryUnavailableError, match=r"cannot be made.*may not write"):
                upgrade(f"sqlite:///{folder}/registry.sqlite3")
            with pytest.raises(RegistryUnavailableError, match=r"cannot be made \(Permission"):
                upgrade(f"sqlite:///{folder}/below/registry.sqlite3")


def test_a_database_that_may_only_be_read_says_so_when_written():
    with open_folder() as folder:
        url = f"sqlite:///{folder}/registry.sqlite3"
        upgrade(url)
        for path in folder.iterdir():
            path.chmod(0o444)
        with without_root():
            store = SqlRecordStore(make_engine(url))
            with pytest.raises(RegistryUnavailableError, match="may only be read"):
                store.reserve()
            store.close()


def test_a_database_that_may_not_be_read_is_not_called_missing():
    with open_folder() as folder:
        url = f"sqlite:///{folder}/closed/registry.sqlite3"
        upgrade(url)
        (folder / "closed").chmod(0o000)
        with (
            without_root(),
            pytest.raises(
                RegistryUnavailableError, match=r"cannot be opened; check that this user"
            ),
        ):
            open_store(url)


def test_an_asset_folder_that_may_not_be_written_is_named():
    with open_folder() as folder:
        folder.chmod(0o555)
        with without_root(), pytest.raises(DeliveryError, match="Permission denied"):
            keep_asset(LocalAssetStore(folder / "assets"), IMAGE)


def test_an_asset_that_may_not_be_read_is_named():
    with open_folder() as folder:
        digest = keep_asset(LocalAssetStore(folder), IMAGE)
        (folder / digest[:2] / digest).chmod(0o000)
        with without_root(), pytest.raises(DeliveryError, match="cannot be read"):
            LocalAssetStore(folder).get(digest)


# -- full disk -----------------------------------------------------------------------------------


def test_a_database_that_cannot_grow_says_so_and_keeps_nothing_of_the_record(store):
    with store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
    record_id = store.reserve().record_id
    head = store.log_head()
    with pytest.raises(RegistryUnavailableError, match=r"disk is full.*nothing was written"):
        store.commit(build_large_record(record_id))
    assert (store.count(), store.log_head()) == (0, head)
    store.close()  # a new connection has the room back
    store.commit(build_large_record(record_id))
    assert store.count() == 1


def build_large_record(record_id):
    return replace(build_record(record_id), manifest_store=bytes(300_000))


IN_A_SMALL_DISK = """
import sys
from dataclasses import replace
from pathlib import Path
from provenance.config import load_settings
from provenance.errors import DeliveryError, RegistryUnavailableError
from provenance.testing.stores import build_record, keep_asset
from provenance.types import EncodedImage, MediaType
from registry.assets import LocalAssetStore
from registry.migrate import upgrade
from registry.store import open_store

disk = Path(sys.argv[1])
url = f"sqlite:///{disk}/registry.sqlite3"
upgrade(url)
store = open_store(url)
kept = 0
try:
    while True:
        store.commit(replace(build_record(store.reserve().record_id), manifest_store=bytes(90_000)))
        kept += 1
except RegistryUnavailableError as error:
    print(error)
assert store.count() == store.log_head().size == kept, (store.count(), kept)
try:
    LocalAssetStore(disk / "assets").stage(EncodedImage(bytes(900_000), MediaType.PNG)).publish()
except DeliveryError as error:
    print(error)
assert not [p for p in (disk / "assets").rglob("*") if p.is_file()]
print("kept", kept)
"""


def test_a_full_disk_ends_in_one_line_each_and_nothing_half_written(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    # A file system of one megabyte, in a mount namespace that ends with the process.
    command = f"mount -t tmpfs -o size=1m tmpfs '{disk}' && exec \"$0\" -c \"$1\" '{disk}'"
    in_namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command]
    try:
        answer = subprocess.run(
            [*in_namespace, sys.executable, IN_A_SMALL_DISK],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare on this machine")
    if "unshare:" in answer.stderr or "mount:" in answer.stderr:
        pytest.skip(f"this machine lets tests make no mount namespace: {answer.stderr.strip()}")
    assert answer.returncode == 0, answer.stderr
    database, asset, kept = answer.stdout.splitlines()
    assert "the disk is full; make room and try again" in database
    assert "No space left" in asset
    assert int(kept.split()[1]) > 0


def test_an_asset_over_the_file_size_limit_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(DeliveryError, match="File too large"):
            keep_asset(LocalAssetStore(tmp_path), IMAGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# -- assets --------------------------------------------------------------------------------------


def test_a_damaged_asset_is_not_delivered_and_can_be_stored_again(tmp_path, caplog):
    store = LocalAssetStore(tmp_path)
    digest = keep_asset(store, IMAGE)
    (tmp_path / digest[:2] / digest).write_bytes(IMAGE.data[:-1])
    assert store.get(digest) is None
    assert digest in caplog.text
    assert keep_asset(store, IMAGE) == digest
    assert store.get(digest) == IMAGE.data


def test_wiring_names_the_file_that_is_in_the_way(tmp_path):
    settings = load_settings(environ={}, home=tmp_path)
    (tmp_path / "registry.sqlite3").write_text("a shopping list, not a database\n" * 20)
    with pytest.raises(RegistryUnavailableError, match="no SQLite database"):
        open_registry(settings)


def test_ids_are_never_read_from_paths(store):
    assert store.find_refusal(RecordId("../../etc")) is None
