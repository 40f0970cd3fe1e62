"""A registry as files: one JSON line an entry, in log order, and the delivered files beside it.

What is read in is held against its leaf, entry by entry, and each file against its digest. To an
entry that the target's log has already only rows are added that it lacks (`transfer_known`): so an
import that was broken off is simply run again, two may run at once, and a later export of the same
registry adds what is new. Into an empty registry the log comes back leaf by leaf, with the same
root.

Not in an export: API keys, jobs, secret keys.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from provenance.errors import DeliveryError, InputError, ProvenanceError
from provenance.types import EncodedImage, EventKind, EventTarget, MediaType
from registry.assets import LocalAssetStore
from registry.engine import reading, snapshot, writing
from registry.events import delete_whole, tables_of
from registry.index.cache_file import forget_file
from registry.index.generations import count_up
from registry.log import (
    LeafKind,
    commit_leaf,
    event_leaf,
    manifest_leaf,
    read_asset_digest,
    refusal_leaf,
)
from registry.log_rows import append_leaf, lock_log, log_size, read_head, read_root
from registry.merkle import hash_leaf
from registry.serialise import row_to_event, row_to_record, row_to_refusal
from registry.tables import (
    HEAD_REVISION,
    Base,
    KeptInputsRow,
    LogLeafRow,
    RecordRow,
    RefusalRow,
    RegistryEventRow,
    ReservationRow,
    ReservationState,
    StoredManifestRow,
    TreeHeadRow,
)
from registry.transfer_known import complete_entry
from registry.transfer_rows import from_json, insert_row, to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Engine, Select, Table
    from sqlalchemy.orm import Session

    from registry.assets import ManagedAssets

__all__ = ["Exported", "Imported", "export_registry", "import_registry"]

FORMAT = "countermark-registry"
FORMAT_VERSION = 1
LINES = "registry.jsonl"
FILES = "assets"
BATCH_ENTRIES = 64
"""Entries in one transaction; a record can hold a megabyte of manifest."""

_RESERVATIONS = Base.metadata.tables[ReservationRow.__tablename__]
_TREE_HEADS = Base.metadata.tables[TreeHeadRow.__tablename__]
_Entry: TypeAlias = RecordRow | RefusalRow | RegistryEventRow | StoredManifestRow
_ENTRIES: tuple[type[_Entry], ...] = (RecordRow, RefusalRow, RegistryEventRow, StoredManifestRow)
"""What stands behind leaves; other rows hang on these."""
_ROW_OF_KIND: Mapping[str, type[_Entry]] = {
    LeafKind.COMMIT.value: RecordRow,
    LeafKind.REFUSAL.value: RefusalRow,
    LeafKind.MANIFEST_STORED.value: StoredManifestRow,
    **{kind.value: RegistryEventRow for kind in EventKind},
}
_NAMES = ("record_id", "manifest_id")
"""Columns by which other rows name the one that they hang on."""


# -- out -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        entries: Leaves of the log.
        files: Delivered files.
        missing: Records whose file the store does not have, though no event says it was deleted.
    """

    entries: int
    files: int
    missing: int


def export_registry(
    engine: Engine, assets: ManagedAssets | None, folder: Path, *, with_inputs: bool = False
) -> Exported:
    """Writes everything; a registry may go on working meanwhile.

    Args:
        engine: Of a registry at the newest migration.
        assets: The delivered files; None writes none.
        folder: Made if missing; an older export in it is replaced, and files in it whose record
            was erased, or that were deleted since, go.
        with_inputs: Also what pictures were made from, as sealed as it is kept.

    Raises:
        DeliveryError: A file cannot be written or read.
        RegistryUnavailableError: The database cannot be reached.
    """
    files, found = LocalAssetStore(folder / FILES), _Files()
    with snapshot(engine) as session:
        lines = _Lines(_describe(session, with_inputs=with_inputs, files=found))
        _write_lines(folder / LINES, lines)
    # Only what this log names: the folder may hold other files too.
    for digest in found.ever - {digest for digest, _ in found.kept}:
        files.remove(digest)
    digests, missing = found.kept, 0
    for digest, media_type in digests if assets is not None else ():
        if files.contains(digest):
            continue
        data = assets.get(digest) if assets is not None else None
        if data is None:
            missing += 1
            continue
        _keep(files, data, media_type)
    return Exported(lines.entries, len(digests) - missing if assets is not None else 0, missing)


