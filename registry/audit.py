"""What an audit finds, what each finding means, and what to do about it. Pure.

Each rule compares two things that must agree, and answers a `Problem` for each disagreement. What
is compared was read elsewhere: rows and log by `registry.check`, files by `registry.audit_files`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from provenance.fingerprint.similarity import AGREE_MAX_BITS, hamming_distance
from provenance.types import Credential, Finding, Integrity, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provenance.types import (
        HashNeighbour,
        ManifestReport,
        PerceptualHash,
        RegistryRecord,
        WatermarkEvidence,
    )

__all__ = [
    "RESTORE",
    "Code",
    "FileState",
    "Problem",
    "StoredPicture",
    "judge_file",
    "judge_index",
    "judge_picture",
]

RESTORE = "restore the registry from a backup, and find out who can write to its database"
RESTORE_FILE = "restore the file from a backup, and find out who can write to the asset store"


class Code(StrEnum):
    """Stable names of findings, for monitors."""

    LEAF_CHANGED = "leaf_changed"
    LEAF_MISSING = "leaf_missing"
    TREE_CHANGED = "tree_changed"
    HEAD_DISAGREES = "head_disagrees"
    HEAD_FORGED = "head_forged"
    ROW_CHANGED = "row_changed"
    ROW_MISSING = "row_missing"
    RESERVATION_CHANGED = "reservation_changed"
    ERASED_STANDS = "erased_stands"
    FILE_MISSING = "file_missing"
    FILE_CHANGED = "file_changed"
    FILE_ORPHAN = "file_orphan"
    FILE_UNREADABLE = "file_unreadable"
    MANIFEST_DISAGREES = "manifest_disagrees"
    WATERMARK_DISAGREES = "watermark_disagrees"
    FINGERPRINT_DISAGREES = "fingerprint_disagrees"
    INDEX_DISAGREES = "index_disagrees"
    LEFTOVER = "leftover"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not belong together.

    Attributes:
        code: What kind of disagreement.
        what: Names the row, leaf or file, and says what is wrong with it.
        remedy: What to do.
    """

    code: Code
    what: str
    remedy: str = RESTORE


# -- files -----------------------------------------------------------------------------------------


class FileState(StrEnum):
    """What the asset store answers for a record's digest."""

    KEPT = "kept"
    MISSING = "missing"
    CHANGED = "changed"


def judge_file(record: RegistryRecord, state: FileState, *, expected: bool) -> Iterator[Problem]:
    """The record's file, by its digest.

    Args:
        record: The record.
        state: What the store answers.
        expected: Whether the file must be there: no event says that it was deleted.
    """
    name = f"the file of record {record.record_id} ({record.asset.sha256})"
    if state is FileState.CHANGED:
        yield Problem(
            Code.FILE_CHANGED,
            f"{name} no longer has its digest; it is not delivered",
            RESTORE_FILE,
        )
    elif state is FileState.KEPT and not expected:
        yield Problem(
            Code.FILE_ORPHAN,
            f"{name} was deleted, as an event says, but is there again",
            f"run: countermark registry take-down {record.record_id} --delete --reason ...",
        )
    elif state is FileState.MISSING and expected:
        yield Problem(
            Code.FILE_MISSING,
            f"{name} is not in the asset store, and no event says that it was deleted",
            f"{RESTORE_FILE}; or, where it is gone for good, run: countermark registry take-down "
            f"{record.record_id} --delete --reason ...",
        )


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """What was read from a record's stored file.

    Attributes:
        pixel_sha256: Of its decoded pixels.
        manifest_store: Its embedded manifest store; None when it carries none.
        manifest: What reading and validating that store says.
        mark: What reading the watermark says; None when no reader of the record's codec is here.
        mark_keys: Ids of the watermark keys that it was read with.
        perceptual_hash: Of its pixels; None when it has none, or no hasher is here.
    """

    pixel_sha256: str
    manifest_store: bytes | None
    manifest: ManifestReport
    mark: WatermarkEvidence | None
    mark_keys: frozenset[str]
    perceptual_hash: PerceptualHash | None


