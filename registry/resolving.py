"""The asking side of soft binding resolution: which manifests belong to a picture, and do they?

Bindings are computed here, and the picture stays here: only when its owner says so is it sent to
be looked up. Whatever a repository answers is a lead; each manifest is read, and all its soft
bindings are held against the picture.

Source: C2PA Soft Binding Resolution API 2.4.0; C2PA 2.5 "Soft bindings".
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode, urljoin, urlsplit

from provenance.errors import FetchError, InputError, RecordNotFoundError
from provenance.imaging import sniff_media_type
from provenance.manifest.jumbf import split_store
from provenance.manifest.reading import read_manifest
from provenance.types import BindingState, SoftBinding
from registry.resolution import MEDIA_TYPE, check_manifest_id
from registry.soft_bindings import encode_value, judge_bindings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provenance.client import GuardedClient, RemoteAnswer
    from provenance.manifest.trust import TrustSettings
    from provenance.types import ManifestReport
    from registry.content import ContentReader
    from registry.resolution import ResolutionService
    from registry.soft_bindings import BindingJudgement, PictureBindings

__all__ = [
    "LocalRepository",
    "RemoteRepository",
    "Resolution",
    "ResolvedManifest",
    "Standing",
    "discover_endpoint",
    "resolve_picture",
]

WELL_KNOWN = "/.well-known/c2pa-soft-binding-resolution"
MAX_MANIFESTS = 10
"""Read of one picture; each costs a fetch and a look."""
MAX_GET_CHARACTERS = 2000
"""Of a whole address; longer bindings are posted."""
MAX_ANSWER_BYTES = 32 * 2**20


class Standing(StrEnum):
    """What a manifest's soft bindings say of the picture together.

    MATCHES: all agree. DISAGREES: one does not. UNCHECKED: none disagrees, but not all could be
    checked here, or there is none.
    """

    MATCHES = "matches"
    DISAGREES = "disagrees"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class ResolvedManifest:
    """One manifest that came back, held against the picture.

    Attributes:
        manifest_id: Label of its active manifest.
        store: Its bytes.
        report: The manifest judged against these very bytes; unless the file was stripped and left
            alone otherwise, its hard binding fails by design.
        bindings: Each soft binding.
    """

    manifest_id: str
    store: bytes = field(repr=False)
    report: ManifestReport = field(repr=False)
    bindings: tuple[BindingJudgement, ...]

    @property
    def standing(self) -> Standing:
        """All soft bindings together."""
        states = {one.state for one in self.bindings}
        if BindingState.DISAGREES in states:
            return Standing.DISAGREES
        return Standing.MATCHES if states == {BindingState.AGREES} else Standing.UNCHECKED


@dataclass(frozen=True, slots=True)
class Resolution:
    """What was found for a picture.

    Attributes:
        asked: The bindings that were looked up.
        sent_content: Whether the picture itself was sent.
        manifests: In the repository's order.
        problems: Manifests that were named but could not be had, and why.
    """

    asked: tuple[SoftBinding, ...]
    sent_content: bool
    manifests: tuple[ResolvedManifest, ...]
    problems: tuple[str, ...]

    def best(self, *, unchecked: bool = False) -> ResolvedManifest | None:
        """The first manifest that matches.

        Args:
            unchecked: Takes one of which some bindings agree and none disagrees, if none matches.
        """
        for one in self.manifests:
            if one.standing is Standing.MATCHES:
                return one
        for one in self.manifests if unchecked else ():
            agrees = any(judged.state is BindingState.AGREES for judged in one.bindings)
            if one.standing is Standing.UNCHECKED and agrees:
                return one
        return None


class Repository(Protocol):
    """Where manifests are."""

    @property
    def holds_our_marks(self) -> bool:
        """Whether its marks of our algorithms are under our keys."""

    def find(self, binding: SoftBinding) -> Iterable[str]:
        """Ids of manifests with a binding."""

    def find_picture(self, data: bytes) -> Iterable[str]:
        """Ids of manifests that the repository finds for a picture."""

    def read_store(self, manifest_id: str) -> bytes:
        """A manifest store.

        Raises:
            FetchError: It does not come.
            RecordNotFoundError: It is not there.
        """

    def size_of(self, manifest_id: str) -> tuple[int, int] | None:
        """Width and height of the manifest's picture, pixels; None where that is not known."""


