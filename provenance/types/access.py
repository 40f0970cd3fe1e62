"""Who may ask for what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from provenance.types.base import require, require_utc

if TYPE_CHECKING:
    from datetime import date, datetime

__all__ = ["KEY_PREFIX", "ApiKey", "Scope"]

KEY_PREFIX = "cmk_"
"""Begins the text of every key: secret scanners, and our own log, recognise it."""

MAX_NAME_CHARACTERS = 100


class Scope(StrEnum):
    """What a key opens. `ADMIN` opens everything.

    `FETCH` and `STORE` are the scopes of the C2PA Soft Binding Resolution API: ``fetch:manifests``,
    and ``store:manifests`` with ``store:bindings``.
    """

    GENERATE = "generate"
    VERIFY = "verify"
    REGISTRY = "registry"
    FETCH = "fetch"
    STORE = "store"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is kept: everything but the secret.

    Attributes:
        id: 16 hex digits; public, part of the key's text, shown in logs.
        name: What the operator calls it.
        scopes: What it opens; at least one.
        created_at: UTC.
        rate_per_minute: Requests a minute; None: as the service's setting.
        daily_pictures: Pictures a day (UTC); None: any number.
        expires_at: From then on it opens nothing; None: never.
        revoked_at: Set when it was revoked.
        last_used_on: The last day of use (UTC). Not the moment: that would be a diary of a person.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    rate_per_minute: int | None = None
    daily_pictures: int | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_on: date | None = None

    def __post_init__(self) -> None:
        require(
            bool(re.fullmatch(r"[0-9a-f]{16}", self.id)), "the id of an API key is 16 hex digits"
        )
        require(
            bool(self.name.strip()) and self.name.isprintable(),
            "the name of an API key must be printable text, so that lists can show it",
        )
        require(
            len(self.name) <= MAX_NAME_CHARACTERS,
            f"the name of an API key has at most {MAX_NAME_CHARACTERS} characters",
        )
        require(bool(self.scopes), f"an API key needs a scope: {', '.join(Scope)}")
        for name, limit in (
            ("rate_per_minute", self.rate_per_minute),
            ("daily_pictures", self.daily_pictures),
        ):
            require(
                limit is None or 1 <= limit <= MAX_LIMIT,
                f"{name} {limit} is outside 1..{MAX_LIMIT}; leave it out for no limit of its own",
            )
        require_utc("created_at", self.created_at)
        for name, moment in (("expires_at", self.expires_at), ("revoked_at", self.revoked_at)):
            if moment is not None:
                require_utc(name, moment)

    def opens(self, scope: Scope) -> bool:
        """Whether a holder of this key may do what needs `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def is_live(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


MAX_LIMIT = 1_000_000
"""More than any one service serves; keeps the numbers in every database's integer."""
