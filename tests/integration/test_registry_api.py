"""``GET /v1/records/{id}`` and the registry's health lines."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from provenance.config import load_settings
from provenance.errors import InputError, RecordNotFoundError
from provenance.testing.stores import build_record, keep_asset
from registry import doctor
from registry.api import build_router
from registry.migrate import downgrade, upgrade
from registry.tables import HEAD_REVISION
from registry.wiring import open_asset_store, open_registry


@pytest.fixture
def settings(tmp_path):
    return load_settings(environ={}, home=tmp_path / "home")


@pytest.fixture
def client(settings):
    app = FastAPI()
    app.include_router(build_router(settings))
    with TestClient(app) as client:
        yield client


@pytest.fixture
def record_id(settings):
    store = open_registry(settings)
    record = build_record(
        store.reserve().record_id, parameters={"seed": 5, "prompt": "Erika", "prompt_hmac": "5ec2"}
    )
    store.commit(record)
    store.close()
    return record.record_id


def test_a_record_is_answered_without_words_or_secrets(client, record_id):
    answer = client.get(f"/v1/records/{record_id}")
    assert answer.status_code == 200
    assert answer.json()["record_id"] == record_id
    assert answer.json()["parameters"] == {"seed": 5}
    assert "Erika" not in answer.text
    assert "5ec2" not in answer.text


def test_an_id_in_capitals_names_the_same_record(client, record_id):
    assert client.get(f"/v1/records/{record_id.upper()}").json()["record_id"] == record_id


def test_an_unknown_record_is_our_own_error(client):
    with pytest.raises(RecordNotFoundError):
        client.get("/v1/records/ffffffffffffffff")


def test_an_id_that_is_none_is_our_own_error(client):
    with pytest.raises(InputError):
        client.get("/v1/records/hello")


def test_the_answer_is_described_for_clients(client):
    schema = client.get("/openapi.json").json()
    fields = schema["components"]["schemas"]["RecordView"]["properties"]
    assert {"record_id", "asset", "manifest", "watermark"} <= set(fields)


# -- health --------------------------------------------------------------------------------------


def lines(checks):
    return {check.name: check for check in checks}


def test_doctor_is_content_before_the_registry_is_made(settings, monkeypatch):
    monkeypatch.setenv("COUNTERMARK_HOME", str(settings.home))
    checks = lines(doctor.check_registry())
    assert all(check.ok for check in checks.values())
    assert "made on first use" in checks["registry database"].detail
    assert not settings.home.exists()


def test_not_ready_when_the_registry_is_gone(settings, record_id):
    (settings.home / "registry.sqlite3").unlink()
    check = lines(doctor.check_ready(settings))["registry database"]
    assert not check.ok
    assert "registry upgrade" in check.remedy


def test_ready_names_the_migration(settings, record_id):
    checks = lines(doctor.check_ready(settings))
    assert f"at migration {HEAD_REVISION}" in checks["registry database"].detail


def test_not_ready_at_another_migration(settings, record_id):
    store = open_registry(settings)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    store.close()
    check = lines(doctor.check_ready(settings))["registry database"]
    assert not check.ok
    assert "registry upgrade" in check.remedy


def test_not_ready_on_a_file_that_is_no_database(settings):
    settings.home.mkdir()
    (settings.home / "registry.sqlite3").write_text("not a database at all\n" * 9)
    check = lines(doctor.check_ready(settings))["registry database"]
    assert not check.ok
    assert "no SQLite database" in check.detail + check.remedy
    assert "backup" in check.remedy


def test_not_ready_without_room(settings, monkeypatch):
    usage = doctor.shutil.disk_usage(settings.home.parent)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    check = lines(doctor.check_ready(settings))["disk of the home folder"]
    assert not check.ok
    assert "COUNTERMARK_HOME" in check.remedy


def test_doctor_reads_every_page(settings, record_id, monkeypatch):
    monkeypatch.setenv("COUNTERMARK_HOME", str(settings.home))
    assert lines(doctor.check_registry())["registry integrity"].ok
    file = settings.home / "registry.sqlite3"
    downgrade(settings.registry_url, "base")
    upgrade(settings.registry_url)
    data = bytearray(file.read_bytes())
    data[8192:8256] = b"\xff" * 64
    file.write_bytes(data)
    for leftover in settings.home.glob("registry.sqlite3-*"):
        leftover.unlink()
    check = lines(doctor.check_registry())["registry integrity"]
    assert not check.ok
    assert "backup" in check.remedy


def test_assets_lie_in_the_home_folder(settings):
    from provenance.types import EncodedImage, MediaType

    digest = keep_asset(open_asset_store(settings), EncodedImage(b"bytes", MediaType.PNG))
    assert (settings.assets_folder / digest[:2] / digest).read_bytes() == b"bytes"
