"""``countermark trust``: list, update, add."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from provenance.manifest.trust import AnchorKind, AnchorList
    from provenance.manifest.trust_file import PublishedList

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Show, renew and extend the lists of certificates that vouch for signers. Nothing is "
    "ever fetched.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


class Kind(StrEnum):
    """As `provenance.manifest.trust.AnchorKind`, whose module is too heavy for ``--help``."""

    MANIFEST = "manifest"
    TSA = "tsa"


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """Show the lists in force: date, number of certificates, where they came from."""
    from provenance.cli import print_json, print_line
    from provenance.config import load_settings
    from provenance.manifest.wiring import build_trust

    rows = [_describe(one) for one in build_trust(load_settings()).lists]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        day = row["date"] or "no date"
        overdue = "; a newer edition is due" if row["overdue"] else ""
        ended = f", {row['expired']} of them expired" if row["expired"] else ""
        print_line(
            f"{row['name']} ({row['kind']}): {day}, {row['certificates']} certificates{ended}"
            f"{overdue}; {row['source']}"
        )
    if not rows:
        print_line("no list is in force: every signer is unlisted")


@app.command("update")
def update_command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A list of C2PA as published: JSON or PEM.", show_default=False
        ),
    ],
    kind: Annotated[
        Kind | None,
        typer.Option(help="What it vouches for, where the file does not say.  [by its name]"),
    ] = None,
    day: Annotated[
        str | None,
        typer.Option(
            "--date",
            metavar="YYYY-MM-DD",
            help="Its day of issue, where the file does not say.  [today]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a newer C2PA list and install it in place of the one in force."""
    from provenance.config import load_settings
    from provenance.errors import ConfigError
    from provenance.manifest.trust import AnchorList, default_trust
    from provenance.manifest.trust_folder import ListRole, TrustFolder, newest

    published = _read(file)
    chosen = _choose_kind(published, file, kind)
    dated = published.dated or _parse_day(day) or _today()
    folder = TrustFolder(load_settings().trust_folder)
    installed = folder.load()
    current = next(
        one
        for one in newest(
            default_trust().lists, [i for i in installed if i.role is ListRole.UPDATE]
        )
        if one.kind is chosen
    )
    if current.dated is not None and dated < current.dated:
        raise ConfigError(
            f"{file} is of {dated}, older than the {current.name} in force, of {current.dated}; "
            f"give a newer edition, or remove {folder.folder} to go back to the shipped ones"
        )
    anchors = AnchorList(
        certificates=published.certificates,
        name=current.name,
        kind=chosen,
        dated=dated,
        next_update=published.next_update,
        source=f"installed from {file.name} on {_today()}",
    )
    folder.install_update(anchors)
    before, after = set(current.certificates), set(anchors.certificates)
    _report(
        "installed",
        anchors,
        {
            "replaced_date": None if current.dated is None else current.dated.isoformat(),
            "added": len(after - before),
            "removed": len(before - after),
        },
        as_json=as_json,
    )


@app.command("add")
def add_command(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Certificates of your own choice.", show_default=False),
    ],
    kind: Annotated[
        Kind, typer.Option(help="manifest: they vouch for signers; tsa: for time-stamps.")
    ] = Kind.MANIFEST,
    as_json: AsJson = False,
) -> None:
    """Trust further anchors, beside the lists of C2PA."""
    from provenance.config import load_settings
    from provenance.manifest.trust import AnchorKind, AnchorList
    from provenance.manifest.trust_folder import TrustFolder

    published = _read(file)
    anchors = AnchorList(
        certificates=published.certificates,
        name=file.name,
        kind=AnchorKind(kind.value),
        dated=published.dated or _today(),
        next_update=published.next_update,
        source=f"added from {file.name} on {_today()}",
    )
    TrustFolder(load_settings().trust_folder).add_own(anchors)
    _report("added", anchors, {}, as_json=as_json)


def _read(file: Path) -> "PublishedList":
    """The list in the file.

    Raises:
        InputError: It cannot be read, or is no list; names the file.
    """
    from provenance.errors import ConfigError, InputError
    from provenance.manifest.trust_file import MAX_LIST_BYTES, read_published_list

    try:
        with file.open("rb") as stream:
            published = read_published_list(stream.read(MAX_LIST_BYTES + 1), name=str(file))
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); check the path") from error
    except ConfigError as error:
        raise InputError(str(error)) from error
    if all(_has_ended(one) for one in published.certificates):
        raise InputError(f"{file}: every certificate in it has expired; give a newer edition")
    return published


def _choose_kind(published: "PublishedList", file: Path, kind: Kind | None) -> "AnchorKind":
    from provenance.errors import InputError
    from provenance.manifest.trust import AnchorKind

    if kind is None:
        by_name = AnchorKind.TSA if "tsa" in file.name.lower() else AnchorKind.MANIFEST
        return published.kind or by_name
    asked = AnchorKind(kind.value)
    if published.kind is not None and published.kind is not asked:
        raise InputError(
            f"{file} calls itself {published.title!r}, which is no list for {asked}; leave --kind "
            "out"
        )
    return asked


def _parse_day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no day like 2026-08-05", param_hint="--date"
        ) from error
    if day > _today():
        raise typer.BadParameter(f"{text} lies in the future", param_hint="--date")
    return day


def _today() -> date:
    from datetime import UTC

    return datetime.now(UTC).date()


def _has_ended(der: bytes) -> bool:
    from datetime import UTC

    from cryptography import x509

    return x509.load_der_x509_certificate(der).not_valid_after_utc < datetime.now(UTC)


def _describe(anchors: "AnchorList") -> dict[str, Any]:
    due = anchors.next_update
    return {
        "name": anchors.name,
        "kind": anchors.kind.value,
        "date": None if anchors.dated is None else anchors.dated.isoformat(),
        "next_update": None if due is None else due.isoformat(),
        "overdue": due is not None and due < _today(),
        "certificates": len(anchors.certificates),
        "expired": sum(_has_ended(one) for one in anchors.certificates),
        "source": anchors.source,
    }


def _report(done: str, anchors: "AnchorList", changes: dict[str, Any], *, as_json: bool) -> None:
    from provenance.cli import print_json, print_line

    facts = {"done": done} | _describe(anchors) | changes
    if as_json:
        print_json(facts)
        return
    print_line(
        f"{done}: {facts['name']} ({facts['kind']}) of {facts['date']}, "
        f"{facts['certificates']} certificates"
    )
    if changes:
        print_line(
            f"in place of the one of {facts['replaced_date']}: {facts['added']} certificates came, "
            f"{facts['removed']} went"
        )
