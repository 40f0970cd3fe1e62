"""Damaged and hostile files against every reader of the detector.

    python -m benchmarks.fuzz [--inputs N] [--seed S] [--check]

Mutates small files of every container (default 200,000 inputs) and gives each to the decoder, the
metadata source with all its rules, and the readers of XMP, EXIF, hidden texts and, every
twentieth, C2PA. Fails when anything but our own errors is raised, when one input takes 2 s, or
when the process grows beyond 512 MB. Writes ``docs/benchmarks/fuzz.json`` and ``.md``;
``--check`` writes nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.fuzz.seeds import hostile_files, seed_files
from benchmarks.machine import describe_machine
from detector.evidence.exif import read_exif
from detector.evidence.metadata import MetadataSource
from detector.evidence.stealth import read_alpha_text
from detector.evidence.xmp import parse_xmp
from provenance.errors import ProvenanceError
from provenance.imaging import open_candidate, sniff_media_type
from provenance.manifest.reading import read_manifest
from provenance.manifest.trust import no_trust

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parents[2] / "docs" / "benchmarks"
MAX_SECONDS = 2.0
MAX_MEMORY_MB = 512
MANIFEST_EVERY = 20
"""The C2PA engine is native and has a fuzzer of its own upstream; each call costs milliseconds."""

_TOKENS = (
    b"\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"IEND",
    b"tEXt",
    b"8BIM",
    b"SEFT",
    b"Exif\0\0",
    b"II*\0\x08\0\0\0",
    b'{"',
    b"NaN",
    b"1e999",
    b"]" * 50,
    b"</rdf:RDF>",
    b"\x1c\x02\x6e\xff\xff",
)


def mutate(rng: random.Random, seeds: list[bytes]) -> bytes:
    """One seed, damaged in one to eight ways."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                data[place : place + 4] = rng.choice((1, 4, 255, 65535, 2**31, 2**32 - 1)).to_bytes(
                    4, rng.choice(("big", "little"))
                )
            case 2:
                data[place:place] = rng.choice(_TOKENS)
            case 3:
                del data[place : place + rng.randint(1, 64)]
            case 4:
                other = rng.choice(seeds)
                start = rng.randrange(len(other))
                data[place:place] = other[start : start + rng.randint(1, 512)]
            case 5:
                del data[rng.randint(place, len(data)) :]
    return bytes(data) or b"\0"


@dataclass(slots=True)
class Outcome:
    """What happened to the inputs so far."""

    inputs: int = 0
    slowest_s: float = 0.0
    slowest: str = ""
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def feed(self, name: str, data: bytes, *, with_manifest: bool) -> None:
        """Gives one input to every reader."""
        self.inputs += 1
        start = time.process_time()
        for reader in (_read_file, _read_blocks, *((_read_manifest,) if with_manifest else ())):
            self._run(reader, name, data)
        seconds = time.process_time() - start
        if seconds > self.slowest_s:
            self.slowest_s, self.slowest = seconds, name

    def _run(self, reader: Callable[[bytes], str], name: str, data: bytes) -> None:
        try:
            self.answers[reader(data)] += 1
        except ProvenanceError as error:
            self.answers[type(error).__name__] += 1
        except Exception:  # noqa: BLE001  what this looks for
            self.failures.append(f"{name}: {traceback.format_exc(limit=-2)}")


def _read_file(data: bytes) -> str:
    evidence = MetadataSource().collect(open_candidate(data, name="input"))
    return f"metadata {evidence[0].finding}"


def _read_blocks(data: bytes) -> str:
    parse_xmp(data)
    read_exif(data, place="block")
    read_alpha_text(b"stealth_pngcomp" + data)
    return "blocks read"


def _read_manifest(data: bytes) -> str:
    media_type = sniff_media_type(data)
    if media_type is None:
        return "no image"
    return f"manifest {read_manifest(data, media_type, trust=no_trust()).credential}"


def run(inputs: int, seed: int) -> Outcome:
    """Hostile files once, then mutants of the small ones."""
    rng = random.Random(seed)
    outcome = Outcome()
    for name, data in hostile_files().items():
        outcome.feed(name, data, with_manifest=False)
    seeds = seed_files()
    while outcome.inputs < inputs:
        number = outcome.inputs
        data = mutate(rng, seeds)
        outcome.feed(f"input {number}", data, with_manifest=number % MANIFEST_EVERY == 0)
    return outcome


def _peak_memory_mb() -> float:
    """The most that this process has held.

    Linux counts in ``ru_maxrss`` what the parent held when it started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    wanted = parser.parse_args()
    start = time.monotonic()
    outcome = run(wanted.inputs, wanted.seed)
    memory_mb = _peak_memory_mb()
    result = {
        "inputs": outcome.inputs,
        "seed": wanted.seed,
        "failures": outcome.failures[:20],
        "slowest_ms": round(1000 * outcome.slowest_s, 1),
        "slowest": outcome.slowest,
        "memory_mb": round(memory_mb),
        "seconds": round(time.monotonic() - start),
        "answers": dict(sorted(outcome.answers.items())),
    }
    print(json.dumps(result, indent=2))
    if not wanted.check:
        _write(result)
    is_fine = not outcome.failures and outcome.slowest_s < MAX_SECONDS and memory_mb < MAX_MEMORY_MB
    sys.exit(0 if is_fine else 1)


def _write(result: dict[str, object]) -> None:
    machine = describe_machine()
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "fuzz.json").write_text(json.dumps({"machine": machine, **result}, indent=2) + "\n")
    failures = result["failures"]
    lines = [
        "# Damaged and hostile files",
        "",
        f"`python -m benchmarks.fuzz --inputs {result['inputs']} --seed {result['seed']}`: "
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, "
        f"Python {machine['python']}, {result['seconds']} s.",
        "",
        "| | measured | limit |",
        "|---|---|---|",
        f"| foreign exceptions | {len(failures) if isinstance(failures, list) else 0} | 0 |",
        f"| slowest input, processor time | {result['slowest_ms']} ms ({result['slowest']}) | "
        f"{MAX_SECONDS:.0f} s |",
        f"| largest size of the process | {result['memory_mb']} MB | {MAX_MEMORY_MB} MB |",
        "",
    ]
    (RESULTS / "fuzz.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
