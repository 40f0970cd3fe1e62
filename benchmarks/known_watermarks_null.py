"""What the filter for other programs' marks answers on unmarked pictures, and the thresholds.

    python -m benchmarks.known_watermarks_null FOLDER

FOLDER holds photographs, all different from those on which `benchmarks.known_watermarks` reports;
patterns and scenes are drawn here, from other seeds than there. Each picture gives its best
match over all marks and paths as it is, and some the best of a search. Photographs are also taken
turned by 90, 180 and 270 degrees: their blocks then meet the messages anew.

Fitted is the *square* of the statistic: the statistic is about normal, so that the tail of its
square is exponential, which is what the fit knows. Writes
``docs/benchmarks/known_watermarks_null.json``; its fits stand in
``detector/evidence/known_marks/thresholds.py``, and a test compares the two.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
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
    from collections.abc import Container, Iterable, Iterator

    Sample = tuple[list[float], list[float]]

DRAWN = 720
"""Two patterns and a scene, alternately."""
SEARCHED = {"photographs": range(0, 864, 3), "drawn": range(284)}
"""Which of them are searched too, by number: a search takes a second."""
PATTERN_SEED, SCENE_SEED = 101, 102
RESULT = Path(__file__).parent.parent / "docs" / "benchmarks" / "known_watermarks_null.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    photographs = (turned for one in read_photographs(folder) for turned in turn(one))
    write_result(
        photographs=measure(photographs, SEARCHED["photographs"]),
        drawn=measure(draw(), SEARCHED["drawn"]),
    )


def write_result(**samples: Sample) -> None:
    fits = {
        sort: {"look": summarise(looked), "search": summarise(searched)}
        for sort, (looked, searched) in samples.items()
    }
    result = {"machine": describe_machine(), "p_value": REPORT_P_VALUE, **fits}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def turn(picture: RasterImage) -> list[RasterImage]:
    return [RasterImage(np.ascontiguousarray(np.rot90(picture.pixels, k))) for k in range(4)]


def draw() -> Iterator[RasterImage]:
    patterns = draw_patterns(DRAWN, seed=PATTERN_SEED)
    scenes = draw_scenes(DRAWN, seed=SCENE_SEED)
    for number in range(DRAWN):
        yield next(scenes) if number % 3 == 2 else next(patterns)[1]


def measure(pictures: Iterable[RasterImage], to_search: Container[int]) -> Sample:
    """Statistic of each picture as it is, and of some after a search that nothing ends early."""
    looked, searched = [], []
    for number, picture in enumerate(pictures):
        looked.append(look(picture.pixels).match.statistic)
        if number in to_search:
            searched.append(search(picture.pixels, enough=float("inf")).match.statistic)
        print(f"{number}  {looked[-1]:.4f}", flush=True)
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
