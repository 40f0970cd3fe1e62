"""Keypoint words in both databases: found, made later, forgotten, bounded in memory."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from console import run
from sqlalchemy import delete, select, update

from provenance.config import load_settings
from provenance.fingerprint.verification import load_verifier, make_thumbnail
from provenance.fingerprint.words.making import keep_small, load_word_maker
from provenance.testing.pictures import natural_picture
from provenance.testing.stores import build_record, build_words
from provenance.types import Fingerprints, RasterImage
from registry.engine import reading, writing
from registry.events import EventLog
from registry.index.maintenance import check_indexes
from registry.reindex_words import reindex_words
from registry.store import SqlRecordStore, open_store
from registry.tables import KeypointWordsRow, ThumbnailRow
from registry.wiring import open_registry


@pytest.fixture
def store(registry_url):
    opened = open_store(registry_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def maker():
    found = load_word_maker()
    if found is None:
        pytest.skip("OpenCV is not installed")
    return found


def register(store, seed, maker, *, keeps_words=True):
    record = build_record(store.reserve().record_id)
    image = natural_picture(360, 300, seed=seed)
    thumbnail, words = keep_small(image, maker if keeps_words else None)
    store.commit(replace(record, fingerprints=Fingerprints(None, None, thumbnail, words)))
    return record.record_id


def ask(maker, seed):
    """A third of the picture, larger."""
    pixels = natural_picture(360, 300, seed=seed).pixels[60:220, 80:260]
    image = RasterImage(np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1))
    return maker.ask(load_verifier().prepare_query(image))


def words_in(store):
    with reading(store.engine) as session:
        return sorted(session.scalars(select(KeypointWordsRow.record_id)).all())


def test_older_records_get_their_words_and_are_found(store, maker):
    kept = register(store, 1, maker)
    older = [register(store, seed, maker, keeps_words=False) for seed in (2, 3, 4)]
    assert [one.record_id for one in store.nearest_words(ask(maker, 3), limit=1)] != [older[1]]
    seen = []
    report = reindex_words(
        store.engine, maker, batch_records=2, progress=lambda *at: seen.append(at)
    )
    assert (report.records, report.present, report.added, report.missing) == (4, 1, 3, 0)
    assert seen == [(1, 4), (3, 4), (4, 4)]
    assert words_in(store) == sorted([kept, *older])
    # The rows stand before the one that the cache had taken in.
    for seed, record_id in ((1, kept), (2, older[0]), (3, older[1])):
        assert store.nearest_words(ask(maker, seed), limit=1)[0].record_id == record_id
    again = reindex_words(store.engine, maker)
    assert (again.present, again.added) == (4, 0)


def test_cut_rows_are_told_and_made_again(store, maker):
    record_id = register(store, 1, maker)
    with writing(store.engine) as session:
        session.execute(update(KeypointWordsRow).values(corners=b"0123456789"))
    whole = register(store, 2, maker)
    assert [one.record_id for one in store.nearest_words(ask(maker, 2), limit=9)] == [whole]
    (problem,) = [one.problem for one in check_indexes(store.engine, None) if one.problem]
    assert problem == (
        "keypoint words of 1 records are cut; run: countermark registry reindex --keypoints"
    )
    assert reindex_words(store.engine, maker).added == 1
    assert not any(one.problem for one in check_indexes(store.engine, None))
    assert store.nearest_words(ask(maker, 1), limit=1)[0].record_id == record_id


def test_an_audit_says_how_cut_words_are_mended(tmp_path, maker):
    store = open_registry(load_settings(environ={}, home=tmp_path))
    register(store, 1, maker)
    with writing(store.engine) as session:
        session.execute(update(KeypointWordsRow).values(corners=b"0123456789"))
    found = json.loads(run(tmp_path, "audit", "--json").out)["problems"]
    (told,) = [one for one in found if one["code"] == "index_disagrees"]
    assert "are cut" in told["what"]
    assert told["remedy"] == "run: countermark registry reindex --keypoints"
    assert run(tmp_path, *told["remedy"].split()[2:]).code == 0
    found = json.loads(run(tmp_path, "audit", "--json").out)["problems"]
    assert not [one for one in found if one["code"] == "index_disagrees"]


def test_a_thumbnail_that_is_none_is_named_and_the_rest_is_made(store, maker):
    bad, good = (register(store, seed, maker, keeps_words=False) for seed in (1, 2))
    with writing(store.engine) as session:
        session.execute(
            update(ThumbnailRow).where(ThumbnailRow.record_id == bad).values(data=b"none")
        )
    report = reindex_words(store.engine, maker)
    assert [record_id for record_id, _ in report.unreadable] == [bad]
    assert words_in(store) == [good]


def test_an_erased_record_leaves_no_words_in_rows_or_memory(store, maker):
    erased, kept = (register(store, seed, maker) for seed in (1, 2))
    assert store.nearest_words(ask(maker, 1), limit=1)[0].record_id == erased
    EventLog(store.engine).erase(erased, "on request")
    assert words_in(store) == [kept]
    assert {one.record_id for one in store.nearest_words(ask(maker, 1), limit=9)} <= {kept}
    assert not any(one.problem for one in check_indexes(store.engine, None))


def test_rows_beyond_the_memory_bound_are_found_and_told_of_once(store, caplog):
    words = [build_words(*[(10 * n + word, 3, 9) for word in range(8)]) for n in range(6)]
    for one in words:
        record = build_record(store.reserve().record_id)
        prints = Fingerprints(None, None, make_thumbnail(natural_picture(64, 64, seed=1)), one)
        store.commit(replace(record, fingerprints=prints))
    small = SqlRecordStore(store.engine, max_cached_bytes=1)
    with caplog.at_level(logging.WARNING, logger="registry.index.words"):
        for _ in range(2):
            for one in words:
                expected = store.nearest_words([one], limit=3)
                assert len(expected) == 1
                assert small.nearest_words([one], limit=3) == expected
        EventLog(store.engine).erase(record.record_id, "on request")
        assert small.nearest_words(words[-1:], limit=3) == []
    assert len(caplog.records) == 1
    assert small._word_indexes["words/1"].size_bytes == 0


def test_rows_of_a_second_process_are_taken_in(store, registry_url, maker):
    register(store, 1, maker)
    store.nearest_words(ask(maker, 1), limit=1)
    other = open_store(registry_url)
    later = register(other, 2, maker)
    other.close()
    assert store.nearest_words(ask(maker, 2), limit=1)[0].record_id == later


def test_the_command_says_what_it_did_and_what_it_needs(tmp_path, maker):
    store = open_registry(load_settings(environ={}, home=tmp_path))
    register(store, 1, maker)
    with writing(store.engine) as session:
        session.execute(delete(KeypointWordsRow))
    answer = json.loads(run(tmp_path, "registry", "reindex", "--keypoints", "--json").out)
    assert answer["added"] == 1
    told = run(tmp_path, "registry", "reindex", "--keypoints").out
    assert f"{maker.space_id}: 0 added, 1 were there" in told
    for words in ((), ("--keypoints", "--embedder", "open_clip")):
        refused = run(tmp_path, "registry", "reindex", *words)
        assert refused.code == 2
        assert "either --embedder NAME or --keypoints" in refused.err
