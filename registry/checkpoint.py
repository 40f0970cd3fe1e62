"""Heads of the log as the tools of other transparency logs read them: C2SP checkpoints. Pure.

A checkpoint is three lines (origin, number of leaves, root) and, after an empty line, signatures:
the log's own, and those of witnesses, which say at what time they saw this to be the largest tree
that holds all they had seen before. It has no time of its own.

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature (Ed25519), tlog-witness.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from provenance.errors import InputError
from registry.log_proofs import ED25519_SIGNATURE_BYTES, NotProvenError
from registry.merkle import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "COSIGNATURE",
    "Checkpoint",
    "NoteSignature",
    "VerifierKey",
    "build_checkpoint",
    "build_submission",
    "check_origin",
    "cosigned_message",
    "is_checkpoint",
    "log_verifier_key",
    "read_checkpoint",
    "read_signatures",
    "read_verifier_key",
    "verified_by",
]

SIGNATURE, COSIGNATURE = 1, 4
"""Types of note signatures: Ed25519 over the text, and a witness's, with a time."""
KEY_ID_BYTES = 4
TIME_BYTES = 8
MAX_SIGNATURES = 64
MAX_PROOF_LINES = 63
DASH = "\N{EM DASH}"
_NAME = re.compile(r"[^\s+]+")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One line of signature.

    Attributes:
        name: Of the key.
        key_id: 4 bytes.
        signature: As its type writes it.
    """

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """As it stands in a note, with its line end."""
        encoded = base64.b64encode(self.key_id + self.signature).decode("ascii")
        return f"{DASH} {self.name} {encoded}\n"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with the name and the kind of signature that it is known by.

    Attributes:
        name: Of the log or witness.
        kind: `SIGNATURE` or `COSIGNATURE`.
        public_key: Ed25519, raw, 32 bytes.
    """

    name: str
    kind: int
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """4 bytes that tell signatures of the key from those of others."""
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key
        return hashlib.sha256(named).digest()[:KEY_ID_BYTES]

    def text(self) -> str:
        """The key in one word, as witnesses and clients are configured with it."""
        encoded = base64.b64encode(bytes([self.kind]) + self.public_key).decode("ascii")
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head of the log, signed.

    Attributes:
        origin: Names the log.
        size: Number of leaves.
        root: Of the tree over them, 32 bytes.
        body: The signed text.
        signatures: Of the log and of witnesses; those of unknown keys say nothing.
    """

    origin: str
    size: int
    root: bytes
    body: bytes
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """The whole note."""
        return self.body + b"\n" + "".join(one.line() for one in self.signatures).encode()

    def with_signatures(self, more: Iterable[NoteSignature]) -> Checkpoint:
        """With further signatures; those of keys that have signed already are replaced."""
        found = {(one.name, one.key_id): one for one in (*self.signatures, *more)}
        return replace(self, signatures=tuple(found.values()))

    def require_signed(self, public_key: bytes) -> None:
        """Makes sure that the log signed it.

        Raises:
            NotProvenError: The key did not.
        """
        key = log_verifier_key(self.origin, public_key)
        if verified_by(self, key) is None:
            raise NotProvenError(
                f"the checkpoint of {self.size} leaves has no signature of this key: it was not "
                "made by this log, or was changed since"
            )


def log_verifier_key(origin: str, public_key: bytes) -> VerifierKey:
    """The key under which a log signs its checkpoints; its name is the origin."""
    return VerifierKey(origin, SIGNATURE, public_key)


def build_checkpoint(
    origin: str, size: int, root: bytes, public_key: bytes, sign: Callable[[bytes], bytes]
) -> Checkpoint:
    """A checkpoint under the log's key.

    Args:
        origin: Names the log, from `check_origin`.
        size: Number of leaves.
        root: 32 bytes.
        public_key: The log's, raw Ed25519.
        sign: Signs bytes with its secret half.
    """
    body = f"{origin}\n{size}\n{base64.b64encode(root).decode('ascii')}\n".encode()
    own = NoteSignature(origin, log_verifier_key(origin, public_key).key_id, sign(body))
    return Checkpoint(origin, size, root, body, (own,))


def build_submission(checkpoint: Checkpoint, old_size: int, path: Sequence[bytes]) -> bytes:
    """What a witness is asked to cosign, and the proof that it extends what it has seen.

    Args:
        checkpoint: With the log's signature.
        old_size: Leaves of the last checkpoint that the witness cosigned; 0: none.
        path: That proof, from `old_size`; empty where that is 0 or the same size.
    """
    lines = "".join(f"{base64.b64encode(one).decode('ascii')}\n" for one in path)
    return f"old {old_size}\n{lines}\n".encode() + checkpoint.encode()


def verified_by(checkpoint: Checkpoint, key: VerifierKey) -> int | None:
    """The time that a key's signature names, seconds since 1970; None: it did not sign.

    A log's own signature names none: 0.
    """
    for one in checkpoint.signatures:
        if (one.name, one.key_id) == (key.name, key.key_id):
            time_s, signature = 0, one.signature
            message = checkpoint.body
            if key.kind == COSIGNATURE:
                time_s = int.from_bytes(signature[:TIME_BYTES], "big")
                signature = signature[TIME_BYTES:]
                message = cosigned_message(checkpoint.body, time_s)
            return time_s if _is_signed(key.public_key, signature, message) else None
    return None


def cosigned_message(body: bytes, time_s: int) -> bytes:
    """What a witness signs: that this was the largest tree it had seen, at that time."""
    return f"cosignature/v1\ntime {time_s}\n".encode() + body


def _is_signed(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


# -- reading ---------------------------------------------------------------------------------------


def is_checkpoint(data: bytes) -> bool:
    """Whether a file is meant as a checkpoint; else it is JSON."""
    return f"\n\n{DASH} ".encode() in data


def read_checkpoint(data: bytes, *, name: str) -> Checkpoint:
    """A checkpoint as it was kept; its signatures are not checked here.

    Args:
        data: Untrusted.
        name: What to call it in errors.

    Raises:
        InputError: It is none; names the line.
    """
    text = _text_of(data, name)
    head, gap, tail = text.rpartition("\n\n")
    lines = head.split("\n")
    if not gap or len(lines) < 3 or not all(lines):
        raise InputError(f"{name} is no checkpoint: three lines, an empty one, and signatures")
    origin, size, root = lines[:3]
    if not _NUMBER.fullmatch(size):
        raise InputError(f"{name}: line 2 must be the number of leaves")
    hashed = _decode(root)
    if hashed is None or len(hashed) != HASH_BYTES:
        raise InputError(f"{name}: line 3 must be the root, 32 bytes in base64")
    signatures = read_signatures(tail.encode(), name=name)
    return Checkpoint(origin, int(size), hashed, f"{head}\n".encode(), signatures)


def read_signatures(data: bytes, *, name: str) -> tuple[NoteSignature, ...]:
    """Lines of signatures, as a note ends with them and a witness answers them.

    Raises:
        InputError: A line is none, or there are too many.
    """
    lines = _text_of(data, name).removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise InputError(f"{name} has more than {MAX_SIGNATURES} signatures")
    found = []
    for line in lines:
        dash, _, rest = line.partition(" ")
        key_name, _, encoded = rest.partition(" ")
        raw = _decode(encoded)
        if dash != DASH or not _NAME.fullmatch(key_name) or raw is None or len(raw) <= KEY_ID_BYTES:
            raise InputError(f"{name}: {line[:80]!r} is no line of a signature")
        found.append(NoteSignature(key_name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:]))
    return tuple(found)


def read_verifier_key(text: str, *, name: str) -> VerifierKey:
    """A key in one word: NAME+ID+KEY.

    Raises:
        InputError: It is none, its id is another key's, or it is no Ed25519 key.
    """
    key_name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    raw = _decode(encoded) or b""
    if not _NAME.fullmatch(key_name) or len(raw) != 1 + ED25519_SIGNATURE_BYTES // 2:
        raise InputError(f"{name}: {text[:120]!r} is no key like example.org/w1+1a2b3c4d+BASE64")
    if raw[0] not in (SIGNATURE, COSIGNATURE):
        raise InputError(f"{name}: the key {key_name} is of kind {raw[0]}; Ed25519 keys are taken")
    key = VerifierKey(key_name, raw[0], raw[1:])
    if key.key_id.hex() != key_id.lower():
        raise InputError(f"{name}: the key {key_name} has another id than it says; copy it again")
    return key


def check_origin(origin: str) -> str:
    """A log's name, if it can be one.

    Raises:
        InputError: It is empty, too long, or holds a space, a plus sign or a control character.
    """
    if not _NAME.fullmatch(origin) or not origin.isprintable() or len(origin) > 200:
        raise InputError(
            f"{origin[:80]!r} must be a name without spaces and plus signs, like example.org/log"
        )
    return origin


def _text_of(data: bytes, name: str) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no text in UTF-8") from error
    if any(letter < " " and letter != "\n" for letter in text) or not text.endswith("\n"):
        raise InputError(f"{name} is no signed note: plain lines, each with its line end")
    return text


def _decode(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
