"""Visible stock marks: overlays found and falsely found, names told clean from garbled.

    python -m benchmarks.visible_marks [--photos FOLDER] [--further FOLDER] [--quick]

``--photos`` (default ../shared/data/photos) holds photographs without any overlay, and graphics in
``graphics/``; ``--further`` more pictures without an agency's name, for the reader alone. Overlays
are drawn by `benchmarks.overlays`, single names here. Names are judged as a perfect reader would
give them, with letters exchanged, and as tesseract reads them where it is installed. Words that are
no names come from open_clip's vocabulary. Writes ``docs/benchmarks/visible_marks.json``, ``.md``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
from collections import Counter
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.machine import describe_machine
from benchmarks.overlays import CLEAN, GARBLED, draw_overlay, draw_textures
from benchmarks.photographs import list_photographs, open_photograph, read_windows
from benchmarks.synthetic import draw_patterns, draw_scenes
from detector.evidence.visible_marks.legibility import (
    AGENCIES,
    NEAR_WORDS,
    Likeness,
    judge_word,
    read_names,
)
from detector.evidence.visible_marks.overlay import find_lattice
from detector.evidence.visible_marks.source import READING_TIMEOUT_S
from detector.evidence.visible_marks.tesseract import find_program, read_words
from provenance.errors import BackendUnavailableError
from provenance.types import RasterImage, Resave
from provenance.watermark.marking import resave
from provenance.watermark.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"
OPACITIES = (0.1, 0.2, 0.3, 0.5)
WINDOWS, PATTERNS, SCENES, TEXTURES = 10, 240, 120, 128
PATTERN_SEED, SCENE_SEED, WINDOW_SEED, TEXTURE_SEED, EDIT_SEED = 31, 32, 33, 34, 35
EDITED_WORDS = 400
READ_SIZES_PX = (24, 48, 96)
READ_OPACITIES = (0.3, 0.6, 1.0)
READ_GARBLED = ("sutterso", "gettyirnqes", "draemstlne")
"""Each is a garbled name to a perfect reader; in an overlay it need not be."""

CAVEAT = (
    "Read these with care: the three limits of `overlay.py` were chosen on the whole photographs, "
    "the graphics and other drawn patterns of this kind; windows, scenes and textures were not "
    "looked at then. Windows of one photograph are not independent, so true intervals are wider."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    parser.add_argument("--further", type=Path, help="more pictures, for the reader alone")
    parser.add_argument("--quick", action="store_true", help="every eighth photograph only")
    options = parser.parse_args()
    photos = [path for path in list_photographs(options.photos) if path.parent == options.photos]
    photos = photos[:: 8 if options.quick else 1]
    graphics = list_photographs(options.photos / "graphics")
    result = {
        "machine": describe_machine(),
        "false_alarms": measure_false_alarms(photos, graphics),
        "found": measure_found(photos),
        "words": measure_words(),
        "names": measure_names(),
        "reading": measure_reading(photos, graphics, options.further),
    }
    (RESULTS / "visible_marks.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "visible_marks.md").write_text(write_report(result))


# -- overlays ----------------------------------------------------------------------------------


def read_whole(paths: Iterable[Path]) -> Iterator[RasterImage]:
    for path in paths:
        yield RasterImage(np.asarray(open_photograph(path)))


def windows_of(paths: Iterable[Path]) -> Iterator[RasterImage]:
    for number, path in enumerate(paths):
        yield from read_windows(path, WINDOWS, seed=WINDOW_SEED + number)


def measure_false_alarms(photos: list[Path], graphics: list[Path]) -> list[dict[str, Any]]:
    sorts: Iterable[tuple[str, RasterImage]] = chain(
        (("photographs", one) for one in read_whole(photos)),
        (("windows of photographs", one) for one in windows_of(photos)),
        (("graphics", one) for one in read_whole(graphics)),
        (("windows of graphics", one) for one in windows_of(graphics)),
        (("drawn scenes", one) for one in draw_scenes(SCENES, seed=SCENE_SEED)),
        (("drawn patterns", one) for _, one in draw_patterns(PATTERNS, seed=PATTERN_SEED)),
        ((f"texture: {kind}", one) for kind, one in draw_textures(TEXTURES, seed=TEXTURE_SEED)),
    )
    rows: dict[str, dict[str, Any]] = {}
    for sort, picture in sorts:
        lattice = find_lattice(picture.pixels)
        row = rows.setdefault(sort, {"sort": sort, "of": 0, "found": 0, "repeat": 0, "highest": 0})
        row["of"] += 1
        row["found"] += lattice.is_overlay
        row["repeat"] += lattice.is_repeated and not lattice.is_overlay
        row["highest"] = max(row["highest"], lattice.statistic)
    for row in rows.values():
        row["interval"] = wilson_interval(row["found"], row["of"])
        print(row, flush=True)
    return list(rows.values())


def measure_found(photos: list[Path]) -> list[dict[str, Any]]:
    hits: Counter[tuple[str, float, str]] = Counter()
    for number, picture in enumerate(read_whole(photos)):
        for sort, texts in (("clean", CLEAN), ("garbled", GARBLED)):
            for opacity in OPACITIES:
                text = texts[number % len(texts)]
                marked = draw_overlay(picture, text, opacity=opacity, seed=number)
                saved = resave(marked, Resave(quality=75))
                for change, one in (("as drawn", marked), ("JPEG 75", saved)):
                    hits[sort, opacity, change] += find_lattice(one.pixels).is_overlay
    rows = [
        {
            "name": sort,
            "opacity": opacity,
            "change": change,
            "found": hits[sort, opacity, change],
            "of": len(photos),
            "interval": wilson_interval(hits[sort, opacity, change], len(photos)),
        }
        for sort in ("clean", "garbled")
        for opacity in OPACITIES
        for change in ("as drawn", "JPEG 75")
    ]
    for row in rows:
        print(row, flush=True)
    return rows


# -- names -------------------------------------------------------------------------------------


def read_vocabulary() -> list[str]:
    """Whole words of open_clip's vocabulary: the commonest of captions found on the web."""
    packed = files("open_clip").joinpath("bpe_simple_vocab_16e6.txt.gz").read_bytes()
    merges = gzip.decompress(packed).decode("utf-8").splitlines()[1 : 49152 - 256 - 2 + 1]
    joined = ("".join(line.split()) for line in merges)
    words = (one.removesuffix("</w>") for one in joined if one.endswith("</w>"))
    return [word for word in dict.fromkeys(words) if re.fullmatch("[a-z]{3,}", word)]


