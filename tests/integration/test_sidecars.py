"""A manifest store beside a picture: bound to just that picture, or said to be of another."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import c2pa
import pytest
from console import run
from fastapi import FastAPI
from fastapi.testclient import TestClient

from detector.api import build_router
from detector.sidecars import find_sidecar
from provenance.config import Settings
from provenance.imaging import encode_image
from provenance.manifest.claims import build_manifest
from provenance.manifest.pki import create_dev_chain
from provenance.testing.manifests import sample_claim
from provenance.testing.pictures import natural_picture
from provenance.types import MediaType

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = encode_image(natural_picture(96, 64, seed=5), MediaType.JPEG).data
OTHER = encode_image(natural_picture(96, 64, seed=6), MediaType.JPEG).data


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Signed for `PICTURE`, which stays as it is."""
    chain = create_dev_chain(tmp_path_factory.mktemp("keys"))
    info = c2pa.C2paSignerInfo(
        c2pa.C2paSigningAlg.ES256,
        chain.chain_file.read_bytes(),
        chain.key_file.read_bytes(),
        None,
    )
    builder = c2pa.Builder(json.dumps(build_manifest(sample_claim())))
    builder.set_no_embed()
    out = io.BytesIO()
    with c2pa.Signer.from_info(info) as signer:
        made = bytes(builder.sign(signer, "image/jpeg", io.BytesIO(PICTURE), out))
    assert out.getvalue() == PICTURE
    return made


def sidecar_of(answer: dict[str, Any]) -> dict[str, Any]:
    (found,) = (e for e in answer["evidence"] if e["source"] == "c2pa_sidecar")
    return dict(found)


@pytest.mark.parametrize("name", ["photo.jpg.c2pa", "photo.c2pa"])
def test_a_manifest_beside_its_picture_is_bound_to_it(
    store: bytes, tmp_path: Path, name: str
) -> None:
    (tmp_path / "photo.jpg").write_bytes(PICTURE)
    (tmp_path / name).write_bytes(store)
    (answer,) = run(tmp_path / "home", "verify", tmp_path / "photo.jpg", "--json", "--fast").json
    assert (answer["origin"], answer["assurance"]) == ("machine_made", "signed_unlisted")
    found = sidecar_of(answer)
    assert (found["finding"], found["credential"], found["integrity"]) == (
        "present",
        "sidecar",
        "intact",
    )
    assert name in found["reason"]
    # Nothing of it is said to stand in the file.
    (embedded,) = (e for e in answer["evidence"] if e["source"] == "c2pa")
    assert (embedded["finding"], embedded["credential"]) == ("absent", "none")


def test_a_manifest_of_another_picture_is_said_to_be_unbound(store: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.jpg").write_bytes(OTHER)
    (tmp_path / "given.bin").write_bytes(store)
    answer, *_ = run(
        tmp_path / "home",
        "verify",
        tmp_path / "other.jpg",
        "--manifest",
        tmp_path / "given.bin",
        "--json",
        "--fast",
    ).json
    assert (answer["origin"], answer["assurance"]) == ("unknown", "none")
    found = sidecar_of(answer)
    assert (found["finding"], found["integrity"]) == ("invalid", "content_changed")
    assert "unbound" in found["reason"]
    assert any("unbound from these pixels" in reason for reason in answer["reasons"])


@pytest.mark.parametrize("damage", ["junk", "cut", "folder", "empty"])
def test_a_sidecar_that_cannot_be_read_leaves_the_picture_answered(
    store: bytes, tmp_path: Path, damage: str
) -> None:
    (tmp_path / "photo.jpg").write_bytes(PICTURE)
    beside = tmp_path / "photo.jpg.c2pa"
    if damage == "folder":
        beside.mkdir()
    else:
        data = {"junk": b"c2pa jumb" * 50, "cut": store[: len(store) // 2], "empty": b""}
        beside.write_bytes(data[damage])
    answered = run(tmp_path / "home", "verify", tmp_path / "photo.jpg", "--json", "--fast")
    assert answered.code == 0
    (answer,) = answered.json
    assert answer["origin"] == "unknown"
    assert sidecar_of(answer)["finding"] in ("invalid", "unreadable")
    assert "photo.jpg.c2pa" in sidecar_of(answer)["reason"]


def test_one_manifest_is_of_one_picture_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(PICTURE)
    given = ("verify", tmp_path / "photo.jpg", "--manifest", tmp_path / "none.c2pa")
    missing = run(tmp_path / "home", *given)
    assert missing.code == 3
    assert "none.c2pa does not exist" in missing.err
    two = run(tmp_path / "home", *given, tmp_path / "photo.jpg")
    assert two.code == 2
    assert "one picture" in two.err


def test_the_full_name_comes_before_the_stem(tmp_path: Path) -> None:
    picture = tmp_path / "photo.jpg"
    assert find_sidecar(picture) is None
    stem, full = tmp_path / "photo.c2pa", tmp_path / "photo.jpg.c2pa"
    stem.touch()
    assert find_sidecar(picture) == stem
    full.touch()
    assert find_sidecar(picture) == full
    assert find_sidecar(stem) is None


def test_a_form_may_bring_the_manifest_too(store: bytes, tmp_path: Path) -> None:
    app = FastAPI()
    app.include_router(build_router(Settings(home=tmp_path)))
    picture = ("photo.jpg", PICTURE, "image/jpeg")
    manifest = ("photo.c2pa", store, "application/c2pa")
    with TestClient(app) as client:
        both = client.post(
            "/v1/verify?fast=true", files={"file": picture, "manifest": manifest}
        ).json()
        alone = client.post("/v1/verify?fast=true", files={"file": picture}).json()
    assert sidecar_of(both)["finding"] == "present"
    assert both["origin"] == "machine_made"
    assert alone["origin"] == "unknown"
