"""What becomes of our own pictures in the wild, and what others do with our marks.

Everything is real: pictures from the write path, SQLite, the c2pa engine, invisible-watermark.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from deliveries import DeliveringHome, make_home
from PIL import Image, ImageFilter

from detector.wiring import build_detector
from provenance.demo.attacks import change_one_pixel, move_manifest, strip_metadata
from provenance.fingerprint.wiring import build_hasher
from provenance.imaging import decode_image, encode_image, hash_pixels
from provenance.manifest import sdk
from provenance.testing.certificates import ThrowawayAuthority
from provenance.testing.pictures import natural_picture
from provenance.types import (
    EncodedImage,
    Finding,
    Fingerprints,
    ManifestEvidence,
    MatchTier,
    MediaType,
    RasterImage,
    RecordKind,
    RegistryEvidence,
    WatermarkPayload,
)
from provenance.watermark.marking import embed_mark
from provenance.watermark.wiring import build_codec, open_current_key
from registry.wiring import open_registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from detector.service import DetectorService
    from provenance.types import Delivery, Verdict

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> DeliveringHome:
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def delivery(home: DeliveringHome) -> Delivery:
    return home.deliver("a harbour in the morning")


@pytest.fixture(scope="module")
def authority() -> ThrowawayAuthority:
    return ThrowawayAuthority()


@pytest.fixture(scope="module")
def detector(
    home: DeliveringHome, authority: ThrowawayAuthority, tmp_path_factory: pytest.TempPathFactory
) -> DetectorService:
    """Trusts the authority too, as if it stood on a public list."""
    root: Path = tmp_path_factory.mktemp("trust") / "public.pem"
    root.write_bytes(authority.root_pem)
    return build_detector(home.settings, anchors=[root])


def picture_of(delivery: Delivery) -> Image.Image:
    return Image.open(io.BytesIO(delivery.asset.image.data)).convert("RGB")


def saved(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, file_format, **options)
    return out.getvalue()


def answer(verdict: Verdict) -> tuple[str, str]:
    return verdict.origin.value, verdict.assurance.value


def tiers(verdict: Verdict) -> set[MatchTier | None]:
    return {e.tier for e in verdict.evidence if isinstance(e, RegistryEvidence)}


def on_a_page(picture: Image.Image) -> Image.Image:
    page = Image.new("RGB", (900, 700), "white")
    page.paste(picture, (101, 67))
    return page


EDITS: dict[str, Callable[[Image.Image], bytes]] = {
    "saved as png": lambda p: saved(p, "PNG"),
    "saved as jpeg 90": lambda p: saved(p, "JPEG", quality=90),
    "saved as jpeg 75": lambda p: saved(p, "JPEG", quality=75),
    "saved as webp 80": lambda p: saved(p, "WEBP", quality=80),
    "a little brighter": lambda p: saved(p.point(lambda v: min(255, v + 6)), "PNG"),
    "mirrored": lambda p: saved(p.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG"),
    "turned a quarter": lambda p: saved(p.transpose(Image.Transpose.ROTATE_90), "JPEG"),
    "turned a little": lambda p: saved(p.rotate(5, Image.Resampling.BICUBIC), "PNG"),
    "turned, nothing cut off": lambda p: saved(
        p.rotate(-20, Image.Resampling.BICUBIC, expand=True), "PNG"
    ),
    "on a page": lambda p: saved(on_a_page(p), "PNG"),
    "half size": lambda p: saved(p.resize((256, 256), Image.Resampling.LANCZOS), "JPEG"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_copies_without_metadata_are_still_registered(
    detector: DetectorService, delivery: Delivery, edit: str
) -> None:
    verdict = detector.verify(EDITS[edit](picture_of(delivery)), name=edit)
    assert answer(verdict) == ("machine_made", "registered")
    assert verdict.record_id == delivery.record.record_id
    recovered = [
        e
        for e in verdict.evidence
        if isinstance(e, ManifestEvidence) and e.source == "c2pa_recovered"
    ]
    assert [e.report.manifest_label for e in recovered] == [delivery.record.manifest_label]


def test_a_losslessly_stripped_file_gets_its_credentials_back(
    detector: DetectorService, delivery: Delivery
) -> None:
    verdict = detector.verify(strip_metadata(delivery.asset).data, name="stripped")
    assert answer(verdict) == ("machine_made", "registered")
    assert "byte for byte" in " ".join(verdict.reasons)


def test_one_changed_pixel_breaks_the_manifest_but_not_the_answer(
    detector: DetectorService, delivery: Delivery
) -> None:
    verdict = detector.verify(change_one_pixel(delivery.asset).data, name="changed")
    assert answer(verdict) == ("machine_made", "registered")
    assert "this file is not that file" in " ".join(verdict.reasons)
    assert tiers(verdict) & {MatchTier.COPY_STRONG, MatchTier.COPY_VERIFIED}


def test_our_manifest_in_a_strangers_picture_makes_it_nothing(
    detector: DetectorService, delivery: Delivery
) -> None:
    verdict = detector.verify(move_manifest(delivery.asset).data, name="moved")
    assert answer(verdict) == ("unknown", "none")
    assert verdict.record_id is None
    assert "unbound" in " ".join(verdict.reasons)


def test_our_mark_in_a_strangers_picture_is_a_transplant(
    detector: DetectorService, home: DeliveringHome, delivery: Delivery
) -> None:
    """The strongest transplant there is: made with the service's own key."""
    marked = embed_mark(
        natural_picture(512, 512, seed=77),
        WatermarkPayload(delivery.record.record_id),
        key=open_current_key(home.settings),
        codec=build_codec(home.settings),
        encode=lambda raster: encode_image(raster, MediaType.PNG),
        decode=lambda encoded: decode_image(encoded.data),
    )
    verdict = detector.verify(marked.encoded.data, name="transplant")
    assert answer(verdict) == ("conflicting", "registered")
    assert tiers(verdict) == {None, MatchTier.TRANSPLANT}
    assert verdict.record_id == delivery.record.record_id
    assert "belongs to another picture" in " ".join(verdict.reasons)


