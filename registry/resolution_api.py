"""HTTP routes of the C2PA Soft Binding Resolution API 2.4.0: parse, ask the service, map.

Statuses are those of its schema: 400 where FastAPI would say 422, 403 where others say 401, and no
413, 503 or 507. Beyond it there is only 429, for who asks too often.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.exceptions import HTTPException

from provenance.errors import (
    ConfigError,
    FetchError,
    InputError,
    NotAllowedError,
    ProvenanceError,
    QuotaExceededError,
    UnsupportedMediaTypeError,
)
from provenance.serving.access import EVERYBODY, caller_of, needs, problem
from provenance.serving.addresses import bucket_name
from provenance.serving.buckets import Buckets
from provenance.types import Scope, SoftBinding
from registry.resolution import DEFAULT_MAX_RESULTS, MEDIA_TYPE
from registry.resolution_schemas import (
    EXAMPLE_ID,
    RECEIPT_EXAMPLE,
    SPECIFICATION_VERSION,
    AlgList,
    AlgView,
    BindingQuery,
    BindingsBody,
    Capabilities,
    Matches,
    Receipt,
    ReferenceQuery,
    ServiceStatus,
    WellKnown,
    view_matches,
)
from registry.soft_bindings import decode_value

if TYPE_CHECKING:
    from fastapi.responses import JSONResponse

    from provenance.client import GuardedClient
    from provenance.types import ApiKey
    from registry.resolution import ResolutionService

__all__ = ["ResolutionTerms", "add_resolution_routes"]

log = logging.getLogger(__name__)

PREFIX = "/v1"
WELL_KNOWN = "/.well-known/c2pa-soft-binding-resolution"
MAX_QUERY_BYTES = 4096
"""Of a GET; what is longer is sent with POST."""
MAX_AT_ONCE = 2
"""Pictures read at the same time; each may hold 150 MB of pixels."""
MISSES_PER_MINUTE = 60
"""Exact values of one caller that nobody has. Pictures that are looked up for a reason have their
manifest; who guesses has nothing but misses."""

_CONFORMING = {
    HTTPStatus.UNAUTHORIZED: HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNPROCESSABLE_ENTITY: HTTPStatus.BAD_REQUEST,
    HTTPStatus.CONFLICT: HTTPStatus.BAD_REQUEST,
    HTTPStatus.SERVICE_UNAVAILABLE: HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.INSUFFICIENT_STORAGE: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def resolution_error(status: HTTPStatus, detail: str, **members: object) -> JSONResponse:
    """An error with a status that the API's schema knows."""
    return problem(_CONFORMING.get(status, status), detail, **members)


@dataclass(frozen=True, slots=True)
class ResolutionTerms:
    """How the API is offered.

    Attributes:
        public_url: Where clients reach this service; empty: as each request says it.
        max_picture_bytes: Longest picture.
        client: Fetches pictures by their address; None: that is switched off.
        misses: Counts values that were not found.
    """

    public_url: str
    max_picture_bytes: int
    client: GuardedClient | None
    misses: Buckets = field(default_factory=lambda: Buckets(time.monotonic))


MaxResults = Annotated[int, Query(alias="maxResults", ge=1)]
HintAlg = Annotated[str | None, Query(alias="hintAlg")]
HintValue = Annotated[str | None, Query(alias="hintValue")]


FETCHING = needs(Scope.FETCH, errors=resolution_error)
STORING = needs(Scope.STORE, errors=resolution_error)
TAGS: list[str | Enum] = ["C2PA soft binding resolution"]


def add_resolution_routes(
    router: APIRouter, service: ResolutionService, terms: ResolutionTerms
) -> None:
    """Adds all routes of the API, and the well-known one at the host's root.

    Args:
        router: Without a prefix. One flat router: `read_rules` must see each route.
        service: Answers.
        terms: How the API is offered.
    """
    _add_queries(router, service, terms)
    _add_manifests(router, service, terms)
    _add_receipts(router, service, terms)
    _add_bindings(router, service)
    _add_services(router, service, terms)


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    said = {
        400: "invalid request",
        403: "client not allowed",
        404: "not found",
        414: "query too long, use POST",
        415: "invalid asset type",
        500: "service failure",
    }
    return {status: {"description": said[status]} for status in statuses}


def _showing(example: object) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}}


_VERIFIED_EXAMPLE = {**RECEIPT_EXAMPLE, "verified": True}


# -- queries -----------------------------------------------------------------------------------