@dataclass(slots=True)
class _Files:
    """Digests of delivered files.

    Attributes:
        kept: With media types: those that belong to the export.
        ever: Of all records that the log names, erased ones too.
    """

    kept: list[tuple[str, str]] = field(default_factory=list)
    ever: set[str] = field(default_factory=set)


class _Lines:
    """The lines of an export, with the last one that binds them."""

    def __init__(self, documents: Iterable[Mapping[str, Any]]) -> None:
        self._documents = documents
        self.entries = 0

    def __iter__(self) -> Iterator[bytes]:
        digest, count = hashlib.sha256(), 0
        for document in self._documents:
            line = json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"
            self.entries += "leaf" in document
            digest.update(line)
            count += 1
            yield line
        end = {"end": {"lines": count, "sha256": digest.hexdigest()}}
        yield json.dumps(end).encode() + b"\n"


def _describe(session: Session, *, with_inputs: bool, files: _Files) -> Iterator[Mapping[str, Any]]:
    """Every line but the last; notes the files that belong to it."""
    head = read_head(session)
    deleted = set(session.scalars(_deletions()))
    yield {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "migration": HEAD_REVISION,
        "log": {"size": head.size, "root": head.digest},
    }
    for values in session.execute(select(_RESERVATIONS)).mappings():
        yield {"reservation": to_json(_RESERVATIONS, values)}
    for start in range(0, head.size, BATCH_ENTRIES):
        leaves = session.execute(
            select(LogLeafRow.index, LogLeafRow.kind, LogLeafRow.data)
            .where(LogLeafRow.index >= start, LogLeafRow.index < start + BATCH_ENTRIES)
            .order_by(LogLeafRow.index)
        ).all()
        rows = _rows_of(session, [index for index, _, _ in leaves], with_inputs=with_inputs)
        for index, kind, data in leaves:
            found = rows.get(index, [])
            files.kept += [
                (row["values"]["sha256"], row["values"]["media_type"])
                for row in found
                if row["table"] == RecordRow.__tablename__
                and row["values"]["record_id"] not in deleted
            ]
            digest = read_asset_digest(data)
            if digest is not None:
                files.ever.add(digest)
            yield {"leaf": {"index": index, "kind": kind, "data": data.decode()}, "rows": found}
    for values in session.execute(select(_TREE_HEADS)).mappings():
        yield {"head": to_json(_TREE_HEADS, values)}


def _deletions() -> Select[str]:
    """Records whose file was deleted, as an event says."""
    return select(RegistryEventRow.target).where(
        RegistryEventRow.kind == EventKind.DELETION.value,
        RegistryEventRow.target_kind == EventTarget.RECORD.value,
    )


def _rows_of(
    session: Session, indices: Sequence[int], *, with_inputs: bool
) -> Mapping[int, list[dict[str, Any]]]:
    """The rows that stand behind leaves, each with the rows that hang on it, parents first."""
    found: dict[int, list[dict[str, Any]]] = {}
    for kind in _ENTRIES:
        table = Base.metadata.tables[kind.__tablename__]
        places: dict[str, int] = {}
        for values in session.execute(
            select(table).where(table.c.log_index.in_(indices))
        ).mappings():
            found.setdefault(values["log_index"], []).append(_row(table, values))
            for name in _NAMES:
                if name in values:
                    places[values[name]] = values["log_index"]
        for child, column in tables_of(table) if places else ():
            if child.name == KeptInputsRow.__tablename__ and not with_inputs:
                continue
            for values in session.execute(select(child).where(column.in_(list(places)))).mappings():
                found[places[values[column]]].append(_row(child, values))
    return found


def _row(table: Table, values: Mapping[Any, Any]) -> dict[str, Any]:
    return {"table": table.name, "values": to_json(table, values)}


def _write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Streams the lines beside `path`, then renames: an export is whole or not there."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            stream.writelines(lines)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DeliveryError(
            f"{path} cannot be written: {error.strerror or error}; free some room or choose "
            "another folder"
        ) from error


def _keep(store: ManagedAssets, data: bytes, media_type: str) -> None:
    staged = store.stage(EncodedImage(data, MediaType(media_type)))
    try:
        staged.publish()
    finally:
        staged.discard()


