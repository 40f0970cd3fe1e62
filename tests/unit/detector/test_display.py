"""What people see on a terminal; texts of strangers can neither style nor steer it."""

from __future__ import annotations

from typing import Any

import pytest

from detector.display import show_answers
from detector.policy import STANDARD, decide
from detector.policy_file import load_policy
from detector.schemas import VerdictView, view_verdict
from provenance.errors import InputError
from provenance.types import (
    Assurance,
    Credential,
    Finding,
    KnownMarkEvidence,
    ManifestEvidence,
    ManifestReport,
    MarkGeometry,
    MarkRegion,
    MatchBasis,
    MatchTier,
    MetadataEvidence,
    Origin,
    RecordId,
    RegistryEvidence,
    SignpostEvidence,
    SourceClaim,
    SourceFailure,
    Verdict,
    VisibleMarkEvidence,
    WatermarkEvidence,
)


def verdict() -> Verdict:
    evidence = (
        ManifestEvidence(Finding.ABSENT, "No manifest.", ManifestReport(Credential.NONE)),
        WatermarkEvidence(
            Finding.PRESENT,
            "A mark.",
            "stripe",
            RecordId("0" * 16),
            1e-9,
            "k1",
            margin=0.75,
            geometry=MarkGeometry(
                mirrored=True, rotation_deg=7.0, scale=1.5, stretch=1.0, shear=0.0
            ),
            region=MarkRegion(1, 2, 30, 40),
        ),
        SignpostEvidence(Finding.PRESENT, "A signpost.", "acme.io/cm", 1e-9),
        KnownMarkEvidence(Finding.PRESENT, "A known mark.", "FLUX", SourceClaim.FULLY_AI),
        RegistryEvidence(Finding.ABSENT, "No record."),
        MetadataEvidence(Finding.PRESENT, "A label.", tool="x", detail={"steps": 20}),
        VisibleMarkEvidence(Finding.PRESENT, "A name.", "Alamy", "alamy", 1.0),
        SourceFailure("other", "It broke."),
    )
    return Verdict(
        Origin.MACHINE_MADE,
        Assurance.HINT,
        RecordId("0" * 16),
        evidence,
        ("First.", "Second.", "A mark.", "More."),
        STANDARD.policy_id,
        {"C2PA": "2026-08-05"},
    )


def view(**changes: Any) -> VerdictView:
    return view_verdict(verdict(), file="a.png", sha256="0" * 64, **changes)


def test_view_has_the_promised_fields_and_reads_back() -> None:
    dumped = view().model_dump(mode="json")
    assert list(dumped) == [
        "file",
        "sha256",
        "origin",
        "assurance",
        "record_id",
        "evidence",
        "means",
        "does_not_mean",
        "reasons",
        "contradictions",
        "policy_id",
        "filter_action",
        "filter_reason",
        "list_dates",
        "claimant",
        "error",
    ]
    assert [item["source"] for item in dumped["evidence"]] == [
        "c2pa",
        "watermark",
        "signpost",
        "known_watermark",
        "registry",
        "metadata",
        "visible_mark",
        "other",
    ]
    assert all({"source", "finding", "reason"} <= item.keys() for item in dumped["evidence"])
    assert VerdictView.model_validate(dumped) == view()
    assert dumped["evidence"][1] == {
        "source": "watermark",
        "finding": "present",
        "reason": "A mark.",
        "codec": "stripe",
        "record_id": "0" * 16,
        "p_value": 1e-9,
        "key_id": "k1",
        "margin": 0.75,
        "geometry": {
            "mirrored": True,
            "rotation_deg": 7.0,
            "scale": 1.5,
            "stretch": 1.0,
            "shear": 0.0,
        },
        "region": {"left_px": 1, "top_px": 2, "width_px": 30, "height_px": 40},
    }


def test_a_view_under_another_policy_than_decided_is_refused() -> None:
    with pytest.raises(InputError, match="strict-1/"):
        view(policy=load_policy("strict"))


def test_answers_show_origin_assurance_evidence_and_reasons(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_answers([view().model_dump(mode="json"), {"file": "b", "error": "b does not exist"}])
    shown = capsys.readouterr()
    for words in ("machine_made", "hint", "A mark.", "Second.", "More.", "other"):
        assert words in shown.out
    assert shown.out.count("A mark.") == 1
    assert "b does not exist" in shown.err


@pytest.mark.parametrize("text", ["[bold]x[/]", "\x1b[31mred\x1b[0m", "a\nb", "[/"])
def test_texts_of_strangers_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    answer = view().model_dump(mode="json")
    answer["file"] = answer["reasons"][1] = text
    show_answers([answer, {"file": text, "error": f"{text} is odd"}])
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    if text.isprintable():
        assert text in shown.out
        assert text in shown.err


def test_both_sides_of_a_contradiction_stand_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    evidence = [
        MetadataEvidence(Finding.PRESENT, "Left [b]reason[/].", claim=SourceClaim.FULLY_AI),
        MetadataEvidence(Finding.PRESENT, "Right reason.", claim=SourceClaim.CAPTURE),
    ]
    answer = view_verdict(decide(evidence, STANDARD, {}), file="a.png", sha256="0" * 64).model_dump(
        mode="json"
    )
    (pair,) = answer["contradictions"]
    assert pair == {
        "left": [
            {
                "says": "A machine made this picture.",
                "source": "metadata",
                "assurance": "hint",
                "reason": "Left [b]reason[/].",
            }
        ],
        "right": [
            {
                "says": "A camera captured this picture.",
                "source": "metadata",
                "assurance": "hint",
                "reason": "Right reason.",
            }
        ],
    }
    show_answers([answer])
    lines = capsys.readouterr().out.splitlines()
    (heads,) = [line for line in lines if "A machine made this picture." in line]
    assert "A camera captured this picture." in heads
    (reasons,) = [line for line in lines if "metadata, hint: Left [b]reason[/]." in line]
    assert "metadata, hint: Right reason." in reasons


def test_a_transplant_shows_what_the_mark_and_what_the_registry_says() -> None:
    mark = WatermarkEvidence(Finding.PRESENT, "A mark names it.", "x", RecordId("a" * 16), 0.0, "k")
    hit = RegistryEvidence(
        Finding.PRESENT,
        "It differs.",
        MatchBasis.WATERMARK,
        MatchTier.TRANSPLANT,
        RecordId("a" * 16),
    )
    (pair,) = decide([hit, mark], STANDARD, {}).contradictions
    (left,), (right,) = pair.left, pair.right
    assert (left.source, left.reason) == ("watermark", "A mark names it.")
    assert (right.source, right.reason) == ("registry", "It differs.")
    assert (left.assurance, right.assurance) == (Assurance.HINT, Assurance.REGISTERED)