def _add_queries(router: APIRouter, service: ResolutionService, terms: ResolutionTerms) -> None:
    limiter, place = _Limiter(), f"{PREFIX}/matches"

    @router.get(
        f"{place}/byBinding",
        tags=TAGS,
        dependencies=[*FETCHING, _SHORT],
        responses=_documented(400, 403, 414, 500),
    )
    def query_by_binding(
        request: Request, alg: str, value: str, max_results: MaxResults = DEFAULT_MAX_RESULTS
    ) -> Matches:
        """Manifests with a soft binding; a lead, until all their soft bindings fit the picture."""
        return _by_binding(service, terms, request, alg, value, max_results)

    @router.post(
        f"{place}/byBinding",
        tags=TAGS,
        dependencies=FETCHING,
        responses=_documented(400, 403, 500),
    )
    def query_by_large_binding(
        request: Request, body: BindingQuery, max_results: MaxResults = DEFAULT_MAX_RESULTS
    ) -> Matches:
        """The same, for values that are too long for an address."""
        return _by_binding(service, terms, request, body.alg, body.value, max_results)

    @router.post(
        f"{place}/byContent",
        tags=TAGS,
        dependencies=FETCHING,
        responses=_documented(400, 403, 415, 500),
        openapi_extra=_PICTURE_BODY,
    )
    async def query_by_content(
        request: Request,
        alg: str | None = None,
        max_results: MaxResults = DEFAULT_MAX_RESULTS,
        hint_alg: HintAlg = None,
        hint_value: HintValue = None,
    ) -> Matches:
        """Manifests all of whose soft bindings fit the picture; nothing of it is kept."""
        hint = _hint(hint_alg, hint_value)
        _require_picture_type(request.headers.get("content-type", ""))
        data = await request.body()
        if not data:
            raise InputError("the body is empty; send the picture itself")
        ask = partial(service.by_content, data, limit=max_results, alg=alg, hint=hint)
        return view_matches(await run_sync(ask, limiter=limiter()))

    @router.post(
        f"{place}/byReference",
        tags=TAGS,
        dependencies=FETCHING,
        responses=_documented(400, 403, 500),
    )
    async def query_by_reference(
        body: ReferenceQuery,
        alg: str | None = None,
        max_results: MaxResults = DEFAULT_MAX_RESULTS,
        hint_alg: HintAlg = None,
        hint_value: HintValue = None,
    ) -> Matches:
        """The same, for a picture that the service fetches; where the operator allows it."""
        hint = _hint(hint_alg, hint_value)

        def ask() -> Matches:
            data = _fetch(terms, body)
            return view_matches(service.by_content(data, limit=max_results, alg=alg, hint=hint))

        return await run_sync(ask, limiter=limiter())


def _by_binding(
    service: ResolutionService,
    terms: ResolutionTerms,
    request: Request,
    alg: str,
    value: str,
    limit: int,
) -> Matches:
    caller = caller_of(request)
    name = f"key {caller.key_id}" if caller.key else f"address {bucket_name(caller.address)}"
    turn = terms.misses.peek(name, MISSES_PER_MINUTE)
    if not turn.allowed:
        raise QuotaExceededError(
            "too many values that no manifest has were asked for; try again later",
            retry_after_s=turn.wait_s,
        )
    found = service.by_binding(SoftBinding(alg, decode_value(value)), limit=limit)
    # Most fingerprints are in no repository, and nobody finds a manifest by guessing 256 bits.
    if not found and alg != service.names.fingerprint:
        terms.misses.take(name, MISSES_PER_MINUTE)
    return view_matches(found)


def _hint(alg: str | None, value: str | None) -> SoftBinding | None:
    if (alg is None) != (value is None):
        raise InputError("hintAlg and hintValue go together")
    return None if alg is None or value is None else SoftBinding(alg, decode_value(value))


def _require_picture_type(content_type: str) -> None:
    kind = content_type.partition(";")[0].strip().lower()
    # Names say little, so what might be a picture is looked at.
    if kind and not kind.startswith(("image/", "application/")):
        raise UnsupportedMediaTypeError(f"only pictures are looked up here, not {kind[:40]}")


def _fetch(terms: ResolutionTerms, body: ReferenceQuery) -> bytes:
    if terms.client is None:
        raise NotAllowedError("this service fetches no addresses (resolution.by_reference)")
    if body.region:
        raise InputError("region: parts of a picture are not looked up here; leave it out")
    if body.assetType is not None and not body.assetType.lower().startswith("image/"):
        raise InputError("assetType: only pictures are looked up here")
    if body.assetLength > terms.max_picture_bytes:
        raise InputError(f"assetLength is more than {terms.max_picture_bytes} (limits.max_bytes)")
    try:
        answer = terms.client.get(body.referenceUrl)
    except FetchError as error:
        log.info("a reference was not fetched: %s", error)
        # One sentence for all reasons: they would tell of this machine's network.
        raise InputError("referenceUrl could not be fetched") from error
    if answer.status != HTTPStatus.OK:
        raise InputError("referenceUrl could not be fetched")
    if len(answer.body) != body.assetLength:
        raise InputError("assetLength is not the length of what referenceUrl answers")
    return answer.body


