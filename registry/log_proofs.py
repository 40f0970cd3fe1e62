"""Signed heads and proofs of the log as documents, and how anyone checks them. Pure.

Checking needs a document, a head and the log's public key: no registry, no network, no secret.

A head is signed as the RFC writes it: Ed25519 over TreeHeadDataV2 in TLS presentation, without
extensions. The log id is the SHA-256 of the public key as SubjectPublicKeyInfo.

Source: RFC 9162 sections 4.9 and 4.10 (tree head, signed tree head), RFC 8032 (Ed25519).
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from provenance.errors import InputError
from registry.merkle import (
    HASH_BYTES,
    hash_leaf,
    verify_consistency,
    verify_inclusion,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ConsistencyProof",
    "InclusionProof",
    "KeptHead",
    "NotProvenError",
    "SignedHead",
    "check_consistency_proof",
    "check_inclusion_proof",
    "encode_head",
    "log_id_of",
    "public_key_pem",
    "read_document",
    "read_public_key",
    "require_signed",
    "verify_head",
]

ED25519_SIGNATURE_BYTES = 64
MAX_PATH = 64
"""No log outgrows 2**64 leaves; a consistency path has at most twice as many hashes."""


class NotProvenError(InputError):
    """A readable document does not prove what it should."""


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A state of the log that its key vouches for.

    Attributes:
        size: Number of leaves.
        timestamp_ms: When it was signed, milliseconds since 1970 (UTC).
        root: Root of the tree over the leaves, 32 bytes.
        log_id: Names the key, 64 hex digits.
        signature: Over `encode_head`, 64 bytes.
    """

    size: int
    timestamp_ms: int
    root: bytes
    log_id: str
    signature: bytes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return {
            "type": "head",
            "tree_size": self.size,
            "timestamp_ms": self.timestamp_ms,
            "root_hash": self.root.hex(),
            "log_id": self.log_id,
            "signature": self.signature.hex(),
        }

    def require_signed(self, public_key: bytes) -> None:
        """As the function of that name."""
        require_signed(self, public_key)


class KeptHead(Protocol):
    """A head that somebody keeps: as this log writes it, or as a checkpoint."""

    @property
    def size(self) -> int:
        """Number of leaves."""

    @property
    def root(self) -> bytes:
        """Of the tree over them, 32 bytes."""

    def require_signed(self, public_key: bytes) -> None:
        """Makes sure that the log's key signed it; raises `NotProvenError`."""


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That a leaf stands in the log.

    Attributes:
        leaf: The leaf's data, canonical JSON of digests.
        leaf_index: Its place, from 0.
        path: Hashes from the leaf to the root, 32 bytes each.
        head: The state that it is proven for.
    """

    leaf: bytes
    leaf_index: int
    path: tuple[bytes, ...]
    head: SignedHead

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return {
            "type": "inclusion",
            "leaf_index": self.leaf_index,
            "leaf": self.leaf.decode("ascii"),
            "path": [one.hex() for one in self.path],
            "head": self.head.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That a later state of the log holds all that an earlier one held, in the same places.

    Attributes:
        first_size: Leaves of the earlier state.
        path: Hashes, 32 bytes each.
        head: The later state.
    """

    first_size: int
    path: tuple[bytes, ...]
    head: SignedHead

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return {
            "type": "consistency",
            "first_size": self.first_size,
            "path": [one.hex() for one in self.path],
            "head": self.head.to_json(),
        }


# -- heads ---------------------------------------------------------------------------------------


def encode_head(size: int, timestamp_ms: int, root: bytes) -> bytes:
    """What is signed: TreeHeadDataV2 (8 bytes time, 8 size, the root with its length, no more)."""
    return struct.pack(">QQB", timestamp_ms, size, len(root)) + root + struct.pack(">H", 0)


def verify_head(head: SignedHead, public_key: bytes) -> bool:
    """Whether the key signed this head.

    Args:
        head: The head.
        public_key: Raw Ed25519, 32 bytes.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            head.signature, encode_head(head.size, head.timestamp_ms, head.root)
        )
    except (InvalidSignature, ValueError, struct.error):
        return False
    return head.log_id == log_id_of(public_key)


def log_id_of(public_key: bytes) -> str:
    """Names a raw Ed25519 key: SHA-256 of its SubjectPublicKeyInfo, hex."""
    key = Ed25519PublicKey.from_public_bytes(public_key)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def public_key_pem(public_key: bytes) -> str:
    """A raw Ed25519 key as PEM."""
    key = Ed25519PublicKey.from_public_bytes(public_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def read_public_key(pem: bytes, *, name: str) -> bytes:
    """The raw Ed25519 key of a PEM file.

    Raises:
        InputError: It is no such file; names it.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{name} is no public key in PEM; ask the log's operator for what "
            "countermark log key prints"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{name} is no Ed25519 key; logs of Countermark sign with no other")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def require_signed(head: SignedHead, public_key: bytes) -> None:
    """Makes sure of a head.

    Raises:
        NotProvenError: The key did not sign it.
    """
    if head.log_id != log_id_of(public_key):
        raise NotProvenError(
            f"the head names log {head.log_id}, but the key is that of log "
            f"{log_id_of(public_key)}: they belong to different logs"
        )
    if not verify_head(head, public_key):
        raise NotProvenError(
            f"the signature of the head of {head.size} leaves is false: the head was not made by "
            "this log, or was changed since"
        )


