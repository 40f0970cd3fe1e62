"""Every route of the C2PA Soft Binding Resolution API 2.4.0 against its published schema.

The schema contradicts itself in places (see its ``x-known-defects``); what is held against it here
are the repaired parts, and each defect is shown first.
"""

from __future__ import annotations

import copy
import json
import socket
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import jsonschema
import pytest
from fastapi import APIRouter
from resolution_world import FOREIGN, LATTICE, PDQ, World, png_of, wire
from starlette.testclient import TestClient
from tls_server import serve_tls

from provenance.client import GuardedClient, RemotePolicy
from provenance.testing.pictures import natural_picture
from provenance.types import Scope, SoftBinding
from provenance.web import compose_app
from registry.resolution_api import add_resolution_routes
from registry.wiring import open_registry, open_resolution, open_terms

NAME = "softbinding-resolution-api-2.4.0-compact.json"
SPEC = json.loads((Path(__file__).parents[1] / "data" / NAME).read_text())
PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "c2pa" / "json" / NAME
WELL_KNOWN = "/.well-known/c2pa-soft-binding-resolution"
VERBS = ("get", "post", "put", "delete")
OPERATIONS = [
    (path, verb) for path, item in SPEC["paths"].items() for verb in VERBS if verb in item
]


def repaired() -> dict:
    """The schemas, with what contradicts itself put right."""
    schemas = copy.deepcopy(SPEC["components"]["schemas"])
    del schemas["c2pa.softBindingAlgList"]["properties"]["watermarks"]["items"]["oneOf"]
    receipt, extra = (
        schemas["c2pa.manifestReceipt"],
        schemas["c2pa.verifiedManifestReceipt"]["allOf"][1],
    )
    schemas["c2pa.verifiedManifestReceipt"] = {
        **receipt,
        "properties": {**receipt["properties"], **extra["properties"]},
        "required": [*receipt["required"], *extra["required"]],
    }
    return schemas


def validate(document: object, schema: dict, schemas: dict) -> None:
    whole = {**schema, "components": {"schemas": schemas}}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(whole, format_checker=checker).validate(document)


def hold_against_schema(path: str, method: str, answer: object) -> None:
    """Status, media type and body of an answer are those of the schema."""
    documented = SPEC["paths"][path][method]["responses"]
    status = str(answer.status_code)
    assert status in documented, (path, method, status, answer.text)
    contents = documented[status].get("content", {})
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if contents:
        assert kind in contents, (path, method, kind)
    elif status == "204":
        assert answer.content == b""
    else:
        assert kind == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
    if kind == "application/json" and contents:
        validate(answer.json(), contents[kind]["schema"], repaired())


def test_the_copy_is_the_published_one() -> None:
    if not PUBLISHED.is_file():
        pytest.skip("the folder ../shared/data is not here")
    assert json.loads(PUBLISHED.read_text()) == SPEC


def test_the_defects_are_there() -> None:
    schemas = SPEC["components"]["schemas"]
    algs = {"watermarks": [{"alg": "a.b"}], "fingerprints": []}
    receipt = {
        "@context": {},
        "@type": "org.c2pa.manifest-receipt",
        "repository": {"uri": "https://a.b", "manifestId": "m"},
        "anchor": {"uri": "urn:a:b", "proof": {}},
        "verified": True,
    }
    for document, name in (
        (algs, "c2pa.softBindingAlgList"),
        (receipt, "c2pa.verifiedManifestReceipt"),
    ):
        reference = {"$ref": f"#/components/schemas/{name}"}
        with pytest.raises(jsonschema.ValidationError):
            validate(document, reference, schemas)
        validate(document, reference, repaired())


