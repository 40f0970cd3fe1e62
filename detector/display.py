"""Verdicts and reports for people, on a terminal; texts of strangers are shown as plain text."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from detector.filter.report import FilterReport

__all__ = ["progress_bar", "show_answers", "show_report"]

_STYLES = {
    "machine_made": "bold magenta",
    "machine_edited": "bold magenta",
    "human_claimed": "bold cyan",
    "capture_claimed": "bold cyan",
    "conflicting": "bold yellow",
    "unknown": "bold",
}


_SHOWN_RUBRICS = 3
"""Manifests whose classes are shown; JSON holds all."""


def show_answers(answers: Sequence[dict[str, Any]]) -> None:
    """One panel a file on standard output; what cannot be read goes to standard error."""
    console = Console(highlight=False)
    errors = Console(stderr=True, highlight=False)
    for answer in answers:
        if "origin" in answer:
            console.print(_panel(answer))
        else:
            errors.print(_plain(f"countermark: {answer['error']}"), soft_wrap=True)


def _panel(answer: dict[str, Any]) -> Panel:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    origin, assurance = answer["origin"], answer["assurance"]
    table.add_row("origin", f"[{_STYLES[origin]}]{origin}[/]")
    table.add_row("assurance", assurance)
    if answer["record_id"]:
        table.add_row("record", answer["record_id"])
    if answer["claimant"]:
        table.add_row("claimant", _plain(answer["claimant"]))
    for item in answer["evidence"]:
        table.add_row(_plain(item["source"]), f"{item['finding']}  {_plain(item['reason'])}")
        for line in _facts(item):
            table.add_row("", _plain(line))
    table.add_row("", "")
    for one in answer["contradictions"]:
        table.add_row("contradiction", _sides(one))
    means, limit, *rest = _fresh_reasons(answer)
    table.add_row("it means", _plain(means))
    table.add_row("its limit", _plain(limit))
    for index, reason in enumerate(rest):
        table.add_row("" if index else "also", _plain(reason))
    action = f"{answer['filter_action']} ({answer['filter_reason']})"
    table.add_row("training set", f"{action} under policy {_plain(answer['policy_id'])}")
    table.add_row("trust lists", _plain(_dates(answer["list_dates"])))
    return Panel(table, title=_plain(answer["file"]), title_align="left")


def _sides(contradiction: dict[str, Any]) -> Table:
    """Both sides of a contradiction in two columns."""
    table = Table(show_header=False, expand=True, show_lines=True)
    table.add_column(ratio=1, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    table.add_row(*(_side(contradiction[name]) for name in ("left", "right")))
    return table


def _side(statements: list[dict[str, str]]) -> str:
    return "\n".join(
        f"[bold]{_plain(one['says'])}[/]\n{_plain(one['source'])}, {one['assurance']}: "
        f"{_plain(one['reason'])}"
        for one in statements
    )


def _dates(lists: dict[str, str]) -> str:
    return ", ".join(f"{name} of {day}" for name, day in lists.items()) or "none of a date"


def _facts(item: dict[str, Any]) -> Iterator[str]:
    """What a generator's label holds beside its sentence."""
    if item.get("version"):
        yield f"version: {item['version']}"
    yield from _layers(item)
    for group in ("settings", "detail", "private"):
        facts = {k: v for k, v in (item.get(group) or {}).items() if v is not None}
        if facts:
            # Prompts hold line breaks; a line here is one line of the answer.
            shown = ", ".join(f"{name} {' '.join(str(v).split())}" for name, v in facts.items())
            yield f"{group}: {shown}"


def _layers(item: dict[str, Any]) -> Iterator[str]:
    """Each layer of a manifest in our words, and beside them the conformance programme's."""
    words = item.get("words") or {}
    if len(words) < 2:
        return  # there is no manifest, and the line above says so
    yield from (f"{name.replace('_', ' ')}: {text}" for name, text in words.items())
    for one in item["rubric"][:_SHOWN_RUBRICS]:
        names = ", ".join(one["classes"]) or "none"
        yield f"C2PA rubric for {one['manifest_label']}: {names}"


def _fresh_reasons(answer: dict[str, Any]) -> list[str]:
    """Reasons that do not repeat the line of a piece of evidence above them."""
    shown = {item["reason"] for item in answer["evidence"]}
    return [
        reason
        for index, reason in enumerate(answer["reasons"])
        if index < 2 or not any(line in reason for line in shown)
    ]


def _plain(text: str) -> str:
    """No markup and no control characters: file names and errors may carry escape sequences."""
    return escape("".join(c if c.isprintable() else "�" for c in text))


def show_report(report: FilterReport, decisions: Path) -> None:
    """Counts of a filter run on standard output."""
    console = Console(highlight=False)
    table = Table(title=f"{report.samples} samples, policy {report.policy}", title_justify="left")
    table.add_column("action or reason")
    table.add_column("samples", justify="right")
    for name, count in report.actions.items():
        table.add_row(f"[bold]{name}[/]", str(count))
    table.add_section()
    for name, count in report.reasons.items():
        table.add_row(_plain(name), str(count))
    console.print(table)
    console.print(_plain(f"decisions: {decisions}"), soft_wrap=True)


@contextmanager
def progress_bar(label: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where that is a terminal; answers (done, total) callbacks."""
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield update
