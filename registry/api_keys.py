"""API keys of a deployment, and what each has used.

A key's text is ``cmk_<id>_<secret>``: 64 public bits that find its row, and 256 secret bits of
which the row holds SHA-256. That is enough here, and bcrypt would be wrong: slow hashes protect
what a person made up and an attacker can guess; nobody guesses 256 random bits, however fast the
hash, while every request would pay a tenth of a second of CPU for it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import secrets
import threading
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from provenance.errors import (
    InputError,
    QuotaExceededError,
    RecordNotFoundError,
    RegistryUnavailableError,
)
from provenance.types import KEY_PREFIX, ApiKey, Scope
from registry.engine import reading, writing
from registry.retry import retried
from registry.tables import ApiKeyRow, ApiKeyUsageRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from sqlalchemy import CursorResult, Engine, Select
    from sqlalchemy.orm import Session

__all__ = ["LateApiKeyStore", "SqlApiKeyStore"]

log = logging.getLogger(__name__)

ID_BYTES = 8
SECRET_BYTES = 32

_KEY = re.compile(rf"{KEY_PREFIX}([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")

NO_DIGEST = bytes(32)
"""Compared with where there is no row: an unknown id takes as long as a wrong secret."""

NOTES_AGAIN_AFTER = timedelta(minutes=5)
"""While the day of use cannot be noted, requests do not each wait for a locked database."""

KEPT_USAGE = timedelta(days=35)
"""Counts of older days serve no quota; a month and a bit answers a bill."""


def _now() -> datetime:
    return datetime.now(UTC)


class SqlApiKeyStore:
    """Implements `provenance.interfaces.ApiKeyStore`, and what ``countermark apikeys`` needs.

    Args:
        engine: From `registry.engine.make_engine`, on a database at the newest migration.
        clock: Answers the time in UTC.
        random_bytes: Answers that many unguessable bytes.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], datetime] = _now,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._random_bytes = random_bytes
        self._notes_again_at = datetime.min.replace(tzinfo=UTC)
        self._told = False
        """Whether the log says already that the day of use cannot be noted."""

    def close(self) -> None:
        """Closes all idle connections."""
        self._engine.dispose()

    # -- the operator --------------------------------------------------------------------------

    @retried
    def create(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        rate_per_minute: int | None = None,
        daily_pictures: int | None = None,
        lifetime: timedelta | None = None,
    ) -> tuple[ApiKey, str]:
        """Makes a key; its text is answered here and never again.

        Raises:
            InputError: A field is out of range.
            RegistryUnavailableError: The database cannot be reached.
        """
        now = self._clock()
        key = ApiKey(
            id=self._random_bytes(ID_BYTES).hex(),
            name=name,
            scopes=frozenset(scopes),
            created_at=now,
            rate_per_minute=rate_per_minute,
            daily_pictures=daily_pictures,
            expires_at=None if lifetime is None else _later(now, lifetime),
        )
        secret = base64.urlsafe_b64encode(self._random_bytes(SECRET_BYTES)).rstrip(b"=").decode()
        with writing(self._engine) as session:
            session.add(_key_to_row(key, secret))
        return key, f"{KEY_PREFIX}{key.id}_{secret}"

    def list_keys(self) -> Sequence[ApiKey]:
        """All keys, revoked and expired ones too, oldest first."""
        statement = select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.key_id)
        with reading(self._engine) as session:
            return [_row_to_key(row) for row in session.scalars(statement)]

    @retried
    def revoke(self, key_id: str) -> ApiKey:
        """Ends a key from the next request on; revoking twice keeps the first time.

        Raises:
            RecordNotFoundError: There is no such key.
            RegistryUnavailableError: The database cannot be reached.
        """
        with writing(self._engine) as session:
            row = session.get(ApiKeyRow, key_id)
            if row is None:
                raise RecordNotFoundError(
                    f"no API key has the id {key_id[:40]!r}; see: countermark apikeys list"
                )
            if row.revoked_at is None:
                row.revoked_at = self._clock()
            return _row_to_key(row)

    # -- the service ---------------------------------------------------------------------------

    def authenticate(self, text: str) -> ApiKey | None:
        """The live key that `text` is; None for anything else. Notes the day of use, if it can.

        Raises:
            RegistryUnavailableError: The database cannot be read.
        """
        parts = _KEY.fullmatch(text)
        if parts is None:
            return None
        key_id, secret = parts.groups()
        with reading(self._engine) as session:
            row = session.get(ApiKeyRow, key_id)
        kept = NO_DIGEST if row is None else row.secret_sha256
        if not hmac.compare_digest(_digest(secret), kept) or row is None:
            return None
        key, now = _row_to_key(row), self._clock()
        if not key.is_live(now):
            return None
        if key.last_used_on != now.date() and now >= self._notes_again_at:
            self._try_to_note_use(key_id, now)
        return key

    def _try_to_note_use(self, key_id: str, now: datetime) -> None:
        """A database that is full, locked or may only be read keeps no reader out."""
        try:
            self._note_use(key_id, now.date())
        except RegistryUnavailableError as error:
            if not self._told:
                log.warning("the day of last use of API keys cannot be noted: %s", error)
            self._told, self._notes_again_at = True, now + NOTES_AGAIN_AFTER
        else:
            self._told = False

    @retried
    def _note_use(self, key_id: str, day: date) -> None:
        with writing(self._engine) as session:
            session.execute(
                update(ApiKeyRow).where(ApiKeyRow.key_id == key_id).values(last_used_on=day)
            )
            session.execute(delete(ApiKeyUsageRow).where(ApiKeyUsageRow.day < day - KEPT_USAGE))

    @retried
    def spend_pictures(self, key: ApiKey, pictures: int) -> date:
        """Takes pictures from the key's allowance of today; counts them even without a limit.

        One conditional update decides, so that two requests at once cannot both get the last one.

        Raises:
            QuotaExceededError: Fewer are left; nothing was taken.
            RegistryUnavailableError: The database cannot be reached.
        """
        now = self._clock()
        day = now.date()
        with writing(self._engine) as session:
            self._make_usage_row(session, key.id, day)
            taken = self._change_usage(session, key.id, day, pictures, most=key.daily_pictures)
            used = session.scalar(_usage(key.id, day)) or 0
        if not taken:
            left = max(0, (key.daily_pictures or 0) - used)
            tomorrow = datetime.combine(day + timedelta(days=1), time(), UTC)
            raise QuotaExceededError(
                f"{pictures} pictures are more than the {left} that are left today of this key's "
                f"{key.daily_pictures} a day; the count starts again at midnight UTC",
                retry_after_s=(tomorrow - now).total_seconds(),
            )
        return day

    @retried
    def return_pictures(self, key: ApiKey, pictures: int, *, spent_on: date) -> None:
        """Gives back what was taken for a request that was never accepted."""
        with writing(self._engine) as session:
            self._change_usage(session, key.id, spent_on, -pictures, most=None)

    def used_pictures(self, key_id: str, day: date) -> int:
        """How many pictures a key has asked for on a day."""
        with reading(self._engine) as session:
            return session.scalar(_usage(key_id, day)) or 0

    def _make_usage_row(self, session: Session, key_id: str, day: date) -> None:
        kind = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        values = {"key_id": key_id, "day": day, "pictures": 0}
        session.execute(kind.insert(ApiKeyUsageRow).values(**values).on_conflict_do_nothing())

    @staticmethod
    def _change_usage(
        session: Session, key_id: str, day: date, by: int, *, most: int | None
    ) -> bool:
        statement = (
            update(ApiKeyUsageRow)
            .where(ApiKeyUsageRow.key_id == key_id, ApiKeyUsageRow.day == day)
            .values(pictures=ApiKeyUsageRow.pictures + by)
            .execution_options(synchronize_session=False)
        )
        if most is not None:
            statement = statement.where(ApiKeyUsageRow.pictures + by <= most)
        result: CursorResult[object] = session.execute(statement)  # type: ignore[assignment]
        return result.rowcount == 1


