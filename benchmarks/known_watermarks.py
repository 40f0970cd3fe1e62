"""Other programs' known watermarks: speed against the package, what is found, what falsely.

    python -m benchmarks.known_watermarks [--photos FOLDER --which TEXT] [--more FOLDER] [--quick]

``--photos`` (default ../shared/data/photos) holds photographs to mark, and graphics in
``graphics/``; ``--which`` says on the page what they are, where they are others; ``--more`` holds
further photographs that carry no mark. Marks are written by invisible-watermark's own encoder, fed
as each program feeds it. Thresholds come from other pictures (`benchmarks.known_watermarks_null`).
Writes ``docs/benchmarks/known_watermarks.json`` and ``.md``,
of other photographs ``known_watermarks_other.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from imwatermark import WatermarkDecoder
from PIL import Image

from benchmarks.foreign_marks import hand_over, write_foreign_mark
from benchmarks.machine import describe_machine
from benchmarks.photographs import list_photographs, read_photographs, read_square, read_windows
from benchmarks.synthetic import draw_patterns, draw_scenes
from detector.evidence.known_marks.looking import look, search
from detector.evidence.known_marks.table import KNOWN_MARKS, KnownMark
from detector.evidence.known_marks.thresholds import (
    REPORT_P_VALUE,
    look_threshold,
    search_threshold,
)
from provenance.types import RasterImage, Resave
from provenance.watermark.codecs.dwt_reading import FrequencyMethod, decode_bits
from provenance.watermark.codecs.haar_planes import PixelPath
from provenance.watermark.marking import resave
from provenance.watermark.nulls import rate_limit
from provenance.watermark.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"
SIDES_PX = (512, 1024, 2048)
MARKED_SIDE_PX = 512
BITS = 48
REPEATS = 7
PATTERNS, SCENES, WINDOWS = 400, 150, 14
PATTERN_SEED, SCENE_SEED, WINDOW_SEED = 7, 8, 9
SEARCHED_EVERY = 12
COUNTED = ("pictures", "found", "searched", "found_in_search")

SHAPED_ON = Path("../shared/data/photos")
SHAPED = (
    "the statistic was shaped on these photographs, and the level was chosen knowing what clean "
    "marks reach; only the thresholds come from other pictures. "
)
CAVEAT = (
    "Read these with care: {shaped}Pictures are not independent (windows of the same photographs), "
    "so true intervals are wider."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=SHAPED_ON)
    parser.add_argument("--which", default="")
    parser.add_argument("--more", type=Path)
    parser.add_argument("--quick", action="store_true", help="every eighth photograph only")
    options = parser.parse_args()
    photos = [path for path in list_photographs(options.photos) if path.parent == options.photos]
    photos = photos[:: 8 if options.quick else 1]
    result = {
        "machine": describe_machine(),
        "which": options.which,
        "shaped_on_these": options.photos == SHAPED_ON,
        "p_value": REPORT_P_VALUE,
        "thresholds": {"look": look_threshold(), "search": search_threshold()},
        "speed": measure_speed(photos),
        "identity": measure_identity(photos),
        "found": measure_found(photos),
        "searched": measure_searched(photos[::8]),
        "unmarked": measure_unmarked(options.photos, options.more, photos),
    }
    stem = "known_watermarks" if result["shaped_on_these"] else "known_watermarks_other"
    (RESULTS / f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / f"{stem}.md").write_text(write_report(result))


# -- speed and identity ------------------------------------------------------------------------


def measure_speed(photos: list[Path]) -> list[dict[str, Any]]:
    """Processor time, best of several runs of both readers in turn: other work shall not count."""
    cv2.setNumThreads(1)
    rows = []
    for side in SIDES_PX:
        pixels = read_square(photos[0], side).pixels
        for method in FrequencyMethod:
            for path in (PixelPath.UINT8_BGR, PixelPath.FLOAT32_BGR):
                given = hand_over(pixels, path)
                decoder = WatermarkDecoder("bits", BITS)
                ours, theirs = best_times(
                    lambda p=path, m=method, x=pixels: decode_bits(x, BITS, path=p, method=m),
                    lambda d=decoder, g=given, m=method: d.decode(g, m.value),
                )
                rows.append(
                    {
                        "side_px": side,
                        "method": method.value,
                        "path": path.value,
                        "ours_ms": 1e3 * ours,
                        "package_ms": 1e3 * theirs,
                        "ratio": theirs / ours,
                    }
                )
                print(rows[-1], flush=True)
    return rows


def best_times(one: Callable[[], Any], other: Callable[[], Any]) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for work, kept, often in ((one, times[0], 3), (other, times[1], 1)):
            for _ in range(often):
                started = time.process_time()
                work()
                kept.append(time.process_time() - started)
    return min(times[0]), min(times[1])


def measure_identity(photos: list[Path]) -> list[dict[str, Any]]:
    """Blocks whose bit differs from the package's; one bit a block, so that no vote hides one."""
    rows = []
    for method in FrequencyMethod:
        for path in PixelPath:
            differing = blocks = 0
            for photo in photos[::3]:
                pixels = read_square(photo, MARKED_SIDE_PX).pixels
                length = (MARKED_SIDE_PX // 8) ** 2
                decoder = WatermarkDecoder("bits", length)
                theirs = decoder.decode(hand_over(pixels, path), method.value)
                ours = decode_bits(pixels, length, path=path, method=method)
                differing += int((ours != theirs).sum())
                blocks += length
            rows.append(
                {"method": method.value, "path": path.value, "differ": differing, "blocks": blocks}
            )
            print(rows[-1], flush=True)
    return rows


# -- found -------------------------------------------------------------------------------------


def resize(image: RasterImage, side_px: int) -> RasterImage:
    scaled = Image.fromarray(image.pixels).resize((side_px, side_px), Image.Resampling.LANCZOS)
    return RasterImage(np.array(scaled))


LOOKED: dict[str, Callable[[RasterImage], RasterImage]] = {
    "PNG": lambda image: image,
    "JPEG 95": lambda image: resave(image, Resave(95)),
    "JPEG 90": lambda image: resave(image, Resave(90)),
    "JPEG 75": lambda image: resave(image, Resave(75)),
}
SEARCHED: dict[str, Callable[[RasterImage], RasterImage]] = {
    "mirrored": lambda image: RasterImage(np.ascontiguousarray(image.pixels[:, ::-1])),
    "half size": lambda image: resize(image, MARKED_SIDE_PX // 2),
    "three quarters": lambda image: resize(image, MARKED_SIDE_PX * 3 // 4),
    "crop, half the area": lambda image: RasterImage(image.pixels[61:423, 83:445].copy()),
    "crop, a quarter": lambda image: RasterImage(image.pixels[101:357, 83:339].copy()),
}


def ways() -> Iterator[tuple[KnownMark, PixelPath]]:
    for mark in KNOWN_MARKS:
        for path in mark.writers:
            yield mark, path


def measure_found(photos: list[Path]) -> list[dict[str, Any]]:
    def found(image: RasterImage, mark: KnownMark) -> tuple[bool, float]:
        sighting = look(image.pixels)
        statistic = sighting.match.statistic
        return sighting.mark is mark and statistic >= look_threshold(), statistic

    return [one for way in ways() for one in count_found(way, photos, LOOKED, found)]


def measure_searched(photos: list[Path]) -> list[dict[str, Any]]:
    def found(image: RasterImage, mark: KnownMark) -> tuple[bool, float]:
        sighting = search(image.pixels, enough=search_threshold())
        statistic = sighting.match.statistic
        return sighting.mark is mark and statistic >= search_threshold(), statistic

    return [one for way in ways() for one in count_found(way, photos, SEARCHED, found)]


def count_found(
    way: tuple[KnownMark, PixelPath],
    photos: list[Path],
    changes: dict[str, Callable[[RasterImage], RasterImage]],
    found: Callable[[RasterImage, KnownMark], tuple[bool, float]],
) -> list[dict[str, Any]]:
    mark, path = way
    answers: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for photo in photos:
        image = read_square(photo, MARKED_SIDE_PX)
        marked = write_foreign_mark(image, mark.bits, path=path, method=FrequencyMethod.DWT_DCT)
        for name, change in changes.items():
            answers[name].append(found(change(marked), mark))
    rows = [
        {
            "tool": mark.tool,
            "path": path.value,
            "change": name,
            "found": sum(hit for hit, _ in given),
            "of": len(given),
            "interval": wilson_interval(sum(hit for hit, _ in given), len(given)),
            "lowest": min(statistic for _, statistic in given),
        }
        for name, given in answers.items()
    ]
    for row in rows:
        print(row, flush=True)
    return rows


# -- unmarked ----------------------------------------------------------------------------------


def unmarked(
    folder: Path, more: Path | None, photos: list[Path]
) -> Iterator[tuple[str, Iterable[RasterImage]]]:
    yield "photographs", (read_square(path, MARKED_SIDE_PX) for path in photos)
    windows = (
        window
        for number, path in enumerate(photos)
        for window in read_windows(path, WINDOWS, seed=WINDOW_SEED + number)
    )
    yield "windows of photographs", windows
    graphics = list_photographs(folder / "graphics")
    yield "graphics", (read_square(path, MARKED_SIDE_PX) for path in graphics)
    yield "windows of graphics", (w for path in graphics for w in read_windows(path, 10, seed=3))
    if more is not None:
        yield "further photographs", read_photographs(more)
    yield "patterns", (one for _, one in draw_patterns(PATTERNS, seed=PATTERN_SEED))
    yield "scenes", draw_scenes(SCENES, seed=SCENE_SEED)


def measure_unmarked(folder: Path, more: Path | None, photos: list[Path]) -> dict[str, Any]:
    counts: dict[str, Counter[str]] = {}
    highest = {"look": 0.0, "search": 0.0}
    for sort, pictures in unmarked(folder, more, photos):
        counts[sort] = count = Counter(dict.fromkeys(COUNTED, 0))
        for number, picture in enumerate(pictures):
            statistic = look(picture.pixels).match.statistic
            highest["look"] = max(highest["look"], statistic)
            count["pictures"] += 1
            count["found"] += statistic >= look_threshold()
            if number % SEARCHED_EVERY == 0:
                statistic = search(picture.pixels, enough=search_threshold()).match.statistic
                highest["search"] = max(highest["search"], statistic)
                count["searched"] += 1
                count["found_in_search"] += statistic >= search_threshold()
        print(sort, dict(count), highest, flush=True)
    total = sum(counts.values(), Counter())
    return {
        "sorts": {sort: dict(count) for sort, count in counts.items()},
        "total": {
            name: total[name] for name in ("pictures", "found", "searched", "found_in_search")
        },
        "look_limit": rate_limit(total["found"], total["pictures"]),
        "search_limit": rate_limit(total["found_in_search"], total["searched"]),
        "highest": highest,
    }


# -- report ------------------------------------------------------------------------------------


def write_report(result: dict[str, Any]) -> str:
    machine, unmarked_, limits = result["machine"], result["unmarked"], result["thresholds"]
    total = unmarked_["total"]
    lines = [
        "# Other programs' known watermarks",
        "",
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, Python "
        f"{machine['python']}; `python -m benchmarks.known_watermarks`. Marks by "
        "invisible-watermark 0.2.0's own encoder, fed as each program feeds it. A mark is reported "
        f"from a statistic of {limits['look']:.2f} ({limits['search']:.2f} after a search): by the "
        f"measured null's bound, one unmarked picture in {1 / result['p_value']:,.0f}. That null "
        "is of [other pictures](known_watermarks_null.json).",
        "",
        *([f"Photographs: {result['which']}.", ""] if result["which"] else []),
        CAVEAT.format(shaped=SHAPED if result["shaped_on_these"] else ""),
        "",
        "## Speed",
        "",
        "Processor time of one thread, best of several runs of both readers in turn; 48 bits.",
        "",
        "| side px | method | path | ours ms | package ms | ratio |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r['side_px']} | {r['method']} | {r['path']} | {r['ours_ms']:.2f} | "
            f"{r['package_ms']:.1f} | {r['ratio']:.1f} |"
            for r in result["speed"]
        ),
        "",
        "## Identity",
        "",
        "| method | path | blocks whose bit differs |",
        "|---|---|---|",
        *(
            f"| {r['method']} | {r['path']} | {r['differ']} of {r['blocks']} |"
            for r in result["identity"]
        ),
        "",
        "## Found",
        "",
        f"Photographs of {MARKED_SIDE_PX}x{MARKED_SIDE_PX}, by a look at the picture as it is; in "
        "brackets 95 % intervals (Wilson).",
        "",
        *table_of(result["found"], LOOKED),
        "",
        "By a search:",
        "",
        *table_of(result["searched"], SEARCHED),
        "",
        "## Unmarked",
        "",
        f"{total['found']} of {total['pictures']} pictures taken for marked (at 95 %: under "
        f"{unmarked_['look_limit']:.2%}), {total['found_in_search']} of {total['searched']} after "
        f"a search (under {unmarked_['search_limit']:.2%}). Highest statistic "
        f"{unmarked_['highest']['look']:.2f}, after a search "
        f"{unmarked_['highest']['search']:.2f}.",
        "",
        "| sort | pictures | found | searched | found |",
        "|---|---|---|---|---|",
        *(
            f"| {sort} | {c['pictures']} | {c['found']} | {c['searched']} | "
            f"{c['found_in_search']} |"
            for sort, c in unmarked_["sorts"].items()
        ),
        "",
    ]
    return "\n".join(lines)


def table_of(rows: list[dict[str, Any]], changes: Iterable[str]) -> list[str]:
    names = list(changes)
    by_way: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for r in rows:
        low, high = r["interval"]
        by_way[r["tool"], r["path"]][r["change"]] = (
            f"{r['found']} of {r['of']} ({low:.2f}-{high:.2f})"
        )
    return [
        "| mark | path | " + " | ".join(names) + " |",
        "|---|---" + "|---" * len(names) + "|",
        *(
            f"| {tool} | {path} | " + " | ".join(cells[name] for name in names) + " |"
            for (tool, path), cells in by_way.items()
        ),
    ]


if __name__ == "__main__":
    main()