# -- in ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Imported:
    """What was read in.

    Attributes:
        entries: Leaves that are new here.
        known: Leaves that were here already.
        added: Rows that were added to those: vectors, soft bindings, small pictures.
        files: Delivered files that are new here.
        missing: Records whose file is neither in the export nor here, and was not deleted.
        log_is_same: Whether this log now begins with the exported one, leaf by leaf.
    """

    entries: int = 0
    known: int = 0
    added: int = 0
    files: int = 0
    missing: int = 0
    log_is_same: bool = False


@dataclass(slots=True)
class _Target:
    """Where an import goes.

    Attributes:
        engine: Of a registry at the newest migration.
        assets: Its files; None leaves files out.
        log_ids: Of its log's own keys: only their heads are taken.
        index_folder: Of its files of codes, if any.
        leaves: Places of the leaves that others wrote, by hash, in order: a manifest that was
            stored, deleted and stored again has two equal ones.
        seen: Size of the log up to which `leaves` tells.
        places: Where the exported leaves are now, by their exported place.
        absent: Digests of files that were not found when their record came by.
    """

    engine: Engine
    assets: ManagedAssets | None
    log_ids: Collection[str]
    index_folder: Path | None
    leaves: dict[bytes, deque[int]] = field(default_factory=dict)
    seen: int = 0
    places: dict[int, int] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)


def import_registry(
    engine: Engine,
    assets: ManagedAssets | None,
    folder: Path,
    *,
    log_ids: Collection[str] = (),
    index_folder: Path | None = None,
) -> Imported:
    """Reads an export in; what is here already stays as it is, and gets what it lacks.

    Args:
        engine: Of a registry at the newest migration.
        assets: Where its files go; None leaves them out.
        folder: As `export_registry` wrote it; untrusted.
        log_ids: Log ids of this registry's own keys: signed heads of other logs are left out.
        index_folder: Where files of codes lie; that of a space goes before its rows change.

    Raises:
        InputError: The export is damaged, of another version, an id is used for something else
            here, or an entry says something else. What was read before that stays.
        DeliveryError: A file cannot be read or written.
        RegistryUnavailableError: The database cannot be reached.
    """
    path = folder / LINES
    _require_whole(path)
    target, done = _Target(engine, assets, log_ids, index_folder), Imported()
    with reading(engine) as session:
        _look_at_log(session, target)
    documents = _read_documents(path)
    size, root = _require_format(next(documents, {}), path)
    while batch := list(islice(documents, BATCH_ENTRIES)):
        _import_batch(target, batch, LocalAssetStore(folder / FILES), done, str(path))
    with reading(engine) as session:
        enough = 0 <= size <= log_size(session)
        done.log_is_same = enough and read_root(session, size).hex() == root
        done.missing = _count_missing(session, target.absent)
    return done


def _look_at_log(session: Session, target: _Target) -> None:
    """Notes the leaves that came since it was looked at, or since this import wrote some."""
    for leaf_hash, index in session.execute(
        select(LogLeafRow.leaf_hash, LogLeafRow.index)
        .where(LogLeafRow.index >= target.seen)
        .order_by(LogLeafRow.index)
    ):
        target.leaves.setdefault(leaf_hash, deque()).append(index)
        target.seen = index + 1


def _import_batch(
    target: _Target,
    batch: Sequence[Mapping[str, Any]],
    source: ManagedAssets,
    done: Imported,
    name: str,
) -> None:
    found = _Batch()
    with writing(target.engine) as session:
        lock_log(session)
        _look_at_log(session, target)  # another import of the same export may be at work
        for document in batch:
            try:
                if "reservation" in document:
                    _import_reservation(session, document["reservation"])
                elif "leaf" in document:
                    _import_entry(session, target, document, found)
                elif "head" in document:
                    _import_head(session, target, document["head"])
            except IntegrityError as error:
                raise InputError(
                    f"{name}: an entry contradicts what this registry has already; the two "
                    "cannot become one"
                ) from error
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{name}: an entry is not what this version writes ({error!r}); export it "
                    "again with the version that reads it"
                ) from error
        for name_of_index in sorted(found.indexes):
            count_up(session, name_of_index)
            if target.index_folder is not None:
                forget_file(target.index_folder, name_of_index)
        target.seen = log_size(session)
    done.known += found.known
    done.added += found.added
    done.entries += sum("leaf" in document for document in batch) - found.known
    if target.assets is not None:
        for digest, media_type in found.files:
            if target.assets.get(digest) is not None:
                continue
            file = source.get(digest)
            if file is None:
                target.absent.add(digest)
            else:
                _keep(target.assets, file, media_type)
                done.files += 1
        for digest in found.gone:
            target.assets.remove(digest)


