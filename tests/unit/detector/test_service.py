"""The reader path: nothing that a source does breaks the others, and nothing hangs."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from detector.service import MAX_STUCK_CALLS, Depth, DetectorService
from provenance.errors import (
    BackendUnavailableError,
    ImageTooLargeError,
    UnsupportedMediaTypeError,
)
from provenance.imaging import ImageLimits, encode_image
from provenance.testing.pictures import natural_picture
from provenance.testing.sources import picture_candidate, raw_candidate
from provenance.types import (
    Assurance,
    Finding,
    MatchBasis,
    MatchTier,
    MediaType,
    MetadataEvidence,
    Origin,
    RecordKind,
    RegistryEvidence,
    SourceClaim,
    SourceFailure,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.types import Candidate, Evidence

AI = MetadataEvidence(Finding.PRESENT, "A label.", claim=SourceClaim.FULLY_AI)
NOTHING = MetadataEvidence(Finding.ABSENT, "No label.")
RECORD = RegistryEvidence(
    Finding.PRESENT,
    "This very file.",
    MatchBasis.FILE_HASH,
    MatchTier.EXACT,
    "82442dab3d2a3563",
    RecordKind.GENERATED,
)


@dataclass
class FakeSource:
    """Answers what `work` answers, and counts how often it was asked."""

    work: Callable[[], Sequence[Evidence]]
    name: str = "fake"
    thorough: bool = False
    asked: int = field(default=0)

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        self.asked += 1
        return self.work()


def answering(*evidence: Evidence, **arguments: object) -> FakeSource:
    return FakeSource(lambda: list(evidence), **arguments)  # type: ignore[arg-type]


def raising(error: BaseException, name: str = "broken") -> FakeSource:
    def work() -> Sequence[Evidence]:
        raise error

    return FakeSource(work, name)


def failures(evidence: Sequence[Evidence]) -> list[str]:
    return [e.source for e in evidence if isinstance(e, SourceFailure)]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("/home/secret/place"),
        BackendUnavailableError("/home/secret/place"),
        RecursionError(),
        MemoryError(),
        SystemExit(3),
    ],
)
def test_a_source_that_breaks_is_one_finding_and_the_others_answer(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    service = DetectorService([raising(error), answering(AI)])
    with caplog.at_level(logging.WARNING):
        verdict = service.examine(picture_candidate())
    assert (verdict.origin, verdict.assurance) == (Origin.MACHINE_MADE, Assurance.HINT)
    assert failures(verdict.evidence) == ["broken"]
    # What a library's error says may name files of this machine or quote the picture's.
    assert "secret" not in " ".join(verdict.reasons)
    assert ("secret" in caplog.text) is isinstance(error, BackendUnavailableError)  # our words
    assert type(error).__name__ in caplog.text
    assert service.counters["failure.broken"] == 1


def test_a_generator_that_breaks_while_it_is_read_is_caught_too() -> None:
    def work() -> Sequence[Evidence]:
        def lazily() -> object:
            yield AI
            raise ValueError

        return lazily()  # type: ignore[return-value]

    verdict = DetectorService([FakeSource(work)]).examine(picture_candidate())
    assert failures(verdict.evidence) == ["fake"]


def test_a_source_that_hangs_is_left_behind_and_not_asked_for_ever() -> None:
    release = threading.Event()

    def hang() -> Sequence[Evidence]:
        release.wait(20)
        return [AI]

    slow = FakeSource(hang, "slow")
    service = DetectorService([slow, answering(AI)], source_timeout_s=0.02)
    candidate = picture_candidate()
    for _ in range(MAX_STUCK_CALLS + 3):
        verdict = service.examine(candidate)
        assert verdict.origin is Origin.MACHINE_MADE
        assert failures(verdict.evidence) == ["slow"]
    assert slow.asked == MAX_STUCK_CALLS
    release.set()
    deadline = time.monotonic() + 10
    while failures(service.examine(candidate).evidence) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not failures(service.examine(candidate).evidence)


@pytest.mark.parametrize(
    ("first", "depth", "asked"),
    [
        (RECORD, Depth.THOROUGH, 0),
        (RECORD, Depth.COMPLETE, 1),
        (AI, Depth.THOROUGH, 1),  # a label, which anyone can add to keep the search away
        (NOTHING, Depth.THOROUGH, 1),
        (NOTHING, Depth.FAST, 0),
    ],
)
def test_thorough_sources_are_asked_until_more_than_a_hint_answers(
    first: Evidence, depth: Depth, asked: int
) -> None:
    thorough = answering(AI, thorough=True)
    DetectorService([answering(first), thorough]).examine(picture_candidate(), depth=depth)
    assert thorough.asked == asked


def test_every_fast_source_is_asked_because_contradictions_count() -> None:
    capture = MetadataEvidence(Finding.PRESENT, "A camera.", claim=SourceClaim.CAPTURE)
    verdict = DetectorService([answering(AI), answering(capture)]).examine(picture_candidate())
    assert verdict.origin is Origin.CONFLICTING


def test_the_time_budget_is_for_all_thorough_sources_together() -> None:
    now = [0.0]

    def costly() -> Sequence[Evidence]:
        now[0] += 6.0
        return [NOTHING]

    sources = [FakeSource(costly, f"t{i}", thorough=True) for i in range(3)]
    service = DetectorService(sources, time_budget_s=10.0, clock=lambda: now[0])
    verdict = service.examine(picture_candidate())
    assert [s.asked for s in sources] == [1, 1, 0]
    assert failures(verdict.evidence) == ["t2"]


def test_a_picture_that_does_not_decode_still_gets_its_metadata_read() -> None:
    candidate = raw_candidate(b"\x89PNG\r\n\x1a\n", MediaType.PNG)
    verdict = DetectorService([answering(AI)]).examine(candidate)
    assert verdict.origin is Origin.MACHINE_MADE
    assert failures(verdict.evidence) == ["pixels"]
    assert "cut short" in " ".join(verdict.reasons)


def test_verify_refuses_what_is_no_image_or_too_large() -> None:
    service = DetectorService([answering(AI)], limits=ImageLimits(max_bytes=20_000, max_pixels=99))
    with pytest.raises(UnsupportedMediaTypeError):
        service.verify(b"just text", name="notes.png")
    with pytest.raises(ImageTooLargeError):
        service.verify(bytes(20_001), name="long.png")
    data = encode_image(natural_picture(16, 16, seed=1), MediaType.PNG).data
    with pytest.raises(ImageTooLargeError):
        service.verify(data, name="wide.png")


def test_nothing_is_kept_but_counters() -> None:
    service = DetectorService([answering(AI)])
    for _ in range(3):
        service.examine(picture_candidate())
    assert service.counters == {"verdict.machine_made.hint": 3}


def test_the_log_names_no_file_and_no_pixels(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        DetectorService([answering(AI)]).verify(
            encode_image(natural_picture(16, 16, seed=1), MediaType.PNG).data, name="aunt-erna.png"
        )
    assert "machine_made" in caplog.text
    assert "erna" not in caplog.text


def test_no_source_at_all_means_unknown() -> None:
    verdict = DetectorService([]).examine(picture_candidate())
    assert (verdict.origin, verdict.assurance) == (Origin.UNKNOWN, Assurance.NONE)
