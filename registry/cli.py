"""``countermark registry``: upgrade, show, list, check, erase-inputs, reindex."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.types import RecordId, RegistryRecord
    from registry.check import ConsistencyReport
    from registry.reindex import ReindexReport
    from registry.store import SqlRecordStore

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Look into the registry, and look after it.")

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


@app.command("check")
def check_command(as_json: AsJson = False) -> None:
    """Check that records, refusals, reservations and the log still belong together."""
    from datetime import UTC, datetime

    from provenance.cli import ExitCode, print_json
    from registry.check import check_consistency

    report = check_consistency(_open_store().engine, now=datetime.now(UTC))
    if as_json:
        print_json(_report_to_json(report))
    else:
        _print_report(report)
    if report.problems:
        raise typer.Exit(ExitCode.ENVIRONMENT)


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


@app.command("reindex")
def reindex_command(
    embedder: Annotated[
        str, typer.Option(help="Whose space to fill: a name of 'countermark models list'.")
    ],
    as_json: AsJson = False,
) -> None:
    """Embed the pictures that are registered into an embedder's space, beside those it has.

    Goes on where an earlier run stopped. Records whose delivered bytes are not kept are named.
    """
    from provenance.cli import print_json
    from provenance.config import load_settings
    from provenance.fingerprint.wiring import build_embedder
    from registry.reindex import list_spaces, reindex
    from registry.wiring import open_asset_store

    settings = load_settings()
    chosen = build_embedder(settings, embedder)
    if chosen is None:
        from provenance.errors import ConfigError

        raise ConfigError("--embedder: give the name of an embedder")
    engine = _open_store().engine
    show, finish = _progress_bar(quiet=as_json)
    try:
        report = reindex(engine, open_asset_store(settings).get, chosen, progress=show)
    finally:
        finish()
    if as_json:
        print_json(_reindex_to_json(report))
        return
    typer.echo(
        f"{report.space_id}: {report.added} added, {report.present} were there, {report.plain} too "
        f"plain, {len(report.missing)} without their bytes, {len(report.unreadable)} unreadable"
    )
    for record_id in report.missing:
        typer.echo(f"record {record_id}: its delivered bytes are not kept here")
    for record_id, why in report.unreadable:
        typer.echo(f"record {record_id}: {why}")
    for space_id, count in list_spaces(engine):
        typer.echo(f"space {space_id}: {count} of {report.records} records")


def _reindex_to_json(report: "ReindexReport") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(report)


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
        return record_view(store.get(record_id)).model_dump(mode="json")
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


def _report_to_json(report: "ConsistencyReport") -> dict[str, Any]:
    return {
        "ok": not report.problems,
        "records": report.records,
        "refusals": report.refusals,
        "open_reservations": report.open_reservations,
        "expired_reservations": report.expired_reservations,
        "log": {"size": report.head.size, "digest": report.head.digest},
        "problems": [{"what": one.what, "remedy": one.remedy} for one in report.problems],
    }


def _print_report(report: "ConsistencyReport") -> None:
    typer.echo(
        f"{report.records} records, {report.refusals} refusals, "
        f"{report.open_reservations} open and {report.expired_reservations} expired reservations"
    )
    typer.echo(f"log: {report.head.size} leaves, head {report.head.digest}")
    for problem in report.problems:
        typer.echo(f"PROBLEM {problem.what}; {problem.remedy}")
    if not report.problems:
        typer.echo("all of it belongs together")
