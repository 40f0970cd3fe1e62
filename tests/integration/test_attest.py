"""A person's claim: signed, registered and read back with the real engine and a real registry."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from deliveries import DeliveringHome, make_home
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

from benchmarks.foreign_marks import write_foreign_mark
from detector.attest_cli import attest_app
from detector.attesting import find_blind_spot
from detector.evidence.known_marks.table import KNOWN_MARKS
from detector.wiring import build_attester, build_detector
from generator.embedded.training.captions import Split, sample_spec
from generator.embedded.training.scenes import draw_scene
from generator.service import Studio
from provenance.demo.attacks import strip_metadata
from provenance.errors import (
    AttestationRefusedError,
    ImageDecodeError,
    InputError,
    ProvenanceError,
    SigningError,
    UnsupportedMediaTypeError,
)
from provenance.files import StagedFile
from provenance.imaging import decode_image, encode_image, hash_pixels, open_candidate
from provenance.manifest import sdk
from provenance.manifest.attestation import ATTESTABLE, Attestation
from provenance.manifest.claims import Relationship, SoftwareAgent
from provenance.manifest.heal import remove_stores
from provenance.manifest.ingredients import examine_ingredient
from provenance.manifest.selftest import remote_reference
from provenance.manifest.signing import ManifestSigner
from provenance.manifest.wiring import build_trust
from provenance.testing.certificates import ThrowawayAuthority
from provenance.testing.manifests import sample_claim
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker
from provenance.types import (
    Assurance,
    EncodedImage,
    ManifestEvidence,
    MediaType,
    Origin,
    RasterImage,
    RecordKind,
    RegistryEvidence,
    SourceFailure,
)
from provenance.watermark.codecs.dwt_reading import FrequencyMethod
from registry.check import check_consistency
from registry.wiring import open_registry

if TYPE_CHECKING:
    from pathlib import Path

    from detector.attest import Attested
    from provenance.config import Settings
    from provenance.types import Delivery, GenerationRequest, Verdict

CAPTURE, EDITS = ATTESTABLE["digitalCapture"], ATTESTABLE["humanEdits"]
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SUFFIX = {MediaType.PNG: "png", MediaType.JPEG: "jpg", MediaType.WEBP: "webp"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> DeliveringHome:
    # The search for turned and cropped marks takes seconds a picture, and has tests of its own.
    return make_home(tmp_path_factory.mktemp("home"), {"COUNTERMARK_WATERMARK_SEARCH": "fast"})


@pytest.fixture(scope="module")
def delivery(home: DeliveringHome) -> Delivery:
    return home.deliver("a bridge in the fog")


@pytest.fixture(scope="module")
def authority() -> ThrowawayAuthority:
    return ThrowawayAuthority()


def photograph(
    media_type: MediaType = MediaType.JPEG, *, seed: int, xmp: bytes | None = None
) -> bytes:
    return encode_image(natural_picture(240, 180, seed=seed), media_type, xmp=xmp).data


def attest(
    settings: Settings, data: bytes, folder: Path, source=CAPTURE, name: str = "photo"
) -> tuple[Attested, bytes]:
    attester = build_attester(settings)
    out = folder / "attested"
    attested = attester.attest(
        open_candidate(data, name=name), source, lambda asset: StagedFile(out, asset.image.data)
    )
    return attested, out.read_bytes()


def verify(settings: Settings, data: bytes) -> Verdict:
    return build_detector(settings).verify(data, name="picture")


def signed(data: bytes, media_type: MediaType, authority: ThrowawayAuthority, **changes) -> bytes:
    """A file with somebody's manifest: what a camera or a generator delivers."""
    source = changes.pop("source", None)
    signer = ManifestSigner(authority.issue().signer)
    image = EncodedImage(data, media_type)
    if source is None:
        return signer.sign(image, sample_claim(**changes)).image.data
    claim = Attestation(source, SoftwareAgent("camera", "1"), sample_claim().when, **changes)
    return signer.attest(image, claim).image.data


def evidence_of(verdict: Verdict, kind: type) -> Any:
    return next(item for item in verdict.evidence if isinstance(item, kind))