def resolve_picture(
    data: bytes,
    repository: Repository,
    content: ContentReader,
    *,
    name: str,
    trust: TrustSettings,
    send_content: bool = False,
) -> Resolution:
    """Finds the manifests of a picture, and holds them against it.

    Args:
        data: The file.
        repository: Whom to ask.
        content: Reads the picture.
        name: Of the file, for messages.
        trust: Whom to believe.
        send_content: Sends the picture itself when its bindings found nothing.

    Raises:
        InputError: The picture cannot be read.
        FetchError: The repository cannot be asked.
        RegistryError: The registry of this installation cannot.
    """
    picture = content.read(data, name=name)
    asked = picture.as_bindings(content.names)
    found = dict.fromkeys(one for binding in asked for one in repository.find(binding))
    sent = send_content and not found
    if sent:
        found = dict.fromkeys(repository.find_picture(data))
    manifests: list[ResolvedManifest] = []
    problems: list[str] = []
    for manifest_id in list(found)[:MAX_MANIFESTS]:
        try:
            store = repository.read_store(manifest_id)
            manifests.append(
                _examine(manifest_id, store, data, picture, repository, content, trust)
            )
        except (FetchError, InputError, RecordNotFoundError) as error:
            problems.append(f"{manifest_id}: {error}")
    return Resolution(asked, sent, tuple(manifests), tuple(problems))


def _examine(
    manifest_id: str,
    store: bytes,
    data: bytes,
    picture: PictureBindings,
    repository: Repository,
    content: ContentReader,
    trust: TrustSettings,
) -> ResolvedManifest:
    if split_store(store)[-1].label != manifest_id:
        raise InputError("the repository answered another manifest than the one that was asked for")
    kind = sniff_media_type(data)
    report = read_manifest(data, kind or "image/png", trust=trust, manifest_store=store)
    if report.manifest_label is None:
        raise InputError("the manifest cannot be read")
    judged = judge_bindings(
        report.soft_bindings,
        picture,
        content.names,
        size=repository.size_of(manifest_id),
        holds_keys=repository.holds_our_marks,
    )
    return ResolvedManifest(manifest_id, store, report, judged)


# -- repositories ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocalRepository:
    """The registry of this installation; nothing leaves the machine."""

    service: ResolutionService
    holds_our_marks: bool = True

    def find(self, binding: SoftBinding) -> Iterable[str]:
        """As `Repository`."""
        return [one.manifest_id for one in self.service.by_binding(binding, limit=MAX_MANIFESTS)]

    def find_picture(self, data: bytes) -> Iterable[str]:
        """As `Repository`."""
        return [one.manifest_id for one in self.service.by_content(data, limit=MAX_MANIFESTS)]

    def read_store(self, manifest_id: str) -> bytes:
        """As `Repository`."""
        return self.service.read_store(manifest_id)

    def size_of(self, manifest_id: str) -> tuple[int, int] | None:
        """As `Repository`."""
        record = self.service.records.find_by_manifest(manifest_id)
        return None if record is None else (record.asset.width_px, record.asset.height_px)


