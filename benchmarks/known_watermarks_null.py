"""What the filter for other programs' marks answers on unmarked pictures, and the thresholds.

    python -m benchmarks.known_watermarks_null FOLDER

FOLDER holds photographs, all different from those on which `benchmarks.known_watermarks` reports;
patterns and scenes are drawn here, from other seeds than there. Each picture gives two numbers: its
best match over all marks and paths as it is, and the best of a search. Photographs are taken as
they are or turned by 90, 180 or 270 degrees, in turn: few upright photographs are tall.

Fitted is the *square* of the statistic: the statistic is about normal, so that the tail of its
square is exponential, which is what the fit knows. Writes
``docs/benchmarks/known_watermarks_null.json``; its fits stand in
``detector/evidence/known_marks/thresholds.py``, and a test compares the two.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.photographs import read_photographs
from benchmarks.synthetic import draw_patterns, draw_scenes
from detector.evidence.known_marks.looking import look, search
from detector.evidence.known_marks.thresholds import REPORT_P_VALUE
from provenance.types import RasterImage
from provenance.watermark.nulls import fit_null

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Sample = tuple[list[float], list[float]]

VIEWS, EVERY = 864, 3
"""Photographs have four views each, by quarter turns; every third of the first ones is taken."""
DRAWN = 284
"""Two patterns and a scene, alternately."""
PATTERN_SEED, SCENE_SEED = 101, 102
RESULT = Path(__file__).parent.parent / "docs" / "benchmarks" / "known_watermarks_null.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    write_result(photographs=measure(take_photographs(folder)), drawn=measure(draw()))


def write_result(**samples: Sample) -> None:
    fits = {
        sort: {"look": summarise(looked), "search": summarise(searched)}
        for sort, (looked, searched) in samples.items()
    }
    result = {"machine": describe_machine(), "p_value": REPORT_P_VALUE, **fits}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def take_photographs(folder: Path) -> Iterator[RasterImage]:
    views = (turned for one in read_photographs(folder) for turned in turn(one))
    return islice(views, 0, VIEWS, EVERY)


def turn(picture: RasterImage) -> list[RasterImage]:
    return [RasterImage(np.ascontiguousarray(np.rot90(picture.pixels, k))) for k in range(4)]


def draw() -> Iterator[RasterImage]:
    patterns = draw_patterns(DRAWN, seed=PATTERN_SEED)
    scenes = draw_scenes(DRAWN, seed=SCENE_SEED)
    for number in range(DRAWN):
        yield next(scenes) if number % 3 == 2 else next(patterns)[1]


def measure(pictures: Iterable[RasterImage]) -> Sample:
    """Statistic of each picture as it is, and after a search that nothing ends early."""
    looked, searched = [], []
    for number, picture in enumerate(pictures):
        looked.append(look(picture.pixels).match.statistic)
        searched.append(search(picture.pixels, enough=float("inf")).match.statistic)
        print(f"{number}  {looked[-1]:.4f}  {searched[-1]:.4f}", flush=True)
    return looked, searched


def summarise(values: list[float]) -> dict[str, Any]:
    """The fit to the squares, its threshold for the statistic, and a few quantiles."""
    fit = fit_null(np.square(values))
    return {
        "fit": asdict(fit),
        "threshold": fit.threshold(REPORT_P_VALUE) ** 0.5,
        "highest": max(values),
        "quantiles": {str(q): float(np.quantile(values, q)) for q in (0.5, 0.9, 0.99)},
    }


if __name__ == "__main__":
    main()
