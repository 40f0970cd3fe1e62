"""Which route needs what, who asks, and what is answered to those who may not.

A router says what its routes need with ``dependencies=needs(Scope.GENERATE)``. `read_rules` makes
one table of it, and `provenance.serving.gate` asks that table before a byte of the body is read.
A route that says nothing is refused to everybody: forgetting fails closed.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from fastapi import Depends, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from http import HTTPStatus
    from re import Pattern

    from fastapi import APIRouter
    from fastapi.params import Depends as DependsParam
    from starlette.datastructures import Headers

    from provenance.types import ApiKey, Scope

__all__ = [
    "CALLER",
    "EVERYBODY",
    "RULE",
    "Caller",
    "ErrorShape",
    "RouteRule",
    "caller_of",
    "find_rule",
    "needs",
    "problem",
    "read_credentials",
    "read_rules",
    "require_rule",
    "shape_for",
]

PROBLEM_MEDIA_TYPE = "application/problem+json"
"""Source: RFC 9457."""

CALLER = "countermark.caller"
RULE = "countermark.rule"
"""Where the gate leaves its findings in the ASGI scope."""


class ErrorShape(Protocol):
    """How errors look on a route: foreign clients expect their own service's shape."""

    def __call__(self, status: HTTPStatus, detail: str, **members: object) -> JSONResponse: ...


def problem(status: HTTPStatus, detail: str, **members: object) -> JSONResponse:
    """An RFC 9457 answer."""
    body = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
    return JSONResponse({**body, **members}, status, media_type=PROBLEM_MEDIA_TYPE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        key: The live API key that was given, if one was.
        address: The client's address, as far as proxies are trusted. Never logged.
    """

    key: ApiKey | None
    address: str = field(repr=False)

    @property
    def key_id(self) -> str | None:
        """The key's public id."""
        return None if self.key is None else self.key.id


# -- what routes say ---------------------------------------------------------------------------


class _Need(HTTPBearer):
    """Marks a route with what it needs; the gate has enforced it before this is called."""

    def __init__(self, scope: Scope | None, errors: ErrorShape) -> None:
        super().__init__(
            scheme_name="ApiKey",
            description="An API key (`countermark apikeys create`), with the scope that the "
            "route's description names. Which routes ask for one is the operator's setting.",
            auto_error=False,
        )
        self.scope = scope
        self.errors = errors

    async def __call__(self) -> None:  # type: ignore[override]
        return None


class _Everybody:
    """Marks a route as open to all, whatever the settings say."""

    def __init__(self, errors: ErrorShape) -> None:
        self.scope = None
        self.errors = errors

    async def __call__(self) -> None:
        return None


_KEY_HEADER = APIKeyHeader(name="X-Api-Key", scheme_name="ApiKeyHeader", auto_error=False)


def needs(scope: Scope, *, errors: ErrorShape = problem) -> Sequence[DependsParam]:
    """For the ``dependencies`` of a router or a route: what its callers' keys must open.

    Args:
        scope: What a key must open where keys are asked for.
        errors: How errors look on these routes.
    """
    return [Depends(_Need(scope, errors)), Depends(_KEY_HEADER)]


EVERYBODY: Sequence[Any] = (Depends(_Everybody(problem)),)
"""For the ``dependencies`` of routes that are open to all."""


# -- the table ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RouteRule:
    """What one route needs.

    Attributes:
        template: The path as declared, e.g. ``/v1/records/{record_id}``.
        methods: Upper-case HTTP methods.
        pattern: Matches the paths that the template stands for.
        scope: What a key must open; None: open to everybody.
        errors: How errors look there.
    """

    template: str
    methods: frozenset[str]
    pattern: Pattern[str] = field(repr=False)
    scope: Scope | None
    errors: ErrorShape = field(default=problem, repr=False)


def read_rules(routers: Iterable[APIRouter]) -> tuple[RouteRule, ...]:
    """The rules of all routes that say what they need, in the order in which they match."""
    return tuple(
        rule
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and (rule := _rule_of(route)) is not None
    )


def _rule_of(route: APIRoute) -> RouteRule | None:
    for one in reversed(route.dependencies):  # a route's own stand after its router's
        marker = one.dependency
        if isinstance(marker, _Need | _Everybody):
            methods = frozenset(route.methods or ())
            return RouteRule(route.path, methods, route.path_regex, marker.scope, marker.errors)
    return None


def find_rule(rules: Iterable[RouteRule], method: str, path: str) -> RouteRule | None:
    """The rule of the route that will answer; None when none, or an undeclared one, does."""
    for rule in rules:
        if method in rule.methods and rule.pattern.match(path):
            return rule
    return None


async def require_rule(request: Request) -> None:
    """Refuses what the gate has no rule for: a route that says nothing of what it needs.

    Raises:
        HTTPException: Always, for such a route.
    """
    if request.scope.get(RULE) is None:
        raise HTTPException(
            403,
            "this route does not say who may call it, so nobody may; its author adds "
            "dependencies=needs(Scope...) from provenance.serving.access",
        )


# -- who asks ----------------------------------------------------------------------------------


def caller_of(request: Request) -> Caller:
    """Who asks; a stranger without a key where no gate stands before the application."""
    found = request.scope.get(CALLER)
    if found is None:
        return Caller(None, request.client.host if request.client else "")
    return cast("Caller", found)


def shape_for(scope: Mapping[str, Any]) -> ErrorShape:
    """How errors look on the route of this request."""
    rule: RouteRule | None = scope.get(RULE)
    return problem if rule is None else rule.errors


def read_credentials(headers: Headers) -> str | None:
    """What was given as an API key; None when nothing was.

    As ``Authorization: Bearer``, as ``X-Api-Key``, or as the password of HTTP Basic (with any user
    name), which is what clients of AUTOMATIC1111 know.
    """
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and given.strip():
        return given.strip()
    if kind.lower() == "basic":
        return _basic_password(given.strip())
    return headers.get("x-api-key")


def _basic_password(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