def _import_reservation(session: Session, document: Mapping[str, Any]) -> None:
    values = from_json(_RESERVATIONS, document)
    if values["state"] == ReservationState.RESERVED.value:
        values["state"] = ReservationState.RELEASED.value  # nobody renders for it here
    here = session.execute(
        select(_RESERVATIONS).where(_RESERVATIONS.c.record_id == values["record_id"])
    ).one_or_none()
    if here is None:
        session.execute(insert(_RESERVATIONS).values(values))
    elif here.created_at != values["created_at"]:
        raise InputError(
            f"record id {values['record_id']} is used for something else in this registry; the "
            "two registries cannot become one"
        )
    elif here.state == ReservationState.RELEASED.value:
        session.execute(
            update(_RESERVATIONS)
            .where(_RESERVATIONS.c.record_id == values["record_id"])
            .values(state=values["state"])
        )


@dataclass(slots=True)
class _Batch:
    """What comes of the entries of one transaction.

    Attributes:
        known: Leaves that the log had already.
        added: Rows that were added to those.
        files: Delivered files that belong to it, with media types.
        gone: Digests of files that were erased or deleted.
        indexes: Names of indexes that have to begin anew.
    """

    known: int = 0
    added: int = 0
    files: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    indexes: set[str] = field(default_factory=set)


def _import_entry(
    session: Session, target: _Target, document: Mapping[str, Any], batch: _Batch
) -> None:
    """Reads one leaf with its rows."""
    leaf, data = document["leaf"], document["leaf"]["data"].encode("ascii")
    kind, digest = LeafKind(leaf["kind"]), hash_leaf(data)
    rows = _read_rows(kind, document["rows"])
    here, added = target.leaves.get(digest), 0
    known = bool(here)
    if here:
        index = here.popleft()
        added = complete_entry(session, rows, index, batch.indexes)
    else:
        index, _ = append_leaf(session, kind, data)
        for table, values in rows:
            insert_row(session, table, values, index, target.places)
        session.flush()
    target.places[leaf["index"]] = index
    batch.known += known
    batch.added += added
    if kind is LeafKind.MANIFEST_DELETED and not known:
        _delete_manifest(session, data)
    if rows:
        changed = not known or added > 0
        _check_entry(session, kind, index, data, batch, is_new=not known, changed=changed)


def _read_rows(
    kind: LeafKind, rows: Sequence[Mapping[str, Any]]
) -> list[tuple[Table, dict[str, Any]]]:
    """The row that a leaf speaks of, then those that hang on it and on no other."""
    if not rows:
        return []
    parent = Base.metadata.tables[_ROW_OF_KIND[kind].__tablename__]
    children = {child.name: (child, column.name) for child, column in tables_of(parent)}
    entry = from_json(parent, rows[0]["values"])
    found = [(parent, entry)]
    for row in rows[1:]:
        child, column = children[row["table"]]
        values = from_json(child, row["values"])
        if values[column] != entry[column]:
            raise InputError(
                f"a row of {child.name} in the export stands with an entry that it does not "
                "belong to; nothing of it was read in"
            )
        found.append((child, values))
    return found


def _check_entry(
    session: Session,
    kind: LeafKind,
    index: int,
    data: bytes,
    batch: _Batch,
    *,
    is_new: bool,
    changed: bool,
) -> None:
    """Holds what stands behind a leaf against it, and notes what becomes of files."""
    expected = _ROW_OF_KIND[kind]
    row = session.scalar(select(expected).where(expected.log_index == index))
    if not isinstance(row, _ENTRIES):
        if is_new:
            raise InputError(f"leaf {index} came without the row that it speaks of")
        return  # erased here since
    if isinstance(row, RecordRow) and not _is_deleted(session, row):
        batch.files.append((row.sha256, row.media_type))
    if changed and _leaf_of(session, row) != data:
        raise InputError(
            f"the export's {kind} entry for leaf {index} does not say what its leaf says it said: "
            "it was changed; nothing of it was read in"
        )
    if is_new and isinstance(row, RegistryEventRow) and row.kind == EventKind.DELETION:
        record = session.get(RecordRow, row.target)
        if record is not None:
            batch.gone.append(record.sha256)
    if is_new and isinstance(row, RegistryEventRow) and row.kind == EventKind.ERASURE:
        for parent in (RecordRow, RefusalRow):
            erased = session.get(parent, row.target)
            if erased is not None:
                if isinstance(erased, RecordRow):
                    batch.gone.append(erased.sha256)
                session.expunge(erased)
                delete_whole(session, Base.metadata.tables[parent.__tablename__], row.target)


