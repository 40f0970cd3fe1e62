"""The asking side against services that answer strangely: real TLS, our client, our checks."""

from __future__ import annotations

import json
import socket

import pytest
from foreign_maker import ForeignMaker
from resolution_world import PDQ, png_of
from tls_server import serve_tls

from provenance.client import GuardedClient, RemotePolicy
from provenance.config import load_settings
from provenance.errors import FetchError
from provenance.fingerprint.hashes.pdq import PdqHasher
from provenance.manifest.jumbf import split_store
from provenance.manifest.wiring import build_trust
from provenance.testing.pictures import natural_picture
from provenance.types import SoftBinding
from registry.resolving import RemoteRepository, Standing, discover_endpoint, resolve_picture
from registry.wiring import open_content_reader

BASE = "https://files.example.org"
PHOTO = natural_picture(320, 240, seed=31)
PICTURE = png_of(PHOTO)
HASH = PdqHasher().hash(PHOTO).hex


class Script:
    """Answers by method and path; each is a status and a JSON document or bytes."""

    def __init__(self):
        self.answers = {}

    def __call__(self, handler):
        key = (handler.command, handler.path.partition("?")[0])
        status, body = self.answers.get(key, (404, b""))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    script = Script()
    with serve_tls(tmp_path_factory.mktemp("tls"), script) as server:
        client = GuardedClient(
            RemotePolicy(2**20),
            resolve=lambda host, port: ["93.184.215.14"],
            connect=lambda host, port, left: socket.create_connection(
                ("127.0.0.1", server.port), left
            ),
            tls=server.trust,
        )
        settings = load_settings(environ={}, home=tmp_path_factory.mktemp("home"))
        yield script, server, client, settings


@pytest.fixture(autouse=True)
def quiet(world):
    world[0].answers.clear()
    world[1].seen.clear()


def resolve(world, *, token=None, **options):
    _, _, client, settings = world
    return resolve_picture(
        PICTURE,
        RemoteRepository(client, f"{BASE}/v1", token),
        open_content_reader(settings),
        name="photo.png",
        trust=build_trust(settings),
        **options,
    )


def offer(world, *stores):
    answers = world[0].answers
    ids = [split_store(one)[-1].label for one in stores]
    found = {"matches": [{"manifestId": one} for one in ids]}
    answers["GET", "/v1/matches/byBinding"] = (200, found)
    for manifest_id, store in zip(ids, stores, strict=True):
        answers["GET", f"/v1/manifests/{manifest_id}"] = (200, store)
    return ids


def test_what_a_service_answers_is_held_against_the_picture(world):
    maker = ForeignMaker()
    far = f"{int(HASH, 16) ^ (2**90 - 1):064x}"
    stores = [
        maker.sign(PICTURE, [SoftBinding(PDQ, far)]),
        maker.sign(PICTURE, [SoftBinding(PDQ, HASH), SoftBinding("com.example.x", "?")]),
        maker.sign(PICTURE, []),
        maker.sign(PICTURE, [SoftBinding(PDQ, HASH)]),
    ]
    offer(world, *stores)
    found = resolve(world)
    assert [one.standing for one in found.manifests] == [
        Standing.DISAGREES,
        Standing.UNCHECKED,
        Standing.UNCHECKED,
        Standing.MATCHES,
    ]
    assert found.best().store == stores[3]
    assert found.asked == (SoftBinding(PDQ, HASH),)
    offer(world, *stores[:3])
    found = resolve(world)
    assert found.best() is None
    assert found.best(unchecked=True).store == stores[1], "one agrees, none disagrees"


