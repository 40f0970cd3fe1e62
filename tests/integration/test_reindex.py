"""Several embedding spaces side by side, and re-embedding as a job that can be killed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from provenance.config import load_settings
from provenance.imaging import encode_image
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.testing.stores import assert_same_record, build_embedding, build_record
from provenance.types import Embedding, EmbeddingSpace, MediaType, SpaceKind
from registry import migrate
from registry.cli import app
from registry.engine import reading
from registry.events import EventLog
from registry.index.cache_file import cache_path
from registry.index.maintenance import check_indexes, rebuild_indexes, remove_stale_files
from registry.reindex import list_spaces, reindex
from registry.tables import EmbeddingRow
from registry.wiring import open_asset_store, open_registry

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class MeanEmbedder:
    """Directions of a 4x4 mean; counts what it is asked."""

    space_id: str = "mean/1"
    asked: int = 0

    @property
    def space(self):
        return EmbeddingSpace(
            space_id=self.space_id,
            kind=SpaceKind.COPY,
            similar_min_cosine=0.5,
            likely_min_cosine=0.9,
            strong_min_cosine=0.99,
        )

    def encode(self, image):
        self.asked += 1
        rows, columns = (np.linspace(0, side, 5).astype(int) for side in image.pixels.shape[:2])
        cells = np.add.reduceat(image.pixels.astype(np.float64).mean(2), rows[:-1], axis=0)
        cells = np.add.reduceat(cells, columns[:-1], axis=1).ravel()
        cells -= cells.mean()
        norm = np.linalg.norm(cells)
        return None if norm < 1 else Embedding(self.space_id, (cells / norm).astype(np.float32))

    def encode_batch(self, images):
        return [self.encode(image) for image in images]


def load_mean(*, folder=None):
    """Entry point as ``test_reindex:load_mean``; slow enough to be killed."""
    time.sleep(0.05)
    embedder = MeanEmbedder()
    encode = embedder.encode
    embedder.encode = lambda image: time.sleep(0.03) or encode(image)
    return embedder


def register(settings, store, count, *, first=0, keep=True, image=None):
    """Records with delivered bytes; the embedding of their making is of space ``test/1``."""
    assets, ids = open_asset_store(settings), []
    for number in range(first, first + count):
        picture = image or natural_picture(72, 56, seed=number)
        encoded = encode_image(picture, MediaType.PNG)
        record = build_record(store.reserve().record_id, embedding=build_embedding(number % 5 + 1))
        digest = hashlib.sha256(encoded.data).hexdigest()
        record = replace(record, asset=replace(record.asset, sha256=digest))
        store.commit(record)
        if keep:
            assets.stage(encoded).publish()
        ids.append(record.record_id)
    return ids


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path))
    return load_settings(environ={}, home=tmp_path)


@pytest.fixture
def store(settings):
    opened = open_registry(settings)
    yield opened
    opened.close()


def run(settings, store, embedder, **options):
    return reindex(store.engine, open_asset_store(settings).get, embedder, **options)


def test_every_record_gets_a_vector_in_the_new_space_and_keeps_its_own(settings, store):
    ids = register(settings, store, 5)
    before = [store.get(one) for one in ids]
    seen = []
    report = run(
        settings, store, MeanEmbedder(), batch_records=2, progress=lambda *at: seen.append(at)
    )
    assert (report.records, report.present, report.added) == (5, 0, 5)
    assert seen == [(0, 5), (2, 5), (4, 5), (5, 5)]
    own = before[0].fingerprints.embedding.space_id
    assert dict(list_spaces(store.engine)) == {"mean/1": 5, own: 5}
    for record in before:
        # The record says what it said: its log entry covers the embedding it was made with.
        assert_same_record(store.get(record.record_id), record)
    query = MeanEmbedder().encode(natural_picture(72, 56, seed=3))
    (nearest, *_) = store.nearest_embeddings(query, min_cosine=0.9, limit=3)
    assert nearest.record_id == ids[3]


def test_a_second_run_skips_what_is_there(settings, store):
    register(settings, store, 3)
    run(settings, store, MeanEmbedder())
    register(settings, store, 2, first=3)
    embedder = MeanEmbedder()
    report = run(settings, store, embedder)
    assert (report.present, report.added, embedder.asked) == (3, 2, 2)


def test_records_without_bytes_are_named_and_flat_pictures_counted(settings, store):
    register(settings, store, 2)
    gone = register(settings, store, 1, first=2, keep=False)
    register(settings, store, 1, image=flat_picture(60, 60, rgb=(9, 9, 9)))
    report = run(settings, store, MeanEmbedder())
    assert (report.added, report.plain, report.missing) == (2, 1, tuple(gone))


def test_a_store_that_has_searched_before_finds_what_was_embedded_since(settings, store):
    ids = register(settings, store, 4)
    embedder = MeanEmbedder()
    query = embedder.encode(natural_picture(72, 56, seed=1))
    # The newest record is embedded first: the others come at earlier places of the log.
    newest = embedder.encode(natural_picture(72, 56, seed=3))
    with store.engine.begin() as connection:
        connection.execute(
            EmbeddingRow.__table__.insert().values(
                record_id=ids[3],
                space_id="mean/1",
                log_index=3,
                of_record=False,
                dim=16,
                vector=newest.vector.tobytes(),
            )
        )
    assert [n.record_id for n in store.nearest_embeddings(query, min_cosine=-1, limit=9)] == [
        ids[3]
    ]
    run(settings, store, embedder)
    found = store.nearest_embeddings(query, min_cosine=-1, limit=9)
    assert len(found) == 4
    assert found[0].record_id == ids[1]


def reindex_and_kill(settings, store, *, after):
    """Runs the command in a process of its own and kills it when more than `after` rows stand."""
    words = [sys.executable, "-m", "typer", "registry.cli", "run", "reindex"]
    environment = {
        **os.environ,
        "COUNTERMARK_HOME": str(settings.home),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(Path(__file__).parent))),
    }
    running = subprocess.Popen(
        [*words, "--embedder", "test_reindex:load_mean"], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while dict(list_spaces(store.engine)).get("mean/1", 0) <= after:
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.02)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def test_a_run_that_is_killed_loses_nothing(settings, store):
    register(settings, store, 60)
    reindex_and_kill(settings, store, after=0)
    kept = dict(list_spaces(store.engine))["mean/1"]
    assert 0 < kept < 60
    report = run(settings, store, MeanEmbedder())
    assert (report.present, report.added) == (kept, 60 - kept)
    with reading(store.engine) as session:
        rows = session.scalars(
            select(EmbeddingRow.record_id).where(EmbeddingRow.space_id == "mean/1")
        ).all()
    assert len(rows) == len(set(rows)) == 60


def test_a_run_that_is_killed_leaves_no_file_of_codes_that_does_not_fit(settings, store):
    register(settings, store, 4)
    run(settings, store, MeanEmbedder())
    rebuild_indexes(store.engine, settings.index_folder)
    file = cache_path(settings.index_folder, "mean/1")
    assert file.exists()
    register(settings, store, 60, first=4)
    reindex_and_kill(settings, store, after=4)
    assert 4 < dict(list_spaces(store.engine))["mean/1"] < 64
    assert not file.exists()
    states = check_indexes(store.engine, settings.index_folder)
    assert [one.problem for one in states if one.name == "mean/1"] == [""]


def test_what_a_killed_process_left_half_written_goes_when_it_is_old(settings, store):
    register(settings, store, 1)
    rebuild_indexes(store.engine, settings.index_folder)
    (whole,) = settings.index_folder.iterdir()
    old, new = (whole.with_name(f".{whole.name}.{name}") for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert remove_stale_files(store.engine, settings.index_folder) == 1
    assert set(settings.index_folder.iterdir()) == {whole, new}


def test_pruning_clears_up_files_of_codes_that_do_not_fit(settings, store):
    (gone, _) = register(settings, store, 2)
    rebuild_indexes(store.engine, settings.index_folder)
    EventLog(store.engine).erase(gone, "on request")  # and killed before the file could go
    assert any(one.problem for one in check_indexes(store.engine, settings.index_folder))
    assert CliRunner().invoke(app, ["prune"]).exit_code == 0
    assert list(settings.index_folder.iterdir()) == []


def test_the_command_names_spaces_and_what_is_missing(settings, store):
    register(settings, store, 2)
    (gone,) = register(settings, store, 1, first=2, keep=False)
    arguments = ["reindex", "--embedder", "provenance.testing.twins_marks:load_thumbnail"]
    answer = CliRunner().invoke(app, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["added"] == 2
    spoken = CliRunner().invoke(app, arguments).stdout
    assert "0 added, 2 were there" in spoken
    assert f"record {gone}: its delivered bytes are not kept here" in spoken
    assert "space thumbnail/1: 2 of 3 records" in spoken


def test_migrating_down_and_up_keeps_the_embeddings_of_the_records(settings, store):
    ids = register(settings, store, 3)
    before = [store.get(one) for one in ids]
    run(settings, store, MeanEmbedder())
    store.close()
    migrate.downgrade(settings.registry_url, "0005")
    migrate.upgrade(settings.registry_url)
    again = open_registry(settings)
    for record in before:
        assert_same_record(again.get(record.record_id), record)
    assert [count for _, count in list_spaces(again.engine)] == [3]
    again.close()
