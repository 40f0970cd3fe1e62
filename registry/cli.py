"""``countermark registry``: upgrade, show, list, erase-inputs, copy, index, reindex.

`registry.lifecycle_cli` and `registry.transfer_cli` add further commands.
"""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.lifecycle_cli import lifecycle_app
from registry.transfer_cli import transfer_app

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.interfaces import Embedder
    from provenance.types import RecordId, RegistryRecord
    from registry.reindex import ReindexReport
    from registry.store import SqlRecordStore

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Look into the registry, and look after it.")
app.add_typer(lifecycle_app)
app.add_typer(transfer_app)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@app.command("upgrade")
def upgrade_command(as_json: AsJson = False) -> None:
    """Bring the registry's database to this version; make it when there is none."""
    from provenance.cli import print_json
    from provenance.config import load_settings
    from registry.engine import describe_url
    from registry.migrate import upgrade

    url = load_settings().registry_url
    revision = upgrade(url)
    if as_json:
        print_json({"registry": describe_url(url), "migration": revision})
    else:
        typer.echo(f"registry {describe_url(url)} is at migration {revision}")


@app.command("show")
def show_command(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="16 hex digits.")],
    as_json: AsJson = False,
) -> None:
    """Show one record, or the refusal that has this id."""
    from provenance.cli import print_json
    from provenance.types import parse_record_id

    view = _find_view(_open_store(), parse_record_id(record_id))
    if as_json:
        print_json(view)
    else:
        _print_facts(view)