def judge_picture(record: RegistryRecord, picture: StoredPicture) -> Iterator[Problem]:
    """The four marks of a stored picture against its record."""
    yield from _judge_pixels(record, picture)
    yield from _judge_manifest(record, picture)
    yield from _judge_mark(record, picture)


def _judge_pixels(record: RegistryRecord, picture: StoredPicture) -> Iterator[Problem]:
    name = f"record {record.record_id}"
    if picture.pixel_sha256 != record.asset.pixel_sha256:
        yield Problem(
            Code.FINGERPRINT_DISAGREES, f"{name} has another pixel digest than its stored file"
        )
    recorded, found = record.fingerprints.perceptual_hash, picture.perceptual_hash
    if recorded is None or found is None or recorded.algorithm != found.algorithm:
        return
    distance = hamming_distance(recorded, found)
    if distance > AGREE_MAX_BITS:
        yield Problem(
            Code.FINGERPRINT_DISAGREES,
            f"the perceptual hash of {name} is not that of its stored file "
            f"({distance} of 256 bits differ)",
        )


def _judge_manifest(record: RegistryRecord, picture: StoredPicture) -> Iterator[Problem]:
    name, report = f"record {record.record_id}", picture.manifest
    if picture.manifest_store != record.manifest_store:
        yield Problem(
            Code.MANIFEST_DISAGREES, f"{name} keeps another manifest store than its stored file"
        )
    if report.credential in (Credential.NONE, Credential.MALFORMED):
        yield Problem(
            Code.MANIFEST_DISAGREES,
            f"the stored file of {name} carries no readable manifest ({report.credential})",
            RESTORE_FILE,
        )
    elif report.integrity is not Integrity.INTACT:
        yield Problem(
            Code.MANIFEST_DISAGREES,
            f"the manifest of the stored file of {name} is {report.integrity} "
            f"({', '.join(report.codes) or 'no code'})",
            "look at it with: countermark verify FILE; then restore file or record from a backup",
        )
    elif report.manifest_label != record.manifest_label:
        yield Problem(
            Code.MANIFEST_DISAGREES,
            f"the active manifest of the stored file of {name} is {report.manifest_label}, not "
            f"{record.manifest_label}",
        )


def _judge_mark(record: RegistryRecord, picture: StoredPicture) -> Iterator[Problem]:
    mark, found = record.watermark, picture.mark
    if mark is None or found is None or record.kind is RecordKind.ATTESTED:
        return
    name = f"the stored file of record {record.record_id}"
    if mark.key_id not in picture.mark_keys:
        yield Problem(
            Code.WATERMARK_DISAGREES,
            f"{name} is marked under key {mark.key_id}, which is not in the key file",
            "put the key's line back into the watermark key file: without it no copy of the "
            "picture is recognised by its mark",
        )
    elif found.finding is not Finding.PRESENT:
        yield Problem(
            Code.WATERMARK_DISAGREES, f"the watermark of {name} cannot be read", RESTORE_FILE
        )
    elif mark.carries_record_id and found.record_id != record.record_id:
        yield Problem(
            Code.WATERMARK_DISAGREES,
            f"the watermark of {name} names record {found.record_id}",
        )


# -- index -----------------------------------------------------------------------------------------


def judge_index(record: RegistryRecord, neighbours: Sequence[HashNeighbour]) -> Iterator[Problem]:
    """A search for a record's own hash: it must come back, at distance 0.

    Args:
        record: A record whose hash can be searched for.
        neighbours: What the index answers within 0 bits, in any number.
    """
    if all(near.record_id != record.record_id for near in neighbours):
        yield Problem(
            Code.INDEX_DISAGREES,
            f"a search for the perceptual hash of record {record.record_id} does not find it",
            "run: countermark registry index --rebuild",
        )
