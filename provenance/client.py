"""The one HTTP client: for addresses that a stranger, or another service, may have chosen.

What it will not do: speak plain HTTP, ask an address that is not public, follow a redirect to one,
wait or read without end, send a password, unpack what was compressed. A name is resolved once, and
the connection goes to the very address that was looked at, so that a second answer of the name
server (rebinding) changes nothing.

Source: OWASP "Server-Side Request Forgery Prevention" cheat sheet; C2PA Soft Binding Resolution API
2.4.0, `/matches/byReference`.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import SplitResult, urljoin, urlsplit

from provenance.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from ipaddress import IPv4Address

    Address: TypeAlias = IPv4Address | IPv6Address

__all__ = ["GuardedClient", "RemoteAnswer", "RemotePolicy", "is_public", "resolve_name"]

MAX_URL_CHARACTERS = 4096
MAX_REDIRECTS = 3
MAX_ADDRESSES = 16
"""Of one name; nobody's service has more, and each is looked at."""
_CHUNK_BYTES = 64 * 1024
_DEFAULT_PORTS = {"https": 443, "http": 80}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_TRANSLATED = ip_network("64:ff9b::/96")
"""IPv6 addresses that stand for an IPv4 address. Source: RFC 6052 §2.1."""


@dataclass(frozen=True, slots=True)
class RemotePolicy:
    """What may be asked, and how much of an answer is taken.

    Attributes:
        max_bytes: Longest body, bytes.
        timeout_s: For name, connection, redirects and body together, seconds.
        ports: Ports that may be asked; None: any.
        allow_private: Private addresses too, and plain HTTP there: for services of one's own.
    """

    max_bytes: int
    timeout_s: float = 20.0
    ports: frozenset[int] | None = None
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class RemoteAnswer:
    """What came back, whatever its status.

    Attributes:
        status: HTTP status.
        headers: Names in small letters; of several with one name the last.
        body: At most `RemotePolicy.max_bytes`.
        url: Where it came from, after redirects.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str

    @property
    def media_type(self) -> str:
        """Without parameters, in small letters; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def resolve_name(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as the system's resolver answers.

    Raises:
        FetchError: It has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"{host} has no address; check the name and the network") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet's, in whatever way it is written."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.is_site_local:
        return False
    if parsed.is_reserved and parsed not in _TRANSLATED:
        return False
    return all(one.is_global and not one.is_multicast for one in (parsed, *_inside(parsed)))


def _inside(address: Address) -> Sequence[Address]:
    """IPv4 addresses that an IPv6 address stands for."""
    if not isinstance(address, IPv6Address):
        return ()
    found: list[Address] = [a for a in (address.ipv4_mapped, address.sixtofour) if a is not None]
    if address.teredo is not None:
        found += address.teredo
    if address in _TRANSLATED:
        found.append(ip_address(int(address) & 0xFFFF_FFFF))
    return found


