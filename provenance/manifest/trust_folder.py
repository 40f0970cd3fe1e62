"""Trust lists that the operator installed: newer editions of the shipped ones, and own anchors.

They lie in ``trust/`` of the home folder: an index, and one PEM file a list, named by its digest.
The index is replaced whole, after the file that it names is there: whoever reads meanwhile sees the
old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from provenance.errors import ConfigError, DeliveryError
from provenance.files import locked_folder, write_file_atomic
from provenance.manifest.certificates import to_pem
from provenance.manifest.hostile import mapping_of, values_of
from provenance.manifest.trust import AnchorKind, AnchorList, parse_anchors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


__all__ = ["InstalledList", "ListRole", "TrustFolder", "newest"]

_VERSION = 1
_MAX_LISTS = 1000


class ListRole(StrEnum):
    """What an installed list is for.

    UPDATE: replaces the shipped list of its kind, and any earlier update. OWN: counts beside it.
    """

    UPDATE = "update"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class InstalledList:
    """A list in the folder.

    Attributes:
        role: What it is for.
        anchors: The list itself.
    """

    role: ListRole
    anchors: AnchorList


@dataclass(frozen=True, slots=True)
class TrustFolder:
    """The installed lists of one home folder; `folder` need not exist."""

    folder: Path

    def load(self) -> tuple[InstalledList, ...]:
        """All installed lists, oldest installation first.

        Raises:
            ConfigError: The index or a list is missing, unreadable or altered; names it.
        """
        return tuple(self._load_one(entry) for entry in self._entries())

    def install_update(self, anchors: AnchorList) -> None:
        """Puts a newer edition in the place of the shipped list of its kind.

        Args:
            anchors: The list, with the name of the one that it replaces.

        Raises:
            ConfigError: The index is damaged.
            DeliveryError: The folder cannot be written; nothing was changed.
        """
        self._install(ListRole.UPDATE, anchors)

    def add_own(self, anchors: AnchorList) -> None:
        """Adds anchors of the operator's; a list of the same name and kind is replaced.

        Raises:
            ConfigError: As `install_update`.
            DeliveryError: As `install_update`.
        """
        self._install(ListRole.OWN, anchors)

    def _install(self, role: ListRole, anchors: AnchorList) -> None:
        pem = to_pem(anchors.certificates)
        digest = hashlib.sha256(pem).hexdigest()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeliveryError(
                f"{self.folder} cannot be made ({error.strerror}); check its mode"
            ) from error
        with locked_folder(self.folder):
            kept = [one for one in self._entries() if not _is_replaced(one, role, anchors)]
            write_file_atomic(self.folder / f"{digest}.pem", pem)
            self._write_index([*kept, _describe(role, anchors, digest)])

    def _write_index(self, entries: Sequence[dict[str, Any]]) -> None:
        document = {"version": _VERSION, "lists": list(entries)}
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        write_file_atomic(self._index, text.encode("utf-8"))
        named = {f"{one['sha256']}.pem" for one in entries}
        for file in self.folder.glob("*.pem"):
            if file.name not in named:
                file.unlink(missing_ok=True)

    @property
    def _index(self) -> Path:
        return self.folder / "index.json"

    def _entries(self) -> list[dict[str, Any]]:
        try:
            document = json.loads(self._index.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"{self._index} is unreadable; remove {self.folder} and install the lists again"
            ) from error
        whole = mapping_of(document)
        if whole.get("version") != _VERSION:
            raise ConfigError(
                f"{self._index} is of another version; remove {self.folder} and install the lists "
                "again"
            )
        return [dict(one) for one in values_of(whole.get("lists"), limit=_MAX_LISTS)]

    def _load_one(self, entry: dict[str, Any]) -> InstalledList:
        file = self.folder / f"{str(entry.get('sha256'))[:64]}.pem"
        try:
            pem = file.read_bytes()
            if hashlib.sha256(pem).hexdigest() != entry["sha256"]:
                raise ConfigError(
                    f"{file} was altered; remove {self.folder} and install the lists again"
                )
            name, kind = str(entry["name"]), AnchorKind(entry["kind"])
            anchors = parse_anchors(
                pem,
                name=name,
                kind=kind,
                dated=_day(entry.get("date")),
                next_update=_day(entry.get("next_update")),
                source=str(entry.get("source", "")),
            )
            return InstalledList(ListRole(entry["role"]), anchors)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{self._index} does not fit its folder; remove {self.folder} and install the "
                "lists again"
            ) from error


def newest(shipped: Sequence[AnchorList], installed: Sequence[InstalledList]) -> list[AnchorList]:
    """The lists in force: of each kind the newest edition, then the operator's own.

    An upgrade of Countermark may bring a newer edition than the one that was installed before.
    """
    updates = {one.anchors.kind: one.anchors for one in installed if one.role is ListRole.UPDATE}
    in_force = []
    for one in shipped:
        update = updates.get(one.kind)
        is_newer = update is not None and _age(update) >= _age(one)
        in_force.append(update if update is not None and is_newer else one)
    return in_force + [one.anchors for one in installed if one.role is ListRole.OWN]


def _age(anchors: AnchorList) -> date:
    return anchors.dated or date.min


def _is_replaced(entry: dict[str, Any], role: ListRole, anchors: AnchorList) -> bool:
    same = entry.get("role") == role.value and entry.get("kind") == anchors.kind.value
    return same and (role is ListRole.UPDATE or entry.get("name") == anchors.name)


def _describe(role: ListRole, anchors: AnchorList, digest: str) -> dict[str, Any]:
    return {
        "role": role.value,
        "name": anchors.name,
        "kind": anchors.kind.value,
        "sha256": digest,
        "date": _iso(anchors.dated),
        "next_update": _iso(anchors.next_update),
        "source": anchors.source,
    }


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _day(value: Any) -> date | None:
    return None if value is None else date.fromisoformat(str(value))
