"""Job worker and marking pool: the renderer never waits, and never runs far ahead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from marking_backend import SlowMarker

from generator.jobs import EventKind, JobEvent, JobOptions, JobService, JobState
from generator.marking_pool import MarkingPool
from generator.service import Studio
from generator.wiring import build_generator
from provenance.config import Settings, load_settings
from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker
from provenance.types import GenerationRequest
from registry.check import check_consistency
from registry.wiring import open_registry

REQUEST = GenerationRequest(prompt="a red house", seed=4, steps=1, width_px=256, height_px=256)
WAIT_S = 120.0


class CountingPipeline(GradientPipeline):
    """Leaves a file for each picture that it begins."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def render(self, *arguments, **named):
        begun = len(list(self._folder.glob("rendering-*")))
        (self._folder / f"rendering-{begun}").touch()
        return super().render(*arguments, **named)


@contextmanager
def running(
    folder: Path, *, after: str, slow: int = 1, batch_size: int = 1
) -> Iterator[tuple[Settings, JobService]]:
    """A job service whose first marked pictures wait until a file is there."""
    (folder / "countermark.toml").write_text(f"[generator]\nbatch_size = {batch_size}\n")
    settings = load_settings(environ={}, home=folder)
    generator = build_generator(settings, marking_workers=1)
    studio = Studio(CountingPipeline(folder), LuminanceChecker())
    marker = partial(SlowMarker, settings, folder, slow=slow, after=after)
    with MarkingPool(marker, workers=1) as pool:
        service = replace(generator.service, open_studio=lambda _: studio, marker=pool)
        jobs = generator.build_jobs(service)
        jobs.start()
        try:
            yield settings, jobs
        finally:
            (folder / after).touch()
            jobs.stop(drain_s=WAIT_S)


def wait_until_done(jobs: JobService, *job_ids: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if all(jobs.get(job_id).state is JobState.DONE for job_id in job_ids):
            return
        time.sleep(0.05)
    raise TimeoutError([jobs.get(job_id).state for job_id in job_ids])


def check(settings: Settings, *, records: int) -> None:
    report = check_consistency(open_registry(settings).engine, now=datetime.now(UTC))
    assert (report.problems, report.records, report.open_reservations) == ((), records, 0)


def test_the_next_job_is_rendered_while_the_last_one_is_marked(tmp_path: Path) -> None:
    # The first picture is not marked before the second one is being rendered.
    with running(tmp_path, after="rendering-1") as (settings, jobs):
        first, second = jobs.submit((REQUEST,)), jobs.submit((REQUEST,))
        wait_until_done(jobs, first.id, second.id)
        assert len(jobs.get(first.id).results) == len(jobs.get(second.id).results) == 1
    check(settings, records=2)


def test_a_picture_is_rendered_on_while_its_preview_is_marked(tmp_path: Path) -> None:
    request, every = replace(REQUEST, steps=2), JobOptions(previews_every=1)
    # The preview is not marked before the next picture is being rendered.
    with running(tmp_path, after="rendering-1") as (settings, jobs):
        first, second = (jobs.submit((request,), options=every) for _ in range(2))
        wait_until_done(jobs, first.id, second.id)

        async def follow() -> list[JobEvent]:
            return [event async for event in jobs.events(first.id) if event]

        *_, preview, done = asyncio.run(follow())
        # A follower is told of every preview before the end.
        assert (preview.kind, done.kind) == (EventKind.PREVIEW, EventKind.DONE)
        assert preview.data["step"] == 1
    check(settings, records=4)


def test_the_renderer_waits_for_a_marker_that_hangs(tmp_path: Path) -> None:
    with running(tmp_path, after="go", slow=9) as (settings, jobs):
        ids = [jobs.submit((REQUEST,)).id for _ in range(6)]
        SlowMarker.wait_until_marking(tmp_path, 0)
        time.sleep(2)
        # One is being marked, one waits for its turn (batch_size), one waits at the door.
        assert len(list(tmp_path.glob("rendering-*"))) == 3
        (tmp_path / "go").touch()
        wait_until_done(jobs, *ids)
    check(settings, records=6)


def test_pictures_that_are_being_marked_are_delivered_when_the_service_stops(
    tmp_path: Path,
) -> None:
    with running(tmp_path, after="go") as (settings, jobs):
        job = jobs.submit((REQUEST,))
        SlowMarker.wait_until_marking(tmp_path, 0)
    assert jobs.get(job.id).state is JobState.DONE
    check(settings, records=1)