@app.command("list")
def list_command(
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest records."""
    from provenance.cli import print_json
    from registry.schemas import record_view

    store = _open_store()
    records = store.list_records(limit=limit)
    if as_json:
        print_json([record_view(record).model_dump(mode="json") for record in records])
        return
    _print_table(records)
    typer.echo(f"{len(records)} of {store.count()} records")


@app.command("erase-inputs")
def erase_inputs_command(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="16 hex digits.")],
    as_json: AsJson = False,
) -> None:
    """Erase what a picture was made from: prompt, init image, mask, and their key.

    The record stays, and so does its place in the log.
    """
    from provenance.cli import print_json
    from provenance.types import parse_record_id

    store = _open_store()
    record = store.get(parse_record_id(record_id))
    erased = store.erase_inputs(record.record_id)
    if as_json:
        print_json({"record_id": record.record_id, "erased": erased})
    elif erased:
        typer.echo(f"the inputs of record {record.record_id} are erased")
    else:
        typer.echo(f"no inputs of record {record.record_id} are kept")


@app.command("copy")
def copy_command(
    source: Annotated[str, typer.Argument(metavar="SRC_URL", help="Registry to copy.")],
    target: Annotated[str, typer.Argument(metavar="DST_URL", help="Empty database.")],
    as_json: AsJson = False,
) -> None:
    """Copy a whole registry to another database, all of it or nothing, and verify every row.

    Stop the service first. Delivered pictures lie in files and are not copied.
    """
    from dataclasses import asdict

    from provenance.cli import print_json
    from registry.copying import CopiedTable, copy_registry

    def tell(table: CopiedTable) -> None:
        if not as_json:
            typer.echo(f"{table.name:<20} {table.rows:>10} rows  sha256 {table.sha256[:16]}")

    copied = copy_registry(source, target, report=tell)
    if as_json:
        print_json([asdict(table) for table in copied])
    else:
        typer.echo(f"{sum(table.rows for table in copied)} rows copied and read back the same")


@app.command("index")
def index_command(
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make all of them again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check what makes searches quick against the rows it was made from."""
    from dataclasses import asdict

    from provenance.cli import ExitCode, print_json
    from provenance.config import load_settings
    from registry.index.maintenance import check_indexes, rebuild_indexes
    from registry.wiring import open_registry

    settings = load_settings()
    work = rebuild_indexes if rebuild else check_indexes
    states = work(open_registry(settings).engine, settings.index_folder)
    if as_json:
        print_json([asdict(state) for state in states])
    else:
        for state in states:
            typer.echo(f"{state.name}: {state.indexed} of {state.rows} indexed")
            if state.problem:
                typer.echo(f"PROBLEM {state.problem}")
    if any(state.problem for state in states):
        raise typer.Exit(ExitCode.ENVIRONMENT)


@app.command("reindex")
def reindex_command(
    embedder: Annotated[
        str, typer.Option(help="Whose space to fill: a name of 'countermark models list'.")
    ] = "",
    keypoints: Annotated[
        bool, typer.Option("--keypoints", help="Make the keypoint words of kept thumbnails.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Embed the pictures that are registered into an embedder's space, beside those it has.

    With the setting fingerprint.crop_codes, five parts of each picture too. Records whose delivered
    bytes are not kept are named. With --keypoints: make the words of their corners from the kept
    thumbnails, by which copies are found without a model. Goes on where an earlier run stopped.
    """
    if keypoints == bool(embedder):
        raise typer.BadParameter("give either --embedder NAME or --keypoints")
    if keypoints:
        _reindex_keypoints(as_json=as_json)
        return
    from provenance.cli import print_json
    from provenance.config import load_settings
    from provenance.fingerprint.embedders.crops import crop_embedders
    from provenance.fingerprint.wiring import build_embedder
    from registry.index.maintenance import remove_stale_files
    from registry.reindex import list_spaces, reindex
    from registry.wiring import open_asset_store

    settings = load_settings()
    chosen = build_embedder(settings, embedder)
    if chosen is None:
        from provenance.errors import ConfigError

        raise ConfigError("--embedder: give the name of an embedder")
    engine = _open_store().engine
    wanted: list[Embedder] = [chosen]
    if settings.fingerprint.crop_codes:
        wanted += crop_embedders(chosen)
    show, finish = _progress_bar(quiet=as_json)
    try:
        get = open_asset_store(settings).get
        folder = settings.index_folder
        reports = [reindex(engine, get, one, progress=show, index_folder=folder) for one in wanted]
    finally:
        finish()
    remove_stale_files(engine, settings.index_folder)  # their rows came at earlier places
    if as_json:
        print_json(_reindex_to_json(reports))
        return
    for report in reports:
        _print_reindexed(report)
    for space_id, count in list_spaces(engine):
        typer.echo(f"space {space_id}: {count} of {reports[0].records} records")


def _reindex_keypoints(*, as_json: bool) -> None:
    from dataclasses import asdict

    from provenance.cli import print_json
    from provenance.errors import BackendUnavailableError
    from provenance.fingerprint.keypoints import INSTALL_HINT
    from provenance.fingerprint.words.making import load_word_maker
    from registry.reindex_words import reindex_words

    words = load_word_maker()
    if words is None:
        raise BackendUnavailableError(f"keypoint words need OpenCV; run: {INSTALL_HINT}")
    show, finish = _progress_bar(quiet=as_json)
    try:
        report = reindex_words(_open_store().engine, words, progress=show)
    finally:
        finish()
    if as_json:
        print_json(asdict(report))
        return
    typer.echo(
        f"{report.space_id}: {report.added} added, {report.present} were there, {report.missing} "
        f"without a thumbnail, {len(report.unreadable)} unreadable"
    )
    for record_id, why in report.unreadable:
        typer.echo(f"record {record_id}: {why}")


def _print_reindexed(report: "ReindexReport") -> None:
    typer.echo(
        f"{report.space_id}: {report.added} added, {report.present} were there, {report.plain} too "
        f"plain, {len(report.missing)} without their bytes, {len(report.unreadable)} unreadable"
    )
    for record_id in report.missing:
        typer.echo(f"record {record_id}: its delivered bytes are not kept here")
    for record_id, why in report.unreadable:
        typer.echo(f"record {record_id}: {why}")


def _reindex_to_json(reports: "Sequence[ReindexReport]") -> dict[str, Any]:
    """That of the whole pictures, and, where parts were embedded, theirs."""
    from dataclasses import asdict

    whole, *parts = reports
    return asdict(whole) | ({"parts": [asdict(one) for one in parts]} if parts else {})


def _progress_bar(*, quiet: bool) -> "tuple[Callable[[int, int], None], Callable[[], None]]":
    """A bar on standard error, where somebody looks at it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    bar = Progress(console=console, disable=quiet or not console.is_terminal)
    task = bar.add_task("records", total=None)

    def show(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    return show, bar.stop


def _open_store() -> "SqlRecordStore":
    from provenance.config import load_settings
    from registry.wiring import open_registry

    return open_registry(load_settings())


def _find_view(store: "SqlRecordStore", record_id: "RecordId") -> dict[str, Any]:
    from provenance.errors import RecordNotFoundError
    from registry.schemas import record_view, refusal_view

    try:
        record = store.get(record_id)
        return record_view(record, store.notices(record)).model_dump(mode="json")
    except RecordNotFoundError:
        refusal = store.find_refusal(record_id)
        if refusal is None:
            raise
        return refusal_view(refusal).model_dump(mode="json")


def _print_facts(view: dict[str, Any]) -> None:
    # Plain lines, not a table: a digest that a table folds can no longer be copied.
    facts = _flatten("", view)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        typer.echo(f"{name:<{width}}  {value}")


def _flatten(prefix: str, value: Any) -> list[tuple[str, str]]:
    """Nested fields as dotted names, e.g. ``asset.sha256``."""
    if isinstance(value, dict):
        return [line for key, part in value.items() for line in _flatten(f"{prefix}.{key}", part)]
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        return [
            line
            for number, part in enumerate(value, 1)
            for line in _flatten(f"{prefix}.{number}", part)
        ]
    if isinstance(value, list):
        value = ", ".join(str(part) for part in value)
    return [(prefix.lstrip("."), "-" if value in (None, "") else str(value))]


def _print_table(records: "Sequence[RegistryRecord]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("record", "made (UTC)", "kind", "size", "model"):
        table.add_column(title, no_wrap=title != "model", overflow="fold")
    for record in records:
        table.add_row(
            record.record_id,
            record.created_at.strftime("%Y-%m-%d %H:%M:%S"),
            record.kind.value,
            f"{record.asset.width_px}x{record.asset.height_px}",
            Text(record.model.name if record.model else "-"),
        )
    Console(highlight=False).print(table)
