"""``countermark audit``: rows, log, files, manifests, watermarks, index against each other."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.config import Settings
    from provenance.types import ManifestReport, MediaType
    from provenance.watermark.marking import MarkReader
    from registry.audit import Problem
    from registry.audit_files import FileAuditor
    from registry.check import ConsistencyReport
    from registry.store import SqlRecordStore

__all__ = ["audit_app"]

audit_app = typer.Typer()

CLEAN, FINDINGS, COULD_NOT_RUN = 0, 1, 2
"""Exit codes of this command alone: what monitors expect."""


@audit_app.command("audit")
def audit_command(
    sample: Annotated[
        int | None,
        typer.Option(min=0, help="Read the files of so many records, at random.  [all]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Check that records, log, stored files, their marks and the index still agree.

    Rows and log are always checked whole. Exit code: 0 all agrees, 1 something does not, 2 the
    audit could not run.
    """
    from provenance.cli import print_error
    from provenance.errors import ProvenanceError

    try:
        found = _audit(sample, as_json=as_json)
    except ProvenanceError as error:
        print_error(f"the audit could not run: {error}")
        raise typer.Exit(COULD_NOT_RUN) from error
    raise typer.Exit(FINDINGS if found else CLEAN)


def _audit(sample: int | None, *, as_json: bool) -> bool:
    from datetime import UTC, datetime

    from provenance.cli import print_json
    from provenance.config import load_settings
    from registry.check import check_consistency
    from registry.signed_log import open_log_keys
    from registry.wiring import open_registry

    settings = load_settings()
    store = open_registry(settings)
    started = time.perf_counter()
    # Where no head was signed yet there may be no key, and an audit makes none.
    keys = open_log_keys(settings.log_key_file).public if settings.log_key_file.exists() else {}
    report = check_consistency(store.engine, now=datetime.now(UTC), log_keys=keys)
    problems = [*report.problems, *_leftovers(report)]
    rows_s = time.perf_counter() - started
    started = time.perf_counter()
    examined, of_files = _audit_files(settings, store, sample)
    files_s = time.perf_counter() - started
    problems += [*of_files, *_audit_indexes(settings, store)]
    counts = {
        "records": report.records,
        "refusals": report.refusals,
        "events": report.events,
        "signed_heads": report.signed_heads,
        "open_reservations": report.open_reservations,
        "expired_reservations": report.expired_reservations,
        "records_examined": examined,
        "leaves_per_s": _rate(report.head.size, rows_s),
        "records_per_s": _rate(examined, files_s),
    }
    if as_json:
        print_json(_to_json(report, counts, problems))
    else:
        _print_report(report, counts, problems)
    return bool(problems)


def _rate(count: int, seconds: float) -> float:
    return round(count / max(seconds, 1e-9), 1)


def _leftovers(report: "ConsistencyReport") -> "Iterator[Problem]":
    from registry.audit import Code, Problem

    if report.expired_reservations:
        yield Problem(
            Code.LEFTOVER,
            f"{report.expired_reservations} reserved ids expired without a picture: processes "
            "ended half-way; nothing was delivered under them",
            "run: countermark registry prune",
        )


def _audit_indexes(settings: "Settings", store: "SqlRecordStore") -> "Iterator[Problem]":
    from registry.audit import Code, Problem
    from registry.index.maintenance import check_indexes

    for state in check_indexes(store.engine, settings.index_folder, whole_tables=True):
        if state.problem:
            what, _, remedy = state.problem.rpartition("; ")
            yield Problem(
                Code.INDEX_DISAGREES, f"index {state.name}: {what}", remedy.removeprefix("or ")
            )


def _audit_files(
    settings: "Settings", store: "SqlRecordStore", sample: int | None
) -> "tuple[int, list[Problem]]":
    from registry.audit_files import audit_files

    return audit_files(store.engine, _build_auditor(settings, store), sample=sample)


def _build_auditor(settings: "Settings", store: "SqlRecordStore") -> "FileAuditor":
    from functools import cache

    from provenance.errors import UnknownBackendError
    from provenance.fingerprint.wiring import build_hasher
    from provenance.imaging import ImageLimits
    from provenance.manifest.reading import read_manifest
    from provenance.manifest.wiring import build_trust
    from provenance.watermark.keyfile import read_key_file
    from provenance.watermark.marking import MarkReader
    from provenance.watermark.wiring import open_codec
    from registry.audit_files import FileAuditor
    from registry.wiring import open_asset_store

    trust = build_trust(settings)
    key_file = settings.watermark_key_file
    keys = read_key_file(key_file) if key_file.exists() else ()

    def read(data: bytes, media_type: "MediaType") -> "ManifestReport":
        return read_manifest(data, media_type, trust=trust)

    @cache
    def reader_for(codec: str) -> "MarkReader | None":
        try:
            return MarkReader((open_codec(codec),), keys) if keys else None
        except UnknownBackendError:
            return None

    return FileAuditor(
        store=store,
        assets=open_asset_store(settings) if settings.registry.keep_assets else None,
        read_manifest=read,
        reader_for=reader_for,
        key_ids=frozenset(one.key_id for one in keys),
        hasher=build_hasher(settings),
        limits=ImageLimits(settings.limits.max_bytes, settings.limits.max_pixels),
    )


def _to_json(
    report: "ConsistencyReport", counts: dict[str, Any], problems: "list[Problem]"
) -> dict[str, Any]:
    return {
        "ok": not problems,
        **counts,
        "log": {"size": report.head.size, "root": report.head.digest},
        "problems": [
            {"code": one.code, "what": one.what, "remedy": one.remedy} for one in problems
        ],
    }


def _print_report(
    report: "ConsistencyReport", counts: dict[str, Any], problems: "list[Problem]"
) -> None:
    from provenance.cli import print_line

    print_line(
        f"{report.records} records, {report.refusals} refusals, {report.events} events, "
        f"{report.open_reservations} open and {report.expired_reservations} expired reservations"
    )
    print_line(
        f"log: {report.head.size} leaves ({counts['leaves_per_s']:g} a second), "
        f"{report.signed_heads} signed heads, root {report.head.digest}"
    )
    print_line(
        f"files: {counts['records_examined']} of {report.records} records examined "
        f"({counts['records_per_s']:g} a second)"
    )
    for problem in problems:
        print_line(f"PROBLEM [{problem.code}] {problem.what}; {problem.remedy}")
    print_line(f"{len(problems)} problems" if problems else "all of it agrees")
