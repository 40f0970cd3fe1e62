"""``POST /v1/verify`` and the verify page."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from detector.api import build_router
from provenance.config import LimitSettings, Settings
from provenance.imaging import encode_image
from provenance.testing.pictures import natural_picture
from provenance.types import MediaType
from provenance.web import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PNG = encode_image(natural_picture(64, 48, seed=3), MediaType.PNG).data
MULTIPART_ROOM = 64 * 1024


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home", limits=LimitSettings(max_bytes=200_000, max_pixels=10_000)
    )


@pytest.fixture
def client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The service with the detector's routes alone: the others need a model and keys."""
    from importlib.metadata import entry_points

    def only_detector(**params: Any) -> Any:
        found = entry_points(**params)
        if params.get("group") == "countermark.apps":
            return [point for point in found if point.name == "detector"]
        return [] if params.get("group") == "countermark.readiness" else found

    monkeypatch.setattr("provenance.web.entry_points", only_detector)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def upload(client: TestClient, data: bytes, name: str = "a.png") -> Any:
    return client.post("/v1/verify", files={"file": (name, data, "image/png")})


def test_a_form_and_a_bare_body_get_the_same_answer(client: TestClient) -> None:
    form = upload(client, PNG)
    bare = client.post("/v1/verify", content=PNG, headers={"content-type": "image/png"})
    assert (form.status_code, bare.status_code) == (200, 200)
    answer = form.json()
    assert (answer["file"], answer["sha256"]) == ("a.png", hashlib.sha256(PNG).hexdigest())
    assert (answer["origin"], answer["assurance"], answer["record_id"]) == ("unknown", "none", None)
    assert {**bare.json(), "file": "a.png"} == answer


def test_nothing_of_an_upload_is_kept(client: TestClient, settings: Settings) -> None:
    upload(client, PNG)
    assert not settings.home.exists()


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"just text", 415, "not an image"),
        (PNG + bytes(200_000), 413, "limits.max_bytes"),
        (
            encode_image(natural_picture(200, 100, seed=1), MediaType.JPEG).data,
            413,
            "limits.max_pixels",
        ),
        (b"", 415, "empty"),
    ],
)
def test_bad_uploads_get_a_problem_that_says_what(
    client: TestClient, data: bytes, status: int, words: str
) -> None:
    answer = upload(client, data)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_bodies_over_the_limit_are_refused(client: TestClient) -> None:
    answer = client.post("/v1/verify", content=bytes(200_001 + MULTIPART_ROOM))
    assert answer.status_code == 413


@pytest.mark.parametrize("body", [{"data": {"file": "a string"}}, {"data": {"other": "x"}}, {}])
def test_requests_without_a_file_are_refused(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/verify", **body)
    assert answer.status_code in (400, 415)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_form_without_a_file_field_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/verify", files={"picture": ("a.png", PNG)})
    assert answer.status_code == 400
    assert "field named file" in answer.json()["detail"]


def test_two_pictures_and_a_manifest_that_is_no_file_are_refused(client: TestClient) -> None:
    two = client.post("/v1/verify", files=[("file", ("a.png", PNG)), ("file", ("b.png", PNG))])
    text = client.post("/v1/verify", files={"file": ("a.png", PNG)}, data={"manifest": "a.c2pa"})
    assert (two.status_code, text.status_code) == (400, 400)
    assert "two pictures" in two.json()["detail"]
    assert "field manifest" in text.json()["detail"]


def test_a_broken_form_is_refused(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/v1/verify", content=b"no form at all", headers=headers)
    assert answer.status_code == 400


def test_a_truncated_picture_is_answered_and_says_so(client: TestClient) -> None:
    answer = upload(client, PNG[: len(PNG) // 2])
    assert answer.status_code == 200
    assert answer.json()["origin"] == "unknown"
    assert "damaged" in answer.json()["error"]


def test_a_strangers_file_name_is_cleaned(client: TestClient) -> None:
    answer = upload(client, PNG, "\u202eevil\u0007" + "x" * 500).json()
    assert answer["file"].startswith("evil")
    assert len(answer["file"]) <= 200


def test_the_answer_is_described_in_openapi(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/v1/verify"]["post"]
    assert "multipart/form-data" in operation["requestBody"]["content"]
    reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert reference.endswith("VerdictView")


def test_the_page_runs_its_own_script_only(client: TestClient) -> None:
    page = client.get("/verify")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    for tag in ("script", "style"):
        (block,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page.text)
    assert not re.findall(r"\son[a-z]+=", page.text)
    assert "innerHTML" not in page.text


def test_a_defect_in_the_settings_shows_at_start(tmp_path: Path) -> None:
    from dataclasses import replace

    from provenance.errors import ConfigError

    settings = Settings(home=tmp_path)
    missing = replace(settings.detector, trust_anchors=(str(tmp_path / "missing.pem"),))
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        build_router(replace(settings, detector=missing))
