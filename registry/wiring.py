"""From settings to a registry that stands. The only module here that knows settings."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from registry.api_keys import LateApiKeyStore, SqlApiKeyStore
from registry.assets import DeliveringAssets, LocalAssetStore
from registry.engine import make_engine, sqlite_file, stored_revision
from registry.kept_inputs import InputVault, open_vault
from registry.signed_log import SignedLog, open_log_keys
from registry.store import SqlRecordStore, open_store
from registry.tables import HEAD_REVISION

if TYPE_CHECKING:
    from provenance.config import Settings
    from provenance.interfaces import ApiKeyStore
    from registry.assets import ManagedAssets

__all__ = [
    "open_api_keys",
    "open_asset_store",
    "open_delivery",
    "open_gate_keys",
    "open_input_vault",
    "open_registry",
    "open_signed_log",
]


def open_registry(settings: Settings) -> SqlRecordStore:
    """Opens the registry of a deployment; makes and migrates it on first use.

    Raises:
        ConfigError: The registry URL is unusable.
        BackendUnavailableError: The database driver is not installed.
        RegistryUnavailableError: The database cannot be reached, written or migrated.
    """
    url = settings.registry_url
    _bring_to_head(url)
    return open_store(
        url, reservation_lifetime=timedelta(seconds=settings.registry.reservation_lifetime_s)
    )


def open_asset_store(settings: Settings) -> ManagedAssets:
    """The delivered bytes of a deployment, for its operator: taken down or not.

    Raises:
        BackendUnavailableError: The library of the store's protocol is not installed.
        ConfigError: ``registry.assets_url`` is no address.
    """
    if settings.registry.assets_url:
        from registry.assets_remote import open_remote_assets

        return open_remote_assets(settings.registry.assets_url)
    return LocalAssetStore(settings.assets_folder)


def open_delivery(settings: Settings, store: SqlRecordStore) -> DeliveringAssets:
    """The delivered bytes as everybody else gets them. Raises as `open_asset_store`."""
    return DeliveringAssets(open_asset_store(settings), store.find_take_down)


def open_signed_log(settings: Settings, store: SqlRecordStore) -> SignedLog:
    """The log of a deployment with the keys that sign it; makes its key on first use.

    Raises:
        ConfigError: The key file is unusable.
        DeliveryError: It cannot be written.
    """
    return SignedLog(store.engine, open_log_keys(settings.log_key_file))


def open_input_vault(settings: Settings) -> InputVault:
    """What seals and opens kept inputs; makes its key on first use.

    Raises:
        ConfigError: The key file is unusable.
        DeliveryError: It cannot be written.
    """
    return open_vault(settings.inputs_key_file)


def open_api_keys(settings: Settings) -> SqlApiKeyStore:
    """The API keys of a deployment, in the registry's database. Raises as `open_registry`."""
    url = settings.registry_url
    _bring_to_head(url)
    return SqlApiKeyStore(make_engine(url))


def open_gate_keys(settings: Settings) -> ApiKeyStore:
    """The API keys as the service's gate asks for them.

    Where no key is needed, a service that only verifies makes no database: the keys are opened
    when one is given, and only if there is a database that could know it.

    Raises:
        ProvenanceError: Keys are needed, and as `open_registry`.
    """
    if settings.serve.require_api_key != "none":
        return open_api_keys(settings)
    return LateApiKeyStore(partial(_open_existing_api_keys, settings))


def _open_existing_api_keys(settings: Settings) -> SqlApiKeyStore | None:
    file = sqlite_file(settings.registry_url)
    return None if file is not None and not file.exists() else open_api_keys(settings)


def _bring_to_head(url: str) -> None:
    if _revision(url) != HEAD_REVISION:
        # Alembic loads only when there is something to migrate: it costs a tenth of a second.
        from registry import migrate

        migrate.upgrade(url)


def _revision(url: str) -> str | None:
    engine = make_engine(url)
    try:
        return stored_revision(engine)
    finally:
        engine.dispose()
