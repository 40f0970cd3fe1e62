"""``countermark demo``."""

# Typer reads these annotations at run time.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.demo.run import DemoPicture

__all__ = ["demo_app"]

demo_app = typer.Typer()


@demo_app.command("demo")
def demo(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for pictures, state and index.html.")
    ] = Path("countermark-demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Generate three pictures, mark, sign and register them, attack them, find them again."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from provenance.cli import print_json
    from provenance.demo.page import render_page
    from provenance.demo.run import run_demo
    from provenance.files import write_file_atomic

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=1)
        pictures = run_demo(
            out,
            on_progress=lambda text, done, total: progress.update(
                task, description=text, completed=done, total=total
            ),
        )
    page = out / "index.html"
    write_file_atomic(page, render_page(pictures).encode("utf-8"))
    if as_json:
        print_json([row for number, p in enumerate(pictures, 1) for row in _rows(number, p)])
        return
    _show_table(pictures)
    Console().print(f"page: {page.absolute().as_uri()}", soft_wrap=True)


def _rows(number: int, picture: "DemoPicture") -> list[dict[str, object]]:
    return [
        {
            "picture": number,
            "attack": trial.attack.name,
            "file": str(trial.path),
            "origin": trial.verdict.origin.value,
            "assurance": trial.verdict.assurance.value,
            "record_id": trial.verdict.record_id,
        }
        for trial in picture.trials
    ]


def _show_table(pictures: "Sequence[DemoPicture]") -> None:
    from rich.console import Console
    from rich.table import Table

    from provenance.demo.page import answering_marks

    table = Table(title="What survives, and which mark answers")
    for column in ("picture", "what happened", "verdict", "found by"):
        table.add_column(column, overflow="fold")
    for number, picture in enumerate(pictures, 1):
        for trial in picture.trials:
            answer = f"{trial.verdict.origin} / {trial.verdict.assurance}"
            table.add_row(str(number), trial.attack.name, answer, answering_marks(trial.verdict))
        table.add_section()
    Console().print(table)
