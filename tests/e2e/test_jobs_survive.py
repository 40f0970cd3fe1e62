"""A server that is killed or stopped in the middle of jobs: none is lost, none is done twice."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from served import Served
from sqlalchemy import select
from sqlalchemy.orm import Session

from provenance.config import load_settings
from registry.check import check_consistency
from registry.jobs import JobStore
from registry.tables import JobInputRow, JobRow
from registry.wiring import open_registry

SUPPORT = Path(__file__).resolve().parents[1] / "support"
DRAWN = {
    "COUNTERMARK_GENERATOR_BATCH_SIZE": "1",
    "COUNTERMARK_GENERATOR_PIPELINE": "drawn_backend:load_slow_pipeline",
    "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]),
}
BODY = {"prompt": "a red house, PRIVATE-WORD", "steps": 2, "width": 256, "height": 256}

STOPPED = {0, -signal.SIGTERM}
"""Uvicorn shuts down in order, and then lets the signal that asked for it end the process."""


def post(served: Served, number: int, **changes: object) -> dict:
    answer = served.client.post(
        "/v1/generations",
        json={**BODY, "seed": number, **changes},
        headers={"Idempotency-Key": f"order {number}"},
    )
    assert answer.status_code == 202, answer.text
    return answer.json()


def read(served: Served, job_id: str) -> dict:
    return served.client.get(f"/v1/generations/{job_id}").json()


def until(condition: Callable[[], object], within_s: float = 240) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def finished(served: Served, ids: list[str]) -> list[str]:
    return [one for one in ids if read(served, one)["status"] == "done"]


@pytest.mark.slow
def test_a_server_killed_in_the_middle_of_twenty_jobs_ends_with_twenty_pictures(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    with Served(home) as first:  # the bundled model
        ids = [post(first, number)["id"] for number in range(20)]
        until(lambda: len(finished(first, ids)) >= 4)
        until(lambda: any(read(first, one)["status"] == "running" for one in ids))
        first.kill()
    with Served(home) as second:
        # Clients that lost their answer ask again, and get the job that they had.
        assert [post(second, number)["id"] for number in range(20)] == ids
        until(lambda: len(finished(second, ids)) >= 10)
        second.kill()
    with Served(home) as third:
        until(lambda: len(finished(third, ids)) == 20)
        jobs = [read(third, one) for one in ids]
        results = [job["results"] for job in jobs]
        assert [len(found) for found in results] == [1] * 20
        assert [found[0]["seed"] for found in results] == list(range(20))
        for (found,) in results:
            asset = third.client.get(found["asset_url"])
            assert hashlib.sha256(asset.content).hexdigest() == found["sha256"]
        assert third.terminate() in STOPPED
    assert_exactly(home, {found[0]["record_id"] for found in results})


def assert_exactly(home: Path, record_ids: set[str]) -> None:
    """The registry holds these records and no others, and nothing of what was asked for."""
    with closing(open_registry(load_settings(environ={}, home=home))) as store:
        assert {record.record_id for record in store.list_records(limit=99)} == record_ids
        assert check_consistency(store.engine, now=datetime.now(UTC)).problems == ()
        with Session(store.engine) as session:
            assert set(session.scalars(select(JobRow.body))) == {None}
            assert session.scalars(select(JobInputRow)).all() == []
    for file in home.glob("registry*"):
        assert b"PRIVATE-WORD" not in file.read_bytes()


def test_a_server_that_is_stopped_finishes_the_running_picture_and_goes_on_later(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    answers: list[httpx.Response] = []

    def wait_for_the_last(served: Served) -> None:
        body = {**BODY, "seed": 99, "steps": 6}
        answers.append(httpx.post(f"{served.url}/v1/generations?wait=true", json=body, timeout=60))

    with Served(home, **DRAWN) as first:
        ids = [post(first, number, steps=12, n=2)["id"] for number in range(2)]
        waiting = threading.Thread(target=wait_for_the_last, args=(first,))
        waiting.start()
        until(lambda: count_jobs(home) == 3)
        until(lambda: read(first, ids[0])["steps_done"] > 0)
        began = time.monotonic()
        assert first.terminate() in STOPPED
        assert time.monotonic() - began < 60
        waiting.join(60)
    # Who waits for a queued job is told where to ask again, and kept for no longer.
    assert answers[0].status_code == 202
    ids.append(answers[0].json()["id"])
    with Served(home, **DRAWN) as second:
        kept = sum(read(second, one)["pictures_done"] for one in ids)
        assert kept >= 1
        until(lambda: len(finished(second, ids)) == 3)
        found = [result for one in ids for result in read(second, one)["results"]]
    assert [result["seed"] for result in found] == [0, 1, 1, 2, 99]
    assert_exactly_records(home, {result["record_id"] for result in found})


def count_jobs(home: Path) -> int:
    with closing(open_registry(load_settings(environ={}, home=home))) as store:
        return len(JobStore(store.engine).list_jobs(limit=9))


def assert_exactly_records(home: Path, record_ids: set[str]) -> None:
    with closing(open_registry(load_settings(environ={}, home=home))) as store:
        assert {record.record_id for record in store.list_records(limit=99)} == record_ids


def test_events_are_told_in_order_by_the_real_server(tmp_path: Path) -> None:
    with Served(tmp_path / "home", **DRAWN) as served:
        job = post(served, 1, steps=4, previews_every=3)
        events = follow(served, job["events_url"])
        kinds = [kind for _, kind, _ in events if kind != "queued"]
        shown = next(data for _, kind, data in events if kind == "preview")
        assert served.client.get(shown["asset_url"]).headers["content-type"] == "image/png"
        # The preview is marked while the next step is computed.
        assert [kind for kind in kinds if kind != "preview"] == ["step"] * 4 + ["done"]
        assert 3 <= kinds.index("preview") < kinds.index("done")
        assert [data["step"] for _, kind, data in events if kind == "step"] == [1, 2, 3, 4]
        last = events[-1][2]
        assert served.client.get(last["asset_urls"][0]).status_code == 200
        # A follower that lost its connection goes on where it was.
        assert follow(served, job["events_url"], after=events[-2][0]) == events[-1:]
        running, waiting = post(served, 2, steps=50), post(served, 3, steps=50)
        assert served.client.delete(waiting["url"]).json()["status"] == "cancelled"
        assert follow(served, waiting["events_url"])[-1][1] == "cancelled"
        until(lambda: served.client.get(running["url"]).json()["steps_done"] > 0)
        assert served.client.delete(running["url"]).status_code == 202
        assert follow(served, running["events_url"])[-1][1] == "cancelled"
        assert served.client.get(running["url"]).json()["results"] == []
        assert served.client.get("/v1/generations/none/events").status_code == 404


def follow(served: Served, url: str, after: str | None = None) -> list[tuple[str, str, dict]]:
    headers = {} if after is None else {"Last-Event-ID": after}
    found = []
    with served.client.stream("GET", url, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for block in "".join(answer.iter_text()).split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
            if lines:
                found.append((lines["id"], lines["event"], json.loads(lines["data"])))
    return found


def test_a_key_that_was_used_for_another_body_is_refused(tmp_path: Path) -> None:
    with Served(tmp_path / "home", COUNTERMARK_SERVE_MAX_QUEUE="1", **DRAWN) as served:
        post(served, 1)
        answer = served.client.post(
            "/v1/generations", json={**BODY, "seed": 7}, headers={"Idempotency-Key": "order 1"}
        )
        assert answer.status_code == 422
        assert "order 1" in answer.json()["detail"]
        for _ in range(9):
            answer = served.client.post("/v1/generations", json={**BODY, "steps": 50})
            if answer.status_code != 202:
                break
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
