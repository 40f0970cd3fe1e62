"""The console script ``countermark``: finds commands by entry point, answers errors in one line.

Each package contributes its commands (groups ``countermark.commands`` and
``countermark.command_groups``), so this module imports none of them. Modules named ``cli`` import
Typer and light modules only; heavy libraries load inside the command that needs them.

Exit codes: 0 done; 1 a policy said no (``--fail-on`` matched, the safety policy blocked the
picture, or ``attest`` refused one that a machine made); 2 usage; 3 an input cannot be read; 4 the
environment (settings, keys, weights, database, disk).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
import warnings
from enum import IntEnum
from importlib.metadata import version
from typing import Annotated, Any

import typer

from provenance.errors import (
    AttestationRefusedError,
    CapacityError,
    ConfigError,
    ContentBlockedError,
    InputError,
    ProvenanceError,
    RecordNotFoundError,
)
from provenance.plugins import available_backends, load_backend

__all__ = ["ExitCode", "doctor_app", "main", "print_json", "print_line", "serve_app"]


class ExitCode(IntEnum):
    """What the process answers; documented in README."""

    DONE = 0
    POLICY = 1
    USAGE = 2
    INPUT = 3
    ENVIRONMENT = 4


def exit_code_for(error: ProvenanceError) -> ExitCode:
    """The one table from our errors to exit codes."""
    if isinstance(error, ContentBlockedError | AttestationRefusedError):
        return ExitCode.POLICY
    if isinstance(error, InputError | CapacityError | RecordNotFoundError):
        return ExitCode.INPUT
    return ExitCode.ENVIRONMENT


def print_json(value: Any) -> None:
    """Writes one JSON document to standard output: what ``--json`` promises, and nothing else."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a file name that is no text, or a terminal without Unicode
        text = json.dumps(value, indent=2) + "\n"
    sys.stdout.write(text)


def clean(text: str) -> str:
    """One line that a terminal can show: file names may hold escape sequences."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


def print_line(text: str) -> None:
    """Writes one line to standard output, cleaned for a terminal."""
    sys.stdout.write(f"{clean(text)}\n")


def print_error(message: str) -> None:
    """Writes one error line to standard error."""
    sys.stderr.write(f"countermark: {clean(message)}\n")


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"countermark {version('countermark')}\n")
        raise typer.Exit


def build_app() -> typer.Typer:
    """Composes the console script from all installed commands."""
    app = typer.Typer(
        name="countermark",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        help="Marks every image a Stable Diffusion service makes, and tells of any image whether, "
        "and how surely, it was machine-made.",
    )

    @app.callback()
    def root(
        show_version: Annotated[
            bool,
            typer.Option(
                "--version", help="Show the version.", callback=_show_version, is_eager=True
            ),
        ] = False,
    ) -> None:
        """Marks every image a generator makes, and reads the marks of any image."""

    for group in ("countermark.commands", "countermark.command_groups"):
        for name in available_backends(group):
            try:
                commands = _load_commands(group, name)
            except ProvenanceError as error:
                # One broken plug-in must not take every other command with it.
                print_error(f"the command {name} is left out: {error}")
                continue
            app.add_typer(commands, name=name if group.endswith("groups") else None)
    return app


def _load_commands(group: str, name: str) -> typer.Typer:
    """One plug-in's commands, proven to be usable: Typer reads their signatures only later.

    Raises:
        ProvenanceError: They cannot be loaded, or are no Typer app with commands.
    """
    commands = load_backend(group, name)
    if not isinstance(commands, typer.Typer):
        raise ConfigError(f"{group} {name!r} is a {type(commands).__name__}, not a typer.Typer")
    try:
        typer.main.get_command(commands)
    except Exception as error:  # a firewall: Typer rejects a stranger's signatures in its own ways
        raise ConfigError(f"{group} {name!r} is no usable typer.Typer: {error}") from error
    return commands


def main() -> None:
    """Entry point of the console script."""
    # Warnings and library logs go to standard error, in one line each.
    logging.basicConfig(level=logging.WARNING, format="countermark: %(message)s")
    logging.captureWarnings(capture=True)
    # The message alone: where in our code a warning arose says nothing to a user.
    warnings.formatwarning = lambda message, *_, **__: str(message)
    try:
        build_app()()
    except ProvenanceError as error:
        _show_trace()
        print_error(str(error))
        sys.exit(exit_code_for(error))
    except BrokenPipeError:
        # The reader of a pipe (head, less) went away: no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)
    except MemoryError:
        print_error("out of memory; try a smaller picture or fewer at once")
        sys.exit(ExitCode.ENVIRONMENT)
    except Exception as error:  # noqa: BLE001  the last firewall: no traceback reaches a user
        _show_trace()
        print_error(_describe_unforeseen(error))
        sys.exit(ExitCode.ENVIRONMENT)


def _describe_unforeseen(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        # A name that is too long, a folder that may not be searched: the machine's, not ours.
        return f"{error.filename} cannot be used: {error.strerror}; check the path"
    return (
        f"internal error ({type(error).__name__}: {error}); this is a defect of countermark: "
        "please report it with the output of the same command under COUNTERMARK_DEBUG=1"
    )


def _show_trace() -> None:
    if os.environ.get("COUNTERMARK_DEBUG"):
        traceback.print_exc()


# -- commands that belong to no one package ------------------------------------------------------

doctor_app = typer.Typer()
serve_app = typer.Typer()


@doctor_app.command("doctor")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Check this installation; each failing line says what to do."""
    from rich.console import Console

    from provenance.doctor import run_checks, show_checks

    with Console(stderr=True).status("checking; loading the model takes a few seconds"):
        checks = run_checks()
    if as_json:
        print_json(
            [
                {
                    "name": c.name,
                    "ok": c.ok,
                    "optional": c.optional,
                    "detail": c.detail,
                    "remedy": c.remedy,
                }
                for c in checks
            ]
        )
    else:
        show_checks(checks)
    if any(not c.ok and not c.optional for c in checks):
        raise typer.Exit(ExitCode.ENVIRONMENT)


@serve_app.command("serve")
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port.", min=0, max=65535)] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            min=1, help="Copies of the service under Ray Serve, one an accelerator.  [no Ray]"
        ),
    ] = None,
) -> None:
    """Serve the HTTP API: generate, verify, records, health, and the verification page."""
    from provenance.config import load_settings
    from provenance.web import run_server

    settings = load_settings()
    address = settings.serve.host if host is None else host
    if not address:
        # To the socket library it means all addresses, which nobody asks for by saying nothing.
        raise ConfigError(
            "the address to listen on is empty; give --host or serve.host, e.g. 127.0.0.1, or "
            "0.0.0.0 for all addresses"
        )
    # Port 0 is a request of its own: any free port.
    number = settings.serve.port if port is None else port
    if replicas is None:
        run_server(settings, host=address, port=number)
    else:
        run_replicas = load_backend("countermark.servers", "ray")
        run_replicas(settings, host=address, port=number, replicas=replicas)
