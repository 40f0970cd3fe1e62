"""What attacks on the lattice mark itself achieve, without the key and with it.

    python -m benchmarks.watermark.security [--photos FOLDER]... [--limit N] [--collected N]
        [--workers N] [--out FOLDER]

Each attack is tried on every photograph at 512x512. To average, the attacker has `--collected`
(default 100) marked pictures: windows cut at random from the same photographs and those of FOLDERs,
the victim's own left out where there are others. Writes ``docs/benchmarks/watermark_security.json``
and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.watermark import forging, quality
from benchmarks.watermark.journal import Journal, run_all
from benchmarks.watermark.peers import KEY, mark, record_id
from benchmarks.watermark.pictures import Picture, photographs
from provenance.config import ServeSettings
from provenance.errors import ReadBackError
from provenance.types import Finding, RecordId, WatermarkPayload
from provenance.watermark.codecs.lattice import LatticeCodec
from provenance.watermark.codecs.lattice_carrier import SLOTS, slot_of
from provenance.watermark.marking import MarkReader
from provenance.watermark.payload import WatermarkKey
from provenance.watermark.statistics import PRESENCE_P_VALUE, tag_p_value, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from provenance.types import RasterImage

RESULTS = Path(__file__).parents[2] / "docs" / "benchmarks"
SIDE_PX = 512
FEW = 11
OTHER_KEY = WatermarkKey(b"benchmark key of somebody else, public")
CODEC = LatticeCodec()
READER = MarkReader((CODEC,), (KEY,))
STRENGTHS_LEVELS = (1.6, 3.2)
"""Root mean square of what is added or taken away: that of a mark of 44 dB, and twice as much."""


@dataclass(frozen=True, slots=True)
class Victim:
    """A marked picture and what the attackers know besides."""

    picture: Picture
    original: RasterImage
    marked: RasterImage
    record: RecordId
    stranger: RasterImage
    residual: forging.Plane


@dataclass(frozen=True, slots=True)
class Tries:
    """What each attack on one picture came to, a row each."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        attack: str,
        attacked: RasterImage,
        reference: RasterImage,
        record: RecordId | None,
        reader: MarkReader = READER,
    ) -> None:
        """Reads a picture after an attack; `reference` is what it would be seen beside."""
        answer = reader.read(attacked, thorough=True)
        sure = answer.p_value is not None and answer.p_value <= PRESENCE_P_VALUE
        row = {
            "attack": attack,
            "id_read": record is not None and answer.record_id == record,
            "another_id_read": answer.record_id not in (None, record),
            "present": answer.finding is Finding.PRESENT or sure,
            "psnr_db": quality.psnr_db(attacked, reference),
        }
        self.rows.append(row)


def same_slot(number: int) -> RecordId:
    """Ids that differ in all but the digit that chooses the slot."""
    return RecordId(record_id(number)[:-1] + "7")


@cache
def collect(
    pictures: tuple[Picture, ...], ids: Callable[[int], RecordId], count: int
) -> list[tuple[str, forging.Plane]]:
    """Residuals of marked pictures, with the photograph that each is cut from.

    Enough that `count` are left without those of any one photograph, where there are several.
    """
    draw = np.random.default_rng(11)
    taken = []
    for number in range(count + math.ceil(count / max(1, len(pictures) - 1))):
        picture = pictures[number % len(pictures)]
        window = picture.window(SIDE_PX, draw)
        with suppress(ReadBackError):  # never delivered, so nobody collects it
            marked = mark(window, ids(1000 + number), codec=CODEC)
            taken.append((picture.name, forging.residual(marked)))
    return taken


