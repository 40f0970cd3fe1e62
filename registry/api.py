"""HTTP routes of the registry: parse, ask the store, map."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI

from provenance.serving.access import needs
from provenance.types import Scope, parse_record_id
from registry.log_api import add_log_routes, signing_heads
from registry.resolution_api import add_resolution_routes
from registry.schemas import RecordView, record_view

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provenance.config import Settings

__all__ = ["build_router"]


def build_router(settings: Settings) -> APIRouter:
    """Routes that answer what is registered, and the C2PA resolution API.

    Makes the registry on first use.

    Raises:
        ConfigError: The registry URL is unusable, or a setting of the resolution API is.
        BackendUnavailableError: The database driver is not installed.
        RegistryUnavailableError: The database cannot be reached, written or migrated.
    """
    from registry.wiring import (
        open_head_publisher,
        open_registry,
        open_resolution,
        open_signed_log,
        open_terms,
    )

    store = open_registry(settings)
    resolution = open_resolution(settings, store)
    # On first use: it makes the log's key.
    open_log = cache(lambda: open_signed_log(settings, store))
    publish = open_head_publisher(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        every_s = settings.registry.log_head_every_s
        async with signing_heads(open_log, every_s=every_s, publish=publish):
            yield
        store.close()

    router = APIRouter(lifespan=lifespan)

    @router.get("/v1/records/{record_id}", tags=["registry"], dependencies=needs(Scope.REGISTRY))
    def show_record(record_id: str) -> RecordView:
        """What is registered under a record id; nothing that names a person."""
        record = store.get(parse_record_id(record_id))
        return record_view(record, store.notices(record))

    add_log_routes(router, open_log)
    add_resolution_routes(router, resolution, open_terms(settings))
    return router
