"""Soft bindings, substitution, rubric and words on really signed files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from deliveries import DeliveringHome, make_home

from detector.display import show_answers
from detector.schemas import view_verdict
from detector.wiring import build_detector
from provenance.demo.attacks import move_manifest, strip_metadata
from provenance.manifest.attestation import ATTESTABLE, Attestation
from provenance.manifest.claims import Relationship, SoftwareAgent
from provenance.manifest.heal import remove_stores
from provenance.manifest.ingredients import examine_ingredient
from provenance.manifest.signing import ManifestSigner
from provenance.testing.certificates import ThrowawayAuthority
from provenance.testing.manifests import sample_claim
from provenance.types import EncodedImage, MediaType

if TYPE_CHECKING:
    from provenance.types import Delivery


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> DeliveringHome:
    return make_home(tmp_path_factory.mktemp("home"), {"COUNTERMARK_WATERMARK_SEARCH": "fast"})


@pytest.fixture(scope="module")
def delivery(home: DeliveringHome) -> Delivery:
    return home.deliver("a mill by a stream")


@pytest.fixture(scope="module")
def signer() -> ManifestSigner:
    return ManifestSigner(ThrowawayAuthority().issue().signer)


def answer(home: DeliveringHome, data: bytes) -> dict[str, Any]:
    verdict = build_detector(home.settings).verify(data, name="picture")
    view = view_verdict(verdict, file="picture", sha256="0" * 64)
    return view.model_dump(mode="json")


def manifest_in(view: dict[str, Any], source: str = "c2pa") -> dict[str, Any]:
    return next(item for item in view["evidence"] if item["source"] == source)


def test_a_delivered_picture_agrees_with_all_that_its_manifest_names(
    home: DeliveringHome, delivery: Delivery, capsys: pytest.CaptureFixture[str]
) -> None:
    view = answer(home, delivery.asset.image.data)
    found = manifest_in(view)
    assert [one["state"] for one in found["soft_bindings"]] == ["agrees", "agrees"]
    assert found["substitution"] == "none"
    assert found["rubric"] == [
        {
            "manifest_label": delivery.record.manifest_label,
            "classes": ["fullyGenAIMedia", "nonEditorial"],
        }
    ]
    assert len(found["words"]) == 8
    show_answers([view])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "soft bindings: Of 2 marks and fingerprints that it names, 2 agree" in shown
    assert "fullyGenAIMedia" in shown


def test_a_moved_manifest_disagrees(home: DeliveringHome, delivery: Delivery) -> None:
    found = manifest_in(answer(home, move_manifest(delivery.asset).data))
    assert found["integrity"] == "content_changed"
    # The mark's binding cannot be checked in a picture without a mark; the hash tells.
    assert [one["state"] for one in found["soft_bindings"]] == ["not_evaluated", "disagrees"]
    assert found["substitution"] == "not_evaluated"


def test_exchanged_credentials_are_called_so(
    home: DeliveringHome, delivery: Delivery, signer: ManifestSigner
) -> None:
    bare = strip_metadata(delivery.asset)
    claim = Attestation(
        ATTESTABLE["digitalCapture"], SoftwareAgent("camera", "1"), sample_claim().when
    )
    view = answer(home, signer.attest(bare, claim).image.data)
    assert view["origin"] == "conflicting"
    found = manifest_in(view)
    assert found["substitution"] == "embedded_differs_from_registry"
    assert "other credentials" in found["words"]["substitution"]
    assert any("added or exchanged since" in reason for reason in view["reasons"])
    assert manifest_in(view, "c2pa_recovered")["substitution"] == "none"


def test_credentials_that_go_on_are_no_substitution(
    home: DeliveringHome, delivery: Delivery, signer: ManifestSigner
) -> None:
    image = delivery.asset.image
    parent = examine_ingredient(image, relationship=Relationship.PARENT, title="x")
    bare = EncodedImage(remove_stores(image.data, MediaType.PNG), MediaType.PNG)
    base = sample_claim()
    edited = replace(base, shape=type(base.shape)("opened"), ingredients=(parent,), fingerprints=())
    view = answer(home, signer.sign(bare, edited).image.data)
    assert manifest_in(view)["substitution"] == "none"
    assert len(manifest_in(view)["rubric"]) == 2


def test_a_stripped_picture_has_no_layers_but_the_first(
    home: DeliveringHome, delivery: Delivery
) -> None:
    view = answer(home, strip_metadata(delivery.asset).data)
    assert list(manifest_in(view)["words"]) == ["credential"]
    assert manifest_in(view, "c2pa_recovered")["credential"] == "recovered"