def test_a_mark_copied_by_hand_never_makes_a_photograph_registered(
    detector: DetectorService, delivery: Delivery
) -> None:
    """An attacker without the key adds the fine grain of our picture to a photograph."""
    own = picture_of(delivery)
    grain = np.asarray(own, np.int16) - np.asarray(
        own.filter(ImageFilter.GaussianBlur(2)), np.int16
    )
    photograph = natural_picture(512, 512, seed=78).pixels.astype(np.int16)
    for strength in (1, 2, 4):
        forged = RasterImage(np.clip(photograph + strength * grain, 0, 255).astype(np.uint8))
        verdict = detector.verify(encode_image(forged, MediaType.PNG).data, name="forged")
        assert answer(verdict) in {("unknown", "none"), ("conflicting", "registered")}


def signed_as_photograph(authority: ThrowawayAuthority, picture: EncodedImage) -> bytes:
    definition = {
        "claim_generator_info": [{"name": "A camera", "version": "1"}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {
                    "actions": [
                        {"action": "c2pa.created", "digitalSourceType": IPTC + "digitalCapture"}
                    ],
                    "allActionsIncluded": True,
                },
            }
        ],
    }
    return sdk.sign_standard(
        picture, definition, signer=authority.issue().signer, tsa_url=None, deadline_s=10
    ).data


@pytest.mark.parametrize("edit", ["saved as png", "saved as jpeg 90"])
def test_a_registered_picture_signed_again_as_a_photograph_is_conflicting(
    detector: DetectorService, authority: ThrowawayAuthority, delivery: Delivery, edit: str
) -> None:
    data = EDITS[edit](picture_of(delivery))
    media_type = MediaType.PNG if edit.endswith("png") else MediaType.JPEG
    laundered = signed_as_photograph(authority, EncodedImage(data, media_type))
    verdict = detector.verify(laundered, name="laundered")
    assert answer(verdict) == ("conflicting", "registered")
    assert verdict.record_id == delivery.record.record_id
    # The same signature on an honest photograph is believed, as a claim.
    honest = encode_image(natural_picture(256, 256, seed=79), MediaType.PNG)
    verdict = detector.verify(signed_as_photograph(authority, honest), name="honest")
    assert answer(verdict) == ("capture_claimed", "signed_trusted")


def test_a_small_copy_that_lost_its_mark_is_known_by_its_looks(
    detector: DetectorService, delivery: Delivery
) -> None:
    """So little of the picture is left that no mark can be read."""
    small = picture_of(delivery).resize((96, 96), Image.Resampling.LANCZOS)
    verdict = detector.verify(saved(small, "JPEG", quality=40), name="small")
    assert answer(verdict) == ("machine_made", "registered")
    assert verdict.record_id == delivery.record.record_id
    assert tiers(verdict) == {MatchTier.COPY_STRONG}


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_crop_is_no_transplant_but_its_fingerprint_confirms_nothing(
    detector: DetectorService, delivery: Delivery, share: float
) -> None:
    side = round(512 * (1 - share) ** 0.5)
    part = picture_of(delivery).crop((40, 20, 40 + side, 20 + side))
    verdict = detector.verify(saved(part, "JPEG", quality=85), name="part")
    assert answer(verdict) in {("machine_made", "registered"), ("machine_made", "hint")}
    assert MatchTier.TRANSPLANT not in tiers(verdict)


def test_photographs_are_unknown_on_a_machine_with_marks_and_records(
    detector: DetectorService, delivery: Delivery
) -> None:
    for seed in range(8):
        data = encode_image(natural_picture(320, 240, seed=100 + seed), MediaType.JPEG).data
        verdict = detector.verify(data, name="photograph")
        assert answer(verdict) == ("unknown", "none")
        assert not [e for e in verdict.evidence if e.finding is Finding.PRESENT]


def test_a_record_of_an_edit_answers_machine_edited(
    home: DeliveringHome, delivery: Delivery
) -> None:
    """Kinds of records that later parts will write are already answered by their kind."""
    store = open_registry(home.settings)
    for seed, kind, origin in (
        (11, RecordKind.EDITED, "machine_edited"),
        (12, RecordKind.ATTESTED, "human_claimed"),
    ):
        data = encode_image(natural_picture(128, 128, seed=seed), MediaType.PNG).data
        raster = decode_image(data)
        store.commit(
            replace(
                delivery.record,
                record_id=store.reserve().record_id,
                kind=kind,
                asset=replace(
                    delivery.record.asset, pixel_sha256=hash_pixels(raster), sha256="0" * 64
                ),
                fingerprints=Fingerprints(build_hasher(home.settings).hash(raster)),
                manifest_label=f"urn:c2pa:{kind}",
            )
        )
        verdict = build_detector(home.settings).verify(data, name=kind)
        assert answer(verdict) == (origin, "registered")