def _is_deleted(session: Session, row: RecordRow) -> bool:
    """Whether the record's file was deleted here: an older export does not bring it back."""
    event = RegistryEventRow
    return session.scalar(_deletions().where(event.target == row.record_id).limit(1)) is not None


def _delete_manifest(session: Session, data: bytes) -> None:
    """Forgets the stored manifest that a leaf says was deleted."""
    named = json.loads(data)["manifest_id_sha256"]
    for row in session.scalars(select(StoredManifestRow)).all():
        if hashlib.sha256(row.manifest_id.encode("utf-8")).hexdigest() == named:
            session.delete(row)
    session.flush()


def _leaf_of(session: Session, row: _Entry) -> bytes:
    try:
        if isinstance(row, RecordRow):
            return commit_leaf(row_to_record(row))
        if isinstance(row, RefusalRow):
            return refusal_leaf(row_to_refusal(row))
        if isinstance(row, StoredManifestRow):
            digest = hashlib.sha256(row.store).hexdigest()
            return manifest_leaf(
                LeafKind.MANIFEST_STORED, manifest_id=row.manifest_id, store_sha256=digest
            )
    except (ProvenanceError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"an entry of the export cannot be read: {error}") from error
    entry_hash = None
    if row.entry_index is not None:
        entry_hash = session.scalar(
            select(LogLeafRow.leaf_hash).where(LogLeafRow.index == row.entry_index)
        )
    return event_leaf(row_to_event(row), entry_hash=entry_hash)


def _import_head(session: Session, target: _Target, document: Mapping[str, Any]) -> None:
    values = from_json(_TREE_HEADS, document)
    if values["log_id"] not in target.log_ids or values["size"] > log_size(session):
        return
    if read_root(session, values["size"]) != values["root"]:
        return
    if session.get(TreeHeadRow, values["timestamp_ms"]) is None:
        session.execute(insert(_TREE_HEADS).values(values))


def _count_missing(session: Session, absent: Collection[str]) -> int:
    """Files that should be here: a later entry may have said that one was deleted, or erased."""
    rows = (
        row
        for digest in sorted(absent)
        for row in session.scalars(select(RecordRow).where(RecordRow.sha256 == digest))
    )
    return sum(not _is_deleted(session, row) for row in rows)


# -- lines ---------------------------------------------------------------------------------------


def _require_whole(path: Path) -> None:
    """Reads the file once and compares its digest, before anything of it is believed.

    Raises:
        InputError: It is missing, cut off or changed.
    """
    digest, count, last = hashlib.sha256(), 0, b""
    try:
        with path.open("rb") as stream:
            for line in stream:
                if last:
                    digest.update(last)
                    count += 1
                last = line
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; name the folder that countermark "
            "registry export wrote"
        ) from error
    try:
        end = json.loads(last)["end"]
        whole = end == {"lines": count, "sha256": digest.hexdigest()}
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"{path} was cut off or changed: export the registry again")


def _read_documents(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                document = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}, line {number}, is no JSON: {error}") from error
            if not isinstance(document, dict):
                raise InputError(f"{path}, line {number}, is no entry of an export")
            if "end" not in document:
                yield document


def _require_format(header: Mapping[str, Any], path: Path) -> tuple[int, str]:
    """Size and root of the exported log."""
    if header.get("format") != FORMAT or header.get("version") != FORMAT_VERSION:
        raise InputError(f"{path} is no export of a registry, or one of another version")
    if header.get("migration") != HEAD_REVISION:
        raise InputError(
            f"{path} was written at migration {header.get('migration')}, and this registry is at "
            f"{HEAD_REVISION}; export it again with this version of countermark"
        )
    try:
        return int(header["log"]["size"]), str(header["log"]["root"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not say which log it is of: {error!r}") from error