async def _refuse_long_query(request: Request) -> None:
    if len(request.scope.get("query_string", b"")) > MAX_QUERY_BYTES:
        raise HTTPException(HTTPStatus.REQUEST_URI_TOO_LONG, "the query is too long; use POST")


_SHORT = Depends(_refuse_long_query)

_PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {
                "schema": {"type": "string", "format": "binary"},
                "example": "(the bytes of house.jpg)",
            }
            for kind in ("image/*", "application/*")
        },
    }
}


class _Limiter:
    """A limiter belongs to the event loop that runs when it is made."""

    def __init__(self) -> None:
        self._made: CapacityLimiter | None = None
        self._lock = Lock()

    def __call__(self) -> CapacityLimiter:
        with self._lock:
            if self._made is None:
                self._made = CapacityLimiter(MAX_AT_ONCE)
            return self._made


# -- manifests ---------------------------------------------------------------------------------


def _add_manifests(router: APIRouter, service: ResolutionService, terms: ResolutionTerms) -> None:
    place = f"{PREFIX}/manifests"
    bytes_of_a_store = {
        MEDIA_TYPE: {
            "schema": {"type": "string", "format": "binary"},
            "example": "(the bytes of a manifest store)",
        }
    }

    @router.get(
        f"{place}/{{activeManifestId}}",
        tags=TAGS,
        dependencies=FETCHING,
        response_class=Response,
        responses={200: {"content": bytes_of_a_store}, **_documented(400, 403, 404, 500)},
    )
    def get_manifest_by_id(
        activeManifestId: str,  # noqa: N803  the schema's name
        return_active: Annotated[bool, Query(alias="returnActiveManifest")] = False,
    ) -> Response:
        """The manifest store, as it was signed; or its active manifest alone."""
        store = service.read_store(activeManifestId, active_only=return_active)
        return Response(store, media_type=MEDIA_TYPE, headers={"X-Content-Type-Options": "nosniff"})

    @router.post(
        place,
        tags=TAGS,
        dependencies=STORING,
        responses={**_showing({"manifestId": EXAMPLE_ID}), **_documented(400, 403, 500)},
        openapi_extra={"requestBody": {"required": True, "content": bytes_of_a_store}},
    )
    async def add_manifest(
        request: Request,
        return_receipt: Annotated[bool, Query(alias="returnReceipt")] = False,
    ) -> dict[str, Any]:
        """Store a manifest of any maker; its soft bindings find it from now on."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (MEDIA_TYPE, "application/x-c2pa-manifest-store"):
            raise InputError(f"send the manifest store itself, as {MEDIA_TYPE}")
        data, key, uri = (
            await _read_store(request, service),
            _key_of(request),
            _endpoint(terms, request),
        )

        def work() -> dict[str, Any]:
            manifest_id = service.add(data, key)
            answer: dict[str, Any] = {"manifestId": manifest_id}
            return answer | (
                {"receipt": service.receipt(manifest_id, uri)} if return_receipt else {}
            )

        return await run_sync(work)

    @router.delete(
        f"{place}/{{activeManifestId}}",
        tags=TAGS,
        status_code=HTTPStatus.NO_CONTENT,
        dependencies=STORING,
        responses=_documented(400, 403, 404, 500),
    )
    def delete_manifest(request: Request, activeManifestId: str) -> None:  # noqa: N803
        """Forget a stored manifest and its soft bindings; a record's own stays."""
        service.delete(activeManifestId, _key_of(request))


def _add_receipts(router: APIRouter, service: ResolutionService, terms: ResolutionTerms) -> None:
    place = f"{PREFIX}/manifests/{{activeManifestId}}/receipts"

    @router.get(
        place,
        tags=TAGS,
        dependencies=FETCHING,
        responses={**_showing(_VERIFIED_EXAMPLE), **_documented(400, 403, 404, 500)},
    )
    def get_verified_receipt(request: Request, activeManifestId: str) -> dict[str, Any]:  # noqa: N803
        """That the manifest stands in this repository's log, checked just now."""
        uri = _endpoint(terms, request)
        receipt = service.receipt(activeManifestId, uri)
        return service.verify_receipt(activeManifestId, receipt, uri)

    @router.post(
        place,
        tags=TAGS,
        dependencies=FETCHING,
        responses={**_showing(_VERIFIED_EXAMPLE), **_documented(400, 403, 404, 500)},
    )
    def verify_receipt(request: Request, activeManifestId: str, body: Receipt) -> dict[str, Any]:  # noqa: N803
        """Whether a receipt is this repository's, and its log still says so."""
        uri = _endpoint(terms, request)
        return service.verify_receipt(activeManifestId, body.as_sent(), uri)


