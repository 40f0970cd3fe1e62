"""Reads stored files and holds each against its record, for `registry.audit`'s rules.

Files and rows do not change in one transaction, and a registry goes on working while it is looked
at: between a commit and its file, or an erasure and its file, lies a moment in which the two
disagree. So what disagrees is looked at again, anew, before it is called a problem.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from provenance.errors import InputError, ProvenanceError
from provenance.fingerprint.similarity import can_search
from provenance.imaging import decode_image, hash_pixels
from provenance.manifest.heal import read_store_bytes
from provenance.types import EventKind, EventTarget
from registry.audit import (
    Code,
    FileState,
    Problem,
    StoredPicture,
    judge_file,
    judge_index,
    judge_picture,
)
from registry.engine import reading
from registry.log import read_asset_digest
from registry.serialise import row_to_record
from registry.tables import LogLeafRow, RecordRow, RegistryEventRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Engine

    from provenance.imaging import ImageLimits
    from provenance.interfaces import Hasher, RecordStore
    from provenance.types import ManifestReport, MediaType, RegistryRecord
    from provenance.watermark.marking import MarkReader
    from registry.assets import ManagedAssets

__all__ = ["FileAuditor", "audit_files"]

BATCH_ROWS = 256
SETTLE_S = 1.0
"""Between two looks; a file follows its record, or the other way round, within milliseconds."""
INDEX_LIMIT = 16
"""Records of one hash that a search answers; where there are more, ours may be beyond them."""


def audit_files(
    engine: Engine,
    auditor: FileAuditor,
    *,
    sample: int | None,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[int, list[Problem]]:
    """Examines files and their records while others may write.

    Args:
        engine: Of a registry at the newest migration.
        auditor: Examines.
        sample: So many records at random; None: all.
        pause: Waits that many seconds.

    Returns:
        How many records were examined, and what disagrees.

    Raises:
        RegistryUnavailableError: The database cannot be reached.
        DeliveryError: The asset store cannot be read.
    """
    examined, suspects = 0, list[str]()
    for record, expected in _choose_records(engine, sample=sample):
        examined += 1
        if any(True for _ in auditor.examine(record, expected=expected)):
            suspects.append(record.record_id)
    orphans = [] if auditor.assets is None else list(_orphans(engine, auditor.assets.digests()))
    if suspects or orphans:
        pause(SETTLE_S)
    problems = list[Problem]()
    for record_id in suspects:  # each is read just before it is looked at
        for record, expected in _read_records(engine, [record_id]):
            problems += auditor.examine(record, expected=expected)
    if auditor.assets is not None:
        still = (one for one in orphans if auditor.assets.contains(one))
        problems += _describe_orphans(engine, still)
    return examined, problems


@dataclass(frozen=True, slots=True)
class FileAuditor:
    """Reads one record's file with the tools that wrote it.

    Attributes:
        store: For searching the index.
        assets: The stored files; None where they are not kept.
        read_manifest: Reads and validates the manifest of a file.
        reader_for: The reader of a codec's marks under our keys; None when it is not installed.
        key_ids: Of our watermark keys.
        hasher: The perceptual hasher.
        limits: On what is decoded.
    """

    store: RecordStore
    assets: ManagedAssets | None
    read_manifest: Callable[[bytes, MediaType], ManifestReport]
    reader_for: Callable[[str], MarkReader | None]
    key_ids: frozenset[str]
    hasher: Hasher
    limits: ImageLimits

    def examine(self, record: RegistryRecord, *, expected: bool) -> Iterator[Problem]:
        """Everything about one record but its row.

        Args:
            record: The record.
            expected: Whether its file must be there: no event says that it was deleted.
        """
        recorded = record.fingerprints.perceptual_hash
        if recorded is not None and can_search(recorded):
            near = self.store.nearest_hashes(recorded, max_distance_bits=0, limit=INDEX_LIMIT)
            if len(near) < INDEX_LIMIT:
                yield from judge_index(record, near)
        if self.assets is None:
            return
        data = self.assets.get(record.asset.sha256)
        if data is not None:
            state = FileState.KEPT
        elif self.assets.contains(record.asset.sha256):
            state = FileState.CHANGED
        else:
            state = FileState.MISSING
        yield from judge_file(record, state, expected=expected)
        if data is not None:
            yield from self._examine_picture(record, data)

    def _examine_picture(self, record: RegistryRecord, data: bytes) -> Iterator[Problem]:
        media_type = record.asset.media_type
        try:
            raster = decode_image(data, name=record.record_id, limits=self.limits)
            store_bytes = read_store_bytes(data, media_type)
            reader = None if record.watermark is None else self.reader_for(record.watermark.codec)
            picture = StoredPicture(
                pixel_sha256=hash_pixels(raster),
                manifest_store=store_bytes,
                manifest=self.read_manifest(data, media_type),
                mark=None if reader is None else reader.read(raster),
                mark_keys=self.key_ids,
                perceptual_hash=self.hasher.hash(raster),
            )
        except InputError as error:
            yield Problem(
                Code.FILE_UNREADABLE,
                f"the stored file of record {record.record_id} cannot be read: {error}",
                "raise the limits if it is over one; else restore the file from a backup",
            )
            return
        yield from judge_picture(record, picture)


def _choose_records(engine: Engine, *, sample: int | None) -> Iterator[tuple[RegistryRecord, bool]]:
    """Records to examine, each with whether its file must be there.

    Records that cannot be read are left out: `registry.check` names them.

    Args:
        engine: Of a registry at the newest migration.
        sample: So many at random; None: all, in log order.
    """
    with reading(engine) as session:
        wanted = select(RecordRow.record_id)
        wanted = (
            wanted.order_by(RecordRow.log_index)
            if sample is None
            else wanted.order_by(func.random()).limit(sample)
        )
        ids = iter(session.scalars(wanted).all())
    while batch := list(islice(ids, BATCH_ROWS)):
        yield from _read_records(engine, batch)


def _read_records(engine: Engine, ids: Sequence[str]) -> Iterator[tuple[RegistryRecord, bool]]:
    """Those that stand, each with whether its file must be there."""
    deleted = select(RegistryEventRow.target).where(
        RegistryEventRow.kind == EventKind.DELETION.value,
        RegistryEventRow.target_kind == EventTarget.RECORD.value,
        RegistryEventRow.target.in_(ids),
    )
    with reading(engine) as session:
        rows = session.scalars(select(RecordRow).where(RecordRow.record_id.in_(ids))).all()
        gone = set(session.scalars(deleted))
        records = [record for row in rows if (record := _record_of(row)) is not None]
    yield from ((record, record.record_id not in gone) for record in records)


def _record_of(row: RecordRow) -> RegistryRecord | None:
    try:
        return row_to_record(row)
    except (ProvenanceError, ValueError, TypeError, KeyError):
        return None


def _describe_orphans(engine: Engine, digests: Iterable[str]) -> Iterator[Problem]:
    """Stored files that no record names."""
    erased: Mapping[str, str] | None = None
    for digest in _orphans(engine, digests):
        erased = _erased_files(engine) if erased is None else erased
        yield _orphan(digest, erased)


def _orphans(engine: Engine, digests: Iterable[str]) -> Iterator[str]:
    """Those that no record names."""
    remaining = iter(digests)
    while batch := list(islice(remaining, BATCH_ROWS)):
        with reading(engine) as session:
            known = set(
                session.scalars(select(RecordRow.sha256).where(RecordRow.sha256.in_(batch)))
            )
        yield from sorted(set(batch) - known)


def _erased_files(engine: Engine) -> Mapping[str, str]:
    """Record ids of erased records by the digest of their file."""
    statement = (
        select(RegistryEventRow.target, LogLeafRow.data)
        .join(LogLeafRow, LogLeafRow.index == RegistryEventRow.entry_index)
        .where(RegistryEventRow.kind == EventKind.ERASURE.value)
    )
    with reading(engine) as session:
        rows = session.execute(statement).all()
    return {
        digest: record_id
        for record_id, data in rows
        if (digest := read_asset_digest(data)) is not None
    }


def _orphan(digest: str, erased: Mapping[str, str]) -> Problem:
    if digest in erased:
        return Problem(
            Code.FILE_ORPHAN,
            f"the stored file {digest} is that of record {erased[digest]}, which was erased",
            f"run: countermark registry erase {erased[digest]}",
        )
    return Problem(
        Code.FILE_ORPHAN,
        f"no record names the stored file {digest}",
        "if the record was lost, restore the database from a backup; else delete the file, and "
        "find out who can write to the asset store",
    )
