"""A detector composed from settings: late registries, broken parts, sources of others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from deliveries import make_home

from detector.wiring import build_detector
from provenance.config import load_settings
from provenance.errors import UnknownBackendError
from provenance.imaging import encode_image
from provenance.testing.pictures import natural_picture
from provenance.types import Finding, MediaType, SourceFailure

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.config import Settings
    from provenance.types import Verdict

PHOTO = encode_image(natural_picture(200, 200, seed=4), MediaType.PNG).data


def findings(verdict: Verdict) -> dict[str, Finding]:
    return {item.source: item.finding for item in verdict.evidence}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(environ={}, home=tmp_path / "home")


def test_a_detector_that_starts_first_finds_what_is_generated_later(settings: Settings) -> None:
    detector = build_detector(settings)
    before = findings(detector.verify(PHOTO, name="photo"))
    assert before["registry"] is before["watermark"] is Finding.UNREADABLE
    assert not settings.home.exists()
    delivery = make_home(settings.home).deliver("a late start")
    verdict = detector.verify(delivery.asset.image.data, name="own")
    assert verdict.record_id == delivery.record.record_id


def test_a_damaged_registry_and_key_leave_the_other_sources_answering(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / "registry.sqlite3").write_bytes(b"no database at all" * 100)
    settings.watermark_key_file.parent.mkdir()
    settings.watermark_key_file.write_text("no key")
    settings.watermark_key_file.chmod(0o600)
    verdict = build_detector(settings).verify(PHOTO, name="photo")
    failed = {item.source for item in verdict.evidence if isinstance(item, SourceFailure)}
    assert {"registry", "watermark"} <= failed
    assert findings(verdict)["c2pa"] is Finding.ABSENT
    assert str(settings.home) not in " ".join(verdict.reasons)


def test_an_unknown_source_is_refused_by_name(settings: Settings) -> None:
    wrong = replace(settings, detector=replace(settings.detector, sources=("c2pa", "metdata")))
    with pytest.raises(UnknownBackendError, match="metadata"):
        build_detector(wrong)


def test_a_source_of_somebody_else_is_loaded_by_module_and_name(settings: Settings) -> None:
    named = ("detector.evidence.metadata:build_source",)
    chosen = replace(settings, detector=replace(settings.detector, sources=named))
    verdict = build_detector(chosen).verify(PHOTO, name="photo")
    assert set(findings(verdict)) == {"metadata"}