class LateApiKeyStore:
    """Implements `provenance.interfaces.ApiKeyStore` over keys that are opened when one is given.

    Args:
        open_store: Answers the store; None while there is no database, which then knows no key.
    """

    def __init__(self, open_store: Callable[[], SqlApiKeyStore | None]) -> None:
        self._open_store = open_store
        self._opened: SqlApiKeyStore | None = None
        self._lock = threading.Lock()

    def authenticate(self, text: str) -> ApiKey | None:
        """As `SqlApiKeyStore.authenticate`; raises what opening raises besides."""
        if _KEY.fullmatch(text) is None:
            return None
        store = self._open()
        return None if store is None else store.authenticate(text)

    def spend_pictures(self, key: ApiKey, pictures: int) -> date:
        """As `SqlApiKeyStore.spend_pictures`."""
        return self._opened_for(key).spend_pictures(key, pictures)

    def return_pictures(self, key: ApiKey, pictures: int, *, spent_on: date) -> None:
        """As `SqlApiKeyStore.return_pictures`."""
        self._opened_for(key).return_pictures(key, pictures, spent_on=spent_on)

    def _open(self) -> SqlApiKeyStore | None:
        with self._lock:
            if self._opened is None:
                self._opened = self._open_store()
            return self._opened

    def _opened_for(self, key: ApiKey) -> SqlApiKeyStore:
        store = self._open()
        if store is None:
            raise RecordNotFoundError(f"no API key has the id {key.id}; there are none here")
        return store


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _later(now: datetime, lifetime: timedelta) -> datetime:
    try:
        return now + lifetime
    except OverflowError as error:
        raise InputError("the API key would expire after the year 9999; leave the end out") from (
            error
        )


def _usage(key_id: str, day: date) -> Select[int]:
    return select(ApiKeyUsageRow.pictures).where(
        ApiKeyUsageRow.key_id == key_id, ApiKeyUsageRow.day == day
    )


def _key_to_row(key: ApiKey, secret: str) -> ApiKeyRow:
    return ApiKeyRow(
        key_id=key.id,
        name=key.name,
        secret_sha256=_digest(secret),
        scopes=" ".join(sorted(key.scopes)),
        rate_per_minute=key.rate_per_minute,
        daily_pictures=key.daily_pictures,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_on=key.last_used_on,
    )


def _row_to_key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.key_id,
        name=row.name,
        scopes=frozenset(Scope(name) for name in row.scopes.split()),
        created_at=row.created_at,
        rate_per_minute=row.rate_per_minute,
        daily_pictures=row.daily_pictures,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_on=row.last_used_on,
    )