# -- what it does ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "origin"),
    [
        ("digitalCapture", "capture_claimed"),
        ("compositeCapture", "capture_claimed"),
        ("digitalCreation", "human_claimed"),
        ("humanEdits", "human_claimed"),
        ("digitalArt", "human_claimed"),
    ],
)
def test_each_term_is_answered_with_the_claimant(
    home: DeliveringHome, tmp_path: Path, term: str, origin: str
) -> None:
    data = photograph(seed=400 + len(term))
    attested, out = attest(home.settings, data, tmp_path, ATTESTABLE[term])
    verdict = verify(home.settings, out)
    assert (verdict.origin, verdict.assurance) == (origin, "registered")
    assert verdict.record_id == attested.delivery.record.record_id
    assert verdict.claimant == "Countermark Development Signer (Countermark development)"
    assert any(verdict.claimant in reason for reason in verdict.reasons)
    assert "signed claim, not proof" in verdict.reasons[1]
    record = open_registry(home.settings).get(attested.delivery.record.record_id)
    assert (record.kind, record.model, record.safety, record.watermark) == (
        RecordKind.ATTESTED,
        None,
        None,
        None,
    )


@pytest.mark.parametrize("media_type", list(SUFFIX))
def test_pixels_and_other_metadata_stay_and_the_manifest_is_bound(
    home: DeliveringHome, tmp_path: Path, media_type: MediaType
) -> None:
    data = photograph(media_type, seed=41, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    _, out = attest(home.settings, data, tmp_path)
    assert hash_pixels(decode_image(out)) == hash_pixels(decode_image(data))
    assert remove_stores(out, media_type) == data
    report = evidence_of(verify(home.settings, out), ManifestEvidence).report
    assert (report.integrity, report.claim, report.ambiguous) == ("intact", "capture", False)
    assert report.soft_bindings
    assert report.claim_generator.startswith("countermark")


def test_the_claim_outlives_stripped_metadata_while_the_pixels_stay(
    home: DeliveringHome, tmp_path: Path
) -> None:
    attested, _ = attest(home.settings, photograph(MediaType.PNG, seed=42), tmp_path)
    verdict = verify(home.settings, strip_metadata(attested.delivery.asset).data)
    assert (verdict.origin, verdict.assurance) == ("capture_claimed", "registered")
    assert verdict.record_id == attested.delivery.record.record_id


def test_neither_bytes_nor_metadata_of_the_picture_are_kept(
    home: DeliveringHome, tmp_path: Path
) -> None:
    secret = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><!-- where Ada lives --></x:xmpmeta>"
    attested, out = attest(home.settings, photograph(seed=43, xmp=secret), tmp_path)
    assert b"where Ada lives" in out
    record = attested.delivery.record
    assert (record.asset.shell_head, record.asset.shell_tail) == (b"", b"")
    assert not (
        home.settings.assets_folder / record.asset.sha256[:2] / record.asset.sha256
    ).exists()
    for file in home.settings.home.rglob("*.sqlite3*"):
        assert b"where Ada lives" not in file.read_bytes()


def test_the_log_covers_attested_records(home: DeliveringHome, tmp_path: Path) -> None:
    attested, _ = attest(home.settings, photograph(seed=44), tmp_path)
    store = open_registry(home.settings)
    now = attested.delivery.record.created_at
    assert check_consistency(store.engine, now=now).problems == ()


def test_another_installation_reads_the_claim_without_naming_an_unlisted_claimant(
    home: DeliveringHome, tmp_path: Path
) -> None:
    _, out = attest(home.settings, photograph(seed=45), tmp_path, EDITS)
    elsewhere = replace(home.settings, home=tmp_path / "elsewhere")
    verdict = verify(elsewhere, out)
    assert (verdict.origin, verdict.assurance) == ("human_claimed", "signed_unlisted")
    assert verdict.claimant is None
    assert "Countermark development" not in " ".join(verdict.reasons)


# -- ingredients -------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", list(SUFFIX))
def test_an_existing_manifest_is_kept_as_parent(
    home: DeliveringHome, authority: ThrowawayAuthority, tmp_path: Path, media_type: MediaType
) -> None:
    camera = signed(photograph(media_type, seed=46), media_type, authority, source=CAPTURE)
    attested, out = attest(home.settings, camera, tmp_path, EDITS)
    assert attested.parent == "clean"
    verdict = verify(home.settings, out)
    # The latest statement counts: a photograph that a person worked over.
    assert (verdict.origin, verdict.assurance) == ("human_claimed", "registered")
    report = evidence_of(verdict, ManifestEvidence).report
    assert (report.claim, report.parent_claim, report.history) == ("human", "capture", "clean")
    (parent,) = report.ingredients
    assert parent.relationship == "parentOf"
    assert parent.manifest_label == attested.delivery.record.parameters["parent_manifest"]
    reading = sdk.read_store(out, media_type, trust=build_trust(home.settings))
    assert parent.manifest_label in reading.report["manifests"]
    names = [a["action"] for a in actions_of(reading)]
    assert names == ["c2pa.opened", "c2pa.edited.metadata"]


def actions_of(reading: sdk.EngineReading) -> list[dict]:
    manifest = reading.report["manifests"][reading.report["active_manifest"]]
    found = [a for a in manifest["assertions"] if a["label"].startswith("c2pa.actions")]
    return found[0]["data"]["actions"]


def test_attesting_twice_keeps_both(home: DeliveringHome, tmp_path: Path) -> None:
    first, once = attest(home.settings, photograph(seed=47), tmp_path)
    second, twice = attest(home.settings, once, tmp_path, EDITS)
    verdict = verify(home.settings, twice)
    assert (verdict.origin, verdict.record_id) == (
        "human_claimed",
        second.delivery.record.record_id,
    )
    report = evidence_of(verdict, ManifestEvidence).report
    assert report.ingredients[0].manifest_label == first.delivery.record.manifest_label


def test_a_damaged_manifest_is_recorded_as_such(
    home: DeliveringHome, authority: ThrowawayAuthority, tmp_path: Path
) -> None:
    camera = signed(photograph(seed=48), MediaType.JPEG, authority, source=CAPTURE)
    damaged = bytearray(camera)
    damaged[-40] ^= 1  # a byte of the compressed picture: the hard binding fails
    attested, out = attest(home.settings, bytes(damaged), tmp_path)
    assert attested.parent == "damaged"
    assert attested.delivery.record.parameters["parent_state"] == "damaged"
    report = evidence_of(verify(home.settings, out), ManifestEvidence).report
    assert (report.integrity, report.history) == ("intact", "damaged_ingredient")


def test_a_manifest_that_cannot_be_read_is_recorded_as_damaged(
    home: DeliveringHome, authority: ThrowawayAuthority, tmp_path: Path
) -> None:
    camera = signed(photograph(MediaType.PNG, seed=49), MediaType.PNG, authority, source=CAPTURE)
    at = camera.index(b"c2cl")
    broken = camera[:at] + b"\xff" * 4 + camera[at + 4 :]
    broken = broken.replace(b"c2ma", b"\xff" * 4)
    attested, out = attest(home.settings, broken, tmp_path)
    assert attested.parent == "damaged"
    report = evidence_of(verify(home.settings, out), ManifestEvidence).report
    assert report.history == "damaged_ingredient"


def test_credentials_kept_elsewhere_are_named_and_not_fetched(
    home: DeliveringHome, tmp_path: Path
) -> None:
    data = photograph(seed=50, xmp=remote_reference(9))
    attested, out = attest(home.settings, data, tmp_path)
    assert attested.parent == "remote"
    verdict = verify(home.settings, out)
    assert (verdict.origin, verdict.assurance) == ("capture_claimed", "registered")


# -- refusals ----------------------------------------------------------------------------------


def assert_refused(home: DeliveringHome, data: bytes, folder: Path, *named: str) -> None:
    store = open_registry(home.settings)
    before = store.count()
    with pytest.raises(AttestationRefusedError) as caught:
        attest(home.settings, data, folder, name="picture.png")
    for text in ("picture.png", "machine took part", *named):
        assert text in str(caught.value)
    assert store.count() == before
    assert not list(folder.iterdir())


def test_a_registered_file_is_refused(
    home: DeliveringHome, delivery: Delivery, tmp_path: Path
) -> None:
    # The exact hash says so even where credentials and mark do not.
    assert_refused(home, delivery.asset.image.data, tmp_path)


def test_a_stripped_picture_of_ours_is_refused_by_its_pixels(
    home: DeliveringHome, delivery: Delivery, tmp_path: Path
) -> None:
    bare = strip_metadata(delivery.asset).data
    assert_refused(home, bare, tmp_path, delivery.record.record_id)


def test_a_saved_copy_of_ours_is_refused_by_its_mark(
    home: DeliveringHome, delivery: Delivery, tmp_path: Path
) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(delivery.asset.image.data)).save(out, "JPEG", quality=80)
    assert_refused(home, out.getvalue(), tmp_path, delivery.record.record_id, "mark")


