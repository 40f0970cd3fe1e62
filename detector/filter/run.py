"""Filters a folder: decide on each sample, copy what is kept, write down why.

F1 list the samples; F2 decide (R1..R4, then the filter policy); F3 copy kept files, then note the
decision, in this order, so that a run killed between the two repeats the copy and loses nothing;
F4 decisions table and report.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from detector.filter.journal import Journal
from detector.filter.report import FilterReport, summarise, write_decisions
from detector.filter.shards.folder import check_folders, key_of, list_samples
from detector.policy import choose_action
from detector.service import Depth
from detector.sidecars import find_sidecar, read_sidecar
from provenance.errors import (
    ImageTooLargeError,
    InputError,
    UnsupportedMediaTypeError,
)
from provenance.files import write_file_atomic
from provenance.imaging import open_candidate, read_file
from provenance.types import FilterAction, FilterDecision, Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from detector.service import DetectorService
    from provenance.interfaces import FilterEngine

__all__ = ["DECISIONS", "JOURNAL", "FolderFilter"]

DECISIONS = "decisions.parquet"
JOURNAL = "decisions.jsonl"


@dataclass(frozen=True, slots=True)
class FolderFilter:
    """Filters one folder into another.

    Attributes:
        service: The reader path; its policy says what is dropped, too.
        engine: Where decisions run.
        depth: How hard to look at each sample.
    """

    service: DetectorService
    engine: FilterEngine
    depth: Depth = Depth.THOROUGH

    def start(
        self, folder: Path, out: Path, on_progress: Callable[[int, int], None]
    ) -> FilterReport:
        """Filters `folder` into `out`, which must be empty or missing.

        Args:
            folder: Holds the samples; never changed.
            out: Gets the kept files under their own relative paths, ``decisions.parquet`` and
                the journal.
            on_progress: Called with (samples done, samples in all).

        Raises:
            InputError: `folder` is none, or `out` lies in it or holds something.
            DeliveryError: `out` cannot be written.
        """
        check_folders(folder, out)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(
                f"{out} is not an empty folder; go on with an earlier run by --resume, or choose "
                "another output"
            )
        return self._run(folder, out, on_progress)

    def resume(
        self, folder: Path, out: Path, on_progress: Callable[[int, int], None]
    ) -> FilterReport:
        """Goes on with a run that was broken off, or takes in files added since.

        Args:
            folder: As in `start`.
            out: Output of the earlier run; an empty or missing one starts anew.
            on_progress: As in `start`.

        Raises:
            InputError: `out` holds something else than an earlier run on the same folder with the
                same policy.
            DeliveryError: `out` cannot be written.
        """
        check_folders(folder, out)
        if out.exists() and any(out.iterdir()) and not (out / JOURNAL).is_file():
            raise InputError(f"{out} holds no {JOURNAL} of an earlier run; choose another output")
        return self._run(folder, out, on_progress)

    def _run(
        self, folder: Path, out: Path, on_progress: Callable[[int, int], None]
    ) -> FilterReport:
        # F1: the samples, so that progress has an end.
        paths = list(list_samples(folder))
        policy = self.service.policy
        header = {"folder": str(folder.resolve()), "policy": f"{policy.name}/{policy.digest}"}
        with Journal(out / JOURNAL, header) as journal:
            left = [path for path in paths if key_of(path, folder) not in journal.rows]
            on_progress(len(paths) - len(left), len(paths))
            self._decide_all(left, folder, out, journal, on_progress)
            rows = [*journal.rows.values()]
        # F4
        write_decisions(rows, out / DECISIONS, policy=policy)
        return summarise(rows, policy=policy, list_dates=self.service.list_dates)

    def _decide_all(
        self,
        paths: Sequence[Path],
        folder: Path,
        out: Path,
        journal: Journal,
        on_progress: Callable[[int, int], None],
    ) -> None:
        before, by_key = len(journal.rows), {key_of(path, folder): path for path in paths}
        for decision in self.engine.run(paths, lambda path: self.decide(path, folder)):
            # F3
            if decision.action is FilterAction.KEEP:
                decision = self._copy(by_key[decision.key], folder, out, decision)
            journal.add(decision)
            on_progress(len(journal.rows), before + len(paths))

    def decide(self, path: Path, folder: Path) -> FilterDecision:
        """F2: the one decision on a sample; what cannot be read is for a person to look at."""
        key = key_of(path, folder)
        limits = self.service.limits
        try:
            data = read_file(path, limits=limits)
            candidate = open_candidate(data, name=key, limits=limits)
        except UnsupportedMediaTypeError as error:
            return self._unread(key, "not_an_image", error)
        except ImageTooLargeError as error:
            return self._unread(key, "too_large", error)
        except InputError as error:
            return self._unread(key, "unreadable", error)
        beside = find_sidecar(path)
        if beside is not None:
            candidate = replace(candidate, sidecar=read_sidecar(beside, limits=limits))
        verdict = self.service.examine(candidate, depth=self.depth)
        action, reason_code = choose_action(verdict, self.service.policy)
        undecided = verdict.origin is Origin.UNKNOWN
        detail = (candidate.decode_problem if undecided else None) or verdict.reasons[0]
        return FilterDecision(key, action, reason_code, verdict, detail, candidate.sha256)

    def _unread(self, key: str, reason_code: str, error: InputError) -> FilterDecision:
        return FilterDecision(
            key, self.service.policy.filter.unreadable, reason_code, None, str(error)
        )

    def _copy(
        self, path: Path, folder: Path, out: Path, decision: FilterDecision
    ) -> FilterDecision:
        """Copies a kept sample untouched, if its bytes still are those that were decided on.

        Its manifest goes with it where it lies in a file beside it.
        """
        if decision.key in (DECISIONS, JOURNAL):
            taken = InputError(f"{path} has a name that the filter's own output needs; rename it")
            return self._unread(decision.key, "reserved_name", taken)
        try:
            data = read_file(path, limits=self.service.limits)
        except InputError as error:
            return self._unread(decision.key, "unreadable", error)
        if hashlib.sha256(data).hexdigest() != decision.sha256:
            changed = InputError(f"{path} changed while it was filtered; look at it again")
            return self._unread(decision.key, "changed", changed)
        write_file_atomic(out / path.relative_to(folder), data)
        beside = find_sidecar(path)
        sidecar = None if beside is None else read_sidecar(beside, limits=self.service.limits)
        if beside is not None and sidecar is not None and sidecar.problem is None:
            write_file_atomic(out / beside.relative_to(folder), sidecar.data)
        return decision
