"""Pictures that are marked in processes of their own: real processes, real marks, real kills."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from marking_backend import SlowMarker, TalkingMarker, build_unusable

from generator.marking_pool import MarkingPool
from generator.service import GenerationService, Rendered, Studio
from generator.wiring import build_generator, build_marker
from provenance.config import load_settings
from provenance.errors import ConfigError, GenerationError, ReadBackError, SigningError
from provenance.imaging import decode_image
from provenance.interfaces import StepReport
from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker
from provenance.types import Finding, GenerationRequest, MediaType
from provenance.watermark.wiring import build_mark_reader
from registry.check import check_consistency

REQUEST = GenerationRequest(prompt="a red house", seed=4, steps=1, width_px=256, height_px=256)
DEAD_WITHIN_S = 30.0


def ignore_steps(report: StepReport) -> None:
    pass


class Home:
    """A deployment that marks in a pool; the pool's marker can be another than its own."""

    def __init__(self, folder: Path) -> None:
        self.settings = load_settings(environ={}, home=folder)
        self.generator = build_generator(self.settings)
        self.studio = Studio(GradientPipeline(), LuminanceChecker())

    def service(self, pool: MarkingPool) -> GenerationService:
        return replace(self.generator.service, open_studio=lambda _: self.studio, marker=pool)

    def check(self, *, records: int) -> None:
        """That the registry is whole, and has kept no bytes but those of its records."""
        store = self.generator.store
        report = check_consistency(store.engine, now=datetime.now(UTC))
        assert (report.problems, report.records) == ((), records)
        assert report.open_reservations == 0  # what failed gave its id back
        kept = [p for p in self.settings.assets_folder.rglob("*") if p.is_file()]
        assert len(kept) == records


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def pool(home: Home) -> Iterator[MarkingPool]:
    with MarkingPool(partial(build_marker, home.settings), workers=1) as started:
        yield started


def delivered(home: Home) -> int:
    return home.generator.store.count()


def is_dead(pid: int) -> bool:
    deadline = time.monotonic() + DEAD_WITHIN_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_picture_from_the_pool_carries_mark_manifest_and_record(
    home: Home, pool: MarkingPool
) -> None:
    before = delivered(home)
    delivery = home.service(pool).generate(REQUEST, ignore_steps)
    reader = build_mark_reader(home.settings)
    assert reader is not None
    mark = reader.read(decode_image(delivery.asset.image.data))
    assert (mark.finding, mark.record_id) == (Finding.PRESENT, delivery.record.record_id)
    assert home.generator.store.get(delivery.record.record_id).asset == delivery.record.asset
    home.check(records=before + 1)


def test_the_pool_marks_as_the_service_itself_does(home: Home, pool: MarkingPool) -> None:
    rendered = home.service(pool).render(REQUEST, ignore_steps)
    here, there = build_marker(home.settings)(rendered), pool(rendered)
    home.service(pool).discard(rendered)
    assert there.record.asset.pixel_sha256 == here.record.asset.pixel_sha256
    assert there.record.fingerprints.perceptual_hash == here.record.fingerprints.perceptual_hash
    assert there.record.parameters == here.record.parameters


def test_a_marking_process_imports_no_torch_and_no_main_module(
    home: Home, pool: MarkingPool
) -> None:
    home.service(pool).generate(REQUEST, ignore_steps)
    (pid,) = pool.pids
    # What is imported is mapped: neither torch nor anything else of a renderer is.
    mapped = Path(f"/proc/{pid}/maps").read_text()
    assert "/c2pa/" in mapped
    for heavy in ("/torch/", "/diffusers/", "/transformers/", "libcuda"):
        assert heavy not in mapped
    with MarkingPool(partial(TalkingMarker, home.settings), workers=1) as talking:
        rendered = home.service(talking).render(REQUEST, ignore_steps)
        modules = str(talking(rendered).record.claim_generator).split()
        home.service(talking).discard(rendered)
    assert "generator.marking" in modules
    assert not {"torch", "diffusers", "transformers", "pytest", "__mp_main__"} & set(modules)


def test_an_error_of_ours_comes_back_as_it_is(home: Home, pool: MarkingPool) -> None:
    before = delivered(home)
    (pid,) = pool.pids
    request = replace(REQUEST, media_type=MediaType.JPEG, quality=1)
    with pytest.raises(ReadBackError, match="the lattice mark"):
        home.service(pool).generate(request, ignore_steps)
    home.check(records=before)
    assert pool.pids == (pid,)  # an error is an answer, not the end of the process


