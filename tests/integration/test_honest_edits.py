"""Pictures made from pictures: what manifest, record and detector say of edits and guides.

Real engine, real watermark, real SQLite; only the pipeline is a drawn picture.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
from deliveries import make_home
from PIL import Image

from detector.wiring import build_detector
from provenance.errors import InputError
from provenance.imaging import encode_image, hash_pixels, open_input
from provenance.manifest import sdk
from provenance.manifest.claims import build_manifest
from provenance.manifest.keyring import create_dev_chain
from provenance.manifest.loopback import listen_and_count
from provenance.manifest.reading import read_manifest
from provenance.manifest.selftest import remote_reference
from provenance.manifest.signers.local_key import LocalKeySigner
from provenance.manifest.trust import no_trust
from provenance.manifest.wiring import build_trust
from provenance.testing.manifests import sample_claim
from provenance.testing.pictures import natural_picture
from provenance.types import (
    Assurance,
    EncodedImage,
    EventTarget,
    GenerationRequest,
    History,
    InputRole,
    MediaType,
    Origin,
    RasterImage,
    RecordKind,
    SourceClaim,
)
from registry.check import check_consistency
from registry.events import EventLog

if TYPE_CHECKING:
    from pathlib import Path

    from deliveries import DeliveringHome

    from provenance.types import Delivery, ManifestReport, Verdict

CAMERA = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> DeliveringHome:
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> EncodedImage:
    """A photograph that a stranger's camera signed: no list here covers it."""
    chain = create_dev_chain(tmp_path_factory.mktemp("camera"))
    definition = build_manifest(sample_claim(watermark=None, watermark_agent=None))
    actions = definition["assertions"][0]["data"]["actions"]
    actions[0]["digitalSourceType"] = CAMERA
    # A camera discloses no model.
    definition["assertions"] = [
        one for one in definition["assertions"] if one["label"] != "c2pa.ai-disclosure"
    ]
    signed = sdk.sign_standard(
        encode_image(natural_picture(320, 320, seed=5), MediaType.JPEG),
        definition,
        signer=LocalKeySigner.from_files(chain.chain_file, chain.key_file),
        tsa_url=None,
        deadline_s=5,
    )
    return EncodedImage(signed.data, MediaType.JPEG)


def edit(home: DeliveringHome, data: bytes, **changes: object) -> Delivery:
    request = GenerationRequest(
        prompt="a boat on the lake",
        seed=11,
        steps=4,
        width_px=256,
        height_px=256,
        init_image=open_input(data, name="init_image"),
        strength=0.5,
    )
    return home.service.generate(replace(request, **changes), lambda *_: None)


def report_of(home: DeliveringHome, delivery: Delivery) -> ManifestReport:
    image = delivery.asset.image
    return read_manifest(image.data, image.media_type, trust=build_trust(home.settings))


def verify(home: DeliveringHome, data: bytes) -> Verdict:
    return build_detector(home.settings).verify(data, name="picture")


def actions_of(delivery: Delivery) -> list[dict]:
    image = delivery.asset.image
    reading = sdk.read_store(image.data, image.media_type, trust=no_trust())
    assert isinstance(reading, sdk.EngineReading)
    manifest = reading.report["manifests"][reading.report["active_manifest"]]
    found = [a for a in manifest["assertions"] if a["label"].startswith("c2pa.actions")]
    assert found[0]["created"] is True
    return found[0]["data"]["actions"]


def png(side_px: int = 320, seed: int = 9) -> bytes:
    return encode_image(natural_picture(side_px, side_px, seed=seed), MediaType.PNG).data


# -- edits -------------------------------------------------------------------------------------


