"""Reads a trust list as it is published: a PEM bundle, or the C2PA's JSON form. No IO.

Source: C2PA conformance programme, ``schemas/trust-list``: ETSI TS 119 602 "list of trusted
entities" (LoTE), with the service states *trusted* and *untrusted*.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from provenance.errors import ConfigError
from provenance.manifest.certificates import parse_certificates
from provenance.manifest.hostile import items_of, mapping_of, text_of, values_of
from provenance.manifest.trust import AnchorKind

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PublishedList", "read_published_list"]

MAX_LIST_BYTES = 16 * 2**20
"""The lists of 2026 have 67 kB; a thousand certificates a kilobyte long have one megabyte."""
_MAX_ENTITIES = 10_000
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_TRUSTED_STATUS = "/trust-list/trusted"


@dataclass(frozen=True, slots=True)
class PublishedList:
    """What a file of a trust list says.

    Attributes:
        certificates: DER, without doubles; at least one.
        kind: What they vouch for; None where the file does not say.
        dated: Day of issue; None in a PEM bundle, which has none.
        next_update: Day by which the next edition is due.
        title: Name that the list gives itself.
    """

    certificates: tuple[bytes, ...] = field(repr=False)
    kind: AnchorKind | None = None
    dated: date | None = None
    next_update: date | None = None
    title: str | None = None


def read_published_list(data: bytes, *, name: str) -> PublishedList:
    """What the file says, every certificate of it parsed.

    Args:
        data: The file.
        name: What to call it in errors.

    Raises:
        ConfigError: Neither form, too long, or with a certificate that is none; names the place.
    """
    if len(data) > MAX_LIST_BYTES:
        raise ConfigError(
            f"{name} has {len(data)} bytes, but a trust list at most {MAX_LIST_BYTES}; give the "
            "published file"
        )
    if data.lstrip()[:1] == b"{":
        return _read_json(data, name)
    found = parse_certificates(data, name=name)
    _require_whole(data, len(found), name)
    return PublishedList(_ders(found))


def _require_whole(data: bytes, found: int, name: str) -> None:
    """A bundle that was cut short would silently take what is missing off the list."""
    begun = data.count(_BEGIN)
    if begun != found:
        raise ConfigError(
            f"{name}: {begun} certificates begin, but {found} can be read; was the file cut short? "
            "Give the published file"
        )


def _ders(certificates: list[x509.Certificate]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(one.public_bytes(Encoding.DER) for one in certificates))


def _read_json(data: bytes, name: str) -> PublishedList:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is no JSON ({error}); give the published file") from error
    lote = mapping_of(mapping_of(document).get("LoTE"))
    if not lote:
        raise ConfigError(f"{name} holds no LoTE object; give the list as C2PA publishes it")
    scheme = mapping_of(lote.get("ListAndSchemeInformation"))
    title = _title(scheme)
    pem = b"".join(_pem_of(value, f"{name}: {where}") for where, value in _values(lote))
    if not pem:
        raise ConfigError(f"{name} names no trusted certificate; give the published file")
    return PublishedList(
        _ders(parse_certificates(pem, name=name)),
        kind=_kind_of(title),
        dated=_day(scheme, "ListIssueDateTime", name),
        next_update=_day(scheme, "NextUpdate", name),
        title=title,
    )


def _title(scheme: Any) -> str | None:
    for one in values_of(scheme.get("SchemeName"), limit=_MAX_ENTITIES):
        return text_of(one.get("value"))
    return None


def _kind_of(title: str | None) -> AnchorKind | None:
    if title is None:
        return None
    return AnchorKind.TSA if "TSA" in title.upper().split() else AnchorKind.MANIFEST


def _day(scheme: Any, key: str, name: str) -> date | None:
    value = scheme.get(key)
    if value is None:
        return None
    try:
        return datetime.fromisoformat(str(value)).date()
    except ValueError as error:
        raise ConfigError(
            f"{name}: {key} {str(value)[:40]!r} is no date; give the published file"
        ) from error


def _values(lote: Any) -> Iterator[tuple[str, Any]]:
    """Each trusted certificate with the place where it stands."""
    entities = items_of(lote.get("TrustedEntitiesList"))[:_MAX_ENTITIES]
    for number, entity in enumerate(entities, start=1):
        services = mapping_of(entity).get("TrustedEntityServices")
        for service in values_of(services, limit=_MAX_ENTITIES):
            information = mapping_of(service.get("ServiceInformation"))
            status = information.get("ServiceStatus")
            if status is not None and not str(status).endswith(_TRUSTED_STATUS):
                continue  # a certificate that was taken off stays in the list, as untrusted
            identity = mapping_of(information.get("ServiceDigitalIdentity"))
            for one in values_of(identity.get("X509Certificates"), limit=_MAX_ENTITIES):
                yield f"entity {number}", one.get("val")


def _pem_of(value: Any, where: str) -> bytes:
    try:
        der = base64.b64decode(str(value), validate=True)
        return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(
            f"{where} holds something that is no certificate; give the published file"
        ) from error
