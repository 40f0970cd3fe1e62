"""Keys, limits, logs, metrics and the API's description, through the whole application."""

from __future__ import annotations

import io
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

from detector.schemas import VERDICT_EXAMPLE, VerdictView
from provenance.config import Settings, load_settings
from provenance.serving import request_log
from provenance.types import Scope
from provenance.web import compose_app, create_app
from registry.jobs import JobStore
from registry.wiring import open_api_keys, open_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = {"prompt": "a house, SECRET-WORD", "steps": 1, "seed": 3, "width": 256, "height": 256}
UNKNOWN_RECORD = "/v1/records/0000000000000000"


def settings_of(home: Path, serve: str = "") -> Settings:
    home.mkdir(parents=True, exist_ok=True)
    (home / "countermark.toml").write_text(
        f'[generator]\npipeline = "drawn_backend:load_pipeline"\n[serve]\n{serve}\n'
    )
    return load_settings(environ={}, home=home)


@dataclass
class Door:
    client: TestClient
    settings: Settings

    def make_key(self, *scopes: Scope, **limits: int) -> str:
        return open_api_keys(self.settings).create("test", scopes, **limits)[1]  # type: ignore[arg-type]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    settings = settings_of(tmp_path_factory.mktemp("locked"), 'require_api_key = "generate"')
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield Door(client, settings)


# -- keys ------------------------------------------------------------------------------------------


def test_generation_asks_for_a_key_and_verification_does_not(locked: Door) -> None:
    answer = locked.client.post("/v1/generations", json=BODY)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "countermark apikeys create" in answer.json()["detail"]
    assert locked.client.get(UNKNOWN_RECORD).status_code == 404
    assert locked.client.get("/health/live").status_code == 200
    assert locked.client.get("/verify").status_code == 200
    upload = {"file": ("x.png", b"text", "image/png")}
    assert locked.client.post("/v1/verify", files=upload).status_code == 415


def test_a_key_opens_what_its_scopes_say(locked: Door) -> None:
    maker, reader = locked.make_key(Scope.GENERATE), locked.make_key(Scope.VERIFY)
    answer = locked.client.post("/v1/generations?wait=true", json=BODY, headers=bearer(maker))
    assert answer.status_code == 200, answer.text
    refused = locked.client.post("/v1/generations", json=BODY, headers={"X-Api-Key": reader})
    assert refused.status_code == 403
    assert 'scope="generate"' in refused.headers["www-authenticate"]
    basic = locked.client.get("/v1/generations/none", auth=("anybody", maker))
    assert basic.status_code == 404


@pytest.mark.parametrize("wrong", ["cmk_", "cmk_0123456789abcdef_" + "A" * 43])
def test_a_wrong_key_is_refused_even_where_none_is_asked_for(locked: Door, wrong: str) -> None:
    answer = locked.client.get(UNKNOWN_RECORD, headers=bearer(wrong))
    assert answer.status_code == 401


def test_a_foreign_key_counts_as_none(locked: Door) -> None:
    foreign = bearer("sk-none")
    assert locked.client.get(UNKNOWN_RECORD, headers=foreign).status_code == 404
    assert locked.client.post("/v1/generations", json=BODY, headers=foreign).status_code == 401


def test_a_revoked_key_is_refused_at_once(locked: Door) -> None:
    key = locked.make_key(Scope.REGISTRY)
    assert locked.client.get(UNKNOWN_RECORD, headers=bearer(key)).status_code == 404
    open_api_keys(locked.settings).revoke(key.split("_")[1])
    assert locked.client.get(UNKNOWN_RECORD, headers=bearer(key)).status_code == 401


def test_the_body_of_a_stranger_is_not_read(locked: Door) -> None:
    read: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(100):
            read.append(number)
            yield b"x" * 100_000

    # Ten megabytes that are no JSON: the answer is about the key, not about the body.
    answer = locked.client.post("/v1/generations", content=body())
    assert answer.status_code == 401


def test_a_job_is_shown_to_its_own_key_and_to_admins(locked: Door) -> None:
    mine, other = locked.make_key(Scope.GENERATE), locked.make_key(Scope.GENERATE)
    admin = locked.make_key(Scope.ADMIN)
    job = locked.client.post("/v1/generations", json=BODY, headers=bearer(mine)).json()
    assert locked.client.get(job["url"], headers=bearer(mine)).status_code == 200
    assert locked.client.get(job["url"], headers=bearer(admin)).status_code == 200
    assert locked.client.get(job["url"], headers=bearer(other)).status_code == 404
    assert locked.client.delete(job["url"], headers=bearer(other)).status_code == 404
    assert locked.client.get(job["events_url"], headers=bearer(other)).status_code == 404


def test_all_means_verification_and_registry_too(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'require_api_key = "all"')
    with TestClient(create_app(settings)) as client:
        assert client.get(UNKNOWN_RECORD).status_code == 401
        assert client.post("/v1/verify", content=b"x").status_code == 401
        assert client.get("/health/live").status_code == 200


