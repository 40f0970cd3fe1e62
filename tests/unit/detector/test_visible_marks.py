"""Overlays are told from patterns, garbled names from clean ones, and neither decides much."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.overlays import draw_overlay, draw_textures
from benchmarks.synthetic import draw_patterns
from detector.evidence.visible_marks import tesseract
from detector.evidence.visible_marks.legibility import (
    AGENCIES,
    Likeness,
    ReadWord,
    judge_word,
    read_names,
)
from detector.evidence.visible_marks.overlay import find_lattice
from detector.evidence.visible_marks.source import OverlaySource, TextSource
from detector.policy import STANDARD, choose_action, decide
from detector.policy_file import SHIPPED, load_policy
from detector.service import DetectorService
from provenance.errors import BackendUnavailableError
from provenance.imaging import encode_image, open_candidate
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import (
    Assurance,
    FilterAction,
    Finding,
    MatchBasis,
    MatchTier,
    MediaType,
    MetadataEvidence,
    Origin,
    RasterImage,
    RegistryEvidence,
    SourceClaim,
    SourceFailure,
    VisibleMarkEvidence,
)

if TYPE_CHECKING:
    from pathlib import Path


def softened() -> RasterImage:
    """As fine as photographs are at such a size; the twin is noise down to the pixel."""
    pixels = natural_picture(700, 600, seed=4).pixels
    return RasterImage(ndimage.gaussian_filter(pixels, (3, 3, 0)))


PHOTO = softened()


# -- the overlay -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_translucent_text_on_a_grid_is_found(seed: int) -> None:
    marked = draw_overlay(PHOTO, "shutterstock", opacity=0.5, seed=seed)
    assert not find_lattice(PHOTO.pixels).is_overlay
    found = find_lattice(marked.pixels)
    assert found.is_overlay
    # Light strokes lean one way, dark ones the other.
    lighter = float(marked.pixels.mean()) > float(PHOTO.pixels.mean())
    assert (found.lopsided > 0) == lighter


def test_patterns_that_are_drawn_repeat_but_are_no_overlay() -> None:
    found = [find_lattice(picture.pixels) for _, picture in draw_patterns(40, seed=21)]
    assert any(one.is_repeated for one in found)
    assert not any(one.is_overlay for one in found)


def test_photographed_textures_are_no_overlay() -> None:
    for name, picture in draw_textures(12, seed=5):
        assert not find_lattice(picture.pixels).is_overlay, name


@pytest.mark.parametrize("rgb", [(0, 0, 0), (255, 255, 255), (128, 10, 200)])
def test_a_flat_picture_has_no_overlay(rgb: tuple[int, int, int]) -> None:
    assert not find_lattice(flat_picture(300, 256, rgb=rgb).pixels).is_repeated


@pytest.mark.parametrize(("width", "height"), [(256, 256), (256, 5000), (4001, 257)])
def test_any_shape_is_answered(width: int, height: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert not find_lattice(noise).is_overlay


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "likeness"),
    [
        ("gettyimages", Likeness.CLEAN),
        ("SHUTTERSTOCK", Likeness.CLEAN),
        ("www.alamy.com", Likeness.CLEAN),
        ("123RF", Likeness.CLEAN),
        ("iSt0ck", Likeness.CLEAN),
        ("shutlerstock", Likeness.SLIP),
        ("dreamsti", Likeness.SLIP),
        ("gettyimag", Likeness.SLIP),
        ("utterst0ck", Likeness.SLIP),
        ("sutterso", Likeness.GARBLED),
        ("shuttesrtckk", Likeness.GARBLED),
        ("depostiphtos", Likeness.GARBLED),
    ],
)
def test_a_name_is_clean_or_garbled(text: str, likeness: Likeness) -> None:
    reading = judge_word(text)
    assert reading is not None
    assert reading.likeness is likeness
    assert (reading.legibility == 1.0) == (likeness is Likeness.CLEAN)


@pytest.mark.parametrize(
    "word", ["llama", "stock", "getting", "images", "dreams", "adobe", "photos", "", "!!", "x" * 99]
)
def test_common_words_are_no_name(word: str) -> None:
    assert judge_word(word) is None


def test_every_agency_is_read_from_its_own_name() -> None:
    for name, agency in AGENCIES.items():
        reading = judge_word(name)
        assert reading is not None
        assert (reading.agency, reading.likeness) == (agency, Likeness.CLEAN)


def test_a_name_of_two_words_is_read_on_one_line_only() -> None:
    one_line = [ReadWord("getty", 90.0, 1), ReadWord("images", 90.0, 1)]
    two_lines = [ReadWord("getty", 90.0, 1), ReadWord("images", 90.0, 2)]
    found = read_names(one_line)
    assert found is not None
    assert found.agency == "Getty Images"
    assert read_names(two_lines) is None


def test_one_clean_copy_says_that_the_others_were_misread() -> None:
    words = [ReadWord("sutterso", 95.0, 1), ReadWord("shutterstock", 40.0, 2)]
    found = read_names(words)
    assert found is not None
    assert found.likeness is Likeness.CLEAN


def test_letters_that_were_read_unsurely_are_not_called_garbled() -> None:
    assert read_names([ReadWord("sutterso", 60.0)]) is None
    assert read_names([ReadWord("sutterso", 80.0)]) is not None


# -- the program -------------------------------------------------------------------------------


TABLE = "\t".join(
    ["level", "page", "block", "par", "line", "word", "left", "top", "w", "h", "conf", "text"]
)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An executable on PATH that stands for tesseract: how it is called is under test here."""
    program = folder / tesseract.PROGRAM
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def answering(*words: tuple[str, float]) -> str:
    rows = [f"5\t1\t1\t1\t1\t{n}\t0\t0\t9\t9\t{c}\t{w}" for n, (w, c) in enumerate(words, 1)]
    return "cat > /dev/null\nprintf '%s\\n' " + " ".join(f"'{row}'" for row in [TABLE, *rows])


