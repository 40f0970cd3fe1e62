"""``countermark reproduce``."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from generator.reproduce import Reproduction

__all__ = ["reproduce_app"]

reproduce_app = typer.Typer()


@reproduce_app.command("reproduce")
def reproduce(
    record_id: Annotated[str, typer.Argument(metavar="RECORD_ID", help="16 hex digits.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Where the registered file goes, restored byte for byte, if every pixel agrees.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Hub id or folder of the model.  [as it was asked for]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Render a registered picture again and compare: an audit that writes no record.

    Answers 0 when the picture came out again, 1 when it differs or the record does not tell the
    truth, 3 when it cannot be rendered again (inputs erased, another model).
    """
    from generator.wiring import build_reproducer
    from provenance.cli import print_json, print_line
    from provenance.config import load_settings
    from provenance.types import parse_record_id

    wanted = parse_record_id(record_id)
    found = build_reproducer(load_settings(), model=model)(wanted)
    written = _write(found, out)
    if as_json:
        print_json(
            {
                "record_id": found.record_id,
                "outcome": found.outcome.value,
                "reason": found.reason,
                "psnr_db": None if found.psnr_db is None else round(found.psnr_db, 2),
                "file": None if written is None else str(written),
            }
        )
    else:
        print_line(f"{found.outcome.value}: {found.reason}")
        if found.psnr_db is not None:
            print_line(f"PSNR {found.psnr_db:.1f} dB")
        if out is not None:
            print_line(_explain_file(found, written))
    raise typer.Exit(_exit_code(found))


def _write(found: "Reproduction", out: Path | None) -> Path | None:
    from provenance.files import write_file_atomic

    if out is None or found.image is None:
        return None
    write_file_atomic(out, found.image.data)
    return out


def _explain_file(found: "Reproduction", written: Path | None) -> str:
    from generator.reproduce import Outcome

    if written is not None:
        return f"{written} is the registered file, byte for byte"
    if found.outcome is Outcome.EXACT:
        return (
            "nothing is written: the pixels agree, but today's encoder packs them otherwise, and "
            "an unsigned copy never leaves"
        )
    return "nothing is written: only the registered file itself would be"


def _exit_code(found: "Reproduction") -> int:
    from generator.reproduce import Outcome
    from provenance.cli import ExitCode

    match found.outcome:
        case Outcome.EXACT | Outcome.CLOSE:
            return ExitCode.DONE
        case Outcome.DIFFERS:
            return ExitCode.POLICY
        case Outcome.IMPOSSIBLE:
            return ExitCode.INPUT
