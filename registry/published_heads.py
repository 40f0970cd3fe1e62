"""Signed heads, brought to where others keep them: a folder, and witnesses.

A head that only its own registry holds proves nothing against whoever can write there. So each one
goes into a folder that another system collects, and, as a checkpoint, to witnesses: services of
others that cosign it once they have seen that it extends what they cosigned before.

What could not be brought is brought by the next call: the folder says what it has, and a witness
how far it has come.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.errors import ConfigError, FetchError, InputError, ProvenanceError
from provenance.files import locked_folder, write_file_atomic
from registry.checkpoint import (
    COSIGNATURE,
    build_submission,
    read_checkpoint,
    read_signatures,
    read_verifier_key,
    verified_by,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provenance.client import GuardedClient, RemoteAnswer
    from registry.checkpoint import Checkpoint, VerifierKey
    from registry.log_proofs import SignedHead
    from registry.signed_log import SignedLog

__all__ = ["MAX_ANSWER_BYTES", "HeadPublisher", "Witness", "read_witness"]

NEWEST = "checkpoint"
"""As transparency logs name it that are read as files. Source: C2SP tlog-tiles."""
MARK = ".newest"
"""Holds the time of the newest head that was written: the files themselves may be collected."""
SIZE_TYPE = "text/x.tlog.size"
OK, CONFLICT = 200, 409
MAX_ANSWER_BYTES = 64 * 1024
"""A witness answers a few lines."""
REMEDIES = {
    403: "it knows this log under another key; give its operator what countermark log key "
    "--verifier prints",
    404: "it does not know this log; give its operator what countermark log key --verifier prints",
    422: "it holds another history of this log than there is now; run: countermark audit",
}


@dataclass(frozen=True, slots=True)
class Witness:
    """A service that cosigns checkpoints.

    Attributes:
        url: Prefix, to which ``/add-checkpoint`` is put.
        key: Its key, of kind `COSIGNATURE`.
    """

    url: str
    key: VerifierKey


def read_witness(entry: str) -> Witness:
    """A witness as the setting names it: URL, a space, NAME+ID+KEY.

    Raises:
        ConfigError: It is none.
    """
    url, _, word = entry.strip().partition(" ")
    if not word.strip() or not url.startswith(("https://", "http://")):
        raise ConfigError(
            f"registry.log_witnesses: {entry[:120]!r} must be a URL, a space and the witness's "
            "key, like: https://witness.example.org example.org/w1+1a2b3c4d+BASE64"
        )
    try:
        key = read_verifier_key(word.strip(), name="registry.log_witnesses")
    except InputError as error:
        raise ConfigError(str(error)) from error
    if key.kind != COSIGNATURE:
        raise ConfigError(
            f"registry.log_witnesses: the key {key.name} is a log's, not a witness's; ask its "
            "operator for the key of its cosignatures"
        )
    return Witness(url.rstrip("/"), key)


class HeadPublisher:
    """Brings heads to a folder and to witnesses.

    Args:
        log: The log.
        folder: Made if missing. Each head lies in it as ``TIME-SIZE.json`` and
            ``TIME-SIZE.checkpoint`` (milliseconds since 1970, leaves); the newest checkpoint, with
            all cosignatures, as ``checkpoint`` too.
        origin: The log's name in checkpoints.
        witnesses: Whom to ask.
        client: Asks them.
    """

    def __init__(
        self,
        log: SignedLog,
        folder: Path,
        *,
        origin: str,
        witnesses: Sequence[Witness] = (),
        client: GuardedClient | None = None,
    ) -> None:
        self._log = log
        self._folder = folder
        self._origin = origin
        self._witnesses = witnesses
        self._client = client

    def publish(self) -> int:
        """Brings what is not there yet; answers how many heads were written.

        Raises:
            DeliveryError: The folder cannot be written.
            FetchError: A witness did not cosign the newest head; names each and says why. The
                folder has it all the same.
            RegistryUnavailableError: The database cannot be reached.
        """
        with suppress(OSError):  # the lock tells it, in one line
            self._folder.mkdir(parents=True, exist_ok=True)
        with locked_folder(self._folder):
            heads = self._log.heads_after(self._last())
            for head in heads:
                self._write(head)
            newest = heads[-1] if heads else self._log.newest_head()
            if newest is not None and newest.size and self._witnesses:
                self._ask_witnesses(newest)
        return len(heads)

    def _last(self) -> int:
        with suppress(OSError, ValueError):
            return int((self._folder / MARK).read_text())
        return -1

    def _write(self, head: SignedHead) -> None:
        document = json.dumps(head.to_json(), indent=2) + "\n"
        write_file_atomic(self._folder / f"{_stem(head)}.json", document.encode())
        self._write_checkpoint(head, self._log.checkpoint(head, self._origin))
        write_file_atomic(self._folder / MARK, str(head.timestamp_ms).encode())

    def _write_checkpoint(self, head: SignedHead, checkpoint: Checkpoint) -> None:
        data = checkpoint.encode()
        write_file_atomic(self._folder / f"{_stem(head)}.checkpoint", data)
        write_file_atomic(self._folder / NEWEST, data)

    # -- witnesses -----------------------------------------------------------------------------

    def _ask_witnesses(self, head: SignedHead) -> None:
        plain = self._log.checkpoint(head, self._origin)
        checkpoint = self._kept(plain)
        failed = []
        for witness in self._witnesses:
            if verified_by(checkpoint, witness.key) is not None:
                continue
            try:
                checkpoint = self._cosigned(plain, checkpoint, witness)
            except ProvenanceError as error:
                failed.append(f"witness {witness.key.name}: {error}")
                continue
            self._write_checkpoint(head, checkpoint)  # each at once: the next may take long
        if failed:
            raise FetchError(
                f"the head of {head.size} leaves was not cosigned by all witnesses, and is sent "
                f"again: {'; '.join(failed)}"
            )

    def _kept(self, plain: Checkpoint) -> Checkpoint:
        """The newest checkpoint of the folder, with the cosignatures that it has so far."""
        try:
            found = read_checkpoint((self._folder / NEWEST).read_bytes(), name=NEWEST)
        except (OSError, InputError):
            return plain
        return found if found.body == plain.body else plain

    def _cosigned(self, plain: Checkpoint, checkpoint: Checkpoint, witness: Witness) -> Checkpoint:
        answer = self._submit(witness, plain, old_size=0)
        if answer.status == CONFLICT and answer.media_type == SIZE_TYPE:
            answer = self._submit(witness, plain, old_size=_size_of(answer, plain.size))
        if answer.status != OK:
            remedy = REMEDIES.get(answer.status, "its operator may know why")
            raise FetchError(f"{witness.url} answers {answer.status}; {remedy}")
        signatures = read_signatures(answer.body, name=f"the answer of {witness.url}")
        cosigned = plain.with_signatures(signatures)
        if verified_by(cosigned, witness.key) is None:
            raise FetchError(f"{witness.url} answers without a signature of the key set for it")
        key_id = witness.key.key_id
        own = [one for one in signatures if (one.name, one.key_id) == (witness.key.name, key_id)]
        return checkpoint.with_signatures(own)

    def _submit(self, witness: Witness, checkpoint: Checkpoint, old_size: int) -> RemoteAnswer:
        path: Sequence[bytes] = ()
        if 0 < old_size < checkpoint.size:
            path = self._log.prove_growth(old_size, checkpoint.size).path
        if self._client is None:
            raise ConfigError("witnesses are asked through a client; none was given")
        body = build_submission(checkpoint, old_size, path)
        return self._client.post(
            f"{witness.url}/add-checkpoint", body, headers={"Content-Type": "text/plain"}
        )


def _stem(head: SignedHead) -> str:
    return f"{head.timestamp_ms:013d}-{head.size}"


def _size_of(answer: RemoteAnswer, own: int) -> int:
    text = answer.body.decode("ascii", "replace").strip()
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
    if size < 0:
        raise FetchError(f"{answer.url} answers no number of leaves")
    if size > own:
        raise FetchError(
            f"{answer.url} has cosigned {size} leaves of this log, which has {own}: the log was "
            "cut, or its database restored from a backup; run: countermark audit"
        )
    return size