def test_the_program_gets_a_png_on_its_input_and_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the service")
    install(
        tmp_path,
        monkeypatch,
        f'cat > {tmp_path}/input; echo "$@" > {tmp_path}/arguments; env > {tmp_path}/environment',
    )
    program = tesseract.find_program()
    assert program == str(tmp_path / tesseract.PROGRAM)
    assert tesseract.read_words(PHOTO.pixels, program=program, timeout_s=20) == []
    sent = open_candidate((tmp_path / "input").read_bytes(), name="input")
    assert sent.media_type is MediaType.PNG
    assert sent.raster is not None
    assert np.array_equal(sent.raster.pixels, PHOTO.pixels)
    assert (tmp_path / "arguments").read_text() == "stdin stdout -l eng --psm 11 tsv\n"
    environment = (tmp_path / "environment").read_text()
    assert "OMP_THREAD_LIMIT=1" in environment
    assert "SECRET" not in environment


def test_its_table_becomes_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, answering(("getty", 91.5), ("images", 88), (" ", 95), ("x", -1)))
    words = tesseract.read_words(PHOTO.pixels, program=tesseract.PROGRAM, timeout_s=20)
    assert words == [ReadWord("getty", 91.5, 0), ReadWord("images", 88.0, 0)]


@pytest.mark.parametrize(
    ("script", "words"), [("exit 3", "code 3"), ("exec sleep 30", "did not answer")]
)
def test_a_program_that_fails_or_hangs_is_one_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    install(tmp_path, monkeypatch, script)
    with pytest.raises(BackendUnavailableError, match=words):
        tesseract.read_words(PHOTO.pixels, program=tesseract.PROGRAM, timeout_s=0.5)
    monkeypatch.setattr("detector.evidence.visible_marks.source.READING_TIMEOUT_S", 0.5)
    (failure,) = TextSource().collect(candidate_of(PHOTO))
    assert isinstance(failure, SourceFailure)
    assert words in failure.reason