def measure_words() -> dict[str, Any]:
    """Words that are no agency's name, by what they are taken for."""
    words = [word for word in read_vocabulary() if word not in {*AGENCIES, *NEAR_WORDS}]
    taken: dict[str, list[str]] = {likeness.value: [] for likeness in Likeness}
    for word in words:
        reading = judge_word(word)
        if reading is not None:
            taken[reading.likeness.value].append(word)
    counts = {
        name: {
            "words": found,
            "count": len(found),
            "interval": wilson_interval(len(found), len(words)),
        }
        for name, found in taken.items()
    }
    print(counts, flush=True)
    return {"of": len(words), "taken": counts}


def measure_names() -> list[dict[str, Any]]:
    """Names of nine letters or more with so many random edits, by what they are taken for."""
    random = np.random.default_rng(EDIT_SEED)
    names = [name for name in AGENCIES if len(name) >= 9]
    rows = []
    for edits in range(6):
        counts: Counter[str] = Counter()
        for _ in range(EDITED_WORDS):
            word = edit(str(random.choice(names)), edits, random)
            reading = judge_word(word)
            counts["none" if reading is None else reading.likeness.value] += 1
        rows.append({"edits": edits, "of": EDITED_WORDS, "taken": dict(counts)})
        print(rows[-1], flush=True)
    return rows


