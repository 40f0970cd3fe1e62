"""From outcomes to figures, and from figures to Markdown. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

from benchmarks.watermark.attacks import ATTACKS, TARGETS
from benchmarks.watermark.peers import PEERS, Outcome
from benchmarks.watermark.quality import distribution
from provenance.watermark.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Document = dict[str, Any]

GROUP_TITLES = {
    "99": "What every picture goes through: at least 99 %",
    "97": "Geometry: at least 97 %",
    "93": "Hard: at least 93 %",
    "80": "Harder: at least 80 %",
    "open": "As high as it goes",
    "waves": "WAVES distortions",
}
_WORST = 3


def summarise(pieces: Sequence[Document]) -> Document:
    """One section: codecs with quality, times and attacks; sources with their pictures."""
    codecs: dict[str, list[Document]] = {}
    for piece in pieces:
        codecs.setdefault(piece["codec"], []).append(piece)
    pictures = {piece["picture"]: piece["source"] for piece in pieces}
    return {
        "pictures": dict(Counter(pictures.values())),
        "codecs": {codec: _summarise_codec(codec, some) for codec, some in codecs.items()},
    }


def _summarise_codec(codec: str, pieces: Sequence[Document]) -> Document:
    marked = [piece for piece in pieces if piece["marked"]]
    names = list(dict.fromkeys(name for piece in marked for name in piece["outcomes"]))
    summary: Document = {
        "carries": PEERS[codec].carries,
        "pictures": len(pieces),
        "marked": len(marked),
        "attacks": {name: _count(name, marked, len(pieces)) for name in names},
    }
    if marked:
        worst = sorted(marked, key=lambda piece: float(piece["ssim"]))[:_WORST]
        summary |= {
            "psnr_db": _rounded(distribution([piece["psnr_db"] for piece in marked]), 2),
            "ssim": _rounded(distribution([piece["ssim"] for piece in marked]), 4),
            "cpu_ms": _times(marked),
            "worst": [{k: piece[k] for k in ("picture", "ssim", "psnr_db")} for piece in worst],
        }
    return summary


def _count(name: str, marked: Sequence[Document], pictures: int) -> Document:
    """A picture that could not be marked counts as lost."""
    outcomes = [Outcome(*piece["outcomes"][name][:-1]) for piece in marked]
    exact = sum(outcome.exact for outcome in outcomes)
    lost = [p["picture"] for p, o in zip(marked, outcomes, strict=True) if not o.exact]
    return {
        "exact": exact,
        "of": pictures,
        "wilson_95": [round(end, 4) for end in wilson_interval(exact, pictures)],
        "present": sum(outcome.present for outcome in outcomes),
        "wrong": sum(outcome.wrong for outcome in outcomes),
        "lost": lost if exact else "all",
    }


def _times(marked: Sequence[Document]) -> Document:
    searched = [
        ms
        for piece in marked
        for *outcome, ms in piece["outcomes"].values()
        if Outcome(*outcome).searched
    ]
    medians = {
        kind: statistics.median(piece[f"{kind}_ms"] for piece in marked)
        for kind in ("embed", "direct", "absent")
    }
    if searched:
        medians["searched"] = statistics.median(searched)
    return _rounded(medians, 1)


def _rounded(values: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}


def groups_of(section: Document) -> Iterable[tuple[str, float | None, list[str]]]:
    """Groups of attacks that a section has, with target and names in the table's order."""
    tried = {name for codec in section["codecs"].values() for name in codec["attacks"]}
    for group, target in TARGETS.items():
        names = [a.name for a in ATTACKS.values() if a.group == group and a.name in tried]
        if names:
            yield group, target, names


def as_markdown(result: Document) -> str:
    machine = result["machine"]
    parts = [
        "# What the marks withstand",
        "",
        f"`{result['command']}`: {machine['date']}, {machine['cpu']}, {machine['cores']} cores, "
        f"Python {machine['python']}.",
        "",
        "k/n: pictures from which all that was written came back, exactly (95 % interval by "
        "Wilson, in per cent). *p*: pictures where a mark is at least known to be there, at a "
        "false positive rate of 1e-6, where that number differs. A picture that a codec could not "
        "mark counts as lost. Codecs carry different things, so read their columns accordingly; "
        "slow ones see a subset, hence their smaller n.",
        "",
    ]
    if result["absent_peers"]:
        parts += [f"Not installed, so not measured: {', '.join(result['absent_peers'])}.", ""]
    for section in result["sections"].values():
        parts += _section(section)
    return "\n".join(parts)


def _section(section: Document) -> list[str]:
    pictures = section["pictures"]
    of = ", ".join(f"{count} of {source}" for source, count in pictures.items())
    return [
        f"## {section['title']}",
        "",
        f"n = {sum(pictures.values())} pictures ({of}), each of another scene.",
        "",
        *_quality_table(section["codecs"]),
        *_group_tables(section),
    ]


def _quality_table(codecs: Document) -> list[str]:
    def spread(values: dict[str, float], digits: int) -> str:
        return " / ".join(f"{values[k]:.{digits}f}" for k in ("min", "p05", "median", "mean"))

    lines = [
        "| codec | carries | marked | PSNR dB: min / 5 % / median / mean | SSIM likewise | CPU ms "
        "(median): embed | read in place | found by search | nothing there |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, codec in codecs.items():
        head = f"| {name} | {codec['carries']} | {codec['marked']} of {codec['pictures']} | "
        if not codec["marked"]:
            lines.append(head + "- | - | - | - | - | - |")
            continue
        ms = codec["cpu_ms"]
        searched = f"{ms['searched']:.0f}" if "searched" in ms else "-"
        lines.append(
            head + f"{spread(codec['psnr_db'], 1)} | {spread(codec['ssim'], 3)} | "
            f"{ms['embed']:.0f} | {ms['direct']:.0f} | {searched} | {ms['absent']:.0f} |"
        )
    return [*lines, ""]


def _group_tables(section: Document) -> list[str]:
    codecs, lines = section["codecs"], []
    for group, target, names in groups_of(section):
        lines += [
            f"### {GROUP_TITLES[group]}",
            "",
            "| attack | " + " | ".join(codecs) + " |",
            "|---" * (len(codecs) + 1) + "|",
        ]
        for name in names:
            cells = [_cell(codec["attacks"].get(name)) for codec in codecs.values()]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        totals = [_total(codec, names) for codec in codecs.values()]
        goal = "" if target is None else f", target {target:.0%}"
        lines += [f"| **all of them{goal}** | " + " | ".join(totals) + " |", ""]
    return lines


def _cell(count: Document | None) -> str:
    if count is None:
        return "-"
    low, high = (100 * end for end in count["wilson_95"])
    present = f", p {count['present']}" if count["present"] != count["exact"] else ""
    wrong = f", **{count['wrong']} wrong**" if count["wrong"] else ""
    return f"{count['exact']}/{count['of']} ({low:.0f}–{high:.0f}){present}{wrong}"


def _total(codec: Document, names: Sequence[str]) -> str:
    counts = [codec["attacks"][name] for name in names if name in codec["attacks"]]
    of = sum(count["of"] for count in counts)
    return f"{sum(count['exact'] for count in counts) / of:.1%}" if of else "-"
