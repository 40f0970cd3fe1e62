"""Known marks, written by the real encoder the way each program calls it, through the detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from benchmarks.foreign_marks import write_foreign_mark
from detector.evidence.known_marks import looking
from detector.evidence.known_marks.looking import Geometry
from detector.evidence.known_marks.source import KnownMarkSearch, KnownMarkSource
from detector.evidence.known_marks.table import KNOWN_MARKS, KnownMark
from detector.evidence.known_marks.thresholds import look_threshold, search_threshold
from detector.schemas import view_verdict
from detector.service import Depth, DetectorService
from generator.embedded.training.captions import Split, sample_spec
from generator.embedded.training.scenes import draw_scene
from provenance.imaging import encode_image
from provenance.testing.pictures import natural_picture
from provenance.types import (
    Assurance,
    Finding,
    KnownMarkEvidence,
    MediaType,
    Origin,
    RasterImage,
)
from provenance.watermark.codecs.dwt_reading import FrequencyMethod

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.types import Uint8Array
    from provenance.watermark.codecs.haar_planes import PixelPath

pytest.importorskip("imwatermark", reason="the real encoder, invisible-watermark, is not installed")


@dataclass(frozen=True)
class Way:
    """A mark and the path on which some program writes it."""

    mark: KnownMark
    path: PixelPath

    def __str__(self) -> str:
        return f"{self.mark.tool}, {self.path}"


WAYS = [Way(mark, path) for mark in KNOWN_MARKS for path in mark.writers]
SDXL = next(way for way in WAYS if way.mark.tool == "Stable Diffusion XL")


def scene(side_px: int = 512) -> RasterImage:
    return RasterImage(
        draw_scene(sample_spec(np.random.default_rng(3), Split.TEST), side_px=side_px)
    )


PICTURES = [scene(), natural_picture(768, 640, seed=8), natural_picture(333, 401, seed=9)]


def marked(
    way: Way, picture: RasterImage, method: FrequencyMethod = FrequencyMethod.DWT_DCT
) -> RasterImage:
    return write_foreign_mark(picture, np.array(way.mark.bits), path=way.path, method=method)


def service() -> DetectorService:
    return DetectorService([KnownMarkSource(), KnownMarkSearch()])


def png(raster: RasterImage) -> bytes:
    return encode_image(raster, MediaType.PNG).data


@pytest.mark.parametrize("picture", PICTURES, ids=["scene", "natural", "odd"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_clean_mark_is_found_and_named(way: Way, picture: RasterImage) -> None:
    verdict = service().verify(png(marked(way, picture)), name="marked", depth=Depth.FAST)
    (item,) = verdict.evidence
    assert isinstance(item, KnownMarkEvidence)
    assert (item.finding, item.tool, item.path) == (Finding.PRESENT, way.mark.tool, way.path)
    assert item.p_value is not None
    assert item.p_value <= 1e-6
    assert (verdict.origin, verdict.assurance) == (Origin.MACHINE_MADE, Assurance.HINT)
    assert "has no key" in item.reason


@pytest.mark.parametrize("picture", PICTURES, ids=["scene", "natural", "odd"])
def test_the_same_picture_without_a_mark_has_none(picture: RasterImage) -> None:
    verdict = service().verify(png(picture), name="plain")
    assert [item.finding for item in verdict.evidence] == [Finding.ABSENT, Finding.ABSENT]
    assert verdict.origin is Origin.UNKNOWN


@pytest.mark.parametrize("length", [32, 40, 48, 64, 96])
def test_an_unknown_message_is_not_taken_for_a_known_one(length: int) -> None:
    bits = np.random.default_rng(length).random(length) < 0.5
    picture = write_foreign_mark(scene(), bits, path=SDXL.path, method=FrequencyMethod.DWT_DCT)
    assert looking.look(picture.pixels).match.statistic < look_threshold()


CHANGES: dict[Geometry, Callable[[Uint8Array], Uint8Array]] = {
    Geometry.MIRRORED: lambda pixels: pixels[:, ::-1],
    Geometry.SCALED: lambda pixels: np.asarray(
        Image.fromarray(pixels).resize((384, 384), Image.Resampling.LANCZOS)
    ),
    Geometry.CROPPED: lambda pixels: pixels[61:461, 38:447],
}


@pytest.mark.parametrize("geometry", CHANGES)
@pytest.mark.parametrize("way", [SDXL, WAYS[0], WAYS[-1]], ids=str)
def test_a_search_undoes_what_was_done(way: Way, geometry: Geometry) -> None:
    changed = np.ascontiguousarray(CHANGES[geometry](marked(way, scene()).pixels))
    data = png(RasterImage(changed))
    fast = service().verify(data, name="changed", depth=Depth.FAST)
    assert [item.finding for item in fast.evidence] == [Finding.ABSENT]
    _, item = service().verify(data, name="changed").evidence
    assert isinstance(item, KnownMarkEvidence)
    assert (item.finding, item.tool) == (Finding.PRESENT, way.mark.tool)
    assert item.geometry == geometry


def test_a_search_reads_the_other_method_of_the_package() -> None:
    picture = marked(SDXL, scene(), FrequencyMethod.DWT_DCT_SVD)
    sighting = looking.search(picture.pixels, enough=search_threshold())
    assert sighting.match.statistic >= search_threshold()
    assert sighting.mark is SDXL.mark


def test_a_mark_in_a_flat_picture_is_found_before_the_picture_is_called_plain() -> None:
    grey = RasterImage(np.full((512, 512, 3), 128, dtype=np.uint8))
    for way in WAYS:
        assert looking.look(marked(way, grey).pixels).match.statistic >= look_threshold(), way


def test_the_answer_has_a_view() -> None:
    picture = marked(SDXL, scene())
    verdict = service().verify(png(picture), name="marked", depth=Depth.FAST)
    (view,) = view_verdict(verdict, file="marked", sha256="0" * 64).model_dump()["evidence"]
    assert view["source"] == "known_watermark"
    assert view["tool"] == "Stable Diffusion XL"
