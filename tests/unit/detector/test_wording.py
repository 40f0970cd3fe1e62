"""Each verdict says what it means, and what it does not mean, in words of its own."""

from __future__ import annotations

import itertools
import re

import pytest

from detector.opinions import CLAIMS, MACHINE, EvidenceKind, Opinion, Rung
from detector.wording import explain
from provenance.types import Assurance, MetadataEvidence, Origin
from provenance.types.evidence import Finding

ITEM = MetadataEvidence(Finding.PRESENT, "A label.")
LIMITS = re.compile(r"\b(not|no|nothing|nobody)\b", re.IGNORECASE)
SAYS = {
    Origin.MACHINE_MADE: "a machine made this picture",
    Origin.MACHINE_EDITED: "a machine made or changed part of this picture",
    Origin.HUMAN_CLAIMED: "a person made this picture",
    Origin.CAPTURE_CLAIMED: "a camera captured this picture",
}
LEADS = [
    (origin, rung, kind)
    for origin in Origin
    if origin is not Origin.UNKNOWN
    for rung, kind in itertools.product(Rung, EvidenceKind)
]


def both(origin: Origin, rung: Rung, kind: EvidenceKind) -> tuple[str, str]:
    means, limit, *_ = explain(origin, Opinion(origin, rung, kind, ITEM), [], ())
    return means, limit


def test_every_origin_and_assurance_has_both_sentences() -> None:
    seen = {(origin, rung.assurance) for origin, rung, _ in LEADS}
    assert seen == set(
        itertools.product(
            set(Origin) - {Origin.UNKNOWN}, [a for a in Assurance if a is not Assurance.NONE]
        )
    )
    for lead in LEADS:
        means, limit = both(*lead)
        assert SAYS.get(lead[0], "contradicts itself") in means
        assert means != limit
        assert LIMITS.search(limit), limit
        assert means.endswith(".")
        assert limit.endswith(".")


def test_nothing_found_means_nothing_and_no_person() -> None:
    means, limit, *rest = explain(Origin.UNKNOWN, None, [], ())
    assert "No evidence" in means
    assert "does not mean that a person made it" in limit
    assert rest == []


@pytest.mark.parametrize("origin", sorted(MACHINE))
def test_a_mere_hint_says_so(origin: Origin) -> None:
    for rung, kind in itertools.product(Rung, EvidenceKind):
        is_hint = rung.assurance is Assurance.HINT
        assert ("hint, not proof" in both(origin, rung, kind)[1]) == is_hint


@pytest.mark.parametrize("origin", sorted(CLAIMS))
def test_a_claim_is_never_told_as_a_fact(origin: Origin) -> None:
    for rung, kind in itertools.product(Rung, EvidenceKind):
        means, limit = both(origin, rung, kind)
        assert re.search(r"(says|hints) that|signed the statement|of which", means)
        assert "not proof" in limit


def test_an_unlisted_signature_names_nobody_as_its_author() -> None:
    for origin in (*MACHINE, *CLAIMS):
        limit = both(origin, Rung.UNLISTED_SIGNATURE, EvidenceKind.C2PA)[1]
        assert "anybody can make" in limit


def test_strengths_are_told_apart() -> None:
    told = {both(Origin.MACHINE_MADE, rung, EvidenceKind.METADATA)[0] for rung in Rung}
    assert len(told) == len(Rung)
    edited = both(Origin.MACHINE_EDITED, Rung.REGISTRY, EvidenceKind.REGISTRY)[1]
    assert "How large the machine's part is" in edited


def test_a_revoked_record_and_a_muted_signature_are_not_called_a_mark_or_a_label() -> None:
    revoked = both(Origin.MACHINE_MADE, Rung.UNCONFIRMED_MARK, EvidenceKind.REGISTRY)
    assert "revoked" in revoked[0]
    assert "watermark" not in " ".join(revoked)
    muted = both(Origin.MACHINE_MADE, Rung.UNSIGNED_LABEL, EvidenceKind.C2PA)[0]
    assert "unsigned" not in muted
