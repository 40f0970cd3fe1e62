"""The HTTP service as a client meets it: real routers, real marks, a drawn picture for a model."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from provenance.config import load_settings
from provenance.imaging import open_input
from provenance.testing.twins_generation import GradientPipeline
from provenance.types import InputImage
from provenance.web import create_app

CONFIG = """
[generator]
pipeline = "drawn_backend:load_pipeline"
max_batch = 3
[limits]
max_bytes = 2000000
"""

BODY = {"prompt": "a red house", "steps": 2, "seed": 11}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("home")
    (home / "countermark.toml").write_text(CONFIG)
    app = create_app(load_settings(environ={}, home=home))
    with TestClient(app, raise_server_exceptions=False) as test_client:
        yield test_client


@pytest.fixture(scope="module")
def delivered(client: TestClient) -> dict:
    answer = client.post("/v1/generations?wait=true", json=BODY)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"][0]


def test_a_waiting_request_is_answered_with_its_result(client: TestClient, delivered: dict) -> None:
    assert delivered["seed"] == 11
    asset = client.get(delivered["asset_url"])
    assert asset.status_code == 200
    assert asset.headers["content-type"] == "image/png"
    assert len(asset.content) == delivered["size_bytes"]


def test_what_was_delivered_verifies_as_registered(client: TestClient, delivered: dict) -> None:
    data = client.get(delivered["asset_url"]).content
    answer = client.post("/v1/verify", files={"file": ("x.png", data, "image/png")})
    assert answer.status_code == 200, answer.text
    verdict = answer.json()
    assert (verdict["origin"], verdict["assurance"]) == ("machine_made", "registered")
    assert verdict["record_id"] == delivered["record_id"]


def test_a_record_is_public_without_prompt_or_keyed_hash(
    client: TestClient, delivered: dict
) -> None:
    answer = client.get(f"/v1/records/{delivered['record_id']}")
    assert answer.status_code == 200
    assert "red house" not in answer.text
    assert "hmac" not in answer.text


def test_a_job_can_be_followed(client: TestClient) -> None:
    answer = client.post("/v1/generations", json={**BODY, "n": 2})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/generations/{answer.json()['id']}"
    job = answer.json()
    for _ in range(200):
        job = client.get(job["url"]).json()
        if job["status"] in {"done", "failed"}:
            break
        time.sleep(0.1)
    assert job["status"] == "done", job
    assert [r["seed"] for r in job["results"]] == [11, 12]
    assert job["steps_done"] == job["steps_total"] == 4


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prompt": ""}, "prompt"),
        ({"steps": 0}, "steps"),
        ({"width": 100}, "width"),
        ({"n": 4}, "max_batch"),
        ({"n": 0}, "n"),
        ({"format": "gif"}, "format"),
        ({"model": "someone/else"}, "model"),
        ({"sampler": "x"}, "sampler"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_bad_field_is_named(client: TestClient, change: dict, named: str) -> None:
    answer = client.post("/v1/generations?wait=true", json={**BODY, **change})
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert named in answer.json()["detail"]


def test_nonsense_is_answered_as_problem_json(client: TestClient) -> None:
    for answer, status in (
        (client.post("/v1/generations", content=b"{"), 400),
        (client.get("/v1/generations/none"), 404),
        (client.get("/v1/records/zzz"), 400),
        (client.get("/v1/records/0000000000000000"), 404),
        (client.get("/v1/assets/0000000000000000"), 404),
        (client.get("/nowhere"), 404),
        (client.post("/v1/verify", files={"file": ("x.png", b"text", "image/png")}), 415),
    ):
        assert answer.status_code == status, answer.text
        assert answer.json()["status"] == status


def test_a_body_over_the_limit_is_refused(client: TestClient) -> None:
    big = b"x" * 3_000_000
    answer = client.post("/v1/verify", files={"file": ("x.png", big, "image/png")})
    assert answer.status_code == 413

    def stream() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 100_000

    answer = client.post("/v1/verify", content=stream(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 413


def test_health_tells_live_from_ready(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "ok"}
    assert client.get("/health/ready").json()["status"] == "ok"


def test_the_verify_page_is_there(client: TestClient) -> None:
    answer = client.get("/verify")
    assert answer.status_code == 200
    assert "text/html" in answer.headers["content-type"]


def test_a_refused_picture_is_answered_with_reasons(tmp_path: Path) -> None:
    (tmp_path / "countermark.toml").write_text(
        CONFIG + '[safety]\nchecker = "drawn_backend:load_strict_checker"\n'
    )
    with TestClient(create_app(load_settings(environ={}, home=tmp_path))) as client:
        answer = client.post("/v1/generations?wait=true", json=BODY)
        assert answer.status_code == 422
        problem = answer.json()
        assert problem["flagged"] == ["bright"]
        assert problem["refusal_id"]
        job = client.post("/v1/generations", json=BODY).json()
        for _ in range(100):
            job = client.get(job["url"]).json()
            if job["status"] == "refused":
                break
            time.sleep(0.1)
        assert job["status"] == "refused"
        assert "bright" in job["detail"]
        assert job["results"] == []


def test_pictures_delivered_before_a_refusal_are_named(tmp_path: Path) -> None:
    (tmp_path / "countermark.toml").write_text(
        CONFIG + '[safety]\nchecker = "drawn_backend:load_second_refusing_checker"\n'
    )
    with TestClient(create_app(load_settings(environ={}, home=tmp_path))) as client:
        answer = client.post("/v1/generations?wait=true", json={**BODY, "n": 2})
        assert answer.status_code == 200
        job = answer.json()
        assert job["status"] == "refused"
        assert len(job["results"]) == 1
        assert "bright" in job["detail"]
        assert client.get(job["results"][0]["asset_url"]).status_code == 200
        assert answer.headers["location"].endswith(job["id"])


def test_many_waiting_clients_do_not_starve_the_others(client: TestClient) -> None:
    def wait_for_one(seed: int) -> int:
        body = {**BODY, "seed": seed, "steps": 1}
        return client.post("/v1/generations?wait=true", json=body).status_code

    with ThreadPoolExecutor(50) as pool:
        waiting = [pool.submit(wait_for_one, seed) for seed in range(30)]
        assert client.get("/health/ready").status_code == 200
        assert not all(one.done() for one in waiting)  # answered while they still waited
        assert {one.result() for one in waiting} == {200}


def test_pictures_in_a_request_are_read_in_a_thread(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_beside_a_loop = []

    def open_here(data: bytes, **kinds: Any) -> InputImage:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            opened_beside_a_loop.append(False)
        else:
            opened_beside_a_loop.append(True)
        return open_input(data, **kinds)

    monkeypatch.setattr("generator.schemas.open_input", open_here)
    picture = io.BytesIO()
    Image.new("RGB", (256, 256)).save(picture, "PNG")
    body = {**BODY, "init_image": base64.b64encode(picture.getvalue()).decode()}
    assert client.post("/v1/generations", json=body).status_code == 202
    assert opened_beside_a_loop == [False]  # all other requests would wait for it


def test_the_drawn_backend_is_what_rendered(client: TestClient, delivered: dict) -> None:
    record = client.get(f"/v1/records/{delivered['record_id']}").json()
    assert record["model"]["name"] == GradientPipeline().model.name