def attack_all(number: int, pictures: tuple[Picture, ...], collected: int) -> list[dict[str, Any]]:
    """One piece of the run: every attack on one photograph."""
    original = pictures[number].square(SIDE_PX)
    record = same_slot(number)
    try:
        marked = mark(original, record, codec=CODEC)
    except ReadBackError:
        return []  # never delivered, so there is nothing to attack
    stranger = pictures[(number + 1) % len(pictures)].square(SIDE_PX)
    residual = forging.residual(marked)
    victim = Victim(pictures[number], original, marked, record, stranger, residual)
    tries = Tries()
    attack_alone(victim, number, tries)
    attack_with_key(victim, number, tries)
    for name, ids in (("one slot", same_slot), (f"{SLOTS} slots", record_id)):
        taken = collect(pictures, ids, collected)
        attack_by_averages(victim, name, taken, tries, most=collected)
    return tries.rows


def attack_alone(victim: Victim, number: int, tries: Tries) -> None:
    """What takes one marked picture, or the key of somebody else."""
    tries.add(
        "wrong key",
        victim.marked,
        victim.original,
        victim.record,
        MarkReader((CODEC,), (OTHER_KEY,)),
    )
    pasted = forging.add(victim.stranger, victim.residual)
    tries.add("copy attack", pasted, victim.stranger, victim.record)
    own = forging.tiled(forging.fold(victim.residual), victim.residual.shape)
    for factor in (1, 2):
        weaker = forging.add(victim.marked, -factor * own)
        tries.add(f"self-estimate taken away x{factor}", weaker, victim.marked, victim.record)
    second = record_id(5000 + number)
    # Without the read-back loop, in all second marks: it would insist on the second.
    over = CODEC.embed(victim.marked, WatermarkPayload(second), key=OTHER_KEY, strength=1.0)
    tries.add("second mark, another key: first", over, victim.marked, victim.record)
    tries.add(
        "second mark, another key: second",
        over,
        victim.marked,
        second,
        MarkReader((CODEC,), (OTHER_KEY,)),
    )


def attack_with_key(victim: Victim, number: int, tries: Tries) -> None:
    """A second mark under the same key."""
    for name, second in (
        ("second mark, same key, another slot", _other_slot(5000 + number)),
        ("second mark, same key, same slot", same_slot(5000 + number)),
    ):
        over = CODEC.embed(victim.marked, WatermarkPayload(second), key=KEY, strength=1.0)
        tries.add(name, over, victim.marked, victim.record)


def _other_slot(number: int) -> RecordId:
    record = record_id(number)
    return record if slot_of(record) != 7 else RecordId(record[:-1] + "8")


def attack_by_averages(
    victim: Victim,
    name: str,
    taken: list[tuple[str, forging.Plane]],
    tries: Tries,
    *,
    most: int,
) -> None:
    """Takes an averaged residual away, and forges with it."""
    others = [plane for source, plane in taken if source != victim.picture.name]
    others = others or [plane for _, plane in taken]
    for count in (FEW, most):
        some = others[:count]
        plain = np.mean(some, axis=0, dtype=np.float32)
        _subtract(victim, plain, f"average of {count}, {name}", tries)
        tile = forging.average_tile([forging.fold(plane) for plane in some])
        fitted = forging.aligned(tile, forging.fold(victim.residual))
        pattern = forging.tiled(fitted, victim.residual.shape)
        _subtract(victim, pattern, f"aligned average of {count}, {name}", tries)
        forged = forging.add(victim.stranger, forging.scaled_to(pattern, STRENGTHS_LEVELS[0]))
        tries.add(f"forged from aligned average of {count}, {name}", forged, victim.stranger, None)


def _subtract(victim: Victim, pattern: forging.Plane, name: str, tries: Tries) -> None:
    for times, levels in enumerate(STRENGTHS_LEVELS, 1):
        weaker = forging.add(victim.marked, -forging.scaled_to(pattern, levels))
        tries.add(f"{name} taken away x{times}", weaker, victim.marked, victim.record)


