"""What marking costs a picture, and what a service that delivers it pays: in process and in a pool.

    python -m benchmarks.marking_overhead [--pictures N] [--renders N] [--batch N]

Three things are measured with the bundled model at 512x512, PNG, in a registry of its own:

1. Each step of the write path after rendering, over `--pictures` different pictures (default 12).
2. A render of one step and one of 20, over `--renders` each (default 5), and marking as its share.
3. Delivered pictures per second of a one-step and of a 20-step service, over `--batch` pictures
   (default 6): rendering alone, marked in turn, and marked in a process of its own while the next
   picture is rendered, as `countermark serve` does it.

Writes ``docs/benchmarks/marking_overhead.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.delivery import PROMPTS
from benchmarks.machine import describe_machine
from generator.marking_pool import MarkingPool
from generator.marks import Marks
from generator.wiring import build_generator, build_marker
from provenance.config import load_settings
from provenance.types import GenerationRequest
from registry.store import SqlRecordStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from generator.service import GenerationService, Rendered

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"
STEPS = (1, 20)
EMBEDDING = "embed the mark (W5)"
WATERMARK = "W5"
MARKING = "marking, all of it (W5 to W9)"
WORKERS = 1


def ignore_steps(report: object) -> None:
    """Nobody watches a benchmark."""


def make_request(number: int, steps: int) -> GenerationRequest:
    return GenerationRequest(prompt=PROMPTS[number % len(PROMPTS)], seed=100 + number, steps=steps)


class Stopwatch:
    """Wall milliseconds by step, summed over each picture: a step may be tried more than once."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = defaultdict(list)
        self._picture: dict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._picture[step] += (time.perf_counter() - start) * 1000

    @contextmanager
    def wrapped(self, step: str, owner: Any, name: str) -> Iterator[None]:
        """Times every call of a method within the block."""
        original = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.measure(step):
                return original(*arguments, **named)

        setattr(owner, name, timed)
        try:
            yield
        finally:
            setattr(owner, name, original)

    def end_picture(self) -> None:
        for step, ms in self._picture.items():
            self.ms[step].append(ms)
        self._picture.clear()


def measure_steps(service: GenerationService, count: int) -> dict[str, list[float]]:
    """Each step after rendering, in turn."""
    watch = Stopwatch()
    # One step is enough to have a picture; what it shows costs the mark nothing.
    rendered = [service.render(make_request(n, 1), ignore_steps) for n in range(count + 1)]
    service.finish(rendered.pop())  # imports, keys and caches
    with (
        watch.wrapped(EMBEDDING, type(service.marks.codec), "embed"),
        watch.wrapped(WATERMARK, Marks, "mark"),
        watch.wrapped("fingerprint (W6)", Marks, "fingerprint"),
        watch.wrapped("sign and read back (W7)", Marks, "sign"),
        watch.wrapped("commit (W8)", SqlRecordStore, "commit"),
    ):
        for one in rendered:
            with watch.measure(MARKING):
                service.finish(one)
            watch.end_picture()
    marks = zip(watch.ms.pop(WATERMARK), watch.ms[EMBEDDING], strict=True)
    read_back = [whole - embedding for whole, embedding in marks]
    embedding = watch.ms.pop(EMBEDDING)
    return {EMBEDDING: embedding, "encode and read back the mark (W5)": read_back, **watch.ms}


def measure_renders(service: GenerationService, count: int) -> dict[int, list[float]]:
    """W1 to W4 by number of steps."""
    watch = Stopwatch()
    for steps in STEPS:
        for number in range(count):
            with watch.measure(str(steps)):
                rendered = service.render(make_request(number, steps), ignore_steps)
            watch.end_picture()
            service.discard(rendered)
    return {steps: watch.ms[str(steps)] for steps in STEPS}


def render_alone(service: GenerationService, steps: int, count: int) -> None:
    for number in range(count):
        service.discard(service.render(make_request(number, steps), ignore_steps))


def mark_in_turn(service: GenerationService, steps: int, count: int) -> None:
    for number in range(count):
        service.generate(make_request(number, steps), ignore_steps)


def mark_meanwhile(
    threads: ThreadPoolExecutor, service: GenerationService, steps: int, count: int
) -> None:
    """As the job worker does it: each rendered picture is handed on."""
    marking: list[Future[Any]] = []
    for number in range(count):
        rendered: Rendered = service.render(make_request(number, steps), ignore_steps)
        marking.append(threads.submit(service.finish, rendered))
    for future in marking:
        future.result()


