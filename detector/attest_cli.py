"""``countermark attest``."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from detector.attest import Attested
    from provenance.config import Settings
    from provenance.types import MediaType

__all__ = ["attest_app"]

attest_app = typer.Typer()

_SUFFIXES = {
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "image/webp": (".webp",),
}


@attest_app.command("attest")
def attest_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture.", show_default=False)],
    source_type: Annotated[
        str,
        typer.Option(
            "--source-type",
            metavar="TERM",
            help="How it was made: digitalCapture, compositeCapture, digitalCreation, humanEdits "
            "or digitalArt.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The signed picture.", show_default=False)
    ],
    cert: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Your certificate chain.  [that of countermark keys]"),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Its private key.  [likewise]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Sign, under your own key, that no generative AI made a picture; and register it.

    The claim is yours: it is checked against what the picture carries and against the registry, and
    refused where a machine took part, but nothing can prove it.
    """
    from provenance.cli import print_json, print_line

    attested, is_development = _attest(file, source_type, out, _choose_keys(cert, key))
    facts = _describe(attested, file, out) | {"is_development": is_development}
    if as_json:
        print_json(facts)
        return
    print_line(
        f"{out}  record {facts['record_id']}  {facts['origin']} by {facts['claimant']} "
        f"({facts['source_type']})"
    )
    for doubt in attested.doubts:
        print_line(f"not refused, but noticed: {doubt}")
    if is_development:
        print_line(
            "Signed with a development certificate: other installations will not show the claimant."
        )


def _attest(
    file: Path, source_type: str, out: Path, settings: "Settings"
) -> tuple["Attested", bool]:
    from detector.wiring import build_attester
    from provenance.errors import InputError
    from provenance.files import StagedFile
    from provenance.imaging import open_candidate, read_file
    from provenance.manifest.attestation import parse_source_type

    try:
        source = parse_source_type(source_type)
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint="--source-type") from error
    _check_out(file, out)
    attester = build_attester(settings)
    data = read_file(file, limits=attester.limits)
    candidate = open_candidate(data, name=str(file), limits=attester.limits)
    _check_suffix(file, out, candidate.media_type)
    attested = attester.attest(candidate, source, lambda asset: StagedFile(out, asset.image.data))
    return attested, attester.signer.signer.is_development


def _choose_keys(cert: Path | None, key: Path | None) -> "Settings":
    from dataclasses import replace

    from provenance.config import load_settings

    settings = load_settings()
    if cert is None and key is None:
        return settings
    if cert is None or key is None:
        raise typer.BadParameter(
            "a certificate and its private key go together; give both", param_hint="--cert, --key"
        )
    own = replace(settings.manifest, signer="local-key", chain_file=str(cert), key_file=str(key))
    return replace(settings, manifest=own)


def _check_out(file: Path, out: Path) -> None:
    """Fails before anything is examined.

    Raises:
        InputError: OUT is FILE, or a folder.
    """
    from provenance.errors import InputError

    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file in it, like {out / file.name}")
    if out.exists() and file.exists() and out.samefile(file):
        raise InputError(f"{out} is the picture itself, which is never overwritten; name another")


def _check_suffix(file: Path, out: Path, media_type: "MediaType | None") -> None:
    """Refuses a name that promises another format: the picture is not encoded anew."""
    from provenance.errors import InputError

    fitting = _SUFFIXES.get(media_type or "")
    if fitting is not None and out.suffix.lower() not in fitting:
        raise InputError(
            f"{out} must end in {fitting[0]}: {file} is {media_type}, and its pixels are not "
            "encoded anew"
        )


def _describe(attested: "Attested", file: Path, out: Path) -> dict[str, Any]:
    from provenance.types import SourceClaim

    record = attested.delivery.record
    is_capture = attested.claim.claim is SourceClaim.CAPTURE
    return {
        "file": str(file),
        "out": str(out),
        "record_id": record.record_id,
        "source_type": attested.claim.source.term,
        "origin": "capture_claimed" if is_capture else "human_claimed",
        "claimant": attested.claim.claimant,
        "manifest_label": record.manifest_label,
        "sha256": record.asset.sha256,
        "parent": attested.parent.value,
        "time_stamped": record.time_stamped,
        "doubts": list(attested.doubts),
    }