def test_a_manifest_under_another_name_or_none_at_all_is_told(world):
    store = ForeignMaker().sign(PICTURE, [SoftBinding(PDQ, HASH)])
    answers = world[0].answers
    names = ["urn:c2pa:wrong", "urn:c2pa:bytes", "urn:c2pa:gone", "urn:c2pa:error"]
    found = {"matches": [{"manifestId": one} for one in names]}
    answers["GET", "/v1/matches/byBinding"] = (200, found)
    answers["GET", "/v1/manifests/urn:c2pa:wrong"] = (200, store)
    answers["GET", "/v1/manifests/urn:c2pa:bytes"] = (200, b"\0" * 99)
    answers["GET", "/v1/manifests/urn:c2pa:error"] = (500, b"")
    answer = resolve(world)
    assert answer.manifests == ()
    wrong, none, gone, error = answer.problems
    assert "another manifest" in wrong
    assert "manifest store" in none
    assert "any more" in gone
    assert "status 500" in error


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, b"no json"), "no JSON"),
        ((200, []), "another shape"),
        ((200, {"matches": [{}]}), "without a manifestId"),
        ((200, {"matches": [7]}), "without a manifestId"),
        ((200, {"matches": [{"manifestId": "../../etc/passwd"}]}), "id that is none"),
        ((200, {"matches": [{"manifestId": "a" * 9000}]}), "id that is none"),
        ((401, b""), "--token-file"),
        ((403, b""), "--token-file"),
        ((429, b""), "too often"),
        ((503, b""), "status 503"),
        ((200, b"[" * 100_000), "no JSON"),
        ((200, b"x" * (2**20 + 1)), "the limit is"),
    ],
)
def test_a_strange_answer_is_one_error_of_ours(world, answer, told):
    world[0].answers["GET", "/v1/matches/byBinding"] = answer
    with pytest.raises(FetchError, match=told):
        resolve(world)


@pytest.mark.parametrize("answer", [(400, b""), (404, b""), (200, {}), (200, {"matches": []})])
def test_a_service_that_knows_nothing_has_found_nothing(world, answer):
    world[0].answers["GET", "/v1/matches/byBinding"] = answer
    found = resolve(world)
    assert (found.manifests, found.problems, found.sent_content) == ((), (), False)


def test_the_picture_leaves_only_when_that_is_said(world):
    script, server, *_ = world
    store = ForeignMaker().sign(PICTURE, [SoftBinding(PDQ, HASH)])
    (manifest_id,) = offer(world, store)
    found = script.answers.pop(("GET", "/v1/matches/byBinding"))
    script.answers["POST", "/v1/matches/byContent"] = found
    assert resolve(world).manifests == ()
    assert not [line for line, _ in server.seen if line.startswith("POST")]
    answer = resolve(world, send_content=True)
    assert answer.sent_content
    assert [one.manifest_id for one in answer.manifests] == [manifest_id]
    (sent,) = [headers for line, headers in server.seen if line.startswith("POST")]
    assert (sent["Content-Type"], int(sent["Content-Length"])) == ("image/png", len(PICTURE))
    # What its bindings find is not looked up by content as well.
    script.answers["GET", "/v1/matches/byBinding"] = found
    assert not resolve(world, send_content=True).sent_content


def test_a_key_goes_with_each_question(world):
    offer(world, ForeignMaker().sign(PICTURE, [SoftBinding(PDQ, HASH)]))
    resolve(world, token="secret")
    assert {headers["Authorization"] for _, headers in world[1].seen} == {"Bearer secret"}
    assert len(world[1].seen) == 2
    repository = RemoteRepository(world[2], BASE, "secret")
    assert "secret" not in repr(repository)


def test_a_host_says_where_its_api_is(world):
    script, _, client, _ = world
    place = ("GET", "/.well-known/c2pa-soft-binding-resolution")
    for named in (f"{BASE}/c2pa/v1", "/c2pa/v1"):
        script.answers[place] = (200, {"apiEndpoint": named, "c2paSpecificationVersion": "2.4.0"})
        assert discover_endpoint(client, BASE) == f"{BASE}/c2pa/v1"
        assert discover_endpoint(client, f"{BASE}/") == f"{BASE}/c2pa/v1"
    for answer, told in (
        ((200, {"apiEndpoint": "https://evil.example/v1"}), "elsewhere"),
        ((200, {"apiEndpoint": "http://files.example.org/v1"}), "elsewhere"),
        ((200, {"apiEndpoint": 5}), "names no apiEndpoint"),
        ((404, b""), "API's own address"),
    ):
        script.answers[place] = answer
        with pytest.raises(FetchError, match=told):
            discover_endpoint(client, BASE)
    assert discover_endpoint(client, f"{BASE}/v1/") == f"{BASE}/v1"
