"""Every file with a known right answer gets that answer, and no connection is opened."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detector.wiring import build_detector
from provenance.config import load_settings
from provenance.types import Finding, Integrity, ManifestEvidence, MetadataEvidence

if TYPE_CHECKING:
    from detector.service import DetectorService
    from provenance.types import ManifestReport, Verdict

DATA = Path(__file__).parents[3] / "shared" / "data"
TRUST = DATA / "c2pa" / "trust"

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="the files with known answers are not here"),
    pytest.mark.disable_socket,
]


def expected_answers() -> list[Any]:
    if not DATA.is_dir():
        return []
    answers = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
    return [pytest.param(a, id=f"{a['path']}-{a['anchors']}") for a in answers]


@cache
def detector(anchors: str) -> DetectorService:
    """A machine that has nothing but the anchors named, as ``default`` or ``A.pem + B.pem``."""
    settings = load_settings(environ={}, home=Path("/nonexistent/countermark"))
    named = [] if anchors == "default" else [TRUST / name for name in anchors.split(" + ")]
    return build_detector(
        settings,
        anchors=[path for path in named if "tsa" not in path.name],
        tsa_anchors=[path for path in named if "tsa" in path.name],
    )


def verify(path: str, anchors: str = "default") -> Verdict:
    return detector(anchors).verify((DATA / path).read_bytes(), name=path)


@pytest.mark.parametrize("answer", expected_answers())
def test_file_gets_its_answer(answer: dict[str, str]) -> None:
    verdict = verify(answer["path"], answer["anchors"])
    assert (verdict.origin, verdict.assurance) == (answer["origin"], answer["assurance"])
    assert verdict.record_id is None
    assert verdict.list_dates


def report_of(verdict: Verdict) -> ManifestReport:
    (evidence,) = (e for e in verdict.evidence if isinstance(e, ManifestEvidence))
    return evidence.report


DEV = "test_dev_root.pem"


@pytest.mark.parametrize(
    ("path", "anchors", "words"),
    [
        ("generators/openai_gptimage2_tampered.png", "default", "unbound"),
        ("generators/bfl_flux2_signed_expired.jpg", "default", "Expired does not mean tampered"),
        ("generators/c2pa_edit_not_ai.jpg", "default", "alone is no sign of AI"),
        ("generators/synthetic/07-iptc-unrecognised-term.jpg", "default", "does not know"),
        ("generators/synthetic/20-corrupt-xmp.jpg", "default", "not well-formed"),
        ("c2pa/c2pa-org/adobe-20220124-A.jpg", "default", "does not mean that a person made it"),
        ("c2pa/c2pa-org/adobe-20220124-CIE-sig-CA.jpg", "default", "already damaged"),
        ("c2pa/c2pa-org/adobe-20220124-E-dat-CA.jpg", "default", "changed after it was signed"),
        ("c2pa/c2pa-org/adobe-20220124-E-uri-CA.jpg", "default", "manifest itself was altered"),
        ("c2pa/c2pa-rs/CACAE-uri-CA.jpg", "default", "already damaged"),
        ("c2pa/c2pa-rs/cloud.jpg", "default", "no connection was made"),
        ("c2pa/c2pa-rs/prerelease.jpg", "default", "damaged or of a kind"),
        ("c2pa/synthetic/s04_one_pixel_tampered.png", DEV, "this file is not that file"),
        ("c2pa/synthetic/s07_impostor_openai_subject.png", DEV, "no trust list vouches"),
        ("c2pa/synthetic/s08_expired_no_timestamp.png", DEV, "Expired does not mean tampered"),
        ("c2pa/synthetic/s09_remote_manifest_ssrf.jpg", DEV, "no connection was made"),
        ("c2pa/synthetic/s11_edit_of_tampered_parent.png", DEV, "already damaged"),
        ("c2pa/synthetic/s12_claims_camera_capture.png", DEV, "a signed claim, not proof"),
        ("c2pa/synthetic/s19_truncated_manifest.png", DEV, "damaged or of a kind"),
    ],
)
def test_reasons_say_why(path: str, anchors: str, words: str) -> None:
    assert words in " ".join(verify(path, anchors).reasons)


def test_the_impostor_is_never_called_by_the_name_it_gave_itself() -> None:
    verdict = verify("c2pa/synthetic/s07_impostor_openai_subject.png", DEV)
    assert report_of(verdict).signer_name is None
    assert "OpenAI" not in " ".join([*verdict.reasons, *(e.reason for e in verdict.evidence)])


@pytest.mark.parametrize(
    "path",
    [
        "c2pa/synthetic/s16_real_openai_manifest_on_other_pixels.png",
        "c2pa/synthetic/s17_real_google_manifest_on_other_pixels.png",
    ],
)
def test_a_real_manifest_moved_onto_other_pixels_speaks_for_nobody(path: str) -> None:
    verdict = verify(path)
    assert report_of(verdict).integrity is Integrity.CONTENT_CHANGED
    assert not any(name in " ".join(verdict.reasons) for name in ("OpenAI", "Google"))


NAMED = [
    ("a1111_jpeg.jpg", "AUTOMATIC1111", "v1.10.1", "JPEG EXIF UserComment"),
    ("a1111_1px.png", "AUTOMATIC1111", None, "PNG tEXt parameters"),
    ("forge_neo_AIGC_trap.png", "Stable Diffusion WebUI Forge Neo", "neo", "PNG iTXt parameters"),
    ("comfyui_1px.png", "ComfyUI", None, "PNG tEXt prompt"),
    ("comfyui_exif_make.jpeg", "ComfyUI", None, "JPEG EXIF Make"),
    ("swarmui.jpg", "SwarmUI", "0.9.7.4", "JPEG EXIF UserComment"),
    ("invokeai_metadata_1px.png", "InvokeAI", None, "PNG tEXt invokeai_metadata"),
    ("invokeai_dream_1px.png", "InvokeAI", None, "PNG tEXt Dream"),
    ("fooocus_1px.png", "Fooocus", "Fooocus v2.4.3", "PNG tEXt parameters"),
    (
        "novelai_signed.webp",
        "NovelAI",
        "NovelAI Diffusion V4.5 C02D4F98",
        "WebP EXIF UserComment",
    ),
    (
        "novelai_signed.webp",
        "NovelAI",
        "NovelAI Diffusion V4.5 C02D4F98",
        "lowest bits of alpha (stealth_pngcomp)",
    ),
    ("midjourney_v5.png", "Midjourney", "5.2", "PNG tEXt Description"),
    ("doubao_tc260.png", "Doubao", None, "PNG iTXt XML:com.adobe.xmp TC260:AIGC"),
    ("synthetic/18-contradiction.jpg", "Midjourney", None, None),
]
"""Tool, version and place as the files' README names them."""


