"""``countermark apikeys``: create, list, revoke."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.types.access import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.types import ApiKey
    from registry.api_keys import SqlApiKeyStore

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make and end the API keys of the HTTP service.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]

MAX_DAYS = 36_500


@app.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="What you call it, e.g. the client's name.")],
    scope: Annotated[
        list[Scope],
        typer.Option(help="What it opens; give it once for each. admin opens everything."),
    ],
    rate_per_minute: Annotated[
        int | None, typer.Option(help="Requests a minute; else the service's setting.", min=1)
    ] = None,
    daily_pictures: Annotated[
        int | None, typer.Option(help="Pictures a day (UTC); else any number.", min=1)
    ] = None,
    expires: Annotated[
        int | None, typer.Option(metavar="DAYS", help="Ends by itself.", min=1, max=MAX_DAYS)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it: once, here."""
    from provenance.cli import print_json

    key, text = _open_keys().create(
        name,
        scope,
        rate_per_minute=rate_per_minute,
        daily_pictures=daily_pictures,
        lifetime=None if expires is None else timedelta(days=expires),
    )
    if as_json:
        print_json({**_view(key), "key": text})
        return
    typer.echo(text)
    # Standard error: what is piped is the key and nothing else.
    typer.echo(
        f"key {key.id} opens {', '.join(sorted(key.scopes))}; it is kept nowhere, so copy it now",
        err=True,
    )


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List all keys, ended ones too; never their secrets."""
    from provenance.cli import print_json

    keys = _open_keys().list_keys()
    if as_json:
        print_json([_view(key) for key in keys])
    else:
        _print_table(keys)


@app.command("revoke")
def revoke_command(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As list shows it.")],
    as_json: AsJson = False,
) -> None:
    """End a key, from the next request on."""
    from provenance.cli import print_json

    key = _open_keys().revoke(key_id)
    if as_json:
        print_json(_view(key))
    else:
        typer.echo(f"key {key.id} is revoked")


def _open_keys() -> "SqlApiKeyStore":
    from provenance.config import load_settings
    from registry.wiring import open_api_keys

    return open_api_keys(load_settings())


def _state(key: "ApiKey") -> str:
    from datetime import UTC, datetime

    if key.is_live(datetime.now(UTC)):
        return "live"
    return "expired" if key.revoked_at is None else "revoked"


def _view(key: "ApiKey") -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "state": _state(key),
        "scopes": sorted(key.scopes),
        "rate_per_minute": key.rate_per_minute,
        "daily_pictures": key.daily_pictures,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
        "last_used_on": key.last_used_on.isoformat() if key.last_used_on else None,
    }


def _print_table(keys: "Sequence[ApiKey]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("id", "name", "state", "scopes", "a minute", "pictures a day", "last used"):
        table.add_column(title, overflow="fold", no_wrap=title == "id")
    for key in keys:
        table.add_row(
            key.id,
            Text(key.name),
            _state(key),
            ", ".join(sorted(key.scopes)),
            str(key.rate_per_minute or "-"),
            str(key.daily_pictures or "-"),
            str(key.last_used_on or "-"),
        )
    Console(highlight=False).print(table)
