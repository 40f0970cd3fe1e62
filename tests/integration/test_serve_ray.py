"""Two replicas of the whole service with the bundled model, under a real Ray Serve."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import httpx
import psutil
import pytest

from provenance.config import Settings, load_settings
from provenance.errors import ConfigError
from registry.check import check_consistency
from registry.wiring import open_registry

pytest.importorskip("ray", reason="the extra 'ray' is not installed")
pytest.importorskip("diffusers", reason="the extra 'generate' is not installed")

from generator.serve_ray import REPLICA_HEADER, build_replicas, run_replicas, serving

pytestmark = pytest.mark.slow

BODY = {"prompt": "a red house on a green hill", "steps": 2, "width": 256, "height": 256}
PICTURES = 6
PATIENCE_S = 240.0


def is_loopback(address: str) -> bool:
    ip = ip_address(address)
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return (mapped or ip).is_loopback


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    (home / "countermark.toml").write_text('[generator]\ndevice = "cpu"\n')
    return load_settings(environ={}, home=home)


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[httpx.Client]:
    port = free_port()
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with serving(settings, host="127.0.0.1", port=port, replicas=2, num_cpus=2):
        limits = httpx.Limits(max_keepalive_connections=0)  # each request may go to another one
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=PATIENCE_S, limits=limits) as opened:
            yield opened
    started = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []  # nothing of Ray, no replica and no marking process is left


@pytest.fixture(scope="module")
def delivered(client: httpx.Client) -> list[dict]:
    def generate(seed: int) -> dict:
        answer = client.post("/v1/generations?wait=true", json={**BODY, "seed": seed})
        assert answer.status_code == 200, answer.text
        (result,) = answer.json()["results"]
        return result

    with ThreadPoolExecutor(PICTURES) as threads:
        return list(threads.map(generate, range(PICTURES)))


def test_both_replicas_answer(client: httpx.Client) -> None:
    seen: set[str] = set()
    for _ in range(100):
        seen.add(client.get("/health/live").headers[REPLICA_HEADER])
        if len(seen) == 2:
            break
    assert len(seen) == 2
    assert client.get("/health/ready").json()["status"] == "ok"


def test_pictures_of_the_replicas_verify_as_registered(
    client: httpx.Client, delivered: list[dict]
) -> None:
    assert [result["seed"] for result in delivered] == list(range(PICTURES))
    for result in delivered:
        data = client.get(result["asset_url"]).content
        answer = client.post("/v1/verify", files={"file": ("x.png", data, "image/png")}).json()
        assert (answer["origin"], answer["assurance"]) == ("machine_made", "registered")
        assert answer["record_id"] == result["record_id"]


def test_no_record_is_lost_or_doubled(settings: Settings, delivered: list[dict]) -> None:
    store = open_registry(settings)
    assert len({result["record_id"] for result in delivered}) == PICTURES
    report = check_consistency(store.engine, now=datetime.now(UTC))
    assert (report.problems, report.records, report.open_reservations) == ((), PICTURES, 0)
    seeds = sorted(record.parameters["seed"] for record in store.list_records(limit=100))
    assert seeds == list(range(PICTURES))


def test_a_retry_that_meets_another_replica_makes_no_second_job(
    client: httpx.Client, settings: Settings, delivered: list[dict]
) -> None:
    def submit(_: int) -> tuple[str, str]:
        headers = {"Idempotency-Key": "one and the same"}
        answer = client.post(
            "/v1/generations?wait=true", json={**BODY, "seed": 99}, headers=headers
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["id"], answer.headers[REPLICA_HEADER]

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(submit, range(6)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert open_registry(settings).count() == PICTURES + 1


def test_ray_listens_to_this_machine_alone(client: httpx.Client) -> None:
    client.get("/health/live")
    for process in psutil.Process().children(recursive=True):
        try:
            sockets = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        outside = {
            (process.name(), one.laddr.ip, one.laddr.port)
            for one in sockets
            if one.status == psutil.CONN_LISTEN and not is_loopback(one.laddr.ip)
        }
        assert outside == set()


@pytest.mark.parametrize(
    ("args", "named"),
    [({"replicas": "two"}, "replicas"), ({"replicas": 0}, "replicas"), ({"gpus": 1}, "gpus")],
)
def test_bad_arguments_are_named(
    args: dict, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERMARK_HOME", os.fspath(tmp_path))
    with pytest.raises(ConfigError, match=named):
        build_replicas(args)


def test_a_port_that_is_taken_is_named_before_ray_starts(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)):
            run_replicas(settings, host="127.0.0.1", port=port, replicas=1)
