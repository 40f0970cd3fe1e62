"""``countermark registry``: export, import."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["transfer_app"]

transfer_app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
NoFiles = Annotated[bool, typer.Option("--no-files", help="Records and log only.")]


@transfer_app.command("export")
def export_command(
    folder: Annotated[Path, typer.Argument(help="Where to write.", file_okay=False)],
    with_inputs: Annotated[
        bool,
        typer.Option(
            "--with-inputs",
            help="Also what pictures were made from, sealed; keys/inputs.key opens it.",
        ),
    ] = False,
    no_files: NoFiles = False,
    as_json: AsJson = False,
) -> None:
    """Write the registry as JSON lines, with the delivered files."""
    from dataclasses import asdict

    from provenance.cli import print_json, print_line
    from provenance.config import load_settings
    from registry.transfer import export_registry
    from registry.wiring import open_asset_store, open_registry

    settings = load_settings()
    done = export_registry(
        open_registry(settings).engine,
        None if no_files else open_asset_store(settings),
        folder,
        with_inputs=with_inputs,
    )
    if as_json:
        print_json(asdict(done))
        return
    print_line(f"{done.entries} entries and {done.files} files written to {folder}")
    if done.missing:
        print_line(f"{done.missing} files are not in the asset store; countermark audit says why")


@transfer_app.command("import")
def import_command(
    folder: Annotated[Path, typer.Argument(help="What export wrote.", file_okay=False)],
    no_files: NoFiles = False,
    as_json: AsJson = False,
) -> None:
    """Read an export into this registry; what is here already stays, and gets what it lacks."""
    from dataclasses import asdict

    from provenance.cli import print_json, print_line
    from provenance.config import load_settings
    from registry.index.maintenance import remove_stale_files
    from registry.signed_log import open_log_keys
    from registry.transfer import import_registry
    from registry.wiring import open_asset_store, open_registry

    settings = load_settings()
    keys = open_log_keys(settings.log_key_file).public if settings.log_key_file.exists() else {}
    engine = open_registry(settings).engine
    done = import_registry(
        engine,
        None if no_files else open_asset_store(settings),
        folder,
        log_ids=tuple(keys),
        index_folder=settings.index_folder,
    )
    remove_stale_files(engine, settings.index_folder)  # erasures may have come in
    if as_json:
        print_json(asdict(done))
        return
    print_line(
        f"{done.entries} entries and {done.files} files read in; {done.known} entries were here"
    )
    if done.added:
        print_line(f"{done.added} rows that those lacked were added: vectors, soft bindings, ...")
    if done.missing:
        print_line(f"{done.missing} files are neither in the export nor here")
    print_line(
        "the log begins with the exported one"
        if done.log_is_same
        else "the entries stand at other places of this log, so proofs of the old one end there"
    )
