"""One decision a sample, whatever happens; kept files arrive untouched."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from detector.filter.engines.local import LocalEngine
from detector.filter.journal import Journal
from detector.filter.run import DECISIONS, JOURNAL, FolderFilter
from detector.filter.shards.folder import key_of, list_samples
from detector.policy_file import load_policy
from detector.service import DetectorService
from provenance.errors import InputError
from provenance.imaging import ImageLimits, encode_image
from provenance.interfaces import FilterEngine
from provenance.testing.pictures import natural_picture
from provenance.types import (
    FilterAction,
    FilterDecision,
    Finding,
    MediaType,
    MetadataEvidence,
    SourceClaim,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from provenance.types import Candidate, Evidence

PNG = encode_image(natural_picture(24, 24, seed=1), MediaType.PNG).data
JPEG = encode_image(natural_picture(24, 24, seed=2), MediaType.JPEG).data


class WidthSource:
    """Calls JPEG files machine-made: enough to have both answers without real marks."""

    name = "fake"
    thorough = False

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        if candidate.media_type is MediaType.JPEG:
            return [MetadataEvidence(Finding.PRESENT, "A label.", claim=SourceClaim.FULLY_AI)]
        return [MetadataEvidence(Finding.ABSENT, "No label.")]


def make_filter(policy: str = "default", engine: FilterEngine | None = None) -> FolderFilter:
    service = DetectorService(
        [WidthSource()], policy=load_policy(policy), limits=ImageLimits(100_000, 10_000)
    )
    return FolderFilter(service, engine or LocalEngine(2))


def silent(_done: int, _total: int) -> None:
    return


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    (root / "a" / "b").mkdir(parents=True)
    (root / "keep.png").write_bytes(PNG)
    (root / "a" / "b" / "keep too.png").write_bytes(PNG)
    (root / "a" / "made.jpg").write_bytes(JPEG)
    (root / "notes.png").write_text("not a picture")
    (root / "empty.png").touch()
    (root / "cut.png").write_bytes(PNG[: len(PNG) // 2])
    (root / "long.png").write_bytes(PNG + bytes(100_000))
    (root / "gone.png").symlink_to(root / "nowhere")
    return root


EXPECTED = {
    "keep.png": ("keep", "unknown.none"),
    "a/b/keep too.png": ("keep", "unknown.none"),
    "a/made.jpg": ("drop", "machine_made.hint.metadata"),
    "notes.png": ("review", "not_an_image"),
    "empty.png": ("review", "unreadable"),
    "cut.png": ("review", "unreadable"),
    "long.png": ("review", "too_large"),
    "gone.png": ("review", "unreadable"),
}


def decisions(out: Path) -> dict[str, tuple[str, str]]:
    rows = pq.read_table(out / DECISIONS).to_pylist()
    keys = [row["key"] for row in rows]
    assert len(keys) == len(set(keys))
    return {row["key"]: (row["action"], row["reason_code"]) for row in rows}


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def kept_below(out: Path) -> dict[str, bytes]:
    return {k: v for k, v in files_below(out).items() if k not in {DECISIONS, JOURNAL}}


def test_an_image_with_a_name_that_the_output_needs_is_set_aside(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / DECISIONS).write_bytes(PNG)
    make_filter().start(folder, out, silent)
    (row,) = pq.read_table(out / DECISIONS).to_pylist()
    assert (row["action"], row["reason_code"]) == ("review", "reserved_name")


def test_every_sample_gets_one_decision_and_kept_ones_arrive_untouched(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before = files_below(folder)
    seen: list[tuple[int, int]] = []
    report = make_filter().start(folder, out, lambda done, total: seen.append((done, total)))
    assert decisions(out) == EXPECTED
    assert kept_below(out) == {"keep.png": PNG, "a/b/keep too.png": PNG}
    assert files_below(folder) == before
    assert (report.samples, dict(report.actions)) == (8, {"keep": 2, "drop": 1, "review": 5})
    assert sum(report.reasons.values()) == 8
    assert (seen[0], seen[-1]) == ((0, 8), (8, 8))


class SidecarSource(WidthSource):
    """Calls machine-made what has "AI" beside it."""

    def collect(self, candidate: Candidate) -> Sequence[Evidence]:
        said = candidate.sidecar is not None and candidate.sidecar.data == b"AI"
        claim = SourceClaim.FULLY_AI if said else SourceClaim.NO_CLAIM
        return [MetadataEvidence(Finding.PRESENT, "A label.", claim=claim)]


def test_a_manifest_beside_a_sample_is_read_with_it_and_goes_with_it(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    beside = {"made.png.c2pa": b"AI", "stem.c2pa": b"AI", "kept.png.c2pa": b"no", "left.c2pa": b"-"}
    for name, data in {
        **dict.fromkeys(("made.png", "stem.png", "kept.png"), PNG),
        **beside,
    }.items():
        (root / name).write_bytes(data)
    FolderFilter(DetectorService([SidecarSource()]), LocalEngine(2)).start(
        root, tmp_path / "out", silent
    )
    assert decisions(tmp_path / "out") == {
        "made.png": ("drop", "machine_made.hint.metadata"),
        "stem.png": ("drop", "machine_made.hint.metadata"),
        "kept.png": ("keep", "unknown.none"),
        "left.c2pa": ("review", "not_an_image"),  # of no picture here
    }
    assert kept_below(tmp_path / "out") == {"kept.png": PNG, "kept.png.c2pa": b"no"}


def test_the_table_says_what_decided(folder: Path, tmp_path: Path) -> None:
    make_filter().start(folder, tmp_path / "out", silent)
    table = pq.read_table(tmp_path / "out" / DECISIONS)
    assert table.schema.metadata[b"countermark.filter_policy"] == b"default"
    assert table.schema.metadata[b"countermark.policy_id"].startswith(b"default-1/")
    (row,) = [r for r in table.to_pylist() if r["key"] == "a/made.jpg"]
    assert (row["origin"], row["assurance"]) == ("machine_made", "hint")
    assert len(row["sha256"]) == 64
    assert row["policy_id"].startswith("default-1/")
    assert row["detail"]


@pytest.mark.parametrize(
    ("policy", "made", "unreadable"),
    [
        ("strict", "drop", "drop"),
        ("default", "drop", "review"),
        ("lenient", "keep", "review"),
    ],
)
def test_policies_differ_in_what_they_drop(
    folder: Path, tmp_path: Path, policy: str, made: str, unreadable: str
) -> None:
    make_filter(policy).start(folder, tmp_path / "out", silent)
    answers = decisions(tmp_path / "out")
    assert (answers["a/made.jpg"][0], answers["cut.png"][0]) == (made, unreadable)
    assert answers["keep.png"][0] == "keep"


@dataclass
class StoppingEngine:
    """Breaks off after a number of decisions, as a killed process does."""

    after: int
    name: str = "stopping"
    asked: list[Path] = field(default_factory=list)

    def run(
        self, paths: Iterable[Path], decide: Callable[[Path], FilterDecision]
    ) -> Iterator[FilterDecision]:
        for number, path in enumerate(paths):
            if number == self.after:
                raise KeyboardInterrupt
            self.asked.append(path)
            yield decide(path)


@pytest.mark.parametrize("after", range(8))
def test_a_run_that_was_broken_off_is_resumed_without_loss_or_double(
    folder: Path, tmp_path: Path, after: int
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make_filter(engine=StoppingEngine(after)).start(folder, out, silent)
    assert not (out / DECISIONS).exists()
    rest = StoppingEngine(99)
    make_filter(engine=rest).resume(folder, out, silent)
    assert len(rest.asked) == 8 - after
    assert decisions(out) == EXPECTED
    assert kept_below(out) == {"keep.png": PNG, "a/b/keep too.png": PNG}


def test_a_line_cut_short_by_a_kill_is_decided_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_filter().start(folder, out, silent)
    whole = (out / JOURNAL).read_bytes()
    (out / JOURNAL).write_bytes(whole[:-20])
    again = StoppingEngine(99)
    make_filter(engine=again).resume(folder, out, silent)
    assert len(again.asked) == 1
    assert decisions(out) == EXPECTED
    assert (out / JOURNAL).read_bytes().count(b"\n") == 9


def test_resume_takes_in_files_that_were_added(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_filter().start(folder, out, silent)
    (folder / "new.png").write_bytes(PNG)
    make_filter().resume(folder, out, silent)
    assert decisions(out) == {**EXPECTED, "new.png": ("keep", "unknown.none")}


def test_resume_without_an_earlier_run_starts_one(folder: Path, tmp_path: Path) -> None:
    make_filter().resume(folder, tmp_path / "out", silent)
    assert decisions(tmp_path / "out") == EXPECTED


def test_resume_refuses_another_policy_folder_or_a_damaged_journal(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    make_filter().start(folder, out, silent)
    with pytest.raises(InputError, match="begun with"):
        make_filter("strict").resume(folder, out, silent)
    with pytest.raises(InputError, match="begun with"):
        make_filter().resume(folder / "a", out, silent)
    lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    for damage in (b"{}\n", b"[1]\n", b"nonsense\n", b'{"key": 1}\n'):
        (out / JOURNAL).write_bytes(lines[0] + damage + lines[1])
        with pytest.raises(InputError, match="damaged in line 2"):
            make_filter().resume(folder, out, silent)


def test_outputs_that_would_be_harmed_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="inside"):
        make_filter().start(folder, folder / "out", silent)
    with pytest.raises(InputError, match="inside"):
        make_filter().resume(folder, folder, silent)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(InputError, match="inside"):
        make_filter().start(folder, tmp_path / "link" / "out", silent)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="not an empty folder"):
        make_filter().start(folder, tmp_path / "full", silent)
    with pytest.raises(InputError, match="holds no"):
        make_filter().resume(folder, tmp_path / "full", silent)
    with pytest.raises(InputError, match="not a folder"):
        make_filter().start(tmp_path / "missing", tmp_path / "out", silent)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "x"


def test_a_sample_that_changes_under_our_hands_is_not_kept(folder: Path, tmp_path: Path) -> None:
    class ChangingEngine(StoppingEngine):
        def run(
            self, paths: Iterable[Path], decide: Callable[[Path], FilterDecision]
        ) -> Iterator[FilterDecision]:
            for decision in super().run(paths, decide):
                if decision.key == "keep.png":
                    (folder / "keep.png").write_bytes(JPEG)
                yield decision

    make_filter(engine=ChangingEngine(99)).start(folder, tmp_path / "out", silent)
    assert decisions(tmp_path / "out")["keep.png"] == ("review", "changed")
    assert not (tmp_path / "out" / "keep.png").exists()


def test_names_that_are_not_utf8_get_a_key(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (root / name).write_bytes(PNG)
    except OSError:
        pytest.skip("this file system takes no such name")
    make_filter().start(root, tmp_path / "out", silent)
    assert decisions(tmp_path / "out") == {"caf\\xe9.png": ("keep", "unknown.none")}
    assert (tmp_path / "out" / name).read_bytes() == PNG


def test_a_pipe_among_the_samples_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "pipe.png")
    work = make_filter()
    # In a thread of its own: a defect would otherwise hang the tests.
    run = Thread(target=work.start, args=(tmp_path / "in", tmp_path / "out", silent), daemon=True)
    run.start()
    run.join(10)
    assert not run.is_alive()
    assert decisions(tmp_path / "out") == {"pipe.png": ("review", "unreadable")}


def test_linked_folders_are_not_followed(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    keys = [key_of(path, folder) for path in list_samples(folder)]
    assert sorted(keys) == sorted(EXPECTED)


def test_an_empty_folder_gives_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    report = make_filter().start(tmp_path / "in", tmp_path / "out", silent)
    assert report.samples == 0
    assert decisions(tmp_path / "out") == {}


@pytest.mark.parametrize("workers", [1, 3])
def test_local_engine_decides_each_path_once(workers: int) -> None:
    engine = LocalEngine(workers)
    assert isinstance(engine, FilterEngine)
    paths = [Path(str(n)) for n in range(50)]
    found = engine.run(paths, lambda path: FilterDecision(str(path), FilterAction.KEEP, "x", None))
    assert sorted(int(d.key) for d in found) == list(range(50))


def test_local_engine_holds_few_samples_at_once() -> None:
    taken: list[int] = []

    def paths() -> Iterator[Path]:
        for n in range(100):
            taken.append(n)
            yield Path(str(n))

    run = LocalEngine(2).run(
        paths(), lambda path: FilterDecision(str(path), FilterAction.KEEP, "x", None)
    )
    next(run)
    assert len(taken) <= 5
    assert len(list(run)) == 99


def test_journal_lines_are_plain_json(folder: Path, tmp_path: Path) -> None:
    make_filter().start(folder, tmp_path / "out", silent)
    lines = (tmp_path / "out" / JOURNAL).read_text(encoding="ascii").splitlines()
    header, *rows = [json.loads(line) for line in lines]
    assert header["policy"] == f"default/{load_policy('default').digest}"
    assert {row["key"] for row in rows} == set(EXPECTED)


def test_journal_in_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    from provenance.errors import DeliveryError

    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(DeliveryError, match="--resume"),
        Journal(tmp_path / "file" / JOURNAL, {}),
    ):
        pass
