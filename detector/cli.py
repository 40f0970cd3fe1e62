"""``countermark verify``, ``recover`` and ``filter``."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from detector.filter.report import FilterReport
    from detector.recovery import Recovery
    from detector.service import DetectorService
    from provenance.config import Settings

__all__ = ["filter_app", "recover_app", "verify_app"]

verify_app = typer.Typer()
recover_app = typer.Typer()
filter_app = typer.Typer()

PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="NAME|FILE",
        help="default, strict, lenient, or one of your own.  [detector.policy]",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@verify_app.command("verify")
def verify_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Pictures.", show_default=False)
    ],
    as_json: AsJson = False,
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="ORIGIN[,ORIGIN]", help="Exit with 1 when a verdict has one of these origins."
        ),
    ] = None,
    trust_anchors: Annotated[
        list[Path] | None,
        typer.Option(metavar="PEM", help="Trust these manifest roots too; repeatable."),
    ] = None,
    tsa_anchors: Annotated[
        list[Path] | None,
        typer.Option(metavar="PEM", help="Trust these time-stamp roots too; repeatable."),
    ] = None,
    no_default_trust: Annotated[
        bool, typer.Option("--no-default-trust", help="Do not use the shipped C2PA lists.")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="A C2PA manifest store for the one FILE; else FILE.c2pa beside it is read.",
            show_default=False,
        ),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Skip the thorough search when nothing was found.")
    ] = False,
    include_private: Annotated[
        bool,
        typer.Option(
            "--include-private",
            help="Repeat prompts, names, serial numbers and positions that the file holds.",
        ),
    ] = False,
    policy: PolicyOption = None,
) -> None:
    """Tell of pictures whether, and how surely, a machine made them."""
    from detector.schemas import Disclosure
    from detector.service import Depth
    from detector.wiring import build_detector, build_policy
    from provenance.cli import ExitCode, print_json

    wanted = _parse_origins(fail_on)
    if manifest is not None and len(files) > 1:
        raise typer.BadParameter(
            "it belongs to one picture; name one FILE", param_hint="--manifest"
        )
    settings = _load_settings(default_trust=not no_default_trust)
    service = build_detector(
        settings,
        anchors=trust_anchors or (),
        tsa_anchors=tsa_anchors or (),
        policy=build_policy(settings, policy),
    )
    depth = Depth.FAST if fast else Depth.THOROUGH
    disclosure = Disclosure.PRIVATE if include_private else Disclosure.PUBLIC
    answers = _verify_all(service, files, depth, disclosure, manifest=manifest, quiet=as_json)
    if as_json:
        print_json(answers)
    else:
        from detector.display import show_answers

        show_answers(answers)
    if any(_is_unread(answer) for answer in answers):
        raise typer.Exit(ExitCode.INPUT)
    if any(answer["origin"] in wanted for answer in answers):
        raise typer.Exit(ExitCode.POLICY)


def _verify_all(
    service: "DetectorService",
    files: list[Path],
    depth: Any,
    disclosure: Any,
    *,
    manifest: Path | None,
    quiet: bool,
) -> list[dict[str, Any]]:
    from dataclasses import replace

    from detector.display import progress_bar
    from detector.schemas import view_verdict
    from detector.sidecars import find_sidecar, read_sidecar
    from provenance.errors import InputError
    from provenance.imaging import open_candidate, read_file

    if manifest is not None:
        read_file(manifest, limits=service.limits)  # what was asked for must be there
    answers: list[dict[str, Any]] = []
    with progress_bar("verifying", quiet=quiet or len(files) == 1) as on_progress:
        for number, path in enumerate(files):
            on_progress(number, len(files))
            try:
                data = read_file(path, limits=service.limits)
                candidate = open_candidate(data, name=str(path), limits=service.limits)
                beside = manifest or find_sidecar(path)
                if beside is not None:
                    sidecar = read_sidecar(beside, limits=service.limits)
                    candidate = replace(candidate, sidecar=sidecar)
            except InputError as error:
                # The other files are still answered; the exit code says that one was not.
                answers.append({"file": str(path), "error": str(error)})
                continue
            verdict = service.examine(candidate, depth=depth)
            view = view_verdict(
                verdict,
                file=str(path),
                sha256=candidate.sha256,
                error=candidate.decode_problem,
                policy=service.policy,
                disclosure=disclosure,
            )
            answers.append(view.model_dump(mode="json"))
    return answers


def _is_unread(answer: dict[str, Any]) -> bool:
    """Whether nothing could be read: a damaged picture whose manifest speaks is an answer."""
    spoke = {"present", "invalid"}
    evidence = answer.get("evidence", ())
    return bool(answer.get("error")) and not any(e["finding"] in spoke for e in evidence)


def _parse_origins(text: str | None) -> frozenset[str]:
    """The origins that ``--fail-on`` names.

    Raises:
        typer.BadParameter: A word is none; names the nearest.
    """
    from difflib import get_close_matches

    from provenance.types import Origin

    known = [origin.value for origin in Origin]
    named = [part.strip() for part in (text or "").split(",") if part.strip()]
    if text is not None and not named:
        raise typer.BadParameter(f"name at least one of {', '.join(known)}", param_hint="--fail-on")
    for name in named:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise typer.BadParameter(f"{name!r} is no origin; {hint}", param_hint="--fail-on")
    return frozenset(named)


def _load_settings(*, default_trust: bool) -> "Settings":
    from dataclasses import replace

    from provenance.config import load_settings

    settings = load_settings()
    if default_trust:
        return settings
    return replace(settings, detector=replace(settings.detector, default_trust=False))


# -- recover -----------------------------------------------------------------------------------


@recover_app.command("recover")
def recover_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="The healed picture; or NAME.c2pa for the manifest store alone.",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Give a picture of this service the credentials back that somebody stripped."""
    from provenance.cli import print_json, print_line
    from provenance.files import write_file_atomic

    recovery = _recover(file, out)
    write_file_atomic(out, recovery.data)
    if as_json:
        print_json(
            {
                "file": str(file),
                "out": str(out),
                "kind": recovery.kind.value,
                "record_id": recovery.record.record_id,
                "manifest_label": recovery.record.manifest_label,
                "bytes": len(recovery.data),
            }
        )
    else:
        print_line(f"{out}  {recovery.kind}  record {recovery.record.record_id}")


