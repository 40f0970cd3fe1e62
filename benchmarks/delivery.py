"""What a delivered picture survives, and what marking costs: the whole write and read path.

    python -m benchmarks.delivery [--pictures N]

Generates N pictures (default 10) with the bundled model in a registry of its own, verifies each as
delivered, losslessly stripped, and re-saved as JPEG, and times each step of the write path. Writes
``docs/benchmarks/delivery.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from benchmarks.machine import describe_machine
from detector.wiring import build_detector
from generator.wiring import build_generator
from provenance.config import load_settings
from provenance.demo.attacks import shrink, strip_metadata
from provenance.imaging import decode_image
from provenance.types import Assurance, EncodedImage, GenerationRequest, MediaType, Origin
from provenance.watermark.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provenance.types import Delivery, SignedAsset

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"

PROMPTS = (
    "a red house on a green hill at night",
    "a yellow moon over blue water",
    "snowy mountains under a cloudy sky",
    "green trees beside a lake in the morning",
    "a white house by the sea at sunset",
    "an orange sun over purple hills",
    "a blue house in the rain",
    "a forest of dark trees in fog",
    "a brown house beside a river at noon",
    "stars over a black hill at night",
)


def save_as_jpeg(asset: SignedAsset, quality: int) -> EncodedImage:
    out = io.BytesIO()
    Image.fromarray(decode_image(asset.image.data).pixels).save(out, "JPEG", quality=quality)
    return EncodedImage(out.getvalue(), MediaType.JPEG)


TREATMENTS: dict[str, Callable[[SignedAsset], EncodedImage]] = {
    "as delivered": lambda asset: asset.image,
    "metadata stripped losslessly": strip_metadata,
    "saved as JPEG 90": lambda asset: save_as_jpeg(asset, 90),
    "saved as JPEG 75": lambda asset: save_as_jpeg(asset, 75),
    "saved as JPEG 60": lambda asset: save_as_jpeg(asset, 60),
    "resized to 75 %": shrink,
}


class Stopwatch:
    """Wall seconds by step; steps are timed by wrapping the service's own parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step].append(time.perf_counter() - start)

    def wrap(self, step: str, owner: Any, name: str) -> Callable[[], None]:
        """Times every call of a method; returns what puts the method back."""
        original = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.measure(step):
                return original(*arguments, **named)

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, original)


def ignore_steps(_report: object) -> None:
    """Nobody watches a benchmark."""


def generate(settings: Any, count: int, watch: Stopwatch) -> list[Delivery]:
    from generator.marks import Marks
    from registry.store import SqlRecordStore

    generator = build_generator(settings)
    studio = generator.service.open_studio(None)
    service = replace(generator.service, open_studio=lambda _: studio)
    warm_up = GenerationRequest(prompt=PROMPTS[0], seed=1, steps=2)
    service.generate(warm_up, ignore_steps)
    undo = [
        watch.wrap("render (W3)", type(studio.pipeline), "render"),
        watch.wrap("safety (W4)", type(studio.checker), "score"),
        watch.wrap("mark and read back (W5)", Marks, "mark"),
        watch.wrap("fingerprint (W6)", Marks, "fingerprint"),
        watch.wrap("sign and read back (W7)", Marks, "sign"),
        watch.wrap("commit (W8)", SqlRecordStore, "commit"),
    ]
    deliveries = []
    for number in range(count):
        request = GenerationRequest(prompt=PROMPTS[number % len(PROMPTS)], seed=100 + number)
        with watch.measure("whole picture (W1 to W9)"):
            deliveries.append(service.generate(request, ignore_steps))
        print(f"generated {number + 1} of {count}", flush=True)
    for put_back in undo:
        put_back()
    return deliveries


def verify(settings: Any, deliveries: list[Delivery], watch: Stopwatch) -> dict[str, int]:
    detector = build_detector(settings)
    found: dict[str, int] = {}
    for name, treat in TREATMENTS.items():
        found[name] = 0
        for delivery in deliveries:
            image = treat(delivery.asset)
            with watch.measure("verify"):
                verdict = detector.verify(image.data, name=name)
            found[name] += (
                verdict.origin is Origin.MACHINE_MADE
                and verdict.assurance is Assurance.REGISTERED
                and verdict.record_id == delivery.record.record_id
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10)
    count = parser.parse_args().pictures
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(environ={}, home=Path(folder))
        deliveries = generate(settings, count, watch)
        found = verify(settings, deliveries, watch)
    write(count, deliveries, found, watch)


def write(count: int, deliveries: list[Delivery], found: dict[str, int], watch: Stopwatch) -> None:
    machine = describe_machine()
    model = deliveries[0].record.model
    quality = [d.record.watermark.psnr_db for d in deliveries if d.record.watermark]
    recovery = {
        name: {"k": k, "n": count, "wilson_95": [round(x, 4) for x in wilson_interval(k, count)]}
        for name, k in found.items()
    }
    medians = {name: round(statistics.median(v) * 1000, 1) for name, v in watch.seconds.items()}
    result = {
        "machine": machine,
        "model": {"name": model.name, "weights_sha256": model.weights_sha256} if model else None,
        "found": recovery,
        "psnr_db": {"min": round(min(quality), 2), "median": round(statistics.median(quality), 2)},
        "median_ms": medians,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "delivery.json").write_text(json.dumps(result, indent=2) + "\n")
    rows = [
        f"| {name} | {r['k']} of {r['n']} | {r['wilson_95'][0]:.2f} to {r['wilson_95'][1]:.2f} |"
        for name, r in recovery.items()
    ]
    times = [f"| {name} | {value:.0f} |" for name, value in medians.items()]
    text = [
        "# What a delivered picture survives, and what marking costs",
        "",
        f"`python -m benchmarks.delivery --pictures {count}`: {machine['date']}, {machine['cpu']}, "
        f"{machine['cores']} cores, Python {machine['python']}. Bundled model "
        f"`{model.weights_sha256[:12] if model else ''}`, 512x512, 20 steps, PNG.",
        "",
        "Found: verdict `machine_made / registered` with the right record id.",
        "",
        "| treatment | found | 95 % interval (Wilson) |",
        "|---|---|---|",
        *rows,
        "",
        f"Watermark: PSNR {result['psnr_db']['median']} dB median, "
        f"{result['psnr_db']['min']} dB lowest.",
        "",
        "| step | median ms, wall |",
        "|---|---|",
        *times,
        "",
    ]
    (RESULTS / "delivery.md").write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
