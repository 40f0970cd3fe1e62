"""``countermark generate``."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from generator.cli_requests import Order

__all__ = ["generate_app"]

generate_app = typer.Typer()

_SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@generate_app.command("generate")
def generate(
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="Where the signed picture goes; -n adds -1, -2, ...",
            show_default=False,
        ),
    ],
    prompt: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", help="What to draw.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Hub id or local folder in diffusers' layout.  [default: bundled]"),
    ] = None,
    negative: Annotated[str, typer.Option(help="What to steer away from.")] = "",
    seed: Annotated[int | None, typer.Option(help="Same seed, same picture.  [random]")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.  [the model's]")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Classifier-free guidance scale.  [the model's]")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="WIDTHxHEIGHT, multiples of 8.  [the input's, else the model's]"),
    ] = None,
    count: Annotated[int, typer.Option("-n", help="How many pictures.", min=1, max=1000)] = 1,
    init_image: Annotated[Path | None, typer.Option(help="A picture to start from.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="How far from it: above 0, at most 1.  [0.75]")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="White is painted anew, black stays as in --init-image."),
    ] = None,
    input_role: Annotated[
        str, typer.Option(help="edit: --init-image is edited; guide: it only steers.")
    ] = "edit",
    scheduler: Annotated[
        str | None, typer.Option(help="Sampler, like euler_a or dpmpp_2m_karras.  [the model's]")
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:SCALE]", help="From generator.lora_folder; repeatable."),
    ] = None,
    visible_label: Annotated[
        bool, typer.Option("--visible-label", help="Draw a label that people see.")
    ] = False,
    export_steps: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write each step there: a preview (marked, signed, registered) and a checkpoint "
            "to resume from. Checkpoints hold the prompt.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Go on from a checkpoint, or from the last in a folder, to the very same picture.",
        ),
    ] = None,
    from_step: Annotated[
        int | None, typer.Option(help="With --resume: from this step's checkpoint.", min=1)
    ] = None,
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
    from generator.cli_requests import Order, read_lora
    from provenance.cli import print_json

    width, height = (None, None) if size is None else _parse_size(size)
    order = Order(
        body={
            "prompt": prompt,
            "negative_prompt": negative,
            "model": model,
            "seed": _check_seed(seed),
            "steps": steps,
            "guidance": guidance,
            "width": width,
            "height": height,
            "n": count,
            "strength": strength,
            "input_role": _check_role(input_role),
            "scheduler": scheduler,
            "loras": [read_lora(one) for one in lora or ()],
            "visible_label": visible_label,
            "format": _choose_format(out, image_format),
            "quality": quality,
        },
        init_image=init_image,
        mask=mask,
        resume=resume,
        from_step=from_step,
    )
    paths = _name_outputs(out, count)
    overrides: dict[str, object] = {"device": device, "dtype": dtype}
    if allow_pickle:
        overrides["allow_pickle"] = True
    rows: list[dict[str, object]] = []
    try:
        chosen = {k: v for k, v in overrides.items() if v is not None}
        _generate(order, paths, chosen, export_steps, rows)
    finally:
        # Also when a later picture failed: what was delivered must not go unnamed.
        if as_json and rows:
            print_json(rows)
        elif not as_json:
            _show(rows)


def _generate(
    order: "Order",
    paths: list[Path],
    overrides: dict[str, object],
    export: Path | None,
    rows: list[dict[str, object]],
) -> None:
    from dataclasses import replace

    from generator.cli_rendering import Bench
    from generator.wiring import build_generator
    from provenance.config import load_settings
    from provenance.errors import InputError

    for path in paths if export is None else (*paths, export / paths[0].name):
        _check_writable(path)
    settings = load_settings()
    chosen = replace(settings.generator, **overrides)  # type: ignore[arg-type]  # by field name
    settings = replace(settings, generator=chosen)
    try:
        checkpoint = order.checkpoint()
        model = order.model(checkpoint)
        order.check()
        generator = build_generator(settings, model=model)
        requests = order.requests(generator.defaults(None), checkpoint, settings.limits)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    bench = Bench(generator, settings.generator.batch_size, export, checkpoint)
    bench.render_all(requests, paths, rows)


def _check_role(role: str) -> str:
    if role not in ("edit", "guide"):
        raise typer.BadParameter(f"{role!r} is not edit or guide", param_hint="--input-role")
    return role


def _parse_size(text: str) -> tuple[int, int]:
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) == 2 and all(part.strip().isdecimal() for part in parts):
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
            print_line(
                f"{row['file']}  record {row['record_id']}  seed {row['seed']}  steps {_steps(row)}"
            )


def _steps(row: dict[str, object]) -> str:
    asked, run = row["steps"], row["effective_steps"]
    return f"{run}" if asked == run else f"{run} of {asked}"
