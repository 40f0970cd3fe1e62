"""How hard verification looks for our mark, and what it says of what it found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import detector.wiring
from detector.cli import filter_app
from detector.evidence.context import SourceContext
from detector.evidence.watermark import build_source
from detector.service import Depth, DetectorService
from detector.wiring import build_context
from provenance.config import load_settings
from provenance.errors import ConfigError
from provenance.manifest.trust import no_trust
from provenance.testing.sources import picture_candidate
from provenance.types import Finding, MarkGeometry, MarkRegion, WatermarkEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provenance.types import RasterImage
    from provenance.watermark.payload import WatermarkKey

FOUND = WatermarkEvidence(
    Finding.PRESENT,
    "our mark",
    "lattice",
    p_value=1e-9,
    margin=0.5,
    geometry=MarkGeometry(mirrored=False, rotation_deg=7.0, scale=1.0, stretch=1.0, shear=0.0),
    region=MarkRegion(0, 0, 96, 96),
)


@dataclass
class FakeReader:
    """Finds the mark in a search only."""

    searched: list[bool] = field(default_factory=list)

    def read_beside(
        self, raster: RasterImage, other: Sequence[WatermarkKey], *, thorough: bool = False
    ) -> tuple[WatermarkEvidence, None]:
        del raster, other
        self.searched.append(thorough)
        absent = WatermarkEvidence(Finding.ABSENT, "no mark", "lattice")
        return (FOUND if thorough else absent), None


def answer(search: Depth, depth: Depth) -> tuple[FakeReader, WatermarkEvidence]:
    reader = FakeReader()
    context = SourceContext(trust=no_trust(), mark_reader=lambda: reader, mark_search=search)  # type: ignore[arg-type,return-value]
    service = DetectorService([build_source(context)])
    (item,) = service.examine(picture_candidate(), depth=depth).evidence
    assert isinstance(item, WatermarkEvidence)
    return reader, item


def test_verification_searches_and_tells_what_it_found() -> None:
    reader, item = answer(Depth.THOROUGH, Depth.THOROUGH)
    assert reader.searched == [True]
    reason = (
        "Our mark; chance of a false report at most 1.0e-09; margin 50%; since it was marked: "
        "turned 7.0° clockwise; found in 96x96 pixels at (0, 0)."
    )
    assert item == replace(FOUND, reason=reason)


@pytest.mark.parametrize(
    ("search", "depth"),
    [(Depth.FAST, Depth.THOROUGH), (Depth.THOROUGH, Depth.FAST), (Depth.FAST, Depth.FAST)],
)
def test_the_setting_or_the_caller_may_ask_for_a_look_alone(search: Depth, depth: Depth) -> None:
    reader, item = answer(search, depth)
    assert reader.searched == [False]
    assert (item.finding, item.reason) == (Finding.ABSENT, "No mark.")


def test_the_search_is_a_setting() -> None:
    def search_of(**environ: str) -> Depth:
        settings = load_settings(environ={"COUNTERMARK_HOME": "/nowhere", **environ})
        return build_context(settings).mark_search

    assert search_of() is Depth.THOROUGH
    assert search_of(COUNTERMARK_WATERMARK_SEARCH="fast") is Depth.FAST
    with pytest.raises(ConfigError, match="thorough or fast"):
        search_of(COUNTERMARK_WATERMARK_SEARCH="deep")


def test_filtering_never_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []

    def build(settings: object, **_options: object) -> DetectorService:
        searches.append(settings.watermark.search)  # type: ignore[attr-defined]
        return DetectorService([])

    monkeypatch.setattr(detector.wiring, "build_detector", build)
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COUNTERMARK_WATERMARK_SEARCH", "thorough")
    (tmp_path / "in").mkdir()
    done = CliRunner().invoke(filter_app, [str(tmp_path / "in"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert searches == ["fast"]
