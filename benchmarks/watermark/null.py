"""How often a mark is found where there is none.

    python -m benchmarks.watermark.null [--trials N] [--thorough N] [--photos FOLDER]...
        [--limit N] [--workers N] [--out FOLDER]

A trial is one picture under one key, of which 16 share each reading. Pictures: photographs,
graphics, other generators' files, unmarked pictures of the bundled model, and pictures that carry
other marks or ours under another key; central squares of 512 pixels. `--trials` (default 20000) are
read fast, `--thorough` (default 480) with every search, four keys a reading and without limit of
time. Writes ``docs/benchmarks/watermark_null.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from benchmarks.machine import describe_machine
from benchmarks.watermark.journal import Journal, run_all
from benchmarks.watermark.observing import observe_readings
from benchmarks.watermark.strangers import Stranger, strangers
from provenance.types import Finding
from provenance.watermark.codecs.lattice import LatticeCodec
from provenance.watermark.marking import MarkReader
from provenance.watermark.payload import WatermarkKey
from provenance.watermark.statistics import PRESENCE_P_VALUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESULTS = Path(__file__).parents[2] / "docs" / "benchmarks"
FAST_KEYS = 16
"""As many as the codec keeps carriers of."""

THOROUGH_KEYS = 4
_NO_LIMIT_S = 1e6
_PICTURES_A_TASK = 8
_QUANTILES = (0.5, 0.9, 0.99, 0.999)


def key_number(number: int) -> WatermarkKey:
    return WatermarkKey(b"null trial %d" % number + b" " * 16)


def try_pictures(
    some: Sequence[tuple[int, Stranger]], first_key: int, keys: int, mode: str
) -> list[dict[str, Any]]:
    """One piece: some pictures, each under the same keys; a document for each picture."""
    wanted = tuple(key_number(first_key + n) for n in range(keys))
    reader = MarkReader((LatticeCodec(budget_s=_NO_LIMIT_S),), wanted)
    answers = []
    for number, stranger in some:
        image = stranger.load(number)
        with observe_readings() as seen:
            answer = reader.read(image, thorough=mode == "thorough")
        answers.append(
            {
                "kind": stranger.kind,
                "ids": seen.ids,
                "present": answer.finding is Finding.PRESENT
                or (answer.p_value is not None and answer.p_value <= PRESENCE_P_VALUE),
                "looked": bool(seen.statistics),
                "p_value": answer.p_value,
                "words": round(seen.words, 3),
                "statistics": [round(seen.best(key.key_id), 3) for key in wanted],
            }
        )
    return answers


def plan(
    pictures: Sequence[Stranger], trials: int, keys: int, mode: str
) -> dict[str, tuple[Any, ...]]:
    """Pieces that make up at least so many trials: all pictures under some keys, then under others.

    Where that is more than asked for, pictures spread evenly over all kinds are taken.
    """
    readings = math.ceil(trials / keys)
    if readings < len(pictures):
        chosen = np.linspace(0, len(pictures) - 1, readings).round().astype(int).tolist()
    else:
        chosen = list(range(len(pictures)))
    tasks: dict[str, tuple[Any, ...]] = {}
    for turn in range(math.ceil(readings / len(chosen))):
        for start in range(0, len(chosen), _PICTURES_A_TASK):
            numbers = chosen[start : start + _PICTURES_A_TASK]
            some = [(number, pictures[number]) for number in numbers]
            names = ",".join(f"{one.kind}/{one.picture.name}" for _, one in some)
            tasks[f"{mode}|{turn * keys}|{keys}|{names}"] = (some, turn * keys, keys, mode)
    return tasks


def summarise(answers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Trials by kind and in all, with bounds."""
    kinds = defaultdict(list)
    for answer in answers:
        kinds[answer["kind"]].append(answer)
    every = [answer for some in kinds.values() for answer in some]
    return {
        "kinds": {kind: _count(some) for kind, some in kinds.items()},
        "all": _count(every),
        "histogram": _histogram(every),
    }