def test_a_mark_without_its_record_is_refused(
    home: DeliveringHome, delivery: Delivery, tmp_path: Path
) -> None:
    other = replace(
        home.settings,
        registry=replace(home.settings.registry, url=f"sqlite:///{tmp_path / 'other.sqlite3'}"),
    )
    out = io.BytesIO()
    Image.open(io.BytesIO(delivery.asset.image.data)).save(out, "PNG")
    with pytest.raises(AttestationRefusedError, match="machine took part"):
        attest(other, out.getvalue(), tmp_path)


@pytest.mark.parametrize(
    "breaking",
    ["intact", "changed"],
)
def test_credentials_that_say_ai_are_refused_also_when_they_were_broken(
    home: DeliveringHome, authority: ThrowawayAuthority, tmp_path: Path, breaking: str
) -> None:
    data = bytearray(signed(photograph(MediaType.PNG, seed=51), MediaType.PNG, authority))
    if breaking == "changed":
        data += b"x"  # behind the end: decoders do not mind, the hard binding does
    assert_refused(home, bytes(data), tmp_path, "trainedAlgorithmicMedia")


def test_ai_further_back_in_the_history_is_refused(
    home: DeliveringHome, authority: ThrowawayAuthority, tmp_path: Path
) -> None:
    made = signed(photograph(MediaType.PNG, seed=52), MediaType.PNG, authority)
    # Somebody else's tool signs "a person edited it" on top, and keeps the history.
    parent = examine_ingredient(
        EncodedImage(made, MediaType.PNG), relationship=Relationship.PARENT, title="x"
    )
    bare = EncodedImage(remove_stores(made, MediaType.PNG), MediaType.PNG)
    with pytest.raises(SigningError):  # our own signer would not: the claim does not come back
        ManifestSigner(authority.issue().signer).attest(
            bare,
            Attestation(EDITS, SoftwareAgent("x", "1"), sample_claim().when, parent=parent),
        )
    assert_refused(home, foreign_edit(bare, made, authority), tmp_path, "trainedAlgorithmicMedia")