def _recover(file: Path, out: Path) -> "Recovery":
    from detector.policy_rules import STANDARD
    from detector.recovery import recover_file, recover_store
    from detector.wiring import build_context, build_detector
    from provenance.config import load_settings
    from provenance.errors import InputError
    from provenance.imaging import open_candidate, read_file

    settings = load_settings()
    # Whose picture it is, is no matter of anybody's policy.
    service = build_detector(settings, policy=STANDARD)
    data = read_file(file, limits=service.limits)
    candidate = open_candidate(data, name=str(file), limits=service.limits)
    if out.exists() and out.is_dir():
        raise InputError(f"{out} is a folder; name a file in it")
    store = build_context(settings).store()
    if store is None:
        raise InputError(
            f"{file}: this installation has no registry, so nothing can be recovered; run it where "
            "the picture was generated, or set COUNTERMARK_HOME"
        )
    verdict = service.examine(candidate)
    recover = recover_store if out.suffix.lower() == ".c2pa" else recover_file
    return recover(candidate, verdict, store)


# -- filter ------------------------------------------------------------------------------------


@filter_app.command("filter")
def filter_command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Pictures, in any depth.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="Gets the kept files, decisions.parquet and the journal.",
            show_default=False,
        ),
    ],
    policy: PolicyOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was broken off.")
    ] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Skip the thorough search when nothing was found.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Keep machine-made pictures out of a training set; say why for each file."""
    from dataclasses import asdict, replace

    from detector.display import progress_bar, show_report
    from detector.filter.run import DECISIONS, FolderFilter
    from detector.service import Depth
    from detector.wiring import build_detector, build_policy
    from provenance.cli import print_json
    from provenance.config import load_settings
    from provenance.plugins import load_backend

    settings = load_settings()
    # Thousands of pictures, most without a mark: a search in each would take hours.
    bulk = replace(settings, watermark=replace(settings.watermark, search="fast"))
    work = FolderFilter(
        build_detector(bulk, policy=build_policy(settings, policy)),
        load_backend("countermark.filter_engines", settings.detector.filter_engine)(),
        Depth.FAST if fast else Depth.THOROUGH,
    )
    with progress_bar("filtering", quiet=as_json) as on_progress:
        run = work.resume if resume else work.start
        report: FilterReport = run(folder, out, on_progress)
    if as_json:
        print_json({**asdict(report), "decisions": str(out / DECISIONS)})
    else:
        show_report(report, out / DECISIONS)
