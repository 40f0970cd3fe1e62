"""An audit of a registry that goes on working: what settles by itself is no finding."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from provenance.config import load_settings
from provenance.testing.stores import build_hash, build_record
from provenance.types import EncodedImage, MediaType
from registry.audit import Code
from registry.audit_cli import _build_auditor
from registry.audit_files import audit_files
from registry.events import EventLog
from registry.wiring import open_asset_store, open_registry


@pytest.fixture
def settings(registry_url, tmp_path):
    return load_settings(environ={"COUNTERMARK_REGISTRY_URL": registry_url}, home=tmp_path / "home")


@pytest.fixture
def store(settings):
    opened = open_registry(settings)
    yield opened
    opened.close()


@pytest.fixture
def assets(settings):
    return open_asset_store(settings)


def commit(store, assets, number):
    """A record with its file staged, as between W8 and W9."""
    image = EncodedImage(b"file %d" % number, MediaType.PNG)
    record = build_record(store.reserve().record_id, perceptual_hash=build_hash(number))
    digest = hashlib.sha256(image.data).hexdigest()
    record = replace(record, asset=replace(record.asset, sha256=digest))
    staged = assets.stage(image)
    store.commit(record)
    return record, staged


def audited(settings, store, meanwhile):
    waited = []

    def pause(seconds):
        waited.append(seconds)
        meanwhile()

    auditor = _build_auditor(settings, store)
    examined, problems = audit_files(store.engine, auditor, sample=None, pause=pause)
    # These files are no pictures: that is told, and not what is asked here.
    codes = [one.code for one in problems if one.code is not Code.FILE_UNREADABLE]
    return examined, len(waited), codes


def test_a_file_that_comes_after_its_record_is_not_missed(settings, store, assets):
    _record, staged = commit(store, assets, 1)
    assert audited(settings, store, staged.publish) == (1, 1, [])


def test_a_file_that_stays_away_is(settings, store, assets):
    _record, staged = commit(store, assets, 1)
    assert audited(settings, store, lambda: None) == (1, 1, [Code.FILE_MISSING])
    staged.discard()


def test_an_erasure_under_way_is_no_orphan(settings, store, assets):
    record, staged = commit(store, assets, 1)
    staged.publish()
    erasure = EventLog(store.engine).erase(record.record_id, "on request")
    assert audited(settings, store, lambda: None) == (0, 1, [Code.FILE_ORPHAN])
    done = audited(settings, store, lambda: assets.remove(erasure.asset_sha256))
    assert done == (0, 1, [])


def test_a_deletion_under_way_is_not_missed(settings, store, assets):
    record, staged = commit(store, assets, 1)
    staged.publish()
    assets.remove(record.asset.sha256)
    events = EventLog(store.engine)
    done = audited(settings, store, lambda: events.note_deletion(record.record_id, "its time"))
    assert done == (1, 1, [])


def test_a_record_that_is_erased_meanwhile_is_not_missed(settings, store, assets):
    record, staged = commit(store, assets, 1)
    events = EventLog(store.engine)
    done = audited(settings, store, lambda: events.erase(record.record_id, "on request"))
    assert done == (1, 1, [])
    staged.discard()


def test_where_all_agrees_nothing_waits(settings, store):
    assert audited(settings, store, lambda: None) == (0, 0, [])
