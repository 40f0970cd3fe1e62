"""From settings to a registry that stands. The only module here that knows settings."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from registry.api_keys import LateApiKeyStore, SqlApiKeyStore
from registry.assets import LocalAssetStore
from registry.engine import make_engine, sqlite_file, stored_revision
from registry.index.vectors import SqlVectorIndex
from registry.kept_inputs import InputVault, open_vault
from registry.store import SqlRecordStore, open_store
from registry.tables import HEAD_REVISION

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from provenance.config import Settings
    from provenance.interfaces import ApiKeyStore, VectorIndex

__all__ = [
    "open_api_keys",
    "open_asset_store",
    "open_gate_keys",
    "open_input_vault",
    "open_registry",
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
        url,
        reservation_lifetime=timedelta(seconds=settings.registry.reservation_lifetime_s),
        open_index=_index_opener(settings),
    )


def _index_opener(settings: Settings) -> Callable[[Engine, str], VectorIndex]:
    if settings.registry.vector_index == "pgvector":
        from registry.index.pgvector import PgVectorIndex

        return PgVectorIndex
    return partial(SqlVectorIndex, folder=settings.index_folder)


def open_asset_store(settings: Settings) -> LocalAssetStore:
    """The folder of delivered bytes of a deployment."""
    return LocalAssetStore(settings.assets_folder)


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
