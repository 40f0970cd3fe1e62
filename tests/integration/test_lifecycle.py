"""Revoking, taking down, erasing, pruning: what goes, what stays, and that the log still stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from deliveries import make_home
from fastapi.testclient import TestClient

from detector.wiring import build_detector
from provenance.errors import InputError, PayloadConflictError, RecordGoneError, RecordNotFoundError
from provenance.testing.stores import (
    LIFETIME,
    START,
    ManualClock,
    build_embedding,
    build_hash,
    build_record,
    build_refusal,
    build_sealed_inputs,
    counting_bytes,
    keep_asset,
)
from provenance.types import (
    Assurance,
    EncodedImage,
    EventKind,
    EventTarget,
    MediaType,
    Origin,
    RegistryEvidence,
)
from provenance.web import create_app
from registry.assets import DeliveringAssets, LocalAssetStore
from registry.check import check_consistency
from registry.events import EventLog
from registry.log_proofs import check_inclusion_proof
from registry.migrate import upgrade
from registry.prune import prune
from registry.signed_log import SignedLog, open_log_keys
from registry.store import open_store


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, clock):
    url = f"sqlite:///{tmp_path}/registry.sqlite3"
    upgrade(url)
    store = open_store(url, clock=clock, random_bytes=counting_bytes())
    yield store
    store.close()


@pytest.fixture
def events(store, clock):
    return EventLog(store.engine, clock=clock)


def commit(store, number=1, **fields):
    record = build_record(
        store.reserve().record_id,
        perceptual_hash=build_hash(number),
        embedding=build_embedding(1, number),
    )
    record = replace(record, **fields)
    store.commit(record, build_sealed_inputs(record.record_id))
    return record


def in_order(store):
    assert check_consistency(store.engine, now=START).problems == ()


# -- revoking --------------------------------------------------------------------------------------


def test_a_revoked_record_stays_and_carries_its_notice(store, events):
    record, other = commit(store, 1), commit(store, 2)
    event = events.revoke(EventTarget.RECORD, record.record_id, " made by \n mistake ")
    assert store.notices(store.get(record.record_id)) == [event]
    assert store.notices(other) == []
    assert event.reason == "made by mistake"
    assert store.log_head().size == 3
    in_order(store)


def test_revoking_twice_writes_once(store, events):
    record = commit(store)
    first = events.revoke(EventTarget.RECORD, record.record_id, "one")
    assert events.revoke(EventTarget.RECORD, record.record_id, "another") == first
    assert store.log_head().size == 2


@pytest.mark.parametrize("how", ["weights", "name", "revision"])
def test_a_model_is_revoked_by_any_of_its_names(store, events, how):
    record = commit(store)
    names = {
        "weights": record.model.weights_sha256,
        "name": record.model.name,
        "revision": f"{record.model.name}@{record.model.revision}",
    }
    event = events.revoke(EventTarget.MODEL, names[how], "withdrawn by its maker")
    assert store.notices(record) == [event]
    in_order(store)


def test_a_key_is_revoked_for_its_records(store, events):
    record = commit(store)
    event = events.revoke(EventTarget.KEY, record.watermark.key_id, "the key file leaked")
    assert store.notices(record) == [event]


@pytest.mark.parametrize("kind", [EventTarget.KEY, EventTarget.MODEL])
def test_a_name_that_no_record_has_is_refused(store, events, kind):
    commit(store)
    with pytest.raises(InputError, match=r"no record names the .*known here: \S"):
        events.revoke(kind, "mistyped", "a reason")
    assert store.log_head().size == 1


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_a_reason_must_be_a_sentence(store, events, reason):
    record = commit(store)
    with pytest.raises(InputError, match="the reason has"):
        events.take_down(record.record_id, reason)


def test_what_is_not_there_cannot_be_revoked(events):
    for act in (
        lambda: events.revoke(EventTarget.RECORD, "f" * 16, "a reason"),
        lambda: events.take_down("f" * 16, "a reason"),
        lambda: events.erase("f" * 16, "a reason"),
    ):
        with pytest.raises(RecordNotFoundError):
            act()


# -- taking down -----------------------------------------------------------------------------------


def test_a_file_that_was_taken_down_is_not_handed_out(store, events, tmp_path):
    assets = LocalAssetStore(tmp_path / "assets")
    digest = keep_asset(assets, EncodedImage(b"bytes", MediaType.PNG))
    record = commit(store, asset=replace(build_record("0" * 16).asset, sha256=digest))
    delivering = DeliveringAssets(assets, store.find_take_down)
    assert delivering.get(digest) == b"bytes"
    events.take_down(record.record_id, "it shows a person")
    with pytest.raises(RecordGoneError, match="it shows a person"):
        delivering.get(digest)
    assert assets.get(digest) == b"bytes"
    assert store.get(record.record_id).record_id == record.record_id
    in_order(store)


# -- erasing ---------------------------------------------------------------------------------------


def test_an_erased_record_is_gone_with_all_that_hangs_on_it(store, events, tmp_path):
    parameters = {"seed": 7, "prompt": "Erika Mustermann on a bench"}
    record, kept = commit(store, 1, parameters=parameters), commit(store, 2)
    near = store.nearest_hashes(build_hash(1), max_distance_bits=0, limit=9)
    assert [one.record_id for one in near] == [record.record_id]
    erasure = events.erase(record.record_id, "on request")
    assert erasure.asset_sha256 == record.asset.sha256
    with pytest.raises(RecordGoneError, match="on request"):
        store.get(record.record_id)
    assert store.find_by_file_hash(record.asset.sha256) is None
    assert store.kept_inputs(record.record_id) is None
    # The same store, whose fingerprints were in memory already.
    assert store.nearest_hashes(build_hash(1), max_distance_bits=0, limit=9) == []
    near = store.nearest_embeddings(build_embedding(1, 1), min_cosine=-1, limit=9)
    assert [one.record_id for one in near] == [kept.record_id]
    in_order(store)
    for file in tmp_path.glob("registry.sqlite3*"):
        data = file.read_bytes()
        assert b"Mustermann" not in data
        assert record.manifest_store not in data


def test_the_log_proves_an_erased_entry_still(store, events, tmp_path):
    record = commit(store)
    log = SignedLog(store.engine, open_log_keys(tmp_path / "log.key"))
    before = log.sign()
    events.erase(record.record_id, "on request")
    proof = log.prove_record(record.record_id)
    assert proof.head == before
    check_inclusion_proof(proof, before, next(iter(log.keys.public.values())))
    later = log.prove_growth(before.size, log.sign().size)
    assert later.head.size == 2


def test_an_erased_id_is_never_used_again(store, events):
    record = commit(store)
    events.erase(record.record_id, "on request")
    answers = iter((bytes.fromhex(record.record_id), b"\x77" * 8))
    store._random_bytes = lambda _: next(answers)
    assert store.reserve().record_id == "77" * 8
    with pytest.raises(PayloadConflictError):
        store.commit(record)


def test_erasing_twice_answers_what_is_left_to_do(store, events):
    record = commit(store)
    first = events.erase(record.record_id, "one")
    assert events.erase(record.record_id, "another") == first
    assert store.log_head().size == 2


def test_a_refusal_is_erased_too(store, events):
    refusal = build_refusal(store.reserve().record_id)
    store.refuse(refusal)
    assert events.erase(refusal.record_id, "on request").asset_sha256 is None
    assert store.find_refusal(refusal.record_id) is None
    in_order(store)


# -- pruning ---------------------------------------------------------------------------------------


def test_what_has_had_its_time_goes_and_nothing_else(store, events, tmp_path, clock):
    assets = LocalAssetStore(tmp_path / "assets")
    digests = [keep_asset(assets, EncodedImage(name, MediaType.PNG)) for name in (b"old", b"young")]
    ids = []
    for number, (digest, age) in enumerate(zip(digests, (40, 5), strict=True)):
        asset = replace(build_record("0" * 16).asset, sha256=digest)
        made = START - timedelta(days=age)
        ids.append(commit(store, number, asset=asset, created_at=made).record_id)
    store.reserve()
    staged = assets.stage(EncodedImage(b"of a dead process", MediaType.PNG))
    clock.advance(timedelta(hours=1))

    def run():
        return prune(
            store.engine,
            assets,
            now=clock(),
            retain_assets_days=30,
            retain_inputs_days=10,
            abandoned_after_s=-1,
        )

    done = run()
    assert (done.files, done.inputs, done.reservations, done.staged) == (1, 1, 1, 1)
    assert [assets.get(digest) for digest in digests] == [None, b"young"]
    assert store.kept_inputs(ids[0]) is None
    assert store.kept_inputs(ids[1]) is not None
    (event,) = events.list_events(limit=9)
    assert (event.kind, event.target) == (EventKind.DELETION, ids[0])
    again = run()
    assert (again.files, again.inputs, again.reservations, again.staged) == (0, 0, 0, 0)
    staged.discard()
    in_order(store)


def test_without_retention_everything_is_kept(store, tmp_path):
    commit(store, created_at=datetime(2000, 1, 1, tzinfo=UTC))
    done = prune(
        store.engine,
        LocalAssetStore(tmp_path / "assets"),
        now=START,
        retain_assets_days=0,
        retain_inputs_days=0,
        abandoned_after_s=LIFETIME.total_seconds(),
    )
    assert (done.files, done.inputs) == (0, 0)


# -- what people see -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    home = make_home(tmp_path_factory.mktemp("seen") / "home")
    names = ("revoked", "model", "taken", "erased")
    found = {name: home.deliver(name, side_px=256) for name in names}
    events = EventLog(home.service.store.engine)
    events.revoke(EventTarget.RECORD, found["revoked"].record.record_id, "made by mistake")
    events.take_down(found["taken"].record.record_id, "it shows a person")
    events.erase(found["erased"].record.record_id, "on request")
    return home, found


def verdict_on(home, delivery):
    from provenance.imaging import decode_image, encode_image

    # Without credentials: only the registry and the mark can tell.
    bare = encode_image(decode_image(delivery.asset.image.data), MediaType.PNG).data
    return build_detector(home.settings).verify(bare, name="bare.png")


def registry_evidence(verdict):
    return [e for e in verdict.evidence if isinstance(e, RegistryEvidence) and e.tier is not None]


def test_a_revoked_record_is_found_and_shown_with_the_reason(delivered):
    home, found = delivered
    verdict = verdict_on(home, found["revoked"])
    assert verdict.origin is Origin.MACHINE_MADE
    assert verdict.assurance is Assurance.HINT
    hits = registry_evidence(verdict)
    assert hits
    assert all(hit.revoked and "made by mistake" in hit.notice for hit in hits)
    assert any("made by mistake" in reason for reason in verdict.reasons)


def test_a_file_that_was_taken_down_is_still_recognised(delivered):
    home, found = delivered
    verdict = verdict_on(home, found["taken"])
    assert verdict.assurance is Assurance.REGISTERED
    assert any("took down" in reason for reason in verdict.reasons)


def test_an_erased_picture_is_a_mark_without_a_record(delivered):
    home, found = delivered
    verdict = verdict_on(home, found["erased"])
    assert (verdict.origin, verdict.assurance) == (Origin.MACHINE_MADE, Assurance.HINT)
    (hit,) = registry_evidence(verdict)
    assert "on request" in hit.reason


def test_the_service_answers_410_and_why(delivered):
    home, found = delivered
    with TestClient(create_app(home.settings)) as client:
        for name, why in (("taken", "it shows a person"), ("erased", "on request")):
            answer = client.get(f"/v1/assets/{found[name].record.record_id}")
            assert answer.status_code == 410, answer.text
            assert why in answer.json()["detail"]
        assert client.get(f"/v1/assets/{found['model'].record.record_id}").status_code == 200
        assert client.get(f"/v1/records/{found['erased'].record.record_id}").status_code == 410


def test_a_withdrawn_model_is_told_and_changes_no_assurance(delivered):
    home, found = delivered
    record = found["model"].record
    EventLog(home.service.store.engine).revoke(
        EventTarget.MODEL, record.model.name, "withdrawn by its maker"
    )
    verdict = verdict_on(home, found["model"])
    assert verdict.assurance is Assurance.REGISTERED
    assert any("withdrawn by its maker" in reason for reason in verdict.reasons)
