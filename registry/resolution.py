"""Soft binding resolution: from a binding, or a picture, to the manifests that belong to it.

Two kinds of manifests are found: those of this registry's records, and those that other makers
stored here. A picture's match is a manifest *all* of whose soft bindings fit the picture; a
binding's match is only a lead, and whoever asks by binding holds the rest against the picture.

Source: C2PA Soft Binding Resolution API 2.4.0; C2PA 2.5 "Soft bindings".
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provenance.errors import InputError, NotAllowedError, RecordNotFoundError
from provenance.fingerprint.similarity import AGREE_MAX_BITS, SEARCH_MAX_BITS
from provenance.manifest.jumbf import active_manifest_store, split_store
from provenance.manifest.reading import read_manifest
from provenance.types import (
    Credential,
    Integrity,
    Scope,
    SoftBinding,
    parse_record_id,
)
from registry.events import find_revocation
from registry.receipts import build_receipt, check_receipt, digest_store, log_uri, receipt_size
from registry.soft_bindings import (
    agreement,
    canonical_binding,
    check_alg,
    hash_score,
    judge_bindings,
    parse_mark_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from provenance.interfaces import RecordStore
    from provenance.manifest.trust import TrustSettings
    from provenance.types import ApiKey, PerceptualHash, RegistryRecord
    from registry.content import ContentReader
    from registry.repository import ManifestRepository, StoredManifest
    from registry.soft_bindings import AlgNames, PictureBindings

__all__ = ["DEFAULT_MAX_RESULTS", "MAX_RESULTS", "Match", "ResolutionService", "StoreRights"]

DEFAULT_MAX_RESULTS = 10
MAX_RESULTS = 100
"""More are not looked for, whatever is asked: each costs a look at a manifest."""
MEDIA_TYPE = "application/c2pa"
MAX_ID_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class Match:
    """One manifest.

    Attributes:
        manifest_id: Label of its active manifest.
        score: 0..100, higher is more similar.
        created_at: Since when it is here.
    """

    manifest_id: str
    score: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoreRights:
    """Which API keys may store bindings under which algorithms.

    Attributes:
        owners: For a reverse domain, the ids of the keys that may; others may not.
    """

    owners: Mapping[str, frozenset[str]]

    def require(self, alg: str, key: ApiKey) -> None:
        """Makes sure that a key may store bindings of an algorithm.

        Raises:
            NotAllowedError: Somebody else owns it.
        """
        name = alg.lower()
        for domain, keys in self.owners.items():
            owned = name == domain or name.startswith(f"{domain}.")
            if owned and key.id not in keys and Scope.ADMIN not in key.scopes:
                raise NotAllowedError(
                    f"alg {alg} is reserved for its owner (resolution.alg_owners)"
                )


@dataclass(frozen=True, slots=True)
class ResolutionService:
    """Answers the resolution API; safe from any thread.

    Attributes:
        records: The registry.
        repository: Manifests of other makers.
        content: Reads pictures.
        trust: For reading what others store.
        rights: Of those who store.
        max_manifest_bytes: Longest manifest store that is taken.
    """

    records: RecordStore
    repository: ManifestRepository
    content: ContentReader
    trust: TrustSettings
    rights: StoreRights
    max_manifest_bytes: int

    @property
    def names(self) -> AlgNames:
        """The algorithms that are computed here."""
        return self.content.names

    # -- queries -------------------------------------------------------------------------------

    def by_binding(self, binding: SoftBinding, *, limit: int) -> Sequence[Match]:
        """Manifests with this soft binding; of one value all, oldest first.

        A fingerprint of ours also finds what is near it, nearest first.

        Raises:
            InputError: `binding.alg` is no name of an algorithm.
            RegistryUnavailableError: The database cannot be reached.
        """
        check_alg(binding.alg)
        count = min(limit, MAX_RESULTS)
        if binding.alg == self.names.fingerprint:
            return self._near(binding, count)
        found = [_match(one, 100) for one in self.repository.find_bound(binding, limit=count)]
        record = self._marked_record(binding)
        if record is not None:
            found.append(Match(record.manifest_label, 100, record.created_at))
        return _oldest_first(found)[:count]

    def by_content(
        self,
        data: bytes,
        *,
        limit: int,
        alg: str | None = None,
        hint: SoftBinding | None = None,
    ) -> Sequence[Match]:
        """Manifests all of whose soft bindings fit a picture.

        Those that its mark names come first, oldest first; then those that it looks like, best
        first.

        Args:
            data: The picture, as it came.
            limit: At most so many.
            alg: Look by this algorithm alone.
            hint: A binding that the asker found; it only says where to look.

        Raises:
            UnsupportedMediaTypeError: No image by its content.
            InputError: The picture cannot be read, or `alg` is not computed here.
            RegistryUnavailableError: The database cannot be reached.
        """
        known = (*self.names.watermarks, self.names.fingerprint)
        if alg is not None and check_alg(alg) not in known:
            raise InputError(f"alg {alg} is not computed here; see /services/supportedAlgorithms")
        picture = self.content.read(data, name="the picture")
        leads = [one for one in self._leads(picture) if alg in (None, one.alg)]
        if hint is not None:
            leads.append(hint)
        found: dict[str, Match] = {}
        by_mark: set[str] = set()
        for lead in leads:
            for match in self.by_binding(lead, limit=MAX_RESULTS):
                score = self._score(match.manifest_id, picture)
                if score is not None:
                    found.setdefault(
                        match.manifest_id, Match(match.manifest_id, score, match.created_at)
                    )
                    if lead.alg != self.names.fingerprint:
                        by_mark.add(match.manifest_id)
        named = _oldest_first(one for one in found.values() if one.manifest_id in by_mark)
        alike = [one for one in found.values() if one.manifest_id not in by_mark]
        alike.sort(key=lambda one: (-one.score, one.created_at))
        return [*named, *alike][: min(limit, MAX_RESULTS)]

    def _leads(self, picture: PictureBindings) -> list[SoftBinding]:
        """What to look for: the mark, and the hash of the picture as it lies, turned, mirrored."""
        leads = list(picture.as_bindings(self.names))
        if picture.searchable and self.names.fingerprint is not None:
            turned = picture.hashes[1:]
            leads += [SoftBinding(self.names.fingerprint, one.hex) for one in turned]
        return leads

    def _marked_record(self, binding: SoftBinding) -> RegistryRecord | None:
        """The record that a value of our own watermark names."""
        payload = parse_mark_value(binding.value)
        if binding.alg not in self.names.watermarks or payload is None:
            return None
        try:
            record = self.records.get(parse_record_id(payload))
        except (InputError, RecordNotFoundError):
            return None
        mark = record.watermark
        named = mark is not None and mark.carries_record_id
        same = mark is not None and binding.alg == f"{self.names.namespace}.{mark.alg}"
        return record if named and same else None

    def _near(self, binding: SoftBinding, limit: int) -> Sequence[Match]:
        query = self.names.parse_hash(binding.value)
        if query is None:
            raise InputError(
                f"the value is no fingerprint of {binding.alg} (64 hex digits, as text)"
            )

        number = int(query.hex, 16)

        def distance_to(value: str) -> int | None:
            try:
                distance = (number ^ int(value, 16)).bit_count()
            except ValueError:  # somebody else's idea of such a value
                return None
            near = len(value) == len(query.hex) and distance <= SEARCH_MAX_BITS
            return distance if near else None

        found = [
            _match(one, hash_score(distance))
            for one, distance in self.repository.find_near(binding.alg, distance_to, limit=limit)
        ]
        for near in self.records.nearest_hashes(
            query, max_distance_bits=SEARCH_MAX_BITS, limit=limit
        ):
            try:
                record = self.records.get(near.record_id)
            except RecordNotFoundError:  # erased since
                continue
            score = hash_score(near.distance_bits)
            found.append(Match(record.manifest_label, score, record.created_at))
        return sorted(found, key=lambda one: (-one.score, one.created_at))[:limit]

    def _score(self, manifest_id: str, picture: PictureBindings) -> int | None:
        """How well all soft bindings of a manifest fit; None when one does not."""
        record = self.records.find_by_manifest(manifest_id)
        if record is not None:
            report = read_manifest(record.manifest_store, MEDIA_TYPE, trust=self.trust)
            bindings: Iterable[SoftBinding] = map(self.names.normalise, report.soft_bindings)
            size = (record.asset.width_px, record.asset.height_px)
            return agreement(judge_bindings(tuple(bindings), picture, self.names, size=size))
        stored = self.repository.find(manifest_id)
        if stored is None:
            return None
        return agreement(judge_bindings(stored.bindings, picture, self.names))

    # -- manifests -----------------------------------------------------------------------------

    def read_store(self, manifest_id: str, *, active_only: bool = False) -> bytes:
        """The manifest store with this active manifest.

        A record that was revoked gives its credentials to nobody any more; one whose file was
        taken down does: a manifest shows no pixel.

        Raises:
            RecordNotFoundError: There is none here, or it was revoked; says when and why.
            InputError: The id is none.
        """
        check_manifest_id(manifest_id)
        record = self.records.find_by_manifest(manifest_id)
        revoked = None if record is None else find_revocation(self.records.notices(record))
        if revoked is not None:
            raise RecordNotFoundError(
                f"manifest {manifest_id} is not given out any more: {revoked.describe()}"
            )
        store = self._find_store(manifest_id, record)
        return active_manifest_store(store) if active_only else store

    def _find_store(self, manifest_id: str, record: RegistryRecord | None) -> bytes:
        store = self.repository.read_store(manifest_id) if record is None else record.manifest_store
        if store is None:
            raise RecordNotFoundError(f"there is no manifest {manifest_id} here")
        return store

    def add(self, store: bytes, key: ApiKey) -> str:
        """Stores another maker's manifest; answers its id.

        Harmless when it is here already, be it stored or a record's own.

        Raises:
            InputError: The bytes are no intact manifest store, or their id stands for other bytes.
            NotAllowedError: A soft binding in it is not the key's to store.
            RegistryUnavailableError: The database cannot be reached.
        """
        if len(store) > self.max_manifest_bytes:
            raise InputError(
                f"the manifest store has {len(store)} bytes; at most {self.max_manifest_bytes} are "
                "taken (resolution.max_manifest_bytes)"
            )
        manifest_id = check_manifest_id(split_store(store)[-1].label)
        record = self.records.find_by_manifest(manifest_id)
        if record is not None:
            if record.manifest_store != store:
                raise InputError(
                    f"{manifest_id} is a record's own manifest, and its bytes are others"
                )
            return manifest_id
        bindings = self._read_bindings(store, manifest_id)
        for binding in bindings:
            self._require_right(binding, store, key)
        self.repository.add(manifest_id, store, bindings, owner=key.id)
        return manifest_id

    def delete(self, manifest_id: str, key: ApiKey) -> None:
        """Forgets a stored manifest and its bindings.

        Raises:
            RecordNotFoundError: There is none.
            NotAllowedError: It is a record's, or another key stored it.
        """
        self._require_stored(manifest_id, key)
        self.repository.delete(manifest_id)

    def bind(
        self, manifest_id: str, value: str, *, alg: str | None, key: ApiKey, replace: bool
    ) -> None:
        """Adds a soft binding to a stored manifest.

        Args:
            manifest_id: Which.
            value: Canonical text.
            alg: Of the value. The API's schema forgot it; without it the manifest must leave no
                doubt, by having soft bindings of one algorithm.
            key: Who asks.
            replace: Instead of those of this algorithm that were added before.

        Raises:
            InputError: It is not clear which algorithm is meant.
            RecordNotFoundError: There is no such manifest.
            NotAllowedError: As for `delete`, or the algorithm is not the key's.
        """
        stored = self._require_stored(manifest_id, key)
        name = check_alg(alg) if alg else _only_alg(stored)
        binding = SoftBinding(name, value)
        self._require_right(binding, self.read_store(manifest_id), key)
        self.repository.bind(manifest_id, binding, replace=replace)

    def _read_bindings(self, store: bytes, manifest_id: str) -> tuple[SoftBinding, ...]:
        report = read_manifest(store, MEDIA_TYPE, trust=self.trust)
        # There is no picture beside it, so the hard binding fails by design; all else must hold.
        intact = report.integrity in (Integrity.CONTENT_CHANGED, Integrity.INTACT)
        if report.credential is not Credential.EMBEDDED or not intact:
            codes = f" ({', '.join(report.codes[:5])})" if report.codes else ""
            raise InputError(f"the manifest store is damaged or of an unknown kind{codes}")
        if report.manifest_label != manifest_id:
            raise InputError("the label of the manifest is not plain text")
        return tuple(canonical_binding(one) for one in report.soft_bindings)

    def _require_stored(self, manifest_id: str, key: ApiKey) -> StoredManifest:
        check_manifest_id(manifest_id)
        if self.records.find_by_manifest(manifest_id) is not None:
            raise NotAllowedError(
                f"{manifest_id} is a record's own manifest; it is not changed here"
            )
        stored = self.repository.find(manifest_id)
        if stored is None:
            raise RecordNotFoundError(f"there is no manifest {manifest_id} here")
        if stored.owner_key_id != key.id and Scope.ADMIN not in key.scopes:
            raise NotAllowedError(f"{manifest_id} was stored with another API key")
        return stored

    # -- whose binding it is -------------------------------------------------------------------

    def _require_right(self, binding: SoftBinding, store: bytes, key: ApiKey) -> None:
        """Nobody lays a manifest over our pictures: not by our mark, not by our fingerprint."""
        self.rights.require(binding.alg, key)
        if not self.names.is_ours(binding.alg):
            return
        if binding.alg == self.names.fingerprint:
            found = self.names.parse_hash(binding.value)
            if found is None:
                raise InputError(f"a value of {binding.alg} must be 64 hex digits")
            owners = self._look_alikes(found)
        else:
            record = self._marked_record(binding)
            if record is None:
                raise NotAllowedError(f"{binding.alg} is this service's own mark; no record has it")
            owners = [record]
        if owners and not any(_holds_manifest_of(store, one) for one in owners):
            raise NotAllowedError(
                f"the soft binding of {binding.alg} is that of a picture of this service, whose "
                "own manifest is not among those in the store"
            )

    def _look_alikes(self, found: PerceptualHash) -> list[RegistryRecord]:
        near = self.records.nearest_hashes(
            found, max_distance_bits=AGREE_MAX_BITS, limit=MAX_RESULTS
        )
        found_records = []
        for one in near:
            with suppress(RecordNotFoundError):  # erased since
                found_records.append(self.records.get(one.record_id))
        return found_records

    # -- receipts ------------------------------------------------------------------------------

    def receipt(self, manifest_id: str, repository_uri: str) -> dict[str, Any]:
        """That the manifest stands in the log.

        Raises:
            RecordNotFoundError: There is no such manifest.
        """
        check_manifest_id(manifest_id)
        leaf, first = self.repository.leaf_of(manifest_id), self.repository.first_leaf_hash()
        if leaf is None or first is None:
            raise RecordNotFoundError(f"there is no manifest {manifest_id} here")
        return build_receipt(
            manifest_id=manifest_id,
            repository_uri=repository_uri,
            anchor_uri=log_uri(first),
            leaf=leaf,
        )

    def verify_receipt(
        self, manifest_id: str, receipt: Mapping[str, Any], repository_uri: str
    ) -> dict[str, Any]:
        """The receipt, with ``verified`` and, where it fails, ``error``.

        Raises:
            RecordNotFoundError: There is no such manifest.
        """
        check_manifest_id(manifest_id)
        # Revoked or not: the log says that it was here.
        store = self._find_store(manifest_id, self.records.find_by_manifest(manifest_id))
        first, size = self.repository.first_leaf_hash(), receipt_size(receipt)
        problem = check_receipt(
            receipt,
            manifest_id=manifest_id,
            store_sha256=digest_store(store),
            repository_uri=repository_uri,
            anchor_uri=None if first is None else log_uri(first),
            root=None if size is None else self.repository.root_of(size),
        )
        verified = {**receipt, "verified": problem is None}
        return verified if problem is None else {**verified, "error": problem}


def check_manifest_id(text: str) -> str:
    """The id, if it can be one.

    Raises:
        InputError: It is empty, too long, or no plain printable text.
    """
    plain = text.isascii() and text.isprintable() and not any(one in text for one in " /?#%\\")
    if not text or len(text) > MAX_ID_CHARACTERS or not plain:
        raise InputError("the id of a manifest is its label, like urn:c2pa:... in plain letters")
    return text


def _only_alg(stored: StoredManifest) -> str:
    names = {binding.alg for binding in stored.bindings}
    if len(names) == 1:
        return names.pop()
    raise InputError(
        f"{stored.manifest_id} has soft bindings of {len(names)} algorithms, so it is not clear of "
        "which the value is; send alg beside bindingValue"
    )


def _holds_manifest_of(store: bytes, record: RegistryRecord) -> bool:
    """Whether the record's own manifest is part of a store, byte for byte."""
    active = split_store(record.manifest_store)[-1]
    return any(one.data == active.data for one in split_store(store))


def _match(stored: StoredManifest, score: int) -> Match:
    return Match(stored.manifest_id, score, stored.created_at)


def _oldest_first(matches: Iterable[Match]) -> list[Match]:
    return sorted(matches, key=lambda one: one.created_at)