@pytest.mark.parametrize(("name", "tool", "version", "place"), NAMED)
def test_tool_version_and_place_are_named(
    name: str, tool: str, version: str | None, place: str | None
) -> None:
    named = [
        e
        for e in verify(f"generators/{name}").evidence
        if isinstance(e, MetadataEvidence) and e.tool == tool
    ]
    assert place is None or place in [e.place for e in named]
    assert version is None or version in [e.version for e in named]
    assert named
    signed = [e.signed_by for e in named if e.signed_by]
    assert signed == (["NovelAI"] * 2 if tool == "NovelAI" else [])


def test_no_label_is_found_by_letters_that_occur_in_the_picture_data() -> None:
    found = verify("generators/forge_neo_AIGC_trap.png").evidence
    labels = [e for e in found if isinstance(e, MetadataEvidence)]
    assert [e.tool for e in labels] == ["Stable Diffusion WebUI Forge Neo"]


@pytest.mark.skipif(not DATA.is_dir(), reason="the photographs are not here")
@pytest.mark.parametrize("folder", ["photos", "photos/graphics", "camera"])
def test_no_photograph_is_called_machine_made(folder: str) -> None:
    for path in sorted((DATA / folder).glob("*.*g")):
        verdict = verify(f"{folder}/{path.name}")
        assert (verdict.origin, verdict.assurance) == ("unknown", "none"), path.name
        assert not any(
            e.finding is Finding.PRESENT and e.source != "metadata" for e in verdict.evidence
        )
