"""How often each codec's mark comes back after what pictures go through.

    python -m benchmarks.watermark [--photos FOLDER]... [--size 512|256|native|generated]...
        [--only GROUP]... [--peers NAME]... [--limit N] [--workers N] [--out FOLDER]

Photographs of ../shared/data/photos, one picture each, and of every FOLDER besides (held out from
tuning, by you: nothing is copied from there). Sections: central squares of 512 pixels, all codecs
and attacks; of 256 pixels; native size; and 512-pixel pictures of the bundled model. An interrupted
run goes on where it was, unless the code has changed. Writes ``docs/benchmarks/watermark.json``,
``.md`` and ``.html``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import describe_machine
from benchmarks.watermark.attacks import ATTACKS, TARGETS
from benchmarks.watermark.html import write_html
from benchmarks.watermark.journal import Journal, run_all
from benchmarks.watermark.measuring import NATIVE, measure
from benchmarks.watermark.peers import PEERS, trustmark_is_here
from benchmarks.watermark.pictures import PHOTOS, Picture, generated, photographs
from benchmarks.watermark.report import as_markdown, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS = Path(__file__).parents[2] / "docs" / "benchmarks"
_SMALL = ("none", "JPEG 75", "JPEG 50", "resize 2", "mirror", "crop 25 %", "rotation 10°")
_DEMANDED = tuple(a.name for a in ATTACKS.values() if TARGETS[a.group] is not None)
_OWN_MODEL = (*_DEMANDED, "VAE round trip")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report.

    Attributes:
        title: What stands over it.
        side_px: Size of its pictures; `NATIVE` for their own.
        attacks: Their names.
        all_peers: Every codec, or only those that take part everywhere.
    """

    title: str
    side_px: int
    attacks: tuple[str, ...]
    all_peers: bool = False


SECTIONS = {
    "512": Section("Photographs at 512x512", 512, tuple(ATTACKS), all_peers=True),
    "256": Section("Photographs at 256x256", 256, _SMALL),
    "native": Section("Photographs at their own size", NATIVE, _DEMANDED),
    "generated": Section("Pictures of the bundled model at 512x512", 512, _OWN_MODEL),
}


def plan(
    sections: Sequence[str],
    pictures: Mapping[str, Sequence[Picture]],
    *,
    peers: Sequence[str],
    groups: Sequence[str],
) -> dict[str, tuple[Any, ...]]:
    """All pieces of the run: the arguments of `measure` by key, our own codec first."""
    tasks: dict[str, tuple[Any, ...]] = {}
    for key in sections:
        section = SECTIONS[key]
        for codec in peers:
            entry = PEERS[codec]
            if not (section.all_peers or entry.everywhere):
                continue
            names = tuple(
                name
                for name in section.attacks
                if ATTACKS[name].group in groups and (entry.all_waves or ATTACKS[name].core)
            )
            among = pictures[key]
            for number in range(0, len(among), entry.every):
                others = tuple(str(among[(number + n) % len(among)].path) for n in (1, 2, 3))
                task = (codec, among[number], number, section.side_px, names, others)
                tasks[f"{key}|{codec}|{number}|{among[number].name}|{','.join(names)}"] = task
    return tasks


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, action="append", default=[])
    parser.add_argument("--size", choices=SECTIONS, action="append")
    parser.add_argument("--only", choices=TARGETS, action="append", help="group of attacks")
    parser.add_argument("--peers", choices=PEERS, nargs="+", default=list(PEERS))
    parser.add_argument("--limit", type=int, help="pictures a section")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> int:
    wanted = parse()
    sections = wanted.size or list(SECTIONS)
    photos = photographs(wanted.photos)[: wanted.limit]
    if not photos:
        print(f"{PHOTOS} holds no photographs; name a folder with --photos")
        return 0
    peers = [name for name in wanted.peers if name != "TrustMark" or trustmark_is_here()]
    drawn = generated()[: wanted.limit] if "generated" in sections else []
    pictures = {key: drawn if key == "generated" else photos for key in sections}
    tasks = plan(sections, pictures, peers=peers, groups=wanted.only or list(TARGETS))
    done = run_all(Journal("robustness"), tasks, measure, workers=wanted.workers, ready=_tell)
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "command": _command(wanted),
        "absent_peers": sorted(set(wanted.peers) - set(peers)),
        "sections": {
            key: {
                "title": SECTIONS[key].title,
                **summarise([one for task, one in done.items() if task.startswith(f"{key}|")]),
            }
            for key in sections
        },
    }
    wanted.out.mkdir(parents=True, exist_ok=True)
    text = as_markdown(result)
    (wanted.out / "watermark.json").write_text(json.dumps(result, indent=1) + "\n")
    (wanted.out / "watermark.md").write_text(text)
    write_html(result, {one.name: one for one in photos}, wanted.out / "watermark.html")
    print(text)
    return 0


def _tell(done: int, tasks: int) -> None:
    if done % 10 == 0 or done == tasks:
        print(f"{done} of {tasks} pieces", flush=True)


def _command(wanted: argparse.Namespace) -> str:
    """How it was called, without folders of this machine."""
    words = ["python -m benchmarks.watermark"]
    words += [f"--photos {folder.resolve().name}" for folder in wanted.photos]
    words += [f"--size {size}" for size in wanted.size or ()]
    words += [f"--only {group}" for group in wanted.only or ()]
    if wanted.peers != list(PEERS):
        words.append(f"--peers {' '.join(wanted.peers)}")
    if wanted.limit:
        words.append(f"--limit {wanted.limit}")
    return " ".join(words)


if __name__ == "__main__":
    raise SystemExit(main())
