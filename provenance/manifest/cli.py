"""``countermark keys``: init, show, doctor, use, rotate."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from provenance.config import Settings
    from provenance.manifest.keyring import KeyInfo

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Make, check and install the keys that sign manifests; rotate the watermark's.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


class Algorithm(StrEnum):
    """As `provenance.manifest.pki.KeyAlgorithm`, whose module is too heavy for ``--help``."""

    ES256 = "es256"
    ED25519 = "ed25519"


@app.command("init")
def init_command(
    alg: Annotated[
        Algorithm | None, typer.Option(help="Signature algorithm; es256 when not given.")
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Make a fresh leaf under the same root.")
    ] = False,
    force_new: Annotated[
        bool, typer.Option("--force-new", help="Make a new chain; the old files move aside.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a development chain: root, intermediate, leaf. Nobody else trusts it."""
    from provenance.errors import ConfigError
    from provenance.manifest.keyring import describe_keys, ensure_dev_chain, replace_dev_chain
    from provenance.manifest.pki import KeyAlgorithm, renew_dev_leaf

    settings = _settings_without_own_files()
    folder = settings.keys_folder
    if renew and force_new:
        raise ConfigError("--renew keeps the root and --force-new makes another; choose one")
    if alg is not None and renew:
        raise ConfigError("a renewed leaf keeps its algorithm; use --force-new to change it")
    exists = settings.signing_chain_file.exists() and settings.signing_key_file.exists()
    moved: tuple[Path, ...] = ()
    if force_new or not exists:
        moved = replace_dev_chain(folder, alg=KeyAlgorithm((alg or Algorithm.ES256).value))
        done = "made"
    elif renew:
        renew_dev_leaf(folder)
        done = "renewed"
    else:
        done = "renewed" if ensure_dev_chain(folder) else "kept"
        found = describe_keys(settings.signing_chain_file, settings.signing_key_file).alg
        if alg is not None and alg.value != found:
            raise ConfigError(
                f"there are {found} keys already; --force-new makes {alg.value} keys and moves "
                "the old ones aside"
            )
    _report(settings, done, moved, as_json=as_json)


@app.command("show")
def show_command(as_json: AsJson = False) -> None:
    """Show the certificate that signs; never the key."""
    from provenance.config import load_settings

    _report(load_settings(), "", (), as_json=as_json)


@app.command("doctor")
def doctor_command(
    chain: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Private key, PEM.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a certificate against every rule of the C2PA profile, each with its remedy."""
    from dataclasses import asdict

    from provenance.cli import ExitCode, print_json
    from provenance.config import load_settings
    from provenance.doctor import show_checks
    from provenance.manifest.doctor import check_key_files, check_signing

    if chain is None and key is None:
        checks = check_signing()
    else:
        settings = load_settings()
        checks = check_key_files(
            chain or settings.signing_chain_file, key or settings.signing_key_file
        )
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        show_checks(checks)
    if any(not check.ok and not check.optional for check in checks):
        raise typer.Exit(ExitCode.ENVIRONMENT)


@app.command("use")
def use_command(
    chain: Annotated[Path, typer.Option(help="Certificate chain, PEM: leaf first.")],
    key: Annotated[Path, typer.Option(help="Private key, PKCS#8 PEM.")],
    as_json: AsJson = False,
) -> None:
    """Check your own certificate and install it; the old files move aside."""
    from provenance.errors import InputError
    from provenance.manifest.keyring import install_keys

    settings = _settings_without_own_files()
    try:
        chain_pem, key_pem = chain.read_bytes(), key.read_bytes()
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); check the path"
        ) from error
    moved = install_keys(settings.keys_folder, chain_pem, key_pem)
    _report(settings, "installed", moved, as_json=as_json)


@app.command("rotate")
def rotate_command(as_json: AsJson = False) -> None:
    """Mark new pictures under a fresh watermark key; old ones are still recognised."""
    import secrets

    from provenance.cli import print_json
    from provenance.config import load_settings
    from provenance.watermark.keyfile import read_key_file, rotate_key_file

    settings = load_settings()
    path = settings.watermark_key_file
    if settings.watermark.key_file:
        read_key_file(path)  # a file of your own is never made, so a mistyped name is an error
    current, *retired = (
        key.key_id for key in rotate_key_file(path, random_bytes=secrets.token_bytes)
    )
    if as_json:
        print_json({"key_file": str(path), "current": current, "retired": retired})
        return
    typer.echo(f"made: watermark key {current}")
    for key_id in retired:
        typer.echo(f"still read: {key_id}")
    typer.echo(f"Back up {path}, then restart what reads marks, and last what writes them.")


def _settings_without_own_files() -> "Settings":
    from provenance.config import load_settings
    from provenance.errors import ConfigError

    settings = load_settings()
    if settings.manifest.chain_file or settings.manifest.key_file:
        raise ConfigError(
            "manifest.chain_file or manifest.key_file names keys outside the keys folder; "
            "remove both settings to let countermark keep the keys"
        )
    return settings


def _report(settings: "Settings", done: str, moved: tuple[Path, ...], *, as_json: bool) -> None:
    from provenance.cli import print_json
    from provenance.manifest.keyring import describe_keys

    chain, key = settings.signing_chain_file, settings.signing_key_file
    info = describe_keys(chain, key)
    facts = _facts(info) | {
        "chain_file": str(chain),
        "key_file": str(key),
        "root_file": str(settings.dev_root_file) if info.is_development else None,
        "moved_aside": [str(path) for path in moved],
    }
    if as_json:
        print_json(({"done": done} if done else {}) | facts)
        return
    if done:
        typer.echo(f"{done}: {chain}")
    for name, value in facts.items():
        if value:
            typer.echo(f"{name.replace('_', ' ')}: {value}")
    if info.is_development:
        typer.echo(
            "This is a development chain: this installation trusts it, other verifiers do not."
        )


def _facts(info: "KeyInfo") -> dict[str, Any]:
    return {
        "alg": info.alg,
        "subject": info.subject,
        "issuer": info.issuer,
        "serial": info.serial,
        "valid_from": info.valid_from.isoformat(),
        "valid_until": info.valid_until.isoformat(),
        "is_development": info.is_development,
        "certificates": info.certificates,
    }