def test_a_foreign_error_comes_back_as_ours_and_its_trace_is_logged_without_what_it_says(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    request = replace(REQUEST, prompt="a PRIVATE-WORD")
    with (
        MarkingPool(partial(TalkingMarker, home.settings, says="break"), workers=1) as pool,
        pytest.raises(GenerationError, match="RuntimeError") as caught,
    ):
        home.service(pool).generate(request, ignore_steps)
    assert "marking_backend.py" in caplog.text
    assert "PRIVATE-WORD" not in f"{caught.value} {caplog.text}"


def test_what_a_marking_process_logs_and_prints_reaches_the_service(
    home: Home, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with MarkingPool(partial(TalkingMarker, home.settings, says="hello"), workers=1) as pool:
        rendered = home.service(pool).render(REQUEST, ignore_steps)
        pool(rendered)
        home.service(pool).discard(rendered)
    assert ("marking_backend", logging.WARNING, "hello 4") in caplog.record_tuples
    captured = capfd.readouterr()
    assert "printed hello" in captured.err  # never into the pipe
    assert "printed hello" not in captured.out


def test_a_process_that_cannot_build_its_marker_says_why(home: Home) -> None:
    before = delivered(home)
    with MarkingPool(build_unusable, workers=1) as pool:
        for _ in range(2):  # also the next picture: nothing hangs, nothing is lost
            with pytest.raises(ConfigError, match="no such key"):
                home.service(pool).generate(REQUEST, ignore_steps)
    home.check(records=before)


@pytest.mark.parametrize("kills", [1, 2])
def test_a_marking_process_killed_in_the_middle_loses_and_doubles_nothing(
    home: Home, tmp_path: Path, kills: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed once, the picture is marked again; killed each time, it fails and frees its id."""
    before = delivered(home)
    marker = partial(SlowMarker, home.settings, tmp_path, slow=kills)
    with MarkingPool(marker, workers=1) as pool, ThreadPoolExecutor(1) as thread:
        future = thread.submit(home.service(pool).generate, REQUEST, ignore_steps)
        killed = [SlowMarker.wait_until_marking(tmp_path, n) for n in range(1)]
        os.kill(killed[0], signal.SIGKILL)
        if kills == 2:
            killed.append(SlowMarker.wait_until_marking(tmp_path, 1))
            os.kill(killed[1], signal.SIGKILL)
            with pytest.raises(GenerationError, match="ended by SIGKILL, 2 times"):
                future.result()
            home.check(records=before)
        else:
            record_id = future.result().record.record_id
            assert home.generator.store.get(record_id).record_id == record_id
            home.check(records=before + 1)
        # The pool goes on as if nothing had happened, in another process.
        home.service(pool).generate(REQUEST, ignore_steps)
        assert not set(killed) & set(pool.pids)
    assert "ended by SIGKILL" in caplog.text


def test_a_process_that_hangs_is_ended_and_its_picture_fails(home: Home, tmp_path: Path) -> None:
    before = delivered(home)
    marker = partial(SlowMarker, home.settings, tmp_path, slow=9)
    with (
        MarkingPool(marker, workers=1, timeout_s=3) as pool,
        pytest.raises(GenerationError, match="2 times"),
    ):
        home.service(pool).generate(REQUEST, ignore_steps)
    home.check(records=before)


def test_two_processes_mark_at_the_same_time(home: Home, tmp_path: Path) -> None:
    before = delivered(home)
    marker = partial(SlowMarker, home.settings, tmp_path, slow=2, after="begun-1")
    with MarkingPool(marker, workers=2) as pool, ThreadPoolExecutor(2) as threads:
        # Each waits, with its picture half done, until the other one is there too.
        futures = [
            threads.submit(home.service(pool).generate, REQUEST, ignore_steps) for _ in range(2)
        ]
        records = {future.result().record.record_id for future in futures}
    assert len(records) == 2
    home.check(records=before + 2)


def test_processes_end_with_the_pool(home: Home) -> None:
    with MarkingPool(partial(build_marker, home.settings), workers=2) as pool:
        pids = pool.pids
        assert len(pids) == 2
    assert pool.pids == ()
    assert all(is_dead(pid) for pid in pids)
    rendered = home.service(pool).render(REQUEST, ignore_steps)
    with pytest.raises(GenerationError, match="stopped"):
        home.service(pool).finish(rendered)


def test_a_picture_in_the_pipe_is_plain_data(home: Home, pool: MarkingPool) -> None:
    rendered = home.service(pool).render(REQUEST, ignore_steps)
    copy: Rendered = pickle.loads(pickle.dumps(rendered))
    home.service(pool).discard(rendered)
    assert copy.reservation == rendered.reservation
    assert threading.active_count() < 20  # one watchdog a picture, gone with it


def test_errors_of_plug_ins_that_cannot_be_sent_lose_their_class_and_keep_their_words(
    home: Home,
) -> None:
    with (
        MarkingPool(partial(TalkingMarker, home.settings, says="odd"), workers=1) as pool,
        pytest.raises(GenerationError, match="an odd plug-in") as caught,
    ):
        home.service(pool).generate(REQUEST, ignore_steps)
    assert not isinstance(caught.value, SigningError)
