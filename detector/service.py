"""The reader path, R1 to R6: from a stranger's bytes to one verdict.

Nothing that a source does can break the others: each runs behind a firewall, in a thread of its
own with a deadline, and whatever goes wrong in it becomes one UNREADABLE finding.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from threading import Lock, Thread
from traceback import extract_tb
from typing import TYPE_CHECKING

from detector.policy import STANDARD, Policy, decide, is_settled
from provenance.errors import ProvenanceError
from provenance.imaging import DEFAULT_LIMITS, ImageLimits, open_candidate
from provenance.interfaces import SkimmingSource
from provenance.types import SourceFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from detector.joining import RegistryJoin
    from provenance.interfaces import EvidenceSource
    from provenance.types import Candidate, Evidence, Verdict

__all__ = ["Depth", "DetectorService"]

log = logging.getLogger(__name__)

DEFAULT_TIME_BUDGET_S = 10.0
"""For the thorough sources of one picture together; a person waits that long."""
DEFAULT_SOURCE_TIMEOUT_S = 30.0
"""For one fast source. Reading marks in the largest allowed picture takes a few seconds on one busy
core; half a minute means that the source hangs."""
MAX_STUCK_CALLS = 4
"""Calls of one source that may hang at once; then it is not asked until one of them ends, so that
hostile files cannot fill the process with threads."""


class Depth(StrEnum):
    """How hard to look.

    FAST: fast sources only, and those that can skim do. THOROUGH: all, unless the fast settled it
    (`detector.policy.is_settled`). COMPLETE: all, for whoever signs what the answer allows.
    """

    FAST = "fast"
    THOROUGH = "thorough"
    COMPLETE = "complete"


@dataclass(slots=True)
class _Call:
    """One run of a source in its own thread."""

    evidence: Sequence[Evidence] = ()
    error: BaseException | None = None
    done: bool = False
    abandoned: bool = False


@dataclass(slots=True)
class DetectorService:
    """Verifies pictures; safe to use from several threads.

    Attributes:
        sources: In the order in which they are asked.
        join: Joins evidence with the registry; None for a reader without one.
        policy: How evidence is weighed.
        list_dates: Date of each trust list in force.
        limits: On bytes and pixels.
        time_budget_s: For the thorough sources of one picture together, seconds.
        source_timeout_s: For one fast source, seconds.
        clock: Answers monotonic seconds.
        counters: How many verdicts of each kind, and failures of each source: all that is kept.
    """

    sources: Sequence[EvidenceSource]
    join: RegistryJoin | None = None
    policy: Policy = STANDARD
    list_dates: Mapping[str, str] = field(default_factory=dict)
    limits: ImageLimits = DEFAULT_LIMITS
    time_budget_s: float = DEFAULT_TIME_BUDGET_S
    source_timeout_s: float = DEFAULT_SOURCE_TIMEOUT_S
    clock: Callable[[], float] = time.monotonic
    counters: Counter[str] = field(default_factory=Counter)
    _stuck: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def verify(self, data: bytes, *, name: str, depth: Depth = Depth.THOROUGH) -> Verdict:
        """The verdict on a file (R1 to R6).

        Args:
            data: The bytes as they came.
            name: What the caller calls them; for messages only.
            depth: How hard to look.

        Raises:
            UnsupportedMediaTypeError: The bytes are no image at all.
            ImageTooLargeError: A limit is exceeded.
        """
        # R1: guard, sniff, hash, decode once.
        return self.examine(open_candidate(data, name=name, limits=self.limits), depth=depth)

    def examine(self, candidate: Candidate, *, depth: Depth = Depth.THOROUGH) -> Verdict:
        """The verdict on a candidate (R2 to R6); never raises for what the candidate holds."""
        started = self.clock()
        evidence: list[Evidence] = []
        if candidate.decode_problem is not None:
            evidence.append(SourceFailure("pixels", f"{candidate.decode_problem}."))
        if candidate.frames > 1:
            unseen = f"Only the first of {candidate.frames} frames was examined."
            evidence.append(SourceFailure("frames", unseen))
        # R2: every fast source answers, also when one before it decided: contradictions count.
        for source in self.sources:
            if not source.thorough:
                evidence += self._ask(source, candidate, self.source_timeout_s, depth)
        # R3: join with the registry.  R4: decide.
        verdict = self._settle(candidate, evidence)
        if depth is Depth.COMPLETE or (depth is Depth.THOROUGH and not is_settled(verdict)):
            found = self._ask_thorough(candidate)
            if found:
                verdict = self._settle(candidate, [*evidence, *found])
        # R5: answer.  R6: keep nothing but counters.
        self._count(verdict)
        log.info(
            "verified %s: %s / %s in %.2f s",
            candidate.sha256[:16],
            verdict.origin,
            verdict.assurance,
            self.clock() - started,
        )
        return verdict

    def _ask_thorough(self, candidate: Candidate) -> list[Evidence]:
        deadline = self.clock() + self.time_budget_s
        found: list[Evidence] = []
        for source in self.sources:
            if source.thorough:
                left = deadline - self.clock()
                found += (
                    self._ask(source, candidate, left)
                    if left > 0
                    else [SourceFailure(source.name, "The time budget was spent before its turn.")]
                )
        return found

    def _settle(self, candidate: Candidate, evidence: Sequence[Evidence]) -> Verdict:
        joined: Sequence[Evidence] = evidence
        if self.join is not None:
            join = self.join
            call = self._run("join", lambda: join.join(candidate, evidence), self.source_timeout_s)
            joined = (
                call.evidence
                if call.done and call.error is None
                else [
                    *evidence,
                    self._failure("join", call, self.source_timeout_s),
                ]
            )
        return decide(joined, self.policy, self.list_dates)

    # -- the firewall --------------------------------------------------------------------------

    def _ask(
        self,
        source: EvidenceSource,
        candidate: Candidate,
        timeout_s: float,
        depth: Depth = Depth.THOROUGH,
    ) -> Sequence[Evidence]:
        if self._stuck[source.name] >= MAX_STUCK_CALLS:
            return [SourceFailure(source.name, "Earlier calls of this source still hang.")]
        collect = source.collect
        if depth is Depth.FAST and isinstance(source, SkimmingSource):
            collect = source.skim
        call = self._run(source.name, lambda: collect(candidate), timeout_s)
        if call.done and call.error is None:
            return call.evidence
        return [self._failure(source.name, call, timeout_s)]

    def _run(self, name: str, work: Callable[[], Sequence[Evidence]], timeout_s: float) -> _Call:
        """Runs `work` in its own thread and waits for it no longer than `timeout_s`."""
        call = _Call()

        def body() -> None:
            try:
                call.evidence = tuple(work())
            except BaseException as error:  # noqa: BLE001  the one firewall around the sources
                call.error = error
            with self._lock:
                call.done = True
                self._stuck[name] -= call.abandoned

        thread = Thread(target=body, name=f"source-{name}", daemon=True)
        thread.start()
        thread.join(timeout_s)
        with self._lock:
            call.abandoned = not call.done
            self._stuck[name] += call.abandoned
        return call

    def _failure(self, name: str, call: _Call, timeout_s: float) -> SourceFailure:
        with self._lock:
            self.counters[f"failure.{name}"] += 1
        if call.error is None:
            log.warning("source %s did not answer within %.0f s", name, timeout_s)
            return SourceFailure(name, f"It did not answer within {timeout_s:.0f} seconds.")
        log.warning("source %s failed: %s", name, _said(call.error))
        return SourceFailure(name, f"It failed ({type(call.error).__name__}); the log says why.")

    def _count(self, verdict: Verdict) -> None:
        with self._lock:
            self.counters[f"verdict.{verdict.origin}.{verdict.assurance}"] += 1


def _said(error: BaseException) -> str:
    """For the log: what foreign exceptions say may quote the file, so only where they arose."""
    kind = type(error).__name__
    if isinstance(error, ProvenanceError):
        return f"{kind}: {error}"
    frames = extract_tb(error.__traceback__)
    return f"{kind} at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}"
