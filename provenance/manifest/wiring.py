"""From settings to signer and trust; makes a development chain on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.errors import ConfigError
from provenance.manifest.keyring import ensure_dev_chain
from provenance.manifest.signing import ManifestSigner, TimestampPolicy
from provenance.manifest.trust import (
    AnchorKind,
    TrustSettings,
    default_trust,
    load_anchors,
    no_trust,
    with_anchors,
)
from provenance.manifest.trust_folder import TrustFolder, newest
from provenance.plugins import load_backend

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provenance.config import Settings
    from provenance.interfaces import Signer

__all__ = ["build_manifest_signer", "build_trust", "ensure_keys", "load_signer"]


def build_manifest_signer(settings: Settings) -> ManifestSigner:
    """The signer of this deployment; a development chain is made when there are no keys yet.

    Raises:
        ConfigError: Chain or key are unusable.
        DeliveryError: The keys folder cannot be written.
    """
    ensure_keys(settings)
    options = settings.manifest
    return ManifestSigner(
        load_signer(settings),
        tsa_url=options.tsa_url or None,
        timestamp_policy=(
            TimestampPolicy.FAIL_CLOSED if options.tsa_required else TimestampPolicy.FAIL_OPEN
        ),
    )


def build_trust(
    settings: Settings,
    *,
    anchors: Iterable[Path] = (),
    tsa_anchors: Iterable[Path] = (),
) -> TrustSettings:
    """The anchors of this deployment: C2PA's lists, the operator's own, our own dev root.

    Of each of C2PA's lists the newest edition counts, shipped or installed.

    Args:
        settings: Of the deployment.
        anchors: Further PEM files of manifest roots (a command's ``--trust-anchors``).
        tsa_anchors: Further PEM files of time-stamp roots.

    Raises:
        ConfigError: A file is missing, altered or holds no certificates; names it.
    """
    from pathlib import Path

    options = settings.detector
    manifest_files = [*(Path(one).expanduser() for one in options.trust_anchors), *anchors]
    tsa_files = [*(Path(one).expanduser() for one in options.tsa_anchors), *tsa_anchors]
    added = [load_anchors(path, AnchorKind.MANIFEST) for path in manifest_files]
    added += [load_anchors(path, AnchorKind.TSA) for path in tsa_files]
    if settings.dev_root_file.is_file():
        added.append(load_anchors(settings.dev_root_file, AnchorKind.MANIFEST))
    shipped = default_trust() if options.default_trust else no_trust()
    in_force = newest(shipped.lists, TrustFolder(settings.trust_folder).load())
    return with_anchors(TrustSettings(tuple(in_force)), added)


def load_signer(settings: Settings) -> Signer:
    """The signer that the settings name.

    Raises:
        ConfigError: Chain or key are unusable, or the plug-in has no ``from_files``.
    """
    backend = load_backend("countermark.signers", settings.manifest.signer)
    if not hasattr(backend, "from_files"):
        raise ConfigError(
            f"signer {settings.manifest.signer!r} cannot be built from files; "
            "it needs a classmethod from_files(chain_file, key_file)"
        )
    signer: Signer = backend.from_files(settings.signing_chain_file, settings.signing_key_file)
    return signer


def ensure_keys(settings: Settings) -> bool:
    """Makes a development chain where the settings name no own files and none exist yet.

    A development leaf that has ended is renewed under its root; own certificates are never
    touched.

    Returns:
        Whether something was made.

    Raises:
        DeliveryError: The keys folder cannot be written.
    """
    if settings.manifest.chain_file or settings.manifest.key_file:
        return False
    return ensure_dev_chain(settings.keys_folder)