def test_an_edit_of_a_signed_photo_keeps_its_history(
    home: DeliveringHome, photo: EncodedImage
) -> None:
    delivery = edit(home, photo.data)
    opened, edited, watermarked = actions_of(delivery)
    assert opened["action"] == "c2pa.opened"
    assert "digitalSourceType" not in opened
    assert len(opened["parameters"]["ingredients"]) == 1
    assert edited["action"] == "c2pa.edited"
    assert edited["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert edited["parameters"]["org.countermark.effective_steps"] == 2
    assert watermarked["action"] == "c2pa.watermarked.bound"

    before = read_manifest(photo.data, photo.media_type, trust=no_trust())
    report = report_of(home, delivery)
    assert report.claim is SourceClaim.PARTLY_AI
    assert report.parent_claim is SourceClaim.CAPTURE
    assert [(i.relationship, i.manifest_label, i.state) for i in report.ingredients] == [
        ("parentOf", before.manifest_label, History.CLEAN)
    ]
    parameters = delivery.record.parameters
    assert delivery.record.kind is RecordKind.EDITED
    assert parameters["parent_state"] == "clean"
    assert parameters["parent_manifest"] == before.manifest_label
    assert parameters["input_role"] == "edit"
    assert (parameters["steps"], parameters["effective_steps"]) == (4, 2)
    assert b"compositeWithTrainedAlgorithmicMedia" in delivery.asset.image.data


def test_verify_calls_an_edit_of_a_photo_edited_and_tells_its_past(
    home: DeliveringHome, photo: EncodedImage
) -> None:
    verdict = verify(home, edit(home, photo.data).asset.image.data)
    assert verdict.origin is Origin.MACHINE_EDITED
    assert verdict.assurance in (Assurance.REGISTERED, Assurance.SIGNED_TRUSTED)
    said = " ".join(verdict.reasons)
    assert "had credentials of its own: they say that a camera captured it" in said
    assert "damaged" not in said


def test_verify_calls_an_edit_of_our_own_picture_edited(home: DeliveringHome) -> None:
    first = home.deliver("a quiet lake", side_px=256)
    second = edit(home, first.asset.image.data)
    assert second.record.parameters["parent_record"] == first.record.record_id
    assert second.record.parameters["parent_manifest"] == first.record.manifest_label
    verdict = verify(home, second.asset.image.data)
    assert verdict.origin is Origin.MACHINE_EDITED
    assert verdict.record_id == second.record.record_id
    said = " ".join(verdict.reasons)
    assert "had credentials of its own: they say that generative AI made it" in said
    # And on: an edit of the edit keeps both.
    third = edit(home, second.asset.image.data, media_type=MediaType.WEBP)
    reading = sdk.read_store(third.asset.image.data, MediaType.WEBP, trust=no_trust())
    assert isinstance(reading, sdk.EngineReading)
    assert {first.record.manifest_label, second.record.manifest_label} < set(
        reading.report["manifests"]
    )
    assert verify(home, third.asset.image.data).origin is Origin.MACHINE_EDITED


def test_an_unsigned_parent_is_an_ingredient_without_manifest(home: DeliveringHome) -> None:
    delivery = edit(home, png())
    report = report_of(home, delivery)
    assert [(i.relationship, i.manifest_label) for i in report.ingredients] == [("parentOf", None)]
    assert report.history is History.UNKNOWN_INGREDIENT
    assert delivery.record.parameters["parent_state"] == "none"
    assert "parent_manifest" not in delivery.record.parameters
    assert "came without readable credentials" in " ".join(
        verify(home, delivery.asset.image.data).reasons
    )


def test_a_tampered_parent_is_recorded_as_damaged(
    home: DeliveringHome, photo: EncodedImage
) -> None:
    tampered = bytearray(photo.data)
    tampered[-40] ^= 1
    delivery = edit(home, bytes(tampered))
    assert delivery.record.parameters["parent_state"] == "damaged"
    report = report_of(home, delivery)
    assert report.history is History.DAMAGED_INGREDIENT
    assert b"assertion.dataHash.mismatch" in delivery.asset.manifest_store
    verdict = verify(home, delivery.asset.image.data)
    assert verdict.origin is Origin.MACHINE_EDITED
    said = " ".join(verdict.reasons)
    assert "already damaged when it was added" in said
    assert "a camera captured" not in said  # a damaged manifest does not speak for its picture


def test_a_parent_whose_manifest_cannot_be_read_is_recorded_as_damaged(
    home: DeliveringHome, photo: EncodedImage
) -> None:
    broken = photo.data.replace(b"c2cl", b"xxxx").replace(b"c2as", b"yyyy")
    delivery = edit(home, broken)
    assert delivery.record.parameters["parent_state"] == "damaged"
    assert report_of(home, delivery).history is History.DAMAGED_INGREDIENT
    assert b"manifest.inaccessible.malformed" in delivery.asset.manifest_store
    assert "already damaged" in " ".join(verify(home, delivery.asset.image.data).reasons)


def test_a_parent_with_a_remote_manifest_is_named_and_nothing_is_fetched(
    home: DeliveringHome,
) -> None:
    with listen_and_count() as listener:
        xmp = remote_reference(listener.port)
        data = encode_image(natural_picture(300, 300, seed=2), MediaType.PNG, xmp=xmp).data
        delivery = edit(home, data)
        with pytest.raises(InputError, match="input_role"):
            edit(home, data, input_role=InputRole.GUIDE)
    assert not listener.connections
    assert delivery.record.parameters["parent_state"] == "remote"
    report = report_of(home, delivery)
    assert report.history is History.UNKNOWN_INGREDIENT
    assert b"manifest.inaccessible" in delivery.asset.manifest_store


def test_a_parent_of_a_kind_that_the_engine_cannot_read_is_described(
    home: DeliveringHome,
) -> None:
    out = io.BytesIO()
    Image.fromarray(natural_picture(256, 256, seed=4).pixels).save(out, "BMP")
    delivery = edit(home, out.getvalue())
    assert report_of(home, delivery).ingredients[0].relationship == "parentOf"
    assert b"image/bmp" in delivery.asset.manifest_store


def test_who_has_the_inputs_cannot_confirm_them(home: DeliveringHome) -> None:
    given, mask = png(), RasterImage(np.full((256, 256, 3), 255, np.uint8))
    delivery = edit(home, given, mask=mask)
    assert len(report_of(home, delivery).ingredients) == 1
    said = json.dumps(dict(delivery.record.parameters)).encode() + delivery.asset.manifest_store
    for digest in (hashlib.sha256(given).hexdigest(), hash_pixels(mask)):
        assert digest.encode() not in said
        assert bytes.fromhex(digest) not in said
    # With the deployment's key they can be told, as reproducing does.
    for name in ("input_hmac", "mask_hmac"):
        assert str(delivery.record.parameters[name]).encode() in delivery.asset.manifest_store
    again = edit(home, given, mask=mask).record.parameters
    assert again["input_hmac"] == delivery.record.parameters["input_hmac"]


def test_an_edit_can_be_marked_in_another_process(
    home: DeliveringHome, photo: EncodedImage
) -> None:
    request = GenerationRequest(
        prompt="a boat",
        seed=2,
        steps=4,
        width_px=256,
        height_px=256,
        init_image=open_input(photo.data, name="init_image"),
    )
    rendered = home.service.render(request, lambda *_: None)
    delivery = home.service.finish(pickle.loads(pickle.dumps(rendered)))
    assert delivery.record.kind is RecordKind.EDITED
    assert delivery.record.parameters["parent_state"] == "clean"


# -- our own pictures without their credentials ------------------------------------------------


def test_a_stripped_parent_of_ours_gets_its_credentials_back(home: DeliveringHome) -> None:
    first = home.deliver("a mill", side_px=256)
    shell_less = _strip_png(first.asset.image.data)
    assert read_manifest(shell_less, MediaType.PNG, trust=no_trust()).manifest_label is None
    delivery = edit(home, shell_less)
    parameters = delivery.record.parameters
    assert parameters["parent_record"] == first.record.record_id
    assert parameters["parent_restored"] is True
    assert report_of(home, delivery).ingredients[0].manifest_label == first.record.manifest_label


def test_a_parent_whose_record_was_revoked_gets_no_credentials_back(home: DeliveringHome) -> None:
    first = home.deliver("a weir", side_px=256)
    events = EventLog(home.service.store.engine)
    events.revoke(EventTarget.RECORD, first.record.record_id, "made by mistake")
    delivery = edit(home, _strip_png(first.asset.image.data))
    parameters = delivery.record.parameters
    assert parameters["parent_record"] == first.record.record_id
    assert "parent_restored" not in parameters
    assert first.asset.manifest_store not in delivery.asset.manifest_store
    labels = [one.manifest_label for one in report_of(home, delivery).ingredients]
    assert first.record.manifest_label not in labels


def test_a_parent_of_ours_saved_again_is_found_by_its_mark(home: DeliveringHome) -> None:
    first = home.deliver("a tower", side_px=512)
    out = io.BytesIO()
    Image.open(io.BytesIO(first.asset.image.data)).convert("RGB").save(out, "JPEG", quality=85)
    delivery = edit(home, out.getvalue())
    assert delivery.record.parameters["parent_record"] == first.record.record_id
    assert delivery.record.parameters["parent_state"] == "none"
    assert "parent_restored" not in delivery.record.parameters


def _strip_png(data: bytes) -> bytes:
    kept, place = data[:8], 8
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] in (b"IHDR", b"IDAT", b"IEND"):
            kept += data[place:end]
        place = end
    return kept


