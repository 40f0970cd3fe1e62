"""``countermark resolve``: the manifests that belong to a picture, from here or from elsewhere."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from provenance.config import Settings
    from registry.resolving import LocalRepository, RemoteRepository, Resolution, ResolvedManifest

__all__ = ["resolve_app"]

resolve_app = typer.Typer()


@resolve_app.command("resolve")
def resolve_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture.", show_default=False)],
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask this C2PA soft binding resolution service.  [this installation's registry]",
        ),
    ] = None,
    send_content: Annotated[
        bool,
        typer.Option(
            "--send-content", help="Send the picture itself when its bindings find nothing."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="MANIFEST.c2pa", help="Write the manifest store."),
    ] = None,
    unchecked: Annotated[
        bool,
        typer.Option(
            "--unchecked",
            help="Write also what agrees as far as it can be checked without the maker's keys.",
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="File with the service's API key or bearer token."),
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="Ask private addresses too, and plain http there."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Find the manifests that belong to a picture; without --endpoint nobody else is asked."""
    from provenance.cli import print_json
    from provenance.config import load_settings
    from provenance.errors import InputError
    from provenance.files import write_file_atomic
    from provenance.imaging import ImageLimits, read_file
    from provenance.manifest.wiring import build_trust
    from registry.resolving import resolve_picture
    from registry.wiring import open_content_reader

    settings = load_settings()
    if out is not None and out.is_dir():
        raise InputError(f"{out} is a folder; name a file in it")
    if endpoint is None and (token_file is not None or allow_private):
        raise typer.BadParameter("it is for --endpoint", param_hint="--token-file, --allow-private")
    limits = ImageLimits(settings.limits.max_bytes, settings.limits.max_pixels)
    data = read_file(file, limits=limits)
    repository = (
        _open_local(settings)
        if endpoint is None
        else _open_remote(endpoint, token_file, allow_private=allow_private)
    )
    found = resolve_picture(
        data,
        repository,
        open_content_reader(settings),
        name=str(file),
        trust=build_trust(settings),
        send_content=send_content,
    )
    best = found.best(unchecked=unchecked)
    if out is not None:
        if best is None:
            raise InputError(
                f"{file}: no manifest was found all of whose soft bindings agree with it, so "
                f"{out} is not written"
            )
        write_file_atomic(out, best.store)
    if as_json:
        print_json(_describe(file, endpoint, found, None if out is None else str(out)))
        return
    _show(file, found, best, out)
    if endpoint is None and not found.manifests:
        _show_signpost(settings, data)


def _open_local(settings: "Settings") -> "LocalRepository":
    """This installation's registry; makes none.

    Raises:
        InputError: There is none.
    """
    from provenance.errors import InputError
    from registry.engine import sqlite_file
    from registry.resolving import LocalRepository
    from registry.wiring import open_registry, open_resolution

    place = sqlite_file(settings.registry_url)
    if place is not None and not place.exists():
        raise InputError(
            "this installation has no registry to look into; name a service with --endpoint, or "
            "set COUNTERMARK_HOME"
        )
    return LocalRepository(open_resolution(settings, open_registry(settings)))


def _open_remote(
    address: str, token_file: Path | None, *, allow_private: bool
) -> "RemoteRepository":
    from provenance.client import GuardedClient, RemotePolicy
    from registry.resolving import MAX_ANSWER_BYTES, RemoteRepository, discover_endpoint

    token = None if token_file is None else _read_token(token_file)
    client = GuardedClient(RemotePolicy(MAX_ANSWER_BYTES, allow_private=allow_private))
    return RemoteRepository(client, discover_endpoint(client, address), token)


def _read_token(path: Path) -> str:
    from provenance.errors import ConfigError

    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the token cannot be read ({error})") from error
    if not token or any(letter.isspace() or not letter.isprintable() for letter in token):
        raise ConfigError(f"{path} must hold one token, on one line")
    return token


# -- output ------------------------------------------------------------------------------------


def _describe(
    file: Path, endpoint: str | None, found: "Resolution", out: str | None
) -> dict[str, Any]:
    return {
        "file": str(file),
        "endpoint": endpoint,
        "asked": [{"alg": one.alg, "value": one.value} for one in found.asked],
        "sent_content": found.sent_content,
        "manifests": [_describe_manifest(one) for one in found.manifests],
        "problems": list(found.problems),
        "out": out,
    }


def _describe_manifest(one: "ResolvedManifest") -> dict[str, Any]:
    report = one.report
    return {
        "manifest_id": one.manifest_id,
        "standing": one.standing.value,
        "soft_bindings": [
            {
                "alg": judged.binding.alg,
                "value": judged.binding.value,
                "state": judged.state.value,
                "score": judged.score,
            }
            for judged in one.bindings
        ],
        "bytes": len(one.store),
        "integrity": report.integrity.value,
        "signer": report.signer.value,
        "signer_name": report.signer_name,
        "signed_at": report.signed_at,
        "claim": report.claim.value,
        "claim_generator": report.claim_generator,
        "codes": list(report.codes),
    }


def _show(
    file: Path, found: "Resolution", best: "ResolvedManifest | None", out: Path | None
) -> None:
    from provenance.cli import print_line

    count = len(found.manifests)
    asked = "the picture itself" if found.sent_content else _count("soft binding", len(found.asked))
    print_line(f"{file}: {_count('manifest', count)} found by {asked}")
    for one in found.manifests:
        print_line(f"{one.manifest_id}  {_STANDINGS[one.standing.value]}")
        for judged in one.bindings:
            print_line(f"- {judged.binding.alg}: {judged.state.replace('_', ' ')}")
        print_line(f"- {_say_content(one)}; {_say_signer(one)}; says {_say(one.report.claim)}")
    for problem in found.problems:
        print_line(f"could not be had: {problem}")
    if out is not None and best is not None:
        print_line(f"{out}  {best.manifest_id}")


_STANDINGS = {
    "matches": "matches: all its soft bindings agree with the picture",
    "disagrees": "is not this picture's: a soft binding disagrees",
    "unchecked": "may be this picture's: not all its soft bindings can be checked here",
}


def _say_content(one: "ResolvedManifest") -> str:
    intact = one.report.integrity.value == "intact"
    return (
        "belongs to this file byte for byte"
        if intact
        else "signed over other bytes than these, as is to be expected of a copy"
    )


def _say_signer(one: "ResolvedManifest") -> str:
    name = one.report.signer_name
    return f"signed by {name}" if name else f"signer {_say(one.report.signer)}"


def _count(what: str, number: int) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _say(value: str) -> str:
    return str(value).replace("_", " ")


def _show_signpost(settings: "Settings", data: bytes) -> None:
    """Where to ask next, if the picture itself says so."""
    from provenance.cli import print_line
    from provenance.imaging import decode_image
    from provenance.watermark.wiring import build_signpost_reader

    reader = build_signpost_reader(settings)
    signpost = None if reader is None else reader.read(decode_image(data), thorough=False)
    if signpost is not None and signpost.registry is not None:
        # A bare host says itself where its API is; below a path it is /v1, by convention.
        place = f"{signpost.registry}/v1" if "/" in signpost.registry else signpost.registry
        print_line(
            f"a signpost in the picture names {signpost.registry}: ask it with "
            f"--endpoint https://{place}"
        )
