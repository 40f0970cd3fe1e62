"""From settings to the service that signs and the anchors that count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from provenance.errors import ConfigError
from provenance.manifest.pki import create_dev_chain
from provenance.manifest.signing import ManifestSigningService, TimestampPolicy
from provenance.manifest.trust import (
    AnchorKind,
    TrustSettings,
    default_trust,
    load_anchors,
    no_trust,
    with_anchors,
)
from provenance.plugins import load_backend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.config import Settings
    from provenance.interfaces import Signer

__all__ = ["build_signer", "build_signing_service", "build_trust", "ensure_signing_keys"]

LOCAL_SIGNER = "local-key"


def ensure_signing_keys(settings: Settings) -> None:
    """Makes a development chain when this installation has no signing key at all.

    Keys that the operator configured, or half of a pair, are never touched.

    Raises:
        DeliveryError: The keys folder cannot be written.
    """
    is_default = not settings.manifest.chain_file and not settings.manifest.key_file
    pair = (settings.signing_chain_file, settings.signing_key_file)
    if is_default and not any(path.exists() for path in pair):
        create_dev_chain(settings.keys_folder)


def build_signer(settings: Settings) -> Signer:
    """The configured signer.

    Raises:
        ConfigError: Key or chain are missing, unreadable or do not belong together.
        UnknownBackendError: No such signer is installed.
    """
    name = settings.manifest.signer
    load = load_backend("countermark.signers", name)
    if name != LOCAL_SIGNER:
        # A signer for a key service reads its own settings: it is given what it may need.
        other: Signer = load(settings)
        return other
    ensure_signing_keys(settings)
    local: Signer = load.from_files(settings.signing_chain_file, settings.signing_key_file)
    return local


def build_signing_service(settings: Settings) -> ManifestSigningService:
    """The service that signs what is generated.

    Raises:
        ConfigError: Signer, keys or the time-stamp authority's address are unusable.
    """
    if settings.manifest.tsa_required and not settings.manifest.tsa_url:
        raise ConfigError("manifest.tsa_required is set, but manifest.tsa_url names no authority")
    policy = (
        TimestampPolicy.FAIL_CLOSED if settings.manifest.tsa_required else TimestampPolicy.FAIL_OPEN
    )
    return ManifestSigningService(
        build_signer(settings),
        tsa_url=settings.manifest.tsa_url or None,
        timestamp_policy=policy,
    )


def build_trust(
    settings: Settings,
    *,
    anchors: Sequence[Path] = (),
    tsa_anchors: Sequence[Path] = (),
) -> TrustSettings:
    """The anchors in force: shipped lists, this deployment's own root, settings, arguments.

    Raises:
        ConfigError: A file is missing or holds no certificates.
    """
    trust = default_trust() if settings.detector.default_trust else no_trust()
    own = settings.dev_root_file
    roots = [Path(p).expanduser() for p in settings.detector.trust_anchors] + list(anchors)
    stamps = [Path(p).expanduser() for p in settings.detector.tsa_anchors] + list(tsa_anchors)
    if own.exists():
        roots.append(own)
    added = [load_anchors(path, AnchorKind.MANIFEST) for path in roots]
    added += [load_anchors(path, AnchorKind.TSA) for path in stamps]
    return with_anchors(trust, added)