def foreign_edit(bare: EncodedImage, parent: bytes, authority: ThrowawayAuthority) -> bytes:
    definition = {
        "claim_generator_info": [{"name": "tool", "version": "1", "specVersion": "2.4.0"}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "created": True,
                "data": {
                    "allActionsIncluded": True,
                    "actions": [
                        {"action": "c2pa.opened", "parameters": {"ingredientIds": ["i"]}},
                        {"action": "c2pa.edited", "digitalSourceType": IPTC + "humanEdits"},
                    ],
                },
            }
        ],
    }
    ingredient = {"title": "x", "format": "image/png", "relationship": "parentOf", "label": "i"}
    return sdk.sign_standard(
        bare,
        definition,
        ingredients=[(ingredient, EncodedImage(parent, MediaType.PNG))],
        signer=authority.issue().signer,
        tsa_url=None,
        deadline_s=5,
    ).data


def test_a_generators_label_is_refused(home: DeliveringHome, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, Seed: 1")
    out = io.BytesIO()
    Image.fromarray(natural_picture(200, 200, seed=53).pixels).save(out, "PNG", pnginfo=info)
    assert_refused(home, out.getvalue(), tmp_path, "AUTOMATIC1111")


def test_a_source_that_cannot_look_is_no_permission(
    home: DeliveringHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attester = build_attester(home.settings)
    watermark = next(s for s in attester.detector.sources if s.name == "watermark")

    def broken(_candidate: object) -> list:
        raise RuntimeError("no")

    monkeypatch.setattr(watermark, "collect", broken, raising=False)
    candidate = open_candidate(photograph(seed=54), name="photo.jpg")
    with pytest.raises(InputError, match=r"photo\.jpg cannot be attested.*watermark"):
        attester.attest(candidate, CAPTURE, lambda _: pytest.fail("staged"))


def test_sources_that_must_look_do_so_whatever_the_settings_say(home: DeliveringHome) -> None:
    narrow = replace(home.settings, detector=replace(home.settings.detector, sources=("c2pa",)))
    names = {source.name for source in build_attester(narrow).detector.sources}
    assert {"c2pa", "metadata", "registry", "registry_search", "watermark"} <= names


class ScenePipeline(GradientPipeline):
    """Draws what has corners to compare point by point."""

    def draw(self, request: GenerationRequest) -> RasterImage:
        spec = sample_spec(np.random.default_rng(3), Split.TEST)
        return RasterImage(draw_scene(spec, side_px=request.width_px))


def test_neither_a_claim_nor_a_copyable_mark_keeps_the_search_from_a_part_of_ours(
    home: DeliveringHome, tmp_path: Path, authority: ThrowawayAuthority
) -> None:
    """Anyone can sign a claim over a part of ours, or put another program's mark into it."""
    studio = Studio(ScenePipeline(), LuminanceChecker())
    drawing = replace(home, service=replace(home.service, open_studio=lambda _name: studio))
    ours = drawing.deliver("a lighthouse on a rock")
    part = decode_image(ours.asset.image.data).pixels[60:450, 80:460]
    pytest.importorskip("imwatermark", reason="invisible-watermark is not installed")
    mark = next(mark for mark in KNOWN_MARKS if mark.tool == "Stable Diffusion XL")
    hinted = write_foreign_mark(
        RasterImage(part),
        np.array(mark.bits),
        path=next(iter(mark.writers)),
        method=FrequencyMethod.DWT_DCT,
    )
    claimed = encode_image(RasterImage(part), MediaType.JPEG).data
    claimed = signed(claimed, MediaType.JPEG, authority, source=CAPTURE)
    for data, origin in (
        (claimed, Origin.CONFLICTING),
        (encode_image(hinted, MediaType.PNG).data, Origin.MACHINE_MADE),
    ):
        verdict = verify(home.settings, data)
        assert (verdict.origin, verdict.assurance, verdict.record_id) == (
            origin,
            Assurance.REGISTERED,
            ours.record.record_id,
        )
        assert_refused(home, data, tmp_path, ours.record.record_id)


@pytest.mark.parametrize(
    ("data", "error", "named"),
    [
        (b"GIF", UnsupportedMediaTypeError, "not an image"),
        (photograph(seed=55)[:-3000], ImageDecodeError, "undamaged"),
    ],
)
def test_what_cannot_be_read_is_said(
    home: DeliveringHome, tmp_path: Path, data: bytes, error: type[ProvenanceError], named: str
) -> None:
    with pytest.raises(error, match=named):
        attest(home.settings, data, tmp_path, name="photo.jpg")


def test_other_formats_and_several_frames_are_refused(home: DeliveringHome, tmp_path: Path) -> None:
    picture = Image.fromarray(natural_picture(64, 64, seed=56).pixels)
    tiff, moving = io.BytesIO(), io.BytesIO()
    picture.save(tiff, "TIFF")
    picture.save(moving, "PNG", save_all=True, append_images=[picture.rotate(90)])
    with pytest.raises(UnsupportedMediaTypeError, match="save it as PNG"):
        attest(home.settings, tiff.getvalue(), tmp_path)
    with pytest.raises(InputError, match="2 frames"):
        attest(home.settings, moving.getvalue(), tmp_path)


def test_a_plain_surface_is_attested_without_a_soft_binding(
    home: DeliveringHome, tmp_path: Path
) -> None:
    data = encode_image(flat_picture(96, 96, rgb=(200, 30, 30)), MediaType.PNG).data
    _, out = attest(home.settings, data, tmp_path, ATTESTABLE["digitalCreation"])
    verdict = verify(home.settings, out)
    assert (verdict.origin, verdict.assurance) == ("human_claimed", "registered")


def test_nothing_stays_when_the_file_cannot_be_written(
    home: DeliveringHome, tmp_path: Path
) -> None:
    attester, store = build_attester(home.settings), open_registry(home.settings)
    before = store.count()
    (tmp_path / "file").write_text("no folder")

    def stage(asset):
        return StagedFile(tmp_path / "file" / "out.jpg", asset.image.data)

    with pytest.raises(ProvenanceError, match=r"out\.jpg"):
        attester.attest(open_candidate(photograph(seed=57), name="p"), CAPTURE, stage)
    assert store.count() == before
    report = check_consistency(store.engine, now=attester.clock())
    assert (report.open_reservations, report.problems) == (0, ())


def test_an_attested_record_contradicts_later_evidence_and_is_never_machine_made(
    home: DeliveringHome, tmp_path: Path
) -> None:
    """Metadata that says AI, put into an attested picture, makes the evidence conflict."""
    _, out = attest(home.settings, photograph(MediaType.PNG, seed=58), tmp_path)
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, Seed: 1")
    again = io.BytesIO()
    Image.open(io.BytesIO(out)).save(again, "PNG", pnginfo=info)
    verdict = verify(home.settings, again.getvalue())
    assert verdict.origin == "conflicting"
    assert evidence_of(verdict, RegistryEvidence).kind is RecordKind.ATTESTED


# -- the command -------------------------------------------------------------------------------


@pytest.fixture
def run(home: DeliveringHome, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COUNTERMARK_HOME", str(home.settings.home))
    monkeypatch.setenv("COUNTERMARK_WATERMARK_SEARCH", "fast")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(attest_app, [str(a) for a in arguments])


def test_the_command_answers_its_record_id(run, home: DeliveringHome, tmp_path: Path) -> None:
    file, out = tmp_path / "photo.jpg", tmp_path / "signed.jpg"
    file.write_bytes(before := photograph(seed=60))
    answer = run(file, "--source-type", "digitalcapture", "-o", out, "--json")
    assert answer.exit_code == 0, answer.output
    facts = json.loads(answer.stdout)
    assert facts["record_id"] == verify(home.settings, out.read_bytes()).record_id
    assert (facts["source_type"], facts["origin"]) == ("digitalCapture", "capture_claimed")
    assert file.read_bytes() == before
    text = run(file, "--source-type", IPTC + "humanEdits", "-o", tmp_path / "b.jpg")
    assert text.exit_code == 0
    assert "human_claimed by Countermark Development Signer" in text.stdout


def test_the_users_own_certificate_names_the_claimant(
    run, home: DeliveringHome, authority: ThrowawayAuthority, tmp_path: Path
) -> None:
    leaf = authority.issue()
    chain, key, file = tmp_path / "chain.pem", tmp_path / "leaf.key", tmp_path / "photo.png"
    chain.write_bytes(leaf.chain_pem)
    key.write_bytes(leaf.key_pem)
    key.chmod(0o600)
    file.write_bytes(photograph(MediaType.PNG, seed=61))
    out = tmp_path / "signed.png"
    done = run(file, "--source-type", "digitalArt", "-o", out, "--cert", chain, "--key", key)
    assert done.exit_code == 0, done.output
    verdict = verify(home.settings, out.read_bytes())
    assert verdict.claimant == "Throwaway Leaf (Throwaway Signer)"
    # What the manifest itself says of its signer stays unshown: no list vouches for them.
    assert evidence_of(verdict, ManifestEvidence).report.signer_name is None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--source-type", "trainedAlgorithmicMedia", "-o", "b.jpg"), "digitalCapture"),
        (("--source-type", "digitalCapture", "-o", "photo.jpg"), "never overwritten"),
        (("--source-type", "digitalCapture", "-o", "link.jpg"), "never overwritten"),
        (("--source-type", "digitalCapture", "-o", "b.png"), "must end in .jpg"),
        (("--source-type", "digitalCapture", "-o", "."), "is a folder"),
        (("--source-type", "digitalCapture", "-o", "b.jpg", "--cert", "c.pem"), "go together"),
        (
            ("--source-type", "digitalCapture", "-o", "b.jpg", "--cert", "c.pem", "--key", "k"),
            "k: the private key cannot be read",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(before := photograph(seed=62))
    (tmp_path / "link.jpg").symlink_to("photo.jpg")
    answer = run("photo.jpg", *arguments)
    said = f"{answer.output} {answer.exception or ''}"
    assert answer.exit_code != 0
    assert named in " ".join(said.replace("│", " ").split())
    assert (tmp_path / "photo.jpg").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.jpg", "photo.jpg"]


def test_source_failures_of_others_do_not_stop_an_attestation() -> None:
    assert find_blind_spot([SourceFailure("visible_text", "slow")]) is None
    assert find_blind_spot([SourceFailure("registry", "down.")]) == "registry: down."