# -- guides ------------------------------------------------------------------------------------


def test_a_guide_is_an_input_of_a_new_creation(home: DeliveringHome) -> None:
    delivery = edit(home, png(), input_role=InputRole.GUIDE)
    created, _ = actions_of(delivery)
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert len(created["parameters"]["ingredients"]) == 1
    report = report_of(home, delivery)
    assert [i.relationship for i in report.ingredients] == ["inputTo"]
    assert (report.claim, report.parent_claim) == (SourceClaim.FULLY_AI, None)
    assert delivery.record.kind is RecordKind.GENERATED
    assert delivery.record.parameters["input_role"] == "guide"
    verdict = verify(home, delivery.asset.image.data)
    assert verdict.origin is Origin.MACHINE_MADE
    assert "named among the ingredients" in " ".join(verdict.reasons)


@pytest.mark.parametrize("break_it", [False, True])
def test_a_signed_guide_is_refused_with_the_remedy(
    home: DeliveringHome, photo: EncodedImage, break_it: bool
) -> None:
    before = home.service.store.count()
    data = photo.data.replace(b"c2cl", b"xxxx") if break_it else photo.data
    with pytest.raises(InputError, match=r'init_image.*input_role "edit"'):
        edit(home, data, input_role=InputRole.GUIDE)
    assert home.service.store.count() == before
    check = check_consistency(home.service.store.engine, now=datetime.now(UTC))
    assert check.open_reservations == 0  # refused before an id was set aside


