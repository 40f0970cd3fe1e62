"""Seals what a picture was made from, so that only the service itself can read it again.

Each record has a key of its own, which encrypts the inputs; a master key in a file outside the
database wraps it. So a copy of the database alone reveals nothing. Deleting a row erases the inputs
with their key from the database; a backup taken before holds both, and opens with the master key.

Source: NIST SP 800-38D (AES-GCM, 96-bit random nonces: one message a record key, and fewer than
2**32 records a master key, §8.3).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from provenance.errors import ConfigError, RegistryError
from provenance.keylines import SECRET_BYTES, make_key_lines
from provenance.types import SealedInputs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provenance.types import RecordId

__all__ = ["InputVault", "open_vault"]

_NONCE_BYTES = 12
_FOR_KEY = b"countermark kept inputs 1, key of "
_FOR_INPUTS = b"countermark kept inputs 1, inputs of "
"""Bound into the encryption: neither can be moved to another record, or take the other's place."""


@dataclass(frozen=True, slots=True)
class InputVault:
    """Seals and opens.

    Attributes:
        master_keys: 32 bytes each, current one first.
        random_bytes: `secrets.token_bytes`.
    """

    master_keys: tuple[bytes, ...] = field(repr=False)
    random_bytes: Callable[[int], bytes] = secrets.token_bytes

    def __post_init__(self) -> None:
        if not self.master_keys or any(len(one) != SECRET_BYTES for one in self.master_keys):
            raise ConfigError(f"a key for kept inputs must have {SECRET_BYTES} bytes")

    def seal(self, record_id: RecordId, inputs: bytes) -> SealedInputs:
        """Encrypts under a fresh key of the record's own."""
        master, own = self.master_keys[0], self.random_bytes(SECRET_BYTES)
        return SealedInputs(
            record_id=record_id,
            key_id=_key_id(master),
            wrapped_key=self._encrypt(master, own, _FOR_KEY + record_id.encode("ascii")),
            sealed=self._encrypt(own, inputs, _FOR_INPUTS + record_id.encode("ascii")),
        )

    def open(self, sealed: SealedInputs) -> bytes:
        """The inputs.

        Raises:
            ConfigError: The master key that wrapped them is not here.
            RegistryError: They were altered, or moved from another record.
        """
        keys = {_key_id(one): one for one in self.master_keys}
        master = keys.get(sealed.key_id)
        if master is None:
            raise ConfigError(
                f"the inputs of record {sealed.record_id} are sealed with key {sealed.key_id}, "
                "which is not in keys/inputs.key; restore that file from a backup"
            )
        record_id = sealed.record_id.encode("ascii")
        try:
            own = _decrypt(master, sealed.wrapped_key, _FOR_KEY + record_id)
            return _decrypt(own, sealed.sealed, _FOR_INPUTS + record_id)
        except (InvalidTag, ValueError) as error:
            raise RegistryError(
                f"the kept inputs of record {sealed.record_id} were altered: they do not open "
                "with their key; restore the database from a backup"
            ) from error

    def _encrypt(self, key: bytes, data: bytes, bound_to: bytes) -> bytes:
        nonce = self.random_bytes(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, data, bound_to)


def open_vault(path: Path) -> InputVault:
    """The vault of a deployment; makes its master key on first use, readable by its owner alone.

    Raises:
        ConfigError: The key file is unusable.
        DeliveryError: It cannot be written.
    """
    keys = make_key_lines(path, what="key for kept inputs", random_bytes=secrets.token_bytes)
    return InputVault(keys)


def _decrypt(key: bytes, data: bytes, bound_to: bytes) -> bytes:
    return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound_to)


def _key_id(master: bytes) -> str:
    return hashlib.sha256(b"countermark kept inputs 1, name of " + master).hexdigest()[:16]
