"""``countermark registry``: revoke, take-down, erase, prune, events."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from provenance.config import Settings
    from provenance.types import RegistryEvent
    from registry.events import EventLog

__all__ = ["lifecycle_app"]

lifecycle_app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
RecordArgument = Annotated[str, typer.Argument(metavar="ID", help="16 hex digits.")]
Reason = Annotated[
    str, typer.Option(help="One sentence; shown to whoever asks of the picture. Names no person.")
]


@lifecycle_app.command("revoke")
def revoke_command(
    reason: Reason,
    record: Annotated[str | None, typer.Option(help="A record id.")] = None,
    key: Annotated[str | None, typer.Option(help="A watermark key id, e.g. of a lost key.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A model: its name, NAME@REVISION, or its weights' SHA-256.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take back what the registry says of a record, a watermark key or a model.

    The record is still found, and shown with the reason. It cannot be undone.
    """
    from provenance.errors import InputError
    from provenance.types import EventTarget, parse_record_id

    given = [
        (kind, text)
        for kind, text in (
            (EventTarget.RECORD, record),
            (EventTarget.KEY, key),
            (EventTarget.MODEL, model),
        )
        if text is not None
    ]
    if len(given) != 1:
        raise InputError("give one of --record, --key and --model")
    ((kind, target),) = given
    if kind is EventTarget.RECORD:
        target = parse_record_id(target)
    _settings, events = _open_events()
    _show(events.revoke(kind, target, reason), as_json=as_json)


@lifecycle_app.command("take-down")
def take_down_command(
    record_id: RecordArgument,
    reason: Reason,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the file too, not only withhold it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Stop handing out a record's file; the record stays, and copies are still recognised."""
    from provenance.types import parse_record_id
    from registry.wiring import open_asset_store, open_registry

    settings, events = _open_events()
    wanted = parse_record_id(record_id)
    event = events.take_down(wanted, reason)
    if delete:
        digest = open_registry(settings).get(wanted).asset.sha256
        open_asset_store(settings).remove(digest)
        events.note_deletion(wanted, reason)
    _show(event, as_json=as_json)


@lifecycle_app.command("erase")
def erase_command(
    record_id: RecordArgument,
    reason: Reason = "on request",
    as_json: AsJson = False,
) -> None:
    """Erase a record or refusal with its file, inputs and fingerprints. It cannot be undone.

    What stays: the id, which is never given out again; the log's leaf, which holds digests only;
    and that it was erased, when and why.
    """
    from provenance.types import parse_record_id
    from registry.index.maintenance import remove_stale_files
    from registry.wiring import open_asset_store, open_registry

    settings, events = _open_events()
    erasure = events.erase(parse_record_id(record_id), reason)
    if erasure.asset_sha256 is not None:
        open_asset_store(settings).remove(erasure.asset_sha256)
    remove_stale_files(open_registry(settings).engine, settings.index_folder)
    _show(erasure.event, as_json=as_json)


@lifecycle_app.command("events")
def events_command(
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """List what was revoked, taken down, erased and deleted."""
    from provenance.cli import print_json, print_line

    _settings, events = _open_events()
    found = events.list_events(limit=limit)
    if as_json:
        print_json([_to_json(one) for one in found])
        return
    for one in found:
        print_line(one.describe())
    typer.echo(f"{len(found)} events")


@lifecycle_app.command("prune")
def prune_command(as_json: AsJson = False) -> None:
    """Delete files and inputs past their retention, and clear up after processes that died."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from provenance.cli import print_json
    from provenance.config import load_settings
    from registry.index.maintenance import remove_stale_files
    from registry.prune import prune
    from registry.wiring import open_asset_store, open_registry

    settings = load_settings()
    options = settings.registry
    engine = open_registry(settings).engine
    done = prune(
        engine,
        open_asset_store(settings),
        now=datetime.now(UTC),
        retain_assets_days=options.retain_assets_days,
        retain_inputs_days=options.retain_inputs_days,
        abandoned_after_s=options.reservation_lifetime_s,
    )
    remove_stale_files(engine, settings.index_folder)  # of processes that died before they could
    if as_json:
        print_json(asdict(done))
        return
    typer.echo(
        f"{done.files} files and the inputs of {done.inputs} records deleted, "
        f"{done.reservations} expired ids released, {done.staged} staged files cleared up"
    )


def _open_events() -> "tuple[Settings, EventLog]":
    from provenance.config import load_settings
    from registry.events import EventLog
    from registry.wiring import open_registry

    settings = load_settings()
    return settings, EventLog(open_registry(settings).engine)


def _show(event: "RegistryEvent", *, as_json: bool) -> None:
    from provenance.cli import print_json, print_line

    if as_json:
        print_json(_to_json(event))
    else:
        print_line(event.describe())


def _to_json(event: "RegistryEvent") -> dict[str, Any]:
    return {
        "kind": event.kind,
        "target_kind": event.target_kind,
        "target": event.target,
        "created_at": event.created_at.isoformat(),
        "reason": event.reason,
    }
