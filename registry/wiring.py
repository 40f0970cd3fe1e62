"""From settings to a registry that stands. The only module here that knows settings."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from provenance.errors import ConfigError, InputError
from registry.api_keys import LateApiKeyStore, SqlApiKeyStore
from registry.assets import DeliveringAssets, LocalAssetStore
from registry.engine import make_engine, sqlite_file, stored_revision
from registry.index.vectors import SqlVectorIndex
from registry.kept_inputs import InputVault, open_vault
from registry.signed_log import SignedLog, open_log_keys
from registry.store import SqlRecordStore, open_store
from registry.tables import HEAD_REVISION

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from provenance.config import Settings
    from provenance.interfaces import ApiKeyStore, VectorIndex
    from registry.assets import ManagedAssets
    from registry.content import ContentReader
    from registry.resolution import ResolutionService, StoreRights
    from registry.resolution_api import ResolutionTerms

__all__ = [
    "log_origin",
    "open_api_keys",
    "open_asset_store",
    "open_content_reader",
    "open_delivery",
    "open_gate_keys",
    "open_head_publisher",
    "open_input_vault",
    "open_registry",
    "open_resolution",
    "open_signed_log",
    "open_terms",
]

HTTPS_PORT = 443

T = TypeVar("T")


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


def log_origin(settings: Settings) -> str:
    """The log's name in checkpoints as it is set; empty means that of its key.

    Raises:
        ConfigError: It cannot be one.
    """
    from registry.checkpoint import check_origin

    origin = settings.registry.log_origin
    try:
        return check_origin(origin) if origin else ""
    except InputError as error:
        raise ConfigError(f"registry.log_origin: {error}") from error


def open_head_publisher(settings: Settings) -> Callable[[SignedLog], int] | None:
    """What brings heads of the log to where others keep them; None where none are brought.

    Raises:
        ConfigError: A setting is unusable.
    """
    from provenance.client import GuardedClient, RemotePolicy
    from registry.published_heads import MAX_ANSWER_BYTES, HeadPublisher, read_witness

    witnesses = [read_witness(entry) for entry in settings.registry.log_witnesses]
    origin, folder = log_origin(settings), settings.log_heads_folder
    if folder is None:
        if witnesses:
            raise ConfigError(
                "registry.log_witnesses: set registry.log_heads_folder too; what witnesses answer "
                "is kept there"
            )
        return None
    # The operator chose whom to ask, so it may be a machine of the same network.
    client = GuardedClient(RemotePolicy(MAX_ANSWER_BYTES, timeout_s=10, allow_private=True))

    def publish(log: SignedLog) -> int:
        return HeadPublisher(
            log, folder, origin=origin or log.keys.origin, witnesses=witnesses, client=client
        ).publish()

    return publish


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


def open_resolution(settings: Settings, records: SqlRecordStore) -> ResolutionService:
    """What answers the C2PA Soft Binding Resolution API, on a registry that is open.

    Raises:
        ConfigError: A setting or the watermark key file is unusable.
        UnknownBackendError: A codec or hasher is not installed.
    """
    from provenance.manifest.wiring import build_trust
    from registry.repository import ManifestRepository
    from registry.resolution import ResolutionService

    return ResolutionService(
        records=records,
        repository=ManifestRepository(records),
        content=open_content_reader(settings),
        trust=build_trust(settings),
        rights=_store_rights(settings),
        max_manifest_bytes=settings.resolution.max_manifest_bytes,
    )


def open_content_reader(settings: Settings) -> ContentReader:
    """What reads the soft bindings of pictures under this deployment's keys.

    Raises:
        ConfigError: The watermark key file is unusable.
        UnknownBackendError: A codec or hasher is not installed.
    """
    from provenance.fingerprint.wiring import build_hasher
    from provenance.imaging import ImageLimits
    from provenance.watermark.wiring import build_mark_reader, open_codec
    from registry.content import ContentReader
    from registry.soft_bindings import AlgNames

    hasher = build_hasher(settings)
    codecs = dict.fromkeys((settings.watermark.codec, *settings.watermark.read_codecs))
    names = AlgNames(
        settings.manifest.namespace, tuple(open_codec(one).alg for one in codecs), hasher.name
    )
    return ContentReader(
        # The generator beside it may make the key when it starts, or with its first picture.
        _until_there(partial(build_mark_reader, settings)),
        lambda: hasher,
        names,
        thorough=settings.watermark.search == "thorough",
        limits=ImageLimits(settings.limits.max_bytes, settings.limits.max_pixels),
    )


def open_terms(settings: Settings) -> ResolutionTerms:
    """How the resolution API is offered over HTTP.

    Raises:
        ConfigError: resolution.public_url is no address.
    """
    from provenance.client import GuardedClient, RemotePolicy
    from registry.resolution_api import ResolutionTerms

    options, longest = settings.resolution, settings.limits.max_bytes
    url = options.public_url
    if url and not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?", url):
        raise ConfigError(f"resolution.public_url: {url[:80]!r} must be like https://cm.acme.org")
    policy = RemotePolicy(max_bytes=longest, ports=frozenset({HTTPS_PORT}))
    client = GuardedClient(policy) if options.by_reference else None
    return ResolutionTerms(url, longest, client)


def _store_rights(settings: Settings) -> StoreRights:
    from registry.resolution import StoreRights

    owners: dict[str, frozenset[str]] = {}
    for entry in settings.resolution.alg_owners:
        found = re.fullmatch(r"([A-Za-z0-9.-]+)=([0-9a-f]{16})", entry)
        if found is None:
            raise ConfigError(
                f"resolution.alg_owners: {entry[:80]!r} must be a reverse domain and the id of an "
                "API key, like com.acme=3f2a9c0d11e87b46"
            )
        domain = found[1].lower().strip(".")
        owners[domain] = owners.get(domain, frozenset()) | {found[2]}
    return StoreRights(owners)


def _until_there(make: Callable[[], T | None]) -> Callable[[], T | None]:
    """Asks again while there is none, and keeps what there is."""
    made: list[T] = []

    def answer() -> T | None:
        if not made:
            found = make()
            if found is None:
                return None
            made.append(found)
        return made[0]

    return answer


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
