"""``countermark log``: head, key, prove, consistency, check."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from provenance.config import Settings
    from registry.checkpoint import Checkpoint
    from registry.log_proofs import SignedHead
    from registry.signed_log import SignedLog

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Prove what the registry's log says, and check such proofs."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Size = Annotated[
    int | None, typer.Option(min=1, help="Leaves of a signed head; the newest otherwise.")
]
MAX_DOCUMENT_BYTES = 2**20
"""A proof takes some kilobytes."""


@app.command("head")
def head_command(
    sign: Annotated[bool, typer.Option("--sign", help="Sign a new one now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the newest signed head. Keep it elsewhere: it is what later checks rest on.

    With registry.log_heads_folder set, heads that are not there yet are written there, and sent to
    the witnesses that are set.
    """
    from provenance.cli import print_json
    from registry.wiring import open_head_publisher

    settings, log = _open_both()
    publish = open_head_publisher(settings)
    head = log.sign() if sign else log.head()
    if as_json:
        print_json(head.to_json())
    else:
        _print_head(head)
    if publish is not None:
        publish(log)


def _print_head(head: "SignedHead") -> None:
    from datetime import UTC, datetime

    signed_at = datetime.fromtimestamp(head.timestamp_ms / 1000, UTC)
    typer.echo(f"leaves     {head.size}")
    typer.echo(f"root       {head.root.hex()}")
    typer.echo(f"signed at  {signed_at:%Y-%m-%d %H:%M:%S} UTC")
    typer.echo(f"log        {head.log_id}")


@app.command("key")
def key_command(
    verifier: Annotated[
        bool,
        typer.Option("--verifier", help="In one word (NAME+ID+KEY), as witnesses take it."),
    ] = False,
) -> None:
    """Print the public key that heads are signed with, as PEM."""
    from registry.checkpoint import log_verifier_key
    from registry.log_proofs import public_key_pem
    from registry.wiring import log_origin

    settings, log = _open_both()
    public = next(iter(log.keys.public.values()))
    if verifier:
        origin = log_origin(settings) or log.keys.origin
        typer.echo(log_verifier_key(origin, public).text())
        return
    typer.echo(public_key_pem(public), nl=False)


@app.command("prove")
def prove_command(
    record_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A record or refusal, 16 hex digits.")
    ] = None,
    leaf: Annotated[int | None, typer.Option(min=0, help="A leaf by its place, instead.")] = None,
    size: Size = None,
) -> None:
    """Print the proof, as JSON, that an entry stands in the log."""
    from provenance.cli import print_json
    from provenance.errors import InputError
    from provenance.types import parse_record_id

    log = _open_log()
    if record_id is not None and leaf is None:
        proof = log.prove_record(parse_record_id(record_id), size=size)
    elif leaf is not None and record_id is None:
        proof = log.prove_leaf(leaf, size=size)
    else:
        raise InputError("give the id of a record, or --leaf N, and not both")
    print_json(proof.to_json())


@app.command("consistency")
def consistency_command(
    first: Annotated[int, typer.Option(min=1, help="Leaves of the earlier head.")],
    second: Size = None,
) -> None:
    """Print the proof, as JSON, that nothing up to an earlier head was changed since."""
    from provenance.cli import print_json

    print_json(_open_log().prove_growth(first, second).to_json())


