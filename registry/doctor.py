"""The registry's lines of ``countermark doctor`` and of ``/health/ready``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from provenance.config import load_settings
from provenance.errors import ProvenanceError
from provenance.types import HealthCheck
from registry.engine import (
    describe_url,
    make_engine,
    stored_revision,
    translated_errors,
)
from registry.tables import HEAD_REVISION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.config import Settings

__all__ = ["check_ready", "check_registry"]

DATABASE = "registry database"
MIN_FREE_BYTES = 256 * 2**20
"""A delivered picture with its record takes about one megabyte: room for a few hundred more."""


def check_registry() -> Sequence[HealthCheck]:
    """Database reachable and at head, pages intact, room on the disk."""
    settings = load_settings()
    if _is_empty(settings.registry_url):
        detail = f"{describe_url(settings.registry_url)} is made on first use"
        return [HealthCheck(DATABASE, ok=True, detail=detail), _check_room(settings)]
    checks = check_ready(settings)
    if not checks[0].ok:
        return checks
    return [*checks, _check_pages(settings.registry_url)]


def check_ready(settings: Settings) -> Sequence[HealthCheck]:
    """What must hold before a request is taken; quick enough to be asked often."""
    return [_check_database(settings.registry_url), _check_room(settings)]


def _is_empty(url: str) -> bool:
    try:
        return _find_revision(url) is None
    except ProvenanceError:
        return False  # the check itself says what is wrong


def _find_revision(url: str) -> str | None:
    engine = make_engine(url)
    try:
        return stored_revision(engine)
    finally:
        engine.dispose()


def _check_database(url: str) -> HealthCheck:
    try:
        found = _find_revision(url)
        place = describe_url(url)
    except ProvenanceError as error:
        what, _, remedy = str(error).rpartition("; ")
        return HealthCheck(DATABASE, ok=False, detail=what, remedy=remedy)
    if found == HEAD_REVISION:
        return HealthCheck(DATABASE, ok=True, detail=f"{place} at migration {found}")
    return HealthCheck(
        DATABASE,
        ok=False,
        detail=f"{place} is at migration {found or 'none'}, this version needs {HEAD_REVISION}",
        remedy="run: countermark registry upgrade",
    )


def _check_pages(url: str) -> HealthCheck:
    name = "registry integrity"
    engine = make_engine(url)
    try:
        if engine.dialect.name != "sqlite":
            return HealthCheck(name, ok=True, detail="the database server looks after its pages")
        with translated_errors(url), engine.connect() as connection:
            answer = str(connection.scalar(sa.text("PRAGMA quick_check(1)")))
    except ProvenanceError as error:
        answer = str(error)
    finally:
        engine.dispose()
    if answer == "ok":
        return HealthCheck(name, ok=True, detail="SQLite quick_check: ok")
    return HealthCheck(
        name,
        ok=False,
        detail=f"SQLite quick_check: {answer}",
        remedy=f"restore {describe_url(url)} from a backup",
    )


def _check_room(settings: Settings) -> HealthCheck:
    name = "disk of the home folder"
    folder = _nearest_folder(settings.home)
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free under {folder}"
    if free >= MIN_FREE_BYTES:
        return HealthCheck(name, ok=True, detail=detail)
    return HealthCheck(
        name,
        ok=False,
        detail=detail,
        remedy="make room, or set COUNTERMARK_HOME to a folder on a larger disk",
    )


def _nearest_folder(path: Path) -> Path:
    for folder in (path, *path.absolute().parents):
        if folder.is_dir():
            return folder
    return Path("/")
