"""Conformance suite for filter engines: subclass `FilterEngineTests` and override `engine`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provenance.interfaces import FilterEngine
from provenance.types import FilterAction, FilterDecision

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FilterEngineTests"]


def _decide(path: Path) -> FilterDecision:
    return FilterDecision(str(path), FilterAction.KEEP, "tested", None)


class FilterEngineTests:
    """What every engine must do, however it spreads the work."""

    @pytest.fixture
    def engine(self) -> FilterEngine:
        """The engine under test."""
        raise NotImplementedError("override the fixture 'engine'")

    def test_matches_the_interface(self, engine: FilterEngine) -> None:
        assert isinstance(engine, FilterEngine)

    @pytest.mark.parametrize("count", [0, 1, 2, 257])
    def test_every_path_gets_exactly_one_decision(self, engine: FilterEngine, count: int) -> None:
        paths = [Path(f"{number}.png") for number in range(count)]
        keys = [decision.key for decision in engine.run(paths, _decide)]
        assert sorted(keys) == sorted(str(path) for path in paths)

    def test_paths_are_taken_as_they_are_needed(self, engine: FilterEngine) -> None:
        taken = 0

        def many() -> Iterator[Path]:
            nonlocal taken
            for number in range(100_000):
                taken += 1
                yield Path(f"{number}.png")

        run = iter(engine.run(many(), _decide))
        next(run)
        run.close()  # type: ignore[attr-defined]  # engines yield, so this is a generator
        assert taken < 10_000, "a folder of millions must not be queued whole"

    def test_what_a_decision_raises_comes_out_and_ends_the_run(self, engine: FilterEngine) -> None:
        def fail(path: Path) -> FilterDecision:
            raise ZeroDivisionError(path)

        with pytest.raises(ZeroDivisionError):
            list(engine.run([Path("a.png")], fail))

    def test_an_abandoned_run_leaves_no_thread(self, engine: FilterEngine) -> None:
        before = threading.active_count()
        run = iter(engine.run([Path(f"{n}.png") for n in range(50)], _decide))
        next(run)
        run.close()  # type: ignore[attr-defined]  # as above
        assert threading.active_count() <= before
