"""Which client address a request came from."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

from provenance.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv4Network, IPv6Network

    Network: TypeAlias = IPv4Network | IPv6Network

__all__ = ["Proxies", "bucket_name", "is_loopback"]

IPV6_PREFIX = 64
"""One customer gets at least a /64, and may use any of its 2**64 addresses."""

MAX_HOPS = 16
"""Entries of X-Forwarded-For that are looked at; nobody chains that many proxies of their own."""


class Proxies:
    """The proxies whose word on their clients counts.

    Raises:
        ConfigError: One is no address and no network.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = tuple(_parse_network(text) for text in trusted)

    def client_of(self, peer: str, forwarded_for: str | None) -> str:
        """The address that asked: the last one in the chain that is no proxy of ours.

        Whatever stands left of it, a client may have written itself.
        """
        client = peer
        hops = forwarded_for.split(",")[-MAX_HOPS:] if forwarded_for else []
        while hops and self._trusts(client):
            said = hops.pop().strip()
            if _parse(said) is None:
                break
            client = said
        return client

    def _trusts(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def bucket_name(address: str) -> str:
    """What shares one bucket: an IPv4 address, or an IPv6 network of one customer."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return address if parsed is None else str(parsed)


def is_loopback(address: str) -> bool:
    """Whether the peer is this machine itself."""
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _parse_network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigError(
            f"serve.trusted_proxies: {text[:80]!r} is no address and no network; "
            "write it like 10.0.0.5 or 10.0.0.0/8"
        ) from error
