"""Finds a mark whose picture was rotated, scaled, mirrored, stretched or sheared.

Three steps, each far narrower than the one before:

1. *Candidates*: right angles and mirrors; rotations and scales from magnitudes
   (`lattice_magnitudes`); where these are blind, scans over scale and over stretch.
2. *Phases*. Only in a picture marked under this key do the pilots' phases agree.
3. *Refinement* of what agrees best, shear and stretch included, until nothing moves any more.

Step 1 uses no phase, so it may choose freely: the bound of `lattice_lines` counts steps 2 and 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from provenance.watermark.codecs import lattice_lines
from provenance.watermark.codecs.lattice_geometry import Geometry, line_frequencies
from provenance.watermark.codecs.lattice_lines import Lines
from provenance.watermark.codecs.lattice_magnitudes import MagnitudeMap, candidates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from provenance.types import Float32Array
    from provenance.watermark.codecs.lattice_carrier import Carrier
    from provenance.watermark.codecs.lattice_reading import Attempts
    from provenance.watermark.codecs.lattice_spectrum import Spectrum

__all__ = ["Match", "Search"]

_CANDIDATES = 60
_CHUNK = 8
"""Geometries tried at a time: more would be tried in vain after the right one."""

_SURE = 6.3
"""Pilot statistic that ends a step of the search: above what the geometries of a step reach in
unmarked pictures. What is not sure is read all the same, when its step is over."""

_PATIENCE = 4
"""Chunks that must bring nothing better before a sure match ends its step: beside the right
geometry, a few hundredths off, lie lesser tops that are sure as well and lead nowhere."""

_LOG_STEP = 0.0045
"""Steps of the scans: half a step moves the edge of a picture by a tenth of the shortest wave."""

_SCAN_SCALES = (0.9, 2.3)
_SCAN_STRETCHES = (0.74, 1.36)

_TURN, _GROWTH, _STRETCH, _SHEAR = 0.0025, 0.0025, 0.004, 0.003
_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Match:
    """How well the pilots agree at a geometry, in deviations."""

    statistic: float
    geometry: Geometry


class Search:
    """Looks for one key's mark in one whitened plane; several keys share the two spectra."""

    def __init__(
        self, spectrum: Spectrum, magnitudes: MagnitudeMap, carrier: Carrier, attempts: Attempts
    ) -> None:
        self._spectrum, self._magnitudes = spectrum, magnitudes
        self._carrier, self._attempts = carrier, attempts

    def run(self, is_late: Callable[[], bool]) -> Iterator[Match]:
        """Yields the best match of each step, refined; a sure one ends its step early.

        Args:
            is_late: Asked now and then; ends the search when true.
        """
        steps: tuple[Iterable[Geometry], ...] = (
            _quarter_turns(),
            candidates(self._magnitudes, self._carrier, _CANDIDATES),
            _scan_scales(),
            _scan_stretches(),
        )
        for step in steps:
            yield self._refine(self._best_in(step, is_late))
            if is_late():
                return

    def _best_in(self, step: Iterable[Geometry], is_late: Callable[[], bool]) -> Match:
        """The best match of a step, which ends early when that is sure or time is over."""
        best, since = Match(0.0, Geometry()), 0
        for some in _chunks(step):
            match = self._best_of(some)
            best, since = (match, 0) if match.statistic > best.statistic else (best, since + 1)
            if (best.statistic > _SURE and since >= _PATIENCE) or is_late():
                break
        return best

    def lines(self, geometry: Geometry) -> Lines:
        """All lines at a geometry."""
        matrix = geometry.matrix()
        used, empty = (
            self._spectrum.lines(line_frequencies(matrix, points))
            for points in (self._carrier.points, self._carrier.empty)
        )
        return Lines(used, empty)

    def _best_of(self, geometries: Sequence[Geometry]) -> Match:
        """The geometry whose pilots agree best; each is tried as it is and upside down."""
        matrices = np.stack([one.matrix() for one in geometries])
        points = self._carrier.points[self._carrier.pilots]
        pilots = self._spectrum.lines(line_frequencies(matrices, points))
        both = np.concatenate([pilots, pilots.conj()])
        self._attempts.geometries += len(both)
        statistics = lattice_lines.pilot_statistics(both, self._carrier)
        best = int(statistics.argmax())
        geometry = geometries[best % len(geometries)]
        if best >= len(geometries):
            geometry = replace(geometry, angle=geometry.angle + math.pi)
        return Match(float(statistics[best]), geometry)

    def _refine(self, match: Match) -> Match:
        """Climbs to the nearest top: halves its reach whenever no neighbour is better."""
        reach = 1.0
        for _ in range(_ROUNDS):
            better = self._best_of(_around(match.geometry, reach))
            if better.statistic > match.statistic:
                match = better
            else:
                reach /= 2
        return match


def _chunks(geometries: Iterable[Geometry]) -> Iterator[tuple[Geometry, ...]]:
    source = iter(geometries)
    while some := tuple(islice(source, _CHUNK)):
        yield some


def _around(geometry: Geometry, reach: float) -> Sequence[Geometry]:
    around = []
    for sign in (-reach, reach):
        around += [
            replace(geometry, angle=geometry.angle + sign * _TURN),
            replace(geometry, scale=geometry.scale * (1 + sign * _GROWTH)),
            replace(geometry, stretch=geometry.stretch * (1 + sign * _STRETCH)),
            replace(geometry, shear=geometry.shear + sign * _SHEAR),
            _grown(geometry, 1 + sign * _STRETCH),
            _grown(geometry, 1 + sign * _STRETCH, down=True),
        ]
    return around


def _grown(geometry: Geometry, factor: float, *, down: bool = False) -> Geometry:
    """Longer by a factor in one direction only: its scale and its stretch change together."""
    root = math.sqrt(factor)
    scale, stretch = geometry.scale * root, geometry.stretch * (1 / factor if down else factor)
    return replace(geometry, scale=scale, stretch=stretch)


def _steps(limits: tuple[float, float]) -> Float32Array:
    low, high = (math.log(limit) for limit in limits)
    steps: Float32Array = np.exp(np.arange(low, high, _LOG_STEP)).astype(np.float32)
    return steps


def _quarter_turns() -> Iterator[Geometry]:
    """Turned by a right angle, mirrored, or both; upside down is tried with each."""
    for mirrored in (False, True):
        for angle in (0.0, math.pi / 2):
            yield Geometry(mirrored=mirrored, angle=angle)


def _scan_scales() -> Iterator[Geometry]:
    for scale in _steps(_SCAN_SCALES):
        yield Geometry(scale=float(scale))


def _scan_stretches() -> Iterator[Geometry]:
    """One side longer or shorter than it was, the other one as before."""
    for stretch in _steps(_SCAN_STRETCHES):
        root = math.sqrt(float(stretch))
        yield Geometry(scale=root, stretch=float(stretch))
        yield Geometry(scale=root, stretch=1 / float(stretch))