@app.command("check")
def check_command(
    proof: Annotated[
        Path | None,
        typer.Argument(metavar="[PROOF]", help="A file from prove or consistency.  [own log]"),
    ] = None,
    head: Annotated[
        Path | None, typer.Option(help="A head or checkpoint you keep.  [the proof's own]")
    ] = None,
    older: Annotated[
        Path | None, typer.Option(help="The earlier head, of a proof of consistency.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The log's public key, PEM.  [own key]")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a proof; with --key without any registry. Without PROOF, this log against a head.

    Exit code 1: not proven.
    """
    from provenance.cli import ExitCode, print_error, print_json
    from registry.log_proofs import NotProvenError

    try:
        said = _check(proof, head, older, key)
    except NotProvenError as error:
        if as_json:
            print_json({"proven": False, "reason": str(error)})
        else:
            print_error(f"not proven: {error}")
        raise typer.Exit(ExitCode.POLICY) from error
    if as_json:
        print_json({"proven": True, "reason": said})
    else:
        typer.echo(f"proven: {said}")


def _check(proof: Path | None, head: Path | None, older: Path | None, key: Path | None) -> str:
    from provenance.errors import InputError
    from registry.log_proofs import (
        ConsistencyProof,
        InclusionProof,
        check_consistency_proof,
        check_inclusion_proof,
    )

    if proof is None:
        return _check_own_log(head, key)
    found = _read(proof)
    newer = None if head is None else _read_head(head)
    public = _public_key(key, newer or getattr(found, "head", None))
    match found:
        case InclusionProof():
            against = newer or found.head
            check_inclusion_proof(found, against, public)
            return f"leaf {found.leaf_index} stands in the log of {against.size} leaves"
        case ConsistencyProof():
            if older is None:
                raise InputError(f"{proof} is a proof of consistency; give --older HEAD.json too")
            first = _read_head(older)
            check_consistency_proof(found, first, newer or found.head, public)
            return f"nothing up to leaf {first.size - 1} was changed since"
        case _:
            raise InputError(f"{proof} is a head, not a proof; give it with --head")


def _check_own_log(head: Path | None, key: Path | None) -> str:
    from provenance.errors import InputError
    from registry.log_proofs import NotProvenError

    if head is None:
        raise InputError("give a proof, or a head that you keep with --head HEAD.json")
    kept, log = _read_head(head), _open_log()
    kept.require_signed(_public_key(key, kept))
    root = log.root_at(kept.size)
    if root is None:
        raise NotProvenError(f"the log has fewer leaves than the head's {kept.size}: it was cut")
    if root != kept.root:
        raise NotProvenError(
            f"the first {kept.size} leaves have another root than the head: the log was rewritten"
        )
    return f"the first {kept.size} leaves of this log are those of the head"


def _public_key(key: Path | None, head: "SignedHead | Checkpoint | None") -> bytes:
    from registry.checkpoint import Checkpoint, log_verifier_key, verified_by
    from registry.log_proofs import NotProvenError, read_public_key

    if key is not None:
        return read_public_key(_read_bytes(key), name=str(key))
    own = _open_log().keys.public
    if isinstance(head, Checkpoint):
        for public in own.values():
            if verified_by(head, log_verifier_key(head.origin, public)) is not None:
                return public
        raise NotProvenError(
            f"the checkpoint of {head.origin} is signed by no key of this log; give the key of "
            "the log that signed it with --key"
        )
    log_id = next(iter(own)) if head is None else head.log_id
    if log_id not in own:
        raise NotProvenError(
            f"the head is of log {log_id}, not of this one; give that log's public key with --key"
        )
    return own[log_id]


def _read_head(path: Path) -> "SignedHead | Checkpoint":
    from provenance.errors import InputError
    from registry.checkpoint import is_checkpoint, read_checkpoint
    from registry.log_proofs import SignedHead, read_document

    data = _read_bytes(path)
    if is_checkpoint(data):
        return read_checkpoint(data, name=str(path))
    found = read_document(data, name=str(path))
    if not isinstance(found, SignedHead):
        raise InputError(f"{path} is a proof, not a head; countermark log head --json writes one")
    return found


def _read(path: Path) -> Any:
    from registry.log_proofs import read_document

    return read_document(_read_bytes(path), name=str(path))


def _read_bytes(path: Path) -> bytes:
    from provenance.errors import InputError

    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InputError(f"{path} is longer than any head, proof or key")
    return data


def _open_log() -> "SignedLog":
    return _open_both()[1]


def _open_both() -> "tuple[Settings, SignedLog]":
    from provenance.config import load_settings
    from registry.wiring import open_registry, open_signed_log

    settings = load_settings()
    return settings, open_signed_log(settings, open_registry(settings))
