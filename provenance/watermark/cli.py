"""``countermark watermark``: embed, detect. Needs neither registry nor C2PA."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from provenance.errors import InputError
    from provenance.imaging import ImageLimits
    from provenance.types import MediaType, WatermarkEvidence
    from provenance.watermark.payload import WatermarkKey
    from provenance.watermark.pictures import MarkedPicture

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Embed and read the invisible mark by itself, in any picture."
)

_FILES_WORTH_PROCESSES = 16

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Codec = Annotated[str, typer.Option(help="Which kind of mark.", metavar="NAME")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="Watermark keys, hex, one a line; those of the service when left out.",
    ),
]


@app.command("embed")
def embed_command(
    file: Annotated[Path, typer.Argument(metavar="IN", help="A picture.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="The marked picture: .png, .jpg or .webp.", show_default=False
        ),
    ],
    payload: Annotated[
        str | None,
        typer.Option(
            metavar="HEX16", help="What the mark says: 16 hex digits; random when left out."
        ),
    ] = None,
    codec: Codec = "lattice",
    key: KeyFile = None,
    quality: Annotated[int, typer.Option(help="For .jpg and .webp.", min=1, max=100)] = 92,
    as_json: AsJson = False,
) -> None:
    """Mark a picture; write it only after the mark was read back from its bytes."""
    from provenance.cli import print_json, print_line
    from provenance.config import load_settings
    from provenance.imaging import ImageLimits
    from provenance.watermark.pictures import embed

    media_type = _check_out(file, out)
    word = _check_payload(payload)
    settings = load_settings()
    limits = ImageLimits(settings.limits.max_bytes, settings.limits.max_pixels)
    _check_readable(file, limits)  # first: a mistyped name must not make a key
    marked = embed(
        file,
        key=_open_writing_key(key),
        payload=word,
        codec=codec,
        media_type=media_type,
        quality=quality,
        limits=limits,
    )
    marked.save(out)
    facts = _describe_marked(marked, file, out)
    if as_json:
        print_json(facts)
    else:
        print_line(_show_marked(facts))


@app.command("detect")
def detect_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Pictures.", show_default=False)
    ],
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough/--fast", help="Undo rotation, scaling and mirroring, or only look."
        ),
    ] = True,
    codec: Codec = "lattice",
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether pictures carry a mark of this key, and what it says."""
    from provenance.cli import ExitCode, print_error, print_json, print_line
    from provenance.config import load_settings
    from provenance.errors import InputError
    from provenance.imaging import ImageLimits
    from provenance.watermark.batch import detect_many

    settings = load_settings()
    answers = detect_many(
        files,
        keys=_open_reading_keys(key),
        codec=codec,
        thorough=thorough,
        workers=_workers_for(len(files)),
        limits=ImageLimits(settings.limits.max_bytes, settings.limits.max_pixels),
    )
    rows = []
    for path, answer in zip(files, answers, strict=True):
        rows.append(_describe_answer(path, answer))
        if as_json:
            continue
        # Each line as soon as it is known: a folder of pictures takes a while.
        if isinstance(answer, InputError):
            print_error(str(answer))
        else:
            print_line(_show_answer(path, answer))
    if as_json:
        print_json(rows)
    if any("error" in row for row in rows):
        raise typer.Exit(ExitCode.INPUT)


def _workers_for(files: int) -> int:
    """One process a core, where there is enough to do that starting them is worth a second."""
    import os

    return 1 if files < _FILES_WORTH_PROCESSES else os.cpu_count() or 1


# -- options -----------------------------------------------------------------------------------


def _check_out(file: Path, out: Path) -> "MediaType":
    """The format to write, by the name of the output.

    Raises:
        typer.BadParameter: No known format, a folder, or the input itself.
    """
    from provenance.watermark.pictures import media_type_of

    media_type = media_type_of(out)
    if out.is_dir():
        problem = f"{out} is a folder; name a file in it, like {out / 'marked.png'}"
    elif media_type is None:
        problem = f"{out} ends in no known format; use .png, .jpg or .webp"
    elif out.exists() and file.exists() and out.samefile(file):
        problem = f"{out} is the input itself, which is kept; name another file"
    else:
        return media_type
    raise typer.BadParameter(problem, param_hint="--out")


def _check_payload(text: str | None) -> str | None:
    from provenance.errors import InputError
    from provenance.types.base import parse_record_id

    if text is None:
        return None
    try:
        return parse_record_id(text)
    except InputError as error:
        problem = f"{text[:40]!r} is not 16 hex digits, like 3f2a9c0d11e87b46"
        raise typer.BadParameter(problem, param_hint="--payload") from error


def _check_readable(file: Path, limits: "ImageLimits") -> None:
    from provenance.imaging import read_file

    read_file(file, limits=limits)


_MAKE_KEY = "check --key, or make one: (umask 077; openssl rand -hex 32 > {})"


def _open_writing_key(file: Path | None) -> "WatermarkKey":
    from provenance.config import load_settings
    from provenance.watermark.keyfile import read_key_file
    from provenance.watermark.wiring import open_current_key

    if file is None:
        return open_current_key(load_settings())
    return read_key_file(file, remedy=_MAKE_KEY.format(file))[0]


def _open_reading_keys(file: Path | None) -> "tuple[WatermarkKey, ...]":
    """All keys of the file, or of the service: marks of retired ones are read too."""
    from provenance.config import load_settings
    from provenance.watermark.keyfile import read_key_file

    if file is not None:
        return read_key_file(file, remedy="check --key")
    remedy = (
        "without the key that pictures were marked with there is nothing to look for: name its "
        "file with --key, or set COUNTERMARK_HOME to the home of the service"
    )
    return read_key_file(load_settings().watermark_key_file, remedy=remedy)


# -- answers -----------------------------------------------------------------------------------


def _describe_marked(marked: "MarkedPicture", file: Path, out: Path) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "file": str(file),
        "out": str(out),
        "payload": marked.payload,
        **asdict(marked.info),
        "margin": marked.evidence.margin,
        "p_value": marked.evidence.p_value,
        "sturdy": marked.sturdy,
        "bytes": len(marked.image.data),
    }


def _show_marked(facts: dict[str, Any]) -> str:
    parts = [
        str(facts["out"]),
        f"payload {facts['payload']}" if facts["payload"] else "presence mark, no payload",
        f"PSNR {facts['psnr_db']:.1f} dB",
    ]
    if facts.get("ssim") is not None:
        parts.append(f"SSIM {facts['ssim']:.3f}")
    parts.append(f"strength {facts['strength']:g}")
    parts.append(f"bit accuracy {facts['bit_accuracy']:.0%}")
    if facts["margin"] is not None:
        parts.append(f"margin {facts['margin']:.0%}")
    if not facts["sturdy"]:
        parts.append("a re-save may lose it")
    return "  ".join(parts)


def _describe_answer(path: Path, answer: "WatermarkEvidence | InputError") -> dict[str, Any]:
    from dataclasses import asdict

    from provenance.errors import InputError

    if isinstance(answer, InputError):
        return {"file": str(path), "error": str(answer)}
    facts = asdict(answer)
    del facts["source"]
    found = {"file": str(path), "finding": facts.pop("finding"), "payload": facts.pop("record_id")}
    return found | facts


def _show_answer(path: Path, answer: "WatermarkEvidence") -> str:
    from provenance.watermark.wording import describe_reading

    return f"{path}  {answer.finding}  {describe_reading(answer)}"
