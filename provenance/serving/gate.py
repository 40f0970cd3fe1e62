"""Lets a request through, or answers why not, before its body is read.

The one place that checks API keys and rates, for all routes of all packages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders

from provenance.errors import ProvenanceError
from provenance.serving import metrics
from provenance.serving.access import (
    CALLER,
    RULE,
    Caller,
    RouteRule,
    find_rule,
    read_credentials,
)
from provenance.serving.addresses import bucket_name, is_loopback
from provenance.types import KEY_PREFIX, Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Send
    from starlette.types import Scope as AsgiScope

    from provenance.interfaces import ApiKeyStore
    from provenance.serving.addresses import Proxies
    from provenance.serving.buckets import Buckets, Turn
    from provenance.types import ApiKey

__all__ = ["Gate", "GatePolicy"]

FAILED_KEYS_PER_MINUTE = 30
"""Wrong keys of one address; then it is told to wait without a look into the database. Nobody
guesses a key: this bounds what a client with a dead key in a loop costs."""

REALM = "countermark"


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What the gate asks for.

    Attributes:
        key_scopes: Scopes whose routes ask for a key.
        rate_per_minute: Requests a minute of one caller; 0: any number.
        open_rate_per_minute: Of one address without a key, on routes of scope verify or fetch;
            0: any.
        loopback_paths: Routes that this machine itself may call without a key.
    """

    key_scopes: frozenset[Scope]
    rate_per_minute: int = 0
    open_rate_per_minute: int = 0
    loopback_paths: frozenset[str] = frozenset()


class Gate:
    """ASGI middleware; see the module.

    Args:
        app: What is behind the gate.
        rules: What each route needs.
        policy: What is asked for.
        keys: Knows the API keys; None where no package brings any.
        buckets: Counts requests.
        proxies: Tell the client's address.
        answer_error: Turns one of our errors into an answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: tuple[RouteRule, ...],
        policy: GatePolicy,
        keys: ApiKeyStore | None,
        buckets: Buckets,
        proxies: Proxies,
        answer_error: Callable[[AsgiScope, ProvenanceError], Response],
    ) -> None:
        self._app = app
        self._rules = rules
        self._policy = policy
        self._keys = keys
        self._buckets = buckets
        self._proxies = proxies
        self._answer_error = answer_error

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        rule = None
        if scope["type"] == "http":
            rule = find_rule(self._rules, scope["method"], scope["path"])
        if rule is None:
            await self._app(scope, receive, send)
            return
        scope[RULE] = rule
        try:
            answer, turn = await self._check(scope, rule)
        except ProvenanceError as error:
            answer, turn = self._answer_error(scope, error), None
        if answer is not None:
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send if turn is None else _telling(send, turn))

    async def _check(
        self, scope: AsgiScope, rule: RouteRule
    ) -> tuple[Response | None, Turn | None]:
        headers = Headers(scope=scope)
        peer = scope["client"][0] if scope.get("client") else ""
        address = self._proxies.client_of(peer, headers.get("x-forwarded-for"))
        if rule.scope is None:
            scope[CALLER] = Caller(None, address)
            return None, None
        given = read_credentials(headers)
        asked = rule.scope in self._policy.key_scopes
        if given is not None and not asked and not given.startswith(KEY_PREFIX):
            # Clients of other services cannot be told to send none: theirs says "none" or "sk-..".
            given = None
        key: ApiKey | None = None
        if given is not None:
            blocked = self._too_many_failures(rule, address)
            if blocked is not None:
                return blocked, None
            key = await self._authenticate(given)
            if key is None:
                self._buckets.take(_failures_of(address), FAILED_KEYS_PER_MINUTE)
                return _unauthorised(rule, "this API key is unknown, revoked or expired"), None
        scope[CALLER] = Caller(key, address)
        forwarded = "x-forwarded-for" in headers or "forwarded" in headers
        local = is_loopback(peer) and not forwarded and rule.template in self._policy.loopback_paths
        if key is None and asked and not local:
            return _unauthorised(rule, _MISSING.format(rule.scope)), None
        if key is not None and not key.opens(rule.scope):
            return _forbidden(rule, key), None
        return self._limit(rule, key, address)

    async def _authenticate(self, given: str) -> ApiKey | None:
        if self._keys is None:
            return None
        return await run_in_threadpool(self._keys.authenticate, given)

    def _too_many_failures(self, rule: RouteRule, address: str) -> Response | None:
        turn = self._buckets.peek(_failures_of(address), FAILED_KEYS_PER_MINUTE)
        if turn.allowed:
            return None
        return _too_many(rule, turn, "too many wrong API keys came from this address")

    def _limit(
        self, rule: RouteRule, key: ApiKey | None, address: str
    ) -> tuple[Response | None, Turn | None]:
        per_minute = self._policy.rate_per_minute
        caller = f"address {bucket_name(address)}"
        if key is not None:
            per_minute = key.rate_per_minute or per_minute
            caller = f"key {key.id}"
        elif rule.scope in (Scope.VERIFY, Scope.FETCH) and self._policy.open_rate_per_minute:
            per_minute = self._policy.open_rate_per_minute
            caller = f"open {bucket_name(address)}"
        if not per_minute:
            return None, None
        turn = self._buckets.take(caller, per_minute)
        if turn.allowed:
            return None, turn
        return _too_many(rule, turn, f"more than {per_minute} requests a minute"), None


_MISSING = (
    "this needs an API key of scope {}: send it as Authorization: Bearer, or as X-Api-Key; "
    "the operator makes one with: countermark apikeys create"
)


def _failures_of(address: str) -> str:
    return f"failures {bucket_name(address)}"


def _unauthorised(rule: RouteRule, detail: str) -> Response:
    answer = rule.errors(HTTPStatus.UNAUTHORIZED, detail)
    answer.headers["WWW-Authenticate"] = f'Bearer realm="{REALM}"'
    return answer


def _forbidden(rule: RouteRule, key: ApiKey) -> Response:
    opened = ", ".join(sorted(key.scopes))
    detail = f"this needs an API key of scope {rule.scope}; the given one opens {opened}"
    answer = rule.errors(HTTPStatus.FORBIDDEN, detail)
    answer.headers["WWW-Authenticate"] = (
        f'Bearer realm="{REALM}", error="insufficient_scope", scope="{rule.scope}"'
    )
    return answer


def _too_many(rule: RouteRule, turn: Turn, reason: str) -> Response:
    metrics.RATE_LIMITED.labels(rule.template).inc()
    wait_s = max(1, math.ceil(turn.wait_s))
    answer = rule.errors(HTTPStatus.TOO_MANY_REQUESTS, f"{reason}; try again in {wait_s} s")
    answer.headers["Retry-After"] = str(wait_s)
    _tell(answer.headers, turn)
    return answer


def _telling(send: Send, turn: Turn) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            _tell(MutableHeaders(scope=message), turn)
        await send(message)

    return told


def _tell(headers: MutableHeaders, turn: Turn) -> None:
    """Source: draft-ietf-httpapi-ratelimit-headers-10 §3 and §4: quota, window; left, seconds."""
    full_in_s = math.ceil((turn.limit - turn.remaining) * 60 / turn.limit)
    headers["RateLimit-Policy"] = f'"caller";q={turn.limit};w=60'
    headers["RateLimit"] = f'"caller";r={turn.remaining};t={full_in_s}'