class GuardedClient:
    """Asks other services; safe from any thread, keeps nothing between requests.

    Args:
        policy: What may be asked.
        resolve: Answers the addresses of a name.
        connect: Opens a connection to an address, port and time limit in seconds.
        tls: How certificates are checked; by default as the system does (``SSL_CERT_FILE``).
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        policy: RemotePolicy,
        *,
        resolve: Callable[[str, int], Sequence[str]] = resolve_name,
        connect: Callable[[str, int, float], socket.socket] | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        self._connect = connect or _open_socket
        self._tls = tls
        self._clock = clock

    def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> RemoteAnswer:
        """Asks, and follows a few redirects, each of them guarded like the first address.

        Headers go to the first host alone: a redirect must not carry a key elsewhere.

        Raises:
            FetchError: The address may not be asked, does not answer in time, or answers too much.
        """
        deadline = self._clock() + self._policy.timeout_s
        given = dict(headers or {})
        origin = _origin(self._check_url(url))
        for _ in range(MAX_REDIRECTS + 1):
            if _origin(self._check_url(url)) != origin:
                given = {}
            answer = self._ask("GET", url, None, given, deadline)
            target = answer.headers.get("location")
            if answer.status not in _REDIRECTS or target is None:
                return answer
            try:
                url = urljoin(url, target)
            except ValueError as error:
                raise FetchError(f"{_shown(url)} redirects to what is no address") from error
        raise FetchError(f"{_shown(url)} redirects more than {MAX_REDIRECTS} times; give the last")

    def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str] | None = None
    ) -> RemoteAnswer:
        """Sends; follows no redirect.

        Raises:
            FetchError: As `get`.
        """
        deadline = self._clock() + self._policy.timeout_s
        return self._ask("POST", url, body, dict(headers or {}), deadline)

    # -- one request ---------------------------------------------------------------------------

    def _ask(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str], deadline: float
    ) -> RemoteAnswer:
        parts = self._check_url(url)
        host, port = str(parts.hostname), _port_of(parts)
        address = self._choose_address(host, port, parts.scheme, deadline)
        shown = _shown(url)
        try:
            raw = self._connect(address, port, self._left(deadline, shown))
        except OSError as error:
            why = error.strerror or "no answer in time"
            raise FetchError(f"{shown} cannot be reached ({why})") from error
        stream = raw
        connection = http.client.HTTPConnection(host, port)
        # Decides whether the Host header names the port.
        connection.default_port = _DEFAULT_PORTS[parts.scheme]
        # A server that sends one byte now and then would outlive the limit of every single read.
        watchdog = threading.Timer(self._left(deadline, shown), lambda: _shut(stream))
        watchdog.daemon = True
        watchdog.start()
        try:
            if parts.scheme == "https":
                stream = self._wrap(raw, host)
                stream.do_handshake()
            connection.sock = stream
            connection.request(
                method,
                _target(parts),
                body=body,
                headers={
                    "User-Agent": "countermark",
                    "Accept-Encoding": "identity",
                    "Connection": "close",
                    **headers,
                },
            )
            answer = self._read(connection.getresponse(), url)
        except ssl.SSLCertVerificationError as error:
            raise FetchError(
                f"the certificate of {host} is not trusted ({error.verify_message}); "
                "SSL_CERT_FILE names further roots"
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = self._clock() >= deadline
            why = f"not within {self._policy.timeout_s:g} s" if late else type(error).__name__
            raise FetchError(f"{shown} did not answer as an HTTP server should ({why})") from error
        finally:
            watchdog.cancel()
            connection.close()
            stream.close()
        # Where no length was announced, a body that the watchdog cut off looks complete.
        self._left(deadline, shown)
        return answer

    def _check_url(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise FetchError(f"{_shown(url)} is no address") from error
        shown = _shown(url)
        if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable():
            raise FetchError(f"{shown} is no address that can be asked: plain ASCII, not too long")
        if any(letter.isspace() for letter in url) or not parts.hostname:
            raise FetchError(f"{shown} is no address; write it like https://example.org/v1")
        if parts.scheme != "https" and not (parts.scheme == "http" and self._policy.allow_private):
            raise FetchError(f"{shown} is not https; only https is asked")
        if parts.username is not None or parts.password is not None:
            raise FetchError(f"{shown} holds a user name or password; leave them out")
        allowed = self._policy.ports
        if allowed is not None and (port or _port_of(parts)) not in allowed:
            raise FetchError(f"{shown} names a port that is not asked")
        return parts

    def _choose_address(self, host: str, port: int, scheme: str, deadline: float) -> str:
        addresses = self._resolve_within(host, port, deadline)
        if not addresses or len(addresses) > MAX_ADDRESSES:
            raise FetchError(
                f"{host} has {len(addresses)} addresses; 1 to {MAX_ADDRESSES} are fine"
            )
        private = [one for one in addresses if not is_public(one)]
        # One private address among public ones is how a name server is asked to decide later.
        if private and not self._policy.allow_private:
            raise FetchError(f"{host} is not on the public internet, so it is not asked")
        if scheme == "http" and len(private) != len(addresses):
            raise FetchError(f"{host} is on the public internet, where only https is asked")
        return addresses[0]

    def _resolve_within(self, host: str, port: int, deadline: float) -> Sequence[str]:
        """The system's resolver knows no time limit, so a thread waits for it."""
        found: list[Sequence[str]] = []
        failed: list[FetchError] = []

        def work() -> None:
            try:
                found.append(self._resolve(host, port))
            except FetchError as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="countermark-resolver", daemon=True)
        thread.start()
        thread.join(self._left(deadline, host))
        if failed:
            raise failed[0]
        if not found:
            raise FetchError(f"the name {host} was not resolved in time")
        return found[0]

    def _wrap(self, raw: socket.socket, host: str) -> ssl.SSLSocket:
        context = self._tls or ssl.create_default_context()
        return context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)

    def _read(self, response: http.client.HTTPResponse, url: str) -> RemoteAnswer:
        shown, limit = _shown(url), self._policy.max_bytes
        headers = {name.lower(): value for name, value in response.getheaders()}
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise FetchError(f"{shown} answers in a compressed form, which was not asked for")
        if response.length is not None and response.length > limit:
            raise FetchError(f"{shown} answers {response.length} bytes; the limit is {limit}")
        body = bytearray()
        while chunk := response.read(min(_CHUNK_BYTES, limit + 1 - len(body))):
            body += chunk
            if len(body) > limit:
                raise FetchError(f"{shown} answers more than {limit} bytes, which is the limit")
        if response.length:
            raise FetchError(f"{shown} broke off after {len(body)} bytes")
        return RemoteAnswer(response.status, headers, bytes(body), url)

    def _left(self, deadline: float, what: str) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise FetchError(f"{what} did not answer within {self._policy.timeout_s:g} s")
        return left


def _open_socket(address: str, port: int, timeout_s: float) -> socket.socket:
    return socket.create_connection((address, port), timeout=timeout_s)


def _shut(stream: socket.socket) -> None:
    """Wakes whoever waits for the stream; not `SSLSocket.shutdown`, which changes it under them."""
    with suppress(OSError):
        socket.socket.shutdown(stream, socket.SHUT_RDWR)


def _port_of(parts: SplitResult) -> int:
    return parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, _port_of(parts)


def _target(parts: SplitResult) -> str:
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _shown(url: str) -> str:
    """For messages: without query, which may say what was looked for, and without password."""
    plain = "".join(letter for letter in url[:200] if letter.isprintable())
    head = plain.partition("?")[0].partition("#")[0]
    scheme, slashes, rest = head.partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"
