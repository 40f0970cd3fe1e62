"""What ``verify --fast`` of a PNG of 1024x1024 costs one core, source by source.

    python -m benchmarks.verify_fast [--photo FILE] [--runs N]

Three pictures: one that the bundled model made here, marked, signed and registered; a photograph;
a flat graphic of sixteen colours. All sources of the default settings are asked but those that a
fast look leaves out (text reading, searches) and those that need what is not installed by default
(CLIP, rivaGan). The registry holds the one picture; the installation has its key, so that marks of
its own are looked for in every picture. Peers in the same run: Pillow's decoding of the same file,
and c2pa's reader with invisible-watermark's dwtDct decoder, the two readers that others combine.

It runs itself again in a process whose numeric libraries have one thread, and counts processor
time, of all threads together: other work on the machine shall not count. Writes
``docs/benchmarks/verify_fast.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import describe_machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector.service import DetectorService
    from provenance.config import Settings

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"
SIDE_PX = 1024
COLOURS = 16
TARGET_MS = 150.0
INSIDE = "COUNTERMARK_BENCH_ONE_THREAD"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
ALL = "verify --fast, all of it"
DECODE = "Pillow, decoding alone"
OTHERS = "c2pa reader and invisible-watermark's dwtDct decoder"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    photo = Path("../shared/data/photos/wine-full.jpg")
    parser.add_argument("--photo", type=Path, default=photo)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    if INSIDE not in os.environ:
        environment = {**os.environ, **dict.fromkeys((*THREAD_VARIABLES, INSIDE), "1")}
        command = [sys.executable, "-m", "benchmarks.verify_fast", *sys.argv[1:]]
        sys.exit(subprocess.run(command, check=False, env=environment).returncode)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options.photo, options.runs)
    (RESULTS / "verify_fast.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "verify_fast.md").write_text(write_report(result))


def measure(home: Path, photo: Path, runs: int) -> dict[str, Any]:
    from detector.wiring import build_detector
    from provenance.config import load_settings

    settings = load_settings(environ={}, home=home)
    pictures = {
        "made here": draw_own(settings),
        "photograph": encode_photograph(photo),
        "graphic": encode_graphic(),
    }
    service = build_detector(settings)
    rows = {name: measure_picture(service, data, runs) for name, data in pictures.items()}
    return {
        "machine": describe_machine(),
        "runs": runs,
        "bytes": {name: len(data) for name, data in pictures.items()},
        "pictures": rows,
    }


# -- pictures ----------------------------------------------------------------------------------


def draw_own(settings: Settings) -> bytes:
    from generator.wiring import build_generator
    from provenance.types import GenerationRequest

    request = GenerationRequest(
        prompt="a red house by a lake",
        seed=11,
        steps=4,
        width_px=SIDE_PX,
        height_px=SIDE_PX,
    )
    delivery = build_generator(settings).service.generate(request, lambda _report: None)
    return delivery.asset.image.data


def encode_photograph(path: Path) -> bytes:
    from benchmarks.photographs import read_square
    from provenance.imaging import encode_image
    from provenance.types import MediaType

    return encode_image(read_square(path, SIDE_PX), MediaType.PNG).data


def encode_graphic() -> bytes:
    import numpy as np
    from PIL import Image

    from benchmarks.synthetic import draw_scenes
    from provenance.imaging import encode_image
    from provenance.types import MediaType, RasterImage

    (scene,) = draw_scenes(1, seed=12)
    flat = Image.fromarray(scene.pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    pixels = np.asarray(flat.quantize(COLOURS).convert("RGB"))
    return encode_image(RasterImage(pixels), MediaType.PNG).data


# -- times -------------------------------------------------------------------------------------


def measure_picture(service: DetectorService, data: bytes, runs: int) -> dict[str, Any]:
    """Milliseconds of processor time: the median of each step, by turns."""
    times: dict[str, list[float]] = defaultdict(list)
    verdict = verify(service, data)
    for number in range(runs + 1):
        once = {name: clock(work) for name, work in list_steps(service, data)}
        if number:  # the first one imports and fills caches
            for name, ms in once.items():
                times[name].append(ms)
    medians = {name: statistics.median(found) for name, found in times.items()}
    print({name: round(ms, 1) for name, ms in medians.items()}, flush=True)
    return {"origin": verdict.origin.value, "assurance": verdict.assurance.value, "ms": medians}


def list_steps(service: DetectorService, data: bytes) -> list[tuple[str, Callable[[], Any]]]:
    from provenance.imaging import open_candidate
    from provenance.interfaces import SkimmingSource

    candidate = open_candidate(data, name="x")
    steps: list[tuple[str, Callable[[], Any]]] = [
        (ALL, partial(verify, service, data)),
        ("guard, hash, decode", partial(open_candidate, data, name="x")),
    ]
    found: list[Any] = []
    for source in service.sources:
        if not source.thorough:
            look = source.skim if isinstance(source, SkimmingSource) else source.collect
            found += look(candidate)
            steps.append((f"source {source.name}", partial(look, candidate)))
    join = service.join
    if join is not None:
        steps.append(("join with the registry", partial(join.join, candidate, found)))
    return [*steps, (DECODE, partial(decode, data)), (OTHERS, partial(read_as_others_do, data))]


def verify(service: DetectorService, data: bytes) -> Any:
    from detector.service import Depth

    return service.verify(data, name="x", depth=Depth.FAST)


def decode(data: bytes) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def read_as_others_do(data: bytes) -> Any:
    import c2pa
    import cv2
    from imwatermark import WatermarkDecoder

    cv2.setNumThreads(1)
    try:
        with c2pa.Reader("image/png", io.BytesIO(data)) as reader:
            reader.json()
    except c2pa.C2paError:
        pass  # there is none
    return WatermarkDecoder("bits", 48).decode(decode(data)[:, :, ::-1], "dwtDct")


def clock(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


# -- report ------------------------------------------------------------------------------------


def write_report(result: dict[str, Any]) -> str:
    machine, pictures = result["machine"], result["pictures"]
    names = list(pictures)
    steps = list(dict.fromkeys(step for one in pictures.values() for step in one["ms"]))
    whole = {name: pictures[name]["ms"][ALL] for name in names}
    held = "holds" if max(whole.values()) < TARGET_MS else "does not hold"
    lines = [
        "# A fast look at a picture",
        "",
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, Python "
        f"{machine['python']}; `python -m benchmarks.verify_fast`. PNG of {SIDE_PX}x{SIDE_PX}; "
        f"milliseconds of processor time with one thread, median of {result['runs']} after start.",
        "",
        f"The target of {TARGET_MS:.0f} ms a picture a core {held}: "
        + ", ".join(f"{name} {ms:.0f} ms" for name, ms in whole.items())
        + ".",
        "",
        "| step | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
        *(
            f"| {step} | " + " | ".join(f"{pictures[n]['ms'][step]:.1f}" for n in names) + " |"
            for step in steps
        ),
        "| all, as a multiple of decoding | "
        + " | ".join(f"{whole[n] / pictures[n]['ms'][DECODE]:.1f}" for n in names)
        + " |",
        "| all, as a multiple of the two other readers | "
        + " | ".join(f"{whole[n] / pictures[n]['ms'][OTHERS]:.2f}" for n in names)
        + " |",
        "",
        "Verdicts: "
        + ", ".join(f"{n} {pictures[n]['origin']} / {pictures[n]['assurance']}" for n in names)
        + ".",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
