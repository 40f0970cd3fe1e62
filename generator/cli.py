"""``countermark generate``."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from generator.schemas import GenerationBody
    from generator.wiring import Generator
    from provenance.errors import ProvenanceError
    from provenance.types import Delivery, GenerationRequest

__all__ = ["generate_app"]

generate_app = typer.Typer()

_SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@generate_app.command("generate")
def generate(
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="What to draw.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="Where the signed picture goes; -n adds -1, -2, ...",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Hub id or local folder in diffusers' layout.  [default: bundled]"),
    ] = None,
    negative: Annotated[str, typer.Option(help="What to steer away from.")] = "",
    seed: Annotated[int | None, typer.Option(help="Same seed, same picture.  [random]")] = None,
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 20,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance scale.")] = 7.5,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT, multiples of 8.")] = "512x512",
    count: Annotated[int, typer.Option("-n", help="How many pictures.", min=1, max=1000)] = 1,
    image_format: Annotated[
        str | None, typer.Option("--format", help="png, jpeg or webp.  [by the name of OUT]")
    ] = None,
    quality: Annotated[int, typer.Option(help="1 to 100, for jpeg and webp.")] = 92,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option("--allow-pickle", help="Load pickled weights, which can run code. Warns."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Generate pictures that leave marked, signed and registered."""
    from generator.schemas import GenerationBody
    from provenance.cli import print_json

    width, height = _parse_size(size)
    body = GenerationBody(
        prompt=prompt,
        negative_prompt=negative,
        model=model,
        seed=_check_seed(seed),
        steps=steps,
        guidance=guidance,
        width=width,
        height=height,
        n=count,
        format=_choose_format(out, image_format),  # type: ignore[arg-type]  # checked there
        quality=quality,
    )
    paths = _name_outputs(out, count)
    overrides: dict[str, object] = {"device": device, "dtype": dtype}
    if allow_pickle:
        overrides["allow_pickle"] = True
    rows: list[dict[str, object]] = []
    try:
        _generate(body, paths, {k: v for k, v in overrides.items() if v is not None}, rows)
    finally:
        # Also when a later picture failed: what was delivered must not go unnamed.
        if as_json and rows:
            print_json(rows)
        elif not as_json:
            _show(rows)


def _generate(
    body: "GenerationBody",
    paths: list[Path],
    overrides: dict[str, object],
    rows: list[dict[str, object]],
) -> None:
    from dataclasses import replace

    from generator.wiring import build_generator
    from provenance.config import load_settings
    from provenance.errors import InputError

    try:
        requests = body.to_requests()
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    for path in paths:
        _check_writable(path)
    settings = load_settings()
    chosen = replace(settings.generator, **overrides)  # type: ignore[arg-type]  # by field name
    generator = build_generator(replace(settings, generator=chosen), model=body.model)
    _render_all(generator, requests, paths, rows)


def _render_all(
    generator: "Generator",
    requests: "tuple[GenerationRequest, ...]",
    paths: list[Path],
    rows: list[dict[str, object]],
) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from provenance.errors import ProvenanceError
    from provenance.files import StagedFile

    with Progress(console=Console(stderr=True), transient=True) as progress:

        def render(number: int, request: "GenerationRequest", path: Path) -> "Delivery":
            task = progress.add_task(
                f"picture {number} of {len(paths)}", total=request.effective_steps
            )
            return generator.service.generate(
                request,
                lambda report: progress.update(task, completed=report.done, total=report.total),
                lambda asset: StagedFile(path, asset.image.data),
            )

        for number, (request, path) in enumerate(zip(requests, paths, strict=True), 1):
            try:
                rows.append(_delivered_row(render(number, request, path), path))
            except ProvenanceError as error:
                rows.append(_failed_row(error, path))
                raise


def _parse_size(text: str) -> tuple[int, int]:
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) == 2 and all(part.strip().isdigit() for part in parts):
        return int(parts[0]), int(parts[1])
    raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT, like 512x512", param_hint="--size")


def _check_seed(seed: int | None) -> int | None:
    if seed is not None and not 0 <= seed < 2**63:
        raise typer.BadParameter(f"{seed} is outside 0..2**63-1", param_hint="--seed")
    return seed


def _choose_format(out: Path, named: str | None) -> str:
    by_name = _SUFFIXES.get(out.suffix.lower())
    if named is None:
        if by_name is None and out.suffix:
            raise typer.BadParameter(
                f"{out.name} ends in no known format; use .png, .jpg or .webp, or give --format",
                param_hint="--out",
            )
        return by_name or "png"
    wanted = _SUFFIXES.get(f".{named.lower()}")
    if wanted is None:
        raise typer.BadParameter(f"{named!r} is not png, jpeg or webp", param_hint="--format")
    if by_name is not None and by_name != wanted:
        raise typer.BadParameter(
            f"{out.name} and --format {wanted} disagree; change one of them", param_hint="--format"
        )
    return wanted


def _name_outputs(out: Path, count: int) -> list[Path]:
    if count == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{index}{out.suffix}") for index in range(1, count + 1)]


def _check_writable(path: Path) -> None:
    """Fails before the model is loaded, not after it has drawn."""
    import os

    from provenance.errors import DeliveryError

    if path.is_dir():
        raise DeliveryError(f"{path} is a folder; name a file in it, like {path / 'picture.png'}")
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise DeliveryError(f"{path} cannot be written: {parent} is not a writable folder")


def _show(rows: list[dict[str, object]]) -> None:
    from provenance.cli import print_line

    for row in rows:
        if "record_id" in row:
            print_line(f"{row['file']}  record {row['record_id']}  seed {row['seed']}")


def _delivered_row(delivery: "Delivery", path: Path) -> dict[str, object]:
    from generator.schemas import delivery_view

    view = delivery_view(delivery).model_dump(exclude={"asset_url"})
    return {"file": str(path), **view}


def _failed_row(error: "ProvenanceError", path: Path) -> dict[str, object]:
    from provenance.errors import ContentBlockedError

    row: dict[str, object] = {"file": str(path), "error": str(error)}
    if isinstance(error, ContentBlockedError):
        row["refusal_id"] = error.refusal_id
        row["flagged"] = list(error.report.flagged)
        row["scores"] = dict(error.report.scores)
    return row
