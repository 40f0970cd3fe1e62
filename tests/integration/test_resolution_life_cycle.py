"""What the resolution API gives out of records that were revoked, taken down or erased."""

from __future__ import annotations

import pytest
from console import run
from resolution_world import LATTICE, PDQ, World, wire
from starlette.testclient import TestClient

from provenance.types import EventTarget
from provenance.web import compose_app
from registry.events import EventLog
from registry.wiring import open_registry, open_resolution


@pytest.fixture(params=["revoked", "taken", "erased"])
def seen(request, tmp_path):
    """An installation whose picture had this happen to it, and its API."""
    from registry.api import build_router

    world = World(tmp_path, {"COUNTERMARK_SERVE_OPEN_RATE_PER_MINUTE": "0"})
    before = open_resolution(world.settings, open_registry(world.settings)).receipt(
        world.label, "https://cm.example.org/v1"
    )
    record_id = world.delivery.record.record_id
    events = EventLog(world.home.service.store.engine)
    match request.param:
        case "revoked":
            events.revoke(EventTarget.RECORD, record_id, "made by mistake")
        case "taken":
            events.take_down(record_id, "it shows a person")
        case "erased":
            events.erase(record_id, "on request")
    app = compose_app(world.settings, [build_router(world.settings)])
    with TestClient(app, base_url="https://cm.example.org", raise_server_exceptions=False) as one:
        yield request.param, world, one, before


def test_manifests_are_given_out_as_the_operator_said(seen, tmp_path):
    what, world, client, receipt = seen
    asked = client.get(f"/v1/manifests/{world.label}")
    alone = client.get(f"/v1/manifests/{world.label}", params={"returnActiveManifest": "true"})
    found = set()
    for alg, value in ((LATTICE, world.mark), (PDQ, world.pdq)):
        answer = client.get("/v1/matches/byBinding", params={"alg": alg, "value": wire(value)})
        if answer.status_code == 200:
            found |= {one["manifestId"] for one in answer.json()["matches"]}
    headers = {"Content-Type": "image/png"}
    content = client.post("/v1/matches/byContent", content=world.stripped, headers=headers)
    verified = client.post(f"/v1/manifests/{world.label}/receipts", json=receipt)
    assert content.status_code == 200
    if what == "erased":
        assert asked.status_code == alone.status_code == verified.status_code == 404
        assert found == set()
        assert content.json()["matches"] == []
        return
    assert found == {world.label}
    assert verified.json()["verified"] is True
    if what == "revoked":
        assert asked.status_code == alone.status_code == 404
        assert "made by mistake" in asked.text
    else:
        assert asked.content == world.store
    file = tmp_path / "bare.png"
    file.write_bytes(world.stripped)
    answer = run(tmp_path, "resolve", file)
    assert ("made by mistake" in answer.out + answer.err) == (what == "revoked")
    assert "Traceback" not in answer.err
