"""What the filter for other programs' marks answers on unmarked pictures, and the thresholds.

    python -m benchmarks.known_watermarks_null FOLDER

FOLDER holds photographs, all different from those on which `benchmarks.known_watermarks` reports;
patterns and scenes are drawn here, from other seeds than there. Each picture gives one number, its
best match over all marks and paths. Photographs are also looked at turned by 90, 180 and 270
degrees: their blocks then meet the messages anew.

Fitted is the *square* of the statistic: the statistic is about normal, so that the tail of its
square is exponential, which is what the fit knows. Writes
``docs/benchmarks/known_watermarks_null.json``; its fits stand in
``detector/evidence/known_marks/thresholds.py``, and a test compares the two.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import chain
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
    from collections.abc import Iterable

PATTERNS, SCENES = 2400, 600
PATTERN_SEED, SCENE_SEED = 101, 102
SEARCHED = 400
"""Of each sort, evenly chosen: a search takes a second."""
RESULT = Path(__file__).parent.parent / "docs" / "benchmarks" / "known_watermarks_null.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    photographs = [turned for one in read_photographs(folder) for turned in turn(one)]
    patterns = (picture for _, picture in draw_patterns(PATTERNS, seed=PATTERN_SEED))
    drawn = chain(patterns, draw_scenes(SCENES, seed=SCENE_SEED))
    samples = {
        "photographs": measure(photographs, every=max(1, len(photographs) // SEARCHED)),
        "drawn": measure(drawn, every=(PATTERNS + SCENES) // SEARCHED),
    }
    result = {"machine": describe_machine(), "p_value": REPORT_P_VALUE}
    for name, (looked, searched) in samples.items():
        result[name] = {"look": summarise(looked), "search": summarise(searched)}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def turn(picture: RasterImage) -> list[RasterImage]:
    return [RasterImage(np.ascontiguousarray(np.rot90(picture.pixels, k))) for k in range(4)]


def measure(pictures: Iterable[RasterImage], *, every: int) -> tuple[list[float], list[float]]:
    """Statistic of each picture as it is, and of some after a search that nothing ends early."""
    looked, searched = [], []
    for number, picture in enumerate(pictures):
        looked.append(look(picture.pixels).match.statistic)
        if number % every == 0:
            searched.append(search(picture.pixels, enough=float("inf")).match.statistic)
            print(f"{number}  {looked[-1]:.2f}  {searched[-1]:.2f}", flush=True)
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
