"""``countermark demo``."""

# Typer reads these annotations at run time.
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo_app"]

demo_app = typer.Typer()


@demo_app.command("demo")
def demo(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for pictures, state and index.html.")
    ] = Path("countermark-demo"),
) -> None:
    """Generate three pictures, mark, sign and register them, attack them, find them again."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from provenance.demo.page import answering_marks, render_page
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
    table = Table(title="What survives, and which mark answers")
    for column in ("picture", "what happened", "verdict", "found by"):
        table.add_column(column, overflow="fold")
    for number, picture in enumerate(pictures, 1):
        for trial in picture.trials:
            answer = f"{trial.verdict.origin} / {trial.verdict.assurance}"
            table.add_row(str(number), trial.attack.name, answer, answering_marks(trial.verdict))
        table.add_section()
    console = Console()
    console.print(table)
    console.print(f"page: {page.absolute().as_uri()}", soft_wrap=True)
