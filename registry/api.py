"""HTTP routes of the registry: parse, ask the store, map."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI

from provenance.serving.access import needs
from provenance.types import Scope, parse_record_id
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
    from registry.wiring import open_registry, open_resolution, open_terms

    store = open_registry(settings)
    resolution = open_resolution(settings, store)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    router = APIRouter(lifespan=lifespan)

    @router.get("/v1/records/{record_id}", tags=["registry"], dependencies=needs(Scope.REGISTRY))
    def show_record(record_id: str) -> RecordView:
        """What is registered under a record id; nothing that names a person."""
        return record_view(store.get(parse_record_id(record_id)))

    add_resolution_routes(router, resolution, open_terms(settings))
    return router
