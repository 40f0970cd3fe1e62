"""The keys folder: makes, renews, replaces and describes the signing keys of a deployment.

Nothing is overwritten for good: the chain and key that were there move aside first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from provenance.errors import ConfigError, DeliveryError
from provenance.files import locked_folder
from provenance.manifest.certificates import parse_certificates
from provenance.manifest.pki import (
    DevChain,
    KeyAlgorithm,
    create_dev_chain,
    is_development_certificate,
    make_private_folder,
    renew_dev_leaf,
    write_private_file,
)
from provenance.manifest.profile import check_certificate_chain
from provenance.manifest.signers.local_key import LocalKeySigner

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

__all__ = ["KeyInfo", "describe_keys", "ensure_dev_chain", "install_keys", "replace_dev_chain"]

_RENEW_BEFORE = timedelta(days=1)
"""A development leaf is renewed when it would end within a day, so that no job meets its end."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a chain and its key; nothing secret.

    Attributes:
        alg: C2PA signature algorithm.
        subject: Of the leaf, RFC 4514.
        issuer: Of the leaf, RFC 4514.
        serial: Of the leaf, hex.
        valid_from: UTC.
        valid_until: UTC.
        is_development: Whether ``countermark keys init`` made it.
        certificates: How many the chain holds.
    """

    alg: str
    subject: str
    issuer: str
    serial: str
    valid_from: datetime
    valid_until: datetime
    is_development: bool
    certificates: int


def describe_keys(chain_file: Path, key_file: Path) -> KeyInfo:
    """What the configured chain and key are.

    Raises:
        ConfigError: They are missing or unusable.
    """
    signer = LocalKeySigner.from_files(chain_file, key_file)
    chain = parse_certificates(signer.certificate_chain_pem, name=str(chain_file))
    leaf = chain[0]
    return KeyInfo(
        alg=signer.alg,
        subject=leaf.subject.rfc4514_string(),
        issuer=leaf.issuer.rfc4514_string(),
        serial=f"{leaf.serial_number:x}",
        valid_from=leaf.not_valid_before_utc,
        valid_until=leaf.not_valid_after_utc,
        is_development=signer.is_development,
        certificates=len(chain),
    )


def ensure_dev_chain(folder: Path, *, now: datetime | None = None) -> bool:
    """Makes a development chain when there are no keys, and renews its leaf when it ends.

    Keys of the operator's own are never touched. Safe when several processes start at once.

    Returns:
        Whether something was made.

    Raises:
        DeliveryError: The folder cannot be written.
        ConfigError: A half-written folder holds something that is not ours.
    """
    moment = now or datetime.now(UTC)
    if _is_ready(folder, moment):
        return False
    make_private_folder(folder)
    with locked_folder(folder):
        # Another process may have made them while this one waited.
        if _is_ready(folder, moment):
            return False
        if DevChain.in_folder(folder).key_file.exists():
            renew_dev_leaf(folder, now=moment)
        else:
            create_dev_chain(folder, now=moment)
        return True


def replace_dev_chain(
    folder: Path, *, alg: KeyAlgorithm, now: datetime | None = None
) -> tuple[Path, ...]:
    """Makes a new development chain; the old chain and key move aside.

    Returns:
        Where the old files went; empty when there were none.

    Raises:
        DeliveryError: The folder cannot be written.
    """
    make_private_folder(folder)
    with locked_folder(folder):
        moved = _move_aside(DevChain.in_folder(folder), now or datetime.now(UTC))
        create_dev_chain(folder, alg=alg, now=now)
    return moved


def install_keys(
    folder: Path, chain_pem: bytes, key_pem: bytes, *, now: datetime | None = None
) -> tuple[Path, ...]:
    """Installs the operator's own certificate after checking every rule of the profile.

    Args:
        folder: The keys folder.
        chain_pem: Leaf, then intermediates.
        key_pem: The leaf's private key.
        now: Time to judge validity by, UTC.

    Returns:
        Where the old files went; empty when there were none.

    Raises:
        ConfigError: A rule is violated; names the first and how many more there are.
        DeliveryError: The folder cannot be written.
    """
    moment = now or datetime.now(UTC)
    failing = [
        line
        for line in check_certificate_chain(chain_pem, key_pem, moment)
        if not line.ok and not line.optional
    ]
    if failing:
        first = failing[0]
        more = f" ({len(failing) - 1} more failing rules)" if len(failing) > 1 else ""
        raise ConfigError(
            f"not installed: {first.name}: {first.detail}; {first.remedy}{more}; "
            "countermark keys doctor --chain FILE --key FILE lists every rule"
        )
    signer = LocalKeySigner(chain_pem, key_pem)
    make_private_folder(folder)
    paths = DevChain.in_folder(folder)
    with locked_folder(folder):
        moved = _move_aside(paths, moment)
        write_private_file(paths.chain_file, signer.certificate_chain_pem)
        write_private_file(paths.key_file, key_pem)
    return moved


def _is_ready(folder: Path, now: datetime) -> bool:
    paths = DevChain.in_folder(folder)
    chain = _read_chain(paths.chain_file)
    if not paths.key_file.exists():
        # A chain of the operator's own whose key is elsewhere is theirs to repair.
        return bool(chain) and not is_development_certificate(chain[0])
    if not chain or not is_development_certificate(chain[0]):
        return True
    return chain[0].not_valid_after_utc - now > _RENEW_BEFORE


def _read_chain(path: Path) -> list[x509.Certificate]:
    try:
        return parse_certificates(path.read_bytes(), name=str(path))
    except (OSError, ConfigError):
        return []


def _move_aside(paths: DevChain, now: datetime) -> tuple[Path, ...]:
    moved = []
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    try:
        for path in (paths.chain_file, paths.key_file):
            if path.exists():
                target = path.with_name(f"{path.stem}-until-{stamp}{path.suffix}")
                path.replace(target)
                moved.append(target)
    except OSError as error:
        raise DeliveryError(
            f"{paths.chain_file.parent}: the old keys cannot be moved aside ({error.strerror}); "
            "check the folder's mode"
        ) from error
    return tuple(moved)
