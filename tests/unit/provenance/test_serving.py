"""Buckets with a clock of ours, addresses behind proxies, log lines without secrets."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.datastructures import Headers

from provenance import web
from provenance.config import load_settings
from provenance.errors import ConfigError
from provenance.serving.access import EVERYBODY, find_rule, needs, read_credentials, read_rules
from provenance.serving.addresses import Proxies, bucket_name, is_loopback
from provenance.serving.buckets import Buckets
from provenance.serving.request_log import JsonFormatter, TextFormatter
from provenance.types import Scope


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


# -- buckets ---------------------------------------------------------------------------------------


def test_a_bucket_holds_one_minute_and_fills_evenly() -> None:
    clock = Clock()
    buckets = Buckets(clock)
    turns = [buckets.take("a", 6) for _ in range(7)]
    assert [turn.allowed for turn in turns] == [True] * 6 + [False]
    assert [turn.remaining for turn in turns] == [5, 4, 3, 2, 1, 0, 0]
    assert turns[-1].wait_s == pytest.approx(10)
    clock.now += 9.9
    assert not buckets.take("a", 6).allowed
    clock.now += 0.1
    assert buckets.take("a", 6).allowed
    assert not buckets.take("a", 6).allowed
    clock.now += 3600
    assert buckets.peek("a", 6).remaining == 6


def test_a_refused_request_costs_nothing() -> None:
    clock = Clock()
    buckets = Buckets(clock)
    assert buckets.take("a", 1).allowed
    assert not any(buckets.take("a", 1).allowed for _ in range(100))
    clock.now += 60
    assert buckets.take("a", 1).allowed


def test_callers_do_not_share_a_bucket() -> None:
    buckets = Buckets(Clock())
    assert buckets.take("a", 1).allowed
    assert buckets.take("b", 1).allowed
    assert not buckets.take("a", 1).allowed


def test_memory_of_buckets_is_bounded() -> None:
    buckets = Buckets(Clock(), max_buckets=10)
    for number in range(1000):
        buckets.take(f"caller {number}", 5)
    assert len(buckets) == 10
    assert buckets.peek("caller 999", 5).remaining == 4
    assert buckets.peek("caller 1", 5).remaining == 5


# -- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ((), "203.0.113.9", "198.51.100.1", "203.0.113.9"),
        (("10.0.0.0/8",), "10.1.2.3", "198.51.100.1", "198.51.100.1"),
        (("10.0.0.0/8",), "203.0.113.9", "198.51.100.1", "203.0.113.9"),
        (("10.0.0.0/8",), "10.1.2.3", "1.1.1.1, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        (("10.0.0.0/8",), "10.1.2.3", "words", "10.1.2.3"),
        (("10.0.0.0/8",), "10.1.2.3", None, "10.1.2.3"),
        (("10.0.0.0/8", "::1"), "::1", "10.0.0.1", "10.0.0.1"),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        (("10.0.0.0/8",), "testclient", "198.51.100.1", "testclient"),
    ],
)
def test_a_client_address_is_believed_of_own_proxies_alone(
    trusted: tuple[str, ...], peer: str, forwarded: str | None, client: str
) -> None:
    assert Proxies(trusted).client_of(peer, forwarded) == client


def test_a_proxy_that_is_no_address_is_named() -> None:
    with pytest.raises(ConfigError, match=r"trusted_proxies.*nonsense"):
        Proxies(("nonsense",))


def test_one_customer_of_ipv6_has_one_bucket() -> None:
    assert bucket_name("2001:db8:1:2::5") == bucket_name("2001:db8:1:2:ffff::1")
    assert bucket_name("2001:db8:1:2::5") != bucket_name("2001:db8:1:3::5")
    assert bucket_name("::ffff:198.51.100.1") == bucket_name("198.51.100.1")
    assert is_loopback("127.0.0.9")
    assert is_loopback("::1")
    assert not is_loopback("")


# -- what routes say -------------------------------------------------------------------------------


def test_rules_come_from_routes_and_the_nearest_word_counts() -> None:
    router = APIRouter(prefix="/v1", dependencies=needs(Scope.REGISTRY))

    @router.get("/things/{thing}")
    def thing(thing: str) -> None: ...

    @router.get("/page", dependencies=EVERYBODY)
    def page() -> None: ...

    silent = APIRouter()

    @silent.get("/silent")
    def nothing() -> None: ...

    rules = read_rules([router, silent])
    found = find_rule(rules, "GET", "/v1/things/7")
    assert found is not None
    assert (found.template, found.scope) == ("/v1/things/{thing}", Scope.REGISTRY)
    assert find_rule(rules, "GET", "/v1/page").scope is None  # type: ignore[union-attr]
    assert find_rule(rules, "POST", "/v1/page") is None
    assert find_rule(rules, "GET", "/silent") is None


@pytest.mark.parametrize(
    ("headers", "given"),
    [
        ({}, None),
        ({"Authorization": "Bearer cmk_x"}, "cmk_x"),
        ({"Authorization": "bearer   cmk_x "}, "cmk_x"),
        ({"X-Api-Key": "cmk_x"}, "cmk_x"),
        ({"Authorization": "Basic dXNlcjpjbWtfeA=="}, "cmk_x"),
        ({"Authorization": "Basic !!"}, ""),
        ({"Authorization": "Bearer"}, None),
    ],
)
def test_a_key_may_come_in_three_ways(headers: dict[str, str], given: str | None) -> None:
    assert read_credentials(Headers(headers)) == given


# -- log lines -------------------------------------------------------------------------------------

KEY = "cmk_0123456789abcdef_" + "S" * 43


def log_record(message: str, **more: object) -> logging.LogRecord:
    record = logging.LogRecord("n", logging.WARNING, "f", 1, message, (), None)
    record.__dict__.update(more)
    return record


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_no_key_reaches_a_log_line(formatter: logging.Formatter) -> None:
    line = formatter.format(log_record(f"got {KEY} here", facts={"key": KEY}))
    assert "SSSS" not in line
    assert "cmk_0123456789abcdef_..." in line


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_what_a_foreign_exception_says_stays_out_of_the_log(
    formatter: logging.Formatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COUNTERMARK_DEBUG", raising=False)
    try:
        raise ValueError("cannot tokenize: a SECRET prompt")
    except ValueError:
        line = formatter.format(log_record("broke", exc_info=sys.exc_info()))
    assert "SECRET" not in line.replace(
        'raise ValueError("cannot tokenize: a SECRET prompt")', ""
    ).replace('raise ValueError(\\"cannot tokenize: a SECRET prompt\\")', "")
    assert "ValueError" in line
    assert "test_serving.py" in line


def test_a_json_line_is_one_object() -> None:
    facts = {"route": "/v1/x", "status": 200, "records": ["aa"]}
    line = JsonFormatter().format(log_record("two\nlines", facts=facts))
    assert "\n" not in line
    assert json.loads(line)["records"] == ["aa"]
    assert json.loads(line)["level"] == "warning"


def test_the_lines_of_the_server_itself_take_the_same_format(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = logging.getLogger("uvicorn")
    monkeypatch.setattr(theirs, "handlers", [])
    monkeypatch.setattr(theirs, "propagate", True)
    monkeypatch.setattr(web, "create_app", lambda _: FastAPI())
    monkeypatch.setattr(web, "set_up_log", lambda _: None)
    monkeypatch.setattr(uvicorn.Server, "run", lambda _, sockets: sockets[0].close())
    web.run_server(load_settings(environ={}, home=tmp_path), host="127.0.0.1", port=0)
    # It logs every unexpected error once more, with its trace.
    assert (theirs.handlers, theirs.propagate) == ([], True)