def edit(word: str, edits: int, random: np.random.Generator) -> str:
    """Exchanges, drops or adds letters at random places."""
    letters = list(word)
    for _ in range(edits):
        place = int(random.integers(len(letters)))
        letter = chr(ord("a") + int(random.integers(26)))
        kind = int(random.integers(3))
        if kind == 0:
            letters[place] = letter
        elif kind == 1 and len(letters) > 1:
            del letters[place]
        else:
            letters.insert(place, letter)
    return "".join(letters)


# -- reading -----------------------------------------------------------------------------------


def measure_reading(
    photos: list[Path], graphics: list[Path], further: Path | None
) -> dict[str, Any] | None:
    """What the real reader makes of pictures with and without a name; None without the program."""
    program = find_program()
    if program is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    sorts = {"photographs": photos, "graphics": graphics}
    if further is not None:
        suffixes = {".jpg", ".jpeg", ".png"}
        sorts["further pictures"] = [p for p in sorted(further.rglob("*")) if p.suffix in suffixes]
    return {
        "version": said.stdout.splitlines()[0],
        "false_alarms": [read_unmarked(name, paths, program) for name, paths in sorts.items()],
        "named": read_drawn(photos, program),
    }


def read_unmarked(sort: str, paths: list[Path], program: str) -> dict[str, Any]:
    taken: Counter[str] = Counter()
    for picture in read_whole(paths):
        taken[read_as(picture, program)] += 1
    found = len(paths) - taken["none"] - taken["late"]
    row = {"sort": sort, "of": len(paths), "taken": dict(taken), "found": found}
    row["interval"] = wilson_interval(found, len(paths))
    print(row, flush=True)
    return row


def read_drawn(photos: list[Path], program: str) -> list[dict[str, Any]]:
    rows = []
    for sort, texts in (("clean", CLEAN), ("garbled", READ_GARBLED)):
        for size_px in READ_SIZES_PX:
            for opacity in READ_OPACITIES:
                taken: Counter[str] = Counter()
                for number, picture in enumerate(read_whole(photos)):
                    text = texts[number % len(texts)]
                    taken[read_as(draw_name(picture, text, size_px, opacity), program)] += 1
                rows.append({"name": sort, "size_px": size_px, "opacity": opacity})
                rows[-1] |= {"of": len(photos), "taken": dict(taken)}
                print(rows[-1], flush=True)
    return rows


def read_as(picture: RasterImage, program: str) -> str:
    """What the name in a picture is taken for; "late" where the reader is ended as in `verify`."""
    try:
        words = read_words(picture.pixels, program=program, timeout_s=READING_TIMEOUT_S)
    except BackendUnavailableError:
        return "late"
    name = read_names(words)
    return "none" if name is None else name.likeness.value