def summarise(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each attack achieved, in the order in which they were tried."""
    attacks: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        attacks[row["attack"]].append(row)
    return {name: _count(name, some) for name, some in attacks.items()}


def _count(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    read = sum(row["id_read"] for row in rows)
    return {
        "aim": _aim(name),
        "tries": len(rows),
        "id_read": read,
        "id_read_wilson_95": [round(end, 3) for end in wilson_interval(read, len(rows))],
        "present": sum(row["present"] for row in rows),
        "another_id_read": sum(row["another_id_read"] for row in rows),
        "psnr_db_median": round(statistics.median(row["psnr_db"] for row in rows), 1),
    }


def _aim(name: str) -> str:
    if "taken away" in name:
        return "remove"
    return "forge" if name.startswith(("copy", "forged")) else "confuse"


def brute_force() -> dict[str, Any]:
    """Time until one made-up id is expected to pass, at the rate that strangers are allowed."""
    a_picture = tag_p_value(CODEC.readings(1))
    per_minute = ServeSettings().open_rate_per_minute
    years = 1 / (a_picture * per_minute) / (60 * 24 * 365.25)
    return {
        "bound_per_picture": a_picture,
        "pictures_per_minute": per_minute,
        "expected_years_per_address": round(years, 1),
    }


def as_markdown(result: dict[str, Any]) -> str:
    machine, brute = result["machine"], result["brute_force"]
    rows = [
        f"| {name} | {a['aim']} | {a['id_read']}/{a['tries']} "
        f"({a['id_read_wilson_95'][0]:.0%}–{a['id_read_wilson_95'][1]:.0%}) | {a['present']} | "
        f"{a['another_id_read']} | {a['psnr_db_median']:.1f} |"
        for name, a in result["attacks"].items()
    ]
    return "\n".join(
        [
            "# Attacks on the mark itself",
            "",
            f"`{result['command']}`: {machine['date']}, {machine['cpu']}, {machine['cores']} "
            f"cores, Python {machine['python']}. Codec lattice, {result['pictures']} photographs "
            f"at {SIDE_PX}x{SIDE_PX}, thorough reading.",
            "",
            "*Id read*: the id that was written first (after the second of two marks: that one) "
            "comes back, of all tries (95 % interval by Wilson); forging has no id to hope for "
            "unless it copies one. *Present*: a mark is known to be there at 1e-6. *PSNR*: of the "
            "attacked picture against the one before the attack, median. Removing pays where id "
            "and presence are gone at a PSNR that still pleases; forging where an id is read.",
            "",
            "| attack | aim | id read | present | another id read | PSNR dB |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Brute force through the API: a picture gives a made-up id with probability "
            f"{brute['bound_per_picture']:.1e} at most, whatever is in it; at "
            f"{brute['pictures_per_minute']} pictures a minute, the default for callers without "
            f"a key, one address waits {brute['expected_years_per_address']:.0f} years for its "
            "first. The id would name no record.",
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, action="append", default=[])
    parser.add_argument("--limit", type=int, help="photographs that are attacked")
    parser.add_argument("--collected", type=int, default=100, help="marked pictures averaged")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    wanted = parser.parse_args()
    pictures = tuple(photographs(wanted.photos))
    tasks = {
        f"{picture.name}|{len(pictures)}|{wanted.collected}": (number, pictures, wanted.collected)
        for number, picture in enumerate(pictures[: wanted.limit])
    }
    done = run_all(Journal("security"), tasks, attack_all, workers=wanted.workers, ready=_tell)
    folders = "".join(f" --photos {folder.resolve().name}" for folder in wanted.photos)
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "command": f"python -m benchmarks.watermark.security{folders}",
        "pictures": len(done),
        "collected": wanted.collected,
        "attacks": summarise(row for rows in done.values() for row in rows),
        "brute_force": brute_force(),
    }
    wanted.out.mkdir(parents=True, exist_ok=True)
    text = as_markdown(result)
    (wanted.out / "watermark_security.json").write_text(json.dumps(result, indent=1) + "\n")
    (wanted.out / "watermark_security.md").write_text(text)
    print(text)
    return 0


def _tell(done: int, tasks: int) -> None:
    print(f"{done} of {tasks} photographs", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