class Served:
    """The API over one installation, a stored manifest, and a picture on a web server."""

    def __init__(self, client: TestClient, world: World, picture: bytes) -> None:
        self.client = client
        self.world = world
        self.picture = picture
        self.asked: set[tuple[str, str]] = set()

    def ask(self, path: str, method: str, **options: object) -> object:
        place = path if path == WELL_KNOWN else f"/v1{path}"
        for name, value in options.pop("parts", {}).items():
            place = place.replace(f"{{{name}}}", value)
        answer = self.client.request(method, place, **options)
        self.asked.add((path, method))
        hold_against_schema(path, method, answer)
        return answer

    def store(self, value: str) -> str:
        png = png_of(natural_picture(128, 128, seed=21))
        store = self.world.maker.sign(png, [SoftBinding(FOREIGN, value)])
        headers = {"Content-Type": "application/c2pa", **self.world.storer}
        answer = self.ask("/manifests", "post", content=store, headers=headers)
        return answer.json()["manifestId"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    environ = {"COUNTERMARK_SERVE_OPEN_RATE_PER_MINUTE": "0"}
    world = World(tmp_path_factory.mktemp("contract"), environ)
    picture = world.stripped

    def answer(handler: BaseHTTPRequestHandler) -> None:
        found = handler.path == "/house.png"
        handler.send_response(200 if found else 404)
        handler.send_header("Content-Length", str(len(picture) if found else 0))
        handler.end_headers()
        handler.wfile.write(picture if found else b"")

    with serve_tls(tmp_path_factory.mktemp("tls"), answer) as web:
        # A public name, a real connection: to this machine.
        fetching = GuardedClient(
            RemotePolicy(2**22, ports=frozenset({443})),
            resolve=lambda host, port: {"files.example.org": ["93.184.215.14"]}.get(host, [host]),
            connect=lambda host, port, left: socket.create_connection(
                ("127.0.0.1", web.port), left
            ),
            tls=web.trust,
        )
        records, router = open_registry(world.settings), APIRouter()
        terms = replace(open_terms(world.settings), client=fetching)
        add_resolution_routes(router, open_resolution(world.settings, records), terms)
        app = compose_app(world.settings, [router])
        base = "https://cm.example.org"
        with TestClient(app, base_url=base, raise_server_exceptions=False) as client:
            yield Served(client, world, picture)
        records.close()


def test_the_routes_parameters_and_statuses_are_the_published_ones(served) -> None:
    ours = served.client.get("/openapi.json").json()["paths"]
    for path, method in OPERATIONS:
        place = path if path == WELL_KNOWN else f"/v1{path}"
        mine, theirs = ours[place][method], SPEC["paths"][path][method]
        named = {
            (one["name"], one["in"]): one.get("required", False)
            for one in mine.get("parameters", [])
        }
        for one in theirs.get("parameters", []):
            assert named[one["name"], one["in"]] == one.get("required", False), (path, one)
        assert set(theirs["responses"]) <= set(mine["responses"]) | {"403"}, (path, method)
    extra = {place for place in ours if place.startswith("/v1/")} - {
        f"/v1{path}" for path, _ in OPERATIONS
    }
    assert not extra


def test_queries(served) -> None:
    world, path = served.world, "/matches/byBinding"
    query = {"alg": LATTICE, "value": wire(world.mark)}
    for answer in (
        served.ask(path, "get", params=query),
        served.ask(path, "post", json=query),
        served.ask("/matches/byContent", "post", content=served.picture, headers=PNG),
        served.ask("/matches/byReference", "post", json=reference(served)),
    ):
        assert [one["manifestId"] for one in answer.json()["matches"]] == [world.label]
    nothing = {"alg": LATTICE, "value": wire("1*0123456789abcdef")}
    assert served.ask(path, "get", params=nothing).json() == {"matches": []}
    assert served.ask(path, "get", params={**query, "alg": "x"}).status_code == 400
    assert served.ask(path, "get", params={**query, "value": "9" * 5000}).status_code == 414
    assert served.ask(path, "post", json={}).status_code == 400
    assert served.ask(path, "post", content=b"{").status_code == 400
    path = "/matches/byContent"
    assert served.ask(path, "post", content=b"text", headers=PNG).status_code == 415
    assert served.ask(path, "post", content=b"", headers=PNG).status_code == 400
    large = b"\0" * (served.world.settings.limits.max_bytes + 100_000)
    assert served.ask(path, "post", content=large, headers=PNG).status_code == 400


PNG = {"Content-Type": "image/png"}


def reference(served, **change):
    body = {
        "referenceUrl": "https://files.example.org/house.png",
        "assetLength": len(served.picture),
        "assetType": "image/png",
    }
    return {**body, **change}


@pytest.mark.parametrize(
    "change",
    [
        {"referenceUrl": "http://files.example.org/house.png"},
        {"referenceUrl": "https://files.example.org/none.png"},
        {"referenceUrl": "https://files.example.org:8443/house.png"},
        {"referenceUrl": "https://127.0.0.1/house.png"},
        {"referenceUrl": "https://[::1]/house.png"},
        {"referenceUrl": "https://169.254.169.254/latest/meta-data"},
        {"assetLength": 5},
        {"assetLength": 0},
        {"assetLength": 10**12},
        {"assetType": "video/mp4"},
        {"region": [{"type": "spatial"}]},
    ],
)
def test_a_reference_that_is_not_fetched_is_a_400_that_tells_nothing_of_the_network(
    served, change
) -> None:
    answer = served.ask("/matches/byReference", "post", json=reference(served, **change))
    assert answer.status_code == 400
    if "referenceUrl" in change and change["referenceUrl"].startswith("https"):
        assert answer.json()["detail"] == "referenceUrl could not be fetched"


def test_manifests_and_receipts(served) -> None:
    manifest_id = served.store("contract")
    parts = {"activeManifestId": manifest_id}
    path, receipts = "/manifests/{activeManifestId}", "/manifests/{activeManifestId}/receipts"
    assert served.ask(path, "get", parts=parts).status_code == 200
    active = {"returnActiveManifest": "true"}
    assert served.ask(path, "get", parts=parts, params=active).status_code == 200
    receipt = served.ask(receipts, "get", parts=parts).json()
    assert receipt.pop("verified") is True
    assert served.ask(receipts, "post", parts=parts, json=receipt).json()["verified"] is True
    assert served.ask(receipts, "post", parts=parts, json={}).status_code == 400
    store = served.ask(path, "get", parts=parts).content
    headers = {"Content-Type": "application/c2pa", **served.world.storer}
    again = {"content": store, "headers": headers, "params": {"returnReceipt": "true"}}
    assert served.ask("/manifests", "post", **again).json()["receipt"] == receipt
    assert served.ask("/manifests", "post", content=b"x", headers=headers).status_code == 400
    assert served.ask("/manifests", "post", content=store).status_code == 403
    body = {"manifestId": manifest_id, "bindingValue": wire("more")}
    for method in ("post", "put"):
        keyed = {"headers": served.world.storer}
        assert served.ask("/bindings", method, json=body, **keyed).status_code == 204
        assert served.ask("/bindings", method, json={}, **keyed).status_code == 400
        assert served.ask("/bindings", method, json=body).status_code == 403
        missing = {**body, "manifestId": "urn:c2pa:none"}
        assert served.ask("/bindings", method, json=missing, **keyed).status_code == 404
    keyed = {"parts": parts, "headers": served.world.storer}
    own = {"parts": {"activeManifestId": served.world.label}, "headers": served.world.storer}
    assert served.ask(path, "delete", **own).status_code == 403
    assert served.ask(path, "delete", **keyed).status_code == 204
    assert served.ask(path, "delete", **keyed).status_code == 404
    for place, method in ((path, "get"), (receipts, "get")):
        assert served.ask(place, method, parts=parts).status_code == 404
        bad = {"activeManifestId": "a b"}
        assert served.ask(place, method, parts=bad).status_code == 400
    assert served.ask(receipts, "post", parts=parts, json=receipt).status_code == 404


def test_services(served) -> None:
    found = served.ask(WELL_KNOWN, "get").json()
    assert found["apiEndpoint"].endswith("/v1")
    for path in ("/services/status", "/services/capabilities", "/services/supportedAlgorithms"):
        assert served.ask(path, "get").status_code == 200
    capabilities = served.ask("/services/capabilities", "get").json()["supportedCapabilities"]
    assert sorted(capabilities) == [
        "queryByContent",
        "queryByReference",
        "storeBindings",
        "storeManifests",
    ]


def test_a_database_that_is_gone_is_a_500_and_a_service_that_is_down(tmp_path) -> None:
    world = World(tmp_path)
    records, router = open_registry(world.settings), APIRouter()
    service = open_resolution(world.settings, records)
    add_resolution_routes(router, service, open_terms(world.settings))
    app = compose_app(world.settings, [router])
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get("/v1/services/status")
        records.close()
        (world.settings.home / "registry.sqlite3").rename(tmp_path / "away")
        path, parts = "/manifests/{activeManifestId}", {"activeManifestId": world.label}
        one = Served(client, world, b"")
        assert one.ask("/services/status", "get").json()["status"] == "down"
        assert one.ask(path, "get", parts=parts).status_code == 500
        query = {"alg": PDQ, "value": wire(world.pdq)}
        assert one.ask("/matches/byBinding", "get", params=query).status_code == 500


def test_keys_of_other_scopes_open_nothing(served) -> None:
    headers = served.world.key(Scope.GENERATE)
    query = {"alg": LATTICE, "value": wire(served.world.mark)}
    assert served.ask("/matches/byBinding", "get", params=query, headers=headers).status_code == 403


def test_every_route_was_asked(served) -> None:
    """Runs last: what this file asked, over all its tests, is all there is."""
    assert served.asked >= set(OPERATIONS)
