"""W1 to W9 on real components: codec, C2PA engine, SQLite; only the pipeline is a drawn picture."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from generator.service import GenerationService, Studio
from generator.wiring import build_generator
from provenance.config import load_settings
from provenance.errors import (
    CapacityError,
    ContentBlockedError,
    DeliveryError,
    GenerationError,
    PayloadConflictError,
    ReadBackError,
    RecordNotFoundError,
    RegistryUnavailableError,
    SigningError,
)
from provenance.files import StagedFile
from provenance.imaging import decode_image, hash_pixels
from provenance.manifest.reading import read_manifest
from provenance.manifest.trust import AnchorKind, load_anchors, no_trust, with_anchors
from provenance.manifest.wiring import build_trust
from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker
from provenance.types import (
    Finding,
    GenerationRequest,
    Integrity,
    MediaType,
    RecordKind,
    SafetyPolicy,
    SignedAsset,
    SignerTrust,
    SourceClaim,
)
from provenance.watermark.wiring import build_mark_reader
from registry.check import check_consistency
from registry.wiring import open_registry

REQUEST = GenerationRequest(prompt="a red house on a hill, PRIVATE-WORD", seed=4, steps=2)


class Home:
    """One deployment in a folder, with a drawn pipeline in place of the model."""

    def __init__(self, folder: Path) -> None:
        self.settings = load_settings(environ={}, home=folder)
        self.generator = build_generator(self.settings)
        self.studio = Studio(GradientPipeline(), LuminanceChecker())

    @property
    def service(self) -> GenerationService:
        return replace(self.generator.service, open_studio=lambda _: self.studio)

    def generate(self, request: GenerationRequest = REQUEST, **changes: object):
        service = replace(self.service, **changes)
        return service.generate(request, lambda _report: None)

    def assert_nothing_remains(self) -> None:
        store = open_registry(self.settings)
        assert store.count() == 0
        assert check_consistency(store.engine, now=datetime.now(UTC)).problems == ()
        assert [p for p in self.settings.assets_folder.rglob("*") if p.is_file()] == []


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.mark.parametrize("media_type", [MediaType.PNG, MediaType.JPEG, MediaType.WEBP])
def test_a_delivery_carries_all_four_marks(home: Home, media_type: MediaType) -> None:
    request = replace(REQUEST, media_type=media_type)
    delivery = home.generate(request)
    asset, record = delivery.asset, delivery.record

    # (1) a manifest that is bound, trusted here, and says what made it
    trust = build_trust(home.settings)
    report = read_manifest(asset.image.data, media_type, trust=trust)
    assert report.integrity is Integrity.INTACT
    assert report.signer is SignerTrust.TRUSTED
    assert report.claim is SourceClaim.FULLY_AI
    assert [b.alg for b in report.soft_bindings] == [
        "org.countermark.lattice.1",
        "org.countermark.pdq.1",
    ]
    assert report.soft_bindings[0].value == f"1*{record.record_id}"

    # (2) a watermark in the delivered bytes that names the record
    pixels = decode_image(asset.image.data)
    reader = build_mark_reader(home.settings)
    assert reader is not None
    mark = reader.read(pixels)
    assert (mark.finding, mark.record_id) == (Finding.PRESENT, record.record_id)

    # (3) a record with fingerprints, (4) under the log
    stored = home.generator.store.get(record.record_id)
    assert stored.kind is RecordKind.GENERATED
    assert stored.asset.sha256 == asset.sha256
    assert stored.asset.pixel_sha256 == hash_pixels(pixels)
    assert stored.fingerprints.perceptual_hash is not None
    assert stored.manifest_store == asset.manifest_store
    assert home.generator.store.log_head().size == 1
    assert home.generator.assets is not None
    assert home.generator.assets.get(asset.sha256) == asset.image.data


def test_what_cannot_carry_a_mark_is_delivered_where_policy_says_so(tmp_path: Path) -> None:
    (tmp_path / "countermark.toml").write_text("[watermark]\ndeliver_unmarkable = true\n")
    home = Home(tmp_path)
    delivery = home.generate(replace(REQUEST, media_type=MediaType.JPEG, quality=1))
    assert delivery.record.watermark is None
    report = read_manifest(
        delivery.asset.image.data, MediaType.JPEG, trust=build_trust(home.settings)
    )
    assert report.integrity is Integrity.INTACT
    assert [b.alg for b in report.soft_bindings] == ["org.countermark.pdq.1"]
    assert home.generator.store.get(delivery.record.record_id).watermark is None


def test_the_prompt_leaves_only_as_a_keyed_hash(home: Home) -> None:
    delivery = home.generate()
    database = (home.settings.home / "registry.sqlite3").read_bytes()
    log = home.settings.home / "registry.sqlite3-wal"
    everything = delivery.asset.image.data + database + (log.read_bytes() if log.exists() else b"")
    assert b"PRIVATE-WORD" not in everything
    assert len(str(delivery.record.parameters["prompt_hmac"])) == 64


def test_an_operator_may_opt_in_to_prompts(tmp_path: Path) -> None:
    (tmp_path / "countermark.toml").write_text("[manifest]\ninclude_prompt = true\n")
    delivery = Home(tmp_path).generate()
    assert b"PRIVATE-WORD" in delivery.asset.image.data
    assert "PRIVATE-WORD" in str(delivery.record.parameters["prompt"])


def test_equal_requests_get_different_records(home: Home) -> None:
    first, second = home.generate(), home.generate()
    assert first.record.record_id != second.record.record_id
    assert home.generator.store.count() == 2


def test_a_blocked_picture_leaves_reasons_and_no_picture(home: Home) -> None:
    home.studio = Studio(GradientPipeline(), LuminanceChecker(threshold=0.0))
    with pytest.raises(ContentBlockedError, match="flagged it: bright") as caught:
        home.generate()
    assert caught.value.report.flagged == ("bright",)
    assert caught.value.refusal_id is not None
    home.assert_nothing_remains()
    assert home.generator.store.log_head().size == 1  # the refusal is in the log


def test_a_flagged_picture_is_delivered_with_its_scores(home: Home) -> None:
    home.studio = Studio(GradientPipeline(), LuminanceChecker(threshold=0.0))
    delivery = home.generate(safety_policy=SafetyPolicy.FLAG)
    assert delivery.record.safety is not None
    assert delivery.record.safety.flagged == ("bright",)
    assert b"luminance" in delivery.asset.manifest_store


class BrokenPipeline(GradientPipeline):
    def render(self, request, on_step, *, resume=None):
        raise GenerationError("out of memory")


@pytest.mark.parametrize(
    ("pipeline", "request_", "error"),
    [
        (BrokenPipeline(), REQUEST, GenerationError),
        (GradientPipeline(), replace(REQUEST, media_type=MediaType.JPEG, quality=1), ReadBackError),
        (GradientPipeline(), replace(REQUEST, width_px=128, height_px=128), CapacityError),
    ],
)
def test_a_failure_before_the_record_leaves_nothing(
    home: Home, pipeline: GradientPipeline, request_: GenerationRequest, error: type[Exception]
) -> None:
    home.studio = Studio(pipeline, LuminanceChecker())
    with pytest.raises(error):
        home.generate(request_)
    home.assert_nothing_remains()


class BrokenSigner:
    def sign(self, image: object, claim: object) -> SignedAsset:
        raise SigningError("the key service is down")


def test_a_failing_signature_delivers_nothing(home: Home) -> None:
    with pytest.raises(SigningError, match="key service"):
        home.generate(marks=replace(home.service.marks, signer=BrokenSigner()))
    home.assert_nothing_remains()


def test_a_sink_without_room_delivers_nothing_and_writes_no_record(
    home: Home, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")

    def full(asset: SignedAsset) -> StagedFile:
        return StagedFile(tmp_path / "file" / "out.png", asset.image.data)

    with pytest.raises(DeliveryError, match="cannot be written"):
        home.service.generate(REQUEST, lambda _report: None, full)
    home.assert_nothing_remains()


def test_a_registry_that_went_away_delivers_nothing(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    engine = create_engine(home.settings.registry_url)

    def sink(asset: SignedAsset) -> StagedFile:
        with engine.begin() as connection:  # the database loses its table just before W8
            connection.execute(text("ALTER TABLE records RENAME TO gone"))
        return StagedFile(out, asset.image.data)

    with pytest.raises(RegistryUnavailableError):
        home.service.generate(REQUEST, lambda _report: None, sink)
    assert not out.exists()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO records"))
    engine.dispose()
    home.assert_nothing_remains()


def test_a_rendered_picture_is_finished_by_another_process(home: Home) -> None:
    rendered = home.service.render(REQUEST, lambda _report: None)
    assert home.generator.store.count() == 0
    copy = pickle.loads(pickle.dumps(rendered))
    assert not copy.raster.pixels.flags.writeable
    delivery = pickle.loads(pickle.dumps(home.service.finish(copy)))
    assert delivery.record.record_id == rendered.reservation.record_id
    assert home.generator.store.get(delivery.record.record_id).asset == delivery.record.asset
    with pytest.raises(PayloadConflictError):  # one rendering never makes two records
        home.service.finish(rendered)
    assert home.generator.store.count() == 1


def test_a_discarded_rendering_leaves_nothing(home: Home) -> None:
    rendered = home.service.render(REQUEST, lambda _report: None)
    home.service.discard(rendered)
    with pytest.raises(PayloadConflictError, match="released"):
        home.service.finish(rendered)
    home.assert_nothing_remains()


KILL_POINTS = {
    "W2": "generator.service.GenerationService._released_on_error",
    "W3": "provenance.testing.twins_generation.GradientPipeline.render",
    "W4": "generator.service.check_image",
    "W4b": "generator.service.GenerationService.finish",
    "W5": "generator.marks.Marks.mark",
    "W6": "generator.marks.Marks.fingerprint",
    "W7": "generator.marks.Marks.sign",
    "W7b": "generator.marking.describe_asset",
    "W8": "registry.store.SqlRecordStore.commit",
    "W9": "deliver_to",
    "W9 kept": "registry.assets.StagedAsset.publish",
}

KILLED = textwrap.dedent(
    """
    import os, sys
    from dataclasses import replace
    from pathlib import Path
    from pydoc import locate
    from provenance.config import load_settings
    from generator.service import Studio
    from generator.wiring import build_generator
    from provenance.files import StagedFile
    from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker
    from provenance.types import GenerationRequest

    home, out, point = sys.argv[1:]
    owner, _, name = point.rpartition(".")
    die = lambda *a, **k: os.kill(os.getpid(), 9)
    if owner:
        setattr(locate(owner), name, die)
    staged = StagedFile if owner else type("Killer", (StagedFile,), {"publish": die})
    studio = Studio(GradientPipeline(), LuminanceChecker())
    service = build_generator(load_settings(environ={}, home=Path(home))).service
    service = replace(service, open_studio=lambda _: studio)
    service.generate(
        GenerationRequest(prompt="a tree", seed=1, steps=1),
        lambda _report: None,
        lambda asset: staged(Path(out), asset.image.data),
    )
    """
)


@pytest.mark.parametrize("step", list(KILL_POINTS))
def test_a_killed_process_leaves_nothing_half_written(tmp_path: Path, step: str) -> None:
    home, out = tmp_path / "home", tmp_path / "out" / "picture.png"
    out.parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home), str(out), KILL_POINTS[step]],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == -9
    assert list(out.parent.iterdir()) == []  # neither the picture nor a part of it
    store = open_registry(load_settings(environ={}, home=home))
    assert check_consistency(store.engine, now=datetime.now(UTC)).problems == ()
    # Between commit and rename the record stands and the file is missing; never the other way.
    assert store.count() == (1 if step.startswith("W9") else 0)
    # The next run works as if nothing had happened, and delivers what was registered.
    restarted = Home(home)
    assert restarted.generator.assets is not None
    kept = [p for p in (home / "assets").rglob("*") if p.is_file() and ".staged" not in p.parts]
    assert len(kept) == store.count()  # no bytes are kept without their record
    for record in store.list_records(limit=9):
        assert restarted.generator.assets.get(record.asset.sha256)
    assert restarted.generate().record.record_id


def test_signing_over_a_signed_picture_is_refused(home: Home) -> None:
    delivery = home.generate()
    signer = home.service.marks.signer
    with pytest.raises(SigningError, match="manifest"):
        signer.sign(delivery.asset.image, _any_claim(home))


def _any_claim(home: Home):
    from provenance.manifest.selftest import _claim

    return _claim()


def test_records_name_unknown_ids_clearly(home: Home) -> None:
    with pytest.raises(RecordNotFoundError, match="0000000000000000"):
        home.generator.store.get("0000000000000000")


def test_the_anchor_file_of_the_deployment_is_its_own_root(home: Home) -> None:
    delivery = home.generate()
    own = with_anchors(no_trust(), [load_anchors(home.settings.dev_root_file, AnchorKind.MANIFEST)])
    report = read_manifest(delivery.asset.image.data, MediaType.PNG, trust=own)
    assert report.signer is SignerTrust.TRUSTED
    stranger = read_manifest(delivery.asset.image.data, MediaType.PNG, trust=no_trust())
    assert stranger.signer is SignerTrust.UNTRUSTED
    assert stranger.integrity is Integrity.INTACT
