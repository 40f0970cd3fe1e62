"""The C2PA Soft Binding Resolution API over real records, real marks and real manifests."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fastapi import APIRouter
from PIL import Image
from resolution_world import FOREIGN, LATTICE, PDQ, World, png_of, resaved, wire
from starlette.testclient import TestClient

from provenance.fingerprint.hashes.pdq import PdqHasher
from provenance.imaging import sniff_media_type
from provenance.manifest.heal import read_store_bytes
from provenance.manifest.jumbf import split_store
from provenance.manifest.reading import read_manifest
from provenance.manifest.wiring import build_trust
from provenance.serving.buckets import Buckets
from provenance.testing.pictures import natural_picture
from provenance.types import RasterImage, Scope, SoftBinding, WatermarkPayload
from provenance.watermark.wiring import build_codec, open_current_key
from provenance.web import compose_app
from registry.api import build_router
from registry.check import check_consistency
from registry.resolution_api import MISSES_PER_MINUTE, add_resolution_routes
from registry.wiring import open_registry, open_resolution, open_terms


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    environ = {"COUNTERMARK_SERVE_OPEN_RATE_PER_MINUTE": "0"}
    return World(tmp_path_factory.mktemp("resolution"), environ)


@pytest.fixture(scope="module")
def client(world):
    app = compose_app(world.settings, [build_router(world.settings)])
    with TestClient(app, base_url="https://cm.example.org", raise_server_exceptions=False) as one:
        yield one


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [one["manifestId"] for one in answer.json()["matches"]]


def by_content(client, data, kind="image/png", **query):
    headers = {"Content-Type": kind}
    return client.post("/v1/matches/byContent", content=data, headers=headers, params=query)


def store_manifest(client, world, store, key=None, **query):
    return client.post(
        "/v1/manifests",
        content=store,
        params=query,
        headers={"Content-Type": "application/c2pa", **(key or world.storer)},
    )


@pytest.fixture
def stored(client, world):
    """A foreign manifest that is here until the test ends."""
    made = []

    def add(bindings, *, png=None, parent=None, key=None):
        png = png or png_of(natural_picture(256, 256, seed=40 + len(made)))
        store = world.maker.sign(png, bindings, parent=parent)
        answer = store_manifest(client, world, store, key)
        assert answer.status_code == 200, answer.text
        made.append(answer.json()["manifestId"])
        return made[-1], store

    yield add
    admin = world.key(Scope.ADMIN)
    for one in made:
        client.delete(f"/v1/manifests/{one}", headers=admin)


# -- by binding ----------------------------------------------------------------------------------


def test_our_mark_finds_its_manifest_by_get_and_post(client, world):
    query = {"alg": LATTICE, "value": wire(world.mark)}
    for answer in (
        client.get("/v1/matches/byBinding", params=query),
        client.post("/v1/matches/byBinding", json=query),
    ):
        assert answer.json() == {"matches": [{"manifestId": world.label, "similarityScore": 100}]}


def test_a_fingerprint_finds_what_is_near(client, world):
    number = int(world.pdq, 16) ^ 0b1011
    answer = client.get(
        "/v1/matches/byBinding", params={"alg": PDQ, "value": wire(f"{number:064x}")}
    )
    assert answer.json()["matches"] == [{"manifestId": world.label, "similarityScore": 99}]
    far = int(world.pdq, 16) ^ (2**40 - 1)
    query = {"alg": PDQ, "value": wire(f"{far:064x}")}
    assert ids(client.get("/v1/matches/byBinding", params=query)) == []


@pytest.mark.parametrize(
    ("alg", "value"),
    [
        (LATTICE, wire("1*ffffffffffffffff")),
        (LATTICE, wire("no star")),
        ("org.countermark.dwtdctsvd.1", "MARK"),
        ("com.adobe.trustmark.P", "MARK"),
    ],
)
def test_another_value_or_alg_finds_nothing(client, world, alg, value):
    query = {"alg": alg, "value": wire(world.mark) if value == "MARK" else value}
    assert ids(client.get("/v1/matches/byBinding", params=query)) == []


@pytest.mark.parametrize(
    "query",
    [
        {"alg": LATTICE},
        {"value": wire("1*00")},
        {"alg": "nodots", "value": wire("x")},
        {"alg": LATTICE, "value": "%%%"},
        {"alg": LATTICE, "value": ""},
        {"alg": PDQ, "value": wire("short")},
        {"alg": LATTICE, "value": wire("1*00"), "maxResults": 0},
        {"alg": LATTICE, "value": wire("1*00"), "maxResults": "many"},
    ],
)
def test_a_bad_query_is_a_400(client, query):
    answer = client.get("/v1/matches/byBinding", params=query)
    assert answer.status_code == 400, answer.text
    assert answer.json()["status"] == 400


def test_a_long_get_is_a_414_and_its_post_is_answered(client):
    query = {"alg": FOREIGN, "value": wire("9" * 5000)}
    assert client.get("/v1/matches/byBinding", params=query).status_code == 414
    assert ids(client.post("/v1/matches/byBinding", json=query)) == []
    query["value"] = wire("9" * 20_000)
    assert client.post("/v1/matches/byBinding", json=query).status_code == 400


# -- by content ----------------------------------------------------------------------------------


def test_a_stripped_picture_finds_its_manifest(client, world):
    answer = by_content(client, world.stripped)
    assert ids(answer) == [world.label]
    assert answer.json()["matches"][0]["similarityScore"] == 100


def test_a_resaved_picture_finds_its_manifest_and_the_hint_and_alg_are_taken(client, world):
    copy = resaved(world.stripped)
    assert ids(by_content(client, copy, "image/jpeg")) == [world.label]
    assert ids(by_content(client, copy, alg=PDQ)) == [world.label]
    assert ids(by_content(client, copy, alg=LATTICE)) == [world.label]
    hint = {"hintAlg": LATTICE, "hintValue": wire(world.mark)}
    assert ids(by_content(client, copy, **hint)) == [world.label]


def test_a_turned_picture_is_held_against_its_fingerprint_as_it_was(client, world):
    turned = (
        Image.open(io.BytesIO(world.stripped))
        .convert("RGB")
        .rotate(7, Image.Resampling.BICUBIC, expand=True)
    )
    out = io.BytesIO()
    turned.save(out, "PNG")
    assert ids(by_content(client, out.getvalue())) == [world.label]


def test_a_mark_on_another_picture_is_no_match(client, world):
    """All soft bindings must fit: the mark alone can be copied."""
    ours = Image.open(io.BytesIO(world.stripped)).convert("RGB")
    plain = natural_picture(ours.width, ours.height, seed=77)
    codec = build_codec(world.settings)
    moved = codec.embed(
        plain,
        WatermarkPayload(world.delivery.record.record_id),
        key=open_current_key(world.settings),
        strength=codec.strengths[0],
    )
    assert ids(by_content(client, png_of(moved))) == []
    hint = {"hintAlg": LATTICE, "hintValue": wire(world.mark)}
    assert ids(by_content(client, png_of(moved), **hint)) == []


def test_a_picture_without_its_mark_is_no_match_though_it_looks_the_same(client, world):
    pixels = np.asarray(Image.open(io.BytesIO(world.stripped)).convert("RGB"))
    small = Image.fromarray(pixels).resize((64, 64), Image.Resampling.LANCZOS)
    blurred = np.asarray(small.resize((512, 512), Image.Resampling.BICUBIC))
    assert ids(by_content(client, png_of(RasterImage(blurred)))) == []
    assert ids(by_content(client, png_of(natural_picture(512, 512, seed=3)))) == []


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        ("audio/mpeg", b"ID3", 415),
        ("text/plain", b"hello", 415),
        ("model/gltf-binary", b"glTF", 415),
        ("image/png", b"this is no picture at all", 415),
        ("image/png", b"", 400),
        ("image/png", b"\x89PNG\r\n\x1a\n" + b"\0" * 30, 400),
    ],
)
def test_what_is_no_picture_is_refused(client, kind, data, status):
    assert by_content(client, data, kind).status_code == status


def test_a_decompression_bomb_is_a_400(client):
    out = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(out, "PNG")
    answer = by_content(client, out.getvalue())
    assert answer.status_code == 400
    assert "pixels" in answer.json()["detail"]


def test_half_a_hint_and_an_unknown_alg_are_refused(client, world):
    assert by_content(client, world.stripped, hintAlg=LATTICE).status_code == 400
    assert by_content(client, world.stripped, alg="com.adobe.trustmark.P").status_code == 400


# -- manifests -----------------------------------------------------------------------------------


def test_a_manifest_comes_back_byte_for_byte(client, world):
    answer = client.get(f"/v1/manifests/{world.label}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/c2pa"
    assert answer.content == world.store


def test_the_active_manifest_alone_is_still_a_store_that_reads(client, world, stored):
    manifest_id, store = stored([SoftBinding(FOREIGN, "one")], parent=world.delivery.asset.image)
    assert len(split_store(store)) == 2
    whole = client.get(f"/v1/manifests/{manifest_id}").content
    assert whole == store
    answer = client.get(f"/v1/manifests/{manifest_id}?returnActiveManifest=true")
    (only,) = split_store(answer.content)
    assert only == split_store(store)[-1]
    trust = build_trust(world.settings)
    assert (
        read_manifest(answer.content, "application/c2pa", trust=trust).manifest_label == manifest_id
    )


@pytest.mark.parametrize(
    ("manifest_id", "status"),
    [("urn:c2pa:none", 404), ("x" * 600, 400), ("a b", 400), ("caf\u00e9", 400)],
)
def test_an_unknown_or_impossible_id(client, manifest_id, status):
    assert client.get(f"/v1/manifests/{manifest_id}").status_code == status
    assert client.get(f"/v1/manifests/{manifest_id}/receipts").status_code == status


# -- storing for others --------------------------------------------------------------------------


def test_a_foreign_manifest_is_stored_found_and_deleted_with_its_bindings(client, world):
    png = png_of(natural_picture(256, 256, seed=9))
    store = world.maker.sign(
        png, [SoftBinding(FOREIGN, "7*0110"), SoftBinding("com.example.fp", "aa")]
    )
    manifest_id = split_store(store)[-1].label
    query = {"alg": FOREIGN, "value": wire("7*0110")}
    assert ids(client.get("/v1/matches/byBinding", params=query)) == []
    for _ in range(2):
        answer = store_manifest(client, world, store)
        assert answer.json() == {"manifestId": manifest_id}
    assert ids(client.get("/v1/matches/byBinding", params=query)) == [manifest_id]
    assert client.get(f"/v1/manifests/{manifest_id}").content == store
    gone = client.delete(f"/v1/manifests/{manifest_id}", headers=world.storer)
    assert (gone.status_code, gone.content) == (204, b"")
    assert ids(client.get("/v1/matches/byBinding", params=query)) == []
    assert client.get(f"/v1/manifests/{manifest_id}").status_code == 404
    assert client.delete(f"/v1/manifests/{manifest_id}", headers=world.storer).status_code == 404


def test_bytes_in_a_manifest_are_found_by_their_text(client, stored):
    listed = {"alg": FOREIGN, "blocks": [{"scope": {}, "value": list(b"2*0011")}]}
    manifest_id, _ = stored([listed])
    query = {"alg": FOREIGN, "value": wire("2*0011")}
    assert ids(client.get("/v1/matches/byBinding", params=query)) == [manifest_id]


@pytest.mark.parametrize("value", ["caf\u00e9", "two\nlines", "a\u0000zero", "1*" + "9" * 6000])
def test_any_text_in_a_manifest_is_found_by_its_utf8(client, stored, value):
    manifest_id, _ = stored([SoftBinding(FOREIGN, value)])
    query = {"alg": FOREIGN, "value": wire(value)}
    assert ids(client.post("/v1/matches/byBinding", json=query)) == [manifest_id]


def test_several_manifests_of_one_value_come_oldest_first_and_are_counted(client, stored):
    made = [stored([SoftBinding(FOREIGN, "same")])[0] for _ in range(3)]
    query = {"alg": FOREIGN, "value": wire("same")}
    assert ids(client.get("/v1/matches/byBinding", params=query)) == made
    query["maxResults"] = 2
    assert ids(client.get("/v1/matches/byBinding", params=query)) == made[:2]


def test_a_foreign_picture_is_found_by_content_when_all_its_bindings_can_be_checked(client, stored):
    photo = natural_picture(400, 300, seed=11)
    value = PdqHasher().hash(photo).hex
    checked, _ = stored([SoftBinding(PDQ, value)], png=png_of(photo))
    stored(
        [SoftBinding(PDQ, value), SoftBinding(FOREIGN, "cannot be read here")], png=png_of(photo)
    )
    assert ids(by_content(client, resaved(png_of(photo)))) == [checked]


def test_a_foreign_picture_is_found_turned_and_mirrored(client, stored):
    photo = natural_picture(400, 300, seed=14)
    here, _ = stored([SoftBinding(PDQ, PdqHasher().hash(photo).hex)], png=png_of(photo))
    turned = np.ascontiguousarray(np.rot90(photo.pixels)[:, ::-1])
    assert ids(by_content(client, png_of(RasterImage(turned)), alg=PDQ)) == [here]


def test_nobody_lays_a_manifest_over_our_picture(client, world):
    png = png_of(natural_picture(256, 256, seed=12))
    near = f"{int(world.pdq, 16) ^ 7:064x}"
    for binding in (
        SoftBinding(LATTICE, world.mark),
        SoftBinding(LATTICE, "1*0123456789abcdef"),
        SoftBinding(PDQ, near),
        SoftBinding("org.countermark.new.1", "x"),
        SoftBinding("ORG.Countermark.new.1", "x"),
    ):
        answer = store_manifest(client, world, world.maker.sign(png, [binding]))
        assert answer.status_code == 403, (binding, answer.text)


def test_who_went_on_from_our_picture_may_say_so(client, world, stored):
    manifest_id, _ = stored([SoftBinding(LATTICE, world.mark)], parent=world.delivery.asset.image)
    query = {"alg": LATTICE, "value": wire(world.mark)}
    assert ids(client.get("/v1/matches/byBinding", params=query)) == [world.label, manifest_id]


def test_damaged_and_disguised_manifests_are_refused(client, world):
    good = world.maker.sign(png_of(natural_picture(128, 128, seed=1)), [SoftBinding(FOREIGN, "v")])
    flipped = good.replace(b"com.example.mark.1", b"com.example.mark.2")
    own = world.store[:-1] + bytes([world.store[-1] ^ 1])
    for store in (b"", b"hello", good[:-5], good + b"\0", good * 2, flipped, own):
        answer = store_manifest(client, world, store)
        assert answer.status_code == 400, answer.text
    headers = {"Content-Type": "image/png", **world.storer}
    assert client.post("/v1/manifests", content=good, headers=headers).status_code == 400
    # Our own is here already, which is what storing asks for.
    assert store_manifest(client, world, world.store).json() == {"manifestId": world.label}


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("c2pa-org/adobe-20220124-CACA.jpg", True),
        ("c2pa-rs/update_manifest.jpg", True),
        ("c2pa-rs/ocsp.jpg", True),
        ("synthetic/s01_ai_dev_trusted.png", True),
        ("synthetic/s17_real_google_manifest_on_other_pixels.png", True),
        ("c2pa-org/adobe-20220124-E-sig-CA.jpg", False),
        ("c2pa-org/adobe-20220124-E-uri-CA.jpg", False),
        ("c2pa-org/adobe-20220124-E-clm-CAICAI.jpg", False),
        ("c2pa-rs/prerelease.jpg", False),
        ("synthetic/s19_truncated_manifest.png", False),
    ],
)
def test_manifests_of_real_makers_are_stored_if_they_are_intact(client, world, name, taken):
    file = Path(__file__).parents[3] / "shared" / "data" / "c2pa" / name
    if not file.is_file():
        pytest.skip("the folder ../shared/data is not here")
    data = file.read_bytes()
    store = read_store_bytes(data, sniff_media_type(data))
    answer = store_manifest(client, world, store)
    if not taken:
        assert answer.status_code == 400, answer.text
        return
    url = f"/v1/manifests/{answer.json()['manifestId']}"
    assert client.get(url).content == store
    assert client.delete(url, headers=world.storer).status_code == 204


def test_a_manifest_over_the_limit_is_a_400(client, world):
    answer = store_manifest(client, world, b"\0" * (4 * 2**20 + 1))
    assert answer.status_code == 400
    assert "max_manifest_bytes" in answer.json()["detail"]


def test_our_own_manifests_are_not_changed_from_outside(client, world):
    admin = world.key(Scope.ADMIN)
    body = {"manifestId": world.label, "bindingValue": wire("x"), "alg": FOREIGN}
    assert client.delete(f"/v1/manifests/{world.label}", headers=admin).status_code == 403
    assert client.post("/v1/bindings", json=body, headers=admin).status_code == 403
    assert client.get(f"/v1/manifests/{world.label}").status_code == 200


# -- bindings ------------------------------------------------------------------------------------


def bind(client, world, how="post", key=None, **body):
    body["bindingValue"] = wire(body.pop("value"))
    return client.request(how, "/v1/bindings", json=body, headers=key or world.storer)


def test_a_binding_is_added_replaced_and_found(client, world, stored):
    manifest_id, _ = stored([SoftBinding(FOREIGN, "signed")])

    def found(value):
        return ids(
            client.get("/v1/matches/byBinding", params={"alg": FOREIGN, "value": wire(value)})
        )

    assert bind(client, world, manifestId=manifest_id, value="first").status_code == 204
    assert bind(client, world, manifestId=manifest_id, value="first").status_code == 204
    assert found("first") == found("signed") == [manifest_id]
    assert bind(client, world, "put", manifestId=manifest_id, value="second").status_code == 204
    assert (found("first"), found("second")) == ([], [manifest_id])
    assert found("signed") == [manifest_id], "what was signed stays"


def test_a_binding_without_alg_is_refused_where_it_could_mean_two_things(client, world, stored):
    several, _ = stored([SoftBinding(FOREIGN, "a"), SoftBinding("com.example.fp", "b")])
    none, _ = stored([])
    for manifest_id in (several, none):
        answer = bind(client, world, manifestId=manifest_id, value="x")
        assert answer.status_code == 400
        assert "alg" in answer.json()["detail"]
        answer = bind(client, world, manifestId=manifest_id, value="x", alg="com.example.fp")
        assert answer.status_code == 204


def test_bindings_of_others_and_of_our_algorithms_are_refused(client, world, stored):
    manifest_id, _ = stored([SoftBinding(FOREIGN, "a")])
    other = world.key(Scope.STORE)
    assert bind(client, world, key=other, manifestId=manifest_id, value="x").status_code == 403
    headers = {"Content-Type": "application/json", **other}
    assert client.delete(f"/v1/manifests/{manifest_id}", headers=headers).status_code == 403
    for alg, value in ((LATTICE, world.mark), (PDQ, world.pdq)):
        answer = bind(client, world, manifestId=manifest_id, value=value, alg=alg)
        assert answer.status_code == 403, answer.text
    assert bind(client, world, manifestId="urn:c2pa:none", value="x").status_code == 404
    body = {"manifestId": manifest_id}
    assert client.post("/v1/bindings", json=body, headers=other).status_code == 400


# -- receipts ------------------------------------------------------------------------------------


def test_a_receipt_verifies_and_a_changed_one_does_not(client, world, stored):
    manifest_id, store = stored([SoftBinding(FOREIGN, "r")])
    receipt = store_manifest(client, world, store, returnReceipt=True).json()["receipt"]
    url = f"/v1/manifests/{manifest_id}/receipts"
    assert client.post(url, json=receipt).json() == {**receipt, "verified": True}
    assert client.get(url).json() == {**receipt, "verified": True}
    ours = client.get(f"/v1/manifests/{world.label}/receipts").json()
    assert ours["verified"] is True
    proof = receipt["anchor"]["proof"]
    for change in (
        {"repository": {**receipt["repository"], "uri": "https://elsewhere.example/v1"}},
        {"repository": {**receipt["repository"], "manifestId": world.label}},
        {"anchor": {**receipt["anchor"], "uri": "urn:countermark:log:00"}},
        {"anchor": ours["anchor"]},
        *(
            {"anchor": {**receipt["anchor"], "proof": {**proof, **one}}}
            for one in (
                {"leafIndex": proof["leafIndex"] + 1},
                {"leafIndex": "none"},
                {"treeSize": 10**30},
                {"treeSize": 10**6},
                {"treeSize": "0"},
                {"leaf": "!"},
                {"leaf": base64.b64encode(b"[]").decode()},
                {"rootHash": "00"},
                {"path": ["00" * 32, *proof["path"]]},
                {"path": 5},
                {"path": ["zz"]},
                {"type": "other"},
            )
        ),
    ):
        answer = client.post(url, json={**receipt, **change})
        assert answer.status_code == 200, answer.text
        assert answer.json()["verified"] is False, change
        assert answer.json()["error"]


def test_a_receipt_of_an_unknown_manifest_or_of_no_shape(client, world):
    receipt = client.get(f"/v1/manifests/{world.label}/receipts").json()
    del receipt["verified"]
    assert client.post("/v1/manifests/urn:c2pa:none/receipts", json=receipt).status_code == 404
    url = f"/v1/manifests/{world.label}/receipts"
    assert client.post(url, json={**receipt, "@type": "other"}).status_code == 400
    assert client.post(url, json={**receipt, "extra": 1}).status_code == 400
    assert client.post(url, json={}).status_code == 400


# -- who may -------------------------------------------------------------------------------------


def test_storing_always_needs_a_key_of_its_scope(client, world):
    store = world.maker.sign(png_of(natural_picture(128, 128, seed=2)), [SoftBinding(FOREIGN, "k")])
    kind = {"Content-Type": "application/c2pa"}
    for headers in ({}, world.key(Scope.GENERATE), world.key(Scope.FETCH), {"X-Api-Key": "cmk_no"}):
        for method, url in (
            ("POST", "/v1/manifests"),
            ("DELETE", "/v1/manifests/urn:c2pa:x"),
            ("POST", "/v1/bindings"),
            ("PUT", "/v1/bindings"),
        ):
            answer = client.request(method, url, content=store, headers={**kind, **headers})
            assert answer.status_code == 403, (method, url, answer.text)


def test_fetching_may_need_a_key_and_is_limited_without_one(world):
    locked = replace(
        world.settings,
        resolution=replace(world.settings.resolution, fetch_access="key"),
        serve=replace(world.settings.serve, open_rate_per_minute=2),
    )
    urls = [f"/v1/manifests/{world.label}", "/v1/services/supportedAlgorithms"]
    with TestClient(compose_app(locked, [build_router(locked)])) as one:
        for url in urls:
            assert one.get(url).status_code == 403
            assert one.get(url, headers=world.key(Scope.FETCH)).status_code == 200
        for url in ("/v1/services/status", "/.well-known/c2pa-soft-binding-resolution"):
            assert one.get(url).status_code == 200
    opened = replace(locked, resolution=replace(locked.resolution, fetch_access="open"))
    with TestClient(compose_app(opened, [build_router(opened)])) as one:
        statuses = [one.get(urls[0]).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_who_guesses_values_is_told_to_wait(world):
    records = open_registry(world.settings)
    router = APIRouter()
    terms = replace(open_terms(world.settings), misses=Buckets(lambda: 0.0))
    add_resolution_routes(router, open_resolution(world.settings, records), terms)
    with TestClient(compose_app(world.settings, [router])) as one:
        headers = world.key(Scope.ADMIN)

        def guess(number):
            query = {"alg": LATTICE, "value": wire(f"1*{number:016x}")}
            return one.post("/v1/matches/byBinding", json=query, headers=headers)

        assert {guess(number).status_code for number in range(MISSES_PER_MINUTE)} == {200}
        answer = guess(MISSES_PER_MINUTE)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        # Who asks for what is there is somebody else.
        query = {"alg": LATTICE, "value": wire(world.mark)}
        for _ in range(MISSES_PER_MINUTE + 1):
            assert ids(one.get("/v1/matches/byBinding", params=query)) == [world.label]
    records.close()


def test_an_alg_can_be_kept_for_its_owner(world):
    owner = world.key(Scope.STORE)
    reserved = replace(
        world.settings,
        resolution=replace(
            world.settings.resolution, alg_owners=(f"com.owner={owner['x-test-id']}",)
        ),
    )
    png = png_of(natural_picture(128, 128, seed=6))
    store = world.maker.sign(png, [SoftBinding("com.owner.mark", "1")])
    with TestClient(compose_app(reserved, [build_router(reserved)])) as one:
        assert store_manifest(one, world, store).status_code == 403
        stored_here = store_manifest(one, world, store, owner)
        assert stored_here.status_code == 200
        url = f"/v1/manifests/{stored_here.json()['manifestId']}"
        assert one.delete(url, headers=owner).status_code == 204


# -- the service itself --------------------------------------------------------------------------


def test_the_service_says_where_and_what_it_is(client):
    found = client.get("/.well-known/c2pa-soft-binding-resolution").json()
    assert found["apiEndpoint"] == "https://cm.example.org/v1"
    assert client.get(found["statusEndpoint"]).json()["status"] == "ok"
    capabilities = client.get(found["capabilitiesEndpoint"]).json()
    assert capabilities["c2paSpecificationVersion"] == "2.4.0"
    assert "queryByReference" not in capabilities["supportedCapabilities"]
    algs = client.get("/v1/services/supportedAlgorithms").json()
    assert LATTICE in [one["alg"] for one in algs["watermarks"]]
    assert algs["fingerprints"] == [{"alg": PDQ}]


def test_a_reference_is_not_fetched_unless_the_operator_says_so(client):
    body = {"referenceUrl": "https://example.org/x.png", "assetLength": 10}
    assert client.post("/v1/matches/byReference", json=body).status_code == 403


def test_the_log_knows_what_was_stored_and_deleted(client, world, stored):
    stored([SoftBinding(FOREIGN, "in the log")])
    records = open_registry(world.settings)
    now = datetime.now(UTC)
    assert check_consistency(records.engine, now=now).problems == ()
    with records.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE away AS SELECT * FROM stored_manifests")
        connection.exec_driver_sql("UPDATE stored_manifests SET store = ?", (b"other bytes",))
    (problem,) = check_consistency(records.engine, now=now).problems
    assert "stored digest" in problem.what
    with records.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM stored_bindings")
        connection.exec_driver_sql("DELETE FROM stored_manifests")
    (problem,) = check_consistency(records.engine, now=now).problems
    assert "its row is gone" in problem.what
    with records.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO stored_manifests SELECT * FROM away")
        connection.exec_driver_sql("DROP TABLE away")
    assert check_consistency(records.engine, now=now).problems == ()
    records.close()