async def _read_store(request: Request, service: ResolutionService) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > service.max_manifest_bytes:
            raise InputError(
                f"the manifest store is longer than {service.max_manifest_bytes} bytes "
                "(resolution.max_manifest_bytes)"
            )
    return bytes(data)


def _key_of(request: Request) -> ApiKey:
    """The key that the gate let through.

    Raises:
        NotAllowedError: None was given: the gate is not in front of this application.
    """
    key = caller_of(request).key
    if key is None or not key.opens(Scope.STORE):
        raise NotAllowedError(f"this needs an API key of scope {Scope.STORE}")
    return key


def _add_bindings(router: APIRouter, service: ResolutionService) -> None:
    place = f"{PREFIX}/bindings"

    def bind(request: Request, body: BindingsBody, *, replace: bool) -> None:
        service.bind(
            body.manifestId,
            decode_value(body.bindingValue),
            alg=body.alg,
            key=_key_of(request),
            replace=replace,
        )

    @router.post(
        place,
        status_code=HTTPStatus.NO_CONTENT,
        tags=TAGS,
        dependencies=STORING,
        responses=_documented(400, 403, 404, 500),
    )
    def associate_manifest(request: Request, body: BindingsBody) -> None:
        """Add a soft binding by which a stored manifest is found."""
        bind(request, body, replace=False)

    @router.put(
        place,
        status_code=HTTPStatus.NO_CONTENT,
        tags=TAGS,
        dependencies=STORING,
        responses=_documented(400, 403, 404, 500),
    )
    def update_associated_manifest(request: Request, body: BindingsBody) -> None:
        """Put a soft binding in place of those of its algorithm that were added before."""
        bind(request, body, replace=True)


# -- the service itself ------------------------------------------------------------------------


def _add_services(router: APIRouter, service: ResolutionService, terms: ResolutionTerms) -> None:
    services = f"{PREFIX}/services"

    @router.get(
        f"{services}/supportedAlgorithms",
        tags=TAGS,
        dependencies=FETCHING,
        responses=_documented(400, 403, 500),
    )
    def get_supported_bindings() -> AlgList:
        """The algorithms that are computed here."""
        marks = service.names.watermarks if service.content.reads_marks else ()
        prints = service.names.fingerprint
        return AlgList(
            watermarks=[AlgView(alg=one) for one in marks],
            fingerprints=[] if prints is None else [AlgView(alg=prints)],
        )

    @router.get(f"{services}/status", tags=TAGS, dependencies=EVERYBODY, responses=_documented(500))
    def get_service_status() -> ServiceStatus:
        """Whether the registry answers, and marks can be read."""
        return ServiceStatus(
            status=_status_of(service), timestamp=datetime.now(UTC).isoformat(timespec="seconds")
        )

    @router.get(
        f"{services}/capabilities", tags=TAGS, dependencies=EVERYBODY, responses=_documented(500)
    )
    def get_service_capabilities() -> Capabilities:
        """Which optional parts of the API there are."""
        reference = () if terms.client is None else ("queryByReference",)
        return Capabilities(
            c2paSpecificationVersion=SPECIFICATION_VERSION,
            supportedCapabilities=[
                "queryByContent",
                *reference,
                "storeManifests",
                "storeBindings",
            ],
        )

    @router.get(WELL_KNOWN, tags=TAGS, dependencies=EVERYBODY, responses=_documented(500))
    def get_well_known(request: Request) -> WellKnown:
        """Where the API is."""
        endpoint = _endpoint(terms, request)
        return WellKnown(
            apiEndpoint=endpoint,
            c2paSpecificationVersion=SPECIFICATION_VERSION,
            capabilitiesEndpoint=f"{endpoint}/services/capabilities",
            statusEndpoint=f"{endpoint}/services/status",
        )


def _status_of(service: ResolutionService) -> Literal["ok", "degraded", "down"]:
    try:
        service.records.log_head()
        return "ok" if service.content.reads_marks else "degraded"
    except ConfigError as error:  # the file of watermark keys
        log.error("marks cannot be read: %s", error)  # noqa: TRY400  ours say all there is
        return "degraded"
    except ProvenanceError as error:
        log.error("the registry does not answer: %s", error)  # noqa: TRY400
        return "down"


def _endpoint(terms: ResolutionTerms, request: Request) -> str:
    """Where this API is, as clients reach it."""
    base = terms.public_url or str(request.base_url)
    return f"{base.rstrip('/')}{PREFIX}"