def draw_name(picture: RasterImage, text: str, size_px: int, opacity: float) -> RasterImage:
    """`text` in white, once, across the middle."""
    image = Image.fromarray(picture.pixels)
    mask = Image.new("L", image.size, 0)
    middle = (image.width // 2, image.height // 2)
    font = ImageFont.load_default(size_px)
    ImageDraw.Draw(mask).text(middle, text, fill=round(255 * opacity), font=font, anchor="mm")
    image.paste(Image.new("RGB", image.size, (255, 255, 255)), mask=mask)
    return RasterImage(np.asarray(image))


# -- report ------------------------------------------------------------------------------------


def write_report(result: dict[str, Any]) -> str:
    machine, words = result["machine"], result["words"]
    garbled = words["taken"]["garbled"]
    lines = [
        "# Visible stock marks",
        "",
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, Python "
        f"{machine['python']}; `python -m benchmarks.visible_marks`. In brackets 95 % intervals "
        "(Wilson).",
        "",
        CAVEAT,
        "",
        "## Overlays falsely found",
        "",
        "No picture here carries one. *Repeats* are pictures of which `verify` says that they "
        "repeat like a drawn pattern, so that no overlay would show.",
        "",
        "| sort | found | repeats | highest statistic |",
        "|---|---|---|---|",
        *(
            f"| {r['sort']} | {share(r)} | {r['repeat']} | {r['highest']:.1f} |"
            for r in result["false_alarms"]
        ),
        "",
        "## Overlays found",
        "",
        "A name on a grid of random pitch, size, angle and shade over each photograph.",
        "",
        "| name | opacity | as drawn | JPEG 75 |",
        "|---|---|---|---|",
        *(
            f"| {name} | {opacity} | "
            + " | ".join(
                share(r) for r in result["found"] if r["name"] == name and r["opacity"] == opacity
            )
            + " |"
            for name in ("clean", "garbled")
            for opacity in OPACITIES
        ),
        "",
        "## Names",
        "",
        f"Of {words['of']} common words that are no agency's name, {garbled['count']} are taken "
        f"for a garbled one ({garbled['interval'][0]:.5f}-{garbled['interval'][1]:.5f}); "
        f"{' and '.join(sorted(NEAR_WORDS))}, found by this very list, are left out by name. "
        f"{words['taken']['clean']['count']} are taken for a clean one and "
        f"{words['taken']['slip']['count']} for a clean one with a letter misread.",
        "",
        f"Names of nine letters or more with random edits, {EDITED_WORDS} of each: a row of few "
        "edits is what a reader makes of a clean name, a row of more what a generator paints. "
        "Nothing tells two slips of a reader from two of a generator; that is why the reader must "
        "be sure of the word, why one clean copy outweighs all others, and why it is a hint.",
        "",
        "| edits | clean | slip | garbled | none |",
        "|---|---|---|---|---|",
        *(
            f"| {r['edits']} | "
            + " | ".join(str(r["taken"].get(n, 0)) for n in ("clean", "slip", "garbled", "none"))
            + " |"
            for r in result["names"]
        ),
        "",
        *report_reading(result["reading"]),
    ]
    return "\n".join(lines)


def report_reading(reading: dict[str, Any] | None) -> list[str]:
    if reading is None:
        return ["## Names read", "", "tesseract is not installed here.", ""]
    return [
        "## Names read",
        "",
        f"By {reading['version']}, in a process of its own, ended after {READING_TIMEOUT_S:.0f} s "
        "as in `verify`. First pictures without a name:",
        "",
        "| sort | any name seen | read too late |",
        "|---|---|---|",
        *(
            f"| {r['sort']} | {share(r)} | {r['taken'].get('late', 0)} |"
            for r in reading["false_alarms"]
        ),
        "",
        "Then each photograph with one name in white across the middle, and what it is taken for. "
        "Only *garbled* hints at a generator: "
        + " and ".join(count_garbled(reading["named"], sort) for sort in ("clean", "garbled"))
        + ". That a name that lost an end counts as clean was decided on such readings of these "
        "photographs. White letters on bright places are lost; the reader sees few names at all.",
        "",
        "| name | letters, px | opacity | clean | slip | garbled | none |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {r['name']} | {r['size_px']} | {r['opacity']} | "
            + " | ".join(str(r["taken"].get(n, 0)) for n in ("clean", "slip", "garbled", "none"))
            + " |"
            for r in reading["named"]
        ),
        "",
    ]


def count_garbled(rows: list[dict[str, Any]], sort: str) -> str:
    """How often names of one sort are taken for garbled ones, over all sizes and opacities."""
    chosen = [row for row in rows if row["name"] == sort]
    found, total = (
        sum(row["taken"].get("garbled", 0) for row in chosen),
        sum(row["of"] for row in chosen),
    )
    low, high = wilson_interval(found, total)
    return f"{found} of {total} {sort} names ({low:.3f}-{high:.3f})"


def share(row: dict[str, Any]) -> str:
    return f"{row['found']} of {row['of']} ({interval(row)})"


def interval(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{low:.3f}-{high:.3f}"


if __name__ == "__main__":
    main()
