"""Credentials come back over the C2PA resolution API: a real service, a real client, a socket."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from console import run
from PIL import Image
from served import Served

from provenance.manifest.heal import insert_store, remove_stores
from provenance.types import MediaType

CONFIG = '[generator]\npipeline = "drawn_backend:load_pipeline"\n'


class Service:
    """``countermark serve`` with one delivered picture, and a copy that lost everything."""

    def __init__(self, served: Served, home: Path, folder: Path) -> None:
        self.served = served
        self.home = home
        self.url = served.url
        body = {"prompt": "a red house", "steps": 1, "seed": 11}
        answer = served.client.post("/v1/generations?wait=true", json=body)
        assert answer.status_code == 200, answer.text
        result = answer.json()["results"][0]
        self.record = served.client.get(f"/v1/records/{result['record_id']}").json()
        self.delivered = served.client.get(result["asset_url"]).content
        self.stripped = folder / "stripped.png"
        self.stripped.write_bytes(remove_stores(self.delivered, MediaType.PNG))
        self.resaved = folder / "resaved.jpg"
        Image.open(io.BytesIO(self.delivered)).convert("RGB").save(self.resaved, quality=85)

    @property
    def label(self) -> str:
        return str(self.record["manifest"]["label"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("resolve")
    home = folder / "home"
    home.mkdir()
    (home / "countermark.toml").write_text(CONFIG)
    support = str(Path(__file__).parents[1] / "support")
    root = str(Path(__file__).parents[2])
    import os

    path = os.pathsep.join((root, support, os.environ.get("PYTHONPATH", "")))
    with Served(home, PYTHONPATH=path) as served:
        yield Service(served, home, folder)


def endpoint(service: Service, place: str = "/v1") -> list[str]:
    return ["--endpoint", f"{service.url}{place}", "--allow-private"]


def test_a_stripped_picture_gets_its_manifest_back_and_is_whole_again(
    service: Service, tmp_path: Path
) -> None:
    out = tmp_path / "back.c2pa"
    answer = run(service.home, "resolve", service.stripped, *endpoint(service), "-o", out, "--json")
    assert answer.code == 0, answer.err
    (found,) = answer.json["manifests"]
    assert (found["manifest_id"], found["standing"]) == (service.label, "matches")
    assert {one["state"] for one in found["soft_bindings"]} == {"agrees"}
    assert found["integrity"] == "content_changed", "a hard binding holds for whole files only"
    assert found["claim"] == "fully_ai"
    healed = insert_store(service.stripped.read_bytes(), MediaType.PNG, out.read_bytes())
    assert healed == service.delivered
    assert not answer.json["sent_content"]


def test_the_host_alone_is_enough_and_a_resaved_copy_is_found(service: Service) -> None:
    answer = run(service.home, "resolve", service.resaved, *endpoint(service, ""))
    assert answer.code == 0, answer.err
    assert f"{service.label} matches" in answer.out


def test_this_installations_own_registry_is_asked_without_an_endpoint(service: Service) -> None:
    answer = run(service.home, "resolve", service.resaved, "--json")
    assert answer.code == 0, answer.err
    (found,) = answer.json["manifests"]
    assert (found["manifest_id"], found["standing"]) == (service.label, "matches")


def test_somebody_without_the_keys_gets_a_lead_and_is_told_so(
    service: Service, tmp_path: Path
) -> None:
    home, out = tmp_path / "stranger", tmp_path / "lead.c2pa"
    words = ["resolve", service.resaved, *endpoint(service)]
    answer = run(home, *words, "--json")
    assert answer.code == 0, answer.err
    (found,) = answer.json["manifests"]
    assert found["standing"] == "unchecked"
    states = {one["alg"]: one["state"] for one in found["soft_bindings"]}
    assert states == {
        "org.countermark.lattice.1": "not_evaluated",
        "org.countermark.pdq.1": "agrees",
    }
    refused = run(home, *words, "-o", out)
    assert refused.code == 3
    assert "is not written" in refused.err
    assert not out.exists()
    assert run(home, *words, "-o", out, "--unchecked").code == 0
    assert len(out.read_bytes()) == service.record["manifest"]["store_bytes"]
    assert not home.exists(), "resolving makes no installation"


def test_the_service_is_found_by_a_client_that_knows_the_standard_alone(service: Service) -> None:
    with httpx.Client() as client:
        where = client.get(f"{service.url}/.well-known/c2pa-soft-binding-resolution").json()
        base = where["apiEndpoint"]
        assert base == f"{service.url}/v1"
        answer = client.post(
            f"{base}/matches/byContent",
            content=service.resaved.read_bytes(),
            headers={"Content-Type": "image/jpeg"},
            timeout=60,
        )
        (match,) = answer.json()["matches"]
        store = client.get(f"{base}/manifests/{match['manifestId']}")
    assert store.headers["content-type"] == "application/c2pa"
    assert (
        insert_store(service.stripped.read_bytes(), MediaType.PNG, store.content)
        == service.delivered
    )


def test_what_cannot_be_asked_is_one_line(service: Service, tmp_path: Path) -> None:
    words = ["resolve", service.resaved, "--endpoint", "https://127.0.0.1:9/v1"]
    answer = run(tmp_path / "fresh", *words)
    assert answer.code == 4
    assert "not on the public internet" in answer.err
    assert answer.err.count("\n") == 1


def test_a_key_is_sent_and_a_wrong_one_told(service: Service, tmp_path: Path) -> None:
    made = run(service.home, "apikeys", "create", "reader", "--scope", "fetch", "--json")
    token = tmp_path / "token"
    token.write_text(json.loads(made.out)["key"] + "\n")
    words = ["resolve", service.resaved, *endpoint(service), "--token-file", token]
    assert run(service.home, *words).code == 0
    token.write_text("cmk_0000000000000000_wrong")
    answer = run(service.home, *words)
    assert answer.code == 4
    assert "--token-file" in answer.err
