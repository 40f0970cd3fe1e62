"""From the journal to tables: counts with Wilson intervals, upper bounds, and uAP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.edits import EDITS, Group
from benchmarks.machine import describe_machine
from provenance.watermark.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESULTS = Path(__file__).parents[2] / "docs" / "benchmarks"

COPY = ("exact", "copy_strong", "copy_verified")
TIERS = (*COPY, "copy_likely", "similar")

TARGETS = {
    Group.LIGHT: 0.995,
    Group.GEOMETRY: 0.98,
    Group.PHONE: 0.95,
    Group.DESKTOP: 0.80,
    Group.COLLAGE: 0.95,
    Group.PASTE: 0.80,
    Group.CROP50: 0.75,
    Group.CROP30: 0.20,
}

OWN = "The photographs of the repository's test data were partly used while thresholds were chosen"
DRAWN = (
    "rendered and drawn pictures are of the project's own making, and the drawn ones repeat their "
    "motifs, which makes them harder to tell apart than photographs."
)


def write_report(
    folder: Path, *, variant: str, further: Sequence[str], skipped: int, library: str
) -> None:
    """Writes what has been measured so far.

    Args:
        folder: Of the journals.
        variant: What was other than by default; part of the pages' names.
        further: Names of the folders of further photographs.
        skipped: Queries that were left out, since thresholds were set with them in view.
        library: That finds keypoints.
    """
    more = f", those of {', '.join(further)} were not" if further else ""
    if skipped:
        more += f"; {skipped} queries that were seen while a threshold was set are left out"
    answer: dict[str, Any] = {
        "machine": describe_machine(),
        "variant": variant or None,
        "keypoints": library,
        "caveat": f"{OWN}{more}; {DRAWN}",
        "registries": {},
    }
    for name in ("small", "large"):
        rows = _rows(folder.glob(f"{name}-*.jsonl"))
        if rows:
            answer["registries"][name] = _measure(rows)
    for name in ("hashes", "points"):
        file = folder / f"{name}.json"
        if file.exists():
            answer[name] = json.loads(file.read_text())
    stem = "near_duplicates" + (f"_{variant}" if variant else "")
    (RESULTS / f"{stem}.json").write_text(json.dumps(answer, indent=1) + "\n")
    (RESULTS / f"{stem}.md").write_text("\n".join(_page(answer)) + "\n")
    print(f"wrote docs/benchmarks/{stem}.md")


def _rows(journals: Iterable[Path]) -> list[dict[str, Any]]:
    """Each query once, however often it was asked."""
    rows = [json.loads(line) for one in journals for line in one.read_text().splitlines()]
    return list({row["name"]: row for row in rows}.values())


def _measure(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    copies = [row for row in rows if row["kind"] == "copy"]
    by_edit = {edit: _recall([r for r in copies if r["edit"] == edit]) for edit in EDITS}
    by_group = {
        group.value: _recall([r for r in copies if EDITS[r["edit"]].group is group])
        for group in Group
    }
    shares = [one["found"] / one["asked"] for one in by_edit.values() if one["asked"]]
    wrong = [r for r in rows if _claims_another(r)]
    return {
        "records": rows[-1]["records"],
        "queries": len(rows),
        "edits": {name: one for name, one in by_edit.items() if one["asked"]},
        "groups": {name: one for name, one in by_group.items() if one["asked"]},
        "all": _recall(copies),
        "macro": sum(shares) / len(shares) if shares else None,
        "wrong_identity": {"queries": len(copies), "wrong": _wrong(copies)},
        "false_pairs": {
            "pairs": sum(row["records"] - (row["kind"] == "copy") for row in rows),
            "claimed": sum(_claimed_others(row) for row in rows),
        },
        "strangers": _false([r for r in rows if r["kind"] == "stranger"]),
        "rendered siblings": _false(
            [r for r in rows if r["kind"] == "sibling" and r["source"].startswith("rendered")]
        ),
        "drawn siblings": _false(
            [r for r in rows if r["kind"] == "sibling" and r["source"].startswith("scene")]
        ),
        "uap": _uap(rows),
        "cpu_ms": {
            "quick": _median(r["quick_s"] for r in rows),
            "thorough": _median(r["cpu_s"] for r in rows if r["cpu_s"] > 2 * r["quick_s"]),
        },
        "examples_of_wrong": wrong[:5],
    }


def _recall(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    best = [_tier_of_truth(row) for row in rows]
    return {
        "asked": len(rows),
        "strong": sum(tier in ("exact", "copy_strong") for tier in best),
        "verified": sum(tier == "copy_verified" for tier in best),
        "found": sum(tier in COPY for tier in best),
        "likely": sum(tier == "copy_likely" for tier in best),
    }


def _tier_of_truth(row: dict[str, Any]) -> str | None:
    return next((a["tier"] for a in row["answers"] if a["source"] == row["source"]), None)


def _claimed_others(row: dict[str, Any]) -> int:
    """Records that were called the source of a copy, and are not."""
    return sum(a["tier"] in COPY and a["source"] != row["source"] for a in row["answers"])


def _claims_another(row: dict[str, Any]) -> bool:
    return _claimed_others(row) > 0


def _wrong(rows: Iterable[dict[str, Any]]) -> int:
    """Queries whose surest claim of a copy names another record."""
    firsts = [row for row in rows if row["answers"] and row["answers"][0]["tier"] in COPY]
    return sum(row["answers"][0]["source"] != row["source"] for row in firsts)


def _false(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    tiers = [row["answers"][0]["tier"] if row["answers"] else None for row in rows]
    return {
        "asked": len(rows),
        "joined": sum(tier in COPY for tier in tiers),
        "likely": sum(tier == "copy_likely" for tier in tiers),
        "similar": sum(tier == "similar" for tier in tiers),
        "pairs": sum(row["records"] for row in rows),
    }


def _uap(rows: Sequence[dict[str, Any]]) -> float | None:
    """Micro average precision over all answers of all queries; ties are ordered worst first.

    Source: the metric of DISC21 (arXiv 2106.09672).
    """
    wanted = sum(row["kind"] == "copy" for row in rows)
    answers = []
    for row in rows:
        for one in row["answers"]:
            score = (
                -TIERS.index(one["tier"]),
                one["inliers"] or 0,
                one["cosine"] or 0.0,
                -(256 if one["distance_bits"] is None else one["distance_bits"]),
            )
            answers.append((score, row["kind"] == "copy" and one["source"] == row["source"]))
    answers.sort(key=lambda pair: (pair[0], not pair[1]), reverse=True)
    right, total = 0, 0.0
    for place, (_, is_right) in enumerate(answers, start=1):
        if is_right:
            right += 1
            total += right / place
    return total / wanted if wanted else None


def _median(values: Iterable[float]) -> float | None:
    ordered = sorted(values)
    return None if not ordered else round(1000 * ordered[len(ordered) // 2], 1)


# -- the page ----------------------------------------------------------------------------------


def _page(answer: dict[str, Any]) -> Iterable[str]:
    machine = answer["machine"]
    with_what = answer["variant"] or "as installed: hashes, parts, keypoint words, geometry"
    yield "# Near-duplicates"
    yield ""
    yield (
        f"`python -m benchmarks.near_duplicates`, {machine['date']}, {machine['cpu']}, "
        f"{machine['cores']} cores, Python {machine['python']}; {with_what}; keypoints by "
        f"{answer['keypoints']}. {answer['caveat']}"
    )
    for name, one in answer["registries"].items():
        yield from _registry(name, one)
    if "hashes" in answer:
        yield from _hash_pairs(answer["hashes"])
    if "points" in answer:
        yield from _point_pairs(answer["points"])


def _registry(name: str, one: dict[str, Any]) -> Iterable[str]:
    yield from ("", f"## {name.capitalize()} registry: {one['records']:,} records", "")
    how = "geometry looks at each record" if name == "small" else "geometry looks at 20 of them"
    yield (
        f"{one['queries']} queries, a random part of a full run's; here {how}. *Found*: the right "
        "record as `copy_strong` or `copy_verified`; 95 % Wilson interval."
    )
    yield from ("", "| edits | found | share | target |", "| --- | --- | --- | --- |")
    for group, cell in one["groups"].items():
        target = TARGETS.get(Group(group))
        shown = "-" if target is None else f"{target:.1%}"
        yield f"| {group} | {_share(cell['found'], cell['asked'])} | {shown} |"
    yield f"| **all** | {_share(one['all']['found'], one['all']['asked'])} | - |"
    yield ""
    yield (
        f"Macro recall over the edits asked {one['macro']:.1%}; uAP {one['uap']:.3f} over all "
        "queries, those without a right answer included, ties ordered worst first. Median CPU time "
        f"{one['cpu_ms']['quick']} ms for the quick look, {one['cpu_ms']['thorough']} ms where the "
        "search followed."
    )
    yield from (
        "",
        "| edit | asked | strong | verified | likely |",
        "| --- | --- | --- | --- | --- |",
    )
    for edit, cell in one["edits"].items():
        yield (
            f"| {edit} | {cell['asked']} | {cell['strong']} | {cell['verified']} | "
            f"{cell['likely']} |"
        )
    yield from ("", "| must not be joined | joined | likely | similar | pairs | joined, at most |")
    yield "| --- | --- | --- | --- | --- | --- |"
    wrong = one["wrong_identity"]
    if wrong["queries"]:
        yield (
            f"| copies, as another record | {wrong['wrong']} of {wrong['queries']} | - | - | - | "
            f"{_at_most(wrong['wrong'], wrong['queries'])} |"
        )
    pairs = one["false_pairs"]
    yield (
        f"| all queries, any record but the right one | {pairs['claimed']} of {pairs['pairs']:,} "
        f"pairs | - | - | {pairs['pairs']:,} | {_at_most(pairs['claimed'], pairs['pairs'])} |"
    )
    for kind in ("strangers", "rendered siblings", "drawn siblings"):
        cell = one[kind]
        if cell["asked"]:
            yield (
                f"| {kind} | {cell['joined']} of {cell['asked']} | {cell['likely']} | "
                f"{cell['similar']} | {cell['pairs']:,} | "
                f"{_at_most(cell['joined'], cell['asked'])} |"
            )


def _hash_pairs(cells: dict[str, Any]) -> Iterable[str]:
    yield from ("", "## Pairs of different pictures: PDQ", "")
    yield "One of each pair in its eight turns, the nearest of them counted."
    yield ""
    yield "| pairs | within 31 bits | nearest | rate, at most |"
    yield "| --- | --- | --- | --- |"
    for name, one in cells.items():
        yield (
            f"| {name} | {one['within']} of {one['pairs']:,} | {one['nearest_bits']} bits | "
            f"{_at_most(one['within'], one['pairs'])} |"
        )


def _point_pairs(cells: dict[str, Any]) -> Iterable[str]:
    yield from ("", "## Pairs of different pictures: geometry", "")
    yield "Each pair compared in full, with no search before it."
    yield from (
        "",
        "| pairs | verified | most points | rate, at most |",
        "| --- | --- | --- | --- |",
    )
    for name, one in cells.items():
        if one["pairs"]:
            yield (
                f"| {name} | {one['verified']} of {one['pairs']:,} | {one['most_inliers']} | "
                f"{_at_most(one['verified'], one['pairs'])} |"
            )


def _share(found: int, asked: int) -> str:
    low, high = wilson_interval(found, asked)
    return f"{found} of {asked} | {found / asked:.1%} [{low:.1%}, {high:.1%}]"


def _at_most(found: int, asked: int) -> str:
    """95 % upper bound; by the rule of three where nothing was seen."""
    if not asked:
        return "-"
    return f"{3 / asked:.1e}" if found == 0 else f"{wilson_interval(found, asked)[1]:.1e}"