@dataclass(frozen=True, slots=True)
class RemoteRepository:
    """Somebody's service, at one address; other endpoints that its answers name are not asked.

    Attributes:
        client: Asks.
        endpoint: Address of the API, e.g. ``https://cm.acme.org/v1``.
        token: Bearer token; None asks as a stranger.
    """

    client: GuardedClient
    endpoint: str
    token: str | None = field(default=None, repr=False)
    holds_our_marks: bool = False

    def find(self, binding: SoftBinding) -> Iterable[str]:
        """As `Repository`; a service that knows no such algorithm has found nothing.

        Raises:
            FetchError: The service cannot be asked.
        """
        query = {"alg": binding.alg, "value": encode_value(binding.value)}
        limit = urlencode({"maxResults": MAX_MANIFESTS})
        url = f"{self._place('matches/byBinding')}?{urlencode(query)}&{limit}"
        if len(url) <= MAX_GET_CHARACTERS:
            answer = self.client.get(url, headers=self._headers())
        else:
            answer = self.client.post(
                f"{self._place('matches/byBinding')}?{limit}",
                json.dumps(query).encode("ascii"),
                headers=self._headers(("Content-Type", "application/json")),
            )
        if answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
            return []
        return self._read_matches(answer)

    def find_picture(self, data: bytes) -> Iterable[str]:
        """As `Repository`: sends the picture.

        Raises:
            FetchError: The service cannot be asked, or takes no pictures.
        """
        url = f"{self._place('matches/byContent')}?{urlencode({'maxResults': MAX_MANIFESTS})}"
        kind = sniff_media_type(data) or "application/octet-stream"
        answer = self.client.post(url, data, headers=self._headers(("Content-Type", str(kind))))
        return self._read_matches(answer)

    def read_store(self, manifest_id: str) -> bytes:
        """As `Repository`.

        Raises:
            FetchError: The service cannot be asked, or answers something else.
            RecordNotFoundError: It has no such manifest.
        """
        url = self._place(f"manifests/{quote(check_manifest_id(manifest_id), safe=':')}")
        answer = self.client.get(url, headers=self._headers(("Accept", MEDIA_TYPE)))
        if answer.status == HTTPStatus.NOT_FOUND:
            raise RecordNotFoundError("the service does not have it any more")
        self._require_ok(answer)
        return answer.body

    def size_of(self, manifest_id: str) -> tuple[int, int] | None:  # noqa: ARG002  nobody says
        """As `Repository`."""
        return None

    def _place(self, path: str) -> str:
        return f"{self.endpoint.rstrip('/')}/{path}"

    def _headers(self, *more: tuple[str, str]) -> dict[str, str]:
        keyed = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return {"Accept": "application/json", **keyed, **dict(more)}

    def _require_ok(self, answer: RemoteAnswer) -> None:
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise FetchError(f"{self.endpoint} asks for a key, or another one: see --token-file")
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise FetchError(f"{self.endpoint} was asked too often; try again later")
        if answer.status != HTTPStatus.OK:
            raise FetchError(f"{self.endpoint} answers with status {answer.status}")

    def _read_matches(self, answer: RemoteAnswer) -> Sequence[str]:
        self._require_ok(answer)
        document = _read_json(answer)
        matches = document.get("matches")
        found = []
        for one in matches[:MAX_MANIFESTS] if isinstance(matches, list) else ():
            manifest_id = one.get("manifestId") if isinstance(one, dict) else None
            if not isinstance(manifest_id, str):
                raise FetchError(f"{self.endpoint} answers matches without a manifestId")
            try:
                found.append(check_manifest_id(manifest_id))
            except InputError as error:
                raise FetchError(f"{self.endpoint} answers an id that is none") from error
        return found


def discover_endpoint(client: GuardedClient, address: str) -> str:
    """The API's address: as given, or, for a bare host, as its well-known document says.

    Raises:
        FetchError: The host cannot be asked, or has no such document, or names another host.
    """
    parts = urlsplit(address)
    if parts.path not in ("", "/"):
        return address.rstrip("/")
    answer = client.get(urljoin(address, WELL_KNOWN))
    if answer.status != HTTPStatus.OK:
        raise FetchError(
            f"{address} does not say where its resolution API is; give the API's own address, like "
            f"{address.rstrip('/')}/v1"
        )
    named = _read_json(answer).get("apiEndpoint")
    if not isinstance(named, str):
        raise FetchError(f"{address}{WELL_KNOWN} names no apiEndpoint")
    # The published example is a path alone, though the schema asks for a whole address.
    endpoint = urljoin(address, named)
    if urlsplit(endpoint).netloc != parts.netloc or urlsplit(endpoint).scheme != parts.scheme:
        raise FetchError(
            f"{address} sends its callers elsewhere; if that is right, give that address itself"
        )
    return endpoint.rstrip("/")


def _read_json(answer: RemoteAnswer) -> dict[str, Any]:
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise FetchError(f"{answer.url.partition('?')[0]} answers no JSON") from error
    if not isinstance(document, dict):
        raise FetchError(f"{answer.url.partition('?')[0]} answers JSON of another shape")
    return document