# -- visible label -----------------------------------------------------------------------------


def test_a_visible_label_is_drawn_and_recorded(home: DeliveringHome) -> None:
    plain = GenerationRequest(prompt="a pier", seed=3, steps=1, width_px=256, height_px=256)
    labelled = home.service.generate(replace(plain, visible_label=True), lambda *_: None)
    without = home.service.generate(plain, lambda *_: None)
    actions = actions_of(labelled)
    assert [a["action"] for a in actions] == [
        "c2pa.created",
        "c2pa.edited",
        "c2pa.watermarked.bound",
    ]
    assert actions[1]["parameters"]["org.countermark.visible_label"] == "AI-generated"
    assert labelled.record.parameters["visible_label"] == "AI-generated"
    assert "visible_label" not in without.record.parameters
    assert verify(home, labelled.asset.image.data).origin is Origin.MACHINE_MADE
    assert home.service.marks.label_text(replace(plain, visible_label=True)) == "AI-generated"


def test_an_edited_picture_is_labelled_as_edited(home: DeliveringHome) -> None:
    delivery = edit(home, png(), visible_label=True)
    assert delivery.record.parameters["visible_label"] == "AI-edited"
    assert b"AI-edited" in delivery.asset.manifest_store


def test_the_operator_words_the_label(tmp_path: Path) -> None:
    (tmp_path / "countermark.toml").write_text('[generator]\nlabel_text = "Made by Example AI"\n')
    delivery = edit(make_home(tmp_path), png(), visible_label=True)
    assert delivery.record.parameters["visible_label"] == "Made by Example AI"
