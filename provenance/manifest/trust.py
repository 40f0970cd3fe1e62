"""Whom we believe: dated lists of trust anchors, and the operator's own.

Nothing is fetched. The shipped lists are snapshots with their digest and date beside them; an
update of Countermark brings newer ones, or the operator installs them (`trust_folder`) or names PEM
files.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from provenance.errors import ConfigError
from provenance.manifest.certificates import parse_certificates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable
    from pathlib import Path

__all__ = [
    "ACCEPTED_EKUS",
    "AnchorKind",
    "AnchorList",
    "TrustSettings",
    "default_trust",
    "load_anchors",
    "no_trust",
    "parse_anchors",
    "with_anchors",
]

ACCEPTED_EKUS = (
    "1.3.6.1.5.5.7.3.4",
    "1.3.6.1.5.5.7.3.36",
    "1.3.6.1.4.1.311.76.59.1.9",
    "1.3.6.1.4.1.62558.2.1",
)
"""Extended key usages that a leaf may sign with: emailProtection, documentSigning, Microsoft's
earlier C2PA usage, C2PA claim signing. The engine alone would accept only the first.

Source: C2PA 2.5 "Trust Lists"; C2PA conformance programme."""


class AnchorKind(StrEnum):
    """What the anchors of a list may vouch for."""

    MANIFEST = "manifest"
    TSA = "tsa"


@dataclass(frozen=True, slots=True)
class AnchorList:
    """Certificates that vouch for signers, or for time-stamp authorities.

    Attributes:
        name: Shown in reports as the reason for trust.
        kind: For which of the two.
        certificates: DER, without doubles.
        dated: Day of the snapshot; None for the operator's own files.
        next_update: Day by which a newer edition is due, where the list says so.
        source: Where it came from, for people.
    """

    name: str
    kind: AnchorKind
    certificates: tuple[bytes, ...] = field(repr=False)
    dated: date | None = None
    next_update: date | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """All anchor lists in force; hashable, so that readers can be kept per trust."""

    lists: tuple[AnchorList, ...] = ()

    @property
    def list_dates(self) -> Mapping[str, str]:
        """ISO date of each dated list by name, for verdicts."""
        return MappingProxyType(
            {one.name: one.dated.isoformat() for one in self.lists if one.dated is not None}
        )

    def names_of(self, certificate: bytes, kind: AnchorKind) -> tuple[str, ...]:
        """Names of the lists of `kind` that hold a certificate (DER)."""
        return tuple(
            one.name for one in self.lists if one.kind is kind and certificate in one.certificates
        )


def no_trust() -> TrustSettings:
    """No anchors: every signer is unlisted."""
    return TrustSettings()


@cache
def default_trust() -> TrustSettings:
    """The lists that ship with Countermark.

    Raises:
        ConfigError: A shipped list was altered: its digest differs from the one beside it.
    """
    folder = _list_folder()
    lists = []
    for entry in _index():
        pem = folder.joinpath(entry["file"]).read_bytes()
        if hashlib.sha256(pem).hexdigest() != entry["sha256"]:
            raise ConfigError(
                f"the shipped trust list {entry['file']} differs from its recorded digest; "
                "install Countermark again"
            )
        lists.append(
            parse_anchors(
                pem,
                name=entry["name"],
                kind=AnchorKind(entry["kind"]),
                dated=date.fromisoformat(entry["date"]),
                next_update=date.fromisoformat(entry["next_update"]),
                source=f"shipped: {entry['source']} at {entry['commit']}",
            )
        )
    return TrustSettings(tuple(lists))


def _list_folder() -> Traversable:
    return files("provenance.manifest").joinpath("trust_lists")


def _index() -> list[dict[str, str]]:
    text = _list_folder().joinpath("lists.json").read_text(encoding="utf-8")
    lists: list[dict[str, str]] = json.loads(text)["lists"]
    return lists


def parse_anchors(
    pem: bytes,
    *,
    name: str,
    kind: AnchorKind,
    dated: date | None = None,
    next_update: date | None = None,
    source: str = "",
) -> AnchorList:
    """Reads a PEM bundle.

    Raises:
        ConfigError: It holds no certificate, or something that is not one.
    """
    # The engine takes garbage in silence and then trusts nobody, so it never sees any.
    certificates = parse_certificates(pem, name=f"trust anchors {name}")
    der = dict.fromkeys(c.public_bytes(Encoding.DER) for c in certificates)
    return AnchorList(name, kind, tuple(der), dated, next_update, source)


def load_anchors(path: Path, kind: AnchorKind) -> AnchorList:
    """Reads the operator's PEM file; the list is called by the file's name.

    Raises:
        ConfigError: Missing, unreadable, or no certificates; names the file.
    """
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"trust anchors {path} cannot be read ({error.strerror}); check the path"
        ) from error
    anchors = parse_anchors(pem, name=str(path), kind=kind, source=f"file {path}")
    return replace(anchors, name=path.name)


def with_anchors(trust: TrustSettings, added: Iterable[AnchorList]) -> TrustSettings:
    """`trust` with further lists; lists of one name live side by side."""
    return TrustSettings(trust.lists + tuple(added))