def test_a_route_that_says_nothing_is_open_to_nobody(tmp_path: Path) -> None:
    router = APIRouter()

    @router.get("/forgotten")
    def forgotten() -> str:
        return "secret"

    with TestClient(compose_app(settings_of(tmp_path), [router])) as client:
        answer = client.get("/forgotten")
        assert answer.status_code == 403
        assert "needs(Scope" in answer.json()["detail"]


def test_too_many_wrong_keys_have_to_wait(tmp_path: Path) -> None:
    with TestClient(compose_app(settings_of(tmp_path), [])) as client:
        codes = [client.get("/metrics", headers=bearer("wrong")).status_code for _ in range(35)]
        assert codes[:30] == [401] * 30
        assert codes[-1] == 429


# -- limits ----------------------------------------------------------------------------------------


def test_a_key_has_its_own_rate(locked: Door) -> None:
    key = locked.make_key(Scope.REGISTRY, rate_per_minute=3)
    answers = [locked.client.get(UNKNOWN_RECORD, headers=bearer(key)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
    assert answers[0].headers["ratelimit-policy"] == '"caller";q=3;w=60'
    assert answers[0].headers["ratelimit"].startswith('"caller";r=2;')
    assert 1 <= int(answers[3].headers["retry-after"]) <= 20
    assert answers[3].json()["status"] == 429
    # Another caller is not touched by it.
    assert locked.client.get(UNKNOWN_RECORD).status_code == 404


def test_open_verification_has_a_rate_of_its_own(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "open_rate_per_minute = 2")
    with TestClient(create_app(settings)) as client:
        codes = [client.post("/v1/verify", content=b"x").status_code for _ in range(3)]
        assert codes == [415, 415, 429]
        assert client.get(UNKNOWN_RECORD).status_code == 404
        forged = {"X-Forwarded-For": "198.51.100.7"}
        assert client.post("/v1/verify", content=b"x", headers=forged).status_code == 429


def test_a_quota_counts_accepted_pictures(locked: Door) -> None:
    key = locked.make_key(Scope.GENERATE, daily_pictures=3)
    send = {"headers": {**bearer(key), "Idempotency-Key": "order 1"}}
    first = locked.client.post("/v1/generations", json={**BODY, "n": 2}, **send)
    assert first.status_code == 202
    again = locked.client.post("/v1/generations", json={**BODY, "n": 2}, **send)
    assert again.json()["id"] == first.json()["id"]
    bad = locked.client.post("/v1/generations", json={**BODY, "width": 8}, headers=bearer(key))
    assert bad.status_code == 400
    too_many = locked.client.post("/v1/generations", json={**BODY, "n": 2}, headers=bearer(key))
    assert too_many.status_code == 429
    assert int(too_many.headers["retry-after"]) > 0
    assert "1 that are left" in too_many.json()["detail"]
    last = locked.client.post("/v1/generations", json=BODY, headers=bearer(key))
    assert last.status_code == 202
    # A retry is answered even when nothing is left.
    assert locked.client.post("/v1/generations", json={**BODY, "n": 2}, **send).status_code == 202


# -- logs ------------------------------------------------------------------------------------------


def test_logs_tell_what_happened_and_nothing_of_what_was_said(locked: Door) -> None:
    key = locked.make_key(Scope.GENERATE)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request_log.JsonFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    request_log.log.setLevel(logging.INFO)
    try:
        headers = {**bearer(key), "X-Request-Id": "ticket-17"}
        url = "/v1/generations?wait=true&note=SECRET-QUERY"
        answer = locked.client.post(url, json=BODY, headers=headers)
        bad = locked.client.post(url, json={**BODY, "SECRET-FIELD": 1}, headers=bearer(key))
        locked.client.get("/v1/generations/SECRET-PATH", headers=bearer(key))
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert answer.headers["x-request-id"] == "ticket-17"
    assert bad.status_code == 400
    text = stream.getvalue()
    # Libraries that log at DEBUG are the operator's choice; ours and the request lines are not.
    ours = [line for line in map(json.loads, text.splitlines()) if line["logger"] != "httpx2"]
    said = "\n".join(json.dumps(line) for line in ours if not line["logger"].startswith("http"))
    assert "SECRET" not in said
    assert key[-43:] not in text
    (line,) = [one for one in ours if one.get("request_id") == "ticket-17" and "status" in one]
    record_id = answer.json()["results"][0]["record_id"]
    assert line["route"] == "/v1/generations"
    assert (line["method"], line["status"]) == ("POST", 200)
    assert line["key"] == key.split("_")[1]
    assert line["records"] == [record_id]
    assert line["job"] == answer.json()["id"]
    assert line["duration_ms"] > 0
    assert "testclient" not in said


@pytest.mark.parametrize("given", ["two words", "x" * 65, "a/b"])
def test_an_unfit_request_id_is_replaced(locked: Door, given: str) -> None:
    answer = locked.client.get("/health/live", headers={"X-Request-Id": given})
    assert len(answer.headers["x-request-id"]) == 16


# -- metrics ---------------------------------------------------------------------------------------


def read_metrics(door: Door, key: str) -> dict[str, float]:
    answer = door.client.get("/metrics", headers=bearer(key))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def until_idle(door: Door) -> None:
    """Waits for pictures that were asked for without waiting: they would be counted later."""
    store = open_registry(door.settings)
    jobs = JobStore(store.engine)
    deadline = time.monotonic() + 180
    while not all(job.state.is_final for job in jobs.list_jobs(limit=1000)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    store.close()


def test_metrics_count_what_happens(locked: Door) -> None:
    admin, maker = locked.make_key(Scope.ADMIN), locked.make_key(Scope.GENERATE)
    left = locked.client.post("/v1/generations", json={**BODY, "n": 2}, headers=bearer(maker))
    assert left.status_code == 202
    until_idle(locked)
    before = read_metrics(locked, admin)
    answer = locked.client.post("/v1/generations?wait=true", json=BODY, headers=bearer(maker))
    asset = locked.client.get(answer.json()["results"][0]["asset_url"], headers=bearer(maker))
    locked.client.post("/v1/verify", content=asset.content)
    locked.client.get("/v1/nowhere/SECRET")
    after = read_metrics(locked, admin)

    def grown(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    assert grown('countermark_pictures_total{outcome="delivered"}') == 1
    # "watermark" and "sign" are parts of "mark", seen where marking is done in this process.
    for stage in ("render", "check", "mark", "commit"):
        assert grown(f'countermark_generation_seconds_count{{stage="{stage}"}}') == 1
    one = 'countermark_verdicts_total{assurance="registered",origin="machine_made"}'
    assert grown(one) == 1
    route = 'countermark_requests_total{method="POST",route="/v1/generations",status="200"}'
    assert grown(route) == 1
    assert grown('countermark_requests_total{method="GET",route="unmatched",status="404"}') == 1
    assert after["countermark_queue_length"] == 0
    assert not any("SECRET" in name for name in after)


def test_metrics_are_for_admins(locked: Door) -> None:
    assert locked.client.get("/metrics").status_code == 401
    maker = locked.make_key(Scope.GENERATE)
    assert locked.client.get("/metrics", headers=bearer(maker)).status_code == 403


def test_metrics_may_be_opened_to_this_machine(tmp_path: Path) -> None:
    app = compose_app(settings_of(tmp_path, 'metrics_access = "loopback"'), [])
    with TestClient(app, client=("127.0.0.1", 5000)) as client:
        assert client.get("/metrics").status_code == 200
        through_proxy = {"X-Forwarded-For": "198.51.100.7"}
        assert client.get("/metrics", headers=through_proxy).status_code == 401
    with TestClient(app, client=("198.51.100.7", 5000)) as client:
        assert client.get("/metrics").status_code == 401


# -- the description -------------------------------------------------------------------------------


def examples_of(content: dict, schemas: dict) -> bool:
    if any("example" in one or "examples" in one for one in content.values()):
        return True
    for one in content.values():
        schema = one.get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        if "examples" in schema or "example" in schema or "examples" in schemas.get(name, {}):
            return True
    return False


OPEN_BY_THE_STANDARD = {
    "/.well-known/c2pa-soft-binding-resolution",
    "/v1/services/capabilities",
    "/v1/services/status",
}
"""Source: C2PA Soft Binding Resolution API 2.4.0, `security` of each."""


def test_every_route_is_described_with_an_example(locked: Door) -> None:
    document = locked.client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert set(document["components"]["securitySchemes"]) == {"ApiKey", "ApiKeyHeader"}
    lacking = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            if not operation.get("summary") or not operation.get("tags"):
                lacking.append(f"{where}: summary or tags")
            if not operation.get("description"):
                lacking.append(f"{where}: description")
            bodies = [operation["requestBody"]] if "requestBody" in operation else []
            bodies += [a for code, a in operation["responses"].items() if code.startswith("2")]
            for body in bodies:
                content = body.get("content", {})
                binary = all(k.startswith(("image/", "text/event")) for k in content)
                if content and not binary and not examples_of(content, schemas):
                    lacking.append(f"{where}: example in {list(content)}")
            open_to_all = operation["tags"] == ["health"] or path in OPEN_BY_THE_STANDARD
            if open_to_all == bool(operation.get("security")):
                lacking.append(f"{where}: security")
    assert lacking == []


def test_the_example_of_a_verdict_is_one() -> None:
    assert VerdictView.model_validate(VERDICT_EXAMPLE).record_id == VERDICT_EXAMPLE["record_id"]