# -- proofs --------------------------------------------------------------------------------------


def check_inclusion_proof(proof: InclusionProof, head: KeptHead, public_key: bytes) -> None:
    """Makes sure that the leaf stands in the log as the head describes it.

    Args:
        proof: What was handed over.
        head: A head of the same size, best one that was kept or that others saw too.
        public_key: The log's, raw Ed25519.

    Raises:
        NotProvenError: It is not proven; says why.
    """
    head.require_signed(public_key)
    if proof.head.size != head.size:
        raise NotProvenError(
            f"the proof is for {proof.head.size} leaves, the head for {head.size}; ask for the "
            f"proof with --size {head.size}"
        )
    if not verify_inclusion(
        hash_leaf(proof.leaf), proof.leaf_index, head.size, proof.path, head.root
    ):
        raise NotProvenError(
            f"the path does not lead from leaf {proof.leaf_index} to the root of the head: this "
            "leaf is not in that log"
        )


def check_consistency_proof(
    proof: ConsistencyProof, first: KeptHead, second: KeptHead, public_key: bytes
) -> None:
    """Makes sure that nothing up to the first head was changed by the second.

    Raises:
        NotProvenError: It is not proven; says why.
    """
    first.require_signed(public_key)
    second.require_signed(public_key)
    if (proof.first_size, proof.head.size) != (first.size, second.size):
        raise NotProvenError(
            f"the proof is from {proof.first_size} to {proof.head.size} leaves, the heads are of "
            f"{first.size} and {second.size}"
        )
    if not verify_consistency(first.size, second.size, proof.path, first.root, second.root):
        raise NotProvenError(
            f"the log of {second.size} leaves does not begin with that of {first.size}: what it "
            "said before was changed"
        )


# -- documents -----------------------------------------------------------------------------------


def read_document(text: bytes, *, name: str) -> SignedHead | InclusionProof | ConsistencyProof:
    """A head or a proof, as this log hands them out.

    Args:
        text: JSON; untrusted.
        name: What to call it in errors.

    Raises:
        InputError: It is none; names file and field.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is no JSON: {error}") from error
    reader = _Reader(document, name)
    match reader.text("type"):
        case "head":
            return _read_head(reader)
        case "inclusion":
            return InclusionProof(
                leaf=reader.text("leaf").encode("utf-8", "surrogatepass"),
                leaf_index=reader.number("leaf_index"),
                path=reader.hashes("path"),
                head=_read_head(reader.inner("head")),
            )
        case "consistency":
            return ConsistencyProof(
                first_size=reader.number("first_size"),
                path=reader.hashes("path"),
                head=_read_head(reader.inner("head")),
            )
        case other:
            raise InputError(f"{name}: type {other[:40]!r} is neither head nor proof of a log")


def _read_head(reader: _Reader) -> SignedHead:
    return SignedHead(
        size=reader.number("tree_size"),
        timestamp_ms=reader.number("timestamp_ms"),
        root=reader.octets("root_hash", HASH_BYTES),
        log_id=reader.text("log_id"),
        signature=reader.octets("signature", ED25519_SIGNATURE_BYTES),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Fields of an untrusted JSON object."""

    document: Any
    name: str

    def _get(self, field_name: str, kind: type[Any]) -> Any:
        found: Mapping[str, Any] = self.document if isinstance(self.document, dict) else {}
        value = found.get(field_name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"{self.name}: field {field_name} is missing or of the wrong kind")
        return value

    def text(self, field_name: str) -> str:
        return str(self._get(field_name, str))

    def number(self, field_name: str) -> int:
        value = int(self._get(field_name, int))
        if not 0 <= value < 2**63:
            raise InputError(f"{self.name}: field {field_name} is out of range")
        return value

    def octets(self, field_name: str, length: int) -> bytes:
        return self._octets(self.text(field_name), field_name, length)

    def hashes(self, field_name: str) -> tuple[bytes, ...]:
        values: Sequence[Any] = self._get(field_name, list)
        if len(values) > 2 * MAX_PATH:
            raise InputError(f"{self.name}: field {field_name} is longer than any proof")
        return tuple(self._octets(one, field_name, HASH_BYTES) for one in values)

    def inner(self, field_name: str) -> _Reader:
        return _Reader(self._get(field_name, dict), f"{self.name}, {field_name}")

    def _octets(self, value: Any, field_name: str, length: int) -> bytes:
        try:
            found = bytes.fromhex(value)
        except (TypeError, ValueError):
            found = b""
        if len(found) != length:
            raise InputError(f"{self.name}: field {field_name} must be {length} bytes in hex")
        return found