@pytest.mark.skipif(tesseract.find_program() is None, reason="tesseract is not installed")
def test_a_clean_name_is_read_from_a_real_picture() -> None:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(flat_picture(700, 300, rgb=(70, 110, 90)).pixels)
    pen = ImageDraw.Draw(image)
    pen.text((60, 100), "shutterstock", fill=(245, 245, 245), font=ImageFont.load_default(80))
    (found,) = TextSource().collect(candidate_of(RasterImage(np.asarray(image))))
    assert isinstance(found, VisibleMarkEvidence)
    assert found.agency == "Shutterstock"
    assert found.claim is SourceClaim.NO_CLAIM


# -- verdicts ----------------------------------------------------------------------------------


def candidate_of(picture: RasterImage):  # type: ignore[no-untyped-def]
    return open_candidate(encode_image(picture, MediaType.PNG).data, name="x.png")


def verdict_on(picture: RasterImage):  # type: ignore[no-untyped-def]
    return DetectorService([OverlaySource(), TextSource()]).examine(candidate_of(picture))


def test_a_garbled_name_alone_is_a_hint_to_be_reviewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, answering(("sutterso", 93.0)))
    verdict = verdict_on(PHOTO)
    assert (verdict.origin, verdict.assurance) == (Origin.MACHINE_MADE, Assurance.HINT)
    assert any('"sutterso"' in reason for reason in verdict.reasons)
    actions = {name: choose_action(verdict, load_policy(name)) for name in SHIPPED}
    assert actions["default"] == (
        FilterAction.REVIEW,
        "machine_made.hint.visible_mark",
    )
    assert actions["strict"][0] is FilterAction.DROP
    assert actions["lenient"][0] is FilterAction.KEEP


def test_a_clean_name_and_an_overlay_are_shown_and_decide_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, answering(("shutterstock", 93.0)))
    verdict = verdict_on(draw_overlay(PHOTO, "shutterstock", opacity=0.5, seed=1))
    assert (verdict.origin, verdict.assurance) == (Origin.UNKNOWN, Assurance.NONE)
    overlay, name = verdict.evidence
    assert overlay.finding is Finding.PRESENT
    assert overlay.overlay
    assert (name.agency, name.legibility) == ("Shutterstock", 1.0)
    assert choose_action(verdict, STANDARD)[0] is FilterAction.KEEP


def test_text_is_not_read_where_more_than_a_hint_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, f"touch {tmp_path}/was_called; cat > /dev/null")
    record = RegistryEvidence(
        Finding.PRESENT, "This file.", MatchBasis.FILE_HASH, MatchTier.EXACT, "82442dab3d2a3563"
    )

    class Registered:
        name, thorough = "registry", False

        def collect(self, _candidate: object) -> list[RegistryEvidence]:
            return [record]

    DetectorService([Registered(), TextSource()]).examine(candidate_of(PHOTO))
    assert not (tmp_path / "was_called").exists()


def test_a_visible_mark_yields_to_every_other_evidence() -> None:
    garbled = VisibleMarkEvidence(Finding.PRESENT, "Garbled.", claim=SourceClaim.FULLY_AI)
    edited = MetadataEvidence(Finding.PRESENT, "A label.", claim=SourceClaim.PARTLY_AI)
    verdict = decide([garbled, edited], STANDARD, {})
    assert verdict.origin is Origin.MACHINE_EDITED
    assert choose_action(verdict, STANDARD)[0] is FilterAction.DROP


def test_a_small_or_damaged_picture_says_why_it_is_not_looked_at() -> None:
    small = OverlaySource().collect(candidate_of(natural_picture(255, 300, seed=1)))
    cut = open_candidate(encode_image(PHOTO, MediaType.PNG).data[:2000], name="cut.png")
    for (found,), words in ((small, "too small"), (OverlaySource().collect(cut), "do not decode")):
        assert found.finding is Finding.UNREADABLE
        assert words in found.reason


def test_words_that_lie_near_a_name_are_left_out_by_name() -> None:
    assert judge_word("realtime") is None
    assert judge_word("shutters") is None