def _count(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    looked = [answer for answer in answers if answer["looked"]]
    statistic = np.array([value for answer in looked for value in answer["statistics"]])
    count: dict[str, Any] = {
        "readings": len(looked),
        "unreadable": len(answers) - len(looked),
        "trials": int(statistic.size),
        "false_ids": sum(len(answer["ids"]) for answer in answers),
        "false_presence": sum(answer["present"] for answer in answers),
    }
    if statistic.size:
        count |= {
            "false_ids_bound_95": upper_bound(count["false_ids"], statistic.size),
            "words_tried": round(sum(answer["words"] for answer in looked), 1),
            "lowest_p_value": min(answer["p_value"] or 1.0 for answer in looked),
            "statistic": {
                "mean": round(float(statistic.mean()), 3),
                "sd": round(float(statistic.std()), 3),
                "quantiles": {
                    str(q): round(float(np.quantile(statistic, q)), 3) for q in _QUANTILES
                },
                "highest": round(float(statistic.max()), 3),
            },
        }
    return count


def upper_bound(hits: int, trials: int) -> float:
    """One-sided 95 % bound of a rate; about 3 / trials without a hit.

    Source: Clopper and Pearson, Biometrika 26(4), 1934.
    """
    if hits >= trials:
        return 1.0
    return float(stats.beta.ppf(0.95, hits + 1, trials - hits))


def _histogram(answers: Sequence[dict[str, Any]]) -> dict[str, int]:
    values = np.array([value for answer in answers for value in answer["statistics"]])
    edges = np.arange(0, 12.01, 0.25)
    counts, _ = np.histogram(values, edges)
    return {f"{edge:.2f}": int(n) for edge, n in zip(edges, counts, strict=False) if n}


def as_markdown(result: dict[str, Any]) -> str:
    machine = result["machine"]
    parts = [
        "# How often a mark is found where there is none",
        "",
        f"`{result['command']}`: {machine['date']}, {machine['cpu']}, {machine['cores']} cores, "
        f"Python {machine['python']}. Codec lattice.",
        "",
        "A trial is one picture under one key that did not mark it. *Statistic*: how well the "
        "key's pilots agree, in deviations, at the best geometry that was read; marked pictures "
        "reach 10 and more. *Bound*: of the rate of false ids per trial, one-sided 95 % "
        "(Clopper-Pearson). All keys of a reading share the picture's budget of words, so the "
        "column of words says how many were compared with a tag in all: each is false with "
        "probability 2^-36.",
        "",
    ]
    for mode, keys in (("fast", FAST_KEYS), ("thorough", THOROUGH_KEYS)):
        if mode in result:
            parts += [
                f"## {mode.capitalize()} reading, {keys} keys each",
                "",
                *_table(result[mode]),
            ]
    return "\n".join(parts) + "\n"


def _table(summary: dict[str, Any]) -> list[str]:
    lines = [
        "| pictures | trials | false ids | bound | called present (p ≤ 1e-6) | words | statistic: "
        "mean ± sd | 99.9 % | highest | lowest p-value of a reading |",
        "|---" * 10 + "|",
    ]
    for kind, count in [*summary["kinds"].items(), ("**all**", summary["all"])]:
        if not count["trials"]:
            lines.append(f"| {kind} | 0 | - | - | - | - | - | - | - | - |")
            continue
        statistic = count["statistic"]
        lines.append(
            f"| {kind} | {count['trials']} | {count['false_ids']} | "
            f"{count['false_ids_bound_95']:.1e} | {count['false_presence']} | "
            f"{count['words_tried']:.0f} | {statistic['mean']:.2f} ± {statistic['sd']:.2f} | "
            f"{statistic['quantiles']['0.999']:.2f} | {statistic['highest']:.2f} | "
            f"{count['lowest_p_value']:.1e} |"
        )
    return [*lines, ""]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--thorough", type=int, default=480)
    parser.add_argument("--photos", type=Path, action="append", default=[])
    parser.add_argument("--limit", type=int, help="pictures of a kind")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    wanted = parser.parse_args()
    pictures = strangers(wanted.photos, limit=wanted.limit)
    folders = "".join(f" --photos {folder.resolve().name}" for folder in wanted.photos)
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "command": f"python -m benchmarks.watermark.null --trials {wanted.trials} "
        f"--thorough {wanted.thorough}{folders}",
    }
    journal = Journal("null")
    modes = (("fast", wanted.trials, FAST_KEYS), ("thorough", wanted.thorough, THOROUGH_KEYS))
    for mode, trials, keys in modes:
        if trials:
            tasks = plan(pictures, trials, keys, mode)
            done = run_all(journal, tasks, try_pictures, workers=wanted.workers, ready=_tell)
            result[mode] = summarise(answer for piece in done.values() for answer in piece)
    wanted.out.mkdir(parents=True, exist_ok=True)
    text = as_markdown(result)
    (wanted.out / "watermark_null.json").write_text(json.dumps(result, indent=1) + "\n")
    (wanted.out / "watermark_null.md").write_text(text)
    print(text)
    return 0


def _tell(done: int, tasks: int) -> None:
    if done % 10 == 0 or done == tasks:
        print(f"{done} of {tasks} pieces", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