def measure_rates(
    service: GenerationService, pool: MarkingPool, count: int
) -> dict[str, dict[str, float]]:
    """Delivered pictures per second, by way of marking and number of steps."""
    pooled = replace(service, marker=pool)
    pooled.generate(make_request(0, 1), ignore_steps)  # the process is up
    rates: dict[str, dict[str, float]] = {}
    with ThreadPoolExecutor(WORKERS) as threads:
        ways: dict[str, Callable[[int], None]] = {
            "rendering alone, nothing marked": lambda n: render_alone(service, n, count),
            "marked in turn, in process": lambda n: mark_in_turn(service, n, count),
            "marked meanwhile, in a pool of 1": lambda n: mark_meanwhile(threads, pooled, n, count),
        }
        for name, way in ways.items():
            rates[name] = {}
            for steps in STEPS:
                start = time.perf_counter()
                way(steps)
                rates[name][str(steps)] = round(count / (time.perf_counter() - start), 3)
                print(f"{name}, {steps} steps: {rates[name][str(steps)]} a second", flush=True)
    return rates


def summarise(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 1),
        "min": round(min(values), 1),
        "max": round(max(values), 1),
        "n": len(values),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--renders", type=int, default=5)
    parser.add_argument("--batch", type=int, default=6)
    counts = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(environ={}, home=Path(folder))
        service = build_generator(settings).service
        studio = service.open_studio(None)
        steps = measure_steps(service, counts.pictures)
        renders = measure_renders(service, counts.renders)
        with MarkingPool(partial(build_marker, settings), workers=WORKERS) as pool:
            rates = measure_rates(service, pool, counts.batch)
        model = studio.pipeline.model
    marking = statistics.median(steps[MARKING])
    result = {
        "machine": describe_machine(),
        "command": f"python -m benchmarks.marking_overhead --pictures {counts.pictures} "
        f"--renders {counts.renders} --batch {counts.batch}",
        "model": {"name": model.name, "weights_sha256": model.weights_sha256},
        "codec": service.marks.codec.name,
        "marking_ms": {name: summarise(values) for name, values in steps.items()},
        "render_ms": {str(n): summarise(values) for n, values in renders.items()},
        "marking_share_of_render": {
            str(n): round(marking / statistics.median(values), 3) for n, values in renders.items()
        },
        "delivered_per_second": {"pictures": counts.batch, **rates},
    }
    write(result)


def write(result: dict[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "marking_overhead.json").write_text(json.dumps(result, indent=2) + "\n")
    text = as_markdown(result)
    (RESULTS / "marking_overhead.md").write_text(text)
    print(text)


def as_markdown(result: dict[str, Any]) -> str:
    machine, share = result["machine"], result["marking_share_of_render"]
    rates = dict(result["delivered_per_second"])
    batch = rates.pop("pictures")

    def row(name: str, values: dict[str, float]) -> str:
        spread = f"{values['min']:.1f} to {values['max']:.1f}"
        return f"| {name} | {values['median']:.1f} | {spread} | {values['n']} |"

    return "\n".join(
        [
            "# What marking costs",
            "",
            f"`{result['command']}`: {machine['date']}, {machine['cpu']}, {machine['cores']} "
            f"cores, Python {machine['python']}. Bundled model "
            f"`{result['model']['weights_sha256'][:12]}` on the processor, 512x512, PNG, codec "
            f"{result['codec']}. Wall times.",
            "",
            "| step | median ms | lowest to highest | pictures |",
            "|---|---|---|---|",
            *(row(name, values) for name, values in result["marking_ms"].items()),
            *(
                row(f"render, {n} step{'s' if n != '1' else ''} (W1 to W4)", values)
                for n, values in result["render_ms"].items()
            ),
            "",
            f"Marking is {share['1']:.0%} of a one-step render and {share['20']:.0%} of a 20-step "
            "render here; on an accelerator the render is shorter and marking is not, which is why "
            "the service marks in processes of their own.",
            "",
            f"Delivered pictures per second, over {batch}:",
            "",
            "| way | 1 step | 20 steps |",
            "|---|---|---|",
            *(f"| {name} | {r['1']:.2f} | {r['20']:.2f} |" for name, r in rates.items()),
            "",
            "Rendering on the processor and marking share the cores of this machine, so the pool "
            "gains less here than beside an accelerator.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
