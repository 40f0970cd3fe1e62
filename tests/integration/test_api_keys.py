"""API keys on both databases: made, shown once, recognised, ended; quotas exact when many ask."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from console import run
from sqlalchemy import event

from provenance.config import ServeSettings, Settings
from provenance.errors import InputError, QuotaExceededError, RecordNotFoundError
from provenance.types import Scope
from registry import migrate
from registry.api_keys import KEPT_USAGE, NOTES_AGAIN_AFTER, SqlApiKeyStore
from registry.engine import describe_url, make_engine
from registry.wiring import open_api_keys, open_gate_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

on_sqlite = pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
NOON = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(registry_url: str) -> str:
    return registry_url


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[SqlApiKeyStore]:
    opened = SqlApiKeyStore(make_engine(url), clock=clock)
    yield opened
    opened.close()


def test_a_key_is_recognised_by_its_text_alone(store: SqlApiKeyStore) -> None:
    key, text = store.create("phone app", [Scope.GENERATE, Scope.VERIFY], rate_per_minute=60)
    other, _ = store.create("other", [Scope.ADMIN])
    found = store.authenticate(text)
    assert found is not None
    assert (found.id, found.name, found.scopes) == (key.id, "phone app", key.scopes)
    assert found.rate_per_minute == 60
    assert other.opens(Scope.GENERATE)
    assert not key.opens(Scope.ADMIN)
    wrong_secret = text[:-1] + ("A" if text[-1] != "A" else "B")
    stolen_row = text.replace(key.id, other.id)
    for wrong in (
        wrong_secret,
        stolen_row,
        text.upper(),
        text + "x",
        "",
        "cmk_",
        key.id,
        "x" * 9999,
    ):
        assert store.authenticate(wrong) is None


@on_sqlite
def test_the_database_holds_no_secret(store: SqlApiKeyStore, tmp_path: Path) -> None:
    _, text = store.create("app", [Scope.VERIFY])
    store.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("registry.sqlite3*"))
    assert text[-43:].encode() not in kept


def test_a_revoked_or_expired_key_opens_nothing(store: SqlApiKeyStore, clock: Clock) -> None:
    key, revoked = store.create("a", [Scope.VERIFY])
    _, short = store.create("b", [Scope.VERIFY], lifetime=timedelta(days=2))
    store.revoke(key.id)
    assert store.authenticate(revoked) is None
    clock.now += timedelta(days=1, hours=23)
    assert store.authenticate(short) is not None
    clock.now += timedelta(hours=1)
    assert store.authenticate(short) is None
    first = store.revoke(key.id).revoked_at
    assert first == NOON
    with pytest.raises(RecordNotFoundError, match="countermark apikeys list"):
        store.revoke("0" * 16)


@on_sqlite
def test_only_the_day_of_use_is_kept(store: SqlApiKeyStore, clock: Clock, tmp_path: Path) -> None:
    _, text = store.create("a", [Scope.VERIFY])
    clock.now += timedelta(hours=5, minutes=17)
    store.authenticate(text)
    (key,) = store.list_keys()
    assert key.last_used_on == NOON.date()
    with sqlite3.connect(tmp_path / "registry.sqlite3") as raw:
        assert raw.execute("SELECT last_used_on FROM api_keys").fetchone() == ("2026-07-01",)


@on_sqlite
def test_a_key_is_recognised_in_a_database_that_cannot_be_written(
    url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(url)
    store = SqlApiKeyStore(engine, clock=clock)
    _, text = store.create("k", [Scope.VERIFY])
    engine.dispose()
    may_write = False

    @event.listens_for(engine, "checkout")
    def protect(raw: sqlite3.Connection, _entry: object, _proxy: object) -> None:
        raw.execute(f"PRAGMA query_only = {not may_write}")

    for _ in range(3):
        assert store.authenticate(text) is not None
        clock.now += NOTES_AGAIN_AFTER
    assert [r.getMessage() for r in caplog.records if "last use" in r.getMessage()] == [
        f"the day of last use of API keys cannot be noted: registry {describe_url(url)} may only "
        "be read; give this user the right to write the file and its folder"
    ]
    may_write = True
    assert store.authenticate(text) is not None
    assert [one.last_used_on for one in store.list_keys()] == [clock.now.date()]
    store.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "  "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 101}, "100 characters"),
        ({"scopes": []}, "scope"),
        ({"daily_pictures": 0}, "daily_pictures"),
        ({"rate_per_minute": 10**9}, "rate_per_minute"),
        ({"lifetime": timedelta(days=9_999_999)}, "9999"),
    ],
)
def test_a_bad_field_of_a_key_is_named(store: SqlApiKeyStore, change: dict, named: str) -> None:
    given = {"name": "app", "scopes": [Scope.VERIFY], **change}
    with pytest.raises(InputError, match=named):
        store.create(**given)
    assert store.list_keys() == []


def test_a_quota_is_of_one_day_and_outlasts_a_restart(
    store: SqlApiKeyStore, url: str, clock: Clock
) -> None:
    key, _ = store.create("a", [Scope.GENERATE], daily_pictures=5)
    day = store.spend_pictures(key, 3)
    again = SqlApiKeyStore(make_engine(url), clock=clock)
    with pytest.raises(QuotaExceededError, match="3 pictures are more than the 2") as caught:
        again.spend_pictures(key, 3)
    assert caught.value.retry_after_s == timedelta(hours=12).total_seconds()
    again.return_pictures(key, 1, spent_on=day)
    again.spend_pictures(key, 3)
    assert again.used_pictures(key.id, day) == 5
    clock.now += timedelta(days=1)
    again.spend_pictures(key, 5)
    again.close()


def test_quotas_are_exact_when_many_ask_at_once(store: SqlApiKeyStore) -> None:
    key, _ = store.create("a", [Scope.GENERATE], daily_pictures=20)

    def ask(_: int) -> bool:
        try:
            store.spend_pictures(key, 1)
        except QuotaExceededError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        granted = sum(pool.map(ask, range(60)))
    assert granted == 20
    assert store.used_pictures(key.id, NOON.date()) == 20


def test_quotas_are_exact_between_processes(url: str) -> None:
    store = SqlApiKeyStore(make_engine(url))
    _, text = store.create("a", [Scope.GENERATE], daily_pictures=10)
    script = (
        "import sys\n"
        "from provenance.errors import QuotaExceededError\n"
        "from registry.api_keys import SqlApiKeyStore\n"
        "from registry.engine import make_engine\n"
        "store = SqlApiKeyStore(make_engine(sys.argv[1]))\n"
        "key = store.authenticate(sys.argv[2])\n"
        "granted = 0\n"
        "for _ in range(8):\n"
        "    try:\n"
        "        store.spend_pictures(key, 1); granted += 1\n"
        "    except QuotaExceededError: pass\n"
        "print(granted)\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, url, text], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    granted = [int(process.communicate()[0]) for process in running]
    assert sum(granted) == 10, granted
    store.close()


def test_old_counts_are_forgotten(store: SqlApiKeyStore, clock: Clock) -> None:
    key, text = store.create("a", [Scope.GENERATE])
    store.spend_pictures(key, 4)
    clock.now += KEPT_USAGE + timedelta(days=1)
    store.authenticate(text)
    assert store.used_pictures(key.id, NOON.date()) == 0


def test_migration_of_api_keys_goes_down_and_up(url: str, store: SqlApiKeyStore) -> None:
    store.create("a", [Scope.VERIFY])
    store.close()
    migrate.downgrade(url, "0002")
    migrate.upgrade(url)
    assert migrate.check(url) == ()
    assert store.list_keys() == []


# -- the command ---------------------------------------------------------------------------------


def test_apikeys_shows_a_key_once(tmp_path: Path) -> None:
    made = run(tmp_path, "apikeys", "create", "shop", "--scope", "generate", "--scope", "verify")
    assert made.code == 0, made.err
    text = made.out.strip()
    assert text.startswith("cmk_")
    assert "copy it now" in made.err
    listed = run(tmp_path, "apikeys", "list", "--json")
    (one,) = listed.json
    assert (one["name"], one["state"], one["scopes"]) == ("shop", "live", ["generate", "verify"])
    assert text[-43:] not in listed.out
    plain = run(tmp_path, "apikeys", "list")
    assert "shop" in plain.out
    ended = run(tmp_path, "apikeys", "revoke", one["id"], "--json")
    assert ended.json["state"] == "revoked"
    assert run(tmp_path, "apikeys", "revoke", "nothing").code == 3


def test_apikeys_create_takes_limits(tmp_path: Path) -> None:
    answer = run(
        tmp_path,
        *("apikeys", "create", "shop", "--scope", "admin", "--rate-per-minute", "30"),
        *("--daily-pictures", "100", "--expires", "7", "--json"),
    )
    assert answer.code == 0, answer.err
    made = answer.json
    assert (made["rate_per_minute"], made["daily_pictures"]) == (30, 100)
    lifetime = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(
        made["created_at"]
    )
    assert lifetime == timedelta(days=7)
    assert made["key"].startswith(f"cmk_{made['id']}_")
    assert run(tmp_path, "apikeys", "create", "shop").code == 2
    assert run(tmp_path, "apikeys", "create", "shop", "--scope", "everything").code == 2


# -- the gate's view -------------------------------------------------------------------------------


def test_a_gate_that_needs_no_key_makes_no_database(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    keys = open_gate_keys(settings)
    unknown = "cmk_0123456789abcdef_" + "A" * 43
    assert keys.authenticate(unknown) is None
    assert not settings.home.exists()
    made, text = open_api_keys(settings).create("made later", [Scope.ADMIN], daily_pictures=2)
    found = keys.authenticate(text)
    assert found is not None
    assert found.id == made.id
    day = keys.spend_pictures(found, 2)
    with pytest.raises(QuotaExceededError):
        keys.spend_pictures(found, 1)
    keys.return_pictures(found, 1, spent_on=day)
    keys.spend_pictures(found, 1)


def test_a_gate_that_needs_keys_opens_them_at_once(tmp_path: Path) -> None:
    serve = ServeSettings(require_api_key="generate")
    settings = Settings(home=tmp_path / "home", serve=serve)
    assert isinstance(open_gate_keys(settings), SqlApiKeyStore)
    assert (settings.home / "registry.sqlite3").exists()
